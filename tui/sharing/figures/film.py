"""Films: the rows of a run as they form, or a map from row to row, as animated GIF or PNG."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import BadInput
from engine.system.files import reason_of, storable, write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI: Final = 150
_FRAME: Final = 300
_LAST: Final = 2000
"""How long a frame, and the last one, stay, in milliseconds."""


def write_film(figures: Iterable[Figure], path: Path) -> None:
    """Write one frame a figure; all figures have the same size. Raises BadInput."""
    from PIL import Image

    frames = []
    for drawn in figures:
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="png", dpi=_DPI)
        buffer.seek(0)
        with Image.open(buffer, formats=["PNG"]) as opened:
            frames.append(opened.convert("RGB"))
    if not frames:
        raise BadInput("this run has no rows to film")
    if path.suffix.lower() == ".gif":
        # One palette for all frames: else colours flicker.
        palette = frames[-1].quantize(255, method=Image.Quantize.MEDIANCUT)
        frames = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    durations = [_FRAME] * (len(frames) - 1) + [_LAST]
    written = io.BytesIO()
    frames[0].save(
        written,
        format="GIF" if path.suffix.lower() == ".gif" else "PNG",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
    )
    try:
        write_file(path, written.getvalue())
    except (OSError, ValueError) as error:
        raise BadInput(f"{storable(path)}: cannot be written ({reason_of(error)})") from None
