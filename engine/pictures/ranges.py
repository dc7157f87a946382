"""Greys of more than 8 bits made into those of a screen, without a word only where nothing has to
be chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import BadInput
from engine.pictures.tags import BITS_PER_SAMPLE, SAMPLE_FORMAT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

SIGNED = 2
"""As TIFF's sample format says it; 1 is unsigned, 3 a float."""
SIXTEEN_BITS = 65_535
DARK = SIXTEEN_BITS // 16
"""A 16-bit picture whose lightest pixel is darker looks black: 12-bit cameras and depth maps."""
AT_ONCE = 4_000_000
"""Pixels that are scaled at a time: the steps between take several times their memory."""


def is_wide(image: Image) -> bool:
    """Whether the pixels are greys of 16 bits, 32 bits, or floats."""
    return image.mode.startswith("I") or image.mode == "F"


@dataclass(frozen=True)
class Samples:
    """How a TIFF stores its samples, which Pillow's modes do not tell."""

    bits: int = 0
    """Of each; 0 for another format."""
    signed: bool = False


def samples_of(image: Image) -> Samples:
    """How the samples of a picture are stored; ask before it is copied."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return Samples()
    return Samples(max(tags.get(BITS_PER_SAMPLE, (1,))), SIGNED in tags.get(SAMPLE_FORMAT, ()))


def eight_bits(image: Image, samples: Samples) -> tuple[Image, str | None]:
    """A wide picture as RGB, and what the user has to know about it.

    16 bits are divided by 257; any other range is that of the picture's own finite pixels. Raises
    BadInput where there are none.
    """
    if image.mode == "F" or samples.bits > 16 or samples.signed:
        return _own_range(image, samples)
    wide = image.convert("I")
    low, high = (int(value) for value in wide.getextrema())  # type: ignore[arg-type]
    if low < 0 or high > SIXTEEN_BITS:
        return _own_range(wide, samples)
    grey = wide.convert("F").point(lambda value: value * (255.0 / SIXTEEN_BITS)).convert("RGB")
    note = f"16-bit pixels of at most {high:,} of {SIXTEEN_BITS:,}: it is as dark as that"
    return grey, note if 0 < high < DARK else None


def _own_range(image: Image, samples: Samples) -> tuple[Image, str | None]:
    import numpy as np
    from PIL import Image as PIL_Image

    values: NDArray[Any] = np.asarray(image)
    if values.dtype == np.int32 and samples.bits == 32 and not samples.signed:
        values = values.view(np.uint32)  # Pillow reads unsigned ones as signed
    low, high, finite = _finite_range(values)
    if not finite:
        raise BadInput("no pixel of it is a finite number")
    grey = np.empty(values.shape, np.uint8)
    for part, shown in zip(_parts(values), _parts(grey), strict=True):
        shown[:] = _scaled(part, low, high)
    rgb = PIL_Image.fromarray(grey).convert("RGB")
    return rgb, _note(values, low, high, values.size - finite)


def _parts(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """All values in order, some at a time."""
    flat = values.reshape(-1)
    for start in range(0, len(flat), AT_ONCE):
        yield flat[start : start + AT_ONCE]


def _finite_range(values: NDArray[Any]) -> tuple[float, float, int]:
    """The lowest and highest finite value, and how many are finite."""
    import numpy as np

    low, high, count = np.inf, -np.inf, 0
    for part in _parts(values):
        finite = part[np.isfinite(part)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            count += finite.size
    return low, high, count


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """From `low` to `high` as 0 to 255; what is no finite number as the end that is nearest, and
    NaN as black. A range of one value is shown as it is from 0 to 1, else in the middle."""
    import numpy as np

    exact = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    if low == high:
        return np.full(values.shape, round(255 * _level(low)), np.uint8)
    # Halved first: the difference of two floats may be infinite.
    shares = (exact / 2 - low / 2) / (high / 2 - low / 2)
    return np.asarray((shares * 255).round().clip(0, 255).astype(np.uint8))


def _level(value: float) -> float:
    return value if 0 <= value <= 1 else 0.5


def _note(values: NDArray[Any], low: float, high: float, odd: int) -> str | None:
    said = []
    floats = values.dtype.kind == "f"
    if low == high:
        said.append(f"every pixel is {_number(low)}: there is no range to show")
    elif not floats or (low, high) != (0.0, 1.0):
        kind = "float" if floats else "whole-number"
        said.append(f"{kind} pixels from {_number(low)} to {_number(high)}: shown black to white")
    if odd:
        are = "1 pixel is" if odd == 1 else f"{odd:,} pixels are"
        said.append(f"{are} no finite number: NaN is shown black, an infinity as the nearest end")
    return "; ".join(said) or None


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
