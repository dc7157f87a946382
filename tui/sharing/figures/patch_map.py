"""The map: a number for every patch, laid over the picture."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.errors import BadInput
from tui.sharing.figures.style import WIDTHS, figure
from tui.state.maps import Floats, Scale
from tui.state.patches import Patches

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

_COLOURS: Final = "inferno"
_SIGNED: Final = "RdBu_r"
_OPACITY: Final = 0.65


def picture_of(preview: str | None) -> Image:
    """Return the picture that a session holds. Raises BadInput without one."""
    from PIL import Image, UnidentifiedImageError

    if not preview:
        raise BadInput("this run holds no picture to draw a map on")
    try:
        with Image.open(io.BytesIO(base64.b64decode(preview)), formats=["JPEG"]) as opened:
            return opened.convert("RGB")
    except (ValueError, OSError, UnidentifiedImageError, Image.DecompressionBombError):
        raise BadInput("this run's picture is damaged: no map can be drawn on it") from None


def draw(
    picture: Image,
    size: tuple[int, int],
    patches: Patches,
    values: Floats,
    scale: Scale,
    label: str,
    columns: int,
) -> Figure:
    """Return the map of `values`, float32 [n], for n patches of a picture that is `size` pixels
    large (width, height). NaN is left clear. A scale that reaches below zero is drawn in two
    colours, white at zero."""
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    width, height = size
    made, (axes,) = figure(columns, WIDTHS[columns] * 0.86 * height / max(width, 1) + 0.3)
    axes.imshow(np.asarray(picture.convert("L")), cmap="gray", extent=(0, width, height, 0))
    known = np.isfinite(values) & patches.boxed
    signed = scale.low < 0 < scale.high
    reach = max(-scale.low, scale.high)
    norm = (
        Normalize(-reach, reach)
        if signed
        else LogNorm(scale.low, scale.high, clip=True)
        if scale.log
        else Normalize(scale.low, scale.high)
    )
    squares = [
        Rectangle((x0, y0), x1 - x0, y1 - y0) for x0, y0, x1, y1 in patches.boxes[known].tolist()
    ]
    drawn = PatchCollection(
        squares, cmap=_SIGNED if signed else _COLOURS, norm=norm, alpha=_OPACITY, linewidth=0
    )
    drawn.set_array(values[known])
    axes.add_collection(drawn)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    made.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02).set_label(label)
    return made
