"""The picture on the whole screen under a map of words, with the rows of one patch beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer

from engine.errors import LenscopeError
from engine.events import Event, ReadingDropped, ReadingGrew, ReadingMade, Trouble
from engine.methods.geometry import GeometryReading, GeometryRequest
from engine.methods.grid import GridPart, GridReading, GridRequest
from engine.methods.words import MOST_WORDS, WordsPart, WordsReading, WordsRequest
from engine.records import Part, Reading, Request
from tui.state.run_view import RunView
from tui.text.numbers import ordinal
from tui.text.show import display_text, plain_line
from tui.views.picture.preview import open_thumb
from tui.views.words.canvas import PictureCanvas, patch_marks
from tui.views.words.cell_table import CellTable
from tui.views.words.legend import Legend, scale_shown
from tui.views.words.looking import NO_PATCHES, Looking
from tui.views.words.marks import MarkCanvas, mark_grid
from tui.views.words.tint import Plan, plan
from tui.widgets.background import in_thread
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.half_blocks import Colours
from tui.widgets.later import draw_later
from tui.widgets.line_input import LineInput
from tui.widgets.places import PlaceChosen
from tui.widgets.view_context import ViewContext

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_WORD: Final = 100
"""Characters of a typed word."""
_ASK_AGAIN: Final = 0.3
"""Seconds for which the cursor must rest on a row that has not been read, before it is read
first."""
_LEAST_WORD: Final = 4
"""Cells of a patch in which its own word is written."""
_SINK: Final = "×"
_WIDTHS: Final = [(0, "-w-tiny"), (70, "-w-narrow"), (100, "-w-wide"), (160, "-w-huge")]
_KEYS: Final = (
    "arrows patch", "jk row", "n best", "/ word", "f map", "X contrast", "% log", "E words",
    "V vl-interp", "O other tiles", "<> in order", "enter goes there", "q closes",
)  # fmt: skip


class WordsScreen(ModalScreen[None]):
    """Shows where in the picture a word is readable."""

    DEFAULT_CSS = """
    WordsScreen { background: $background; }
    WordsScreen #words-body { layout: horizontal; height: 1fr; }
    WordsScreen #words-place { width: 1fr; height: 100%; }
    WordsScreen PictureCanvas, WordsScreen MarkCanvas {
        width: 100%; height: 100%; border: round $primary; background: $background;
        border-title-color: $primary; border-subtitle-color: $faint;
    }
    WordsScreen CellTable {
        width: 46; height: 100%; border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint;
    }
    WordsScreen.-w-narrow CellTable { width: 36; }
    WordsScreen.-w-huge CellTable { width: 58; }
    WordsScreen.-w-tiny #words-body { layout: vertical; }
    WordsScreen.-w-tiny #words-place { width: 100%; height: 1fr; }
    WordsScreen.-w-tiny CellTable { width: 100%; height: 9; }
    WordsScreen.-ascii PictureCanvas, WordsScreen.-ascii MarkCanvas { border: ascii $primary; }
    WordsScreen.-ascii CellTable { border: ascii $frame; }
    """
    HORIZONTAL_BREAKPOINTS = _WIDTHS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,3,ctrl+c", "dismiss", show=False),
        Binding("j", "row(1)", show=False),
        Binding("k", "row(-1)", show=False),
        Binding("pagedown,ctrl+f", "row(8)", show=False),
        Binding("pageup", "row(-8)", show=False),
        Binding("ctrl+d", "row(4)", show=False),
        Binding("ctrl+u", "row(-4)", show=False),
        Binding("g,home", "edge(-1)", show=False),
        Binding("G,end", "edge(1)", show=False),
        Binding("left,h", "move(-1, 0)", show=False),
        Binding("right,l", "move(1, 0)", show=False),
        Binding("up", "move(0, -1)", show=False),
        Binding("down", "move(0, 1)", show=False),
        Binding("less_than_sign", "walk(-1)", show=False),
        Binding("greater_than_sign", "walk(1)", show=False),
        Binding("O", "again", show=False),
        Binding("slash", "look_for", show=False),
        Binding("n", "best(1)", show=False),
        Binding("N", "best(-1)", show=False),
        Binding("f", "map(1)", show=False),
        Binding("F", "map(-1)", show=False),
        Binding("X", "contrast", show=False),
        Binding("percent_sign", "log", show=False),
        Binding("V", "vl_interp", show=False),
        Binding("E", "own_words", show=False),
        Binding("enter", "choose", show=False),
        Binding("r", "read_again", show=False),
    ]

    @dataclass
    class Opened(Message):
        """The picture has been opened."""

        image: Any

    @dataclass
    class Planned(Message):
        """The picture has been scaled for a size and a sheet."""

        key: tuple[object, ...]
        plan: Plan

    @dataclass
    class Refused(Message):
        """The picture cannot be shown."""

        error: str

    def __init__(
        self,
        run: RunView,
        row: int,
        context: ViewContext,
        *,
        colours: Colours,
        position: int | None = None,
        typing: bool = False,
    ) -> None:
        """Look at a row of a run, and at the patch of a position; with `typing`, ask for a word
        first."""
        super().__init__()
        self.looking = Looking(run, row, position)
        self._shared = context
        self._asker = context.asker
        self._ascii = context.ascii_only
        self._colours = colours
        self._typing = typing
        self._marks_only = self._ascii or "NO_COLOR" in os.environ
        self._image: Image | None = None
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._planning: tuple[object, ...] | None = None
        self._asked: dict[str, Request] = {}
        """Request id -> what has been asked and not answered."""
        self._wanted: tuple[str, str] | None = None
        """The word, and the way, that is to be mapped when it arrives."""
        self._note: tuple[str, str] = ("", "faint")
        self._progress = ""
        self._own_words = False
        self._again: Timer | None = None
        self.table = CellTable(ascii_only=self._ascii)
        self.canvas = PictureCanvas(ascii_only=self._ascii)
        self.mark_canvas = MarkCanvas(ascii_only=self._ascii)
        self.legend = Legend(ascii_only=self._ascii, marks=self._marks_only)
        self.set_class(self._ascii, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the picture, the rows beside it and the lines below."""
        with Container(id="words-body"):
            with Container(id="words-place"):
                yield self.canvas
                yield self.mark_canvas
            yield self.table
        yield self.legend

    def on_mount(self) -> None:
        """Open the picture in the background, and ask for what is not known."""
        self._show_canvas()
        put_title(self.table, "this patch, row by row")
        if not self._marks_only:
            self._open()
        self._begin()
        self.show()
        if self._typing:
            self.action_look_for()

    def on_unmount(self) -> None:
        """Cancel what has not been answered."""
        for request_id in self._asked:
            self._asker.cancel_reading(request_id)

    def on_resize(self) -> None:
        """Fit the new size."""
        draw_later(self, self.show)

    # ------------------------------------------------------------------ asking

    def _begin(self) -> None:
        """Take the readings that the run holds, and request the others."""
        run = self.looking.run
        geometry = run.reading_of("geometry")
        if isinstance(geometry, GeometryReading):
            self._place(geometry)
        else:
            self._ask(GeometryRequest(), "which part of the picture a token shows")

    def _place(self, reading: GeometryReading) -> None:
        looking = self.looking
        with self._checked():
            looking.place(reading)
        if not len(looking.patches):
            words = reading.reason or "the model has no patches of this picture"
            self._say(f"no map: {words}", "error")
            return
        grid = looking.run.reading_of("grid")
        if isinstance(grid, GridReading):
            with self._checked():
                looking.take_grid(grid)
        with self._checked():
            looking.take_words()
        if not looking.known.whole:
            self._ask(GridRequest(first=looking.row), "the grid")
        self._ask_answer()

    def _ask_answer(self) -> None:
        answer = self.looking.run.answer
        if answer is None or any(each.word.ids == (answer.id,) for each in self.looking.words):
            return
        self._ask(WordsRequest(words=(f"#{answer.id}",)), "the map of the answer")

    def _ask(self, request: Request, what: str) -> bool:
        """Request a reading; return whether that was possible, or else say why not."""
        if request in self._asked.values():
            return True
        request_id = self._asker.read(self.looking.run, request)
        if request_id is None:
            reason = self._asker.why_not(self.looking.run)
            self._say(f"{what} has not been read: {reason}", "error")
            return False
        self._asked[request_id] = request
        return True

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been read of the run."""
        mine = self.looking.run.run.id
        heard = False
        for event in events:
            match event:
                case ReadingGrew() if event.run_id == mine:
                    self._grow(event.part)
                case ReadingMade() if event.run_id == mine:
                    self._asked.pop(event.request_id, None)
                    self._take(event.reading)
                case ReadingDropped() if self._asked.pop(event.request_id, None) is not None:
                    self._say("the reading was interrupted: r reads on", "error")
                case Trouble() if self._asked.pop(event.request_id or "", None) is not None:
                    self._say(self._shared.said(event), "error")
                case _:
                    continue
            heard = True
        if heard:
            self.show()

    def _grow(self, part: Part) -> None:
        if isinstance(part, GridPart) and len(self.looking.patches):
            with self._checked():
                self.looking.take_grid(part)
            self._progress = f"reading rows: {len(self.looking.known.rows)} of {part.of}"
        elif isinstance(part, WordsPart):
            self._progress = f"reading rows: {part.done} of {part.of}"

    def _take(self, reading: Reading) -> None:
        looking = self.looking
        if isinstance(reading, GeometryReading):
            self._place(reading)
        elif isinstance(reading, GridReading):
            self._progress = ""
            with self._checked():
                looking.take_grid(reading)
        elif isinstance(reading, WordsReading):
            self._progress = ""
            with self._checked():
                looking.take_words()
            self._take_wanted(reading)

    def _take_wanted(self, reading: WordsReading) -> None:
        if self._wanted is None or reading.request.way != self._wanted[1]:
            return
        if reading.words and self.looking.choose_word(reading.words[0].text, self._wanted[1]):
            self._wanted = None
        first = [word.text for word in reading.words if word.several_tokens]
        if first:
            shown = ", ".join(display_text(each, ascii_only=self._ascii) for each in first)
            self._say(f"only the first token is followed of: {shown}", "good")
        elif len(reading.words) > 1:
            self._say(f"{len(reading.words)} words: f shows the next", "good")

    def _checked(self) -> _Told:
        return _Told(self)

    # ------------------------------------------------------------------ keys

    def action_row(self, step: int) -> None:
        """Go down or up by rows; the map follows."""
        self._go(row=self.looking.row + step)

    def action_edge(self, side: int) -> None:
        """Go to the first or the last row."""
        self._go(row=0 if side < 0 else self.looking.run.run.layers)

    def action_move(self, right: int, down: int) -> None:
        """Go to the next patch in a direction."""
        if len(self.looking.patches):
            self._go(patch=self.looking.patches.beside(self.looking.patch, right, down))

    def action_walk(self, step: int) -> None:
        """Go to the next token of the picture in the order of the prompt."""
        self._go(patch=self.looking.patch + step)

    def action_again(self) -> None:
        """Go to the patch of another tile that shows the same place."""
        if len(self.looking.patches):
            patch = self.looking.patches.again(self.looking.patch)
            if patch == self.looking.patch:
                self._say("no other tile shows this place", "faint")
            self._go(patch=patch)

    def action_best(self, step: int) -> None:
        """Go to the next best cell over all rows and patches."""
        if self.looking.go_to_best(step) is None:
            self._say("nothing is mapped yet", "faint")
        else:
            count = len(self.looking.map.ranked) if self.looking.map is not None else 0
            self._say(f"the {ordinal(self.looking.rank + 1)} of {count:,} highest cells", "good")
        self._moved()

    def action_map(self, step: int) -> None:
        """Map the next word, entropy or rms."""
        self.looking.choose(step)
        self._say("", "faint")
        self.show()

    def action_contrast(self) -> None:
        """Switch between a word's probability and its contrast over the patches."""
        looking = self.looking
        looking.is_contrast, looking.rank = not looking.is_contrast, -1
        if looking.shows_contrast:
            words = "log p minus its mean over the row's patches: it reorders, it proves nothing"
            self._say(words, "good")
        elif looking.is_contrast:
            self._say("only words have a contrast", "faint")
        else:
            self._say("", "faint")
        self.show()

    def action_log(self) -> None:
        """Switch between a linear and a logarithmic scale."""
        self.looking.log = not self.looking.log
        self.show()

    def action_own_words(self) -> None:
        """Write the best token of every patch onto it, or take the words away."""
        self._own_words = not self._own_words
        self.show()

    def action_vl_interp(self) -> None:
        """Show the map as vl-interp computes it, or the lens's again."""
        choice = self.looking.choice
        if choice is None or choice.word is None:
            self._say("vl-interp's way is for words", "faint")
            return
        text, way = choice.word.word.text, choice.word.way
        other = "lens" if way == "vl-interp" else "vl-interp"
        if not self.looking.choose_word(text, other):
            self._look_for((text,), other)
        self.show()

    def action_look_for(self) -> None:
        """Ask for words to look for."""
        keys = "enter looks, commas separate words, esc leaves it"
        entry = LineInput("where is", keys=keys, ascii_only=self._ascii)
        self.app.push_screen(entry, self._take_typed)

    def action_choose(self) -> None:
        """Close, and show this patch's rows on the main screen."""
        position = self.looking.position
        if position is not None:
            self.app.post_message(PlaceChosen(position, self.looking.row))
        self.dismiss()

    def action_read_again(self) -> None:
        """Request again what was interrupted."""
        self._say("", "faint")
        if self.looking.geometry is None:
            self._begin()
        else:
            self._place(self.looking.geometry)
        self.show()

    def on_picture_canvas_picked(self, message: PictureCanvas.Picked) -> None:
        """Go to the clicked patch."""
        message.stop()
        self._go(patch=message.patch)

    def on_cell_table_row_picked(self, message: CellTable.RowPicked) -> None:
        """Go to the clicked row."""
        message.stop()
        self.call_later(lambda: self._go(row=self.table.cursor))

    def _take_typed(self, typed: str | None) -> None:
        words = [word.strip() for word in (typed or "").split(",")]
        words = [word[:_MOST_WORD] for word in dict.fromkeys(words) if word][:MOST_WORDS]
        if words:
            self._look_for(tuple(words), "lens")
            self.show()

    def _look_for(self, words: tuple[str, ...], way: str) -> None:
        looking = self.looking
        if looking.geometry is not None and not len(looking.patches):
            return  # the reason is shown
        request = WordsRequest(words=words, way="vl-interp" if way == "vl-interp" else "lens")
        known = looking.run.reading_of("words", request)
        self._wanted = (words[0], way)
        if isinstance(known, WordsReading):
            self._take_wanted(known)
            return
        if self._ask(request, "the map of another word"):
            self._say("", "faint")

    def _go(self, row: int | None = None, patch: int | None = None) -> None:
        self.looking.go(row, patch)
        self._note = ("", "faint") if self._note[1] != "error" else self._note
        self._moved()

    def _moved(self) -> None:
        """Show the new place; if its row has not been read, read it first."""
        known = self.looking.known
        reading = any(isinstance(each, GridRequest) for each in self._asked.values())
        if reading and self.looking.row not in known.rows:
            if self._again is not None:
                self._again.stop()
            self._again = self.set_timer(_ASK_AGAIN, self._read_first)
        self.show()

    def _read_first(self) -> None:
        row = self.looking.row
        for request_id, request in [*self._asked.items()]:
            if isinstance(request, GridRequest) and row not in self.looking.known.rows:
                del self._asked[request_id]
                self._asker.cancel_reading(request_id)
                self._ask(GridRequest(first=row), "the grid")

    def _say(self, text: str, kind: str) -> None:
        self._note = (text, kind)

    # ------------------------------------------------------------------ the picture

    def _open(self) -> None:
        picture = self.looking.run.run.question.picture
        if picture is None:
            self._fall_back("this run has no picture")
            return

        def work() -> None:
            try:
                image, _ = open_thumb(picture, of_run=True)
            except LenscopeError as error:
                self._post(self.Refused(str(error)))
                return
            self._post(self.Opened(image))

        in_thread(work, lambda line: self._post(self.Refused(line)))

    def on_words_screen_opened(self, message: WordsScreen.Opened) -> None:
        """Draw the picture, which is now open."""
        self._image = message.image
        self.show()

    def on_words_screen_refused(self, message: WordsScreen.Refused) -> None:
        """Show marks in place of a picture that cannot be shown."""
        self._planning = None
        self._fall_back(message.error)

    def _fall_back(self, reason: str) -> None:
        self._marks_only = True
        self._say(f"no picture: {reason}", "error")
        self._show_canvas()
        self.show()

    def _show_canvas(self) -> None:
        self.canvas.display = not self._marks_only
        self.mark_canvas.display = self._marks_only

    def _plan(self) -> Plan | None:
        """Return the picture for the present size, or have it made."""
        size = self.canvas.size
        looking = self.looking
        if self._image is None or min(size) < 3:
            return None
        key = (tuple(size), looking.sheet, id(looking.patches))
        if key in self._plans:
            return self._plans[key]
        if self._planning == key:
            return None
        self._planning = key
        picture, image = looking.run.run.question.picture, self._image
        width, height = image.size if picture is None else (picture.width, picture.height)
        behind = self.canvas.background_colors[1]
        make = partial(
            plan,
            image,
            (size.width, size.height),
            (width or image.width, height or image.height),
            looking.patches if len(looking.patches) else NO_PATCHES,
            looking.sheet,
            even=self._colours is not Colours.EXACT,
            indexed=self._colours is Colours.INDEXED,
            background=(behind.r, behind.g, behind.b),
        )
        in_thread(
            lambda: self._post(self.Planned(key, make())),
            lambda line: self._post(self.Refused(line)),
        )
        return None

    def on_words_screen_planned(self, message: WordsScreen.Planned) -> None:
        """Show the picture, which is scaled."""
        if len(self._plans) > 4:
            self._plans.clear()
        self._plans[message.key] = message.plan
        if self._planning == message.key:
            self._planning = None
        self.show()

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show the place, the map and the rows as they are now."""
        if not self.is_attached:
            return
        looking = self.looking
        self._show_picture()
        answer = looking.run.answer
        self.table.show(
            looking.cell_rows(ascii_only=self._ascii),
            looking.run.hues,
            -1 if answer is None else answer.id,
        )
        self.table.put_cursor(looking.row)
        self._show_captions()
        self._show_legend()

    def _show_picture(self) -> None:
        looking = self.looking
        cursor = looking.patch if len(looking.patches) else None
        if self._marks_only:
            grid = mark_grid(looking.patches, looking.sheet)
            if grid.lines:
                self.mark_canvas.show(grid, looking.steps, cursor, looking.known.sinks)
            else:
                found = looking.geometry is not None
                self.mark_canvas.say("no patches to show" if found else "finding the patches")
            return
        made = self._plan()
        if made is not None:
            self.canvas.show(made, looking.steps, cursor, patch_marks(made, self._written(made)))
        elif self._image is None:
            self.canvas.say("opening the picture")

    def _written(self, made: Plan) -> dict[int, tuple[str, Style]]:
        """Return patch -> what is written onto it: a mark on sinks, and the best tokens."""
        looking = self.looking
        light = Style(color="rgb(255,255,255)", bold=True)
        written: dict[int, tuple[str, Style]] = {}
        known = looking.known.rows.get(looking.row)
        if self._own_words and known is not None:
            for patch, (x0, _, x1, _) in made.frames.items():
                token = int(known.ids[patch])
                if x1 - x0 >= _LEAST_WORD and token in looking.known.texts:
                    text = display_text(looking.known.texts[token], x1 - x0)
                    written[patch] = (text.rstrip(), light)
        for patch in looking.known.sinks:
            written.setdefault(patch, (_SINK, light))
        return written

    def _show_captions(self) -> None:
        looking = self.looking
        name = looking.name_of(looking.choice, ascii_only=self._ascii)
        shown = looking.map
        title = f"where {name} is readable" if looking.choice is not None else "the picture"
        if shown is not None and shown.unit in ("nats", "rms"):
            title = f"{name} over the picture"
        picture = looking.run.run.question.picture
        file = "" if picture is None else picture.path.rsplit("/", 1)[-1]
        instead = looking.run.counterfactual
        words = [title, plain_line(file, ascii_only=self._ascii)]
        words += [f"replaced by {instead}"] if instead else []
        canvas = self.mark_canvas if self._marks_only else self.canvas
        put_title(canvas, ", ".join(word for word in words if word))
        geometry = looking.geometry
        count = f"{len(looking.patches)} patches" if len(looking.patches) else ""
        if geometry is not None and geometry.how == "approximate":
            reason = plain_line(geometry.reason, ascii_only=self._ascii)
            count = f"{count}, approximate: {reason}"
        if len(looking.patches.sheets) > 1:
            count = f"{count}, view {looking.sheet + 1} of {len(looking.patches.sheets)} (O)"
        put_subtitle(canvas, count)

    def _show_legend(self) -> None:
        looking = self.looking
        run = looking.run.run
        name = looking.name_of(looking.choice, ascii_only=self._ascii)
        place = f"row {looking.row} of {run.layers}"
        if self._progress:
            place = f"{self._progress}   {place}"
        best = "; ".join(part for part in (looking.highest(), looking.confidence()) if part)
        note = self._note if self._note[0] else (looking.meaning(), "faint")
        self.legend.show(
            scale_shown(name, looking.map, looking.scale, place),
            (best, "good"),
            note,
            (_fitted_keys(self.size.width), "faint"),
        )

    def _post(self, message: Message) -> None:
        with suppress(RuntimeError):  # the screen has closed
            self.post_message(message)


class _Told:
    """Turns an error of damaged data into a message."""

    def __init__(self, screen: WordsScreen) -> None:
        self._screen = screen

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if isinstance(error, LenscopeError):
            self._screen._say(plain_line(str(error)), "error")
            return True
        return False


def _fitted_keys(width: int) -> str:
    """Return as many key hints as fit; the last two always."""
    *others, last, closing = _KEYS
    kept: list[str] = []
    for hint in others:
        if len("  ".join([*kept, hint, last, closing])) > width - 2:
            break
        kept.append(hint)
    return "  ".join([*kept, last, closing])
