"""Reads the parts of the logits at one position from a pass; see `engine.lens.logit_parts`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from engine.anatomy.frozen_norm import FrozenNorm, freeze
from engine.anatomy.hooks import evaluating, first_float_tensor
from engine.anatomy.layer_sums import LayerSum, Term, is_rounding
from engine.anatomy.tail import OpenTail, RowStream
from engine.errors import BadInput, CannotRead
from engine.lens.head_outputs import HeadOutputs, head_outputs
from engine.lens.lens import Lens, model_lock
from engine.lens.logit_parts import (
    BIAS,
    EMBEDDING,
    LinearHead,
    LogitPart,
    LogitParts,
    Sources,
)
from engine.lens.repeated import RepeatedPasses, Stop
from engine.passes.attention_taps import AttentionTaps, Tap
from engine.passes.edits import Attached, Watch
from engine.passes.forward import Forward
from engine.passes.layer_watches import SumWatch, TermWatch
from engine.system.memory import is_out_of_memory

WHOLE_LAYER: Final = "whole layer"
WHOLE_MODEL: Final = "whole model"
ADDED: Final = "added before row {row}"
ROUNDING: Final = "rounding"
ROUNDED: Final = "the stream is rounded to half precision after every addition"
NOT_A_SUM: Final = "what this layer adds is no sum of what the modules inside it return"
NOT_HERE: Final = (
    "at this position what the modules inside this layer return is not all that it adds"
)
NO_NORM: Final = "what is between its last layer and its head is no norm that can be frozen"
NO_HEADS: Final = "where the outputs of its heads are put together was not seen"
HEADS_CHANGED: Final = "its heads do not add up to it: what they add up to is changed afterwards"
NO_SOURCES: Final = "what arrives through this head cannot be told apart by where it comes from"
MOST_KINDS: Final = 16
"""Kinds of inputs for which it is remembered what the layers add."""
HALVES: Final = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
"""What the error may be, as a share of the largest logit."""
_EXACT: Final = 1e-5
_CLOSE_HEADS: Final = 1e-4
"""How far the heads of an attention may be from it, as a share of it."""

Sums = tuple[LayerSum | None, ...]

_remembered: WeakKeyDictionary[Any, dict[Any, Sums]] = WeakKeyDictionary()


def read_parts(
    lens: Lens,
    inputs: Mapping[str, Any],
    position: int = -1,
    heads: bool = False,
    source: tuple[int, int] | None = None,
    stop: Stop = lambda: False,
    passes: RepeatedPasses | None = None,
) -> LogitParts:
    """Take the logits of one position of a batch of one apart.

    With `heads`, every attention is divided into a part for each of its heads. With `source`, a
    layer and a head, it is also read what every key has sent through that head. `passes`, if given,
    are run instead of new ones; they must be of these inputs and this position.

    Raises IndexError for a position out of range, ValueError for a batch of more than one item,
    BadInput for a layer or head that the model does not have, CannotRead if the model cannot be
    read, or what arrives through the head cannot be told apart, Cancelled within one layer after
    `stop()` is true.
    """
    ids = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    if isinstance(ids, Tensor) and ids.shape[0] != 1:
        raise ValueError(f"a batch of one is needed, not one of {ids.shape[0]}")
    if passes is None:
        passes = RepeatedPasses(lens, inputs, [position], stop)
    opened = passes.parts.tail.opened()
    sums = sums_of(lens, passes, inputs)
    if source is not None and not 0 <= source[0] < len(sums):
        raise BadInput(f"there is no layer {source[0]}: they go from 0 to {len(sums) - 1}")
    wanted: set[int] = {*range(len(sums))} if heads else set()
    if source is not None:
        wanted.add(source[0])
    watched = _WatchedPass(lens, passes, inputs, sums, opened)
    watched.run(wanted, -1 if source is None else source[0])
    if isinstance(opened, str):
        return watched.one_part(opened)
    with model_lock(lens.model), evaluating(lens.model):
        last = watched.rows[len(sums)].to(passes.parts.tail.device)
        frozen = freeze(opened.before_head, last.flatten())
        if frozen is not None:
            pieces = [*watched.pieces(heads)]
            sources = None if source is None else (source, *watched.sources(*source))
    if frozen is None:
        return watched.one_part(NO_NORM)
    return watched.summed(opened, frozen, pieces, sources)


def watching_head(opened: OpenTail, forward: Forward, into: list[Tensor]) -> Watch:
    """A watcher that leaves in `into` what the head returned at the position, with what the model
    adds to that: float32 [vocabulary], on the CPU."""

    def look(made: Tensor) -> None:
        assert forward.absolute_positions is not None
        rows = made.detach().reshape(-1, made.shape[-1])
        place = int(forward.absolute_positions[0, 0]) if len(rows) == forward.length else -1
        own = rows[place, : opened.logit_map.width].float()
        shift = opened.logit_map.shift
        into[:] = [(own if shift is None else own + shift.to(own)).cpu().clone()]

    return Watch(opened.head, look)


def sums_of(lens: Lens, passes: RepeatedPasses, inputs: Mapping[str, Any]) -> Sums:
    """What every layer adds; found once for each kind of inputs."""
    known = _remembered.setdefault(lens.model, {})
    kind = frozenset(name for name, value in inputs.items() if value is not None)
    if kind not in known:
        forward = passes.forward()
        watch = SumWatch(forward)
        passes.run([watch], forward)
        while len(known) >= MOST_KINDS:
            known.pop(next(iter(known)))
        known[kind] = watch.sums
    return known[kind]


class _Piece(NamedTuple):
    """A part, and what it has added to the last stream: float64 [width]."""

    part: LogitPart
    vector: Tensor


class _WatchedPass:
    """One pass that is watched, and what it has shown."""

    def __init__(
        self,
        lens: Lens,
        passes: RepeatedPasses,
        inputs: Mapping[str, Any],
        sums: Sums,
        opened: OpenTail | str,
    ) -> None:
        self._lens, self._passes, self._inputs = lens, passes, inputs
        self._sums, self._opened = sums, opened
        self._dtype = passes.parts.dtype
        self.rows: dict[int, Tensor] = {}
        """Rows 0..L at the position, [*rest]."""

    def run(self, projected: set[int], valued: int) -> None:
        """Run it; again if attention is reached in another way than was thought."""
        while True:
            read_at: list[Tensor] = []
            forward = self._passes.forward()
            self._watch = TermWatch(forward, self._sums)
            head: list[Tensor] = []
            attached: list[Attached] = [self._watch]
            self._taps: AttentionTaps | None = None
            if projected:
                self._taps = self._lens.attention_taps(self._inputs, forward, projected, valued)
                attached.append(self._taps)
            if not isinstance(self._opened, str):
                attached.append(watching_head(self._opened, forward, head))

            def keep(row: int, read: RowStream, read_at: list[Tensor] = read_at) -> None:
                read_at.append(read.stream.detach())

            logits = self._passes.run(attached, forward, keep)[0]
            if not len(read_at[-1]):
                # The model picks the positions of its logits before its final norm.
                self._passes.compute_all_logits()
                continue
            if self._taps is None or not self._lens.learned_attention(self._inputs, self._taps):
                break
        self.rows = {row: each[0] for row, each in enumerate(read_at)}
        assert forward.absolute_positions is not None
        self.position = int(forward.absolute_positions[0, 0])
        self._logits = logits.cpu()
        self._own = head[0] if head else self._logits
        self._rests: dict[int, Tensor] = {}
        self._whole_layers = frozenset(
            layer
            for layer, of in enumerate(self._sums)
            if of is not None and not self._adds_up(layer, of)
        )

    def one_part(self, reason: str) -> LogitParts:
        """The whole model as one part."""
        return LogitParts(
            position=self.position,
            parts=(LogitPart(None, WHOLE_MODEL, reason=reason),),
            norm="",
            error=0.0,
            tolerance=self.tolerance,
            sources=None,
            vectors=torch.zeros(1, 0),
            own=self._own,
            logits=self._logits,
            head=None,
        )

    @property
    def tolerance(self) -> float:
        """What the error may be: 1e-5; in half precision, what the rounding of the normed stream
        and of the head's sums leaves."""
        if self._dtype not in HALVES:
            return _EXACT
        finite = self._own[self._own.isfinite()].abs()
        return HALVES[self._dtype] * max(1.0, float(finite.max()) if len(finite) else 0.0)

    def pieces(self, heads: bool) -> Iterator[_Piece]:
        """All parts but the bias, in order. To be called in eval mode, without gradients."""
        count = len(self._sums)
        yield from self._passed_on(0, [_Piece(LogitPart(None, EMBEDDING), _flat(self.rows[0]))])
        for layer in range(count):
            of = self._sums[layer]
            left = self._watch.left.get(layer)
            if of is None or left is None:
                # A layer that did not run, or returned no stream that could be seen.
                if not _flat(self.rows[layer + 1]).equal(_flat(self.rows[layer])):
                    yield from self._passed_on(layer + 1, [self._whole(layer, NOT_A_SUM)])
                continue
            yield from self._passed_on(layer + 1, self._of_layer(layer, of, heads))
            added = _flat(self.rows[layer + 1]) - _flat(left)
            if bool((added != 0).any()):
                part = LogitPart(layer + 1, ADDED.format(row=layer + 1))
                yield from self._passed_on(layer + 1, [_Piece(part, added)])
        if self._dtype in HALVES:
            rests = [
                piece.vector
                for layer, rest in self._rests.items()
                if layer not in self._whole_layers
                for piece in self._passed_on(layer + 1, [_Piece(LogitPart(None, ROUNDING), rest)])
            ]
            if rests:
                part = LogitPart(None, ROUNDING, reason=ROUNDED)
                yield _Piece(part, torch.stack(rests).sum(0))

    def _passed_on(self, row: int, pieces: Sequence[_Piece]) -> Iterator[_Piece]:
        """What is left in the last row of what is in this one: later layers may scale it."""
        factor = 1.0
        for of, layer in zip(self._sums[row:], range(row, len(self._sums)), strict=True):
            factor *= 1.0 if of is None or layer in self._whole_layers else of.kept
        for piece in pieces:
            yield piece if factor == 1.0 else _Piece(piece.part, piece.vector * factor)

    def _adds_up(self, layer: int, of: LayerSum) -> bool:
        """Whether a layer is the sum that it is known to be at this position, too."""
        left = self._watch.left.get(layer)
        terms = [self._watch.terms.get((layer, index)) for index in range(len(of.terms))]
        if left is None or not terms or any(term is None for term in terms):
            return False
        before, after = _flat(self.rows[layer]), _flat(left)
        made = of.kept * before
        for term, output in zip(of.terms, terms, strict=True):
            assert output is not None
            made = made + term.factor * _flat(output)
        self._rests[layer] = after - made
        return is_rounding((after - made)[None], before[None], after[None], self._dtype)

    def _whole(self, layer: int, reason: str) -> _Piece:
        left = self._watch.left.get(layer, self.rows[layer + 1])
        part = LogitPart(layer, WHOLE_LAYER, reason=reason)
        return _Piece(part, _flat(left) - _flat(self.rows[layer]))

    def _of_layer(self, layer: int, of: LayerSum, heads: bool) -> list[_Piece]:
        if layer in self._whole_layers:
            return [self._whole(layer, NOT_HERE if of.terms else NOT_A_SUM)]
        pieces: list[_Piece] = []
        for index, term in enumerate(of.terms):
            vector = term.factor * _flat(self._watch.terms[layer, index])
            part = LogitPart(layer, term.name, term=term)
            if not heads or not term.attends:
                pieces.append(_Piece(part, vector))
                continue
            found = self._heads_of(layer, index, term)
            if isinstance(found, str):
                pieces.append(_Piece(replace(part, reason=found), vector))
                continue
            for head, each in enumerate(found.vectors):
                pieces.append(_Piece(replace(part, head=head, projection=found.projection), each))
            if bool((found.bias != 0).any()):
                pieces.append(_Piece(replace(part, rest=True), found.bias))
        return pieces

    def _tap_of(self, layer: int, term: Term) -> Tap | None:
        inside = {*term.origin.modules()}
        for tap in self._taps.taps if self._taps is not None else ():
            if tap.layer == layer and tap.module in inside and tap.projection is not None:
                return tap
        return None

    def _heads_of(self, layer: int, index: int, term: Term) -> _Heads | str:
        """The heads of an attention, or why they are not to be had."""
        tap = self._tap_of(layer, term)
        outputs = None if tap is None else head_outputs(tap, 0)
        if tap is None or tap.projection is None or outputs is None:
            return NO_HEADS
        own = _flat(self._watch.terms[layer, index])
        entered = self._watch.entered.get((layer, index))
        left = _flat(tap.projection.left[0])
        if len(left) != len(own):
            return NO_HEADS
        into = own if term.source is None else None if entered is None else _flat(entered)
        if into is None:
            return NO_HEADS
        # The attention may scale what its projection returns.
        power = float(left @ left)
        scale = float(left @ into) / power if power else 1.0
        scale = 1.0 if abs(scale - 1.0) < _CLOSE_HEADS else scale
        norm: FrozenNorm | None = None
        if term.source is not None and entered is not None:
            norm = _frozen_module(term.module, entered)
            if norm is None:
                return HEADS_CHANGED
        found = _Heads(tap, outputs, tap.projection.module, scale, norm, term.factor)
        together = (found.vectors.sum(0) + found.bias) / term.factor
        limit = max(_CLOSE_HEADS, 4.0 * torch.finfo(self._dtype).eps) * float(own.norm())
        return found if float((together - own).norm()) <= limit else HEADS_CHANGED

    def sources(self, layer: int, head: int) -> tuple[Tap, Tensor]:
        """What every key has sent through one head to the last stream, and what the head gives:
        float64 [keys + 1, width].

        Raises BadInput if there is no such head, CannotRead if it cannot be told.
        """
        of = self._sums[layer]
        why = NOT_A_SUM
        for index, term in enumerate(of.terms if of is not None else ()):
            if layer in self._whole_layers:
                why = NOT_HERE
                break
            if not term.attends:
                continue
            found = self._heads_of(layer, index, term)
            if isinstance(found, str):
                why = found
                continue
            if not 0 <= head < len(found.vectors):
                last = len(found.vectors) - 1
                raise BadInput(
                    f"there is no head {head} in layer {layer}: they go from 0 to {last}"
                )
            row = found.tap.row
            if row is None or row.value is None or found.tap.passes_through:
                raise CannotRead(NO_SOURCES)
            sent = found.outputs.sent(head, row.weights[0], row.value[0]).cpu().double()
            part = LogitPart(layer, term.name, head=head)
            every = torch.cat([found.mapped(sent), found.vectors[head : head + 1]])
            (passed,) = self._passed_on(layer + 1, [_Piece(part, every)])
            return found.tap, passed.vector
        raise CannotRead(f"layer {layer} has no heads that can be told apart: {why}")

    def summed(
        self,
        opened: OpenTail,
        frozen: FrozenNorm,
        pieces: Sequence[_Piece],
        sources: tuple[tuple[int, int], Tap, Tensor] | None,
    ) -> LogitParts:
        """All parts through the frozen norm, with their error."""
        mapped = torch.stack([frozen(piece.vector) for piece in pieces])
        vectors = torch.cat([mapped, frozen.bias[None]]).float()  # [parts, width]
        head = LinearHead.of(self._lens.model, opened, vectors.shape[1])
        together = vectors.double().sum(0)
        own = self._own
        (made,) = head(together.float()[None])
        made = made[0].cpu() + head.bias
        differences = (made - own).abs() / own.abs().clamp_min(1.0)
        error = float(differences.nan_to_num(math.inf, math.inf).max())
        sent: Sources | None = None
        if sources is not None:
            place, tap, arrived = sources
            mapped_sent = frozen(arrived).float()
            sent = Sources(*place, tap.keys, mapped_sent[:-1], mapped_sent[-1])
        return LogitParts(
            position=self.position,
            parts=(*(piece.part for piece in pieces), LogitPart(None, BIAS)),
            norm=frozen.kind,
            error=error,
            tolerance=self.tolerance,
            sources=sent,
            vectors=vectors,
            own=own,
            logits=self._logits,
            head=head,
        )


class _Heads:
    """The heads of one attention at the position, as they arrive in the stream after it."""

    def __init__(
        self,
        tap: Tap,
        outputs: HeadOutputs,
        projection: nn.Module,
        scale: float,
        norm: FrozenNorm | None,
        factor: float,
    ) -> None:
        """`scale` and `norm` are what the projection's output goes through, `factor` that of the
        term."""
        self.tap, self.outputs, self.projection = tap, outputs, projection
        self._scale, self._norm, self._factor = scale, norm, factor
        self.vectors = self.mapped(outputs.by_head().cpu().double())
        """float64 [heads, width]"""
        bias = outputs.bias.cpu().double().expand(self.vectors.shape[1])
        self.bias = self.mapped(bias[None])[0]
        """float64 [width]: what comes from no head."""
        if norm is not None:
            self.bias = self.bias + factor * norm.bias

    def mapped(self, sent: Tensor) -> Tensor:
        """What leaves the projection, float64 [n, width], as it arrives in the stream."""
        sent = sent * self._scale
        return self._factor * (sent if self._norm is None else self._norm(sent))


def _frozen_module(module: nn.Module, entered: Tensor) -> FrozenNorm | None:
    """A norm inside a layer, frozen at what entered it; None if it is no such module."""

    def norm(vectors: Tensor) -> Tensor:
        made = first_float_tensor(module(vectors.unsqueeze(0)))
        return vectors.new_zeros(0) if made is None else made.reshape(len(vectors), -1)

    try:
        return freeze(norm, entered.flatten())
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        return None  # it needs more than a vector


def _flat(vector: Tensor) -> Tensor:
    return vector.cpu().double().flatten()
