"""Lets many answers to one question share the pass over the question.

`generate` repeats its inputs for every answer that it returns, and runs the whole batch over the
question. Here that first pass runs on one of the equal items, and its KV cache is repeated instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin

from engine.anatomy.hooks import answering

_CACHES = ("past_key_values", "cache_params")


class CannotShare(Exception):
    """The first pass returned nothing that could be repeated for every answer."""


@contextmanager
def shared_prefill(model: nn.Module, count: int) -> Iterator[None]:
    """A context in which the first pass of a `model.generate(..., num_return_sequences=count)` runs
    on one item.

    That pass raises CannotShare where the model returns no cache that can be repeated.
    """
    inside = False
    done = False

    def once(forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)  # `generate` looks at its signature
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside, done
            if inside or done:
                return forward(*args, **kwargs)
            inside = True
            try:
                output = forward(*(_one(each, count) for each in args), **_one(kwargs, count))
            finally:
                inside = False
            done = True
            return _repeated(output, count)

        return called

    owners = [module for module in model.modules() if isinstance(module, GenerationMixin)]
    with answering({module: once(module.forward) for module in owners}):
        yield


def _one(value: Any, count: int, name: str = "") -> Any:
    """The first of `count` equal items, wherever a tensor has been repeated for them."""
    if isinstance(value, Tensor):
        for axis in (0, 1) if name.endswith("position_ids") else (0,):
            if value.ndim > axis and value.shape[axis] and value.shape[axis] % count == 0:
                places = torch.arange(0, value.shape[axis], count, device=value.device)
                first = value.index_select(axis, places)
                if torch.equal(first.repeat_interleave(count, axis), value):
                    return first
                if axis == 0 and torch.equal(
                    value[: len(first)].repeat(count, *_ones(value)), value
                ):
                    return value[: len(first)]
        return value
    if isinstance(value, Mapping):
        found = {key: _one(each, count, str(key)) for key, each in value.items()}
        return type(value)(**found) if type(value) is not dict else found
    if type(value) not in (list, tuple):
        return value
    size, rest = divmod(len(value), count)
    if size and not rest and all(isinstance(each, Tensor) for each in value):
        again = [value[place % size] for place in range(len(value))]
        if all(map(torch.equal, value, again)):
            return value[:size]
    return type(value)(_one(each, count) for each in value)


def _ones(value: Tensor) -> tuple[int, ...]:
    return (1,) * (value.ndim - 1)


def _repeated(output: Any, count: int) -> Any:
    """The output of one item as that of `count` equal ones: its last logits and its cache."""
    logits = getattr(output, "logits", None)
    caches = [name for name in _CACHES if getattr(output, name, None) is not None]
    if not isinstance(logits, Tensor) or not caches:
        raise CannotShare
    for name in caches:
        cache = getattr(output, name)
        if not hasattr(cache, "reorder_cache"):
            raise CannotShare
        # Every kind of layer can be reordered, recurrent ones too: here, to the first item each.
        cache.reorder_cache(torch.zeros(count, dtype=torch.long, device=logits.device))
    output.logits = logits[:, -1:].expand(count, -1, -1)
    return output
