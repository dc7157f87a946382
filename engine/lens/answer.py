"""The lens along an answer: every row of every step, while `generate` decodes the next ones.

The generation runs in the model's thread. After each step, that thread reads all of its rows with
one product of the unembedding, and hands them over; the thread that iterates turns them into
readings.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor
from transformers import LogitsProcessor

from engine.anatomy.logit_map import errors_and_limits
from engine.anatomy.parts import as_proof
from engine.anatomy.tail import RowStream
from engine.errors import Cancelled, CannotRead, LenscopeError, typed_line
from engine.lens.as_records import answer_readings, layer_readings
from engine.lens.decoding import Drawing, ProcessorsFor, end_tokens, generate, processors
from engine.lens.decoding_settings import DecodingSettings
from engine.lens.readout import Block, Numbers, read
from engine.passes.ending import end_if
from engine.passes.inference import inferring
from engine.passes.stepping import Stepping
from engine.passes.thread import submit
from engine.prompts.token_texts import TextOf
from engine.records import LayerReading, Proof, finite
from engine.system.memory import is_out_of_memory
from engine.system.transfers import Fetched

_PATIENCE: Final = 0.03
"""Seconds after which whoever waits for a step may look at whether to stop."""


@dataclass(frozen=True)
class AnswerStep:
    """One token of an answer, and the rows at the position before it."""

    token: int
    """The token that was taken."""
    probability: float
    """The model's own probability of it, before any setting."""
    taken: float
    """The probability with which it was drawn, after all settings; 1 if greedy."""
    removed: int
    """How many tokens the settings ruled out."""
    after: tuple[tuple[int, float], ...]
    """The most probable tokens of the distribution that it was drawn from, after all settings, each
    with its probability; the token alone, with 1, if greedy."""
    logits: Tensor
    """The model's own logits, float32 [vocabulary], on the CPU."""
    numbers: Numbers
    """Of rows 0..L; followed are the model's best token and `token`, the reference is row L."""
    notes: tuple[str | None, ...]
    """Why each row is not exactly the truncated model's, or None if it is."""
    proof: Proof
    """The lens's own last row against `logits`."""
    text_of: TextOf

    @cached_property
    def rows(self) -> tuple[LayerReading, ...]:
        """Rows 0..L."""
        found = layer_readings(range(len(self.notes)), self.numbers, self.text_of, self.notes)
        standings = answer_readings(self.numbers)
        return tuple(
            LayerReading(
                layer=row.layer,
                top=row.top,
                entropy=row.entropy,
                rms=row.rms,
                answer=standing,
                kl_to_last=finite(kl),
                approximate=row.approximate,
            )
            for row, standing, kl in zip(found, standings, self.numbers.kl.tolist(), strict=True)
        )


@dataclass(frozen=True)
class _Launched:
    """A step whose numbers a device may still be computing."""

    block: Block
    fetched: Fetched
    """The block's values; the token, how many were removed, and the best of the distribution that
    it was drawn from; the probability with which it was drawn, and theirs; error and limit of the
    proof; the logits; a flag for each of `doubtful`."""
    doubtful: tuple[int, ...]
    """Rows whose note depends on a flag: whether the model has added nothing to them."""


class DecodedAnswer:
    """An answer to iterate over: yields the steps that have come, in order.

    `ended` is set when the iteration has ended.
    """

    def __init__(
        self,
        forward: Stepping,
        lock: threading.Lock,
        inputs: Mapping[str, Any],
        settings: DecodingSettings,
        shown: int,
        text_of: TextOf,
        first: ProcessorsFor = lambda stop: (),
        norm: bool = True,
    ) -> None:
        """`inputs` are `for_generate`; `shown` is how many top tokens rows have; `first` makes
        the processors before those of the settings, see `engine.lens.decoding.processors`; `norm`
        says whether rows 0..L-1 are read with the final norm."""
        self.ended = False
        """Whether the model ended the answer, rather than the limit of new tokens."""
        self._forward = forward
        self._lock = lock
        self._inputs = dict(inputs)
        self._settings = settings
        self._shown = shown
        self._text_of = text_of
        self._first = first
        self._norm = norm
        self._own = torch.empty(0)
        self._rows: tuple[RowStream, ...] = ()
        self._steps = 0
        self._last = -1
        self._changed = threading.Condition()
        """Guards what both threads change: the following three."""
        self._launched: deque[_Launched] = deque()
        self._over = True
        self._error: BaseException | None = None

    # The reader's side

    def __iter__(self) -> Iterator[tuple[AnswerStep, ...]]:
        """Yield all steps that have come since; none where nothing has for a while, so that the
        caller can look at whether to stop.

        Raises CannotRead if the model cannot decode this way, Cancelled if this was closed.
        """
        self._over = False
        submit(self._forward.model, self._run)
        while True:
            with self._changed:
                if not self._launched and not self._over:
                    self._changed.wait(_PATIENCE)
                taken, over = tuple(self._launched), self._over
                self._launched.clear()
            if taken or not over:
                yield tuple(self._collected(each) for each in taken)
                continue
            error, self._error = self._error, None
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its frames hold tensors
            self.ended = self._ends
            return

    def close(self) -> None:
        """End the generation at its next layer, and wait up to two seconds until its hooks are
        gone."""
        self._forward.cancelled.set()
        with self._changed:
            self._changed.wait_for(lambda: self._over, timeout=2.0)

    @property
    def _ends(self) -> bool:
        short = self._steps < self._settings.max_new_tokens
        return short or self._last in end_tokens(self._forward.model)

    def _collected(self, launched: _Launched) -> AnswerStep:
        values, tokens, taken, proof, logits, *flags = launched.fetched.wait()
        token, removed, *best = tokens.tolist()
        own_chance, *chances = taken.tolist()
        self._last = token
        numbers = launched.block._replace(values=values).numbers()
        unchanged = {row for row, flag in zip(launched.doubtful, flags, strict=True) if bool(flag)}
        parts = self._forward.parts
        ((error,), (limit,)) = proof.tolist()
        return AnswerStep(
            token=token,
            probability=float(numbers.followed_probabilities[-1, 1]),
            taken=own_chance,
            removed=removed,
            after=tuple(pair for pair in zip(best, chances, strict=True) if pair[1] > 0),
            logits=logits.clone(),  # an ordinary tensor, made outside inference mode
            numbers=numbers,
            notes=tuple(None if row in unchanged else note for row, note in enumerate(parts.notes)),
            proof=as_proof(error, limit, parts.tail.method),
            text_of=self._text_of,
        )

    # The side of the generation

    def _run(self) -> None:
        forward, settings = self._forward, self._settings
        model: Any = forward.model
        try:
            with self._lock, inferring(model):
                self._drawing = Drawing(settings, [settings.seed], forward.parts.tail.device)
                steps = processors(
                    model, self._inputs, settings, self._seen, self._take, self._unwatched_first()
                )
                with forward.watching():
                    end_if(forward.cancelled)
                    generate(model, self._inputs, steps, settings.max_new_tokens)
            if not self._steps:
                raise CannotRead("`generate` does not decode this model's answers token by token")
        except BaseException as error:  # handed to the reader, whatever it is
            self._error = self._told(error)
        finally:
            self._own, self._rows = torch.empty(0), ()
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _unwatched_first(self) -> list[LogitsProcessor]:
        """The processors before the settings, whose own passes are none of the answer's."""
        first = self._first(self._forward.cancelled.is_set)
        return [_Unwatched(self._forward, each) for each in first]

    def _told(self, error: BaseException) -> BaseException:
        """The error as the reader is to meet it."""
        if isinstance(error, Cancelled):
            return error.with_traceback(None)
        ours = isinstance(error, LenscopeError) or not isinstance(error, Exception)
        if ours or self._steps or is_out_of_memory(error):
            return error
        refused = CannotRead(f"`generate` does not take these inputs: {typed_line(error)}")
        refused.__cause__ = error
        return refused

    def _seen(self, ids: Tensor, scores: Tensor) -> None:
        """The model's own logits of a step, once its pass has ended."""
        if not self._steps:
            self._check_start(ids)
        if len(scores) != 1:
            raise CannotRead("`generate` decodes several answers of this model at once")
        self._own, self._rows = scores.clone(), self._forward.take()

    def _check_start(self, ids: Tensor) -> None:
        """Raise CannotRead where `generate` continues something else than the question."""
        mine = self._inputs.get("decoder_input_ids")
        if mine is None and not getattr(self._forward.model.config, "is_encoder_decoder", False):
            mine = self._inputs.get("input_ids")
        if not isinstance(mine, Tensor) or not ids.shape[-1]:
            return
        if ids.shape != mine.shape or not torch.equal(ids.cpu(), mine.cpu()):
            raise CannotRead(
                "`generate` continues other tokens than the question's, so its steps are not "
                "those of this run"
            )

    def _take(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Choose the token of a step, and read its rows."""
        chosen = self._drawing(ids, scores)
        own, rows, parts = self._own, self._rows, self._forward.parts
        device = own.device
        computed = self._projected(rows).to(device)  # [L + 1, vocabulary]
        proof = errors_and_limits(parts.dtype, computed[-1:], own)
        computed[-1:] = own
        followed = torch.cat([own.argmax(-1), chosen])
        block = read(
            computed,
            self._shown,
            torch.cat([row.stream.to(device) for row in rows]),
            tokens=followed,
            reference=own.log_softmax(-1),
        )
        removed = (scores.isneginf() & own.isfinite()).sum(-1)
        taken, best = own.new_ones(2), chosen
        if self._settings.samples:
            shares = self._drawing.probabilities[0]
            top = shares.topk(min(self._shown, len(shares)))
            taken, best = torch.cat([shares[chosen], top.values]), top.indices
        flags = {
            row: unchanged
            for row, each in enumerate(rows)
            if (unchanged := parts.unchanged(row, each)) is not None
        }
        tokens = torch.cat([chosen, removed, best])
        values = [block.values, tokens, taken, proof, own[0], *flags.values()]
        launched = _Launched(block, Fetched(values), tuple(flags))
        self._steps += 1
        with self._changed:
            self._launched.append(launched)
            self._changed.notify_all()
        return chosen

    def _projected(self, rows: Sequence[RowStream]) -> Tensor:
        """The logits of rows 0..L; row L always has the final norm, as the model's own, against
        which it is proved."""
        if self._norm:
            return self._forward.project(rows)
        *before, last = rows
        without = self._forward.project(before, norm=False)
        return torch.cat([without, self._forward.project([last])])


class _Unwatched(LogitsProcessor):  # type: ignore[misc]
    """Calls a processor unseen by the hooks of the generation."""

    def __init__(self, forward: Stepping, processor: LogitsProcessor) -> None:
        self._forward, self._processor = forward, processor

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See `LogitsProcessor`."""
        with self._forward.reading():
            found: Tensor = self._processor(input_ids, scores)
        return found


def worse(one: Proof | None, other: Proof) -> Proof:
    """The proof with the larger error in units of its tolerance; a missing error is the largest."""
    if one is None:
        return other
    return max(one, other, key=_excess)


def _excess(proof: Proof) -> float:
    error = proof.max_abs_difference
    return math.inf if error is None else error / proof.tolerance
