"""Running a model in torch's inference mode, and leaving it as it was.

In inference mode torch keeps no versions and no views, which a pass of one question that is bound
by launches gains a tenth from. But a tensor that is made in it can never be part of an autograd
graph: a model that keeps one from one pass to the next (a cache of rotary frequencies) could not be
trained, nor read with gradients, any more. So it is given ordinary copies afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from engine.anatomy.hooks import evaluating


def give_ordinary_tensors(model: nn.Module) -> None:
    """Replace the inference tensors that the modules of a model hold by ordinary copies.

    To be called outside inference mode, by whoever holds the model's lock.
    """
    for module in model.modules():
        for kept in (module._buffers, vars(module)):
            for name, value in list(kept.items()):
                if isinstance(value, Tensor) and value.is_inference():
                    kept[name] = value.clone()


@contextmanager
def inferring(model: nn.Module) -> Iterator[None]:
    """A context in inference mode with the model in eval mode, in which its modules may be called;
    to be entered by whoever holds the model's lock."""
    try:
        with evaluating(model, inference=True):
            yield
    finally:
        give_ordinary_tensors(model)
