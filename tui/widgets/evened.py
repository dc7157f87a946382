"""Pictures whose neighbouring pixels share colours: a terminal is told a colour only where it
changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LEAST_OFF: Final = 2
"""How far, of 255, a channel may be from the pixel's own without anybody's seeing it."""
MOST_OFF: Final = 9
"""The same where colours are expensive: flat parts show faint bands."""

Pixel = tuple[int, int, int]


def evened(rgb: bytes, width: int, most_off: int) -> list[Pixel]:
    """Return the pixels of an RGB picture, with one colour for neighbours that are nearly alike:
    no channel is off by more than `most_off`.

    Two lines of pixels are one line of half-blocks, and a terminal holds two colours while it
    draws it. So two runs are kept along the line; a pixel of either line joins the run whose
    colours, with its own, span no more than twice `most_off` in any channel, or else begins a new
    one. All pixels of a run get the middle of its span.
    """
    pixels: list[Pixel] = list(zip(rgb[0::3], rgb[1::3], rgb[2::3], strict=True))
    result = list(pixels)
    for start in range(0, len(pixels), 2 * width):
        _even_pair(pixels, result, start, width, most_off)
    return result


class _Run:
    __slots__ = ("high", "low", "most_off", "places")

    def __init__(self, pixel: Pixel, place: int, most_off: int) -> None:
        self.most_off = most_off
        self.low = self.high = pixel
        self.places = [place]

    def span_with(self, pixel: Pixel) -> tuple[Pixel, Pixel] | None:
        """Return the span with one more pixel, or None if it would be too wide."""
        (r, g, b), (low_r, low_g, low_b), (high_r, high_g, high_b) = pixel, self.low, self.high
        low = (min(low_r, r), min(low_g, g), min(low_b, b))
        high = (max(high_r, r), max(high_g, g), max(high_b, b))
        widest = max(high[0] - low[0], high[1] - low[1], high[2] - low[2])
        return (low, high) if widest <= 2 * self.most_off else None

    def paint(self, result: list[Pixel]) -> None:
        (low_r, low_g, low_b), (high_r, high_g, high_b) = self.low, self.high
        middle = ((low_r + high_r) // 2, (low_g + high_g) // 2, (low_b + high_b) // 2)
        for place in self.places:
            result[place] = middle


def _even_pair(
    pixels: Sequence[Pixel], result: list[Pixel], start: int, width: int, most_off: int
) -> None:
    runs: list[_Run | None] = [None, None]
    own = [0, 1]
    """The run that each of the two lines joined last."""
    for x in range(width):
        upper, lower = start + x, start + width + x
        first = _join(runs, pixels[upper], upper, own[0])
        if first is None:
            first = own[0]
            held = runs[first]
            if lower < len(pixels) and held is not None and held.span_with(pixels[lower]):
                first = 1 - first  # the other half needs this run
            _begin(runs, first, pixels[upper], upper, result, most_off)
        own[0] = first
        if lower < len(pixels):
            second = _join(runs, pixels[lower], lower, own[1])
            if second is None:
                second = 1 - first
                _begin(runs, second, pixels[lower], lower, result, most_off)
            own[1] = second
    for run in runs:
        if run is not None:
            run.paint(result)


def _join(runs: list[_Run | None], pixel: Pixel, place: int, own: int) -> int | None:
    """Let a pixel join a run, preferably its line's own, and return which; None if it cannot."""
    for number in (own, 1 - own):
        run = runs[number]
        span = run.span_with(pixel) if run is not None else None
        if run is not None and span is not None:
            run.low, run.high = span
            run.places.append(place)
            return number
    return None


def _begin(
    runs: list[_Run | None],
    number: int,
    pixel: Pixel,
    place: int,
    result: list[Pixel],
    most_off: int,
) -> None:
    ended = runs[number]
    if ended is not None:
        ended.paint(result)
    runs[number] = _Run(pixel, place, most_off)
