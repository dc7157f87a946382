"""Forbids positions of a pass to attend to others, in the attention calls of some layers.

The scores of forbidden pairs are masked before the softmax, which then shares the weight out over
what is left: a target cannot look at a source (Geva et al. 2023, arXiv 2304.14767), which is not
the same as taking away what the source had contributed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from engine.anatomy.attention_calls import AttentionCall
from engine.anatomy.attention_masks import allowed, is_causal
from engine.errors import CannotRead
from engine.passes.edits import Active, AttentionEdit

_STRANGE: Final = 2.0**15
"""Put in the place of values that must not be seen: far from all values, and finite in float16."""


@dataclass(frozen=True)
class Pairs:
    """Targets, and the sources that they may not look at. A position may always look at itself."""

    sources: tuple[int, ...]
    targets: tuple[int, ...]

    def matrix(self, length: int) -> Tensor:
        """Which target may not look at which source: bool [length, length] on the CPU."""
        forbidden = torch.zeros(length, length, dtype=torch.bool)
        targets, sources = (
            torch.tensor(places, dtype=torch.int64) for places in (self.targets, self.sources)
        )
        forbidden[targets[:, None], sources] = True
        return forbidden.fill_diagonal_(False)


class Knockout:
    """An editor of one pass (see `engine.passes.edits`), to be attached before any other editor or
    watcher of attention calls: it has to see the model's own kernel."""

    def __init__(self, forbidden: Tensor, own: Mapping[nn.Module, int]) -> None:
        """`forbidden` is bool [length, length], see `Pairs.matrix`. `own` are the attention modules
        that are edited, and the index of the first of their keys that is the sequence's own; calls
        of other modules are left alone."""
        self.edited = 0
        """In how many calls a pair was forbidden that had been allowed."""
        self._forbidden = {forbidden.device: forbidden}
        """On each device that a call was on."""
        self._own = own
        self._blocked: tuple[AttentionCall, Tensor] | None = None
        self._leaks: list[Tensor] = []

    @property
    def leak(self) -> float:
        """How far the output of the last target moves, in any edited call, if the values at its
        forbidden sources are replaced: 0 if their weight is exactly 0, infinite if that cannot be
        told since the output is not all numbers."""
        moved = [float(each) for each in self._leaks]
        return math.inf if any(map(math.isnan, moved)) else max(moved, default=0.0)

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `Attached.attached`."""
        return AttentionEdit(self._before, self._after).attached(active)

    def _before(self, call: AttentionCall) -> AttentionCall:
        first = self._own.get(call.module)
        if first is None:
            return call
        device = call.key.device
        if device not in self._forbidden:
            self._forbidden[device] = next(iter(self._forbidden.values())).to(device)
        made = without(call, self._forbidden[device], first)
        if made is None:
            return call
        self.edited += 1
        self._blocked = made
        return made[0]

    def _after(self, call: AttentionCall, output: Tensor) -> Tensor:
        if self._blocked is not None and self._blocked[0] is call:
            self._leaks.append(_leak(call, output, self._blocked[1]))
            self._blocked = None
        return output


def without(
    call: AttentionCall, forbidden: Tensor, first: int
) -> tuple[AttentionCall, Tensor] | None:
    """The call with pairs masked, and which pairs these are: bool [1 or batch, 1 or heads, queries,
    keys]. None if nothing that is forbidden was allowed: the call is then to be made as it is.

    `forbidden` is bool [queries, queries]; keys `first` to `first` + queries are the sequence's
    own. A query that would lose all its keys keeps its own. Queries that see nothing, as those of
    padding do, are not touched. Raises CannotRead where this kernel takes no mask of pairs.
    """
    queries, keys = call.query.shape[-2], call.key.shape[-2]
    if forbidden.shape[0] != queries or first + queries > keys:
        raise CannotRead(
            f"{type(call.module).__name__} attends with {queries} queries and {keys} keys in a "
            f"sequence of {forbidden.shape[0]} tokens: its pairs cannot be told"
        )
    mask = _mask_of(call)
    visible = allowed(mask)
    pairs = forbidden.new_zeros(queries, keys)
    pairs[:, first : first + queries] = forbidden
    itself = torch.zeros_like(pairs)
    itself.diagonal(first).fill_(True)
    left = visible & ~pairs
    lost = (visible.any(-1) & ~left.any(-1)).unsqueeze(-1) & itself
    left = left | lost
    blocked = visible & ~left
    if not bool(blocked.any()):
        return None
    if mask.dtype == torch.bool:
        mask = left
    else:
        lowest = -torch.inf if bool((mask == -torch.inf).any()) else torch.finfo(mask.dtype).min
        mask = mask.masked_fill(blocked, lowest).masked_fill(lost & ~visible, 0.0)
    return replace(call, mask=mask), blocked


def _mask_of(call: AttentionCall) -> Tensor:
    """What the call masks, [1 or batch, 1 or heads, queries, keys]: boolean or additive."""
    name, mask = type(call.module).__name__, call.mask
    queries, keys = call.query.shape[-2], call.key.shape[-2]
    if mask is None:
        return _written_out(call, queries, keys)
    if not isinstance(mask, Tensor):
        raise CannotRead(
            f"{name} masks with a {type(mask).__name__}, in which no single pair can be forbidden"
        )
    whole = (*call.query.shape[:2], queries, keys)
    fits = mask.ndim == 4 and all(
        size in (1, full) for size, full in zip(mask.shape, whole, strict=True)
    )
    if not fits or not (mask.dtype == torch.bool or mask.is_floating_point()):
        raise CannotRead(
            f"{name} takes a mask {list(mask.shape)} of {mask.dtype}, in which no single pair can "
            "be forbidden"
        )
    return mask.expand(*mask.shape[:2], queries, keys)


def _written_out(call: AttentionCall, queries: int, keys: int) -> Tensor:
    """The mask that a kernel applies when it gets none."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if call.kernel is call.eager:
        return call.query.new_zeros(1, 1, queries, keys)
    if call.kernel is not sdpa_attention_forward:
        kernel = getattr(call.kernel, "__name__", type(call.kernel).__name__)
        raise CannotRead(
            f"{type(call.module).__name__} runs {kernel}, which is not known to take a mask of "
            "pairs"
        )
    everything = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=call.query.device)
    return everything.tril() if is_causal(call) else everything


def _leak(call: AttentionCall, output: Tensor, blocked: Tensor) -> Tensor:
    """How far the output moves at the last target if the values that it may not see are others."""
    somewhere = blocked[0].any(0)  # [queries, keys]: no head sees what is blocked in another
    target = int(somewhere.any(-1).nonzero()[-1])
    value = call.value.clone()
    value[0, :, somewhere[target]] = _STRANGE
    moved, _ = replace(call, value=value).run()
    return (moved[0, target] - output[0, target]).abs().max()
