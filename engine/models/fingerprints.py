"""A digest by which weights are told apart, whatever their checkpoint is called."""

from __future__ import annotations

import hashlib

from torch import nn

SAMPLED = 16
"""How many numbers of each parameter go into the digest."""


def weights_digest(model: nn.Module) -> str:
    """A digest of names, shapes, dtypes and some numbers of all parameters; equal on all devices.

    Of offloaded parameters, only names, shapes and dtypes count.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values: list[float] = []
        if parameter.device.type != "meta":
            flat = parameter.detach().flatten()
            # Integers: float32 cannot represent every index of a large embedding.
            places = [number * (len(flat) - 1) // (SAMPLED - 1) for number in range(SAMPLED)]
            values = flat[places].float().cpu().tolist() if len(flat) else []
        digest.update(repr((name, tuple(parameter.shape), str(parameter.dtype), values)).encode())
    return digest.hexdigest()
