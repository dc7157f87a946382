"""Continues the answer of a run greedily, token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from engine.lens.lens import model_lock
from engine.models.loading import LoadedModel
from engine.prompts.processors import tokenizer_of


def continue_greedily(
    loaded: LoadedModel,
    inputs: Mapping[str, Any],
    tell: Callable[[str], None],
    stop: Callable[[], bool],
    max_tokens: int = 20,
) -> str:
    """Continue the answer with the most probable token at each step, and return the whole text.

    `tell` is called with each new piece of text. Ends at the model's end token, after `max_tokens`,
    or within one token after `stop()` is true. Runs in the calling thread, with the model's lock.
    """
    pieces = _Pieces(tokenizer_of(loaded.processor), tell)
    device = loaded.lens.device
    moved = {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in inputs.items()
    }
    with model_lock(loaded.model), torch.no_grad():
        loaded.model.generate(
            **moved,
            max_new_tokens=max_tokens,
            do_sample=False,
            num_beams=1,
            streamer=pieces,
            stopping_criteria=StoppingCriteriaList([_Stop(stop)]),
        )
    return pieces.text


class _Pieces(BaseStreamer):  # type: ignore[misc]
    """Decodes the whole answer again after each token, so that no character is cut and no space
    is lost."""

    def __init__(self, tokenizer: Any, tell: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._tell = tell
        self._ids: list[int] = []
        self._prompt_seen = False
        self.text = ""

    def put(self, value: torch.Tensor) -> None:
        """Take the next token; `generate` hands over the prompt first, which is skipped."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self._ids.extend(value.flatten().tolist())
        text = self._tokenizer.decode(
            self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        if not text.endswith("\ufffd") and len(text) > len(self.text):
            self._tell(text[len(self.text) :])
            self.text = text

    def end(self) -> None:
        """Nothing is left to do."""


class _Stop(StoppingCriteria):  # type: ignore[misc]
    """Ends the generation once `stop()` is true."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def __call__(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((ids.shape[0],), self._stop(), dtype=torch.bool, device=ids.device)
