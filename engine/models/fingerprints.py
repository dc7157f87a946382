"""Telling the weights of one checkpoint from those of another, however they are named."""

from __future__ import annotations

import hashlib

from torch import nn

SAMPLED = 16
"""Numbers of each parameter that are looked at."""


def weights_digest(model: nn.Module) -> str:
    """Of the names, shapes, dtypes and some numbers of all parameters; the same on every device.

    Parameters that are offloaded are told by name, shape and dtype alone.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values: list[float] = []
        if parameter.device.type != "meta":
            flat = parameter.detach().flatten()
            # Whole numbers: float32 has none of its own for every place of a large embedding.
            places = [number * (len(flat) - 1) // (SAMPLED - 1) for number in range(SAMPLED)]
            values = flat[places].float().cpu().tolist() if len(flat) else []
        digest.update(repr((name, tuple(parameter.shape), str(parameter.dtype), values)).encode())
    return digest.hexdigest()
