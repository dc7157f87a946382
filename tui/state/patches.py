"""The picture's tokens as patches of the picture, and the ways from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.errors import BadInput
from engine.methods.geometry import GeometryReading

Floats = npt.NDArray[np.float64]

_FURTHEST: Final = 1e9
"""Edges beyond this, in pixels, are no edges of a patch."""
_SAME_PLACE: Final = 0.1
"""The share of a tile that may lie under others of the same sheet: neighbours overlap by a pixel
or two, a thumbnail altogether."""


@dataclass(frozen=True, eq=False)
class Patches:
    """n tokens of the picture, in the order of the prompt; a patch is called by its index."""

    positions: tuple[int, ...]
    """Indices into the run's tokens, ascending."""
    boxes: Floats
    """float64 [n, 4]: x0, y0, x1, y1 in pixels of the picture; NaN for a token without a box."""
    tiles: tuple[int, ...]
    """Of each patch; -1 if unknown, as in `rows` and `columns`."""
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, reading: GeometryReading, tokens: int) -> Patches:
        """Take the patches from a reading of a run with that many tokens.

        Raises BadInput if its arrays are damaged or name tokens that the run does not have.
        """
        positions = tuple(int(each) for each in reading.tokens.values)
        if any(a >= b for a, b in pairwise(positions)) or (positions and positions[0] < 0):
            raise BadInput("the patches of the picture are out of order")
        if positions and positions[-1] >= tokens:
            raise BadInput("the patches of the picture are not tokens of this run")
        boxes = np.array(reading.boxes.values, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(boxes).all(axis=1) & (np.abs(boxes) < _FURTHEST).all(axis=1)
            usable &= (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        boxes[~usable] = np.nan
        tiles, rows, columns = (
            tuple(int(each) for each in array.values)
            for array in (reading.tile, reading.row, reading.column)
        )
        return cls(positions, boxes, tiles, rows, columns)

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def boxed(self) -> npt.NDArray[np.bool_]:
        """bool [n]: which patches show a part of the picture."""
        return ~np.isnan(self.boxes[:, 0])

    @cached_property
    def _index(self) -> dict[int, int]:
        return {position: index for index, position in enumerate(self.positions)}

    def at(self, position: int) -> int | None:
        """Return the patch of a token, or None."""
        return self._index.get(position)

    @cached_property
    def sheets(self) -> tuple[npt.NDArray[np.intp], ...]:
        """The patches with a box, in sheets that can be shown at once: the tiles of one sheet lie
        side by side, and what shows the same place again (a thumbnail) is on another."""
        frames: list[list[Floats]] = []
        sheets: list[list[npt.NDArray[np.intp]]] = []
        tiles = np.array(self.tiles, dtype=np.int64)
        for tile in dict.fromkeys(self.tiles):
            members = np.flatnonzero((tiles == tile) & self.boxed)
            if not len(members):
                continue
            boxes = self.boxes[members]
            frame = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
            for index, others in enumerate(frames):
                if all(_shared(frame, other) <= _SAME_PLACE for other in others):
                    others.append(frame)
                    sheets[index].append(members)
                    break
            else:
                frames.append([frame])
                sheets.append([members])
        return tuple(np.sort(np.concatenate(sheet)) for sheet in sheets)

    def sheet_of(self, patch: int) -> int:
        """Return the sheet of a patch; the first one for a patch without a box."""
        for index, sheet in enumerate(self.sheets):
            if patch in sheet:
                return index
        return 0

    @cached_property
    def first(self) -> int:
        """The patch in the middle of the sheet with most patches; 0 if none has a box."""
        if not self.sheets:
            return 0
        sheet = max(self.sheets, key=len)
        boxes = self.boxes[sheet]
        middle = (boxes[:, :2].min(axis=0) + boxes[:, 2:].max(axis=0)) / 2
        return self._nearest(sheet, middle)

    def beside(self, patch: int, right: int, down: int) -> int:
        """Return the next patch of the same sheet in a direction, across the edges of tiles; the
        same patch at the edge of the picture, and for a patch without a box."""
        if not self.boxed[patch]:
            return patch
        sheet = self.sheets[self.sheet_of(patch)]
        along, across = (0, 1) if right else (1, 0)
        sign = right or down
        mine, boxes = self.boxes[patch], self.boxes[sheet]
        middles = (boxes[:, along] + boxes[:, along + 2]) / 2
        ahead = sign * (middles - (mine[along] + mine[along + 2]) / 2)
        low = np.maximum(boxes[:, across], mine[across])
        high = np.minimum(boxes[:, across + 2], mine[across + 2])
        size = mine[along + 2] - mine[along]
        fits = (ahead > size / 4) & (high > low)
        if not fits.any():
            return patch
        nearest = ahead[fits].min()
        close = np.flatnonzero(fits & (ahead <= nearest + size / 4))
        return int(sheet[close[np.argmax((high - low)[close])]])

    def again(self, patch: int) -> int:
        """Return the patch that shows the same place on the next sheet; the same patch if there is
        no other sheet."""
        if len(self.sheets) < 2 or not self.boxed[patch]:
            return patch
        sheet = self.sheets[(self.sheet_of(patch) + 1) % len(self.sheets)]
        box = self.boxes[patch]
        return self._nearest(sheet, (box[:2] + box[2:]) / 2)

    def _nearest(self, sheet: npt.NDArray[np.intp], point: Any) -> int:
        boxes = self.boxes[sheet]
        outside = np.maximum(np.maximum(boxes[:, :2] - point, point - boxes[:, 2:]), 0)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        order = np.lexsort((((middles - point) ** 2).sum(axis=1), (outside**2).sum(axis=1)))
        return int(sheet[order[0]])

    def name(self, patch: int) -> str:
        """Return which patch it is, across and down from 1: "patch 12,7 of 24x24", "tile 2 of 5,
        patch 3,1 of 12x12"; "patch 8 of 64" if its column and row are unknown."""
        row, column, tile = self.rows[patch], self.columns[patch], self.tiles[patch]
        if row < 0 or column < 0:
            return f"patch {patch + 1} of {len(self)}"
        wide, high = self._sizes.get(tile, (1, 1))
        words = f"patch {column + 1},{row + 1} of {wide}×{high}"
        if len(self._sizes) > 1 and tile >= 0:
            words = f"tile {tile + 1} of {max(self._sizes) + 1}, {words}"
        return words

    def short_name(self, patch: int) -> str:
        """Return the name without the size of its grid: "patch 12,7"."""
        return self.name(patch).partition(" of ")[0] if len(self._sizes) < 2 else self._tiled(patch)

    def _tiled(self, patch: int) -> str:
        row, column, tile = self.rows[patch], self.columns[patch], self.tiles[patch]
        if min(row, column, tile) < 0:
            return f"patch {patch + 1}"
        return f"tile {tile + 1} patch {column + 1},{row + 1}"

    @cached_property
    def _sizes(self) -> dict[int, tuple[int, int]]:
        """Tile -> its columns and rows."""
        sizes: dict[int, tuple[int, int]] = {}
        for tile, row, column in zip(self.tiles, self.rows, self.columns, strict=True):
            wide, high = sizes.get(tile, (0, 0))
            sizes[tile] = (max(wide, column + 1), max(high, row + 1))
        return sizes

    def extent(self, patch: int, size: tuple[int, int]) -> str:
        """Return the part of a picture of this size that a patch shows: "x 40-60 y 20-40"; empty
        without a box."""
        if not self.boxed[patch]:
            return ""
        x0, y0, x1, y1 = self.boxes[patch]
        clipped = np.clip([x0, x1], 0, size[0] or None), np.clip([y0, y1], 0, size[1] or None)
        (left, right), (top, bottom) = (np.round(pair).astype(int) for pair in clipped)
        return f"x {left}–{right} y {top}–{bottom}"


def _shared(one: Floats, other: Floats) -> float:
    """Return the share of the smaller of two boxes that lies in the other."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(np.prod(np.maximum(high - low, 0)) / max(min(areas), 1e-9))


NO_PATCHES: Final = Patches((), np.empty((0, 4)), (), (), ())
