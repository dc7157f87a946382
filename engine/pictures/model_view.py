"""What a model sees of a picture: its processor's pixel values, turned back into a picture.

Every way of putting the pixels together is first proved on a drawn picture of the same size, whose
colours encode every pixel's place. A way that misplaces pixels is not used: what cannot be shown
correctly is not shown.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.errors import BadInput
from engine.pictures.pixels import (
    grid_of,
    merge_of,
    patch_side,
    patches_of,
    pixels_of,
    restored,
    unpackings,
)
from engine.records import Picture, Processed

if TYPE_CHECKING:
    from PIL.Image import Image

Process = Callable[["Image"], Mapping[str, Any]]

PREVIEW_SIDE = 1024
SMALL = 256
"""Pixels: up to this side length a preview is a PNG, as JPEG would blur it."""

BLUE, SWING = 200.0, 40.0
"""Mean and amplitude of the drawn picture's blue, 0..255; no processor pads with such a blue."""
WAVELENGTH = 64
"""Of the blue, in pixels that the model sees: a misplaced patch has clearly another blue."""
SMALLEST = 4
"""Pixels: a tile that holds less of the picture in either direction counts as padding."""


def processed(processor: Any, inputs: Mapping[str, Any], picture: Picture) -> Processed | None:
    """What the processor made of the picture; None where its output does not show that."""
    settings = getattr(processor, "image_processor", processor)
    pixels, patches, grid = pixels_of(inputs), patches_of(inputs), grid_of(inputs)
    if pixels is None or "target_sizes" in inputs:  # MiniCPM-V gives its patches as one long strip
        return None
    if patches is not None and grid is not None:
        side = patch_side(settings, patches)
        if side is None:
            return None
        height, width = grid[0] * side, grid[1] * side
        cell = side * merge_of(settings)
        how = f"{_resized(settings, picture, width, height, False)}, in {cell}x{cell} patches"
        return Processed(width=width, height=height, how=how)
    if pixels.ndim < 4 or 3 not in (pixels.shape[-3], pixels.shape[-1]):
        return None
    height, width = pixels.shape[-2:] if pixels.shape[-3] == 3 else pixels.shape[-3:-1]
    tiles = _tile_count(inputs, pixels)
    if tiles > 1:
        how = f"{tiles} tiles of {width}x{height}"
    else:
        how = _resized(settings, picture, width, height, _bordered(pixels))
    return Processed(width=width, height=height, tiles=tiles, how=how)


def picture_seen(
    processor: Any, inputs: Mapping[str, Any], size: tuple[int, int], process: Process
) -> Image:
    """The picture in `inputs`, which `process` made from one of this size; tiles are side by side.

    Raises BadInput where no known way of putting its pixels together passes the proof.
    """
    settings = getattr(processor, "image_processor", processor)
    pixels = pixels_of(inputs)
    if pixels is None:
        raise _cannot_show("its processor returns no pixel values")
    drawn = _Drawn.for_picture(*size, pixels.numel() // 3)
    answer = process(drawn.image())
    again = pixels_of(answer)
    if again is None or again.shape != pixels.shape:
        raise _cannot_show("its processor cuts another picture of this size differently")
    for unpack in unpackings(inputs, settings):
        try:
            places = [drawn.place_of(tile) for tile in restored(unpack(answer), settings)]
        except (_Misplaced, AttributeError, TypeError, ValueError):
            continue  # another way, or unusual settings of the processor
        if any(places):
            return _laid_out(restored(unpack(inputs), settings), places)
    raise _cannot_show("how its processor orders pixels is not known")


class _Misplaced(Exception):
    """A way of putting pixels together put them in the wrong places."""


@dataclass(frozen=True)
class _Place:
    """The centre of a tile and what it covers, as shares (0..1) of the picture's sides."""

    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def whole(self) -> bool:
        """Whether this tile shows the whole picture."""
        return max(self.left, self.top) < 0.08 and min(self.right, self.bottom) > 0.92


@dataclass(frozen=True)
class _Drawn:
    """A picture in which red and green encode a pixel's place roughly, and blue exactly."""

    width: int
    height: int
    across: int
    """Periods of the blue from left to right."""
    down: int

    @classmethod
    def for_picture(cls, width: int, height: int, seen: int) -> _Drawn:
        """The drawing for pictures of this size, of which the model sees `seen` pixels."""
        scale = math.sqrt(seen / (width * height)) / WAVELENGTH
        return cls(
            width,
            height,
            min(round(width * scale), width // 16),
            min(round(height * scale), height // 16),
        )

    def image(self) -> Image:
        """The drawing, RGB."""
        from PIL import Image

        x = torch.linspace(0, 1, self.width).expand(self.height, -1)
        y = torch.linspace(0, 1, self.height).unsqueeze(1).expand(-1, self.width)
        colours = torch.stack([x * 255, y * 255, self._blue(x, y)], dim=-1)
        return Image.fromarray(colours.round().to(torch.uint8).numpy())

    def place_of(self, tile: Tensor) -> _Place | None:
        """The place of a tile [height, width, 3] of this picture; None where it holds none of it.

        Raises _Misplaced where its pixels are not in their places.
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
            raise _Misplaced
        # In a small picture that was enlarged, colours rise in steps.
        columns = _line(x, red[inside], 255 / max(1, self.width - 1))
        rows = _line(y, green[inside], 255 / max(1, self.height - 1))
        across, down = columns(x.float()), rows(y.float())
        off = (blue[inside] - self._blue(across, down)).abs()
        if float(off.mean()) > SWING / 5 or float((off > SWING / 2).float().mean()) > 0.05:
            raise _Misplaced
        height, width = tile.shape[:2]
        return _Place(
            x=float(columns(torch.tensor((width - 1) / 2))),
            y=float(rows(torch.tensor((height - 1) / 2))),
            left=float(across.min()),
            right=float(across.max()),
            top=float(down.min()),
            bottom=float(down.max()),
        )

    def _blue(self, x: Tensor, y: Tensor) -> Tensor:
        turn = 2 * math.pi
        return BLUE + SWING * torch.cos(turn * self.across * x) * torch.cos(turn * self.down * y)


def _line(along: Tensor, colour: Tensor, step: float) -> Callable[[Tensor], Tensor]:
    """The linear map, fitted by least squares, from a pixel's index to its place (0..1).

    Raises _Misplaced where the colour does not rise linearly.
    """
    at = along.float()
    middle, mean = at.mean(), colour.mean()
    slope = ((at - middle) * (colour - mean)).mean() / (at - middle).square().mean()
    off = (colour - mean - slope * (at - middle)).abs().mean()
    ends = mean + slope * (torch.stack([at.min(), at.max()]) - middle)
    if slope < 0 or off > 4 + step / 2 or ends[0] < -8 - step or ends[1] > 263 + step:
        raise _Misplaced
    return lambda place: (mean + slope * (place - middle)) / 255


def _laid_out(tiles: Tensor, places: Sequence[_Place | None]) -> Image:
    """The tiles in a grid, in the order of the picture. Padding is left out; a tile with the whole
    picture is left out where others show its parts."""
    from PIL import Image

    held = [(tile, place) for tile, place in zip(tiles, places, strict=True) if place is not None]
    parts = [(tile, place) for tile, place in held if not place.whole] or held
    columns, rows = _ranks([place.x for _, place in parts]), _ranks([p.y for _, p in parts])
    cells = list(zip(rows, columns, strict=True))
    if len(set(cells)) < len(cells):  # several views of the same part go side by side
        cells = [(0, column) for column in range(len(parts))]
    height, width = tiles.shape[1:3]
    canvas = torch.full(
        (height * (max(row for row, _ in cells) + 1), width * (max(c for _, c in cells) + 1), 3),
        127.0,
    )
    for (row, column), (tile, _) in zip(cells, parts, strict=True):
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return Image.fromarray(canvas.clamp(0, 255).round().to(torch.uint8).numpy())


def _ranks(places: Sequence[float]) -> list[int]:
    """The rank of each place among those that differ by more than rounding, from 0."""
    order = sorted(places)
    starts = [
        place for index, place in enumerate(order) if index == 0 or place - order[index - 1] > 0.02
    ]
    return [sum(start <= place for start in starts) - 1 for place in places]


def _tile_count(inputs: Mapping[str, Any], pixels: Tensor) -> int:
    """How many tiles are more than padding, according to the processor's masks."""
    tiles = pixels.shape[:-3].numel()
    ratios, attention = inputs.get("aspect_ratio_mask"), inputs.get("pixel_attention_mask")
    if isinstance(ratios, Tensor) and ratios.numel() == tiles:
        tiles = int(ratios.sum())
    elif isinstance(attention, Tensor) and attention.shape[:-2].numel() == tiles:
        tiles = int(attention.flatten(-2).any(-1).sum())
    return max(1, tiles)


def _bordered(pixels: Tensor) -> bool:
    """Whether one side of the first tile has a single colour throughout, as padding has."""
    tile = pixels.reshape(-1, *pixels.shape[-3:])[0]
    tile = tile if len(tile) == 3 else tile.movedim(-1, 0)
    sides = (tile[:, 0], tile[:, -1], tile[:, :, 0], tile[:, :, -1])
    return any(bool((side == side[:, :1]).all()) for side in sides)


def _resized(settings: Any, picture: Picture, width: int, height: int, bordered: bool) -> str:
    """How the processor resized the picture, in words."""
    size = f"{width}x{height}"
    if (picture.width, picture.height) == (width, height):
        return f"kept at {size}"
    stretched = abs(math.log(picture.width * height / (picture.height * width)))
    if getattr(settings, "do_center_crop", False) and _cropped(settings, stretched, width, height):
        return f"resized and cropped to {size}"
    if getattr(settings, "do_pad", False) and bordered and stretched > 0.1:
        return f"resized and padded to {size}"
    return f"resized to {size}"


def _cropped(settings: Any, stretched: float, width: int, height: int) -> bool:
    size = getattr(settings, "size", None)
    said = {name: getattr(size, name, None) for name in ("shortest_edge", "width", "height")}
    if isinstance(size, Mapping):
        said |= size
    if said["shortest_edge"] is not None:
        return bool(stretched > 0 or said["shortest_edge"] != min(width, height))
    return (said["width"], said["height"]) != (width, height)


def as_preview(image: Image) -> str:
    """A base64 PNG or JPEG whose long side has at most PREVIEW_SIDE pixels."""
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = io.BytesIO()
    if max(small.size) <= SMALL:
        small.save(buffer, "PNG")
    else:
        small.save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _cannot_show(reason: str) -> BadInput:
    return BadInput(f"what this model sees of the picture cannot be shown: {reason}")
