"""A drawn picture, by which it is proved where a processor puts every pixel of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

BLUE, SWING = 200.0, 40.0
"""Mean and amplitude of the drawn picture's blue, 0..255; no processor pads with such a blue."""
WAVELENGTH = 64
"""Of the blue, in pixels that the model sees: a misplaced patch has clearly another blue."""
FINEST = 8
"""Pixels of a tile: with a shorter period the blue would be lost."""
SMALLEST = 4
"""Pixels: a tile that holds less of the picture in either direction counts as padding."""


class Misplaced(Exception):
    """A way of putting pixels together put them in the wrong places."""


@dataclass(frozen=True)
class Line:
    """A linear map."""

    slope: float
    start: float

    def at(self, values: Tensor) -> Tensor:
        """Where it takes these values."""
        return self.slope * values + self.start


@dataclass(frozen=True)
class Place:
    """The centre of a tile and what it covers, as shares (0..1) of the picture's sides."""

    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float
    inside: tuple[int, int, int, int]
    """The pixels of the tile that hold the picture: first column and row, and those after the
    last ones."""
    columns: Line
    """From a column of the tile to a share of the width, counted between the centres of pixels."""
    rows: Line

    @property
    def whole(self) -> bool:
        """Whether this tile shows the whole picture."""
        return max(self.left, self.top) < 0.08 and min(self.right, self.bottom) > 0.92


@dataclass(frozen=True)
class Drawn:
    """A picture in which red and green encode a pixel's place roughly, and blue exactly."""

    width: int
    height: int
    across: int
    """Periods of the blue from left to right."""
    down: int

    @classmethod
    def for_picture(cls, width: int, height: int, pixels: Tensor) -> Drawn:
        """The drawing for pictures of this size, of which the model gets pixels of this shape."""
        scale = math.sqrt(pixels.numel() / 3 / (width * height)) / WAVELENGTH
        # A tile may show the whole picture beside others that show its parts.
        most = width + height
        if pixels.ndim >= 4:
            sides = pixels.shape[-3:-1] if pixels.shape[-1] == 3 else pixels.shape[-2:]
            most = min(sides) // FINEST
        return cls(
            width,
            height,
            min(round(width * scale), width // 16, most),
            min(round(height * scale), height // 16, most),
        )

    def image(self) -> Image:
        """The drawing, RGB."""
        from PIL import Image

        x = torch.linspace(0, 1, self.width).expand(self.height, -1)
        y = torch.linspace(0, 1, self.height).unsqueeze(1).expand(-1, self.width)
        colours = torch.stack([x * 255, y * 255, self._blue(x, y)], dim=-1)
        return Image.fromarray(colours.round().to(torch.uint8).numpy())

    def place_of(self, tile: Tensor) -> Place | None:
        """The place of a tile [height, width, 3] of this picture; None where it holds none of it.

        Raises Misplaced where its pixels are not in their places.
        """
        red, green, blue = tile.unbind(-1)
        inside = (blue > BLUE - 1.5 * SWING) & (blue < BLUE + 1.25 * SWING)
        y, x = inside.nonzero().unbind(-1)
        if not len(x):
            return None
        wide, high = int(x.max() - x.min()) + 1, int(y.max() - y.min()) + 1
        if min(wide, high) < SMALLEST:
            return None
        if len(x) < 0.9 * wide * high:
            raise Misplaced
        left, top = int(x.min()), int(y.min())
        # Where a picture is padded before it is resized, its border is blurred into padding.
        for axis, begin, count in ((0, top, high), (1, left, wide)):
            if count > SMALLEST + 1:
                inside.index_fill_(axis, torch.tensor([begin, begin + count - 1]), False)
        y, x = inside.nonzero().unbind(-1)
        # In a small picture that was enlarged, colours rise in steps.
        columns = _line(x, red[inside], 255 / max(1, self.width - 1))
        rows = _line(y, green[inside], 255 / max(1, self.height - 1))
        across, down = columns.at(x.float()), rows.at(y.float())
        off = (blue[inside] - self._blue(across, down)).abs()
        if float(off.mean()) > SWING / 5 or float((off > SWING / 2).float().mean()) > 0.05:
            raise Misplaced
        height, width = tile.shape[:2]
        return Place(
            x=columns.slope * (width - 1) / 2 + columns.start,
            y=rows.slope * (height - 1) / 2 + rows.start,
            left=float(across.min()),
            right=float(across.max()),
            top=float(down.min()),
            bottom=float(down.max()),
            inside=(left, top, left + wide, top + high),
            columns=columns,
            rows=rows,
        )

    def _blue(self, x: Tensor, y: Tensor) -> Tensor:
        turn = 2 * math.pi
        return BLUE + SWING * torch.cos(turn * self.across * x) * torch.cos(turn * self.down * y)


def _line(along: Tensor, colour: Tensor, step: float) -> Line:
    """The linear map, fitted by least squares, from a pixel's index to its place (0..1).

    Raises Misplaced where the colour does not rise linearly.
    """
    at = along.float()
    middle, mean = at.mean(), colour.mean()
    slope = ((at - middle) * (colour - mean)).mean() / (at - middle).square().mean()
    off = (colour - mean - slope * (at - middle)).abs().mean()
    ends = mean + slope * (torch.stack([at.min(), at.max()]) - middle)
    # Of a picture one pixel wide the colour is the same throughout, up to rounding.
    if slope < -1e-4 or off > 4 + step / 2 or ends[0] < -8 - step or ends[1] > 263 + step:
        raise Misplaced
    return Line(float(slope) / 255, float(mean - slope * middle) / 255)
