"""Passes over other inputs in step with an answer: after each token that was taken, what the model
would say if the answer so far followed those inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from engine.anatomy.hooks import hooked
from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.anatomy.watching import logits_in
from engine.errors import Cancelled
from engine.passes.model_state import ModelState, Place
from engine.prompts.extended import extended
from engine.system.memory import is_out_of_memory


class InStep:
    """The logits of one prompt, a batch of one, followed by the tokens of an answer or of several.

    Each token costs a step from a KV cache. The first of these steps is compared with a plain pass
    over everything; where they differ, all further ones are plain passes, too.
    """

    def __init__(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        parts: ModelParts,
        state: ModelState,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`inputs` are on the model's device, with `use_cache` if the model takes it; `parts` are
        those of such inputs, and `state` knows what passes leave on the model's modules. `stop` is
        asked before every layer."""
        self._model = model
        self._inputs = {name: value for name, value in inputs.items() if name != "use_cache"}
        self._takes_cache = "use_cache" in inputs
        self._dtype = parts.dtype
        self._layers = parts.layers
        self._stop = stop
        self._cache: Cache | None = None
        self._is_proved = False
        self._state = state
        self._left: dict[Place, Tensor | None] = {}
        """What the pass over the prompt has left, which those that follow start from."""

    def logits(self, taken: Tensor) -> Tensor:
        """The model's logits after `taken`, int64 [batch, tokens]: float32 [batch, vocabulary].

        To be called for no tokens, then for one more each time, by whoever holds the model's lock,
        without gradients and in eval mode. Raises Cancelled within one layer after `stop()` is
        true.
        """
        with self._state.put_back(self._left), hooked(dict.fromkeys(self._layers, self._look)):
            if not taken.shape[1]:
                return self._begun(len(taken))
            found = None if self._cache is None else self._next(taken[:, -1:])
            if found is not None and not self._is_proved:
                plain = self._plain(taken[:1])
                self._is_proved = difference(found[:1], plain) <= tolerance(self._dtype, plain)
                if not self._is_proved:
                    found = None
            if found is None:
                self._cache = None
                return self._plain(taken)
            return found

    def _look(self, *call: Any) -> None:
        if self._stop():
            raise Cancelled("cancelled")

    def _begun(self, batch: int) -> Tensor:
        with self._state.observed():
            output = self._model(
                **self._inputs, **({"use_cache": True} if self._takes_cache else {})
            )
        self._left = self._state.now()
        cache = getattr(output, "past_key_values", None)
        if isinstance(cache, Cache):
            if batch > 1:
                cache.batch_repeat_interleave(batch)
            self._cache = cache
        return _last(output).expand(batch, -1)

    def _next(self, newest: Tensor) -> Tensor | None:
        """The logits after one more token, int64 [batch, 1]; None where the model cannot go on from
        its cache."""
        try:
            # Without a mask, whose length some models mistake: nothing is padded here.
            output = self._model(input_ids=newest, past_key_values=self._cache, use_cache=True)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            if is_out_of_memory(error) or self._is_proved:
                raise
            return None
        return _last(output)

    def _plain(self, taken: Tensor) -> Tensor:
        """The same from passes over everything, one for each answer."""
        rows: Sequence[list[int]] = taken.tolist()
        given = {"use_cache": False} if self._takes_cache else {}
        return torch.cat(
            [
                _last(self._model(**extended(self._model, self._inputs, row), **given))
                for row in rows
            ]
        )


def _last(output: Any) -> Tensor:
    return logits_in(output)[:, -1].float()
