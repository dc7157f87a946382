"""The pixels of the last batch, kept on the device for the next questions about its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from engine.sweeps.items import Item
from engine.system.transfers import sent

if TYPE_CHECKING:
    from engine.lens.lens import Lens


class _Kept(NamedTuple):
    """One floating-point input of the last batch."""

    values: list[Any]
    """Of each item, as it was prepared."""
    tensor: Tensor
    """All of them, collated and on the device."""
    version: int
    """Of `tensor`, when it was made: a model may change it in place."""


class DevicePixels:
    """Collates batches, and copies floating-point inputs to the device once per set of pictures."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._kept: dict[str, _Kept] = {}

    def collated(self, batch: Sequence[Item]) -> dict[str, Any]:
        """The inputs of one pass. Pixels of the same pictures as in the last batch are the very
        tensors of the last batch, so that nothing is copied or compared again."""
        items = [item.inputs for item in batch]
        again = self._unchanged(items)
        if again:
            items = [
                {name: value for name, value in item.items() if name not in again} for item in items
            ]
        together = dict(items[0]) if len(items) == 1 else self._lens.collated(items)
        for name, value in together.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                tensor = together[name] = sent(value, self._lens.device)
                self._kept[name] = _Kept([item[name] for item in items], tensor, tensor._version)
        return {**together, **again}

    def forget(self) -> None:
        """Free what is kept."""
        self._kept = {}

    def _unchanged(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        again: dict[str, Tensor] = {}
        for name, (values, tensor, version) in self._kept.items():
            wanted = [item.get(name) for item in items]
            unchanged = tensor._version == version
            if unchanged and len(wanted) == len(values) and all(map(is_, wanted, values)):
                again[name] = tensor
        return again
