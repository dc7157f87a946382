"""Watches what enters and leaves every module inside the parts of each layer, at one position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from engine.anatomy.hooks import Args, Kwargs, first_float_tensor, hooked, slots
from engine.anatomy.layer_sums import LayerSum, Term
from engine.passes.edits import Active
from engine.passes.forward import Forward


@dataclass(frozen=True)
class SeenCall:
    """A call of a module inside a layer, at the position."""

    module: nn.Module
    call: int
    """Which of the module's calls in one run of the layer."""
    name: str
    """Of the module in its layer, with dots."""
    rows: tuple[int, ...]
    """Which of the vectors that the module took are of the position: one; or, where every expert
    gets all positions, one for each expert."""
    entered: Tensor
    """[rows, width], as it was computed."""
    left: Tensor
    """[rows, other width]"""
    args: Args
    """What the module got, without the tensors' other rows."""
    kwargs: Kwargs

    def again(self) -> Any:
        """Call the module once more, with these rows alone. To be called in eval mode and without
        gradients, by whoever holds the model's lock."""
        return self.module(*self.args, **self.kwargs)


@dataclass
class UnitWatch:
    """Attach it to a `Forward` that reads one position of a batch of one; then see `seen`.

    A module that only gets some of the tokens, such as an expert of a mixture, is seen at the
    position by what enters it: the vector that entered the part at the position, bit by bit. If
    that is not among its tokens, the call is not seen.
    """

    forward: Forward
    sums: Sequence[LayerSum | None]
    layers: Iterable[int]
    seen: dict[int, list[SeenCall]] = field(default_factory=dict)
    """Layer -> the calls of all modules in its parts without attention, in the order in which they
    returned. A part that is the output of a norm alone has all modules of the layer but those of
    other parts."""
    last: dict[tuple[int, nn.Module], SeenCall] = field(default_factory=dict)
    """The same of the parts' outermost modules at the last position of the sequence, (layer,
    module)."""

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`."""
        self._active = active
        self._layer = -1
        self._calls: dict[nn.Module, int] = {}
        self._open: list[tuple[nn.Module, _Entered | None]] = []
        before: dict[nn.Module, Any] = {}
        after: dict[nn.Module, Any] = {}
        self._names: dict[tuple[int, nn.Module], str] = {}
        self._outer: set[tuple[int, nn.Module]] = set()
        for index in self.layers:
            layer, of = self.forward.parts.layers[index], self.sums[index]
            terms = [] if of is None else [term for term in of.terms if not term.attends]
            names = {module: name for name, module in layer.named_modules()}
            for term in terms:
                self._outer.add((index, term.origin))
                assert of is not None
                for module in (*scope(term, of, layer), term.module):
                    self._names[index, module] = names.get(module, "")
                    before[module], after[module] = self._called, self._returns
            if terms:
                before[layer], after[layer] = self._enters(index), self._leaves
        with hooked(before, after):
            yield

    def _enters(self, index: int) -> Any:
        def enters(module: nn.Module, args: Args, kwargs: Kwargs) -> None:
            if self._active():
                self._layer, self._calls, self._open = index, {}, []

        return enters

    def _leaves(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        if self._active():
            self._layer = -1

    def _called(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        if not self._active() or (self._layer, module) not in self._names:
            return
        slot = next(slots(args, kwargs), None)
        around = next((each for _, each in reversed(self._open) if each is not None), None)
        entered = None
        if slot is not None:
            entered = _Entered.of(slot.get(args, kwargs), self.forward, module, around)
        self._open.append((module, entered))

    def _returns(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        if not self._active() or (self._layer, module) not in self._names:
            return
        while self._open:
            opened, entered = self._open.pop()
            if opened is module:
                break
        else:
            return
        call = self._calls.get(module, 0)
        self._calls[module] = call + 1
        made = first_float_tensor(output)
        if entered is None or made is None:
            return
        name = self._names[self._layer, module]

        def seen(rows: tuple[int, ...]) -> SeenCall | None:
            left = _at(made, entered.count, rows)
            if left is None:
                return None
            cut_args = tuple(_cut(value, entered.count, rows) for value in args)
            cut = {key: _cut(value, entered.count, rows) for key, value in kwargs.items()}
            taken = entered.tensor.reshape(entered.count, -1)[[*rows]].clone()
            return SeenCall(module, call, name, rows, taken, left, cut_args, cut)

        found = seen(entered.rows)
        if found is not None:
            self.seen.setdefault(self._layer, []).append(found)
        if (self._layer, module) in self._outer and entered.count == self.forward.length > 1:
            last = seen((entered.count - 1,))
            if last is not None:
                self.last[self._layer, module] = last


@dataclass(frozen=True)
class _Entered:
    """What a module got: so many vectors, and which are of the position."""

    tensor: Tensor
    count: int
    rows: tuple[int, ...]

    @classmethod
    def of(
        cls, tensor: Tensor, forward: Forward, module: nn.Module, around: _Entered | None
    ) -> _Entered | None:
        assert forward.absolute_positions is not None
        count, position = tensor.shape[:-1].numel(), int(forward.absolute_positions[0, 0])
        tensor = tensor.detach()
        if count == forward.length:
            return cls(tensor, count, (position,))
        if around is not None and around.count == count:
            return cls(tensor, count, around.rows)
        times, left = divmod(count, forward.length)
        stacked = [p for p in module.parameters(recurse=False) if p.ndim == 3]
        if times > 1 and not left and any(len(each) == times for each in stacked):
            rows = tuple(range(position, count, forward.length))
            return cls(tensor, count, rows)
        if around is None or len(around.rows) != 1 or tensor.shape[-1] != around.tensor.shape[-1]:
            return None
        vector = around.tensor.reshape(around.count, -1)[around.rows[0]]
        same = (tensor.reshape(count, -1) == vector).all(-1).nonzero()
        return cls(tensor, count, (int(same[0]),)) if len(same) else None


def scope(term: Term, of: LayerSum, layer: nn.Module) -> list[nn.Module]:
    """The modules in which the units of a part may be."""
    if has_weights(term.origin):
        return [*term.origin.modules()]
    others = {module for each in of.terms if each is not term for module in each.origin.modules()}
    return [module for module in layer.modules() if module is not layer and module not in others]


def has_weights(module: nn.Module) -> bool:
    """Whether there is a matrix, or what one was packed into, in a module: norms have none."""
    return any(tensor.ndim >= 2 for tensor in (*module.parameters(), *module.buffers()))


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has no modules inside it."""
    return next(module.children(), None) is None


def _at(value: Tensor, count: int, rows: tuple[int, ...]) -> Tensor | None:
    """Some of so many vectors, [rows, width]; None if the tensor has another number of them."""
    if value.shape[:-1].numel() != count:
        return None
    return value.detach().reshape(count, -1)[[*rows]].clone()


def _cut(value: Any, count: int, rows: tuple[int, ...]) -> Any:
    """An argument with some of its rows alone, as a tensor of as many axes."""
    if not isinstance(value, Tensor) or value.ndim < 2:
        return value
    found = _at(value, count, rows)
    return value if found is None else found.view(*[1] * (value.ndim - 2), len(rows), -1)
