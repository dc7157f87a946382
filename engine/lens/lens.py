"""The logit lens: takes the residual stream before and after every decoder layer through the
model's own tail (nostalgebraist 2020, "interpreting GPT: the logit lens")."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import RowStream, Tail
from engine.errors import BadInput, CannotRead, Remedy
from engine.lens.answer import AnswerStep, DecodedAnswer, worse
from engine.lens.attention import AttentionFound, AttentionReader, HeadWeights
from engine.lens.batch_proofs import REPLAYS_ALONE, BatchProofs
from engine.lens.batched import BatchedPass, BatchNumbers
from engine.lens.decoding import ProcessorsFor, for_generate
from engine.lens.decoding_settings import DecodingSettings, decoding_settings
from engine.lens.failures import describe_failure
from engine.lens.grid import Grid, GridFill, as_grid
from engine.lens.group_readout import GroupGraphs
from engine.lens.input_kinds import kind_of
from engine.lens.learning import learn
from engine.lens.logits_to_keep import kept_logits_agree
from engine.lens.pace import Pace, measured
from engine.lens.reuse import Asked, Reuse
from engine.lens.row_reader import Wanted
from engine.lens.streaming import Beside, Instead, StreamedPass
from engine.lens.streams import Streams, streams_of
from engine.passes.attention_taps import AttentionTaps, Keep, Tap
from engine.passes.collating import collate, pad_id_of
from engine.passes.forward import LOGITS_TO_KEEP, Forward
from engine.passes.inference import give_ordinary_tensors
from engine.passes.positions import Positions, attention_of
from engine.passes.prefix_cache import GoingOn, Kept, Leaving
from engine.passes.stepping import Stepping
from engine.passes.whole_streams import WholeStreams
from engine.prompts.token_groups import KeyGroups
from engine.prompts.token_texts import texts_for
from engine.records import LayerReading, Proof
from engine.system.side_streams import SideStream, side_stream_of
from engine.system.steps import finished
from engine.system.transfers import sent

if TYPE_CHECKING:
    from engine.lens.logit_parts import LogitParts

MOST_GRAPHS = 4
"""For how many ways of reading (tails, norm on or off, numbers of top tokens) graphs are kept."""

_locks: WeakKeyDictionary[nn.Module, threading.Lock] = WeakKeyDictionary()
_locks_guard = threading.Lock()


def model_lock(model: nn.Module) -> threading.Lock:
    """The lock of this model: whoever runs a pass holds it, so that passes never overlap."""
    with _locks_guard:
        return _locks.setdefault(model, threading.Lock())


class Lens:
    """Reads a transformers model with a vocabulary head: rows 0..L for L layers.

    The lens is proved on the first inputs that it sees (or by `learn`) before it returns any row.
    The model runs in eval mode without gradients; its training flags are restored. One pass of a
    model runs at a time: a second caller waits.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._learned: dict[frozenset[str], ModelParts] = {}
        self.batches = BatchProofs(self)
        """Which inputs can be batched into one pass."""
        self._lock = model_lock(model)
        self.reuse = Reuse(model, self._lock)
        """What passes that were started with `reuse_from` have left."""
        # Without use_cache=False a model would fill a KV cache that nobody reads. A model with
        # **kwargs passes it on to its decoder.
        parameters = inspect.signature(model.forward).parameters.values()
        self._takes_use_cache = any(
            parameter.name == "use_cache" or parameter.kind is parameter.VAR_KEYWORD
            for parameter in parameters
        )
        self._takes_logits_to_keep = any(
            parameter.name == LOGITS_TO_KEEP for parameter in parameters
        )
        self._logits_to_keep_agree: dict[frozenset[str], bool] = {}
        self._paces: dict[frozenset[str], Pace] = {}
        self._attention = AttentionReader(model, self._lock)
        self._side: SideStream | None = None
        self._graphs: OrderedDict[tuple[int, bool, int], GroupGraphs] = OrderedDict()
        """The captured readouts of a tail, by its `id`, the final norm and the number of top
        tokens; they keep the tail alive."""

    @property
    def model_parts(self) -> ModelParts:
        """The model's parts, as found for the first inputs. Inputs of another kind may have other
        parts: `learn` returns them. Raises CannotRead before the first pass."""
        if not self._learned:
            raise CannotRead("the lens has not seen a pass of this model yet")
        return next(iter(self._learned.values()))

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The decoder layers, in order."""
        return self.model_parts.layers

    def learn(self, inputs: Mapping[str, Any]) -> ModelParts:
        """The model's parts for inputs of this kind (the same names).

        If the kind is new, they are found on one pass over `inputs` and proved at all attended
        positions. Raises CannotRead, which says which check failed.
        """
        with self._lock:
            known = kind_of(inputs) in self._learned
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
        row is the model's own logits. With `norm=False`, rows 0..L-1 skip the final norm.

        Raises IndexError for a position out of range, ValueError for positions of another shape,
        CannotRead if the model cannot be read or the proof of this pass fails, and Cancelled within
        one layer after `stop()` is true.
        """
        inputs = self.on_device(inputs)
        with self._lock:
            parts = self._parts_for(inputs, norm)
            layers = len(parts.layers)
            forward = Forward(self.model, parts, inputs, positions, stop=stop)
            filled: list[Tensor] = []
            last: list[RowStream] = []

            def keep(row: int, read: RowStream) -> None:
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
        """Yield the readings of rows 0..L at one position, in order, while later layers still run.

        Closing the iterator cancels the pass within one layer. Raises ValueError for a batch of
        more than one item, and otherwise the same errors as `logits`.
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
        everywhere: bool = False,
        reuse_from: int | None = None,
    ) -> StreamedPass:
        """Prepare a pass; iterate over it to run it and to get groups of readings as they come.

        With `everywhere`, the streams of all positions are kept of a batch of one, and the model's
        own logits there; without, the model computes only the logits that are read, if it can.
        `wanted` has one entry for every item of the batch.

        With `reuse_from`, which goes with `everywhere` and the last position, the pass of a batch
        of one uses what earlier ones have left where it is proved that this changes no row, and
        leaves the same to later ones: see `engine.lens.reuse`. At least so many tokens at the start
        must then be those of an earlier pass: those up to the end of the picture, 0 without one.

        Raises ValueError if the numbers of items differ, CannotRead if a model that is read by
        replay gets a batch.
        """
        given = inputs
        kind, attention = kind_of(inputs), attention_of(inputs)
        inputs = self.on_device(inputs)
        ids = inputs.get("decoder_input_ids", inputs.get("input_ids"))
        if isinstance(ids, Tensor) and ids.shape[0] != len(wanted):
            expected = "a batch of one" if len(wanted) == 1 else f"a batch of {len(wanted)}"
            raise ValueError(f"{expected} is needed, not one of {ids.shape[0]}")
        with self._lock:
            parts = self._parts_for(inputs, norm)
        if len(wanted) > 1 and not parts.tail.takes_batches:
            raise CannotRead(REPLAYS_ALONE)
        reads = partial(
            StreamedPass,
            lock=self._lock,
            top_k=top_k,
            norm=norm,
            wanted=wanted,
            text_of=texts_for(self.model),
            beside=self._beside(kind, parts.tail, norm, top_k),
        )
        if reuse_from is not None and everywhere and len(wanted) == 1 and position == -1:
            make = partial(self._forward, parts, inputs, attention)
            reusing = self.reuse.plan(Asked.of(given, kind, reuse_from), parts, make)
            return reads(reusing.forward, reusing=reusing)
        whole = WholeStreams(parts.overwrites) if everywhere and len(wanted) == 1 else None
        alone = whole is None and self._may_keep_logits(kind, parts) and attention is not None

        def plainly() -> Forward:
            return Forward(self.model, parts, inputs, [position], attention)

        def worked() -> None:
            self._logits_to_keep_agree[kind] = False

        forward = Forward(
            self.model, parts, inputs, [position], attention, alone, whole, inference=True
        )
        return reads(forward, instead=Instead(plainly, worked) if alone else None)

    def answer(
        self,
        inputs: Mapping[str, Any],
        max_new_tokens: int = 20,
        *,
        norm: bool = True,
        **settings: Any,
    ) -> Iterator[AnswerStep]:
        """Yield the steps of an answer of a batch of one, each with rows 0..L, while later steps
        are still decoded.

        `settings` are those of `DecodingSettings`, by `generate`'s own names; the answer is the one
        that `generate` gives with them, and with nothing of the checkpoint's own generation config.
        With `norm` off, rows 0..L-1 are read without the final norm; row L is the model's own.
        Closing the iterator cancels the generation within one layer.

        Raises TypeError for another setting, ValueError for a value out of range and for a batch of
        more than one item, CannotRead if the model cannot be read, cannot decode token by token,
        has no final norm to leave out, or its proof fails.
        """
        made = decoding_settings({"max_new_tokens": max_new_tokens, **settings})
        decoded = self.start_answer(inputs, made, norm=norm)
        worst: Proof | None = None
        try:
            for steps in decoded:
                for step in steps:
                    worst = worse(worst, step.proof)
                    yield step
        finally:
            decoded.close()
        if worst is not None and not worst.passed:
            raise CannotRead(describe_failure(worst))

    def start_answer(
        self,
        inputs: Mapping[str, Any],
        settings: DecodingSettings,
        shown: int = 3,
        first: ProcessorsFor = lambda stop: (),
        norm: bool = True,
    ) -> DecodedAnswer:
        """Prepare an answer; iterate over it to decode it. See `DecodedAnswer`; raises as `answer`
        does."""
        taken = for_generate(self.model, inputs, self.device)
        moved = self.on_device(inputs)
        _refuse_batches(moved)
        with self._lock:
            parts = self._parts_for(moved, norm)
        return DecodedAnswer(
            Stepping(self.model, parts, moved),
            self._lock,
            taken,
            settings,
            shown,
            texts_for(self.model),
            first,
            norm,
        )

    def may_go_on(self, inputs: Mapping[str, Any]) -> bool:
        """Whether passes over inputs of this kind that are started with `reuse_from` go on from
        each other, as far as that is known."""
        return self.reuse.refusal(kind_of(inputs), "prefix") is None

    def _forward(
        self,
        parts: ModelParts,
        inputs: Mapping[str, Any],
        attention: Tensor | None,
        *,
        cut: Mapping[str, Any] | None = None,
        whole: WholeStreams | None = None,
        leaving: Leaving | None = None,
        going_on: GoingOn | None = None,
    ) -> Forward:
        """A pass over inputs that are on the device, or over others."""
        mask = attention if cut is None else None
        return Forward(
            self.model,
            parts,
            inputs if cut is None else cut,
            [-1],
            mask,
            whole=whole,
            inference=True,
            leaving=leaving,
            going_on=going_on,
        )

    def _may_keep_logits(self, kind: frozenset[str], parts: ModelParts) -> bool:
        """Whether to let the model compute only the logits that are read. What it returns is proved
        in every pass, and a pass that fails so is run again without."""
        if not self._takes_logits_to_keep or parts.tail.replays:
            return False
        return self._logits_to_keep_agree.get(kind, True)

    def _beside(self, kind: frozenset[str], tail: Tail, norm: bool, top_k: int) -> Beside:
        if self._side is None:
            self._side = side_stream_of(tail.device)
        key = (id(tail), norm, top_k)
        if key not in self._graphs:
            self._graphs[key] = GroupGraphs(self.model, tail, self._side, norm, top_k)
        self._graphs.move_to_end(key)
        while len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)
        return Beside(self._side, self._graphs[key], self._paces[kind])

    def grid(
        self,
        inputs: Mapping[str, Any],
        positions: Sequence[int] | None = None,
        rows: Sequence[int] | None = None,
        top: int = 1,
    ) -> Grid:
        """Every row at every position, or at some of each, of a batch of one.

        `positions` count as in `logits`; they and `rows` are put in order. Row L is always among
        the rows: it is the model's own, and the lens is proved against it at every position. Never
        more than a part of [cells, vocabulary] is in memory.

        Raises IndexError for a position or row out of range, ValueError for no positions, a `top`
        below 1, or a batch of more than one item, BadInput if the streams of all positions would
        take too much memory, CannotRead if the model cannot be read or the proof fails.
        """
        if top < 1 or (positions is not None and not len(positions)):
            raise ValueError("a grid needs a position, and a top token")
        streams = self.streams(inputs, positions)
        last = streams.layers
        wanted = range(last + 1) if rows is None else sorted({*rows, last})
        if not 0 <= wanted[0] <= wanted[-1] <= last:
            raise IndexError(f"rows go from 0 to {last}")
        fill = GridFill(streams, top)
        fill.whole(wanted)
        return as_grid(fill, wanted)

    def streams(
        self,
        inputs: Mapping[str, Any],
        positions: Sequence[int] | None = None,
        norm: bool = True,
        top_k: int = 10,
        track: tuple[int, ...] = (),
        stop: Callable[[], bool] = lambda: False,
    ) -> Streams:
        """Run a pass and keep its streams at these positions, or at all; `top_k` and `track` are
        for what is read at one of them. Raises as `grid` does, and Cancelled within one layer after
        `stop()` is true."""
        attention = attention_of(inputs)
        moved = self.on_device(inputs)
        _refuse_batches(moved)
        with self._lock:
            parts = self._parts_for(moved, norm)
            whole = WholeStreams(parts.overwrites, takes_all=positions is None)
            alone = positions is not None and self._logits_to_keep_agree.get(kind_of(inputs), False)
            places = [-1] if positions is None else positions
            forward = Forward(
                self.model,
                parts,
                moved,
                places,
                attention,
                alone,
                whole,
                inference=True,
                stop=stop,
            )

            def check(row: int, read: RowStream) -> None:
                if whole.refusal is not None:
                    raise _refused(whole)

            try:
                forward.run(check)
            finally:
                give_ordinary_tensors(self.model)
        if whole.refusal is not None:
            raise _refused(whole)
        layers = len(parts.layers)
        size = self._paces[kind_of(inputs)].rows(layers, len(whole.positions))
        groups = tuple(tuple(range(i, min(i + size, layers))) for i in range(0, layers, size))
        kept = Kept.of(whole)
        assert not isinstance(kept, str)
        return streams_of(
            forward,
            kept,
            whole.positions,
            lock=self._lock,
            groups=groups,
            norm=norm,
            top_k=top_k,
            text_of=texts_for(self.model),
            track=track,
        )

    def attention(self, inputs: Mapping[str, Any], position: int = -1) -> tuple[HeadWeights, ...]:
        """The attention weights of one position of a batch of one, layer by layer, whatever kernel
        the model uses; each layer with its proof, or with the reason why it has none.

        Raises IndexError for a position out of range, ValueError for a batch of more than one item,
        CannotRead if the model cannot be read.
        """
        return finished(self.read_attention(inputs, position)).layers

    def read_attention(
        self,
        inputs: Mapping[str, Any],
        position: int = -1,
        projected: Collection[int] = (),
        stop: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[HeadWeights, ...], None, AttentionFound]:
        """As `attention`, step by step; see `AttentionReader.read`."""
        forward, worked_with_all = self._attention_pass(inputs, [position])
        return self._attention.read(kind_of(inputs), forward, projected, stop, worked_with_all)

    def read_attention_along(
        self,
        inputs: Mapping[str, Any],
        positions: Sequence[int],
        keep: Keep,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[Tap, ...]:
        """The attention of several positions of a batch of one, in one pass; see
        `AttentionReader.read_several`. Raises as `attention` does."""
        forward, worked_with_all = self._attention_pass(inputs, positions)
        return self._attention.read_several(kind_of(inputs), forward, keep, stop, worked_with_all)

    def _attention_pass(
        self, inputs: Mapping[str, Any], positions: Sequence[int]
    ) -> tuple[Callable[[bool], Forward], Callable[[], None]]:
        """What makes a pass, and what to call where it worked only with all logits."""
        moved = self.on_device(inputs)
        _refuse_batches(moved)
        kind, attention = kind_of(inputs), attention_of(inputs)
        with self._lock:
            parts = self._parts_for(moved)

        def forward(alone: bool) -> Forward:
            alone = alone and self._may_keep_logits(kind, parts)
            return Forward(self.model, parts, moved, positions, attention, alone, inference=True)

        def worked_with_all() -> None:
            self._logits_to_keep_agree[kind] = False

        return forward, worked_with_all

    def parts(
        self, inputs: Mapping[str, Any], position: int = -1, heads: bool = False
    ) -> LogitParts:
        """The logits of one position of a batch of one as sums over what wrote its residual stream:
        the embedding, every attention, every MLP, what is added between layers, and the bias; with
        `heads`, every head. What is no sum is one part, with its reason.

        Raises IndexError for a position out of range, ValueError for a batch of more than one item,
        CannotRead if the model cannot be read.
        """
        # That module runs passes of a lens, and so imports this one.
        from engine.lens.reading_parts import read_parts

        return read_parts(self, inputs, position, heads)

    def attention_taps(
        self, inputs: Mapping[str, Any], forward: Forward, projected: Collection[int], valued: int
    ) -> AttentionTaps:
        """What to attach to a pass over `inputs` to read the output projections of some layers, and
        the values of one; see `AttentionReader.taps`. Pass it to `learned_attention` afterwards."""
        return self._attention.taps(kind_of(inputs), forward, projected, {valued})

    def learned_attention(self, inputs: Mapping[str, Any], taps: AttentionTaps) -> bool:
        """See `AttentionReader.learned`."""
        return self._attention.learned(kind_of(inputs), taps)

    def read_batch(
        self,
        inputs: Mapping[str, Any],
        truths: Sequence[Sequence[int]],
        count: int,
        unnormed: bool,
        around: AbstractContextManager[object] | None = None,
        groups: Sequence[KeyGroups] | None = None,
        going_on: GoingOn | None = None,
    ) -> BatchNumbers:
        """Read all rows of every item of a batch, at its last attended token.

        The pass runs within the context `around`. The device may still be computing the numbers
        when this returns. For `truths`, `count` and `unnormed` see `BatchedPass.numbers`. With
        `groups`, of each item's keys, attention is read in the same pass, in the ways that
        `read_attention` has found for inputs of this kind. With `going_on`, only what follows the
        items' beginnings is run: see `engine.lens.batch_reuse`.
        """
        with self._lock:
            forward = self.batch_forward(inputs, going_on=going_on, norm=not unnormed)
            kind = kind_of(inputs)
            taps = None if groups is None else self._attention.taps(kind, forward)
            passed = BatchedPass(forward, taps).run(around)
            return passed.numbers(truths, count, unnormed, groups or ())

    def batch_forward(
        self,
        inputs: Mapping[str, Any],
        leaves: bool = False,
        going_on: GoingOn | None = None,
        norm: bool = True,
    ) -> Forward:
        """A pass over a batch, to be read at the last attended token of every item, which `leaves`
        its keys and values in `cache`, or is `going_on` from some. Whoever asks for it and runs it
        holds `reuse.lock`. Raises as `learn` does."""
        kind, attention = kind_of(inputs), attention_of(inputs)
        inputs = self.on_device(inputs)
        return Forward(
            self.model,
            self._parts_for(inputs, norm),
            inputs,
            [-1],
            attention,
            use_logits_to_keep=self._logits_to_keep_agree.get(kind, False),
            leaving=Leaving(self.reuse.state, past=False) if leaves or going_on else None,
            going_on=going_on,
        )

    def supports_logits_to_keep(
        self, inputs: Mapping[str, Any], stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Whether batches of this kind can be read from the logits of one position only.

        It is proved once for each kind: the model must return the same logits for a position
        whether it computes them alone or together with all others. `read_batch` then uses
        `logits_to_keep`, which saves time and memory. Raises CannotRead as `learn` does, Cancelled
        within one layer after `stop()` is true.
        """
        kind, attention = kind_of(inputs), attention_of(inputs)
        parts = self.learn(inputs)
        if kind not in self._logits_to_keep_agree:
            agree = False
            if self._takes_logits_to_keep and not parts.tail.replays and attention is not None:
                moved = self.on_device(inputs)
                with self._lock:
                    agree = kept_logits_agree(self.model, parts, moved, attention, stop)
            self._logits_to_keep_agree[kind] = agree
        return self._logits_to_keep_agree[kind]

    def collated(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The inputs of one pass over these items; see `engine.passes.collating.collate`."""
        return collate(items, pad_id_of(self.model))

    @property
    def device(self) -> torch.device:
        """The device that inputs go to: that of the first parameter that is not offloaded."""
        for parameter in self.model.parameters():
            if parameter.device.type != "meta":
                device: torch.device = parameter.device
                return device
        return torch.device("cpu")

    @property
    def method(self) -> str:
        """How rows are read for the first inputs, "tail" or "replay". The proof of a run says how
        its own rows were read."""
        return self.model_parts.tail.method

    def _parts_for(self, inputs: Mapping[str, Any], norm: bool = True) -> ModelParts:
        # A model may run other layers, or add more to the stream, with a picture than without.
        kind = kind_of(inputs)
        if kind not in self._learned:
            # What these passes leave on the modules belongs to their prompt alone.
            with self.reuse.state.observed():
                parts = learn(self.model, inputs)
            tail, pace = measured(parts.tail, len(parts.layers))
            self._learned[kind], self._paces[kind] = replace(parts, tail=tail), pace
        parts = self._learned[kind]
        if not norm:
            parts.tail.refuse_norm_off()
        return parts

    def on_device(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs on the model's device, with `use_cache=False` if the model takes it."""
        device = self.device
        moved = {
            key: sent(value, device) if isinstance(value, Tensor) else value
            for key, value in inputs.items()
        }
        if self._takes_use_cache:
            moved.setdefault("use_cache", False)
        return moved


def _refuse_batches(inputs: Mapping[str, Any]) -> None:
    ids = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    if isinstance(ids, Tensor) and ids.shape[0] != 1:
        raise ValueError(f"a batch of one is needed, not one of {ids.shape[0]}")


def _refused(whole: WholeStreams) -> BadInput:
    remedies = (Remedy.SOME_POSITIONS,) if whole.is_too_much else ()
    return BadInput(str(whole.refusal), *remedies)
