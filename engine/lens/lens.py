"""The logit lens: the residual stream before the first and behind every decoder layer, taken
through the model's own tail (nostalgebraist 2020, "interpreting GPT: the logit lens")."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import RowStream
from engine.errors import CannotRead
from engine.lens.batch_proofs import REPLAYS_ALONE, BatchProofs
from engine.lens.batched import BatchedPass, BatchNumbers
from engine.lens.learning import learn
from engine.lens.row_reader import Wanted
from engine.lens.streaming import StreamedPass
from engine.passes.collating import collate, pad_id_of
from engine.passes.forward import LOGITS_TO_KEEP, Forward
from engine.passes.positions import Positions, attention_of
from engine.prompts.token_texts import texts_for
from engine.records import LayerReading, Proof
from engine.system.memory import is_out_of_memory
from engine.system.transfers import sent

_locks: WeakKeyDictionary[nn.Module, threading.Lock] = WeakKeyDictionary()
_locks_guard = threading.Lock()


def model_lock(model: nn.Module) -> threading.Lock:
    """The lock that keeps passes of one model apart, whoever runs them."""
    with _locks_guard:
        return _locks.setdefault(model, threading.Lock())


class Lens:
    """Reads a transformers model with a vocabulary head; rows 0..L for L layers.

    The model is proved on the first inputs that the lens sees (or with `learn`), before any row
    is given out. It is run in eval mode without gradients; its training flags are put back.
    One pass at a time per model: a second caller waits.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._learned: dict[frozenset[str], ModelParts] = {}
        self.batches = BatchProofs(self)
        """Which inputs can go together in one pass."""
        self._lock = model_lock(model)
        # A KV cache would only be thrown away. Models pass unknown keywords on to their decoder.
        parameters = inspect.signature(model.forward).parameters.values()
        self._takes_use_cache = any(
            parameter.name == "use_cache" or parameter.kind is parameter.VAR_KEYWORD
            for parameter in parameters
        )
        self._takes_logits_to_keep = any(
            parameter.name == LOGITS_TO_KEEP for parameter in parameters
        )
        self._logits_to_keep_proved: dict[frozenset[str], bool] = {}

    @property
    def parts(self) -> ModelParts:
        """What the first inputs have shown of the model; those of another kind may show other parts
        (`learn` returns them). Raises CannotRead before the first pass."""
        if not self._learned:
            raise CannotRead("the lens has not seen a pass of this model yet")
        return next(iter(self._learned.values()))

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The decoder layers, in order."""
        return self.parts.layers

    def learn(self, inputs: Mapping[str, Any]) -> ModelParts:
        """The model's parts as inputs of this kind show them: found on one pass over `inputs` and
        proved at all positions, unless inputs of their kind have been seen before.

        Raises CannotRead, saying which check failed.
        """
        with self._lock:
            known = _kind_of(inputs) in self._learned
            return self._parts_for(inputs if known else self.on_device(inputs))

    def logits(
        self,
        inputs: Mapping[str, Any],
        positions: Positions = (-1,),
        norm: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> Tensor:
        """Logits of every row: float32 on the CPU, [layers + 1, batch, positions, vocabulary].

        `positions` count along the sequence of the model's logits: a list for all items, or an int
        tensor [batch, n]; negative ones count back from each item's last attended token. The last
        row is the model's own. With `norm=False` rows 0..L-1 skip the final norm.

        Raises IndexError for a position out of range, CannotRead where the model cannot be read
        or the proof of this pass fails, Cancelled within one layer of `stop()`.
        """
        inputs = self.on_device(inputs)
        with self._lock:
            parts = self._parts_for(inputs, norm)
            layers = len(parts.layers)
            forward = Forward(self.model, parts, inputs, positions)
            filled: list[Tensor] = []
            last: list[RowStream] = []

            def keep(row: int, read: RowStream) -> None:
                if stop():
                    forward.cancelled.set()
                if row == layers:
                    last.append(read)
                    return
                logits = forward.project([read], norm)
                if not filled:
                    filled.append(torch.empty(layers + 1, *logits.shape))
                filled[0][row] = logits

            own = forward.run(keep)
            proof = parts.prove(forward.project(last), own)
        if not proof.passed:
            raise CannotRead(describe_failure(proof))
        filled[0][-1] = own
        assert forward.absolute_positions is not None
        batch, count = forward.absolute_positions.shape
        return filled[0].view(layers + 1, batch, count, -1)

    def stream(
        self, inputs: Mapping[str, Any], position: int = -1, top_k: int = 3, norm: bool = True
    ) -> Iterator[LayerReading]:
        """Readings of rows 0..L at one position, while later layers are still to run.

        Closing the iterator cancels the pass within one layer. Raises ValueError for a batch of
        more than one, otherwise as `logits`.
        """
        streamed = self.start(inputs, position, max(1, top_k), norm)
        try:
            for (rows,) in streamed:
                yield from rows
        finally:
            streamed.close()
        (result,) = streamed.results
        if not result.proof.passed:
            raise CannotRead(describe_failure(result.proof))

    def start(
        self,
        inputs: Mapping[str, Any],
        position: int = -1,
        top_k: int = 10,
        norm: bool = True,
        wanted: Sequence[Wanted] = (Wanted(),),
    ) -> StreamedPass:
        """A pass that gives out groups of readings as they come, then its `results`.

        `wanted` has an entry for every item of the batch. Raises ValueError where there are not as
        many, CannotRead for a batch of a model whose rows are read by running it again.
        """
        inputs = self.on_device(inputs)
        ids = inputs.get("decoder_input_ids", inputs.get("input_ids"))
        if isinstance(ids, Tensor) and ids.shape[0] != len(wanted):
            wished = "a batch of one" if len(wanted) == 1 else f"a batch of {len(wanted)}"
            raise ValueError(f"{wished} is to be read, not one of {ids.shape[0]}")
        with self._lock:
            parts = self._parts_for(inputs, norm)
        if len(wanted) > 1 and not parts.tail.takes_batches:
            raise CannotRead(REPLAYS_ALONE)
        return StreamedPass(
            forward=Forward(self.model, parts, inputs, [position]),
            lock=self._lock,
            top_k=top_k,
            norm=norm,
            wanted=wanted,
            text_of=texts_for(self.model),
        )

    def read_batch(
        self,
        inputs: Mapping[str, Any],
        truths: Sequence[Sequence[int]],
        count: int,
        unnormed: bool,
        around: AbstractContextManager[object] | None = None,
    ) -> BatchNumbers:
        """All rows of every item of a batch, at its last attended token.

        The pass runs inside `around`; what is returned may still be computed. For `truths`,
        `count` and `unnormed` see `BatchedPass.numbers`.
        """
        attention = attention_of(inputs)
        inputs = self.on_device(inputs)
        with self._lock:
            parts = self._parts_for(inputs, not unnormed)
            alone = self._logits_to_keep_proved.get(_kind_of(inputs), False)
            forward = Forward(self.model, parts, inputs, [-1], attention, alone)
            passed = BatchedPass(forward).run(around)
            return passed.numbers(truths, count, unnormed)

    def supports_logits_to_keep(self, inputs: Mapping[str, Any]) -> bool:
        """Whether batches of inputs of this kind need no logits but those that are read.

        Found out once: asked for them alone, the model must give those that it gives among all.
        What cannot be read so is read among all of them, which takes more time and memory. Raises
        CannotRead.
        """
        kind, attention = _kind_of(inputs), attention_of(inputs)
        parts = self.learn(inputs)
        if kind not in self._logits_to_keep_proved:
            self._logits_to_keep_proved[kind] = (
                self._takes_logits_to_keep
                and not parts.tail.replays
                and attention is not None
                and self._kept_logits_agree(parts, self.on_device(inputs), attention)
            )
        return self._logits_to_keep_proved[kind]

    def _kept_logits_agree(
        self, parts: ModelParts, inputs: Mapping[str, Any], attention: Tensor
    ) -> bool:
        def own(use_logits_to_keep: bool) -> tuple[Tensor, int]:
            forward = Forward(self.model, parts, inputs, [-1], attention, use_logits_to_keep)
            return forward.run(lambda row, read: None), forward.length

        with self._lock:
            among_all, length = own(use_logits_to_keep=False)
            if length != attention.shape[1]:
                return False  # the model puts something in between
            try:
                alone, _ = own(use_logits_to_keep=True)
            except Exception as error:  # models raise anything
                if is_out_of_memory(error):
                    raise
                return False
        return difference(alone, among_all) <= tolerance(parts.dtype, among_all)

    def collated(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The inputs of one pass over these items; see `engine.passes.collating`."""
        return collate(items, pad_id_of(self.model))

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the model's first parameter that is not offloaded."""
        for parameter in self.model.parameters():
            if parameter.device.type != "meta":
                device: torch.device = parameter.device
                return device
        return torch.device("cpu")

    @property
    def method(self) -> str:
        """How rows are read for the first inputs, "tail" or "replay"; a proof names its run's."""
        return self.parts.tail.method

    def _parts_for(self, inputs: Mapping[str, Any], norm: bool = True) -> ModelParts:
        # With a picture a model may run layers, and add to the stream, as it does not without.
        kind = _kind_of(inputs)
        if kind not in self._learned:
            self._learned[kind] = learn(self.model, inputs)
        parts = self._learned[kind]
        if not norm:
            parts.tail.refuse_norm_off()
        return parts

    def on_device(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The same inputs where the model takes them, without a KV cache."""
        device = self.device
        moved = {
            key: sent(value, device) if isinstance(value, Tensor) else value
            for key, value in inputs.items()
        }
        if self._takes_use_cache:
            moved.setdefault("use_cache", False)
        return moved


def _kind_of(inputs: Mapping[str, Any]) -> frozenset[str]:
    given = (name for name, value in inputs.items() if value is not None)
    return frozenset(given) - {"use_cache"}  # the lens's own


def describe_failure(proof: Proof) -> str:
    """One line: why the rows of a pass are not to be trusted."""
    size = "not finite" if proof.max_abs_difference is None else f"{proof.max_abs_difference:.3g}"
    return (
        f"the proof failed: the lens's last row differs from the model's logits by {size} "
        f"(tolerance {proof.tolerance:.3g})"
    )
