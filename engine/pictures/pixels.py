"""Ways to put the pixel values of image processors together again.

Every processor cuts, tiles and permutes pixels in its own way. These are the known ways;
`engine.pictures.model_view` proves which of them is a given processor's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

Unpack = Callable[[Mapping[str, Any]], Tensor]
"""From a processor's output to tiles [n, height, width, 3], still normalised."""

PIXELS = ("pixel_values", "image_pixel_values")
GRIDS = ("image_grid_thw", "image_grid_hws", "image_grid_hw", "spatial_shapes")
"""Inputs that hold a picture's numbers of patches; the last two are its rows and columns."""


def pixels_of(inputs: Mapping[str, Any]) -> Tensor | None:
    """The pixel values among a model's inputs; None where there are none."""
    found = (inputs.get(name) for name in PIXELS)
    return next((each for each in found if isinstance(each, Tensor) and each.ndim >= 2), None)


def grid_of(inputs: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of patches; None where the picture is not a list of patches."""
    for name in GRIDS:
        counts = inputs.get(name)
        if isinstance(counts, Tensor) and counts.numel() in (2, 3):
            rows, columns = counts.flatten()[-2:].tolist()
            return int(rows), int(columns)
    places = inputs.get("image_position_ids")
    if isinstance(places, Tensor) and places.ndim == 3 and places.shape[::2] == (1, 2):
        columns, rows = (places[0].amax(0) + 1).tolist()
        return int(rows), int(columns)
    return None


def patches_of(inputs: Mapping[str, Any]) -> Tensor | None:
    """The picture's patches in the processor's order, [rows * columns, values], without padding."""
    pixels, grid = pixels_of(inputs), grid_of(inputs)
    if pixels is None or grid is None:
        return None
    count = grid[0] * grid[1]
    flat = pixels.flatten(1) if pixels.ndim in (2, 4) else pixels[0]
    return flat[:count] if flat.ndim == 2 and 0 < count <= len(flat) else None


def patch_side(settings: Any, patches: Tensor) -> int | None:
    """The side of a patch in pixels; None where the number of values allows none."""
    values = patches.shape[-1]
    for frames in _frames(settings):
        side = math.isqrt(values // (3 * frames))
        if side and 3 * frames * side * side == values:
            return side
    return None


def merge_of(settings: Any) -> int:
    """The side, in patches, of the block that becomes one token."""
    merge = getattr(settings, "merge_size", 1)
    return merge if isinstance(merge, int) and merge > 0 else 1


def unpackings(inputs: Mapping[str, Any], settings: Any) -> Iterator[Unpack]:
    """All ways in which these pixel values may have to be put together."""
    pixels, patches, grid = pixels_of(inputs), patches_of(inputs), grid_of(inputs)
    if pixels is None:
        return
    if patches is not None and grid is not None:
        side = patch_side(settings, patches)
        for merge in dict.fromkeys((merge_of(settings), 1)):
            if side is not None and grid[0] % merge == 0 and grid[1] % merge == 0:
                yield partial(_from_patches, side=side, merge=merge, channels_first=True)
                yield partial(_from_patches, side=side, merge=merge, channels_first=False)
    elif pixels.ndim >= 4:
        if pixels.shape[-3] == 3:
            yield _from_planes
        if pixels.shape[-1] == 3:
            yield _from_points


def restored(tiles: Tensor, settings: Any) -> Tensor:
    """Tiles [n, height, width, 3] with the processor's normalisation undone, 0..255."""
    tiles = tiles.float()
    if getattr(settings, "do_normalize", False):
        tiles = tiles * torch.tensor(settings.image_std) + torch.tensor(settings.image_mean)
    if getattr(settings, "do_rescale", False):
        tiles = tiles / settings.rescale_factor
    return tiles.flip(-1) if getattr(settings, "do_flip_channel_order", False) else tiles


def _from_planes(inputs: Mapping[str, Any]) -> Tensor:
    pixels = pixels_of(inputs)
    assert pixels is not None
    return pixels.reshape(-1, *pixels.shape[-3:]).movedim(1, -1)


def _from_points(inputs: Mapping[str, Any]) -> Tensor:
    pixels = pixels_of(inputs)
    assert pixels is not None
    return pixels.reshape(-1, *pixels.shape[-3:])


def _from_patches(inputs: Mapping[str, Any], side: int, merge: int, channels_first: bool) -> Tensor:
    """From patches in blocks of merge x merge, row by row; of several frames, the first."""
    patches, grid = patches_of(inputs), grid_of(inputs)
    assert patches is not None and grid is not None
    rows, columns = grid
    blocks = (rows // merge, columns // merge, merge, merge)
    if channels_first:
        cut = patches.reshape(*blocks, 3, -1, side, side)[:, :, :, :, :, 0]
        whole = cut.permute(0, 2, 5, 1, 3, 6, 4)
    else:
        cut = patches.reshape(*blocks, side, side, 3, -1)[..., 0]
        whole = cut.permute(0, 2, 4, 1, 3, 5, 6)
    return whole.reshape(1, rows * side, columns * side, 3)


def _frames(settings: Any) -> tuple[int, ...]:
    frames = getattr(settings, "temporal_patch_size", 1)
    return (frames, 1) if isinstance(frames, int) and frames > 0 else (1,)
