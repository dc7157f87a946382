"""What safetensors files hold, from their headers alone: names, shapes and number formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engine.errors import CannotLoad

_BITS = {"BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4}
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Number formats that models compute in, by their names in safetensors; torch's names."""


class Stored(NamedTuple):
    """One tensor in a file."""

    file: Path
    name: str
    format: str
    """As safetensors names it: "BF16", "U8", ..."""
    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """The size of one number."""
        digits = "".join(char for char in self.format.split("_")[0] if char.isdigit())
        return _BITS.get(self.format, int(digits or 8))

    @property
    def bytes(self) -> int:
        """The size of the tensor."""
        count = 1
        for side in self.shape:
            count *= side
        return count * self.bits // 8

    @property
    def is_whole_numbers(self) -> bool:
        """Whether it holds integers."""
        return self.format[:1] in ("I", "U")


def stored_in(files: Iterable[Path]) -> list[Stored]:
    """Every tensor in safetensors files; files of another kind are left out.

    Raises CannotLoad for a file that is damaged.
    """
    from safetensors import SafetensorError, safe_open

    found: list[Stored] = []
    for file in files:
        if file.suffix != ".safetensors":
            continue
        try:
            with safe_open(file, framework="np") as content:
                for name in content.keys():  # noqa: SIM118 (it is no mapping)
                    part = content.get_slice(name)
                    shape = tuple(part.get_shape())
                    found.append(Stored(file, name, str(part.get_dtype()), shape))
        except (SafetensorError, OSError) as error:
            raise CannotLoad(
                f"{file.name}: damaged, or not a safetensors file ({error}); fetch it again"
            ) from None
    return found


def own_dtype(tensors: Iterable[Stored]) -> str | None:
    """torch's name of the number format in which most of the weights are stored; None if that is
    none to compute in."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.format in DTYPES:
            sizes[DTYPES[tensor.format]] += tensor.bytes
    return sizes.most_common(1)[0][0] if sizes else None
