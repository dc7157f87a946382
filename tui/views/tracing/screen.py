"""At which row and tokens the answer is decided: recovery by row and site at the left, the picture
with the site at the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget

from engine.errors import LenscopeError
from engine.events import Event
from engine.methods.geometry import GeometryReading
from engine.methods.tracing import TracingReading, TracingRequest
from tui.state.maps import NO_STEP
from tui.state.run_view import RunView
from tui.text.numbers import signed_figure
from tui.text.show import display_text, plain_line
from tui.views.reading_screen import STEPS, PatchScreen
from tui.views.strip.strip import PromptStrip
from tui.views.tracing.against import against_of, choices_of
from tui.views.tracing.asking import AskingTracing
from tui.views.tracing.recovery_table import SCALE, RecoveryTable, SiteColumn, TableShown
from tui.views.tracing.traced import Traced
from tui.views.tracing.words import TracingWords
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.chooser import Chooser
from tui.widgets.half_blocks import Colours
from tui.widgets.head_lines import HeadLines
from tui.widgets.led_rows import LedRows
from tui.widgets.legend import ScaleShown
from tui.widgets.line_input import LineInput
from tui.widgets.named_bars import NamedBar, NamedBars
from tui.widgets.picture_canvas import PictureCanvas, Scene
from tui.widgets.places import PlaceChosen
from tui.widgets.view_context import ViewContext

_BORDER: Final = 6
"""Cells of a line in a border that are not its text."""
_MOST_BARS: Final = 10
_LOW: Final = 20
_KEYS: Final = (
    "jk row", "() site", "A against", "D direction", "f stream/attention/MLP", "+- window",
    "arrows <> cell", "space adds a site", "t types one", "del removes it", "/ words",
    "enter goes there", "q closes",
)  # fmt: skip
_MEANING: Final = "1 is all of the difference; what suffices and what is needed may differ: D"


class TracingScreen(PatchScreen[AskingTracing]):
    """Shows what patching each site at each row brings back, or takes away."""

    VIEW: ClassVar[str] = "tracing"
    DEFAULT_CSS = """
    TracingScreen { background: $background; }
    TracingScreen HeadLines { height: 2; }
    TracingScreen #tracing-body { layout: horizontal; height: 1fr; }
    TracingScreen #tracing-left { layout: vertical; width: 60; height: 100%; }
    TracingScreen.-w-tiny #tracing-left { width: 34; }
    TracingScreen.-w-narrow #tracing-left { width: 46; }
    TracingScreen.-w-huge #tracing-left { width: 84; }
    TracingScreen RecoveryTable, TracingScreen NamedBars {
        width: 100%; border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint; background: $background;
    }
    TracingScreen RecoveryTable { height: 1fr; }
    TracingScreen Legend { height: 4; }
    TracingScreen.-ascii RecoveryTable, TracingScreen.-ascii NamedBars { border: ascii $frame; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("q,7,1", "dismiss", show=False),
        Binding("j", "line(1)", show=False),
        Binding("k", "line(-1)", show=False),
        *STEPS,
        Binding("left_parenthesis", "site(-1)", show=False),
        Binding("right_parenthesis", "site(1)", show=False),
        Binding("left,h", "move(-1, 0)", show=False),
        Binding("right,l", "move(1, 0)", show=False),
        Binding("up", "move(0, -1)", show=False),
        Binding("down", "move(0, 1)", show=False),
        Binding("less_than_sign", "walk(-1)", show=False),
        Binding("greater_than_sign", "walk(1)", show=False),
        Binding("O", "again", show=False),
        Binding("space", "mark", show=False),
        Binding("t", "type_site", show=False),
        Binding("delete,backspace", "remove", show=False),
        Binding("A", "against", show=False),
        Binding("D", "direction", show=False),
        Binding("f", "what(1)", show=False),
        Binding("F", "what(-1)", show=False),
        Binding("plus,equals_sign", "window(1)", show=False),
        Binding("minus", "window(-1)", show=False),
        Binding("slash,W", "words", show=False),
        Binding("Y", "copy", show=False),
    ]

    def __init__(
        self,
        run: RunView,
        row: int,
        place: int | None,
        context: ViewContext,
        *,
        colours: Colours,
        runs: Callable[[], Sequence[RunView]],
        others: Callable[[], Sequence[RunView]],
        against: str = "",
        unfolded: bool = False,
    ) -> None:
        """Look at a row of a run, and at the token at a place; with `against`, trace it against
        that. `runs` returns all runs of the session, `others` those of the run's question with
        something else instead of the picture."""
        seed, ascii_only = context.seed(), context.ascii_only
        self.traced = Traced(
            run, row, place, against, others=others, seed=seed, ascii_only=ascii_only
        )
        asking = AskingTracing(run.own, context, others)
        super().__init__(asking, self.traced, context, _KEYS, colours)
        self.words = TracingWords(self.traced, runs, seed, ascii_only=self._ascii)
        self._runs, self._unfolded = runs, unfolded
        self.strip = PromptStrip(ascii_only=self._ascii)
        self.head = HeadLines(ascii_only=self._ascii)
        self.table = RecoveryTable(ascii_only=self._ascii)
        self.bars = NamedBars(ascii_only=self._ascii, text=signed_figure, least=1.0)

    def compose(self) -> ComposeResult:
        """Lay out the prompt, what is compared, the table, the picture and the lines below."""
        yield self.strip
        yield self.head
        with Container(id="tracing-body"):
            with Container(id="tracing-left"):
                yield self.table
                yield self.bars
            yield self.pane
        yield self.legend

    # ------------------------------------------------------------------ readings

    def _want(self) -> None:
        """Request the sites that are shown and not known, once what is on its way has come."""
        request = self.traced.missing()
        if request is not None and not self._asking.is_tracing:
            self._asking.trace(request)

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been read of the run."""
        made = self._heard(events)
        for request, part in self._asking.take_parts():
            self.traced.known.take_part(request, part)
        for each in made:
            if isinstance(each.reading, GeometryReading):
                self._place(each.reading)
            elif isinstance(each.reading, TracingReading):
                self.traced.take_stored()
                self._want()
        self.show()

    def cancel(self) -> bool:
        """Stop tracing; return whether it was on its way."""
        if not self._asking.is_tracing:
            return False
        self._asking.drop()
        self._note = "stopped, this is not kept: r traces again"
        self.show()
        return True

    # ------------------------------------------------------------------ keys

    def action_leave(self) -> None:
        """Forget the corner of a box, or stop tracing, or else close."""
        if self.traced.corner is not None:
            self.traced.corner = None
            self._moved()
        elif not self.cancel():
            self.dismiss()

    def action_line(self, step: int) -> None:
        """Go down or up by rows."""
        self.traced.go_to_line(self.traced.line + step)
        self._moved()

    def action_edge(self, side: int) -> None:
        """Go to the first or the last row."""
        self.traced.go_to_line(0 if side < 0 else len(self.traced.rows) - 1)
        self._moved()

    def action_site(self, step: int) -> None:
        """Choose the next site, or the one before."""
        self.traced.step_site(step)
        self._moved()

    def action_move(self, right: int, down: int) -> None:
        """Go to the next patch in a direction."""
        traced = self.traced
        if len(traced.patches):
            traced.go_to_patch(traced.patches.beside(traced.patch, right, down))
        self._moved(self._corner_words())

    def action_again(self) -> None:
        """Go to the patch of another tile that shows the same place."""
        traced = self.traced
        traced.corner = None
        if len(traced.patches):
            traced.go_to_patch(traced.patches.again(traced.patch))
        self._moved()

    def action_walk(self, step: int) -> None:
        """Go to a later or an earlier token."""
        traced = self.traced
        spans = traced.run.prompt_spans(unfolded=self._unfolded)
        traced.corner = None
        traced.go_to_place(spans.step(traced.place, step))
        self._moved()

    def action_mark(self) -> None:
        """Mark a corner of a box of patches, or trace what is marked; a token at once."""
        self._moved(self.traced.mark())
        self._want()
        self.show()

    def action_type_site(self) -> None:
        """Ask for a site in words."""
        keys = "positions such as 3,12-20, or picture, question, last, features, all"
        entry = LineInput("patch at", keys=keys, ascii_only=self._ascii)
        self.app.push_screen(entry, self._take_site)

    def _take_site(self, typed: str | None) -> None:
        site = "".join((typed or "").split())
        if site:
            self._moved(self.traced.add(site))
            self._want()
            self.show()

    def action_remove(self) -> None:
        """Show the chosen site no more."""
        self._moved(self.traced.remove())
        self._want()

    def action_against(self) -> None:
        """Choose what the run is compared with."""
        self.app.push_screen(
            Chooser(
                "compared with",
                choices_of(self.traced.run, self._runs()),
                ascii_only=self._ascii,
                free="as typed",
                hint="noise=700, blur=8, other=FILE",
            ),
            self._take_against,
        )

    def _take_against(self, chosen: str | None) -> None:
        if chosen is None:
            return
        try:
            against = against_of(chosen, self._runs(), self._shared.seed())
        except LenscopeError as error:
            self._moved(plain_line(str(error), ascii_only=self._ascii))
            return
        self._set(replace(self.traced.setting, against=against))

    def action_direction(self) -> None:
        """Patch the other way round."""
        other = "break" if self.traced.setting.direction == "recover" else "recover"
        self._set(replace(self.traced.setting, direction=other))

    def action_what(self, step: int) -> None:
        """Patch the residual stream, what attention adds to it, or what the MLP does."""
        self._set(self.traced.next_what(step))

    def action_window(self, step: int) -> None:
        """Patch attention or MLP in more layers at once, or in fewer."""
        setting, layers = self.traced.setting, self.traced.run.run.layers
        if setting.what == "stream":
            self._moved("a stream is patched at one row; f chooses attention or MLP")
            return
        self._set(replace(setting, window=min(max(setting.window + step, 1), max(layers, 1))))

    def action_words(self) -> None:
        """Ask for the word, or the two words, whose logits are compared."""
        keys = "one word: its log p; two: their difference; none: the two answers"
        of = self.traced.setting.of
        self.ask_words("compare the logits of", keys, of, self._take_words, self._moved)

    def _take_words(self, of: tuple[str, ...]) -> None:
        self._set(replace(self.traced.setting, of=of))

    def action_choose(self) -> None:
        """Close, and show this row at the token under the cursor on the main screen."""
        self.app.post_message(PlaceChosen(self.traced.place, self.traced.row))
        self.dismiss()

    def action_read_again(self) -> None:
        """Request again what was stopped or refused."""
        if self._asking.is_tracing:
            self._moved("it is being read")
            return
        self._asking.drop()
        self._asking.forget_trouble()
        self._damage = ""
        self._begin()
        self._moved()

    @on(PlaceChosen)
    def _token_clicked(self, message: PlaceChosen) -> None:
        message.stop()
        self.traced.go_to_place(message.position)
        self._moved()

    def on_led_rows_picked(self, message: LedRows.Picked) -> None:
        """Go to the clicked cell."""
        message.stop()
        self.traced.go_to_line(message.row)
        self.traced.step_site(self.table.site_at(message.x) - self.traced.site)
        self._moved()

    def on_picture_canvas_picked(self, message: PictureCanvas.Picked) -> None:
        """Go to the clicked patch."""
        message.stop()
        self.traced.go_to_patch(message.patch)
        self._moved(self._corner_words())

    def _set(self, setting: TracingRequest) -> None:
        """Look at another tracing, and request what is not known of it."""
        if setting != self.traced.setting:
            self._asking.drop()
            self.traced.set(setting)
            self._want()
        self._moved()

    def _corner_words(self) -> str:
        return "space ends the box here, esc forgets it" if self.traced.corner is not None else ""

    def _moved(self, note: str = "") -> None:
        self._note = note
        self.show()

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show everything as it is now; only what has changed is drawn again."""
        if not self.is_attached:
            return
        traced = self.traced
        self.strip.show(traced.run, traced.place, unfolded=self._unfolded)
        self.head.show(self.words.metric_words(), self.words.runs_words())
        self._show_table()
        self._show_bars()
        self._show_picture()
        self._show_legend()

    def _show_table(self) -> None:
        traced, words = self.traced, self.words
        rows = traced.rows
        columns = []
        for name in traced.sites:
            known = traced.column(name)
            values = tuple(traced.value(name, row) for row in rows)
            refused = known is not None and (known.whole or known.site.reason is not None)
            failed = known is not None and known.failed
            columns.append(SiteColumn(words.site_name(name), values, refused, failed))
        label = "row" if traced.setting.what == "stream" else "from"
        self.table.show(TableShown(label, rows, tuple(columns), traced.site, traced.line))
        recovers = traced.setting.direction == "recover"
        title = f"{'brought back' if recovers else 'taken away'}, of the difference"
        caption = "; ".join(part for part in (traced.known.caption, *traced.known.notes) if part)
        self._put_captions(self.table, title, caption)

    def _show_bars(self) -> None:
        traced = self.traced
        bars = []
        for name in traced.sites:
            known = traced.column(name)
            reason = "" if known is None else known.site.reason or ""
            failed = known is not None and known.failed
            value = traced.value(name, traced.row)
            bars.append(NamedBar(self.words.site_name(name), value, reason, failed))
        self.bars.display = self.size.height >= _LOW
        body = self.query_one("#tracing-body").size.height
        height = min(len(bars), _MOST_BARS, max(body // 3 - 2, 1)) + 2
        if self.bars.styles.height is None or self.bars.styles.height.value != height:
            self.bars.styles.height = height
        self.bars.show(tuple(bars), traced.site)
        self._put_captions(self.bars, f"{self.words.place_words()}", "")

    def _put_captions(self, widget: Widget, title: str, subtitle: str) -> None:
        room = max(self.query_one("#tracing-left").size.width - _BORDER, 1)
        for put, words in ((put_title, title), (put_subtitle, subtitle)):
            put(widget, display_text(words, room, spaces=False, ascii_only=self._ascii).rstrip())

    def _show_picture(self) -> None:
        traced = self.traced
        # A mark says "?" where a step is missing; a picture shows itself.
        steps = traced.steps(0 if self.pane.marks_only else NO_STEP)
        cursor = traced.patch if traced.on_patch else None
        scene = Scene(traced.patches, traced.sheet, steps, cursor)
        known = traced.geometry is not None
        self.pane.show(scene, "no patches to show" if known else "finding the patches")
        facts = [self.words.patch_name() if traced.on_patch else ""]
        if len(traced.patches.sheets) > 1:
            facts.append(f"view {traced.sheet + 1} of {len(traced.patches.sheets)}: O")
        title = f"site: {self.words.site_name(traced.chosen)}"
        self.pane.put_captions(title, "; ".join(fact for fact in facts if fact))

    def _show_legend(self) -> None:
        traced = self.traced
        place = self.words.place_words()
        if self._asking.progress:
            place = f"{self._asking.progress}, {place}"
        name = "recovery" if traced.setting.direction == "recover" else "loss"
        low, high = (signed_figure(end) for end in (SCALE.low, SCALE.high))
        self.legend.show(
            ScaleShown(name, low, high, "linear", place, signed=True),
            (self.words.sentence(), "strong"),
            self._last_line(),
        )

    def _last_line(self) -> tuple[str, str]:
        known = self.traced.known
        wrong = self._damage or plain_line(known.damage, ascii_only=self._ascii)
        if self._note:
            return (self._note, "good")
        if wrong or self._asking.trouble:
            return (wrong or self._asking.trouble, "error")
        if known.failed:
            return ("the proof of this tracing failed: do not believe it", "error")
        if self._asking.is_tracing:
            return (f"{self._asking.progress or 'tracing'}: esc or ^c stops", "good")
        return (_MEANING, "faint")
