"""Draws whole answers to a question, without reading any row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Event
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.anatomy.logit_map import difference, tolerance
from engine.errors import Cancelled
from engine.lens.decoding import (
    Drawing,
    ProcessorsFor,
    end_tokens,
    for_generate,
    generate,
    processors,
)
from engine.lens.decoding_settings import DecodingSettings
from engine.lens.input_kinds import kind_of
from engine.lens.lens import model_lock
from engine.models.loading import LoadedModel
from engine.passes.inference import inferring
from engine.passes.shared_prefill import CannotShare, shared_prefill
from engine.passes.thread import waited_for
from engine.prompts.processors import tokenizer_of
from engine.system.memory import free_memory, is_out_of_memory

MOST_TOGETHER: Final = 128
"""Answers of one batch, of which nothing is known before all of it is."""
_COPIES_OF_SCORES: Final = 8
"""float32 [answers, vocabulary] at a time: the scores, their probabilities, what is sorted."""
_PROOF_TOKENS: Final = 3
"""How many steps two answers of a batch are compared with one alone: the first is the shared pass
itself, the others read its repeated cache."""

_sharing: WeakKeyDictionary[Any, dict[frozenset[str], bool]] = WeakKeyDictionary()
"""Model -> kind of inputs -> whether answers may share their first pass."""


@dataclass(frozen=True)
class DrawnAnswer:
    """One answer."""

    ids: tuple[int, ...]
    """With the end token, if the model ended it."""
    text: str
    """Without special tokens."""
    ended: bool
    """Whether the model ended it, rather than the limit of new tokens."""


def draw_answers(
    loaded: LoadedModel,
    inputs: Mapping[str, Any],
    settings: DecodingSettings,
    draws: int = 1,
    stop: Callable[[], bool] = lambda: False,
    drawn: Callable[[int], None] = lambda count: None,
) -> tuple[DrawnAnswer, ...]:
    """Draw this many answers; see `drawing_answers`. `drawn` is called with how many have been
    drawn."""
    found: list[DrawnAnswer] = []
    for batch in drawing_answers(loaded, inputs, settings, draws, stop):
        found += batch
        drawn(len(found))
    return tuple(found)


def drawing_answers(
    loaded: LoadedModel,
    inputs: Mapping[str, Any],
    settings: DecodingSettings,
    draws: int,
    stop: Callable[[], bool] = lambda: False,
    first: ProcessorsFor = lambda stop: (),
) -> Iterator[tuple[DrawnAnswer, ...]]:
    """Yield this many answers, batch by batch, with these settings and nothing of the checkpoint's
    own.

    Answer i is drawn with the seed `settings.seed + i`, whatever the number of draws; torch's
    global generator is left as it was. Greedy answers are all the same: one is decoded.

    `inputs` are a batch of one, as `Prepared.inputs`. Raises Cancelled within one token after
    `stop()` is true, CannotRead if the model cannot decode token by token, and just as soon
    whatever interrupts the caller, such as KeyboardInterrupt.
    """
    batches = _Batches(loaded, inputs, settings, stop, first)
    if not settings.samples:
        yield tuple(batches.draw([settings.seed]) * draws)
        return
    made, together = 0, batches.most if draws > 1 else 1
    while made < draws:
        count = min(together, draws - made)
        try:
            batch = batches.draw(range(settings.seed + made, settings.seed + made + count))
        except Exception as error:
            if count == 1 or not (isinstance(error, CannotShare) or is_out_of_memory(error)):
                raise
            together = 1 if isinstance(error, CannotShare) else count // 2
            continue
        made += count
        yield tuple(batch)


def answer_text(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """The text of an answer, without special tokens."""
    tokenizer = tokenizer_of(loaded.processor)
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )


class _Batches:
    """Answers to one question, decoded several at a time."""

    def __init__(
        self,
        loaded: LoadedModel,
        inputs: Mapping[str, Any],
        settings: DecodingSettings,
        stop: Callable[[], bool],
        first: ProcessorsFor,
    ) -> None:
        self._loaded = loaded
        self._model: Any = loaded.model
        self._kind = kind_of(inputs)
        self._inputs = for_generate(self._model, inputs, loaded.lens.device)
        self._settings = settings
        self._stop = stop
        self._first = first
        self._ends = end_tokens(self._model)

    @property
    def most(self) -> int:
        """How many answers to decode at once: one where sharing the first pass is not exact."""
        known = _sharing.setdefault(self._model, {})
        if self._settings.max_new_tokens == 1:
            return min(MOST_TOGETHER, self._that_fit())
        if self._kind not in known:
            known[self._kind] = self._shares_exactly()
        return min(MOST_TOGETHER, self._that_fit()) if known[self._kind] else 1

    def draw(self, seeds: Sequence[int]) -> list[DrawnAnswer]:
        """An answer for each seed, in one batch."""
        tokens, _ = self._generate(self._settings, seeds)
        return [self._answer(each) for each in tokens]

    def _answer(self, tokens: list[int]) -> DrawnAnswer:
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        ids = tokens if end is None else tokens[: end + 1]
        ended = end is not None or len(ids) < self._settings.max_new_tokens
        return DrawnAnswer(tuple(ids), answer_text(self._loaded, ids), ended)

    def _generate(
        self, settings: DecodingSettings, seeds: Sequence[int]
    ) -> tuple[list[list[int]], list[Tensor]]:
        """The tokens of each answer, and the model's logits of each step, [batch, vocabulary] each.

        Tokens after the end token are meaningless.
        """
        found: list[Tensor] = []
        logits: list[Tensor] = []
        count = len(seeds)
        keeps = settings.max_new_tokens <= _PROOF_TOKENS
        # Whoever waits may be interrupted from the keyboard, and still waits for the thread to end.
        interrupted = Event()

        def stop() -> bool:
            return self._stop() or interrupted.is_set()

        def look(ids: Tensor, scores: Tensor) -> None:
            if stop():
                raise Cancelled("cancelled")
            if keeps:
                logits.append(scores.clone())

        def run() -> None:
            with model_lock(self._model), inferring(self._model):
                choose = Drawing(settings, seeds, self._loaded.lens.device)

                def take(ids: Tensor, scores: Tensor) -> Tensor:
                    found.append(choose(ids, scores))
                    return found[-1]

                steps = processors(
                    self._model, self._inputs, settings, look, take, self._first(stop)
                )
                with shared_prefill(self._model, count) if count > 1 else nullcontext():
                    generate(self._model, self._inputs, steps, settings.max_new_tokens, count)

        waited_for(self._model, run, cancel=interrupted.set)
        return torch.stack(found, 1).tolist(), logits

    def _shares_exactly(self) -> bool:
        """Whether two answers that share their first pass are those that are decoded alone.

        Raises Cancelled as `_generate` does.
        """
        settings = DecodingSettings(max_new_tokens=_PROOF_TOKENS)
        tokens, alone = self._generate(settings, [0])
        try:
            both, shared = self._generate(settings, [0, 0])
        except CannotShare:
            return False
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            return False  # whatever a model's own code does with a batch that it did not begin
        dtype = self._loaded.lens.learn(self._inputs).dtype
        steps = len(tokens[0]) if self._answer(tokens[0]).ended else len(alone)
        return both == [tokens[0]] * 2 and all(
            difference(one.expand_as(two), two) <= tolerance(dtype, one)
            for one, two in zip(alone[:steps], shared[:steps], strict=True)
        )

    def _that_fit(self) -> int:
        """How many answers take at most a quarter of the free memory with their caches, if every
        layer keeps keys and values as wide as the residual stream, and their scores.

        Features that a model puts in front of its tokens are not counted.
        """
        parts = self._loaded.lens.learn(self._inputs)
        ids = [self._inputs.get(name) for name in ("input_ids", "decoder_input_ids")]
        prompt = sum(each.shape[1] for each in ids if isinstance(each, Tensor))
        length = prompt + self._settings.max_new_tokens
        width = parts.stream_shape[-1]
        each = 2 * len(parts.layers) * length * width * parts.dtype.itemsize
        text = self._model.config.get_text_config(decoder=True)
        each += _COPIES_OF_SCORES * 4 * getattr(text, "vocab_size", 0)
        device = self._loaded.lens.device
        free = free_memory(device if device.type == "cuda" else None)
        return max(1, free // 4 // max(1, each))
