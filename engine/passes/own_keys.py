"""Which keys of an attention call are those of the sequence's own tokens, found by observation.

When noise is added to the residual stream before every layer, the keys that are computed from it
change, and no others do: those of cross-attention are made from an encoder or a vision tower, and
a call may have both kinds side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.anatomy.attention_calls import AttentionCall
from engine.errors import CannotRead
from engine.passes.edits import Active, Attached, AttentionWatch, Edit


class KeyWatch:
    """A watcher of one pass, which notes a number for every key of the calls in some layers."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.numbers: dict[nn.Module, list[Tensor]] = {}
        """For every attention module its calls, each float32 [keys]: numbers that are the same in
        two passes if the keys are."""
        self._inside = {module for layer in layers for module in layer.modules()}

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `Attached.attached`."""
        return AttentionWatch(self._look).attached(active)

    def _look(self, call: AttentionCall, output: Tensor, weights: Tensor | None) -> None:
        if call.module in self._inside:
            keys = call.key.movedim(-2, 0).flatten(1).float()  # [keys, all else]
            direction = torch.arange(1.0, keys.shape[1] + 1, device=keys.device).cos()
            self.numbers.setdefault(call.module, []).append(keys @ direction)


def noise(layers: Sequence[nn.Module]) -> list[Attached]:
    """Editors that add noise to the residual stream before each of these layers."""

    def noisy(stream: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        added = torch.randn(stream.shape, generator=generator).to(stream)
        return stream + added * (1 + stream.abs().mean())

    return [Edit(layer, noisy, "input") for layer in layers]


@dataclass(frozen=True)
class OwnKeys:
    """Where a model attends to the tokens of its own sequence."""

    first: Mapping[nn.Module, int]
    """For every attention module with such keys, the index of the first: key `first` + t is that of
    token t."""
    elsewhere: bool
    """Whether there are keys of anything else too: of an encoder, of a vision tower."""


def own_keys(plain: KeyWatch, noisy: KeyWatch, length: int) -> OwnKeys:
    """What two passes have shown, of which one ran with `noise`.

    Raises CannotRead for a module whose keys are not one for each of the `length` tokens.
    """
    found: dict[nn.Module, int] = {}
    elsewhere = False
    for module, before in plain.numbers.items():
        after = noisy.numbers.get(module, [])
        firsts = {
            _first(one, other, length)
            for one, other in zip(before, after, strict=False)
            if one.shape == other.shape
        }
        if len(before) != len(after) or len(firsts) != 1 or -1 in firsts:
            raise CannotRead(
                f"the keys of {type(module).__name__} are not one for each of the {length} tokens "
                "of the sequence"
            )
        first = firsts.pop()
        elsewhere = elsewhere or first is None or any(len(each) > length for each in before)
        if first is not None:
            found[module] = first
    return OwnKeys(found, elsewhere)


def _first(one: Tensor, other: Tensor, length: int) -> int | None:
    """The first of the keys that differ; None if none does, -1 if not `length` in a row do."""
    changed = (one != other).nonzero().flatten().tolist()
    if not changed:
        return None
    in_a_row = changed == list(range(changed[0], changed[0] + length))
    return int(changed[0]) if in_a_row else -1
