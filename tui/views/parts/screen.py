"""Which parts of the model wrote the answer: every attention and MLP with its share, the words that
it pushes, and what taking it out does; or every head, and what each patch sent through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widget import Widget

from engine.events import Event
from engine.methods.geometry import GeometryReading
from engine.methods.parts import PartsPart, PartsReading, PartsRequest
from engine.records import Reading
from tui.state.explained import KEYS, STOPPED, WITHOUT, Explained
from tui.state.run_view import RunView
from tui.text.numbers import ordinal
from tui.text.show import display_text, plain_line, whole_parts
from tui.views.parts import saying
from tui.views.parts.asking import AskingParts
from tui.views.parts.head_grid import HeadGrid, HeadsShown
from tui.views.parts.known import can_be_taken_out
from tui.views.parts.looking import Looking
from tui.views.parts.part_list import PartList, PartsShown
from tui.views.reading_screen import STEPS, PatchScreen
from tui.views.strip.strip import PromptStrip
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.half_blocks import Colours
from tui.widgets.led_rows import LedRows
from tui.widgets.legend import ScaleShown, scale_shown
from tui.widgets.picture_canvas import PictureCanvas, Scene
from tui.widgets.places import PlaceChosen
from tui.widgets.share_panel import SharePanel, ShareShown
from tui.widgets.view_context import ViewContext

_FOLLOW: Final = 0.1
"""Seconds for which the cursor must rest on a part before its words are shown."""
_BORDER: Final = 6
"""Cells of a line in a border that are not its text."""
_LOW: Final = 20
_KEYS: Final = (
    "jk layer", "D heads", "K takes out", "a the largest", "/ word", "n largest", "f order",
    "B without picture", "<> token", "() head", "arrows part", "O other tiles", "Y copies",
    "enter goes there", "q closes",
)  # fmt: skip


class PartsScreen(PatchScreen[AskingParts]):
    """Shows the parts of a logit at one position of a run."""

    VIEW: ClassVar[str] = "parts"
    DEFAULT_CSS = """
    PartsScreen { background: $background; }
    PartsScreen #parts-body { layout: horizontal; height: 1fr; }
    PartsScreen PartList, PartsScreen HeadGrid, PartsScreen SharePanel {
        border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint; background: $background;
    }
    PartsScreen PartList { width: 100%; height: 100%; }
    PartsScreen HeadGrid { width: 60; height: 100%; }
    PartsScreen.-w-tiny HeadGrid { width: 34; }
    PartsScreen.-w-narrow HeadGrid { width: 42; }
    PartsScreen.-w-huge HeadGrid { width: 84; }
    PartsScreen.-no-pane HeadGrid { width: 100%; }
    PartsScreen SharePanel { width: 100%; height: 5; }
    PartsScreen.-heads SharePanel { height: 7; }
    PartsScreen.-h-low SharePanel { height: 3; }
    PartsScreen Legend { height: 4; }
    PartsScreen.-ascii PartList, PartsScreen.-ascii HeadGrid, PartsScreen.-ascii SharePanel {
        border: ascii $frame;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,6,1", "dismiss", show=False),
        Binding("j", "line(1)", show=False),
        Binding("k", "line(-1)", show=False),
        *STEPS,
        Binding("left,h", "move(-1, 0)", show=False),
        Binding("right,l", "move(1, 0)", show=False),
        Binding("up", "move(0, -1)", show=False),
        Binding("down", "move(0, 1)", show=False),
        Binding("less_than_sign", "walk(-1)", show=False),
        Binding("greater_than_sign", "walk(1)", show=False),
        Binding("left_parenthesis", "head(-1)", show=False),
        Binding("right_parenthesis", "head(1)", show=False),
        Binding("n", "best(1)", show=False),
        Binding("N", "best(-1)", show=False),
        Binding("D", "heads", show=False),
        Binding("f,F", "order", show=False),
        Binding("O", "again", show=False),
        Binding("K", "take_out", show=False),
        Binding("a", "take_out_top", show=False),
        Binding("slash,W", "words", show=False),
        Binding("B", "without", show=False),
        Binding("Y", "copy", show=False),
    ]

    def __init__(
        self,
        run: RunView,
        row: int,
        position: int,
        context: ViewContext,
        *,
        colours: Colours,
        others: Callable[[], Sequence[RunView]],
        unfolded: bool = False,
    ) -> None:
        """Take the logits of a position of a run apart, and look first at the layer that ends with
        a row. `others` returns the run's counterfactuals; `unfolded` says whether `<` and `>` walk
        over every patch."""
        self.looking = Looking(run, row, position)
        asking = AskingParts(run, context, others)
        super().__init__(asking, self.looking, context, _KEYS, colours)
        self._unfolded = unfolded
        self._mapped = False
        """Whether a map is on the picture."""
        self._following: Timer | None = None
        letters = self.pane.marks_only
        self.strip = PromptStrip(ascii_only=self._ascii)
        self.list = PartList(ascii_only=self._ascii)
        self.grid = HeadGrid(ascii_only=self._ascii, letters=letters, colours=colours)
        self.panel = SharePanel(ascii_only=self._ascii)

    @property
    def reading(self) -> PartsReading | None:
        """The newest reading of the shown logit."""
        return self.looking.known.reading

    def compose(self) -> ComposeResult:
        """Lay out the prompt, the parts, the picture and the lines below."""
        yield self.strip
        with Container(id="parts-body"):
            yield self.list
            yield self.grid
            yield self.pane
        yield self.panel
        yield self.legend

    # ------------------------------------------------------------------ readings

    def _begin(self) -> None:
        """See `PatchScreen._begin`; the patches are wanted once the heads are shown."""
        self.looking.take_stored()
        self._want()

    def _want(self) -> None:
        """Request what is shown and not known."""
        looking = self.looking
        if looking.all_heads and looking.geometry is None:
            self._find_patches(looking.run)
        request = looking.missing()
        if request is not None:
            self._asking.look(request)

    def _want_soon(self) -> None:
        """Request what is shown and not known, once the cursor rests."""
        self._once_it_rests(None if self.looking.missing() is None else self._want_now)

    def _want_now(self) -> None:
        self._want()
        self.show()

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been read of the run."""
        made = self._heard(events)
        for request, grown in self._asking.take_parts():
            if isinstance(request, PartsRequest) and isinstance(grown.part, PartsPart):
                self.looking.take_part(request, grown.part)
        for each in made:
            self._take(each.reading)
        if made:
            self._want()
        self.show()

    def _take(self, reading: Reading) -> None:
        match reading:
            case GeometryReading():
                self._place(reading)
            case PartsReading():
                self.looking.take(reading)

    # ------------------------------------------------------------------ keys

    def action_line(self, step: int) -> None:
        """Go down or up by lines, or by layers of heads."""
        self.looking.step(step)
        self._moved()

    def action_edge(self, side: int) -> None:
        """Go to the first or the last line."""
        self.looking.go_to_edge(side)
        self._moved()

    def action_move(self, right: int, down: int) -> None:
        """Go to the next patch in a direction; without heads, to the part beside this one or to the
        next line."""
        looking = self.looking
        if looking.all_heads:
            if len(looking.patches):
                looking.patch = looking.patches.beside(looking.patch, right, down)
            self._note = ""
            self._show_picture()
            self._show_legend()
            return
        if down:
            looking.step(down)
        else:
            looking.go_to_side(right)
        self._moved()

    def action_again(self) -> None:
        """Go to the patch of another tile that shows the same place."""
        looking, same = self.looking, True
        if looking.all_heads and len(looking.patches):
            patch = looking.patches.again(looking.patch)
            same = patch == looking.patch
            looking.patch = patch
        self._changed("no other tile shows this place" if same else "")

    def action_walk(self, step: int) -> None:
        """Take the logits of a later or an earlier token apart."""
        spans = self.looking.run.spans(unfolded=self._unfolded)
        self._look_from(spans.step(self.looking.explained.position, step))

    def action_head(self, step: int) -> None:
        """Go to the next head of the layer, or the one before."""
        if self.looking.step_head(step):
            self._moved()
        else:
            self._changed("D divides every attention into its heads")

    def action_best(self, step: int) -> None:
        """Go to the part or head with the next smaller share, or the next larger one."""
        rank = self.looking.go_to_next_by_size(step)
        kind = "heads" if self.looking.all_heads else "parts"
        count = self.looking.rank[1]
        self._moved(f"{ordinal(rank)} of {count} {kind} by the size of its share" if rank else "")

    def action_heads(self) -> None:
        """Divide every attention into its heads, or show the parts again."""
        self.looking.show_heads(not self.looking.all_heads)
        self._want()
        self._changed()

    def action_order(self) -> None:
        """Order the parts by size, or by layer again."""
        self.looking.order_by_size(not self.looking.by_size)
        by_size = self.looking.by_size
        self._changed("the largest come first" if by_size else "in the order of the layers")

    def action_take_out(self) -> None:
        """Take the part under the cursor out of a pass; pressed again, stop that."""
        part = self.looking.here
        if part is None:
            self._changed("there is no part under the cursor")
        elif part.effect is not None:
            self._changed("this has been read")
        elif not can_be_taken_out(part):
            name = saying.name_of(part, ascii_only=self._ascii)
            self._changed(f"{name} is the output of no module: it cannot be taken out")
        else:
            self._take_out(self.looking.one_request(part))

    def action_take_out_top(self) -> None:
        """Take the largest parts out, each in a pass of its own; pressed again, stop that."""
        if self.looking.here is None:
            self._changed("there is no part under the cursor")
        else:
            self._take_out(self.looking.top_request())

    def _take_out(self, request: PartsRequest) -> None:
        stopped = self._asking.ask_or_stop(request)
        self._changed(STOPPED if stopped else "")

    def action_words(self) -> None:
        """Ask which logit is to be taken apart."""
        of = self.looking.explained.of
        self.ask_words("which logit", KEYS, of, self._take_words, self._changed)

    def _take_words(self, of: tuple[str, ...]) -> None:
        self._explain(self.looking.explained.with_words(of))

    def action_without(self) -> None:
        """Subtract the shares in the same without the picture, or no longer."""
        explained = self.looking.explained
        if not self.looking.run.has_picture:
            self._changed("this run has no picture to replace")
        else:
            self._explain(explained.with_against("" if explained.against else WITHOUT))

    def action_choose(self) -> None:
        """Close, and show the position on the main screen, at the row after the part's layer."""
        looking = self.looking
        self.app.post_message(PlaceChosen(looking.explained.position, looking.row))
        self.dismiss()

    def action_read_again(self) -> None:
        """Request again what was interrupted or refused."""
        lost = self._asking.forget_lost()
        self._damage = ""
        self._want()
        for request in lost:
            is_asked = isinstance(request, PartsRequest) and self.looking.takes_out(request)
            if is_asked:
                self._asking.ask(request)
        self._changed()

    @on(PlaceChosen)
    def _token_clicked(self, message: PlaceChosen) -> None:
        message.stop()
        self._look_from(message.position)

    def on_led_rows_picked(self, message: LedRows.Picked) -> None:
        """Go to the clicked part."""
        message.stop()
        self.looking.part = self.list.part_at(message.row, message.x)
        self._moved()

    def on_head_grid_head_picked(self, message: HeadGrid.HeadPicked) -> None:
        """Go to the clicked head."""
        message.stop()
        self.looking.place = self.looking.table.nearest(message.place)
        self._moved()

    def on_picture_canvas_picked(self, message: PictureCanvas.Picked) -> None:
        """Go to the clicked patch."""
        message.stop()
        self.looking.patch = message.patch
        self._changed()

    def _look_from(self, position: int) -> None:
        self._explain(self.looking.explained.at(position))

    def _explain(self, explained: Explained) -> None:
        """Take another logit apart; what has been asked of the one before is cancelled."""
        if explained != self.looking.explained:
            self._asking.stop(PartsRequest)
            self._asking.forget_trouble(PartsRequest)
            self.looking.explain(explained)
        self._want_soon()
        self._changed()

    def _moved(self, note: str = "") -> None:
        """Show where the cursor is at once, and what it stands on once it rests: with a held key
        only the mark of the cursor is sent."""
        self._note = note
        self._want_soon()
        self._show_parts()
        if self._following is not None:
            self._following.stop()
        self._following = self.set_timer(_FOLLOW, self.show)

    def _changed(self, note: str = "") -> None:
        self._note = note
        self.show()

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show everything as it is now; only what has changed is drawn again."""
        if not self.is_attached:
            return
        looking = self.looking
        has_pane = looking.all_heads and looking.run.has_picture
        self.set_class(looking.all_heads, "-heads")
        self.set_class(not has_pane, "-no-pane")
        self.list.display = not looking.all_heads
        self.grid.display = looking.all_heads
        self.pane.display = has_pane
        self.strip.show(looking.run, looking.explained.position, unfolded=self._unfolded)
        self._show_parts()
        self._put_captions()
        self._show_picture()
        self._show_panel()
        self._show_legend()

    def _show_parts(self) -> None:
        looking = self.looking
        if looking.all_heads:
            shown = HeadsShown(looking.table.shares, looking.place)
            self.grid.show(None if looking.known.failed else shown, self._no_heads())
            return
        known = looking.known
        self.list.show(
            PartsShown(
                looking.lines,
                known.parts,
                looking.cursor,
                looking.part,
                looking.most,
                known.failed,
            )
        )

    def _no_heads(self) -> str:
        if self.looking.known.failed:
            return saying.sum_words(self.looking.known)
        if self._asking.waits_for(PartsRequest) or not self.looking.known.heads_read:
            return "reading every head"
        return "no attention here can be divided into heads"

    def _put_captions(self) -> None:
        looking = self.looking
        what = looking.explained.in_words(looking.known.of, ascii_only=self._ascii)
        shown: Widget = self.list
        if looking.all_heads:
            what, shown = f"heads, {what}", self.grid
        room = max(shown.size.width + 2 - _BORDER, 1)
        put_title(shown, display_text(what, room, spaces=False, ascii_only=self._ascii).rstrip())
        words = saying.sum_words(looking.known)
        put_subtitle(shown, whole_parts(words, room, ascii_only=self._ascii))

    def _show_picture(self) -> None:
        looking = self.looking
        if not self.pane.display:
            return
        if self._mapped and looking.missing() is not None and not self._asking.trouble:
            return  # the map before stays, under its name: without it the picture is sent twice
        self._mapped = looking.map is not None
        cursor = looking.patch if len(looking.patches) else None
        scene = Scene(looking.patches, looking.sheet, looking.steps, cursor, signed=True)
        self.pane.show(scene, "finding the patches")
        facts = [saying.patch_words(looking)]
        if len(looking.patches.sheets) > 1:
            facts.append(f"view {looking.sheet + 1} of {len(looking.patches.sheets)}: O")
        head = looking.head
        name = "" if head is None else saying.name_of(head, ascii_only=self._ascii)
        state = "not read" if looking.sent is None else "sent by patches"
        title = f"{name}, {'not shown: proof failed' if looking.known.failed else state}"
        self.pane.put_captions(title if name else "", "; ".join(filter(None, facts)))

    def _show_panel(self) -> None:
        looking, part = self.looking, self.looking.here
        if part is None:
            no_heads = looking.all_heads and looking.known.heads_read
            words = self._no_heads() if no_heads else self._asking.progress or "not read"
            self.panel.show(ShareShown(words))
            return
        effect, is_known = saying.effect_words(looking)
        if self._asking.waits_for(PartsRequest) and not is_known:
            effect = self._asking.progress
        self.panel.show(
            ShareShown(
                saying.share_words(looking, ascii_only=self._ascii),
                effect,
                is_known,
                part.promotes,
                part.suppresses,
                saying.NO_WORDS,
                saying.more_words(looking, ascii_only=self._ascii),
                looking.known.failed,
            )
        )

    def _show_legend(self) -> None:
        looking = self.looking
        here = looking.here
        place = "" if here is None else saying.name_of(here, ascii_only=self._ascii)
        if self._asking.progress:
            place = f"{self._asking.progress}, {place}" if place else self._asking.progress
        if looking.all_heads:
            name = "sent by patches" if looking.map is not None else "shares of heads"
            scale = scale_shown(name, looking.scaled, looking.scale, place)
        else:
            order = "the largest first" if looking.by_size else "in the order of the layers"
            scale = ScaleShown(f"parts, {order}", place=place)
        largest = saying.largest_words(looking, ascii_only=self._ascii)
        largest = whole_parts(largest, self.size.width - 2, ", ", ascii_only=self._ascii)
        self.legend.show(scale, (largest, "faint"), self._last_line())

    def _last_line(self) -> tuple[str, str]:
        damage = plain_line(self.looking.known.damage, ascii_only=self._ascii)
        wrong = self._damage or damage or self._asking.trouble
        if self._note:
            return (self._note, "good")
        if wrong:
            return (wrong, "error")
        if self.looking.known.failed:
            return (saying.sum_words(self.looking.known), "error")
        return (saying.MEANING, "faint")
