"""To what in the picture the answer is sensitive: the picture under a map, or rows x positions, and
beside it the ways that were tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget

from engine.events import Event
from engine.methods.geometry import GeometryReading
from engine.methods.saliency import SaliencyReading, SaliencyRequest
from tui.state.maps import Steps, signed_scale
from tui.state.run_view import RunView
from tui.text.numbers import signed_number
from tui.text.show import display_text, whole_parts
from tui.views.reading_screen import STEPS, PatchScreen
from tui.views.saliency.asking import AskingSaliency
from tui.views.saliency.row_grid import GridShown, RowGrid
from tui.views.saliency.salient import Salient
from tui.views.saliency.way_table import HEAD, WayLine, WayTable
from tui.views.saliency.words import SaliencyWords
from tui.views.strip.strip import PromptStrip
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.half_blocks import Colours
from tui.widgets.legend import ScaleShown, scale_shown
from tui.widgets.named_bars import NamedBar, NamedBars
from tui.widgets.picture_canvas import PictureCanvas, Scene
from tui.widgets.places import PlaceChosen
from tui.widgets.view_context import ViewContext

_BORDER: Final = 6
"""Cells of a line in a border that are not its text."""
_LEAST_WAYS: Final = 5
"""Lines of the table of ways, with its head."""
_MOST_TOKENS: Final = 8
_KEYS: Final = (
    "f way", "p pixels/row", "jk row", "/ words", "b compare", "D rows x positions", "n strongest",
    "+- steps, block", "<> token", "arrows patch", "S own scale", "O other tiles",
    "enter goes there", "q closes",
)  # fmt: skip


class SaliencyScreen(PatchScreen[AskingSaliency]):
    """Shows the saliency of a run's answer."""

    VIEW: ClassVar[str] = "saliency"
    DEFAULT_CSS = """
    SaliencyScreen { background: $background; }
    SaliencyScreen #saliency-body { layout: horizontal; height: 1fr; }
    SaliencyScreen #saliency-side { layout: vertical; width: 50; height: 100%; }
    SaliencyScreen.-w-narrow #saliency-side { width: 40; }
    SaliencyScreen.-w-huge #saliency-side { width: 64; }
    SaliencyScreen.-w-tiny #saliency-body { layout: vertical; }
    SaliencyScreen.-w-tiny PatchPane, SaliencyScreen.-w-tiny RowGrid { width: 100%; height: 1fr; }
    SaliencyScreen.-w-tiny #saliency-side { display: none; }
    SaliencyScreen RowGrid, SaliencyScreen WayTable, SaliencyScreen NamedBars {
        border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint; background: $background;
    }
    SaliencyScreen RowGrid { width: 1fr; height: 100%; }
    SaliencyScreen WayTable { width: 100%; height: 1fr; }
    SaliencyScreen NamedBars { width: 100%; }
    SaliencyScreen Legend { height: 5; }
    SaliencyScreen.-h-low Legend { height: 4; }
    SaliencyScreen.-ascii RowGrid, SaliencyScreen.-ascii WayTable,
    SaliencyScreen.-ascii NamedBars { border: ascii $frame; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("q,8,1", "dismiss", show=False),
        Binding("j", "line(1)", show=False),
        Binding("k", "line(-1)", show=False),
        *STEPS,
        Binding("left,h", "move(-1, 0)", show=False),
        Binding("right,l", "move(1, 0)", show=False),
        Binding("up", "move(0, -1)", show=False),
        Binding("down", "move(0, 1)", show=False),
        Binding("less_than_sign", "walk(-1)", show=False),
        Binding("greater_than_sign", "walk(1)", show=False),
        Binding("n", "strongest(1)", show=False),
        Binding("N", "strongest(-1)", show=False),
        Binding("O", "again", show=False),
        Binding("f", "way(1)", show=False),
        Binding("F", "way(-1)", show=False),
        Binding("p", "of_row", show=False),
        Binding("plus,equals_sign", "more(1)", show=False),
        Binding("minus", "more(-1)", show=False),
        Binding("slash,W", "words", show=False),
        Binding("b", "compare", show=False),
        Binding("D", "matrix", show=False),
        Binding("S", "own_scale", show=False),
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
        unfolded: bool = False,
    ) -> None:
        """Look at a row of a run, and at the token or patch at a place."""
        self.salient = Salient(run, row, place)
        super().__init__(AskingSaliency(run.own, context), self.salient, context, _KEYS, colours)
        self.words = SaliencyWords(self.salient, ascii_only=self._ascii)
        self._unfolded = unfolded
        self._by_rows = False
        """Whether rows x positions are shown in place of the picture."""
        self._own_scale = False
        letters = self.pane.marks_only
        self.strip = PromptStrip(ascii_only=self._ascii)
        self.grid = RowGrid(ascii_only=self._ascii, letters=letters, colours=colours)
        self.ways = WayTable(ascii_only=self._ascii)
        self.bars = NamedBars(ascii_only=self._ascii)

    def compose(self) -> ComposeResult:
        """Lay out the prompt, the map, the ways beside it and the lines below."""
        yield self.strip
        with Container(id="saliency-body"):
            yield self.pane
            yield self.grid
            with Container(id="saliency-side"):
                yield self.ways
                yield self.bars
        yield self.legend

    # ------------------------------------------------------------------ readings

    @property
    def _missing(self) -> SaliencyRequest | None:
        """What is shown and not known."""
        if self._by_rows and self.salient.known.matrix(self.salient.wanted) is None:
            return self.salient.matrix_request
        return None if self._by_rows or self.salient.reading else self.salient.wanted

    def _want(self) -> None:
        """Request what is shown and not known."""
        request = self._missing
        if request is not None:
            self._asking.look(request)

    def _want_soon(self) -> None:
        """Request what is shown and not known, once the cursor rests."""
        self._once_it_rests(None if self._missing is None else self._want_now)

    def _want_now(self) -> None:
        self._want()
        self.show()

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been read of the run."""
        made = self._heard(events)
        for request, part in self._asking.take_parts():
            self.salient.known.take_part(request, part)
        for each in made:
            if isinstance(each.reading, GeometryReading):
                self._place(each.reading)
            elif isinstance(each.reading, SaliencyReading):
                self.salient.take_stored()
        self.show()

    def cancel(self) -> bool:
        """Stop reading; return whether anything was on its way."""
        if not self._asking.interrupt():
            return False
        self._note = ""
        self.show()
        return True

    # ------------------------------------------------------------------ keys

    def action_leave(self) -> None:
        """Stop reading, or else close."""
        if not self.cancel():
            self.dismiss()

    def action_line(self, step: int) -> None:
        """Go down or up by rows."""
        self.salient.go_to_row(self.salient.row + step)
        self._row_moved()

    def action_edge(self, side: int) -> None:
        """Go to the first or the last row."""
        self.salient.go_to_row(0 if side < 0 else self.salient.run.run.layers)
        self._row_moved()

    def _row_moved(self) -> None:
        of_pixels = not self.salient.of_row and not self._by_rows
        self._moved(f"the map is of the pixels: p takes row {self.salient.row}" * of_pixels)

    def action_move(self, right: int, down: int) -> None:
        """Go to the next patch in a direction; to the next row or token of the grid."""
        salient = self.salient
        if self._by_rows:
            salient.go_to_row(salient.row + down)
            salient.token = self.grid.beside(salient.token, right) if right else salient.token
        elif len(salient.patches):
            salient.go_to_patch(salient.patches.beside(salient.patch, right, down))
        self._moved()

    def action_walk(self, step: int) -> None:
        """Explain the answer at a later or an earlier token."""
        spans = self.salient.run.prompt_spans(unfolded=self._unfolded)
        self.salient.explain(position=spans.step(self.salient.position, step))
        self._moved()

    def action_strongest(self, step: int) -> None:
        """Go to the next of the patches by size."""
        found = False
        with self._undamaged():
            found = self.salient.go_to_strongest(step)
        self._moved("" if found else "nothing is mapped yet")

    def action_again(self) -> None:
        """Go to the patch of another tile that shows the same place."""
        salient = self.salient
        if len(salient.patches):
            salient.go_to_patch(salient.patches.again(salient.patch))
        self._moved()

    def action_way(self, step: int) -> None:
        """Show another way."""
        self.salient.next_way(step)
        self._by_rows = False
        self._moved()

    def action_of_row(self) -> None:
        """Switch between the pixels and the row under the cursor."""
        salient = self.salient
        self._by_rows = False
        if salient.request.way == "attention":
            self._moved("gradient x attention has neither pixels nor a row: f shows another way")
            return
        salient.of_row = not salient.of_row
        salient.rank = -1
        self._moved()

    def action_more(self, step: int) -> None:
        """Take more inputs or fewer, or larger blocks or smaller."""
        self._moved(self.salient.take_more(step))

    def action_words(self) -> None:
        """Ask for the word, or the two words, that are explained."""
        keys = "one word: its log p; two: their difference; none: the answer"
        of = self.salient.request.of
        self.ask_words("sensitive is the logit of", keys, of, self._take_words, self._moved)

    def _take_words(self, of: tuple[str, ...]) -> None:
        self.salient.explain(of=of)
        self._moved()

    def action_compare(self) -> None:
        """Measure the shown map by insertion and deletion."""
        reading = self.salient.reading
        self._by_rows = False
        if reading is not None and reading.curves is not None:
            self._moved("this has been compared; f shows another way, b compares it")
            return
        self._asking.read(replace(self.salient.wanted, compare=True))
        self._moved()

    def action_matrix(self) -> None:
        """Show rows x positions in place of the picture, or the picture again."""
        self._by_rows = not self._by_rows
        self._moved()

    def action_own_scale(self) -> None:
        """Switch between one scale for all rows of the grid and each row's own."""
        self._own_scale = not self._own_scale
        words = "each row has its own scale: brightness cannot be compared"
        self._moved(words if self._own_scale else "")

    def action_choose(self) -> None:
        """Close, and show this row at the patch or token that was gone to last on the main
        screen."""
        salient = self.salient
        place = salient.token if self._by_rows else salient.place
        self.app.post_message(PlaceChosen(place, salient.row))
        self.dismiss()

    def action_read_again(self) -> None:
        """Request again what was stopped, interrupted or refused."""
        self._asking.forget_lost()
        self._damage = ""
        self._begin()
        self._moved()

    @on(PlaceChosen)
    def _token_clicked(self, message: PlaceChosen) -> None:
        message.stop()
        self.salient.explain(position=message.position)
        self._moved()

    def on_row_grid_cell_picked(self, message: RowGrid.CellPicked) -> None:
        """Go to the clicked cell."""
        message.stop()
        self.salient.go_to_row(message.row)
        self.salient.token = message.token
        self._moved()

    def on_picture_canvas_picked(self, message: PictureCanvas.Picked) -> None:
        """Go to the clicked patch."""
        message.stop()
        self.salient.go_to_patch(message.patch)
        self._moved()

    def _moved(self, note: str = "") -> None:
        self._note = note
        if self._missing is None:
            self._asking.forget_trouble(SaliencyRequest)  # it was of something else
        self._want_soon()
        self.show()

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show everything as it is now; only what has changed is drawn again."""
        if not self.is_attached:
            return
        salient = self.salient
        self.strip.show(salient.run, salient.position, unfolded=self._unfolded)
        self.pane.display, self.grid.display = not self._by_rows, self._by_rows
        if self._by_rows:
            self._show_grid()
        else:
            self._show_picture()
        self._show_side()
        self._show_legend()

    def _show_picture(self) -> None:
        salient = self.salient
        steps: Steps | None = None
        with self._undamaged():
            steps = salient.steps()
        cursor = salient.patch if len(salient.patches) else None
        known = salient.geometry is not None
        self.pane.show(
            Scene(salient.patches, salient.sheet, steps, cursor, signed=salient.signed),
            "no patches to show" if known else "finding the patches",
        )
        facts = [self.words.patch_name()]
        if len(salient.patches.sheets) > 1:
            facts.append(f"view {salient.sheet + 1} of {len(salient.patches.sheets)}: O")
        if salient.geometry is not None and salient.geometry.how != "exact":
            facts.append(f"{salient.geometry.how}: {salient.geometry.reason}")
        title = self.words.way(salient.wanted)
        self.pane.put_captions(title, "; ".join(fact for fact in facts if fact))

    def _show_grid(self) -> None:
        salient, matrix = self.salient, None
        with self._undamaged():
            matrix = salient.matrix
        shown = None
        if matrix is not None:
            tokens = salient.run.run.tokens
            shown = GridShown(matrix, tokens, salient.row, salient.token, self._own_scale)
        self.grid.show(shown, "rows x positions are not known yet")
        self._put_captions(self.grid, "gradient x input, rows x positions", "")

    def _show_side(self) -> None:
        salient, words = self.salient, self.words
        ways = []
        for reading in salient.known.tried(salient.wanted):
            failed = reading.proof is not None and not reading.proof.passed
            name, shown = words.short_way(reading.request), salient.is_shown(reading)
            ways.append(WayLine(name, *words.curves(reading), shown, failed))
        self.ways.show(tuple(ways))
        self._put_captions(self.ways, "ways tried: insertion, deletion", words.proof())
        tokens: list[tuple[int | None, float]] = []
        with self._undamaged():
            tokens = salient.strongest_tokens(_MOST_TOKENS)
        room = self.query_one("#saliency-side").size.height - _LEAST_WAYS - HEAD - 2
        height = min(len(tokens), max(room, 0))
        self.bars.display = height > 0
        known = self.bars.styles.height
        if height and (known is None or known.value != height + 2):
            self.bars.styles.height = height + 2
        texts = salient.run.run.tokens
        named = tuple(
            NamedBar("the picture" if at is None else f"{words.text(texts[at].text)} {at}", value)
            for at, value in tokens
        )
        self.bars.show(named, 0)
        self._put_captions(self.bars, "the picture's tokens, the strongest others", "")

    def _put_captions(self, widget: Widget, title: str, subtitle: str) -> None:
        room = max(widget.size.width - _BORDER + 2, 1)
        for put, words in ((put_title, title), (put_subtitle, subtitle)):
            put(widget, display_text(words, room, spaces=False, ascii_only=self._ascii).rstrip())

    def _show_legend(self) -> None:
        facts = "; ".join(filter(None, (self.words.target(), self.words.facts())))
        facts = whole_parts(facts, self.size.width - 2, ascii_only=self._ascii)
        lines = [(facts, "strong")]
        if self.size.height >= 20:
            lines.append((self._here(), "good"))
        lines.append(self._last_line())
        self.legend.show(self._scale(), *lines)

    def _scale(self) -> ScaleShown:
        salient, mapped = self.salient, None
        with self._undamaged():
            mapped = salient.mapped()
        layers = salient.run.run.layers
        place = f"row {salient.row} of 0-{layers}" if salient.of_row or self._by_rows else "pixels"
        if salient.request.way == "attention" and not self._by_rows:
            place = "all layers"
        if self._asking.progress:
            place = f"{self._asking.progress}, {place}"
        if self._by_rows:
            return self._grid_scale(place)
        if mapped is None:
            return ScaleShown(self.words.way(salient.wanted), place=place)
        return scale_shown(self.words.way(salient.wanted), *mapped, place)

    def _grid_scale(self, place: str) -> ScaleShown:
        name = "gradient x input"
        matrix = None
        with self._undamaged():
            matrix = self.salient.matrix
        if matrix is None:
            return ScaleShown(name, place=place)
        scale = signed_scale(matrix[self.salient.row] if self._own_scale else matrix)
        low, high = signed_number(scale.low), signed_number(scale.high)
        note = "this row's own scale" if self._own_scale else "linear"
        return ScaleShown(name, low, high, note, place, signed=True)

    def _here(self) -> str:
        """What is under the cursor."""
        words = ""
        with self._undamaged():
            if not self._by_rows:
                return self.words.at_patch()
            matrix, salient = self.salient.matrix, self.salient
            if matrix is not None:
                token = self.words.text(salient.run.run.tokens[salient.token].text)
                value = signed_number(float(matrix[salient.row, salient.token]))
                words = f"row {salient.row}, {token} at {salient.token}: {value}"
        return words

    def _last_line(self) -> tuple[str, str]:
        wrong = self._damage or self._asking.trouble
        if self._note:
            return (self._note, "good")
        if wrong:
            return (wrong, "error")
        if self.salient.failed:
            return ("the proof of this map failed: it is not shown, do not believe it", "error")
        if self._asking.is_reading:
            return (f"{self._asking.progress or 'reading'}: esc or ^c stops", "good")
        return (self.words.meaning(), "faint")
