"""Watches what the modules inside each decoder layer add to the residual stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from engine.anatomy.attention_calls import AttentionCall
from engine.anatomy.hooks import first_float_tensor, hooked, slots
from engine.anatomy.layer_sums import LayerSum, Term, fitted
from engine.errors import BadInput
from engine.passes.edits import Active, AttentionWatch
from engine.passes.forward import Forward
from engine.passes.whole_streams import MOST_BYTES, too_much

SAMPLED: Final = 32
"""At about how many positions the outputs of modules are compared."""
ATTENTION: Final = "attention"
MLP: Final = "MLP"


@dataclass
class _Seen:
    """A call of a module inside a layer, sampled."""

    module: nn.Module
    call: int
    name: str
    depth: int
    output: Tensor
    entered: Tensor | None

    @property
    def is_leaf(self) -> bool:
        return next(self.module.children(), None) is None


@dataclass
class SumWatch:
    """Attach it to a `Forward` over a batch of one; then see `sums`, which are found layer by layer
    while the pass runs, so that only samples of one layer are kept at a time."""

    forward: Forward
    found: dict[int, LayerSum] = field(default_factory=dict)
    """For every layer that ran."""

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`."""
        self._active = active
        self._layer = -1
        self._seen: list[_Seen] = []
        self._attending: set[nn.Module] = set()
        before: dict[nn.Module, Any] = {}
        after: dict[nn.Module, Any] = {}
        for index, layer in enumerate(self.forward.parts.layers):
            for module, (name, depth) in inside(layer).items():
                after[module] = self._returns(name, depth)
            before[layer] = self._enters(index)
            after[layer] = self._leaves
        with ExitStack() as stack:
            stack.enter_context(hooked(before, after))
            stack.enter_context(AttentionWatch(self._attends).attached(active))
            yield

    @property
    def sums(self) -> tuple[LayerSum | None, ...]:
        """What each layer adds; None for a layer that did not run."""
        layers = range(len(self.forward.parts.layers))
        return tuple(_named([self.found.get(layer) for layer in layers]))

    def _attends(self, call: AttentionCall, output: Tensor, weights: Tensor | None) -> None:
        self._attending.add(call.module)

    def _enters(self, index: int) -> Any:
        def enters(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._active():
                return
            stream = self.forward.parts.stream_slot.get(args, kwargs)
            self._layer, self._like = index, stream
            self._seen.clear()
            self._attending.clear()
            self._before = self._sample(stream)

        return enters

    def _returns(self, name: str, depth: int) -> Any:
        def returns(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if not self._active() or self._layer < 0:
                return
            made = first_float_tensor(output)
            if made is None or made.numel() != self._like.numel():
                return
            slot = next(slots(args, kwargs), None)
            entered = None if slot is None else slot.get(args, kwargs)
            if entered is not None and entered.numel() != self._like.numel():
                entered = None
            self._seen.append(
                _Seen(
                    module,
                    sum(each.module is module for each in self._seen),
                    name,
                    depth,
                    self._sample(made),
                    None if entered is None else self._sample(entered),
                )
            )

        return returns

    def _leaves(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not self._active():
            return
        made = first_float_tensor(output)
        if made is not None and made.shape == self._like.shape:
            after, dtype = self._sample(made), self.forward.parts.dtype
            self.found[self._layer] = self._sum(after, dtype)
        self._layer = -1
        self._seen.clear()

    def _sum(self, after: Tensor, dtype: torch.dtype) -> LayerSum:
        # Blocks may add the stream to what they return: no parts, but what is inside them may be.
        opened = [each for each in self._seen if each.depth == 2 or each.is_leaf]
        for seen in ([each for each in self._seen if each.depth == 1], opened):
            some = _distinct(seen)
            fit = fitted(self._before, after, [each.output for each in some], dtype)
            if fit is not None:
                kept, (places, factors, _) = fit
                terms = tuple(
                    self._term(some[place], factor)
                    for place, factor in zip(places, factors, strict=True)
                )
                return LayerSum(terms, kept)
        return LayerSum()

    def _term(self, seen: _Seen, factor: float) -> Term:
        source: nn.Module | None = None
        name = seen.name
        if seen.entered is not None and not _has_matrix(seen.module):
            for other in sorted(self._seen, key=lambda one: one.depth):
                if _has_matrix(other.module) and other.output.equal(seen.entered):
                    source, name = other.module, other.name
                    break
        origin = seen.module if source is None else source
        attends = any(module in self._attending for module in origin.modules())
        return Term(seen.module, seen.call, factor, name, source, attends)

    def _sample(self, value: Tensor) -> Tensor:
        """Some positions of a tensor of as many numbers as the stream, float64 on the CPU."""
        placed = self.forward.by_position(value.detach().reshape(self._like.shape))[0]
        step = max(1, len(placed) // SAMPLED)
        return placed.flip(0)[::step].cpu().double()


def inside(layer: nn.Module) -> dict[nn.Module, tuple[str, int]]:
    """The modules called by a layer, and by those: each with its name and its depth, 1 or 2. Lists
    of modules, which are never called, do not count."""
    found: dict[nn.Module, tuple[str, int]] = {}
    for name, module in _called(layer):
        found.setdefault(module, (name, 1))
    for module in [*found]:
        for name, inner in _called(module):
            found.setdefault(inner, (f"{found[module][0]}.{name}", 2))
    return found


def _called(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            for inner, each in _called(child):
                yield f"{name}.{inner}", each
        else:
            yield name, child


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.ndim == 2 for parameter in module.parameters())


def _distinct(seen: Sequence[_Seen]) -> list[_Seen]:
    """The calls without those that return what an earlier one has returned, outer modules first."""
    kept: list[_Seen] = []
    for each in sorted(seen, key=lambda one: one.depth):
        if not any(each.output.equal(other.output) for other in kept):
            kept.append(each)
    return kept


def _named(sums: Sequence[LayerSum | None]) -> Iterator[LayerSum | None]:
    """The sums with the terms' names: in a layer of attention and one other part, that is the MLP,
    and so are parts of its class in layers without attention."""
    known: set[type] = set()
    for each in sums:
        others = [term for term in each.terms if not term.attends] if each is not None else []
        if each is not None and len(others) == 1 and len(each.terms) > 1:
            known.add(type(others[0].origin))
    for each in sums:
        if each is None:
            yield None
            continue
        attending = sum(term.attends for term in each.terms)
        shorts = _short([term.name for term in each.terms])
        terms = []
        for term, short in zip(each.terms, shorts, strict=True):
            if term.attends:
                name = ATTENTION if attending == 1 else f"{ATTENTION} ({short})"
            else:
                is_mlp = type(term.origin) in known and _only(term, each)
                name = MLP if is_mlp else short
            terms.append(replace(term, name=name))
        yield LayerSum(tuple(terms), each.kept)


def _short(names: Sequence[str]) -> list[str]:
    """The last words of names with dots, without numbers; all words where those are the same."""
    words = [[word for word in name.split(".") if not word.isdigit()] or [name] for name in names]
    last = [each[-1] for each in words]
    if len({*last}) == len(last):
        return last
    whole = [".".join(each) for each in words]
    return whole if len({*whole}) == len(whole) else list(names)


def _only(term: Term, of: LayerSum) -> bool:
    return sum(type(other.origin) is type(term.origin) for other in of.terms) == 1


@dataclass
class TermWatch:
    """Attach it to a `Forward` that reads one position of a batch of one; then see what the terms
    of each layer and the layers themselves gave there."""

    forward: Forward
    sums: Sequence[LayerSum | None]
    everywhere: bool = False
    """Whether of the terms all positions are kept, [positions, *rest], not only the one that is
    read, and nothing else."""
    positions: Tensor | None = None
    """int64 [n] on the CPU: those that are kept with `everywhere`, if not all."""
    terms: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    """(layer, index of the term) -> its output at the position, [*rest]."""
    entered: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    """The same of what entered the term's module, where it has a `source`."""
    left: dict[int, Tensor] = field(default_factory=dict)
    """Layer -> the stream that it returned at the position, [*rest]."""

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`. With `everywhere`, the pass raises BadInput if its
        terms would take more than MOST_BYTES."""
        self._active = active
        self._bytes = 0
        self._layer, self._calls = -1, dict[nn.Module, int]()
        before: dict[nn.Module, Any] = {}
        after: dict[nn.Module, Any] = {}
        for index, (layer, of) in enumerate(zip(self.forward.parts.layers, self.sums, strict=True)):
            before[layer], after[layer] = self._enters(index), self._leaves
            for term in of.terms if of is not None else ():
                after[term.module] = self._returns
        with hooked(before, after):
            yield

    def _enters(self, index: int) -> Any:
        def enters(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._active():
                self._layer, self._calls = index, {}
                self._like = self.forward.parts.stream_slot.get(args, kwargs)

        return enters

    def _returns(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        of = self.sums[self._layer] if self._active() and self._layer >= 0 else None
        made = first_float_tensor(output)
        if of is None or made is None or made.numel() != self._like.numel():
            return
        call = self._calls.get(module, 0)
        self._calls[module] = call + 1
        for index, term in enumerate(of.terms):
            if term.module is module and term.call == call:
                if self.everywhere:
                    self._take(index, made)
                    continue
                self.terms[self._layer, index] = self._picked(made)
                slot = next(slots(args, kwargs), None) if term.source is not None else None
                if slot is not None:
                    value = slot.get(args, kwargs)
                    if value.numel() == self._like.numel():
                        self.entered[self._layer, index] = self._picked(value)

    def _leaves(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        made = first_float_tensor(output)
        seen = self._active() and made is not None and made.shape == self._like.shape
        if seen and made is not None and not self.everywhere:
            self.left[self._layer] = self._picked(made)
        self._layer = -1

    def _take(self, index: int, made: Tensor) -> None:
        whole = self.forward.by_position(made.reshape(self._like.shape))[0]
        kept = (whole if self.positions is None else whole[self.positions]).clone()
        self.terms[self._layer, index] = kept
        self._bytes += kept.nbytes
        every = kept.nbytes * sum(len(of.terms) for of in self.sums if of is not None)
        if max(self._bytes, every) > MOST_BYTES:
            raise BadInput(too_much(len(kept), max(self._bytes, every), MOST_BYTES))

    def _picked(self, value: Tensor) -> Tensor:
        return at_position(value, self._like, self.forward).clone()


def at_position(value: Tensor, like: Tensor, forward: Forward) -> Tensor:
    """The position that is read, of a tensor of as many numbers as the stream `like`: a view
    [*rest] where the value allows it."""
    assert forward.absolute_positions is not None
    placed = forward.by_position(value.reshape(like.shape))
    return placed[0, int(forward.absolute_positions[0, 0])]
