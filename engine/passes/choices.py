"""Holds what a pass chooses by comparing numbers: a mixture's experts, keys of sparse attention.

A choice has no derivative: a slope is that with the model's choices as they are. If the values of a
pass are moved, however little, some choice may flip, and the logits jump. A pass whose choices are
held can be compared with a slope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.passes.edits import Active

_TOP: Final = torch.ops.aten.topk.default
_SORTS: Final = {torch.ops.aten.sort.default, torch.ops.aten.sort.stable}
_BEST: Final = torch.ops.aten.argmax.default


class Choices:
    """An editor (see `engine.passes.edits`): it keeps the choices of the first pass to which it is
    attached, and every later one, over inputs of the same shapes, gets these, until one of its
    choices has another shape.

    Held are the indices that `topk`, `sort` and `argmax` find among floating-point numbers,
    wherever the model calls them; not those that a kernel finds out of torch's sight.
    """

    def __init__(self) -> None:
        self._made: list[Tensor] | None = None
        self.passes = 0
        """How many passes had their choices held."""
        self.flipped = 0
        """In how many of them the model would have chosen otherwise."""

    @property
    def are_known(self) -> bool:
        """Whether a pass has made them."""
        return self._made is not None

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`."""
        mode = _Choosing(self._made)
        with mode:
            yield
        if self._made is None:
            self._made = mode.made
        else:
            self.passes += 1
            self.flipped += mode.flipped


class _Choosing(TorchDispatchMode):
    """Sees every choice, and gives it the indices that it had in another pass."""

    def __init__(self, held: Sequence[Tensor] | None) -> None:
        super().__init__()
        self._held = None if held is None else iter(held)
        self.made: list[Tensor] = []
        """The indices of every choice, int64, in their order; empty where they are held."""
        self.flipped = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given: Mapping[str, Any] = kwargs or {}
        found = func(*args, **given)
        if func not in (_TOP, _BEST, *_SORTS) or not args[0].is_floating_point():
            return found
        own = found if func is _BEST else found[1]
        if self._held is None:
            self.made.append(own.clone())
            return found
        held = next(self._held, None)
        if held is None or held.shape != own.shape:
            # This pass calls other modules than the first one: what follows is not what was held.
            self._held = iter(())
            return found
        if own.equal(held):
            return found
        if func is _BEST:
            self.flipped = True
            return held.clone()
        axis = _axis_of(func, args, given)
        # The same experts in another order are no other choice.
        self.flipped |= func is not _TOP or not own.sort(axis)[0].equal(held.sort(axis)[0])
        return args[0].gather(axis, held), held.clone()


def _axis_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    at = {_TOP: 2, torch.ops.aten.sort.default: 1}.get(func, len(args))
    axis: int = args[at] if at < len(args) else kwargs.get("dim", -1)
    return axis
