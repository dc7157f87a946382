"""Gradient x attention of one position: from where it took what its answer rests on.

Chefer et al. 2021 (arXiv 2103.15679) multiply such maps through all layers, which takes the weights
of every position; here only the row of the position that is explained is taken, and its layers are
summed. The derivative by a weight is that by the attention's output times the value, so that any
kernel can be differentiated; the weights are those that `Lens.read_attention` has proved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engine.anatomy.hooks import computing
from engine.errors import CannotRead
from engine.lens.attention import AttentionFound, HeadWeights, why_nothing_is_read
from engine.lens.repeated import RepeatedPasses
from engine.lens.saliency_leaves import Slope, Target
from engine.passes.attention_shifts import AttentionShift, AttentionShifts
from engine.passes.choices import Choices

OWN_CODE: Final = (
    "this model computes attention in code of its own, which cannot be differentiated here"
)
OTHER_KEYS: Final = "no layer attends to the tokens of this sequence alone"


@dataclass(frozen=True)
class AttentionSlopes:
    """The derivatives of the target by the attention weights of one position."""

    clean: Slope
    weights: tuple[Tensor, ...]
    """float32 [heads, keys] of every call that was read."""
    by: tuple[Tensor, ...]
    """The derivatives by them."""
    calls: tuple[AttentionShift, ...]
    numbers: tuple[int, ...]
    """The number of each call that was read among all calls of a pass."""
    without: tuple[int, ...]
    """The layers of which nothing is told."""

    @property
    def together(self) -> Tensor:
        """The positive part of derivative times weight, summed over layers and heads: float64
        [keys]."""
        each = (
            (by.double() * weights.double()).clamp_min(0.0).sum(0)
            for by, weights in zip(self.by, self.weights, strict=True)
        )
        return torch.stack([*each]).sum(0)


def attention_slopes(
    passes: RepeatedPasses, target: Target, found: AttentionFound
) -> AttentionSlopes:
    """Run a pass with gradients; `found` is the attention of the first position that passes read.

    Raises CannotRead if no layer's attention on the sequence's own tokens can be read and
    differentiated.
    """
    seen = [each for each in found.layers if each.weights is not None]
    readable = [each for each in seen if each.keys == "tokens"]
    if not readable:
        raise CannotRead(OTHER_KEYS if seen else why_nothing_is_read(found.layers))
    # The caller may be in inference mode, whose tensors have no part in a graph.
    with computing(gradients=True):
        return _slopes(passes, target, found, readable)


def _slopes(
    passes: RepeatedPasses,
    target: Target,
    found: AttentionFound,
    readable: Sequence[HeadWeights],
) -> AttentionSlopes:
    forward = passes.forward()
    editor = AttentionShifts(forward, gradients=True)

    def leaves() -> list[Tensor]:
        if not editor.calls:
            raise CannotRead(OWN_CODE)
        return [each.added for each in editor.calls]

    logits, slopes = passes.differentiate(forward, [editor], target, leaves)
    numbers, kept = [], []
    for each in readable:
        number = _number_of(each, found, editor)
        if number is not None:
            numbers.append(number)
            kept.append(each)
    if not kept:
        raise CannotRead(OWN_CODE)
    by = tuple(by_weights(editor.calls[number].value, slopes[number]) for number in numbers)
    read = {each.layer for each in kept}
    return AttentionSlopes(
        clean=Slope(float(target(logits)), logits, by, {}),
        weights=tuple(each.weights for each in kept if each.weights is not None),
        by=by,
        calls=tuple(editor.calls),
        numbers=tuple(numbers),
        without=tuple(layer for layer in range(len(passes.parts.layers)) if layer not in read),
    )


def with_weights(
    passes: RepeatedPasses, target: Target, found: AttentionSlopes, choices: Choices
) -> Callable[[tuple[Tensor, ...]], float]:
    """f(weights) -> the target of a pass in which the calls that were read have these weights, and
    what the model chooses is as it is without a change. Runs a pass, if the choices are the first.
    """
    if not choices.are_known:
        passes.run([choices])

    def value(weights: tuple[Tensor, ...]) -> float:
        shifts: Mapping[int, Tensor] = {
            number: sent(found.calls[number].value, other - own)
            for number, other, own in zip(found.numbers, weights, found.weights, strict=True)
        }
        forward = passes.forward()
        return float(target(passes.run([AttentionShifts(forward, shifts), choices], forward)))

    return value


def by_weights(value: Tensor, by_output: Tensor) -> Tensor:
    """The derivative by the weights, float32 [heads, keys] on the CPU, from that by the output
    [heads, value width] and the values [key/value heads, keys, value width]."""
    groups = value.shape[0]
    of_heads = by_output.float().reshape(groups, -1, by_output.shape[-1])
    return (of_heads @ value.float().transpose(1, 2)).flatten(0, 1).cpu()


def sent(value: Tensor, weights: Tensor) -> Tensor:
    """What weights [heads, keys] give of the values: [heads, value width]."""
    groups = value.shape[0]
    of_heads = weights.to(value.device).float().reshape(groups, -1, weights.shape[-1])
    return (of_heads @ value.float()).flatten(0, 1)


def _number_of(each: HeadWeights, found: AttentionFound, editor: AttentionShifts) -> int | None:
    """Which call of the pass has these weights: in a layer they come in the same order. None if the
    layer's attention was reached in another way."""
    assert each.weights is not None
    of_layer = [one for one in found.layers if one.layer == each.layer]
    calls = [number for number, call in enumerate(editor.calls) if call.layer == each.layer]
    if len(calls) != len(of_layer):
        return None
    number = calls[[id(one) for one in of_layer].index(id(each))]
    call = editor.calls[number]
    same = each.weights.shape == (len(call.added), call.value.shape[1])
    return number if same else None
