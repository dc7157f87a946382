"""The inputs of a question with the beginning of its answer: what `generate` feeds step by step, as
the inputs of one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.prompts.processors import tokenizer_of
from engine.prompts.token_parts import token_kinds
from engine.prompts.token_texts import TokenTexts
from engine.records import PromptToken

if TYPE_CHECKING:
    from torch import Tensor

_OTHER_SEQUENCES = ("decoder_", "qformer_", "protein_", "pixel_")
"""Inputs whose names begin so may run along another sequence than the ids."""


def extended(model: Any, inputs: Mapping[str, Any], ids: Sequence[int]) -> dict[str, Any]:
    """The inputs (a batch of one, on any device) followed by these tokens of the answer; in an
    encoder-decoder it is the decoder's sequence that they follow.

    What counts tokens beside the ids, such as masks and token types, grows as `generate` lets it
    grow, which knows that a prefix-LM's answer is no part of the prefix; what `generate` leaves to
    the model gets the value of the last token, which is text.
    """
    import torch

    if not ids:
        return dict(inputs)
    name = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    sequence: Tensor = inputs[name]
    added = torch.tensor([[*ids]], dtype=sequence.dtype, device=sequence.device)
    length, count = sequence.shape[1], len(ids)
    grown = {key: value for key, value in inputs.items() if key != name}
    if name == "input_ids":
        grown = _as_generate_lets_them_grow(model, grown, count)
    for key, value in grown.items():
        if _runs_along(key, value, name, length):
            last = value[:, -1:]
            grown[key] = torch.cat([value, last.expand(1, count, *last.shape[2:])], dim=1)
    return {**grown, name: torch.cat([sequence, added], dim=1)}


def answer_prompt_tokens(model: Any, processor: Any, ids: Sequence[int]) -> tuple[PromptToken, ...]:
    """Tokens of the answer as tokens of the sequence that a pass runs over."""
    texts = TokenTexts(tokenizer_of(processor))
    kinds = token_kinds(model, processor, [*ids])
    return tuple(
        PromptToken(
            id=token, text=texts(token), kind="text" if kind == "text" else "special", part="prefix"
        )
        for token, kind in zip(ids, kinds, strict=True)
    )


class _NoOutputs(dict[str, Any]):
    """The output of a step that was not run: it holds no cache and no states."""

    def __getattr__(self, name: str) -> None:
        return None


def _as_generate_lets_them_grow(
    model: Any, inputs: Mapping[str, Any], count: int
) -> dict[str, Any]:
    """All inputs but the ids, after `count` steps."""
    step = getattr(model, "_update_model_kwargs_for_generation", None)
    if step is None:
        return dict(inputs)
    # Without a cache the model gets every input whole.
    grown = {**inputs, "use_cache": False}
    for _ in range(count):
        grown = step(_NoOutputs(), grown, is_encoder_decoder=False)
    return {key: grown[key] for key in inputs}


def _runs_along(key: str, value: Any, name: str, length: int) -> bool:
    """Whether an input still has a value for each token of the sequence `name` before it grew."""
    shape = tuple(getattr(value, "shape", ()))
    if shape[:2] != (1, length) or value.is_floating_point():
        return False
    if name != "input_ids":
        return key.startswith("decoder_")
    # A mask of pictures runs along the tokens; the pictures' sizes and places do not.
    of_pictures = key.startswith("image") and not key.endswith("mask")
    return not (key.startswith(_OTHER_SEQUENCES) or of_pictures)
