"""The picture on the whole screen under a map of words, with the rows of one patch beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer

from engine.events import Event, SpellingsFound
from engine.methods.geometry import GeometryReading, GeometryRequest
from engine.methods.grid import GridRequest
from engine.methods.words import MOST_WORDS, WordsReading, WordsRequest
from engine.records import Reading
from tui.state.run_view import RunView
from tui.text.numbers import ordinal
from tui.views.reading_screen import PatchScreen
from tui.views.words.asking import AskingWords
from tui.views.words.cell_table import CellTable
from tui.views.words.looking import Looking
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.half_blocks import Colours
from tui.widgets.led_rows import LedRows
from tui.widgets.legend import scale_shown
from tui.widgets.line_input import LineInput
from tui.widgets.picture_canvas import PictureCanvas, Scene
from tui.widgets.places import PlaceChosen
from tui.widgets.view_context import ViewContext

_MOST_WORD: Final = 100
"""Characters of a typed word."""
_FOLLOW: Final = 0.1
"""Seconds for which the cursor must rest on a patch before its rows are shown beside it."""
_HEIGHTS: Final = [(0, "-h-low"), (24, "-h-high")]


_KEYS: Final = (
    "arrows patch", "jk row", "n best", "/ word", "f map", "X contrast", "% log", "E words",
    "V vl-interp", "O other tiles", "<> in order", "enter goes there", "q closes",
)  # fmt: skip


class WordsScreen(PatchScreen[AskingWords]):
    """Shows where in the picture words are readable."""

    VIEW: ClassVar[str] = "words"
    DEFAULT_CSS = """
    WordsScreen { background: $background; }
    WordsScreen #words-body { layout: horizontal; height: 1fr; }
    WordsScreen CellTable {
        width: 46; height: 100%; border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint;
    }
    WordsScreen.-w-narrow CellTable { width: 36; }
    WordsScreen.-w-huge CellTable { width: 58; }
    WordsScreen.-w-tiny #words-body { layout: vertical; }
    WordsScreen.-w-tiny PatchPane { width: 100%; height: 1fr; }
    WordsScreen.-w-tiny CellTable { width: 100%; height: 9; }
    WordsScreen.-w-tiny.-h-low CellTable { display: none; }
    WordsScreen.-ascii CellTable { border: ascii $frame; }
    """
    VERTICAL_BREAKPOINTS = _HEIGHTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,3,1", "dismiss", show=False),
        Binding("j", "row(1)", show=False),
        Binding("k", "row(-1)", show=False),
        Binding("ctrl+d", "row(4)", show=False),
        Binding("ctrl+u", "row(-4)", show=False),
        Binding("pagedown,ctrl+f", "row(8)", show=False),
        Binding("pageup", "row(-8)", show=False),
        Binding("g,home", "edge(-1)", show=False),
        Binding("G,end", "edge(1)", show=False),
        Binding("left,h", "move(-1, 0)", show=False),
        Binding("right,l", "move(1, 0)", show=False),
        Binding("up", "move(0, -1)", show=False),
        Binding("down", "move(0, 1)", show=False),
        Binding("less_than_sign", "walk(-1)", show=False),
        Binding("greater_than_sign", "walk(1)", show=False),
        Binding("O", "again", show=False),
        Binding("slash,W", "look_for", show=False),
        Binding("n", "best(1)", show=False),
        Binding("N", "best(-1)", show=False),
        Binding("f", "map(1)", show=False),
        Binding("F", "map(-1)", show=False),
        Binding("X", "contrast", show=False),
        Binding("percent_sign", "log", show=False),
        Binding("V", "vl_interp", show=False),
        Binding("E", "own_words", show=False),
    ]

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
        self.looking = Looking(run, row, position)
        super().__init__(AskingWords(run, context), self.looking, context, _KEYS, colours)
        self._typing = typing
        self._wanted: tuple[tuple[str, ...], str] = ((), "lens")
        """Words, and the way: the first of them that is read is to be mapped."""
        self._spelled: set[str] = set()
        """Words of several tokens whose first ones have been asked for."""
        self._own_words = True
        self._following: Timer | None = None
        self.table = CellTable(ascii_only=self._ascii)

    def compose(self) -> ComposeResult:
        """Lay out the picture, the rows beside it and the lines below."""
        with Container(id="words-body"):
            yield self.pane
            yield self.table
        yield self.legend

    def on_mount(self) -> None:
        """Name the table, and ask for a word if that is wanted."""
        put_title(self.table, "this patch, row by row")
        if self._typing:
            self.call_next(self.action_look_for)  # above this screen, once it has begun

    # ------------------------------------------------------------------ readings

    def _begin(self) -> None:
        """See `PatchScreen._begin`; without patches it is the reason for that which is shown."""
        known = self.looking.run.reading_of("geometry")
        if isinstance(known, GeometryReading):
            self._place(known)
        else:
            self._asking.ask(GeometryRequest())

    def _place(self, reading: GeometryReading) -> None:
        super()._place(reading)
        looking = self.looking
        with self._undamaged():
            looking.take_stored()
        self._map_wanted()
        if len(looking.patches):
            self._want()
        elif not self._damage:
            self._damage = f"no map: {reading.reason or 'no token shows a part of the picture'}"

    def _want(self) -> None:
        """See `PatchScreen._want`: all rows at every patch, and the map of the answer."""
        looking = self.looking
        if looking.run.reading_of("grid", GridRequest()) is None:
            self._asking.ask(GridRequest(first=looking.row))
        answer = looking.run.answer
        if answer is not None and looking.word_of((answer.id,)) is None:
            self._asking.ask(WordsRequest(words=(f"#{answer.id}",)))

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been read of the run."""
        self.looking.forget_figures()
        made = self._heard(events)
        for each in made:
            self._take(each.reading)
        if not self._asking.waits_for(WordsRequest):
            self._map_wanted()  # what is known of them, if the others could not be read
        for event in events:
            if isinstance(event, SpellingsFound):
                self._take_spellings(event)
        self.show()

    def _take(self, reading: Reading) -> None:
        if isinstance(reading, GeometryReading):
            self._place(reading)
        elif isinstance(reading, WordsReading) and len(self.looking.patches):
            with self._undamaged():
                self.looking.take_stored()
            self._map_wanted()

    def _map_wanted(self) -> None:
        """Map the first of the words that were asked for which has been read; ask for the first
        token of words that are none."""
        words, way = self._wanted
        found = next((word for word in words if self.looking.choose_word(word, way)), None)
        if found is not None:
            self._wanted = ((), way)
            self._note = self.looking.only_first(found)
            if len(words) > 1:
                self._note = f"{len(words)} words: f maps the next"
            if self._asking.trouble:
                self._note = ""  # it names the words that were not read
        for word in self.looking.words:
            if word.word.several_tokens and word.asked not in self._spelled:
                self._spelled.add(word.asked)
                self._shared.asker.ask_spellings(word.asked)

    def _take_spellings(self, event: SpellingsFound) -> None:
        """Note the first tokens of a word; its spellings that differ in case only are one."""
        for word in self.looking.words:
            if word.asked != event.typed or not word.word.several_tokens:
                continue
            texts = (each.text.strip() for each in event.spellings if each.id in word.word.ids)
            firsts = {text.casefold(): text for text in reversed([*texts]) if text}
            if firsts:
                unnamed = self.looking.only_first(word.asked)
                self.looking.first_tokens[word.asked] = " or ".join(reversed(firsts.values()))
                if self._note == unnamed:
                    self._note = self.looking.only_first(word.asked)

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
        if not len(self.looking.patches):
            return
        patch = self.looking.patches.again(self.looking.patch)
        same = patch == self.looking.patch
        self._go(patch=patch, note="no other tile shows this place" if same else "")

    def action_best(self, step: int) -> None:
        """Go to the next best cell over all rows and patches."""
        shown = self.looking.map
        if shown is None or self.looking.go_to_best(step) is None:
            self._go(note="nothing is mapped yet")
            return
        count, all_of_them = len(shown.ranked), shown.count
        cells = f"{count:,} cells" if count == all_of_them else f"the {count:,} highest cells"
        self._go(note=f"{ordinal(self.looking.rank + 1)} of {cells}")

    def action_map(self, step: int) -> None:
        """Map the next word, entropy or rms."""
        self.looking.choose(step)
        self._asking.forget_trouble(WordsRequest)
        self._go()

    def action_contrast(self) -> None:
        """Switch between a word's probability and its contrast over the patches."""
        looking = self.looking
        looking.is_contrast, looking.rank = not looking.is_contrast, -1
        note = "log p minus its mean over the row's patches: it reorders, it proves nothing"
        if looking.is_contrast and not looking.shows_contrast:
            note = "only the lens's words have a contrast"
        self._go(note=note if looking.is_contrast else "")

    def action_log(self) -> None:
        """Switch between a linear and a logarithmic scale."""
        self.looking.log = not self.looking.log
        self._go()

    def action_own_words(self) -> None:
        """Write the best token of every patch onto it, or take the words away."""
        self._own_words = not self._own_words
        note = "each patch's best token in this row, from 1% on" if self._own_words else ""
        if self.pane.marks_only or not self.pane.canvas.has_room_for_words:
            note = "no room for words here"
        self._go(note=note)

    def action_vl_interp(self) -> None:
        """Map the word as vl-interp computes it, or as the lens does."""
        choice = self.looking.choice
        if choice is None or choice.word is None:
            self._go(note="vl-interp's way is for words")
            return
        asked, way = choice.word.asked, choice.word.way
        other = "lens" if way == "vl-interp" else "vl-interp"
        self._look_for((asked,), other)

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
        self._asking.forget_trouble()
        self._damage = ""
        self._begin()
        self._go()

    def on_picture_canvas_picked(self, message: PictureCanvas.Picked) -> None:
        """Go to the clicked patch."""
        message.stop()
        self._go(patch=message.patch)

    def on_led_rows_picked(self, message: LedRows.Picked) -> None:
        """Go to the clicked row."""
        message.stop()
        self._go(row=message.row)

    def _take_typed(self, typed: str | None) -> None:
        words = [word.strip()[:_MOST_WORD] for word in (typed or "").split(",")]
        words = [word for word in dict.fromkeys(words) if word][:MOST_WORDS]
        if words:
            self._look_for(tuple(words), "lens")

    def _look_for(self, words: tuple[str, ...], way: str) -> None:
        """Map the first of these words; what has not been read of them is asked for."""
        looking, self._note = self.looking, ""
        if looking.geometry is not None and not len(looking.patches):
            self.show()
            return  # the reason is shown
        self._asking.forget_trouble(WordsRequest)
        self._wanted = (words, way)
        missing = tuple(word for word in words if not looking.knows(word, way))
        on_its_way = bool(missing) and self._asking.ask(
            WordsRequest(words=missing, way="vl-interp" if way == "vl-interp" else "lens")
        )
        if not on_its_way or words[0] not in missing:
            self._map_wanted()
        self._go(note=self._note)

    def _go(self, row: int | None = None, patch: int | None = None, note: str = "") -> None:
        """Go to a row, a patch or both. A row that has not been read yet is read first once the
        cursor rests on it."""
        self.looking.go(row, patch)
        self._note = note
        cells = self.looking.run.cells
        if self._asking.fills and (cells is None or not cells.has_row(self.looking.row)):
            self._once_it_rests(self._read_first)
        if row is None and patch is not None and not note:
            self._follow_soon()
        else:
            self.show()

    def _follow_soon(self) -> None:
        """Move the frame at once, and show the patch's rows once the cursor rests: with a held key
        only the frame is sent."""
        self._show_picture()
        if self._following is not None:
            self._following.stop()
        self._following = self.set_timer(_FOLLOW, self.show)

    def _read_first(self) -> None:
        cells = self.looking.run.cells
        if cells is None or not cells.has_row(self.looking.row):
            self._asking.read_first(self.looking.row)

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
        words = looking.own_words if self._own_words else None
        known = looking.geometry is not None
        self.pane.show(
            Scene(looking.patches, looking.sheet, looking.steps, cursor, looking.sinks, words),
            "no patches to show" if known else "finding the patches",
        )

    def _show_captions(self) -> None:
        put_subtitle(self.table, self.looking.proof())
        facts = self.looking.facts()
        if not self.table.display:
            facts = "; ".join(filter(None, [self.looking.where(ascii_only=self._ascii), facts]))
        self.pane.put_captions(self.looking.title(ascii_only=self._ascii), facts)

    def _show_legend(self) -> None:
        looking = self.looking
        name = looking.name_of(looking.choice, ascii_only=self._ascii)
        place = f"row {looking.row} of {looking.run.run.layers}"
        if self._asking.progress:
            place = f"{self._asking.progress}, {place}"
        best = "; ".join(part for part in (looking.highest(), looking.confidence()) if part)
        wrong = self._damage or looking.failure or self._asking.trouble
        line = (looking.meaning(), "faint")
        if self._note or wrong:
            line = (self._note, "good") if self._note else (wrong, "error")
        self.legend.show(
            scale_shown(name, looking.map, looking.scale, place),
            (best, "good"),
            line,
        )
