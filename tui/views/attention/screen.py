"""Where a position looks: shares per layer at the left, the map over the picture at the right, and
what becomes of the answer where it may not look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget

from engine.errors import BadInput
from engine.events import Event
from engine.methods.attention import AttentionPart, AttentionReading, AttentionRequest
from engine.methods.geometry import GeometryReading
from engine.methods.knockout import PANEL, KnockoutPart, KnockoutReading, KnockoutRequest
from engine.records import Reading
from tui.state.run_view import RunView
from tui.text.numbers import ordinal
from tui.text.show import display_text, plain_line
from tui.views.attention.asking import AskingAttention
from tui.views.attention.effect_panel import EffectPanel
from tui.views.attention.gaze import Gaze
from tui.views.attention.knocked import KnownKnockout, panel_request, patch_request
from tui.views.attention.matrix import HeadMatrix, MatrixShown
from tui.views.attention.share_list import ShareList, SharesShown
from tui.views.reading_screen import STEPS, PatchScreen
from tui.views.strip.strip import PromptStrip
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.half_blocks import Colours
from tui.widgets.led_rows import LedRows
from tui.widgets.legend import scale_shown
from tui.widgets.picture_canvas import PictureCanvas, Scene
from tui.widgets.places import PlaceChosen
from tui.widgets.view_context import ViewContext

_BORDER: Final = 6
"""Cells of a line in a border that are not its text."""
_LEAST_PANEL: Final = 3 + len(PANEL)
"""Lines of the panel of effects, with its border, that it has in a body of any height: those of the
usual pairs. More of them it has up to half of the body."""
_HIGH: Final = 30
_LOW: Final = 20
_NARROW: Final = 70
_KEYS: Final = (
    "jk layer", "<> token", "() head", "n best head", "D all heads", "f map", "K knockout",
    "arrows patch", "Z without this patch", "S own scale", "% log", "O other tiles",
    "enter goes there", "q closes",
)  # fmt: skip
_HINT: Final = "K asks what the answer becomes then: many passes"
_MEANING: Final = (
    "Attention says where a head read, not why the answer was given; K asks what if not."
)


class AttentionScreen(PatchScreen[AskingAttention]):
    """Shows where a position of a run looks."""

    VIEW: ClassVar[str] = "attention"
    DEFAULT_CSS = """
    AttentionScreen { background: $background; }
    AttentionScreen #attention-body { layout: horizontal; height: 1fr; }
    AttentionScreen #attention-left { layout: vertical; width: 60; height: 100%; }
    AttentionScreen.-w-tiny #attention-left { width: 34; }
    AttentionScreen.-w-narrow #attention-left { width: 42; }
    AttentionScreen.-w-huge #attention-left { width: 84; }
    AttentionScreen ShareList, AttentionScreen HeadMatrix, AttentionScreen EffectPanel {
        width: 100%; border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint; background: $background;
    }
    AttentionScreen ShareList, AttentionScreen HeadMatrix { height: 1fr; }
    AttentionScreen Legend { height: 5; }
    AttentionScreen.-h-low Legend { height: 4; }
    AttentionScreen.-ascii ShareList, AttentionScreen.-ascii HeadMatrix,
    AttentionScreen.-ascii EffectPanel { border: ascii $frame; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,4,1", "dismiss", show=False),
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
        Binding("D", "matrix", show=False),
        Binding("f", "way(1)", show=False),
        Binding("F", "way(-1)", show=False),
        Binding("S", "own_scale", show=False),
        Binding("percent_sign", "log", show=False),
        Binding("O", "again", show=False),
        Binding("K", "knockout", show=False),
        Binding("Z", "without_patch", show=False),
    ]

    def __init__(
        self,
        run: RunView,
        layer: int,
        position: int,
        context: ViewContext,
        *,
        colours: Colours,
        unfolded: bool = False,
    ) -> None:
        """Look from a position of a run, at a layer; `unfolded` says whether `<` and `>` walk over
        every patch by itself."""
        self.gaze = Gaze(run, layer, position)
        super().__init__(AskingAttention(run, context), self.gaze, context, _KEYS, colours)
        self._unfolded = unfolded
        self._knocked = KnownKnockout(run.run.layers, self.gaze.position)
        self._all_heads = False
        letters = self.pane.marks_only
        self.strip = PromptStrip(ascii_only=self._ascii)
        self.shares = ShareList(ascii_only=self._ascii, letters=letters)
        self.matrix = HeadMatrix(ascii_only=self._ascii, letters=letters, colours=colours)
        self.panel = EffectPanel(ascii_only=self._ascii, letters=letters)

    def compose(self) -> ComposeResult:
        """Lay out the prompt, the shares, the picture and the lines below."""
        yield self.strip
        with Container(id="attention-body"):
            with Container(id="attention-left"):
                yield self.shares
                yield self.matrix
                yield self.panel
            yield self.pane
        yield self.legend

    # ------------------------------------------------------------------ readings

    def _begin(self) -> None:
        """See `PatchScreen._begin`."""
        gaze = self.gaze
        with self._undamaged():
            gaze.take_stored()
        self._take_effects()
        self._want()
        self._find_patches(gaze.run)

    def _want(self) -> None:
        """Request what is shown and not known."""
        request = self.gaze.missing()
        if request is not None:
            self._asking.look(request)

    def _want_soon(self) -> None:
        """Request what is shown and not known, once the cursor rests."""
        self._once_it_rests(None if self.gaze.missing() is None else self._want_now)

    def _want_now(self) -> None:
        self._want()
        self.show()

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been read of the run."""
        made = self._heard(events)
        for request, grown in self._asking.take_parts():
            part = grown.part
            if isinstance(request, KnockoutRequest) and isinstance(part, KnockoutPart):
                self._knocked.take_part(request, part)
            if isinstance(request, AttentionRequest) and isinstance(part, AttentionPart):
                with self._undamaged():
                    self.gaze.take_part(request, part)
        for each in made:
            self._take(each.reading)
        if made:
            self._want()
        self.show()

    def _take(self, reading: Reading) -> None:
        with self._undamaged():
            match reading:
                case GeometryReading():
                    self._place(reading)
                case AttentionReading():
                    self._take_attention(reading)
                case KnockoutReading():
                    self._knocked.take(reading)

    def _take_attention(self, reading: AttentionReading) -> None:
        """Take it; one that cannot be taken is not asked for again, as it would be the same."""
        try:
            self.gaze.take(reading)
        except BadInput as error:
            why = plain_line(str(error), ascii_only=self._ascii)
            self._asking.lose(reading.request, why)

    def _take_effects(self) -> None:
        """Take the effects of knockout that the run holds for the position."""
        own = self.gaze.run.own
        shown = own.unsaved_readings.get("knockout")
        readings = (*own.run.readings, *([shown] if shown is not None else []))
        self._knocked = KnownKnockout(own.run.layers, self.gaze.position, readings)

    # ------------------------------------------------------------------ keys

    def action_line(self, step: int) -> None:
        """Go down or up by layers; the map follows."""
        self.gaze.go_to_line(self.gaze.cursor + step)
        self._moved()

    def action_edge(self, side: int) -> None:
        """Go to the first or the last layer."""
        self.gaze.go_to_line(0 if side < 0 else len(self.gaze.lines) - 1)
        self._moved()

    def action_move(self, right: int, down: int) -> None:
        """Go to the next patch in a direction."""
        gaze = self.gaze
        if len(gaze.patches):
            gaze.go_to_patch(gaze.patches.beside(gaze.patch, right, down))
        self._note = ""
        self._show_picture()
        self._show_legend()

    def action_again(self) -> None:
        """Go to the patch of another tile that shows the same place."""
        gaze, same = self.gaze, True
        if len(gaze.patches):
            patch = gaze.patches.again(gaze.patch)
            same = patch == gaze.patch
            gaze.go_to_patch(patch)
        self._moved("no other tile shows this place" if same else "")

    def action_walk(self, step: int) -> None:
        """Look from a later or an earlier token."""
        spans = self.gaze.run.spans(unfolded=self._unfolded)
        self._look_from(spans.step(self.gaze.position, step))

    def action_head(self, step: int) -> None:
        """Show the next head, or the one before; the mean comes before the first."""
        self.gaze.step_head(step)
        self._moved("" if self.gaze.heads else "the heads of this layer are not known")

    def action_best(self, step: int) -> None:
        """Go to the next of the heads that localise best."""
        if self.gaze.go_to_best_head(step):
            count = len(self.gaze.known.best)
            self._moved(f"{ordinal(self.gaze.rank + 1)} of the {count} heads that localise best")
        else:
            self._moved("no heads are known to localise")

    def action_matrix(self) -> None:
        """Show all heads at once in place of the shares, or the shares again."""
        self._all_heads = not self._all_heads
        self._moved()

    def action_way(self, step: int) -> None:
        """Map weight, contribution, or weight relative to a neutral prompt."""
        self.gaze.next_way(step)
        self._moved()

    def action_own_scale(self) -> None:
        """Switch between one scale for all layers and each layer's own."""
        self.gaze.per_layer = not self.gaze.per_layer
        own = self.gaze.per_layer
        self._moved("each layer has its own scale: brightness cannot be compared" if own else "")

    def action_log(self) -> None:
        """Switch between a linear and a logarithmic scale."""
        self.gaze.log = not self.gaze.log
        self._moved()

    def action_knockout(self) -> None:
        """Ask what the answer becomes where it may not look; pressed again, stop asking this."""
        self._knock(panel_request(self.gaze.asked_position))

    def action_without_patch(self) -> None:
        """Ask what the answer becomes if the patch under the cursor may not be looked at."""
        patch = self.gaze.patch_position
        if patch is None:
            self._moved("there is no patch under the cursor")
        elif patch >= self.gaze.position:
            self._moved("this patch comes after the token that looks")
        else:
            self._knock(patch_request(self.gaze.asked_position, patch))

    def _knock(self, request: KnockoutRequest) -> None:
        if self._asking.is_open(request):
            self._asking.stop_one(request)
            self._moved("knockout was stopped")
        elif self._knocked.bring_back(request):
            self._moved("this has been read")
        else:
            self._asking.forget_trouble(KnockoutRequest)
            self._knocked.failed = ""
            self._asking.ask(request)
            self._moved()

    def action_choose(self) -> None:
        """Close, and show the position that looks on the main screen, at this layer's row."""
        self.app.post_message(PlaceChosen(self.gaze.position, self.gaze.layer))
        self.dismiss()

    def action_read_again(self) -> None:
        """Request again what was interrupted or refused."""
        lost = self._asking.forget_lost()
        self._damage = ""
        self._begin()
        for request in lost:
            here = self.gaze.asked_position
            if isinstance(request, KnockoutRequest) and request.position == here:
                self._asking.ask(request)
        self._moved()

    @on(PlaceChosen)
    def _token_clicked(self, message: PlaceChosen) -> None:
        message.stop()
        self._look_from(message.position)

    def on_led_rows_picked(self, message: LedRows.Picked) -> None:
        """Go to the clicked layer."""
        message.stop()
        self.gaze.go_to_line(message.row)
        self._moved()

    def on_head_matrix_head_picked(self, message: HeadMatrix.HeadPicked) -> None:
        """Go to the clicked head."""
        message.stop()
        self.gaze.go_to(message.layer, message.head)
        self._moved()

    def on_picture_canvas_picked(self, message: PictureCanvas.Picked) -> None:
        """Go to the clicked patch."""
        message.stop()
        self.gaze.go_to_patch(message.patch)
        self._moved()

    def _look_from(self, position: int) -> None:
        if position != self.gaze.position:
            self._asking.stop(AttentionRequest, KnockoutRequest)
            self._asking.forget_trouble(AttentionRequest, KnockoutRequest)
            with self._undamaged():
                self.gaze.look_from(position)
            self._take_effects()
        self._moved()

    def _moved(self, note: str = "") -> None:
        self._note = note
        self._want_soon()
        self.show()

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show everything as it is now; only what has changed is drawn again."""
        if not self.is_attached:
            return
        self._show_shares()
        self._show_picture()
        self._show_effects()
        self._show_legend()

    def _show_shares(self) -> None:
        gaze = self.gaze
        known = gaze.known
        reach = gaze.line.reach
        self.strip.show(
            gaze.run,
            gaze.position,
            unfolded=self._unfolded,
            sinks=frozenset(known.sinks or ()),
            reach=reach,
        )
        self.shares.display = not self._all_heads
        self.matrix.display = self._all_heads
        sinks = "; ".join(part for part in (gaze.sinks(), known.proof) if part)
        if self._all_heads:
            found = known.picture_shares()
            self.matrix.show(None if found is None else MatrixShown(*found, gaze.layer, gaze.head))
            self._put_captions(self.matrix, "all heads", sinks)
        else:
            self.shares.show(SharesShown(gaze.lines, known.groups, gaze.head, gaze.cursor))
            self._put_captions(self.shares, f"shares, {gaze.head_name}", sinks)

    def _put_captions(self, widget: Widget, title: str, subtitle: str) -> None:
        room = max(self.query_one("#attention-left").size.width - _BORDER, 1)
        for put, words in ((put_title, title), (put_subtitle, subtitle)):
            put(widget, display_text(words, room, spaces=False, ascii_only=self._ascii).rstrip())

    def _show_picture(self) -> None:
        gaze = self.gaze
        cursor = gaze.patch if len(gaze.patches) else None
        scene = Scene(gaze.patches, gaze.sheet, gaze.steps, cursor, gaze.sink_patches)
        self.pane.show(scene, gaze.no_map() or "finding the patches")
        facts = [gaze.reach()]
        if len(gaze.patches.sheets) > 1:
            facts.append(f"view {gaze.sheet + 1} of {len(gaze.patches.sheets)}: O")
        if gaze.geometry is not None and gaze.geometry.how == "approximate":
            facts.append(f"approximate: {gaze.geometry.reason}")
        self.pane.put_captions(gaze.title(), "; ".join(fact for fact in facts if fact))

    def _show_effects(self) -> None:
        on_its_way = self._asking.waits_for(KnockoutRequest)
        high = self.size.height
        effects = self._knocked.effects
        is_wanted = bool(effects or self._knocked.failed) or on_its_way or high >= _HIGH
        self.panel.display = is_wanted and high >= _LOW
        words = "the first pass runs" if on_its_way else self._knocked.failed or _HINT
        self.panel.show(effects, self.gaze.layer, words)
        body = self.query_one("#attention-body").size.height
        height = min(self.panel.wanted_height + 2, max(body // 2, _LEAST_PANEL))
        older = self.panel.wanted_height + 2 - height
        caption = (f"without {older} older" if older else "", self._knocked.caption)
        title = effects.title(ascii_only=self._ascii)
        self._put_captions(self.panel, title, "; ".join(filter(None, caption)))
        if self.panel.styles.height is None or self.panel.styles.height.value != height:
            self.panel.styles.height = height

    def _show_legend(self) -> None:
        gaze = self.gaze
        layers = gaze.run.run.layers
        place = f"layer {gaze.layer} of 0-{layers - 1}, {gaze.head_name}"
        if self.size.width < _NARROW:
            place = f"layer {gaze.layer}, {gaze.short_head_name}"
        if self._asking.progress:
            place = f"{self._asking.progress}, {place}"
        name = f"{gaze.way_name}, own scale" if gaze.per_layer else gaze.way_name
        here = "; ".join(
            part for part in (gaze.at_patch(), gaze.relative_to(ascii_only=self._ascii)) if part
        )
        lines = [(display_text(here, spaces=False, ascii_only=self._ascii), "good")]
        if self.size.height >= _LOW:
            lines.append((gaze.best_heads(), "faint"))
        lines.append(self._last_line())
        self.legend.show(scale_shown(name, gaze.map, gaze.scale, place), *lines)

    def _last_line(self) -> tuple[str, str]:
        gaze = self.gaze
        wrong = self._damage or self._asking.trouble or self._knocked.failed
        if self._note:
            return (self._note, "good")
        if wrong:
            return (wrong, "error")
        effect = self._knocked.effects.sentence(gaze.layer, ascii_only=self._ascii)
        if effect:
            return (effect, "strong")
        return (plain_line(gaze.no_map(), ascii_only=self._ascii) or _MEANING, "faint")
