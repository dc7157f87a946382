"""Reads the attention of one position, or of several of one item, in every layer while a pass
runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from engine.anatomy.attention_calls import AttentionCall
from engine.anatomy.attention_rows import (
    ROUTES,
    AttentionRow,
    Route,
    as_row,
    joined_rows,
    outputs_at,
    row_of,
)
from engine.anatomy.hooks import hooked, is_float_tensor
from engine.anatomy.sinks import massive, middle_rows
from engine.anatomy.softmax_calls import SoftmaxWatch
from engine.errors import CannotRead, typed_line
from engine.passes.edits import Active, AttentionWatch
from engine.passes.forward import Forward

AT_ONCE: Final = 16
"""Of how many positions of one item the weights of a layer are in memory at once."""

Keys = Literal["tokens", "states", "both"]
"""What is looked at: the tokens of the sequence of the model's logits; in cross-attention the
states of an encoder or of a vision tower; or both side by side."""


@dataclass(frozen=True)
class OutputProjection:
    """The call that takes the heads' outputs at the position to the width of the stream."""

    module: nn.Module
    entered: Tensor
    """[batch, heads * value width]"""
    left: Tensor
    """[batch, width]"""


@dataclass
class Tap:
    """The attention of one layer at the position."""

    layer: int
    keys: Keys
    row: AttentionRow | None
    reason: str = ""
    """Why there is no row."""
    route: int = 0
    """The route that gave the row, an index into ROUTES."""
    module: nn.Module | None = None
    """The attention module; None where the model calls torch's functions itself."""
    passes_through: str = ""
    """The class of a module that changes the heads' outputs before they are projected."""
    projection: OutputProjection | None = None


Keep = Callable[[AttentionRow], AttentionRow]
"""What is kept of a row: of many positions, all weights of all layers would take too much."""


def whole_row(row: AttentionRow) -> AttentionRow:
    """Keep all of it."""
    return row


@dataclass
class AttentionTaps:
    """Attach it to a `Forward` that reads one position of each item, or several of a batch of one;
    then see `taps`."""

    forward: Forward
    routes: Mapping[tuple[int, Keys], int] = field(default_factory=dict)
    """Which route is tried in a layer, an index into ROUTES; the first if none is named."""
    watches_softmax: bool = False
    """Whether to watch every softmax too."""
    projected: Collection[int] = ()
    """The layers whose output projection is wanted; only for one position of each item."""
    keep: Keep = whole_row
    valued: Collection[int] | None = None
    """The layers whose values are wanted; the same ones if None."""
    taps: list[Tap] = field(default_factory=list)
    sinks: Tensor | None = None
    """bool [batch, positions]: the massive activations, see `engine.anatomy.sinks`."""

    def __post_init__(self) -> None:
        self.parts = self.forward.parts
        self._layer_of = {
            module: index
            for index, layer in enumerate(self.parts.layers)
            for module in layer.modules()
        }
        self._middle = middle_rows(len(self.parts.layers))
        self._layer = -1
        """The layer that runs, or ran last."""
        self._inside = False
        self._open: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []
        """The calls of modules inside the layer that have not returned, the outermost first."""
        self._given: list[Tensor] = []
        """What the layer was given besides its stream."""

    @contextmanager
    def attached(self, active: Active) -> Iterator[None]:
        """See `engine.passes.edits.Attached`."""
        self._active = active
        layers = self.parts.layers
        # An attention module has parts: its projections.
        inner = [
            module
            for module in self._layer_of
            if module not in layers and next(module.children(), None) is not None
        ]
        before = {layer: self._enters(index) for index, layer in enumerate(layers)}
        after: dict[nn.Module, Any] = dict.fromkeys(layers, self._leaves)
        before.update(dict.fromkeys(inner, self._opens))
        after.update(dict.fromkeys(inner, self._closes))
        for index in self.projected:
            for module in layers[index].modules():
                after[module] = self._leaves_with(after.get(module), self._projects)
        with ExitStack() as stack:
            stack.enter_context(hooked(before, after))
            stack.enter_context(AttentionWatch(self._called).attached(active))
            if self.watches_softmax:
                stack.enter_context(SoftmaxWatch(self._multiplied, self._attended))
            yield

    @staticmethod
    def _leaves_with(one: Any, other: Any) -> Any:
        if one is None:
            return other

        def both(*call: Any) -> None:
            other(*call)
            one(*call)

        return both

    def _positions(self) -> list[int]:
        """The position of each item, or all those of the only one."""
        absolute = self.forward.absolute_positions
        assert absolute is not None
        places: list[int] = absolute[:, 0].tolist() if len(absolute) > 1 else absolute[0].tolist()
        return places

    @property
    def _batch(self) -> int:
        absolute = self.forward.absolute_positions
        assert absolute is not None
        return len(absolute)

    def _enters(self, index: int) -> Callable[..., None]:
        slot, axis = self.parts.stream_slot, self.parts.tail.position_axis

        def enters(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._active():
                return
            self._layer, self._inside = index, True
            self._open.clear()
            stream = slot.get(args, kwargs)
            self._given = [
                each
                for each in (*args, *kwargs.values())
                if is_float_tensor(each) and each is not stream
            ]
            if index in self._middle:
                self._look_for_sinks(
                    stream if axis == 1 else stream.movedim((axis - 1, axis), (0, 1))
                )

        return enters

    def _look_for_sinks(self, stream: Tensor) -> None:
        """Of [batch, positions, *rest]."""
        firsts = self.forward.first_attended(len(stream))
        found = torch.stack(
            [massive(item, first) for item, first in zip(stream, firsts, strict=True)]
        )
        self.sinks = found if self.sinks is None else self.sinks | found.to(self.sinks.device)

    def _leaves(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._active():
            self._inside = False

    def _opens(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._active() and self._inside:
            self._open.append((module, args, kwargs))

    def _closes(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._active() and self._open and self._open[-1][0] is module:
            self._open.pop()

    def _called(self, call: AttentionCall, output: Tensor, weights: Tensor | None) -> None:
        if self._layer < 0:
            return  # of a vision tower
        layer = self._layer_of.get(call.module)
        if layer is None:
            # Some models have cross-attention between two layers: it belongs to the later one.
            if self._inside or call.query.shape[2] != self.forward.length:
                return
            layer = min(self._layer + 1, len(self.parts.layers) - 1)
        keys: Keys = self._keys(call.key.shape[2], len(call.key)) if self._inside else "states"
        # What the kernel calls of torch's functions has been seen, too, where those are watched.
        while self.taps and self.taps[-1].module is None and self.taps[-1].layer == layer:
            self.taps.pop()
        self._tap(
            Tap(layer, keys, None, module=call.module),
            queries=call.query.shape[2],
            count=call.key.shape[2],
            row=partial(row_of, call, output),
        )

    def _multiplied(self, weights: Tensor, value: Tensor, output: Tensor) -> None:
        if not (self._active() and self._inside) or weights.ndim not in (3, 4):
            return
        queries, count = weights.shape[-2:]
        batch = self._batch
        keys = self._keys(count, batch)
        known = any(tap.layer == self._layer and tap.keys == keys for tap in self.taps)
        if known or weights.numel() % (batch * queries * count):
            return

        def row(at: Sequence[int], route: Route) -> AttentionRow:
            p, v, out = (
                each.reshape(batch, -1, *each.shape[-2:]) for each in (weights, value, output)
            )
            own = outputs_at(out.transpose(1, 2), at)
            found = outputs_at(p.transpose(1, 2), at)
            # The mask is not known here: what it forbids has no weight.
            return as_row(found, v, own, None)

        self._tap(Tap(self._layer, keys, None), queries, count, row)

    def _attended(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Any,
        settings: dict[str, Any],
        output: Tensor,
    ) -> None:
        if not (self._active() and self._inside) or query.ndim != 4:
            return
        while isinstance(mask, Tensor) and mask.ndim < 4:
            mask = mask.unsqueeze(0)
        said = {"scaling": settings.get("scale"), "is_causal": settings.get("is_causal", False)}
        layer = self.parts.layers[self._layer]
        call = AttentionCall(layer, query, key, value, mask, (), said, _torch_kernel, _no_eager)
        keys = self._keys(key.shape[2], len(key))
        row = partial(row_of, call, output.transpose(1, 2))
        self._tap(Tap(self._layer, keys, None), query.shape[2], key.shape[2], row)

    def _keys(self, count: int, batch: int) -> Keys:
        """Whether the module that runs looks at the sequence, or at something that the layer was
        given besides its stream and has handed on."""
        given = [
            each
            for each in self._given
            if each.ndim >= 3 and each.shape[:-1].numel() == count * batch
        ]
        for module, args, kwargs in self._open:
            for each in (*args, *kwargs.values()):
                if any(each is one for one in given) and _takes(module, each):
                    return "states"
        return "tokens"

    def _tap(
        self,
        tap: Tap,
        queries: int,
        count: int,
        row: Callable[[Sequence[int], Route], AttentionRow],
    ) -> None:
        self.taps.append(tap)
        length = self.forward.length
        if queries != length:
            tap.reason = f"its attention has {queries} queries for {length} tokens"
            return
        if count != length and tap.keys == "tokens":
            tap.keys = "both"
        for route in range(self.routes.get((tap.layer, tap.keys), 0), len(ROUTES)):
            try:
                found = self._row(row, ROUTES[route])
            except CannotRead as error:
                tap.reason = str(error)
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                tap.reason = f"its attention weights cannot be computed ({typed_line(error)})"
            else:
                # The values of all layers together are as large as a KV cache.
                wanted = self.projected if self.valued is None else self.valued
                kept = found.value if tap.layer in wanted else None
                tap.row, tap.route = replace(found, value=kept), route
                return

    def _row(
        self, row: Callable[[Sequence[int], Route], AttentionRow], route: Route
    ) -> AttentionRow:
        """What is kept of the row at all positions, some of them at a time."""
        places = self._positions()
        if self._batch > 1 or len(places) == 1:
            return self.keep(row(places, route))
        parts = [
            self.keep(row(places[start : start + AT_ONCE], route))
            for start in range(0, len(places), AT_ONCE)
        ]
        return joined_rows(parts)

    def _projects(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Note the last call inside the attention module that takes all of its heads' outputs to
        another width: earlier ones may be gates. An adapter's parts return before what they are
        parts of."""
        tap = self.taps[-1] if self.taps else None
        if not self._active() or tap is None or tap.row is None or tap.module is None:
            return
        entered = args[0] if args else next(iter(kwargs.values()), None)
        width = tap.row.output[0].numel()
        batch, length = self._batch, self.forward.length
        if (
            not isinstance(entered, Tensor)
            or not isinstance(output, Tensor)
            or entered.numel() != batch * length * width
            or entered.shape[-1] != width
            or module is tap.module
            or all(module is not each for each in tap.module.modules())
        ):
            return
        at = [item * length + place for item, place in enumerate(self._positions())]
        taken = entered.reshape(-1, width)[at]
        left = output.reshape(-1, output.shape[-1])[at]
        if any(parameter.ndim == 2 for parameter in module.parameters()):
            tap.projection = OutputProjection(module, taken, left)
        elif tap.projection is None and left.shape == taken.shape:
            outputs = tap.row.output.reshape(batch, width)
            if torch.equal(taken.float(), outputs) and not torch.equal(left, taken):
                tap.passes_through = type(module).__name__


def _torch_kernel(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("torch's own function was called, not a kernel of transformers")


def _no_eager(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("a model that calls torch's own function has no eager one")


def _takes(module: nn.Module, states: Tensor) -> bool:
    """Whether a part of the module takes states of this width."""
    shapes = [parameter.shape for parameter in module.parameters() if parameter.ndim == 2]
    return any(states.shape[-1] in shape for shape in shapes)
