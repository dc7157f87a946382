"""Asynchronous copies between main memory and a device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sent(value: Tensor, device: torch.device) -> Tensor:
    """The same tensor on a device. A copy to a CUDA device is queued there, not waited for."""
    if device.type != "cuda" or value.device.type != "cpu":
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)


class Fetched:
    """Tensors that are being copied to main memory.

    From a CUDA device they go to pinned memory, on the stream that is current where this is made.
    Other devices have no copies that need not be waited for: they are made when they are waited
    for.
    """

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._values = [
            value.to("cpu", non_blocking=True) if value.is_cuda else value for value in values
        ]
        self._arrived: list[torch.cuda.Event] = []
        for device in {value.device for value in values if value.is_cuda}:
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(device))
            self._arrived.append(arrived)
        self.is_there = all(value.device.type == "cpu" for value in values)
        """Whether the tensors arrived at once: all were in main memory already."""

    def wait(self) -> list[Tensor]:
        """Wait for the copies; the tensors, on the CPU."""
        for event in self._arrived:
            event.synchronize()
        return [value.cpu() for value in self._values]
