"""The attention of one position on all others, or of several, in every layer, read from the model's
own kernels.

What is found of a pass is proved layer by layer: the weights times the values must be the attention
function's own output at the position.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from engine.anatomy.attention_rows import ROUTES, AttentionRow
from engine.anatomy.logit_map import errors_and_limits
from engine.anatomy.sinks import places
from engine.errors import Cancelled
from engine.lens.head_outputs import HeadOutputs, head_outputs
from engine.passes.attention_taps import AttentionTaps, Keep, Keys, Tap, whole_row
from engine.passes.forward import Forward
from engine.passes.inference import give_ordinary_tensors, inferring
from engine.passes.thread import waiting
from engine.records import ReadingProof, finite
from engine.system.memory import is_out_of_memory
from engine.system.steps import finished

Stop = Callable[[], bool]
Kind = frozenset[str]
"""Which inputs a model gets, by their names."""

PROVED: Final = "the weights times the values against the attention's own output"
NONE_HERE: Final = "no attention was seen here: this layer mixes positions in another way"
NOT_PROVED: Final = (
    "its attention weights are not the kernel's: times the values they are {error:.2g} away from "
    "its output, {limit:.2g} is allowed"
)
SUMMED: Final = "the contributions of all heads and tokens against the projection's own output"


@dataclass(frozen=True)
class HeadWeights:
    """The attention of one layer at one position; a layer with cross-attention has two of these."""

    layer: int
    """Layer l takes row l to row l + 1."""
    keys: Keys
    """What is looked at: "tokens" of the sequence, or "states" of an encoder or vision tower."""
    weights: Tensor | None
    """float32 [heads, keys], on the CPU; None if there are none, see `reason`."""
    sink: Tensor | None
    """float32 [heads]: the weight on learned sinks, which lies on no key."""
    reach: int
    """The first key that the mask lets the position see: later than 0 in a sliding window."""
    reason: str | None
    """Why there are no weights."""
    proof: ReadingProof | None
    contribution: Contribution | None = None
    """None unless it was asked for, and the output projection was seen."""


@dataclass(frozen=True)
class Contribution:
    """What arrives from each key: a_hj W_h v_j, the columns W_h of the output projection."""

    heads: Tensor
    """float32 [heads, keys]: its norm for each head."""
    together: Tensor
    """float32 [keys]: the norm of its sum over the heads."""
    proof: ReadingProof
    """The sum over heads and keys against the projection's own output."""
    gated: bool = False
    """Whether something multiplies the heads' outputs before they are projected (a gate); it is
    taken as it is at this position."""
    passes_through: str = ""
    """The class of a module that changes the heads' outputs in another way, for which the proof
    fails: a norm of all heads together."""


@dataclass(frozen=True)
class AttentionFound:
    """The attention of one item of a pass."""

    position: int
    layers: tuple[HeadWeights, ...]
    """In the order of the layers; every layer has at least one."""
    sinks: tuple[int, ...]
    """The positions with massive activations, see `engine.anatomy.sinks`."""


@dataclass(frozen=True)
class Routes:
    """How the weights of a model are reached, as far as it is known."""

    numbers: Mapping[tuple[int, Keys], int] = field(default_factory=dict)
    """Index into ROUTES of the way that serves in a layer, where it is not the first."""
    watches_softmax: bool = False
    has_watched: bool = False
    """Whether softmax has been watched once."""

    def after(self, taps: AttentionTaps) -> tuple[Routes, bool]:
        """What is known after a pass, and whether another pass may find more."""
        numbers = dict(self.numbers)
        for tap in taps.taps:
            if tap.row is not None and tap.module is not None and tap.route + 1 < len(ROUTES):
                errors, limits = tap.row.checks.cpu()
                if not bool((errors <= limits).all()):
                    numbers[tap.layer, tap.keys] = tap.route + 1
        silent = {*range(len(taps.parts.layers))} - {tap.layer for tap in taps.taps}
        found_softmax = any(tap.module is None for tap in taps.taps)
        again = numbers != self.numbers
        if silent and not self.has_watched:
            return Routes(numbers, True, True), True
        return Routes(numbers, self.watches_softmax and found_softmax, self.has_watched), again


class AttentionReader:
    """Reads the attention of one model, and remembers how it is reached."""

    def __init__(self, model: nn.Module, lock: threading.Lock) -> None:
        """`lock` lets only one pass of the model run at a time."""
        self._model = model
        self._lock = lock
        self._routes: dict[Kind, Routes] = {}

    def taps(
        self,
        kind: Kind,
        forward: Forward,
        projected: Collection[int] = (),
        valued: Collection[int] | None = None,
        keep: Keep = whole_row,
    ) -> AttentionTaps:
        """What to attach to a pass over inputs of this kind; see `found_in` for what it finds."""
        known = self._routes.get(kind, Routes())
        return AttentionTaps(forward, known.numbers, known.watches_softmax, projected, keep, valued)

    def learned(self, kind: Kind, taps: AttentionTaps) -> bool:
        """Remember what a pass over inputs of this kind has shown of how attention is reached;
        whether another pass may find more."""
        self._routes[kind], again = self._routes.get(kind, Routes()).after(taps)
        return again

    def read(
        self,
        kind: Kind,
        forward: Callable[[bool], Forward],
        projected: Collection[int] = (),
        stop: Stop = lambda: False,
        worked_with_all: Callable[[], None] = lambda: None,
    ) -> Generator[tuple[HeadWeights, ...], None, AttentionFound]:
        """Run a pass over a batch of one, yield layers as the pass gets to them, where that waits
        for no device, and return all of the attention at the position it reads.

        `forward(alone)` makes the pass; with `alone`, the model computes no other logits than those
        of the position, if it can. `projected` are the layers whose contributions are wanted. A
        model that needs another route, or calls softmax itself, is run once more; from then on it
        is known. `worked_with_all` is called if a pass failed with `alone`, and not without.

        Raises what `Forward.run` raises, Cancelled within one layer after `stop()` is true.
        """
        taps = yield from self._taps_of_a_pass(
            kind, forward, projected, whole_row, stop, worked_with_all
        )
        with self._lock, inferring(self._model):
            (found,) = found_in(taps)
        return replace(found, layers=tuple(map(_ordinary, found.layers)))

    def read_several(
        self,
        kind: Kind,
        forward: Callable[[bool], Forward],
        keep: Keep,
        stop: Stop = lambda: False,
        worked_with_all: Callable[[], None] = lambda: None,
    ) -> tuple[Tap, ...]:
        """As `read`, at several positions of a batch of one, at once: what `keep` keeps of the rows
        of all attention calls, in the order of the layers."""
        taps = finished(self._taps_of_a_pass(kind, forward, (), keep, stop, worked_with_all))
        return tuple(taps.taps)

    def _taps_of_a_pass(
        self,
        kind: Kind,
        forward: Callable[[bool], Forward],
        projected: Collection[int],
        keep: Keep,
        stop: Stop,
        worked_with_all: Callable[[], None],
    ) -> Generator[tuple[HeadWeights, ...], None, AttentionTaps]:
        alone = True
        while True:
            taps = self.taps(kind, forward(alone), projected, keep=keep)
            try:
                yield from self._run(taps, stop)
            except Exception as error:
                cannot_mend = isinstance(error, Cancelled) or is_out_of_memory(error)
                if cannot_mend or not taps.forward.keeps_logits:
                    raise
                alone = False
                continue
            if not self.learned(kind, taps):
                break
        if not alone:
            worked_with_all()
        return taps

    def _run(self, taps: AttentionTaps, stop: Stop) -> Iterator[tuple[HeadWeights, ...]]:
        """Run the pass in the model's thread, and yield layers meanwhile."""
        if stop():
            raise Cancelled("cancelled")
        forward = taps.forward

        def job() -> None:
            with self._lock:
                try:
                    forward.run(lambda row, read: None, attached=[taps])
                finally:
                    give_ordinary_tensors(self._model)

        told = 0
        with closing(waiting(self._model, job, stop, forward.cancelled.set)) as steps:
            for _ in steps:
                done = len(taps.taps) - 1  # the newest layer is still running
                if forward.parts.tail.device.type == "cpu" and done > told:
                    yield tuple(_head_weights(tap, 0) for tap in taps.taps[told:done])
                    told = done


class LayerFound(Protocol):
    """A layer, and why its attention has not been read, if it has not."""

    @property
    def reason(self) -> str | None: ...
    @property
    def proof(self) -> ReadingProof | None: ...


def worst_proof(layers: Sequence[LayerFound], what: str) -> ReadingProof | None:
    """The largest error of the layers that could be read, as a share of what is allowed there; None
    if there are none. `what` says in words what was compared."""
    ratios = [
        each.proof.error / each.proof.tolerance
        for each in layers
        if each.reason is None and each.proof is not None and each.proof.error is not None
    ]
    return ReadingProof(what, max(ratios), 1.0, max(ratios) <= 1.0) if ratios else None


def why_nothing_is_read(layers: Sequence[LayerFound]) -> str:
    """Why no layer of a pass has attention that can be read. In a hybrid, most layers have none at
    all: what went wrong in one that has some tells more."""
    proofs_failed = [each.reason for each in layers if each.proof is not None]
    others = [each.reason for each in layers if each.reason != NONE_HERE]
    reason = next((each for each in (*proofs_failed, *others) if each), NONE_HERE)
    return f"no layer's attention can be read: {reason}"


def found_in(taps: AttentionTaps) -> tuple[AttentionFound, ...]:
    """What a pass has found, one for each item of its batch."""
    absolute = taps.forward.absolute_positions
    assert absolute is not None
    count = len(taps.parts.layers)
    found = []
    for item, position in enumerate(absolute[:, 0].tolist()):
        layers: list[HeadWeights] = []
        for layer in range(count):
            own = [
                _with_contribution(_head_weights(tap, item), tap, item)
                for tap in taps.taps
                if tap.layer == layer
            ]
            layers += own or [HeadWeights(layer, "tokens", None, None, 0, NONE_HERE, None)]
        sinks = () if taps.sinks is None else places(taps.sinks[item])
        found.append(AttentionFound(position, tuple(layers), sinks))
    return tuple(found)


def _head_weights(tap: Tap, item: int) -> HeadWeights:
    row = tap.row
    if row is None:
        return HeadWeights(tap.layer, tap.keys, None, None, 0, tap.reason, None)
    error, limit = row.checks[:, item].tolist()
    proof = ReadingProof(PROVED, finite(error), limit, error <= limit)
    if not proof.passed:
        reason = NOT_PROVED.format(error=error, limit=limit)
        return HeadWeights(tap.layer, tap.keys, None, None, 0, reason, proof)
    return HeadWeights(
        layer=tap.layer,
        keys=tap.keys,
        weights=row.weights[item].cpu(),
        sink=row.sink[item].cpu(),
        reach=int(row.reach[item]),
        reason=None,
        proof=proof,
    )


def _ordinary(found: HeadWeights) -> HeadWeights:
    """The same with tensors that were not made in inference mode, for whoever goes on with them."""
    if found.weights is None or found.sink is None:
        return found
    sent = found.contribution
    if sent is not None:
        sent = replace(sent, heads=sent.heads.clone(), together=sent.together.clone())
    return replace(found, weights=found.weights.clone(), sink=found.sink.clone(), contribution=sent)


def _with_contribution(found: HeadWeights, tap: Tap, item: int) -> HeadWeights:
    outputs = None if found.weights is None else head_outputs(tap, item)
    if outputs is None or tap.row is None or tap.row.value is None:
        return found
    return replace(found, contribution=_contribution(tap, tap.row, outputs, item))


def _contribution(tap: Tap, row: AttentionRow, outputs: HeadOutputs, item: int) -> Contribution:
    assert row.value is not None and tap.projection is not None
    heads, keys = row.weights.shape[1:]
    norms = []
    together = torch.zeros(keys, len(outputs.columns), device=row.weights.device)
    for head in range(heads):
        sent = outputs.sent(head, row.weights[item], row.value[item])  # [keys, width]
        norms.append(sent.norm(dim=-1))
        together += sent
    own = tap.projection.left[item]
    checks = errors_and_limits(own.dtype, (together.sum(0) + outputs.bias)[None], own.float()[None])
    apart, most = checks[:, 0].tolist()
    return Contribution(
        heads=torch.stack(norms).cpu(),
        together=together.norm(dim=-1).cpu(),
        gated=outputs.gated,
        passes_through=tap.passes_through,
        proof=ReadingProof(SUMMED, finite(apart), most, apart <= most and not tap.passes_through),
    )
