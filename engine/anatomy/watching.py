"""Finds the parts of a model by watching one forward pass, not by the names of modules.

The layers are the members of the outermost `ModuleList` whose members ran in order and were the
last to return before the output head was called. The tail is what the model itself calls between
the last layer and the head. Observation decides, not the config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import (
    Slot,
    evaluating,
    first_float_tensor,
    hooked,
    slots,
    with_first_tensor,
)
from engine.errors import CannotRead


@dataclass
class Call:
    """One call of a module during the watched pass."""

    module: nn.Module
    order: int
    entered: int
    returned: int = -1
    parent: Call | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    floats: dict[Slot, Tensor] = field(default_factory=dict)
    """The floating-point arguments, the residual stream first; recorded for layers only."""
    edits: tuple[int, int] = (0, 0)
    """The version counters (in-place edits so far) of the incoming stream when the module was
    entered, and of the outgoing stream when it returned."""

    def inside(self, other: Call) -> bool:
        """Whether this call happened during `other`."""
        return other.entered < self.entered and self.returned < other.returned


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model, and the tensors that they were seen to take and return."""

    layers: tuple[nn.Module, ...]
    """The decoder layers in order, with those that the watched pass skipped."""
    layers_name: str
    """Name of the ModuleList that holds them."""
    stream_slot: Slot
    """Which argument of a layer is the residual stream."""
    streams: tuple[Tensor | None, ...]
    """The residual stream that entered each layer; None for a layer that the pass skipped."""
    last_output: Any
    """What the last layer returned."""
    head: nn.Module
    head_slot: Slot
    """Which argument of the head is the tensor that it projects."""
    head_input: Tensor
    head_output: Tensor
    after_layers: tuple[Call, ...]
    """The outermost calls between the last layer and the head, with arguments and outputs."""
    before_layers: tuple[nn.Module, ...]
    """Modules of the outermost calls that returned before the first layer was entered, in order."""
    changed_rows: tuple[int, ...]
    """Rows whose stream differs from the output of the previous layer: the model added something
    in between."""
    companions: Mapping[Slot, Tensor]
    """The other floating-point arguments of the last layer."""
    logits: Tensor
    """The model's own logits, [batch, positions, vocabulary]."""
    position_axis: int
    """The axis of a residual stream that counts positions; the axis before it is the batch."""
    overwrites: bool
    """Whether a stream was changed in place after a layer had received it."""


class _CallRecorder:
    """Records the calls of one pass; keeps tensors only for modules that may be layers and for
    what is called after them."""

    def __init__(self, model: nn.Module, head: nn.Module | None) -> None:
        self.calls: list[Call] = []
        self._open: list[Call] = []
        self._clock = 0
        self._head = head
        self._head_called = False
        self._late: list[Call] = []
        self.candidates = {
            member: name
            for name, group in model.named_modules()
            if isinstance(group, nn.ModuleList)
            for member in group
            if any(True for _ in member.children())
        }

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._clock += 1
        parent = self._open[-1] if self._open else None
        call = Call(module, len(self.calls), self._clock, parent=parent, args=args, kwargs=kwargs)
        if module in self.candidates:
            call.floats = {slot: slot.get(args, kwargs) for slot in slots(args, kwargs)}
            call.edits = (_edits(next(iter(call.floats.values()), None)), 0)
        self.calls.append(call)
        self._open.append(call)

    def after(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self._clock += 1
        call = self._open.pop()
        call.returned, call.output = self._clock, output
        if module in self.candidates:
            if not self._head_called:
                self._forget_late()
            call.args, call.kwargs = (), {}
            call.edits = (call.edits[0], _edits(first_float_tensor(output)))
        else:
            self._late.append(call)
        if module is self._head:
            self._head_called = True
            if isinstance(output, Tensor):
                call.output = output.clone()  # some models mask ids in place

    def _forget_late(self) -> None:
        for call in self._late:
            call.args, call.kwargs, call.output = (), {}, None
        self._late.clear()


def logits_in(output: Any, width: int | None = None) -> Tensor:
    """The logits in a model's output, [batch, positions, vocabulary].

    In an output without `.logits`, the first tensor whose last axis is `width` (any, if None).
    Raises CannotRead if there is none.
    """
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor) and isinstance(output, (tuple, list, Mapping)):
        values = output.values() if isinstance(output, Mapping) else output
        logits = next(
            (
                value
                for value in values
                if isinstance(value, Tensor) and width in (None, value.shape[-1])
            ),
            None,
        )
    if not isinstance(logits, Tensor) or logits.ndim != 3 or not logits.is_floating_point():
        raise CannotRead("the model returns no logits over positions: it has no vocabulary head")
    return logits


def watch(model: nn.Module, inputs: Mapping[str, Any]) -> Anatomy:
    """Run `model(**inputs)` once, in eval mode and without gradients, and find its parts.

    Raises CannotRead, which names what was not found.
    """
    get_head = getattr(model, "get_output_embeddings", None)
    try:
        declared_head = get_head() if get_head is not None else None
    except (NotImplementedError, AttributeError):
        declared_head = None
    seen = _CallRecorder(model, declared_head)
    modules = list(model.modules())
    with (
        evaluating(model),
        hooked(dict.fromkeys(modules, seen.before), dict.fromkeys(modules, seen.after)),
    ):
        output = model(**inputs)
    logits = logits_in(output)
    _refuse_other_vocabulary(model, logits.shape[-1])
    names = {module: name for name, module in model.named_modules()}

    head_call = _find_head(seen.calls, declared_head, logits)
    group, layer_calls = _find_layers(model, seen, head_call)
    last = layer_calls[-1]
    members = _decoder_layers(model, list(group), last.module)
    by_module = {call.module: call for call in layer_calls}
    streams = tuple(
        next(iter(by_module[member].floats.values()), None) if member in by_module else None
        for member in members
    )
    first_stream = next((stream for stream in streams if stream is not None), None)
    if first_stream is None:
        raise CannotRead(f"the layers ({names[group]}) receive no residual stream as an argument")
    head_slot = next(slots(head_call.args, head_call.kwargs), None)
    if head_slot is None:
        raise CannotRead("the output head was called without an input")
    return Anatomy(
        layers=tuple(members),
        layers_name=names[group],
        stream_slot=next(iter(layer_calls[0].floats)),
        streams=streams,
        last_output=last.output,
        head=head_call.module,
        head_slot=head_slot,
        head_input=head_slot.get(head_call.args, head_call.kwargs),
        head_output=head_call.output,
        after_layers=_outermost(
            call
            for call in seen.calls
            if last.returned < call.entered and call.returned < head_call.entered
        ),
        before_layers=tuple(
            call.module
            for call in _outermost(
                call for call in seen.calls if call.returned < layer_calls[0].entered
            )
        ),
        logits=logits,
        changed_rows=tuple(
            members.index(call.module)
            for before, call in pairwise(layer_calls)
            if call.module in members and _changed(before, call)
        ),
        companions=dict(list(last.floats.items())[1:]),
        position_axis=_position_axis(first_stream, logits),
        overwrites=any(
            _edits(next(iter(call.floats.values()), None)) != call.edits[0] for call in layer_calls
        ),
    )


def _refuse_other_vocabulary(model: nn.Module, width: int) -> None:
    sizes = _vocabulary_sizes(model.config)
    if sizes and not any(0.5 * size <= width <= 2 * size for size in sizes):
        raise CannotRead(
            f"{type(model).__name__} returns {width} outputs per position, "
            f"not one per token of its vocabulary of {sizes[0]}"
        )


def _vocabulary_sizes(config: Any) -> list[int]:
    """The vocabulary size in the decoder's config, or else those in any nested config."""
    declared = getattr(config.get_text_config(decoder=True), "vocab_size", None)
    if isinstance(declared, int):
        return [declared]
    inner = [each for each in vars(config).values() if hasattr(each, "get_text_config")]
    return [size for each in inner for size in _vocabulary_sizes(each)]


def _find_head(calls: list[Call], declared: nn.Module | None, logits: Tensor) -> Call:
    called = [call for call in calls if call.module is declared and call.output is not None]
    if not called:
        called = [
            call
            for call in calls
            if isinstance(call.output, Tensor)
            and not any(True for _ in call.module.children())
            and call.output.shape[-1] == logits.shape[-1]
        ]
    if not called:
        raise CannotRead("no module was seen to make the logits: the output head is unknown")
    return called[-1]


def _find_layers(
    model: nn.Module, seen: _CallRecorder, head: Call
) -> tuple[nn.ModuleList, list[Call]]:
    found: list[tuple[nn.ModuleList, list[Call]]] = []
    for group in model.modules():
        if not isinstance(group, nn.ModuleList) or not len(group):
            continue
        if not all(member in seen.candidates for member in group):
            continue
        place = {member: index for index, member in enumerate(group)}
        calls = [
            call for call in seen.calls if call.module in place and call.returned < head.entered
        ]
        order = [place[call.module] for call in calls]
        if order and order == sorted(set(order)) and 2 * len(order) >= len(group):
            found.append((group, calls))
    outer = [
        (group, calls)
        for group, calls in found
        if not any(
            calls[0].inside(other)
            for other_group, other_calls in found
            if other_group is not group
            for other in other_calls
        )
    ]
    if not outer:
        raise CannotRead("no stack of layers was seen to run in order before the output head")
    return max(outer, key=lambda item: item[1][-1].returned)


def _decoder_layers(model: nn.Module, members: list[nn.Module], last: nn.Module) -> list[nn.Module]:
    """The members of the list that are decoder layers.

    Members after the last one that ran are dropped as long as the config counts fewer layers: only
    training uses them. Cross-attention layers, which a pass without a picture skips, are kept.
    """
    config: Any = model.config
    declared = getattr(config.get_text_config(decoder=True), "num_hidden_layers", len(members))
    while len(members) > declared and members[-1] is not last:
        members.pop()
    return members


def _edits(tensor: Tensor | None) -> int:
    return 0 if tensor is None or tensor.is_inference() else tensor._version


def _changed(before: Call, call: Call) -> bool:
    """Whether the stream that entered a layer differs from the output of the previous layer."""
    returned, entered = first_float_tensor(before.output), next(iter(call.floats.values()), None)
    if returned is None or entered is None or returned.shape != entered.shape:
        return True
    if returned is entered:
        return before.edits[1] != call.edits[0]
    return not torch.equal(returned, entered.to(returned.device))


def _outermost(calls: Any) -> tuple[Call, ...]:
    kept: list[Call] = []
    for call in calls:
        if not kept or call.returned > kept[-1].returned:
            kept.append(call)
    return tuple(kept)


def _position_axis(stream: Tensor, logits: Tensor) -> int:
    for axis in range(1, stream.ndim):
        if stream.shape[axis - 1 : axis + 1] == logits.shape[:2]:
            return axis
    raise CannotRead(
        f"the residual stream {tuple(stream.shape)} does not count the same positions "
        f"as the logits {tuple(logits.shape)}"
    )


def output_stream(output: Any) -> Tensor:
    """The residual stream in the output of a layer. Raises CannotRead if there is none."""
    stream = first_float_tensor(output)
    if stream is None:
        raise CannotRead("the last layer returns no residual stream")
    return stream


def emptied(output: Any) -> Any:
    """The output of a layer with an empty stream, for whoever needs only its structure later."""
    return with_first_tensor(output, output_stream(output)[..., :0].clone())
