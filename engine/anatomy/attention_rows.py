"""The attention weights of one query, from a call of any kernel.

The model's own eager function is called with that query alone: it knows the model's soft-cap,
learned sinks and biases. What it returns is compared with what the kernel has computed: the
weights times the values must be the attention's own output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from engine.anatomy.attention_calls import AttentionCall
from engine.anatomy.attention_masks import allowed, is_causal
from engine.anatomy.logit_map import errors_and_limits
from engine.errors import CannotRead

Route = Literal["eager in float32", "eager", "formula"]
ROUTES: Final[tuple[Route, ...]] = ("eager in float32", "eager", "formula")
"""The ways in which weights are computed, in the order in which they are tried. Kernels accumulate
in float32, which eager functions do not do in half precision; and some models' eager functions do
not work. The formula is softmax(q k scaling + mask), with soft-cap, sinks and bias."""
ROUNDING: Final = 2.0**-14
"""What weights may be short of a sum of 1 because they are rounded."""
ROUNDING_OF_HALVES: Final = 2.0**-6


@dataclass(frozen=True)
class AttentionRow:
    """The weights of one query of each item of a batch, in one attention call; or of several
    queries of one item, which then stand where the items would."""

    weights: Tensor
    """float32 [batch, heads, keys]"""
    sink: Tensor
    """float32 [batch, heads]: what the weights are short of a sum of 1, which lies on learned
    sinks; 0 where it is within rounding."""
    value: Tensor | None
    """[batch, key/value heads, keys, value width], if it is kept."""
    output: Tensor
    """float32 [batch, heads, value width]: the attention's own output."""
    reach: Tensor
    """int64 [batch]: the first key that the mask lets the query see."""
    checks: Tensor
    """float32 [2, batch]: the largest difference between weights times values and the output, and
    the largest that is allowed."""


def row_of(call: AttentionCall, output: Tensor, at: Sequence[int], route: Route) -> AttentionRow:
    """The weights of the query at index `at[item]` of each item; in a batch of one, of all the
    queries at the indices `at`.

    `output` [batch, queries, heads, value width] is what the kernel has returned. Raises CannotRead
    if the mask is of a kind that only the kernel understands, and whatever the eager function
    raises.
    """
    batch, heads, queries, _ = call.query.shape
    one = _as_additive(call, at)
    query = _picked(call.query, at, queries, batch)
    key, value = call.key, call.value
    args = tuple(_picked(each, at, queries, batch) for each in call.args)
    kwargs = {name: _picked(each, at, queries, batch) for name, each in call.kwargs.items()}
    if route == "formula":
        weights = _formula(query, key, one, kwargs)
    else:
        if route == "eager in float32":
            query, key, value = query.float(), key.float(), value.float()
            one = None if one is None else one.float()
            args = tuple(map(_in_float32, args))
            kwargs = {name: _in_float32(each) for name, each in kwargs.items()}
        _, found = call.eager(call.module, query, key, value, one, *args, **kwargs)
        if found is None:
            raise CannotRead("its eager function returns no attention weights")
        weights = found
    if batch == 1:
        weights = weights.reshape(heads, len(at), -1).transpose(0, 1)
        one = _queries_as_items(one)
    return as_row(weights.reshape(len(at), heads, -1), call.value, outputs_at(output, at), one)


def outputs_at(output: Tensor, at: Sequence[int]) -> Tensor:
    """Of [batch, queries, ...], what belongs to the query `at[item]` of each item, or to the
    queries `at` of the only one: [len(at), ...]."""
    if len(output) == 1:
        return output[0, [*at]]
    return torch.stack([output[item, place] for item, place in enumerate(at)])


def joined_rows(parts: Sequence[AttentionRow]) -> AttentionRow:
    """The rows of further queries of one item after those of the first; without the values."""
    return AttentionRow(
        weights=torch.cat([each.weights for each in parts]),
        sink=torch.cat([each.sink for each in parts]),
        value=None,
        output=torch.cat([each.output for each in parts]),
        reach=torch.cat([each.reach for each in parts]),
        checks=torch.cat([each.checks for each in parts], dim=1),
    )


def _queries_as_items(mask: Tensor | None) -> Tensor | None:
    """[1, heads or 1, queries, keys] -> [queries, heads or 1, 1, keys]."""
    return None if mask is None else mask.permute(2, 1, 0, 3)


def as_row(weights: Tensor, value: Tensor, output: Tensor, mask: Tensor | None) -> AttentionRow:
    """The record of these weights [batch, heads, keys], in the dtype in which they were computed,
    and what they are compared with.

    `output` is [batch, heads, value width] or [batch, heads * value width], `mask` additive
    [batch or 1, heads or 1, 1, keys] or None. `value` is of every item, or of the one that all
    queries belong to.
    """
    batch, heads, keys = weights.shape
    rounding = ROUNDING if weights.dtype == torch.float32 else ROUNDING_OF_HALVES
    weights = weights.float()
    short = 1.0 - weights.sum(-1)
    value_heads = value.shape[1]
    own = output.reshape(batch, heads, -1).float()
    # Several heads may share one value head.
    shared = weights.reshape(batch, value_heads, heads // value_heads, keys)
    if len(value) == batch:
        made = (shared @ value.float()).reshape(batch, heads, -1)
    else:
        # All queries of one item in one product: the values are not repeated for each.
        of_one = shared.permute(1, 2, 0, 3).flatten(1, 2)  # [value heads, shared * queries, keys]
        made = (of_one @ value[0].float()).reshape(heads, batch, -1).transpose(0, 1)
    return AttentionRow(
        weights=weights,
        sink=torch.where(short > rounding, short, 0.0),
        value=value,
        output=own,
        reach=_reach(mask, weights),
        checks=errors_and_limits(output.dtype, made.flatten(1), own.flatten(1)),
    )


def _reach(mask: Tensor | None, weights: Tensor) -> Tensor:
    if mask is None:
        return torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    seen = allowed(mask[..., : weights.shape[-1]]).flatten(1, -2)
    return seen.any(1).float().argmax(-1).expand(len(weights))


def _as_additive(call: AttentionCall, at: Sequence[int]) -> Tensor | None:
    """The mask of one query an item, as eager functions want it: additive, [batch or 1, heads or 1,
    1, keys], or None if it may see everything; with several queries of one item on the third axis.
    """
    mask, keys, dtype = call.mask, call.key.shape[2], call.query.dtype
    if mask is None:
        if not is_causal(call):
            return None
        visible = _before(call, at)
    elif isinstance(mask, Tensor) and mask.ndim == 2:
        # Of a flash kernel: which keys are padding; it applies the causal mask itself.
        visible = mask.bool()[:, None, None, :keys]
        if is_causal(call):
            visible = visible & _before(call, at)
    elif isinstance(mask, Tensor) and mask.ndim == 4:
        one = mask if mask.shape[2] == 1 else _picked(mask, at, mask.shape[2], len(call.query))
        if one.dtype != torch.bool:
            additive: Tensor = one[..., :keys]
            return additive
        visible = one[..., :keys]
    else:
        raise CannotRead(f"its kernel's mask is a {type(mask).__name__}, which cannot be read")
    nothing = torch.zeros((), dtype=dtype, device=visible.device)
    return torch.where(visible, nothing, torch.finfo(dtype).min)


def _before(call: AttentionCall, at: Sequence[int]) -> Tensor:
    """Which keys a kernel with a mask of its own shows to the queries: bool [batch, 1, 1, keys], or
    [1, 1, queries, keys]."""
    places = torch.arange(call.key.shape[2], device=call.key.device)
    window = call.kwargs.get("sliding_window")
    if isinstance(window, int) and getattr(call.kernel, "__name__", "") != "sdpa_attention_forward":
        seen = [(places <= place) & (places > place - window) for place in at]
    else:
        seen = [places <= place for place in at]
    together = torch.stack(seen)
    return together[None, None] if len(call.query) == 1 else together[:, None, None]


def _picked(value: Any, at: Sequence[int], queries: int, batch: int) -> Any:
    """An argument with one query an item, or the queries `at` of one, if it is a tensor with a
    query axis before its last."""
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[-2] != queries:
        return value
    if value.ndim == 2 and not value.is_floating_point():
        return value  # positions, or sequence numbers: [batch, tokens]
    if len({*at}) == 1:
        return value.narrow(-2, at[0], 1)
    if batch == 1:
        return value[..., [*at], :]
    if value.ndim == 2:
        raise CannotRead("an argument of its attention is shared by all items of a batch")
    items = value.expand(len(at), *value.shape[1:])
    rows = [items[item].narrow(-2, place, 1) for item, place in enumerate(at)]
    return torch.stack(rows)


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _formula(query: Tensor, key: Tensor, mask: Tensor | None, kwargs: Mapping[str, Any]) -> Tensor:
    """softmax(q k scaling + mask), with what is known of soft-caps, biases and sinks: float32
    [batch, heads, 1, keys]."""
    batch, heads, _, width = query.shape
    keys = key.float().repeat_interleave(heads // key.shape[1], dim=1)
    scaling = kwargs.get("scaling")
    scores = query.float() @ keys.transpose(2, 3) * (width**-0.5 if scaling is None else scaling)
    cap = kwargs.get("softcap")
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    bias = kwargs.get("position_bias")
    if bias is not None:
        scores = scores + bias.float()
    if mask is not None:
        scores = scores + mask.float()
    sinks = kwargs.get("s_aux", kwargs.get("sinks"))
    if sinks is None:
        without: Tensor = scores.softmax(-1)
        return without
    sinks = sinks.float().reshape(1, -1, 1, 1).expand(batch, heads, 1, 1)
    weights: Tensor = torch.cat([scores, sinks], dim=-1).softmax(-1)
    return weights[..., :-1]
