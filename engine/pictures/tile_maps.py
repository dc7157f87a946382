"""Where every tile of a processor's output lies in the photograph, to a fraction of a pixel.

A first drawing (`engine.pictures.drawn`) tells roughly where a tile lies. Two more, of waves, tell
it finely: the phase of a wave says where in its period a pixel is. Processors resize a picture to a
whole number of pixels, and cut and pad it between pixels; a map that is as near to such a one as
it is certain is taken to be it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from engine.errors import BadInput
from engine.pictures.drawn import BLUE, Line, Place
from engine.pictures.model_view import Layout, Process, layout_of
from engine.pictures.pixels import Unpack, pixels_of, restored

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN, AMPLITUDE = 128.0, 100.0
"""Of the waves; what resizing overshoots must not be clipped."""
PERIODS: Final = 16
"""How many periods a wave has along the picture; the rough map is right to half a period."""
SHORTEST: Final = 16
"""Pixels of the photograph: a shorter period would be distorted where a picture is enlarged."""
SHORTEST_SHOWN: Final = 8
"""Pixels of the tile: likewise, where it is shrunk."""
FEWEST: Final = 8
"""Pixels of the photograph: along fewer there is no wave, and the map is a rough one."""
NEAR: Final = 0.05
"""Pixels of the tile: how near to a whole number a size or an edge must at least be to be taken for
it."""
LEAST: Final = 0.01
"""Pixels of the tile: the least error that is assumed of a wave's place."""
ENOUGH: Final = 64
"""Pixels: a smaller photograph is drawn enlarged, if the processor treats that alike."""
MOST_SIDE: Final = 8192
"""Pixels of the longer side of what is drawn enlarged."""


@dataclass(frozen=True)
class TileMap:
    """Where a tile lies in the photograph.

    The lines lead from an edge between two columns (rows) of the tile, counted from its first
    edge, to a place in the photograph in its pixels, counted from its left (top) edge.
    """

    x: Line
    y: Line
    inside: tuple[int, int, int, int]
    """The pixels of the tile that hold the picture: first column and row, and those after the
    last ones."""

    def shrunk(self, times: int) -> TileMap:
        """The map to a photograph so many times smaller."""
        x, y = (Line(each.slope / times, each.start / times) for each in (self.x, self.y))
        return TileMap(x, y, self.inside)


def located(
    processor: Any, inputs: Mapping[str, Any], size: tuple[int, int], process: Process
) -> tuple[Unpack, tuple[TileMap | None, ...]]:
    """How to put the pixels in `inputs` together, which `process` made from a photograph of this
    size, and the map of every tile; None for one that holds nothing of the photograph.

    Raises BadInput where no known way of putting its pixels together passes the proof.
    """
    plain: Layout | None = None
    problem: BadInput | None = None
    try:
        plain = layout_of(processor, inputs, size, process)
    except BadInput as error:
        problem = error
    for larger in _enlarged(size):
        # Colours cannot say much about places in a picture of a few pixels.
        times = larger[0] // size[0]
        try:
            layout = layout_of(processor, inputs, larger, process)
        except BadInput:
            continue
        if plain is None or _agree(plain, layout):
            maps = _tile_maps(processor, inputs, layout, larger, process)
            return layout.unpack, tuple(each and each.shrunk(times) for each in maps)
    if plain is None:
        assert problem is not None
        raise problem
    return plain.unpack, _tile_maps(processor, inputs, plain, size, process)


def _enlarged(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Sizes in whole multiples of a small one, from the largest down."""
    times = min(math.ceil(ENOUGH / min(size)), MOST_SIDE // max(size))
    while times > 1:
        yield size[0] * times, size[1] * times
        times //= 2


def _agree(one: Layout, other: Layout) -> bool:
    """Whether the tiles of two layouts show roughly the same parts of a picture."""
    pairs = list(zip(one.places, other.places, strict=True))
    if any((a is None) != (b is None) for a, b in pairs):
        return False
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return all(
        max(abs(x - y) for x, y in zip(a.inside, b.inside, strict=True)) <= 2 for a, b in both
    )


def _tile_maps(
    processor: Any,
    inputs: Mapping[str, Any],
    layout: Layout,
    size: tuple[int, int],
    process: Process,
) -> tuple[TileMap | None, ...]:
    held = [place for place in layout.places if place is not None]
    rough = [
        [_Fit.rough(place, axis, length) for place in held] for axis, length in enumerate(size)
    ]
    periods = [_period(fits, length) for fits, length in zip(rough, size, strict=True)]
    tiles = _shown_waves(processor, inputs, layout, size, periods, process)
    lines = []
    for axis, (fits, length, period) in enumerate(zip(rough, size, periods, strict=True)):
        if tiles is not None and length >= FEWEST:
            shown = [
                [_along(tile, place, axis) for tile in both]
                for *both, place in zip(*tiles, layout.places, strict=True)
                if place is not None
            ]
            fits = [
                _refined(fit, waves, length, period) for fit, waves in zip(fits, shown, strict=True)
            ]
        lines.append(_in_whole_pixels(fits, length))
    made = iter(zip(*lines, held, strict=True))
    maps = []
    for place in layout.places:
        x, y, own = (None, None, None) if place is None else next(made)
        maps.append(None if own is None else TileMap(x, y, own.inside))
    return tuple(maps)


def _shown_waves(
    processor: Any,
    inputs: Mapping[str, Any],
    layout: Layout,
    size: tuple[int, int],
    periods: Sequence[float],
    process: Process,
) -> list[Tensor] | None:
    """What the tiles [n, height, width, 3] show of the waves, and of those a quarter of a period
    further; None where the processor treats them differently."""
    settings = getattr(processor, "image_processor", processor)
    answers = [process(_drawing(size, periods, turn)) for turn in (0.0, 0.25)]
    shape = getattr(pixels_of(inputs), "shape", None)
    if any(getattr(pixels_of(answer), "shape", None) != shape for answer in answers):
        return None
    return [restored(layout.unpack(answer), settings) for answer in answers]


def _drawing(size: tuple[int, int], periods: Sequence[float], turn: float) -> Image:
    """Waves along x in red and along y in green, beginning a part of a period further."""
    from PIL import Image

    width, height = size
    red, green = (
        MEAN + AMPLITUDE * torch.cos(2 * math.pi * ((torch.arange(length) + 0.5) / period - turn))
        for length, period in zip(size, periods, strict=True)
    )
    blue = torch.full((height, width), BLUE)
    colours = torch.stack([red.expand(height, -1), green[:, None].expand(-1, width), blue], -1)
    return Image.fromarray(colours.round().to(torch.uint8).numpy())


def _period(fits: Sequence[_Fit], length: int) -> float:
    """A period, in pixels of the photograph, of which every tile shows a few."""
    shown = min(fit.line.slope * (fit.last - fit.first) for fit in fits)
    coarsest = max(fit.line.slope for fit in fits)
    most = min(length / PERIODS, shown / 3)
    return min(length, max(most, SHORTEST, coarsest * SHORTEST_SHOWN))


def _along(tile: Tensor, place: Place, axis: int) -> Tensor:
    """The colours of a tile [height, width, 3] along an axis (0 is x), averaged over the other."""
    left, top, right, bottom = place.inside
    colours = tile[..., axis].double()
    return colours[top:bottom].mean(0) if axis == 0 else colours[:, left:right].mean(1)


@dataclass(frozen=True)
class _Fit:
    """The line of one axis of a tile, and how well it is known."""

    line: Line
    first: int
    last: int
    """The pixels that hold the picture: the first, and the one after the last."""
    centre: float = 0.0
    """The edge at which the line is known best."""
    uncertain: float = math.inf
    """The standard error of the line's slope, as a share of the slope."""

    @classmethod
    def rough(cls, place: Place, axis: int, length: int) -> _Fit:
        """From the first drawing, whose shares lie between the centres of the outer pixels."""
        share = (place.columns, place.rows)[axis]
        # A centre lies half a pixel after its edge, in the tile and in the photograph.
        start = (share.start - share.slope / 2) * (length - 1) + 0.5
        line = Line(share.slope * (length - 1), start)
        return cls(line, place.inside[axis], place.inside[axis + 2])

    def like(self, other: _Fit) -> bool:
        """Whether both are fine and enlarge the picture alike, as far as they are certain."""
        if not (self.fine and other.fine):
            return False
        off = abs(self.line.slope / other.line.slope - 1)
        return off <= 4 * math.hypot(self.uncertain, other.uncertain)

    def holds_all(self, length: int) -> bool:
        """Whether the tile seems to hold all of the picture along this axis."""
        edges = (self.first, self.last)
        begins, ends = (self.line.slope * edge + self.line.start for edge in edges)
        if length == 1 or ends - begins < 0.5:
            return True  # one pixel wide, or shrunk to one: its colour says nothing
        off = max(0.5, self.line.slope / 4)
        return abs(begins) < off and abs(ends - length) < off

    @property
    def fine(self) -> bool:
        """Whether waves have shown it."""
        return math.isfinite(self.uncertain)


def _refined(fit: _Fit, shown: Sequence[Tensor], length: int, period: float) -> _Fit:
    """A finer fit, from the two waves along the axis; the same if they show none."""
    cosine, sine = (colours - MEAN for colours in shown)
    middles = torch.arange(len(cosine), dtype=torch.float64) + 0.5
    roughly = fit.line.at(middles)
    phase = torch.atan2(sine, cosine) / (2 * math.pi)
    place = (phase + (roughly / period - phase).round()) * period
    # Near its borders a picture is resized with fewer pixels than in its middle.
    margin = min(2 + 2 * fit.line.slope, length / 6)
    used = (roughly > margin) & (roughly < length - margin)
    used &= torch.hypot(cosine, sine) > AMPLITUDE / 2
    used[: fit.first], used[fit.last :] = False, False
    for _ in range(3):
        count = int(used.sum())
        if count < 6:
            return fit
        at, there = middles[used], place[used]
        spread = float((at - at.mean()).square().sum())
        slope = float(((at - at.mean()) * (there - there.mean())).sum()) / spread
        line = Line(slope, float(there.mean()) - slope * float(at.mean()))
        off = (place - line.at(middles)).abs()
        noise = float(off[used].square().mean().sqrt())
        if slope <= 0 or noise > period / 8:
            return fit
        used &= off <= max(3 * noise, 1e-6)
    residual = (place - line.at(middles))[used]
    # Of residuals that resemble their neighbours' fewer are independent.
    alike = float((residual[1:] * residual[:-1]).sum() / residual.square().sum().clamp(min=1e-12))
    independent = min(0.999, max(0.0, alike))
    error = max(noise, LEAST * slope) / math.sqrt(spread)
    error *= math.sqrt((1 + independent) / (1 - independent))
    return replace(fit, line=line, centre=float(at.mean()), uncertain=error / slope)


def _in_whole_pixels(fits: Sequence[_Fit], length: int) -> list[Line]:
    """The lines, taken to be those of a picture of so many whole pixels where they are near to it.

    Tiles that are cut from one resized picture are enlarged alike.
    """
    lines = []
    for fit in fits:
        if fit.fine:
            lines.append(_snapped(fit, [each for each in fits if each.like(fit)], length))
        elif fit.holds_all(length):
            slope = length / (fit.last - fit.first)
            lines.append(Line(slope, -slope * fit.first))
        else:
            lines.append(fit.line)
    return lines


def _snapped(fit: _Fit, alike: Sequence[_Fit], length: int) -> Line:
    weights = [each.uncertain**-2 for each in alike]
    slope = sum(w * each.line.slope for w, each in zip(weights, alike, strict=True)) / sum(weights)
    count, error = length / slope, length / slope / math.sqrt(sum(weights))
    near = max(NEAR, 4 * error)
    # That a tile holds the whole picture is more likely than any other number as near.
    wholes = (fit.last - fit.first, round(count))
    whole = next((each for each in wholes if abs(count - each) <= near), None)
    if whole is not None and (near < 0.5 or whole == wholes[0]):
        slope = length / whole
    place = fit.line.slope * fit.centre + fit.line.start
    start = fit.centre - place / slope  # where the photograph begins, along the tile
    near = max(NEAR, 4 * fit.uncertain * abs(fit.centre - start))
    begins = (fit.first, round(start))
    begin = next((each for each in begins if abs(start - each) <= near), None)
    if begin is not None and (near < 0.5 or begin == begins[0]):
        start = begin
    return Line(slope, -slope * start)
