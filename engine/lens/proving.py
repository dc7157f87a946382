"""Finds how a model's rows can be read, and proves it against the model's own logits.

There are two ways, tried in this order: `ExplicitTail` calls the model's own modules between its
last layer and its logits; `ReplayedTail` runs the whole model with its layers bypassed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.explicit import CHUNK, ExplicitTail, TailStep
from engine.anatomy.hooks import Slot, evaluating, first_float_tensor, slots
from engine.anatomy.logit_map import difference, fit_logit_map, tolerance
from engine.anatomy.parts import as_proof
from engine.anatomy.replay import ReplayedTail
from engine.anatomy.tail import Entry, PassMemory, RowStream, Tail
from engine.anatomy.watching import Anatomy, Call, output_stream
from engine.errors import CannotRead
from engine.passes.positions import attention_of
from engine.records import Proof
from engine.system.memory import is_out_of_memory


def find_tail(
    model: nn.Module, anatomy: Anatomy, inputs: Mapping[str, Any]
) -> tuple[Tail, Proof, Tensor]:
    """The tail of a model, its proof, and the residual stream that entered it in the watched pass.

    Raises CannotRead, with the differences, if neither way reproduces the model's own logits.
    """
    attended = attended_positions(inputs, anatomy.logits)
    reason = ""
    explicit = _explicit_tail(model, anatomy, attended)
    if isinstance(explicit, str):
        reason = explicit
    else:
        tail, stream = explicit
        error, limit = _error(tail, stream, anatomy, attended)
        if error <= limit:
            return tail, as_proof(error, limit, tail.method), stream
        reason = f"its own modules give logits off by {error:.3g} (tolerance {limit:.3g})"
    replay = ReplayedTail(model, anatomy)
    stream = output_stream(anatomy.last_output)
    error, limit = _replay_error(replay, stream, anatomy, inputs, attended)
    if error <= limit:
        return replay, as_proof(error, limit, replay.method), stream
    raise CannotRead(
        f"the tail of {type(model).__name__} cannot be proved: {reason}; replayed through the "
        f"model, its logits are off by {error:.3g} (tolerance {limit:.3g})"
    )


def attended_positions(inputs: Mapping[str, Any], logits: Tensor) -> Tensor:
    """Which positions of `logits` [batch, positions, vocabulary] are not padding: bool [batch,
    positions] on the CPU."""
    mask = attention_of(inputs)
    attended = torch.ones(logits.shape[:2], dtype=torch.bool)
    if mask is not None and mask.shape[1] <= attended.shape[1]:
        attended[:, attended.shape[1] - mask.shape[1] :] = mask
    return attended


def _explicit_tail(
    model: nn.Module, anatomy: Anatomy, attended: Tensor
) -> tuple[ExplicitTail, Tensor] | str:
    last = output_stream(anatomy.last_output)
    current = last
    entered: Tensor | None = None
    steps: list[TailStep] = []
    companions: tuple[Slot, ...] = ()
    for call in anatomy.after_layers:
        slot = _stream_slot(call, current, first=not steps)
        if slot is None or call.output is None:
            continue
        others = tuple(other for other in slots(call.args, call.kwargs) if other != slot)
        if others:
            matched = _companions(anatomy, call, others) if not steps else None
            if matched is None:
                return "a module of the tail takes more than the residual stream"
            companions = matched
        if entered is None:
            entered = slot.get(call.args, call.kwargs)
        step = TailStep(call.module, slot, *slot.put(call.args, call.kwargs, None), others)
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
    tail = ExplicitTail(
        steps=tuple(steps),
        scale=scale,
        head=anatomy.head,
        logit_map=logit_map,
        position_axis=anatomy.position_axis,
        device=entered.device,
        stream_shape=tuple(entered.shape[2:]),
        entry=Entry(steps[0].module, steps[0].slot, steps[0].companion_slots)
        if steps
        else Entry(anatomy.head, anatomy.head_slot),
        companion_slots=companions,
    )
    return tail, entered


def _companions(anatomy: Anatomy, call: Call, others: Sequence[Slot]) -> tuple[Slot, ...] | None:
    """The arguments of a layer that correspond to `others`, which are arguments of the tail.

    They have the same dtype and shape, except for one axis that may grow from layer to layer. None
    if there is not exactly one for each.
    """
    found: list[Slot] = []
    axis = anatomy.position_axis
    for other in others:
        wanted = other.get(call.args, call.kwargs)
        alike = [
            slot
            for slot, value in anatomy.companions.items()
            if value.dtype == wanted.dtype
            and value.ndim == wanted.ndim > axis
            and value.shape[axis - 1 : axis + 1] == wanted.shape[axis - 1 : axis + 1]
            and sum(a != b for a, b in zip(value.shape, wanted.shape, strict=True)) <= 1
        ]
        if len(alike) != 1:
            return None
        found += alike
    return tuple(found)


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
    """The k for which head_input = k * current within the tolerance, or None."""
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


def _error(
    tail: ExplicitTail, stream: Tensor, anatomy: Anatomy, attended: Tensor
) -> tuple[float, float]:
    """The largest logit difference of the explicit tail at attended positions, and its limit."""
    model_logits = anatomy.logits
    limit = tolerance(stream.dtype, model_logits[attended.to(model_logits.device)])
    worst = 0.0
    wholes = [stream]
    if tail.companion_slots:
        entry = next(call for call in anatomy.after_layers if call.module is tail.steps[0].module)
        wholes += [slot.get(entry.args, entry.kwargs) for slot in tail.steps[0].companion_slots]
    with evaluating(tail.head):
        for streams, truth in _chunks(wholes, model_logits, attended, anatomy.position_axis):
            worst = max(worst, difference(tail.logits([streams]), truth.to(tail.device)))
    return worst, limit


def _replay_error(
    replay: ReplayedTail,
    stream: Tensor,
    anatomy: Anatomy,
    inputs: Mapping[str, Any],
    attended: Tensor,
) -> tuple[float, float]:
    """The largest logit difference of the replay at attended positions, and its limit.

    Replays the last stream as a whole, and again with its rows packed in another order.
    """
    model_logits = anatomy.logits
    axis = anatomy.position_axis
    limit = tolerance(stream.dtype, model_logits[attended.to(model_logits.device)])
    memory = PassMemory(inputs, stream=stream)
    try:
        whole = replay.whole(stream, memory)
        worst = difference(
            whole[attended.to(whole.device)],
            model_logits.to(whole.device)[attended.to(whole.device)],
        )
        rows = stream.movedim((axis - 1, axis), (0, 1))
        streams = rows[attended.to(rows.device)].flip(0)
        truth = model_logits[attended.to(model_logits.device)].flip(0)
        packed = replay.logits([RowStream(streams)], memory=memory)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise CannotRead(
            f"the model cannot be replayed with its layers bypassed: {error}"
        ) from error
    return max(worst, difference(packed, truth.to(packed.device))), limit


def _chunks(
    wholes: Sequence[Tensor], logits: Tensor, attended: Tensor, axis: int
) -> Iterator[tuple[RowStream, Tensor]]:
    """The attended positions of the `wholes` (a stream and its companions), CHUNK at a time, each
    with its logits [n, vocabulary]."""
    picked = [
        whole.movedim((axis - 1, axis), (0, 1))[attended.to(whole.device)].split(CHUNK)
        for whole in wholes
    ]
    truths = logits[attended.to(logits.device)].split(CHUNK)
    for (stream, *companions), truth in zip(zip(*picked, strict=True), truths, strict=True):
        yield RowStream(stream, tuple(companions)), truth


def _config_numbers(config: Any) -> list[float]:
    """Numbers in the model's config or its text config that may scale or cap logits."""
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
