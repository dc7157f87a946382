"""A logit as a sum over what wrote the residual stream: the embedding, every attention, every MLP.

The final norm is frozen: with the statistics that it has at the position it is linear, so what it
makes of the stream is the sum of what it makes of the parts (direct logit attribution).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from engine.anatomy.columns import is_one_matrix
from engine.anatomy.frozen_norm import FrozenNorm, freeze
from engine.anatomy.hooks import first_float_tensor
from engine.anatomy.layer_sums import CLOSE, LayerSum, Term, allowed_rest
from engine.anatomy.tail import OpenTail, RowStream
from engine.errors import BadInput, CannotRead
from engine.lens.head_outputs import HeadOutputs, head_outputs
from engine.lens.lens import Lens, model_lock
from engine.lens.repeated import RepeatedPasses, Stop
from engine.passes.attention_taps import AttentionTaps, Tap
from engine.passes.edits import Attached, Watch
from engine.passes.forward import Forward
from engine.passes.inference import inferring
from engine.passes.layer_watches import SumWatch, TermWatch
from engine.system.memory import is_out_of_memory

EMBEDDING: Final = "embedding"
BIAS: Final = "bias"
WHOLE_LAYER: Final = "whole layer"
WHOLE_MODEL: Final = "whole model"
ADDED: Final = "added before row {row}"
HEADS_BIAS: Final = "{name} bias"
NOT_A_SUM: Final = "what this layer adds is no sum of what the modules inside it return"
NOT_HERE: Final = "at this position what the modules inside this layer return is not all that it adds"
NO_NORM: Final = "what is between its last layer and its head is no norm that can be frozen"
NO_HEADS: Final = "where the outputs of its heads are put together was not seen"
HEADS_CHANGED: Final = "its heads do not add up to it: what they add up to is changed afterwards"
NO_SOURCES: Final = "what arrives through this head cannot be told apart by where it comes from"
MOST_KINDS: Final = 16
"""Kinds of inputs for which it is remembered what the layers add."""
_EXACT: Final = 1e-5
_CHUNK: Final = 256
"""Parts that go through the head at once."""
_CLOSE_HEADS: Final = 1e-4

Sums = tuple[LayerSum | None, ...]

_remembered: WeakKeyDictionary[Any, dict[Any, Sums]] = WeakKeyDictionary()


@dataclass(frozen=True)
class LogitPart:
    """What one part of the model wrote."""

    layer: int | None
    """Layer l takes row l to row l + 1; None for the embedding and the bias. Of what is added
    between layers, the row before which it is added."""
    name: str
    """"embedding", "attention", "MLP", "bias", the name of a module in its layer, or what is no
    sum: "whole layer"."""
    head: int | None = None
    reason: str | None = None
    """Why it is one part and not several."""
    term: Term | None = None
    """The module whose output it is."""
    projection: nn.Module | None = None
    """The module that takes the outputs of all heads, of which this is one."""

    @property
    def label(self) -> str:
        """A name that no other part has."""
        head = "" if self.head is None else f", head {self.head}"
        return self.name if self.layer is None else f"layer {self.layer}: {self.name}{head}"


class Words(NamedTuple):
    """The tokens that a part promotes or suppresses most."""

    ids: tuple[int, ...]
    amounts: tuple[float, ...]
    """What it adds to their logits, less what it adds to all of them on average."""


@dataclass(frozen=True)
class Sources:
    """What one head of the position's attention has been sent from every key."""

    layer: int
    head: int
    keys: str
    """"tokens" of the sequence, or "states" of an encoder or a vision tower; or "both"."""
    vectors: Tensor
    """float32 [keys, width of the head's input]"""


@dataclass(frozen=True)
class LogitParts:
    """The parts of all logits of one position."""

    position: int
    parts: tuple[LogitPart, ...]
    norm: str
    """How the final norm is linear: "rms" or "layer"; "" if the model is one part."""
    error: float
    """|sum - logit| / max(1, |logit|), the largest over the vocabulary; the parts are summed in
    float64, and the logit is the output of the model's own head in this pass."""
    tolerance: float
    sources: Sources | None
    vectors: Tensor = field(repr=False)
    """float32 [parts, width of the head's input]: the frozen norm's map of each part."""
    own: Tensor = field(repr=False)
    """float32 [vocabulary]: the head's own output, before any scale or soft-cap."""
    head: _Head | None = field(repr=False)
    """None if the model is one part."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each part is, in the order of the layers; no two are the same."""
        return tuple(part.label for part in self.parts)

    @property
    def reasons(self) -> Mapping[str, str]:
        """Name -> why that is one part, of those that are not taken apart further."""
        return {part.label: part.reason for part in self.parts if part.reason is not None}

    def share(self, token: int) -> Tensor:
        """What each part adds to the logit of a token: float32 [parts], on the CPU. The sum is the
        head's output for the token, before any scale and soft-cap. Raises IndexError if there is no
        such token."""
        return self.shares([token])[0].float()

    def shares(self, tokens: Sequence[int]) -> Tensor:
        """The same for several tokens, float64 [tokens, parts]."""
        if any(not 0 <= token < len(self.own) for token in tokens):
            raise IndexError(f"tokens go from 0 to {len(self.own) - 1}")
        if self.head is None:
            return self.own[list(tokens)].double()[:, None]
        found = self.head.products(self.vectors, tokens)
        found[:, -1] += self.head.bias[list(tokens)].double()  # the bias is the last part
        return found

    def sent(self, tokens: Sequence[int]) -> Tensor:
        """What each key has sent to the logits of tokens through the head of `sources`, float64
        [tokens, keys]."""
        assert self.sources is not None and self.head is not None
        return self.head.products(self.sources.vectors, tokens)

    def words(self, part: int, count: int) -> tuple[Words, Words]:
        """The tokens that a part promotes and suppresses most, each beginning with the most."""
        if self.head is None:
            raise CannotRead(self.parts[0].reason or NO_NORM)
        added = self.head.of(self.vectors[part : part + 1])[0]
        added = added - added.mean()
        found = []
        for sign in (1.0, -1.0):
            order = (sign * added).sort(descending=True, stable=True).indices[:count]
            found.append(Words(tuple(order.tolist()), tuple(added[order].tolist())))
        return found[0], found[1]


class _Head:
    """The model's head as the linear map that it is, and what it adds."""

    def __init__(self, model: nn.Module, opened: OpenTail) -> None:
        self._model, self._opened = model, opened
        floats = [each for each in opened.head.parameters() if each.is_floating_point()]
        self._like = floats[0] if floats else torch.empty(0)
        self.bias = torch.zeros(0)
        """float32 [vocabulary], on the CPU."""

    def calibrate(self, width: int) -> None:
        """Find what the head makes of nothing, and what the model adds to that."""
        shift = self._opened.logit_map.shift
        self.bias = self.raw(torch.zeros(1, width))[0]
        if shift is not None:
            self.bias = self.bias + shift.float().cpu()

    def raw(self, vectors: Tensor) -> Tensor:
        """The head's output, float32 [n, width] -> float32 [n, vocabulary], on the CPU."""
        with model_lock(self._model), inferring(self._model):
            dtype = self._like.dtype
            inputs = vectors.to(self._like.device, dtype)
            found = [
                self._opened.head(some.unsqueeze(0))[0, :, : self._opened.logit_map.width]
                .float()
                .cpu()
                for some in inputs.split(_CHUNK)
            ]
        return torch.cat(found).clone()

    def of(self, vectors: Tensor) -> Tensor:
        """The linear map, float32 [n, width] -> float32 [n, vocabulary]."""
        zero = self.raw(torch.zeros_like(vectors[:1]))
        return self.raw(vectors) - zero

    def products(self, vectors: Tensor, tokens: Sequence[int]) -> Tensor:
        """The linear map of some tokens, float64 [tokens, n]."""
        head = self._opened.head
        if is_one_matrix(head):
            assert isinstance(head, nn.Linear)
            rows = head.weight.detach()[list(tokens)].double().cpu()
        else:
            # Quantised, offloaded, or with an adapter: known by what it does.
            found = [self.of(some)[:, list(tokens)] for some in vectors.split(_CHUNK)]
            return torch.cat(found).double().T
        return torch.cat([some.double() @ rows.T for some in vectors.split(_CHUNK)]).T.clone()


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

    With `heads`, every attention is a part for each of its heads. `source` is the layer and the
    head of which it is wanted what every key has sent. `passes` are to be used if there are any,
    for this position.

    Raises IndexError for a position out of range, BadInput for a head that the model does not have,
    CannotRead if the model cannot be read, or what arrives through the head cannot be told apart,
    Cancelled within one layer after `stop()` is true.
    """
    ids = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    if isinstance(ids, Tensor) and ids.shape[0] != 1:
        raise ValueError(f"a batch of one is needed, not one of {ids.shape[0]}")
    if passes is None:
        passes = RepeatedPasses(lens, inputs, [position], stop)
    opened = passes.parts.tail.opened()
    sums = _sums(lens, passes, inputs)
    if source is not None and not 0 <= source[0] < len(sums):
        raise BadInput(f"there is no layer {source[0]}: they go from 0 to {len(sums) - 1}")
    wanted: set[int] = {*range(len(sums))} if heads else set()
    if source is not None:
        wanted.add(source[0])
    pass_ = _Pass(lens, passes, inputs, sums, opened)
    pass_.run(wanted, -1 if source is None else source[0])
    if isinstance(opened, str):
        return pass_.one_part(opened)
    with model_lock(lens.model), inferring(lens.model):
        last = pass_.rows[len(sums)].to(passes.parts.tail.device)
        frozen = freeze(opened.before_head, last.flatten())
        if frozen is not None:
            pieces = [*pass_.pieces(heads)]
            sources = None if source is None else (source, *pass_.sources(*source))
    if frozen is None:
        return pass_.one_part(NO_NORM)
    return pass_.summed(opened, frozen, pieces, sources)


def _sums(lens: Lens, passes: RepeatedPasses, inputs: Mapping[str, Any]) -> Sums:
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


class _Pass:
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
            self.rows = {}
            forward = self._passes.forward()
            self._watch = TermWatch(forward, self._sums)
            head: list[Tensor] = []
            attached: list[Attached] = [self._watch]
            self._taps: AttentionTaps | None = None
            if projected:
                self._taps = self._lens.attention_taps(self._inputs, forward, projected, valued)
                attached.append(self._taps)
            def look(made: Tensor, forward: Forward = forward) -> None:
                head[:] = [self._head_output(made, forward)]

            if not isinstance(self._opened, str):
                attached.append(Watch(self._opened.head, look))

            def keep(row: int, read: RowStream) -> None:
                self.rows[row] = read.stream[0].detach()

            logits = self._passes.run(attached, forward, keep)[0]
            if self._taps is None or not self._lens.learned_attention(self._inputs, self._taps):
                break
        assert forward.absolute_positions is not None
        self.position = int(forward.absolute_positions[0, 0])
        self._own = head[0] if head else logits.cpu()
        self._whole_layers = frozenset(
            layer
            for layer, of in enumerate(self._sums)
            if of is not None and not self._adds_up(layer, of)
        )

    def _head_output(self, made: Tensor, forward: Forward) -> Tensor:
        """What the head returned at the position, with what the model adds to it: float32
        [vocabulary], on the CPU."""
        assert forward.absolute_positions is not None and not isinstance(self._opened, str)
        logit_map = self._opened.logit_map
        rows = made.detach().reshape(-1, made.shape[-1])
        place = int(forward.absolute_positions[0, 0]) if len(rows) == forward.length else -1
        own = rows[place, : logit_map.width].float()
        return (own if logit_map.shift is None else own + logit_map.shift.to(own)).cpu().clone()

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
            head=None,
        )

    @property
    def tolerance(self) -> float:
        """What the error may be: 1e-5, or what half precision leaves."""
        halves = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
        return halves.get(self._dtype, _EXACT)

    def pieces(self, heads: bool) -> Iterator[_Piece]:
        """All parts but the bias, in order. To be called in inference mode."""
        count = len(self._sums)
        yield from self._passed_on(0, [_Piece(LogitPart(None, EMBEDDING), _flat(self.rows[0]))])
        for layer in range(count):
            of = self._sums[layer]
            left = self._watch.left.get(layer)
            if of is None or left is None:
                # A layer that did not run, or returned no stream that could be seen.
                if not self.rows[layer + 1].equal(self.rows[layer]):
                    yield from self._passed_on(layer + 1, [self._whole(layer, NOT_A_SUM)])
                continue
            yield from self._passed_on(layer + 1, self._of_layer(layer, of, heads))
            added = _flat(self.rows[layer + 1]) - _flat(left)
            if bool((added != 0).any()):
                part = LogitPart(layer + 1, ADDED.format(row=layer + 1))
                yield from self._passed_on(layer + 1, [_Piece(part, added)])

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
        allowed = allowed_rest(after - before, before, after, self._dtype)
        return float((after - made).norm()) <= 2.0 * allowed

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
                pieces.append(
                    _Piece(replace(part, head=head, projection=found.projection), each)
                )
            if bool((found.bias != 0).any()):
                name = HEADS_BIAS.format(name=term.name)
                pieces.append(_Piece(LogitPart(layer, name), found.bias))
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
        """What every key has sent through one head to the last stream, float64 [keys, width].

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
                raise BadInput(f"there is no head {head} in layer {layer}: they go from 0 to {last}")
            row = found.tap.row
            if row is None or row.value is None or found.tap.passes_through:
                raise CannotRead(NO_SOURCES)
            sent = found.outputs.sent(head, row.weights[0], row.value[0]).double().cpu()
            pieces = [_Piece(LogitPart(layer, ""), found.mapped(sent))]
            (passed,) = self._passed_on(layer + 1, pieces)
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
        vectors = torch.cat([mapped, frozen.bias[None]]).float()
        head = _Head(self._lens.model, opened)
        head.calibrate(vectors.shape[1])
        together = vectors.double().sum(0)
        own = self._own
        made = head.of(together.float()[None])[0] + head.bias
        differences = (made - own).abs() / own.abs().clamp_min(1.0)
        same = (made == own) | ~own.isfinite()
        error = float(differences.masked_fill(same, 0.0).max())
        sent: Sources | None = None
        if sources is not None:
            place, tap, arrived = sources
            sent = Sources(*place, tap.keys, frozen(arrived).float())
        return LogitParts(
            position=self.position,
            parts=(*(piece.part for piece in pieces), LogitPart(None, BIAS)),
            norm=frozen.kind,
            error=error,
            tolerance=self.tolerance,
            sources=sent,
            vectors=vectors,
            own=own,
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
        self.vectors = self.mapped(outputs.by_head().double().cpu())
        """float64 [heads, width]"""
        bias = outputs.bias.double().cpu().expand(self.vectors.shape[1])
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
    return vector.double().cpu().flatten()
