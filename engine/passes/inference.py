"""Whether a model can run in torch's inference mode, and leaving it as it was.

In inference mode torch keeps no versions and no views, which a pass of one question that is bound
by launches gains a tenth from. But a tensor that is made in it can never be part of an autograd
graph: a model that keeps one from one pass to the next (a cache of rotary frequencies) could not be
trained, nor read with gradients, any more.
"""

from __future__ import annotations

from torch import Tensor, nn


def gave_back_what_it_kept(model: nn.Module) -> bool:
    """Replace the inference tensors that the modules of a model hold by ordinary copies; whether
    there were any. To be called outside inference mode, where no pass runs."""
    found = False
    for module in model.modules():
        for kept in (module._buffers, vars(module)):
            for name, value in list(kept.items()):
                if isinstance(value, Tensor) and value.is_inference():
                    kept[name] = value.clone()
                    found = True
    return found
