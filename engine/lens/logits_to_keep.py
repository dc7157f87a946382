"""Proves whether a model can compute the logits of some positions only, without changing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.errors import Cancelled
from engine.passes.forward import Forward
from engine.system.memory import is_out_of_memory


def kept_logits_agree(
    model: Any,
    parts: ModelParts,
    inputs: Mapping[str, Any],
    attention: Tensor,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Whether the logits of the last attended token are the same, within the tolerance, if they
    are the only ones that the model computes. Takes one or two passes.

    `attention` is the mask of the inputs, [batch, length]. The caller holds the model's lock.
    Raises Cancelled within one layer after `stop()` is true.
    """

    def run(use_logits_to_keep: bool) -> tuple[Tensor, int]:
        forward = Forward(model, parts, inputs, [-1], attention, use_logits_to_keep, stop=stop)
        return forward.run(lambda row, read: None), forward.length

    among_all, length = run(use_logits_to_keep=False)
    if length != attention.shape[1]:
        return False  # the model inserts picture features into the sequence
    try:
        alone, _ = run(use_logits_to_keep=True)
    except Exception as error:  # a model may raise anything
        if isinstance(error, Cancelled) or is_out_of_memory(error):
            raise
        return False
    return difference(alone, among_all) <= tolerance(parts.dtype, among_all)
