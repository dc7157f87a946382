"""A worker that reads a picture of 24 x 24 patches, with a word in one corner of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from engine.arrays import Array
from engine.events import ReadingGrew, ReadingMade, Spelling, SpellingsFound
from engine.methods.geometry import GeometryReading, GeometryRequest
from engine.methods.grid import GridPart, GridReading, GridRequest
from engine.methods.words import Word, WordsReading, WordsRequest
from engine.records import PromptToken, Question, Reading, Request, Run
from tests.tui.fakes import ANSWER, FakeWorker, finish, make_rows, make_run

SIDE: Final = 24
BEFORE: Final = 3
"""Tokens before the picture."""
TEXTS: Final = {30: " red", 31: " sky", 32: " grass", 33: "\x1b[31m", ANSWER[0]: ANSWER[1]}


def tokens_of(count: int) -> tuple[PromptToken, ...]:
    """A prompt with so many tokens of a picture."""
    before = [PromptToken(i, "<s>", "special", "template") for i in range(BEFORE)]
    patches = [PromptToken(9, "<image>", "image", "picture")] * count
    after = [PromptToken(10, " Shape", "text", "prompt"), PromptToken(11, ":", "text", "prompt")]
    return (*before, *patches, *after)


def geometry(
    size: tuple[int, int], side: int = SIDE, *, thumbnail: int = 0, how: Any = "exact"
) -> GeometryReading:
    """Patches that cut a picture into side x side parts; with a thumbnail, so many more along a
    side of it show the whole picture once more, ahead of the others."""
    boxes, tiles, rows, columns = [], [], [], []
    for tile, parts in enumerate([thumbnail, side] if thumbnail else [side]):
        for row in range(parts):
            for column in range(parts):
                wide, high = size[0] / parts, size[1] / parts
                x, y = column * wide, row * high
                boxes.append((x, y, x + wide, y + high))
                tiles.append(tile)
                rows.append(row)
                columns.append(column)
    count = len(boxes)
    return GeometryReading(
        request=GeometryRequest(),
        how=how,
        reason="its patches overlap" if how == "approximate" else "",
        tokens=Array.of(np.arange(BEFORE, BEFORE + count), "<i4"),
        boxes=Array.of(np.array(boxes).reshape(-1, 4), "<f4"),
        tile=Array.of(np.array(tiles), "<i2"),
        row=Array.of(np.array(rows), "<i2"),
        column=Array.of(np.array(columns), "<i2"),
    )


def no_geometry(reason: str = "every token sees the whole picture") -> GeometryReading:
    return replace(geometry((8, 8), 0), how="none", reason=reason)


def positions_of(count: int) -> tuple[int, ...]:
    return tuple(range(BEFORE, BEFORE + count))


def hill(side: int, x: float, y: float, width: float = 0.15) -> np.ndarray[Any, Any]:
    """float [side * side]: 1 at a place (0..1) of the picture, less around it."""
    at = (np.arange(side) + 0.5) / side
    away = (at[None, :] - x) ** 2 + (at[:, None] - y) ** 2
    return np.asarray(np.exp(-away / (2 * width**2))).ravel()


def word_shares(layers: int, side: int, x: float = 0.7, y: float = 0.3) -> np.ndarray[Any, Any]:
    """float [L + 1, side * side]: a word that rises towards row 3/4 L and falls after it."""
    rows = np.arange(layers + 1) / layers
    rise = np.exp(-((rows - 0.75) ** 2) / 0.05)
    shares: np.ndarray[Any, Any] = 0.001 + 0.6 * rise[:, None] * hill(side, x, y)[None, :]
    return shares


def words_reading(request: WordsRequest, layers: int, side: int = SIDE) -> WordsReading:
    places = {"red": (0.3, 0.4), "sky": (0.5, 0.1)}
    words, shares = [], []
    for text in request.words:
        ids = (int(text[1:]),) if text.startswith("#") else (len(text) + 30,)
        words.append(Word(text, ids, several_tokens=text == "cylinders"))
        found = word_shares(layers, side, *places.get(text, (0.7, 0.3)))
        shares.append(np.minimum(1.5 * found, 1) if request.way == "vl-interp" else found)
    return WordsReading(
        request=request,
        words=tuple(words),
        rows=tuple(range(layers + 1)),
        positions=positions_of(side * side),
        probability=Array.of(np.array(shares), "<f4"),
    )


def grid_arrays(rows: range, layers: int, side: int) -> dict[str, Any]:
    count = side * side
    share = np.stack([0.1 + 0.8 * (row / layers) * hill(side, 0.5, 0.5) for row in rows])
    ids = np.empty((len(rows), count, 1), np.int32)
    ids[:] = np.where(np.arange(count) % 3 == 0, 31, 30)[None, :, None]
    ids[-1, count // 2 :] = 32
    entropy = np.stack([5 - 4 * (row / layers) * hill(side, 0.5, 0.5) for row in rows])
    rms = np.stack([np.full(count, 0.5 + row) for row in rows])
    return {
        "rows": tuple(rows),
        "positions": positions_of(count),
        "ids": Array.of(ids, "<i4"),
        "logits": Array.of(np.log(share), "<f4"),
        "lse": Array.of(np.zeros_like(share), "<f4"),
        "entropy": Array.of(entropy, "<f4"),
        "rms": Array.of(rms, "<f4"),
        "texts": TEXTS,
        "sinks": (BEFORE + 5,),
    }


def grid_reading(request: GridRequest, layers: int, side: int = SIDE) -> GridReading:
    return GridReading(
        request=replace(request, first=None), **grid_arrays(range(layers + 1), layers, side)
    )


class WordsWorker(FakeWorker):
    """Answers every question about a picture of patches; its readings can be replaced."""

    def __init__(
        self,
        *given: Any,
        side: int = SIDE,
        picture: tuple[int, int] = (336, 336),
        made: Callable[[Request], Reading | None] = lambda _: None,
        **settings: Any,
    ) -> None:
        """`picture` is the size of the picture in pixels; `made` gives readings in place of the
        usual ones."""
        super().__init__(*given, tokens=tokens_of(side * side), **settings)
        self.side, self.picture, self.made = side, picture, made

    def spellings(self, typed: str) -> None:
        first = Spelling(len(typed) + 30, typed[:1], typed, False)
        self._jobs.put(lambda: self.tell(SpellingsFound(typed, (first,))))

    def _grid(self, run_id: str, request_id: str, request: GridRequest) -> None:
        half = part_of(self.layers, range((self.layers + 1) // 2), self.side)
        self.tell(ReadingGrew(run_id, request_id, half))
        reading = self.made(request) or grid_reading(request, self.layers, self.side)
        if not self.holds_grids:
            self.tell(ReadingMade(run_id, request_id, reading))

    def _reading(self, run_id: str, request: Request) -> Reading:
        made = self.made(request)
        if made is not None:
            return made
        match request:
            case GeometryRequest():
                return geometry(self.picture, self.side)
            case WordsRequest():
                return words_reading(request, self.layers, self.side)
        return super()._reading(run_id, request)


def finished_run(side: int = SIDE, layers: int = 10, **question: Any) -> Run:
    """A run of such a picture that has ended."""
    run = make_run("0" * 15 + "7", Question(prompt="Shape:", **question), layers)
    tokens = tokens_of(side * side)
    run = replace(run, tokens=tokens, position=len(tokens) - 1)
    return finish(run, make_rows(layers, 5))


def part_of(layers: int, rows: range, side: int = SIDE) -> GridPart:
    return GridPart(**grid_arrays(rows, layers, side), of=layers + 1)
