"""What the user looks at: a run's patches, a map of them, a row and a patch. Without Textual."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np

from engine.methods.geometry import GeometryReading
from engine.methods.grid import GridReading
from engine.methods.words import WordsReading
from engine.records import Reading
from tui.state.maps import NO_STEP, Cell, Map, Scale, Steps, Unit
from tui.state.patches import NO_PATCHES, Patches
from tui.state.run_view import RunView
from tui.text.numbers import figure, number
from tui.text.show import display_text, plain_line
from tui.views.words.cell_table import CellRow, CellRows
from tui.views.words.word_maps import WordMap, word_maps

Kind = Literal["word", "entropy", "rms"]
_UNITS: Final[dict[str, Unit]] = {"entropy": "nats", "rms": "rms"}
_FIGURES: Final = tuple((kind,) for kind in _UNITS)
"""The keys of the choices that are figures of the grid."""

_MOST_NAME: Final = 24


@dataclass(frozen=True, eq=False)
class Choice:
    """Something that can be mapped."""

    kind: Kind
    word: WordMap | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others, also after it has been read anew."""
        if self.word is None:
            return (self.kind,)
        return (self.kind, self.word.asked, self.word.way)


class Looking:
    """A run's patches, what is known of them, and what is shown of that."""

    def __init__(self, run: RunView, row: int, position: int | None = None) -> None:
        """Look at a row; at the patch of a position, or else at the one in the middle."""
        self.run = run
        self.row = min(max(row, 0), run.run.layers)
        self.patch = 0
        self.log = self.is_contrast = False
        self.rank = -1
        """The place of the cell that was gone to last, in the order of the map; -1 for none."""
        self.geometry: GeometryReading | None = None
        self.patches = NO_PATCHES
        self.words: tuple[WordMap, ...] = ()
        self.first_tokens: dict[str, str] = {}
        """Word as asked for -> its first token, of words that no single token is; untrusted."""
        self._position = position
        self._key: tuple[object, ...] | None = None
        self._made: dict[tuple[object, ...], tuple[Map, Scale]] = {}

    # ------------------------------------------------------------------ what is known

    def place_patches(self, reading: GeometryReading) -> None:
        """Take the patches. Raises BadInput if they are damaged."""
        self.geometry = reading
        self.patches = (
            NO_PATCHES if reading.how == "none" else Patches.of(reading, len(self.run.run.tokens))
        )
        wanted = None if self._position is None else self.patches.at(self._position)
        self.patch = self.patches.first if wanted is None else wanted
        self._made.clear()

    def take_stored(self) -> None:
        """Take the words that have been read of the run. Raises BadInput if a map is damaged."""
        self.words = tuple(word_maps(self._readings, self.patches.positions))
        self._made.clear()

    @property
    def _readings(self) -> list[Reading]:
        shown = self.run.unsaved_readings.get("words")
        return [*self.run.run.readings, *([shown] if shown is not None else [])]

    def knows(self, asked: str, way: str = "lens") -> bool:
        """Return whether a word has been read so, in all rows at all positions."""
        return any(
            isinstance(known, WordsReading)
            and asked in known.request.words
            and known.request.way == way
            and not known.request.rows
            and not known.request.positions
            for known in self._readings
        )

    def forget_figures(self) -> None:
        """Make the maps of the grid's figures anew, since more of it has been read."""
        self._made = {key: made for key, made in self._made.items() if key[0] not in _FIGURES}

    @property
    def rows_read(self) -> int:
        """How many rows of the grid are known."""
        return self.run.cells.rows if self.run.cells is not None else 0

    def _figures(self, kind: Literal["entropy", "rms"]) -> Map:
        """Return the map of a figure of the grid over the rows that are known."""
        cells, positions = self.run.cells, self.patches.positions
        rows = [
            row
            for row in range(self.run.run.layers + 1)
            if cells is not None and cells.has_row(row)
        ]
        values = np.empty((len(rows), len(positions)), np.float32)
        if cells is not None:
            for index, row in enumerate(rows):
                values[index] = cells.figures(row, kind, positions)
        values[np.isinf(values)] = np.nan
        return Map(tuple(rows), values, _UNITS[kind])

    # ------------------------------------------------------------------ what is mapped

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What can be mapped: the words, the answer first, then entropy and rms."""
        answer = self._answer
        words = sorted(self.words, key=lambda each: each.word.ids != answer)
        found = [Choice("word", word) for word in words]
        if self.rows_read:
            found += [Choice("entropy"), Choice("rms")]
        return tuple(found)

    @property
    def choice(self) -> Choice | None:
        """What is mapped: what was chosen, or else the first word; None while nothing is known."""
        choices = self.choices
        for each in choices:
            if each.key == self._key:
                return each
        return choices[0] if choices and choices[0].kind == "word" else None

    def choose(self, step: int) -> None:
        """Map the next of the choices, or the one before."""
        choices = self.choices
        if choices:
            keys = [each.key for each in choices]
            now = self.choice
            at = keys.index(now.key) + step if now is not None else 0
            self._key = keys[at % len(keys)]
            self.rank = -1

    def choose_word(self, asked: str, way: str = "lens") -> bool:
        """Map a word that was asked for so; return whether its map is known."""
        for each in self.words:
            if (each.asked, each.way) == (asked, way):
                self._key = Choice("word", each).key
                self.rank = -1
                return True
        return False

    def word_of(self, ids: tuple[int, ...]) -> WordMap | None:
        """Return the lens's map of a word by its tokens, or None."""
        found = (each for each in self.words if each.word.ids == ids and each.way == "lens")
        return next(found, None)

    @property
    def _answer(self) -> tuple[int, ...]:
        answer = self.run.answer
        return () if answer is None else (answer.id,)

    @property
    def shows_contrast(self) -> bool:
        """Whether what is mapped is a contrast. Of vl-interp's probabilities most have vanished: a
        contrast of them would be one of zeros."""
        word = self.choice.word if self.choice is not None else None
        return self.is_contrast and word is not None and word.way == "lens"

    @property
    def _mapped(self) -> tuple[Map, Scale] | None:
        choice = self.choice
        if choice is None:
            return None
        key = (choice.key, self.shows_contrast, self.log)
        if key not in self._made:
            if choice.word is not None:
                found = choice.word.map
                found = found.contrast() if self.shows_contrast else found
            else:
                found = self._figures("rms" if choice.kind == "rms" else "entropy")
            self._made[key] = (found, found.scale(log=self.log))
        return self._made[key]

    @property
    def map(self) -> Map | None:
        """The map that is shown, of all rows; None while there is none."""
        return self._mapped[0] if self._mapped is not None else None

    @property
    def scale(self) -> Scale:
        """Its scale, the same for all rows."""
        return self._mapped[1] if self._mapped is not None else Scale(0, 1)

    @property
    def steps(self) -> Steps | None:
        """uint8 [n]: the steps of the shown row; None without a map that can be trusted."""
        mapped = self._mapped
        if mapped is None or self.failure:
            return None
        return mapped[1].steps(mapped[0].row(self.row))

    # ------------------------------------------------------------------ moving

    def go(self, row: int | None = None, patch: int | None = None) -> None:
        """Go to a row, a patch or both, as far as there are such."""
        if row is not None:
            self.row = min(max(row, 0), self.run.run.layers)
        if patch is not None and len(self.patches):
            self.patch = min(max(patch, 0), len(self.patches) - 1)

    def go_to_best(self, step: int) -> Cell | None:
        """Go to the next best cell of the map, or to the one before; None if it has none."""
        ranked = self.map.ranked if self.map is not None else ()
        if not ranked:
            return None
        self.rank = min(max(self.rank + step, 0), len(ranked) - 1)
        self.go(ranked[self.rank].row, ranked[self.rank].patch)
        return ranked[self.rank]

    @property
    def position(self) -> int | None:
        """The token of the patch; None without patches."""
        return self.patches.positions[self.patch] if len(self.patches) else None

    @property
    def sheet(self) -> int:
        """The sheet that is shown."""
        return self.patches.sheet_of(self.patch) if len(self.patches) else 0

    # ------------------------------------------------------------------ in words

    def name_of(self, choice: Choice | None, *, ascii_only: bool = False) -> str:
        """Return what is mapped, safe for display: "the answer ␣red", "␣cube", "entropy"."""
        if choice is None:
            return "nothing yet"
        if choice.word is None:
            return choice.kind
        word, answer = choice.word.word, self.run.answer
        is_answer = answer is not None and word.ids == self._answer
        text = answer.text if is_answer and answer is not None else self._text_of(choice.word)
        shown = display_text(text, ascii_only=ascii_only)
        if len(shown) > _MOST_NAME:
            shown = display_text(text, _MOST_NAME, ascii_only=ascii_only)
        shown = f"the answer {shown}" if is_answer else shown
        return f"{shown}, vl-interp's way" if choice.word.way == "vl-interp" else shown

    def _text_of(self, word: WordMap) -> str:
        """Return the word's text; of one that was asked for by its id, the token's, where it is
        known."""
        ids = word.word.ids
        if len(ids) == 1 and word.word.text == f"#{ids[0]}":
            known = (token.text for token in self.run.leaders if token.id == ids[0])
            return next(known, word.word.text)
        return word.word.text

    def title(self, *, ascii_only: bool = False) -> str:
        """Return what is mapped of which picture, for the border; safe for display."""
        choice, picture = self.choice, self.run.run.question.picture
        name = self.name_of(choice, ascii_only=ascii_only)
        words = "the picture" if choice is None else f"where {name} is readable"
        if choice is not None and choice.kind != "word":
            words = f"{name} over the picture"
        file = "" if picture is None else picture.path.rsplit("/", 1)[-1]
        instead = f"replaced by {self.run.counterfactual}" if self.run.counterfactual else ""
        norm = "" if self.run.run.question.norm else "norm off"
        parts = (norm, file, instead)
        more = [plain_line(part, ascii_only=ascii_only) for part in parts if part]
        return ", ".join([words, *more])

    def facts(self) -> str:
        """Return how many patches there are, whether they are exact, and which are shown; not safe
        for display."""
        geometry, sheets = self.geometry, len(self.patches.sheets)
        if geometry is None or not len(self.patches):
            return ""
        words = f"{len(self.patches)} patches"
        if geometry.how == "approximate":
            words += f", approximate: {geometry.reason}"
        return f"{words}, view {self.sheet + 1} of {sheets}: O" if sheets > 1 else words

    def highest(self) -> str:
        """Return the best cell of the map in words; empty without one, and for a word, whose best
        cell is its confidence."""
        shown, choice = self.map, self.choice
        if shown is None or choice is None or not shown.ranked or shown.unit == "p":
            return ""
        return f"highest {self._cell(shown)}"

    def _cell(self, shown: Map) -> str:
        best = shown.ranked[0]
        name = self.patches.short_name(best.patch)
        return f"{shown.text(best.value)} (row {best.row}, {name})"

    def confidence(self) -> str:
        """Return the word's internal confidence in words, and vl-interp's if it has been read; of
        which token they are, if that is only the word's first; empty if no word is mapped. Not safe
        for display."""
        choice = self.choice
        if choice is None or choice.word is None:
            return ""
        ways = {}
        for each in self.words:
            if each.asked == choice.word.asked and each.map.ranked:
                ways[each.way] = self._cell(each.map)
        named = {"lens": "internal confidence", "vl-interp": "vl-interp's"}
        figures = "; ".join(f"{named[way]} {ways[way]}" for way in named if way in ways)
        if not choice.word.word.several_tokens:
            return figures
        return f"of its first token{self._first(choice.word)}: {figures}"

    def only_first(self, asked: str) -> str:
        """Return that only the first token of a word is followed, and which that is; empty for a
        word that is one token. Not safe for display."""
        for word in self.words:
            if word.asked == asked and word.word.several_tokens:
                first = self._first(word)
                return f"{asked}: only its first token{first}{',' * bool(first)} is followed"
        return ""

    def _first(self, word: WordMap) -> str:
        first = self.first_tokens.get(word.asked)
        return "" if first is None else f", {first}"

    def where(self, *, ascii_only: bool = False) -> str:
        """Return the row, the patch and its best token there, in few words; safe for display."""
        position, cells = self.position, self.run.cells
        if position is None:
            return ""
        name = f"row {self.row}, {self.patches.short_name(self.patch)}"
        cell = cells.cell(self.row, position) if cells is not None else None
        if cell is None:
            return name
        token = display_text(cell.text, ascii_only=ascii_only)
        if len(token) > _MOST_NAME:
            token = display_text(cell.text, _MOST_NAME, ascii_only=ascii_only).rstrip()
        return f"{name}: {token} {figure(cell.probability).strip()}"

    @property
    def is_sink(self) -> bool:
        """Whether the patch has massive activations."""
        return self.patch in self.sinks

    @property
    def sinks(self) -> frozenset[int]:
        """The patches with massive activations."""
        cells = self.run.cells
        found = (self.patches.at(each) for each in (cells.sinks if cells is not None else ()))
        return frozenset(patch for patch in found if patch is not None)

    def meaning(self) -> str:
        """Return one sentence on what the row at this patch means."""
        if not len(self.patches):
            return ""
        if self.is_sink:
            return "A sink: massive activations; what its rows say is no content of the picture."
        if not self.patches.boxed[self.patch]:
            return "This token shows nothing of the picture: it is a separator, or padding."
        grid = self.run.reading_of("grid")
        if isinstance(grid, GridReading):
            for each in grid.approximate:
                if each.row == self.row:
                    return f"Row {self.row} is approximate: {each.reason}"
        if self.row == 0:
            return "Row 0 at a patch is the projector's output, not the embedding of a word."
        if self.row == self.run.run.layers:
            return "The model's own next token here; nothing trained it to name the patch."
        return "A row says the next token; at a patch nothing trained the model to name it."

    @property
    def failure(self) -> str:
        """Why what is shown cannot be trusted; empty if it can."""
        choice, cells = self.choice, self.run.cells
        if choice is not None and choice.word is not None and choice.word.failed:
            return "the proof of this map failed, do not believe it"
        return cells.failed or "" if cells is not None else ""

    def proof(self) -> str:
        """Return the proof of what is mapped, with its number; empty if there is none."""
        choice, grid = self.choice, self.run.reading_of("grid")
        proof = grid.proof if grid is not None else None
        if choice is not None and choice.word is not None:
            proof = choice.word.proof
        if proof is None:
            return ""
        return f"{'proof' if proof.passed else 'proof failed'} {number(proof.error)}"

    # ------------------------------------------------------------------ the rows at the patch

    def own_words(self) -> dict[int, tuple[str, float]]:
        """Return the best token's text and probability of every patch in the shown row, as far as
        they are known."""
        cells = self.run.cells
        if cells is None:
            return {}
        found = (cells.cell(self.row, position) for position in self.patches.positions)
        return {
            patch: (cell.text, cell.probability)
            for patch, cell in enumerate(found)
            if cell is not None
        }

    def cell_rows(self, *, ascii_only: bool = False) -> CellRows:
        """Return the rows at the patch, as far as they are known."""
        cells, position = self.run.cells, self.position
        if position is None:
            return CellRows()
        shown, patch, scale = self.map, self.patch, self.scale
        count = self.run.run.layers + 1
        values = np.full(count, np.nan, np.float32)
        if shown is not None:
            values[:] = [shown.row(row)[patch] for row in range(count)]
        rows = []
        for row, step in enumerate(scale.steps(values).tolist()):
            text = "" if shown is None or step == NO_STEP else shown.text(float(values[row]))
            cell = CellRow(value=text, step=step)
            known = cells.cell(row, position) if cells is not None else None
            if known is not None:
                cell = CellRow(known.text, known.id, known.probability, text, step)
            rows.append(cell)
        name = self.name_of(self.choice, ascii_only=ascii_only) if shown is not None else ""
        name = "contrast" if self.shows_contrast else name.removeprefix("the answer ")
        return CellRows(self._heads(ascii_only), name, tuple(rows), bool(self.failure))

    def _heads(self, ascii_only: bool) -> tuple[str, str]:
        where = self.patches.extent(self.patch, self._size) or "no part of the picture"
        sink = ", a sink" if self.is_sink else ""
        name = f"{self.patches.name(self.patch)}{sink}"
        heads = (name, f"position {self.position}, {where}")
        return (_in_ascii(heads[0]), _in_ascii(heads[1])) if ascii_only else heads

    @cached_property
    def _size(self) -> tuple[int, int]:
        picture = self.run.run.question.picture
        return (picture.width, picture.height) if picture is not None else (0, 0)


def _in_ascii(words: str) -> str:
    return words.replace("×", "x").replace("–", "-")
