"""Passes over other inputs in step with an answer: after each token that was taken, what the model
would say if the answer so far followed those inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from transformers import Cache

from engine.anatomy.hooks import hooked
from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.anatomy.watching import logits_in
from engine.errors import Cancelled
from engine.prompts.extended import extended
from engine.system.memory import is_out_of_memory

STATE: Final = "rope_deltas"
"""What some models of transformers remember of the last prompt, to count the positions of what
follows it."""


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
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`inputs` are on the model's device, with `use_cache` if the model takes it; `parts` are
        those of such inputs. `stop` is asked before every layer."""
        self._model = model
        self._inputs = {name: value for name, value in inputs.items() if name != "use_cache"}
        self._takes_cache = "use_cache" in inputs
        self._dtype = parts.dtype
        self._layers = parts.layers
        self._stop = stop
        self._cache: Cache | None = None
        self._is_proved = False
        self._holders = [each for each in model.modules() if STATE in vars(each)]
        self._states: list[Any] = [None] * len(self._holders)

    def logits(self, taken: Tensor) -> Tensor:
        """The model's logits after `taken`, int64 [batch, tokens]: float32 [batch, vocabulary].

        To be called for no tokens, then for one more each time, by whoever holds the model's lock,
        without gradients and in eval mode. Raises Cancelled within one layer after `stop()` is
        true.
        """
        with self._with_its_own_state(), hooked(dict.fromkeys(self._layers, self._look)):
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
        output = self._model(**self._inputs, **({"use_cache": True} if self._takes_cache else {}))
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

    @contextmanager
    def _with_its_own_state(self) -> Iterator[None]:
        """A context in which the model remembers this prompt instead of the answer's own."""
        others = [vars(each)[STATE] for each in self._holders]
        try:
            self._put(self._states)
            yield
            self._states = [vars(each)[STATE] for each in self._holders]
        finally:
            self._put(others)

    def _put(self, states: Sequence[Any]) -> None:
        for holder, state in zip(self._holders, states, strict=True):
            vars(holder)[STATE] = state


def _last(output: Any) -> Tensor:
    return logits_in(output)[:, -1].float()
