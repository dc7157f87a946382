"""Several questions in one pass: which can go together, and the inputs that they make together.

Every item is laid out from the left and padded on its right: a causal model does not see what
stands behind the position that is read, and every token keeps the position that it has alone.
That a model gives an item of a batch the rows that it gives it alone is proved, never assumed:
see `engine.lens.batch_proofs`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.system.memory import free_memory

SEQUENCE = "input_ids"
"""Inputs whose names end so are sequences of tokens; what is as long as one goes along it."""


def batch_key(inputs: Mapping[str, Any], padded: bool = True) -> Hashable:
    """Inputs of one item with equal keys can be collated; with `padded` off only those of the same
    length are equal."""
    lengths = _lengths(inputs)
    described: list[Hashable] = []
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            # A list or the like says something of its own item that no cat can put together.
            alike = value is None or isinstance(value, (bool, int, float, str))
            described.append((name, repr(value) if alike else id(value)))
            continue
        shape: tuple[Hashable, ...] = tuple(value.shape)[1:]
        if _runs_along(value, lengths):
            if padded and _can_be_padded(name, inputs):
                shape = ("sequence", *shape[1:])
        elif _is_one_whole(value):
            shape = ("whole", *shape)
        else:
            shape = ("rows", *shape)
        described.append((name, value.dtype, shape))
    return tuple(described)


def collate(items: Sequence[Mapping[str, Any]], pad_id: int = 0) -> dict[str, Any]:
    """The inputs of one pass over several items of one `batch_key`.

    Padding is on the right: `pad_id` in sequences of tokens, 0 elsewhere, the attention mask among
    it. Raises ValueError for items that cannot go together.
    """
    if len({batch_key(item) for item in items}) != 1:
        raise ValueError("these inputs cannot go together in one pass")
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
    """Tokens of the longest sequence among an item's inputs."""
    return max(_lengths(inputs), default=1)


def sequences(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Those of an item's inputs that go along a sequence of tokens."""
    lengths = _lengths(inputs)
    return {
        name: value
        for name, value in inputs.items()
        if isinstance(value, Tensor) and _runs_along(value, lengths)
    }


def pad_id_of(model: Any) -> int:
    """What the model's configuration pads with; 0 where it says nothing."""
    for owner in (model.config.get_text_config(decoder=True), model.config):
        token = getattr(owner, "pad_token_id", None)
        if isinstance(token, int) and token >= 0:
            return token
    return 0


def another_pad_id(inputs: Mapping[str, Any], pad_id: int) -> int:
    """An id of an item's own text that is not `pad_id`: its last one that differs."""
    for name, value in sequences(inputs).items():
        if name.endswith(SEQUENCE):
            others = value[value != pad_id]
            if others.numel():
                return int(others[-1])
    return pad_id + 1


def another_like(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """An item of the same shapes and other content: a paler picture, another last token."""
    made = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            made[name] = value * 0.5
        elif name.endswith(SEQUENCE) and isinstance(value, Tensor):
            made[name] = value.clone()
            made[name][:, -1] = another_pad_id(inputs, int(value[0, -1]))
    return made


def bytes_of_item(model: Any, inputs: Mapping[str, Any], all_logits: bool = True) -> int:
    """A generous estimate of what one more item of a batch takes while the pass runs.

    The largest at one time: the logits of all positions (and their float32 copy), if `all_logits`
    are computed, some forty streams as wide as the model, and the attention of one layer where it
    is written out.
    """
    text = model.config.get_text_config(decoder=True)
    size = next((p.element_size() for p in model.parameters()), 4)
    length = length_of(inputs)
    vocabulary = getattr(text, "vocab_size", None) or 32_000
    width = getattr(text, "hidden_size", None) or 4096
    heads = getattr(text, "num_attention_heads", None) or 32
    own = sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
    logits = (length if all_logits else 1) * vocabulary * (size + 4)
    return int(logits + length * 40 * width * size + heads * length**2 * 4 + own)


def most_at_once(
    model: Any, inputs: Mapping[str, Any], device: torch.device, all_logits: bool = True
) -> int:
    """How many items like this one half of the memory that is free on `device` has room for."""
    return max(1, free_memory(device) // 2 // bytes_of_item(model, inputs, all_logits))


def _lengths(inputs: Mapping[str, Any]) -> set[int]:
    return {
        int(value.shape[1])
        for name, value in inputs.items()
        if name.endswith(SEQUENCE) and isinstance(value, Tensor) and value.ndim >= 2
    }


def _runs_along(value: Tensor, lengths: set[int]) -> bool:
    """Whether dimension 1 is the sequence's."""
    return (
        value.ndim >= 2
        and value.shape[0] == 1
        and not value.is_floating_point()
        and value.shape[1] in lengths
    )


def _can_be_padded(name: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a mask says which positions are padding."""
    prefix = next((each for each in ("decoder_", "qformer_") if name.startswith(each)), "")
    return f"{prefix}attention_mask" in inputs


def _is_one_whole(value: Tensor) -> bool:
    return value.ndim >= 1 and value.shape[0] == 1


def _padded(value: Tensor, length: int, fill: int) -> Tensor:
    missing = length - value.shape[1]
    if not missing:
        return value
    return pad(value, (0, 0) * (value.ndim - 2) + (0, missing), value=fill)
