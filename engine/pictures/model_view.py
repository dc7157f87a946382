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
from engine.pictures.drawn import Drawn, Misplaced, Place
from engine.pictures.pixels import (
    Unpack,
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


@dataclass(frozen=True)
class Layout:
    """The way, proved on a drawn picture, to put the pixel values of a processor together."""

    unpack: Unpack
    places: tuple[Place | None, ...]
    """Of each tile; None for one that holds nothing of the picture."""


def layout_of(
    processor: Any, inputs: Mapping[str, Any], size: tuple[int, int], process: Process
) -> Layout:
    """The layout of the pixels in `inputs`, which `process` made from a picture of this size.

    Raises BadInput where no known way of putting its pixels together passes the proof.
    """
    settings = getattr(processor, "image_processor", processor)
    pixels = pixels_of(inputs)
    if pixels is None:
        raise _cannot_show("its processor returns no pixel values")
    drawn = Drawn.for_picture(*size, pixels)
    answer = process(drawn.image())
    again = pixels_of(answer)
    if again is None or again.shape != pixels.shape:
        raise _cannot_show("its processor cuts another picture of this size differently")
    for unpack in unpackings(inputs, settings):
        try:
            places = tuple(drawn.place_of(tile) for tile in restored(unpack(answer), settings))
        except (Misplaced, AttributeError, TypeError, ValueError):
            continue  # another way, or unusual settings of the processor
        if any(places):
            return Layout(unpack, places)
    raise _cannot_show("how its processor orders pixels is not known")


def picture_seen(
    processor: Any, inputs: Mapping[str, Any], size: tuple[int, int], process: Process
) -> Image:
    """The picture in `inputs`, which `process` made from one of this size; tiles are side by side.

    Raises BadInput where no known way of putting its pixels together passes the proof.
    """
    settings = getattr(processor, "image_processor", processor)
    layout = layout_of(processor, inputs, size, process)
    return _laid_out(restored(layout.unpack(inputs), settings), layout.places)


def _laid_out(tiles: Tensor, places: Sequence[Place | None]) -> Image:
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
