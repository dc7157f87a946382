"""Batches several questions into one pass: which inputs can be collated, and collating them.

Items are padded on the right: a causal model does not see what follows the position that is read,
and every token keeps the position that it has in a pass of its own. That a model gives an item the
same rows in a batch as alone is proved, never assumed: see `engine.lens.batch_proofs`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.system.memory import free_memory

SEQUENCE = "input_ids"
"""Inputs whose names end in this are token sequences; an integer tensor of the same length runs
along the sequence too (masks, token types)."""


def batch_key(inputs: Mapping[str, Any], padded: bool = True) -> Hashable:
    """A key that is equal for inputs (of one item each) that can be collated.

    With `padded` off, inputs of different lengths have different keys.
    """
    lengths = _lengths(inputs)
    described: list[Hashable] = []
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            # A list or the like describes its own item and cannot be concatenated.
            alike = value is None or isinstance(value, (bool, int, float, str))
            described.append((name, repr(value) if alike else id(value)))
            continue
        shape: tuple[Hashable, ...] = tuple(value.shape)[1:]
        if _runs_along(value, lengths):
            if padded and _can_be_padded(name, inputs):
                shape = ("sequence", *shape[1:])
        elif _has_batch_axis(value):
            shape = ("whole", *shape)
        else:
            shape = ("rows", *shape)
        described.append((name, value.dtype, shape))
    return tuple(described)


def collate(items: Sequence[Mapping[str, Any]], pad_id: int = 0) -> dict[str, Any]:
    """The inputs of one pass over several items of the same `batch_key`.

    Sequences are padded on the right: with `pad_id` in token sequences, with 0 in masks and the
    rest. Raises ValueError for items that cannot be collated.
    """
    if len({batch_key(item) for item in items}) != 1:
        raise ValueError("these inputs cannot be collated into one pass")
    together: dict[str, Any] = {}
    for name, first in items[0].items():
        if not isinstance(first, Tensor):
            together[name] = first
            continue
        values = [item[name] for item in items]
        if _runs_along(first, _lengths(items[0])):
            longest = max(value.shape[1] for value in values)
            fill = pad_id if name.endswith(SEQUENCE) else 0
            values = [_padded(value, longest, fill) for value in values]
        together[name] = torch.cat(values)
    return together


def length_of(inputs: Mapping[str, Any]) -> int:
    """Number of tokens in the longest sequence among an item's inputs."""
    return max(_lengths(inputs), default=1)


def sequences(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Those of an item's inputs that run along a token sequence, [1, length, ...] each."""
    lengths = _lengths(inputs)
    return {
        name: value
        for name, value in inputs.items()
        if isinstance(value, Tensor) and _runs_along(value, lengths)
    }


def pad_id_of(model: Any) -> int:
    """The padding token of the model's config; 0 if it names none."""
    for owner in (model.config.get_text_config(decoder=True), model.config):
        token = getattr(owner, "pad_token_id", None)
        if isinstance(token, int) and token >= 0:
            return token
    return 0


def another_pad_id(inputs: Mapping[str, Any], pad_id: int) -> int:
    """A token id other than `pad_id`: the last one in the item's text that differs from it."""
    for name, value in sequences(inputs).items():
        if name.endswith(SEQUENCE):
            others = value[value != pad_id]
            if others.numel():
                return int(others[-1])
    return pad_id + 1


def another_like(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """An item of the same shapes with other content: a paler picture, another last token."""
    made = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            made[name] = value * 0.5
        elif name.endswith(SEQUENCE) and isinstance(value, Tensor):
            made[name] = value.clone()
            made[name][:, -1] = another_pad_id(inputs, int(value[0, -1]))
    return made


def bytes_of_item(model: Any, inputs: Mapping[str, Any], all_logits: bool = True) -> int:
    """A generous estimate of the memory, in bytes, that one more item takes during a pass.

    Counts what can be alive at the same time: the logits with their float32 copy (of all positions
    if `all_logits`, else of one), some forty activations of the model's width, and the attention
    weights of one layer.
    """
    text = model.config.get_text_config(decoder=True)
    size = next((p.element_size() for p in model.parameters()), 4)
    length = length_of(inputs)
    vocabulary = getattr(text, "vocab_size", None) or 32_000
    width = getattr(text, "hidden_size", None) or 4096
    heads = getattr(text, "num_attention_heads", None) or 32
    given = sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
    logits = (length if all_logits else 1) * vocabulary * (size + 4)
    return int(logits + length * 40 * width * size + heads * length**2 * 4 + given)


def most_at_once(
    model: Any, inputs: Mapping[str, Any], device: torch.device, all_logits: bool = True
) -> int:
    """How many items like this one fit in half of the free memory of `device`; at least 1."""
    return max(1, free_memory(device) // 2 // bytes_of_item(model, inputs, all_logits))


def _lengths(inputs: Mapping[str, Any]) -> set[int]:
    return {
        int(value.shape[1])
        for name, value in inputs.items()
        if name.endswith(SEQUENCE) and isinstance(value, Tensor) and value.ndim >= 2
    }


def _runs_along(value: Tensor, lengths: set[int]) -> bool:
    """Whether axis 1 runs along a token sequence."""
    return (
        value.ndim >= 2
        and value.shape[0] == 1
        and not value.is_floating_point()
        and value.shape[1] in lengths
    )


def _can_be_padded(name: str, inputs: Mapping[str, Any]) -> bool:
    """Whether the inputs have a mask that marks the padding of this sequence."""
    prefix = next((each for each in ("decoder_", "qformer_") if name.startswith(each)), "")
    return f"{prefix}attention_mask" in inputs


def _has_batch_axis(value: Tensor) -> bool:
    return value.ndim >= 1 and value.shape[0] == 1


def _padded(value: Tensor, length: int, fill: int) -> Tensor:
    missing = length - value.shape[1]
    if not missing:
        return value
    return pad(value, (0, 0) * (value.ndim - 2) + (0, missing), value=fill)
