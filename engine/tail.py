"""The tail of a model: what takes the residual stream behind the last layer to logits.

Two ways, each proved against the model's own logits before any row is shown: `Tail` calls the
model's own modules between last layer and logits; `Replay` runs the model itself with its layers
bypassed and the stream put in behind the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy import Anatomy, Call, logits_of, output_stream
from engine.errors import CannotRead
from engine.hooks import (
    Slot,
    answering,
    evaluating,
    first_float_tensor,
    slots,
    with_first_tensor,
)
from engine.logit_map import LogitMap, difference, fit_logit_map, tolerance
from engine.positions import attention_of

CHUNK = 64
"""Rows that are taken through head and softmax at once; bounds memory for any vocabulary."""


@dataclass(frozen=True)
class TailStep:
    """One module of the tail, its other arguments, and where the stream goes in."""

    module: nn.Module
    slot: Slot
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, stream: Tensor) -> Tensor:
        args, kwargs = self.slot.put(self.args, self.kwargs, stream)
        return output_stream(self.module(*args, **kwargs))


@dataclass(frozen=True)
class Tail:
    """The model's own modules between the last layer and its logits."""

    steps: tuple[TailStep, ...]
    scale: float
    """What the model multiplies the stream by ahead of its head."""
    head: nn.Module
    logit_map: LogitMap
    position_axis: int
    device: torch.device
    stream_width: int
    entry: tuple[nn.Module, Slot]
    """The module and argument through which the stream enters the tail during a pass."""
    method = "tail"

    def logits(self, streams: Tensor, norm: bool = True) -> Tensor:
        """Streams [n, *rest] to float32 logits [n, vocabulary], on the head's device.

        With `norm` off they go straight to the head and what follows it.
        """
        return torch.cat([self._chunk(part, norm) for part in streams.split(CHUNK)])

    def _chunk(self, streams: Tensor, norm: bool) -> Tensor:
        hidden = self._as_positions(streams.to(self.device))
        if norm:
            for step in self.steps:
                hidden = step(hidden)
            if self.scale != 1.0:
                hidden = hidden * self.scale
        return self.logit_map(self.head(hidden))[0]

    def _as_positions(self, streams: Tensor) -> Tensor:
        """[n, *rest] laid out as one batch item of n positions, as the model lays out streams."""
        return streams.unsqueeze(0).movedim((0, 1), (self.position_axis - 1, self.position_axis))

    def refuse_norm_off(self) -> None:
        """Raise CannotRead where leaving the final norm out has no meaning."""
        if not self.steps:
            raise CannotRead("norm off: this model has no final norm between last layer and head")
        width = getattr(self.head, "in_features", self.stream_width)
        if self.position_axis != 1 or self.stream_width != width:
            raise CannotRead(
                "norm off: the residual stream is not as wide as the head, "
                "so it cannot go straight to it"
            )


class Replay:
    """The model itself, its layers bypassed and a stream put in behind the last one.

    Everything ahead of the first layer answers from the memory of the pass that is being read.
    Rows are packed one per position: exact where the tail works position by position.
    """

    method = "replay"

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self._model = model
        self.layers = tuple(
            layer
            for layer, stream in zip(anatomy.layers, anatomy.streams, strict=True)
            if stream is not None
        )
        """Those that the watched pass ran."""
        self._slot = anatomy.stream_slot
        self._before = tuple(dict.fromkeys(anatomy.before_layers))
        self.position_axis = anatomy.position_axis
        self._last_output = _emptied(anatomy.last_output)
        self.active = False

    def memory_hooks(
        self, memory: dict[nn.Module, list[Any]]
    ) -> dict[nn.Module, Callable[..., None]]:
        """After-call hooks that keep what the modules ahead of the layers answer."""

        def remember(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if not self.active:
                memory.setdefault(module, []).append(_shallow_copy(output))

        return dict.fromkeys(self._before, remember)

    def logits(
        self,
        streams: Tensor,
        inputs: Mapping[str, Any],
        memory: Mapping[nn.Module, list[Any]],
        like: Tensor,
    ) -> Tensor:
        """Streams [n, *rest] to float32 logits [n, vocabulary]; `like` is a whole stream."""
        positions = like.shape[self.position_axis]
        parts = [
            self._packed(part, inputs, memory, like)[0, : len(part)].float()
            for part in streams.split(positions)
        ]
        return torch.cat(parts)

    def _packed(
        self,
        streams: Tensor,
        inputs: Mapping[str, Any],
        memory: Mapping[nn.Module, list[Any]],
        like: Tensor,
    ) -> Tensor:
        carrier = like.clone()
        axis = self.position_axis
        rows = carrier.movedim((axis - 1, axis), (0, 1))
        rows[0, : len(streams)] = streams.to(rows)
        return self.whole(carrier, inputs, memory)

    def whole(
        self, stream: Tensor, inputs: Mapping[str, Any], memory: Mapping[nn.Module, list[Any]]
    ) -> Tensor:
        """A whole stream, put in behind the last layer, to the model's logits."""
        answers: dict[nn.Module, Callable[..., Any]] = {}
        for module in self._before:
            if module in memory:
                recorded = iter(memory[module])
                answers[module] = lambda *_, recorded=recorded, **__: _shallow_copy(next(recorded))

        def bypass(*args: Any, **kwargs: Any) -> Any:
            return self._wrapped(self._slot.get(args, kwargs))

        for layer in self.layers[:-1]:
            answers[layer] = bypass
        answers[self.layers[-1]] = lambda *_, **__: self._wrapped(stream)
        self.active = True
        try:
            with evaluating(self._model), answering(answers):
                return logits_of(self._model(**inputs))
        finally:
            self.active = False

    def _wrapped(self, stream: Tensor) -> Any:
        return with_first_tensor(self._last_output, stream)


def find_tail(
    model: nn.Module, anatomy: Anatomy, inputs: Mapping[str, Any]
) -> tuple[Tail | Replay, Tensor]:
    """The proved tail of a model, and the stream that entered it in the watched pass.

    Raises CannotRead with the differences where neither way gives the model's own logits.
    """
    attended = attended_positions(inputs, anatomy.logits)
    reason = ""
    explicit = _explicit_tail(model, anatomy, attended)
    if isinstance(explicit, str):
        reason = explicit
    else:
        tail, stream = explicit
        gap, limit = _gap(tail, stream, anatomy, attended)
        if gap <= limit:
            return tail, stream
        reason = f"its own modules give logits off by {gap:.3g} (tolerance {limit:.3g})"
    replay = Replay(model, anatomy)
    stream = output_stream(anatomy.last_output)
    gap, limit = _replay_gap(replay, stream, anatomy, inputs, attended)
    if gap <= limit:
        return replay, stream
    raise CannotRead(
        f"the tail of {type(model).__name__} cannot be proved: {reason}; replayed through the "
        f"model, its logits are off by {gap:.3g} (tolerance {limit:.3g})"
    )


def attended_positions(inputs: Mapping[str, Any], logits: Tensor) -> Tensor:
    """Bool [batch, positions]: which positions of the logits are no padding."""
    mask = attention_of(inputs)
    attended = torch.ones(logits.shape[:2], dtype=torch.bool)
    if mask is not None and mask.shape[1] <= attended.shape[1]:
        attended[:, attended.shape[1] - mask.shape[1] :] = mask
    return attended


def _explicit_tail(
    model: nn.Module, anatomy: Anatomy, attended: Tensor
) -> tuple[Tail, Tensor] | str:
    last = output_stream(anatomy.last_output)
    current = last
    entered: Tensor | None = None
    steps: list[TailStep] = []
    for call in anatomy.after_layers:
        slot = _stream_slot(call, current, first=not steps)
        if slot is None or call.output is None:
            continue
        if any(other != slot for other in slots(call.args, call.kwargs)):
            return "a module of the tail takes more than the residual stream"
        if entered is None:
            entered = slot.get(call.args, call.kwargs)
        step = TailStep(call.module, slot, *slot.put(call.args, call.kwargs, None))
        steps.append(step)
        produced = first_float_tensor(call.output)
        if produced is None:
            return "a module of the tail returns no stream"
        current = produced
    head_input = anatomy.head_input
    if entered is None:
        entered = last if last.shape == head_input.shape else head_input
        current = entered
    if entered.shape != last.shape:
        return "plain code reshapes the stream between the last layer and the tail"
    scale = _ratio(current, head_input)
    if scale is None:
        if steps:
            return "plain code changes the stream between the tail's modules and the head"
        entered, scale = head_input, 1.0
    raw = anatomy.head_output[attended.to(anatomy.head_output.device)]
    logits = anatomy.logits[attended.to(anatomy.logits.device)]
    logit_map = fit_logit_map(raw, logits.to(raw.device), last.dtype, _config_numbers(model.config))
    if logit_map is None:
        return "what follows the head is no scale, soft-cap, bias or mask"
    tail = Tail(
        steps=tuple(steps),
        scale=scale,
        head=anatomy.head,
        logit_map=logit_map,
        position_axis=anatomy.position_axis,
        device=entered.device,
        stream_width=entered.shape[-1],
        entry=(steps[0].module, steps[0].slot) if steps else (anatomy.head, anatomy.head_slot),
    )
    return tail, entered


def _stream_slot(call: Call, current: Tensor, first: bool) -> Slot | None:
    candidates = list(slots(call.args, call.kwargs))
    for slot in candidates:
        value = slot.get(call.args, call.kwargs)
        if value is current or (value.shape == current.shape and torch.equal(value, current)):
            return slot
    # Plain code may add to the stream between the last layer and the tail (DeepStack).
    if first and candidates:
        value = candidates[0].get(call.args, call.kwargs)
        if value.shape == current.shape:
            return candidates[0]
    return None


def _ratio(current: Tensor, head_input: Tensor) -> float | None:
    """k with head_input = k * current, or None."""
    if current.shape != head_input.shape:
        return None
    if torch.equal(current, head_input):
        return 1.0
    source, target = current.double().flatten(), head_input.double().flatten()
    power = float(source @ source)
    if not power:
        return None
    scale = float(source @ target) / power
    limit = tolerance(current.dtype, head_input)
    return scale if difference(current * scale, head_input) <= limit else None


def _gap(tail: Tail, stream: Tensor, anatomy: Anatomy, attended: Tensor) -> tuple[float, float]:
    axis = anatomy.position_axis
    rows = stream.movedim((axis - 1, axis), (0, 1))
    own = anatomy.logits
    limit = tolerance(stream.dtype, own[attended.to(own.device)])
    worst = 0.0
    with evaluating(tail.head):
        for streams, truth in _chunks(rows, own, attended):
            worst = max(worst, difference(tail.logits(streams), truth.to(tail.device)))
    return worst, limit


def _replay_gap(
    replay: Replay,
    stream: Tensor,
    anatomy: Anatomy,
    inputs: Mapping[str, Any],
    attended: Tensor,
) -> tuple[float, float]:
    """The replay of the whole last stream, and of the rows packed in another order."""
    own = anatomy.logits
    axis = anatomy.position_axis
    limit = tolerance(stream.dtype, own[attended.to(own.device)])
    memory: dict[nn.Module, list[Any]] = {}
    try:
        whole = replay.whole(stream, inputs, memory)
        worst = difference(
            whole[attended.to(whole.device)], own.to(whole.device)[attended.to(whole.device)]
        )
        rows = stream.movedim((axis - 1, axis), (0, 1))
        streams = rows[attended.to(rows.device)].flip(0)
        truth = own[attended.to(own.device)].flip(0)
        packed = replay.logits(streams, inputs, memory, stream)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CannotRead(
            f"the model cannot be replayed with its layers bypassed: {error}"
        ) from error
    return max(worst, difference(packed, truth.to(packed.device))), limit


def _chunks(rows: Tensor, logits: Tensor, attended: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    streams = rows[attended.to(rows.device)]
    truth = logits[attended.to(logits.device)]
    yield from zip(streams.split(CHUNK), truth.split(CHUNK), strict=True)


def _config_numbers(config: Any) -> list[float]:
    """Numbers of the (text) config that may scale or cap logits."""
    found: list[float] = []
    configs = [config]
    if hasattr(config, "get_text_config"):
        configs.append(config.get_text_config(decoder=True))
    for each in configs:
        for name, value in vars(each).items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and any(word in name for word in ("logit", "multiplier", "cap")):
                found.append(float(value))
    return list(dict.fromkeys(found))


def _shallow_copy(output: Any) -> Any:
    """A copy that may be edited in place without touching the remembered one."""
    if isinstance(output, dict):
        return type(output)(**output)
    return list(output) if isinstance(output, list) else output


def _emptied(output: Any) -> Any:
    """The last layer's output without its tensors' memory: only the structure is needed."""
    stream = output_stream(output)
    return with_first_tensor(output, stream[..., :0].clone())
