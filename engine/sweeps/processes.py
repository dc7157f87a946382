"""Which process this is, where `accelerate launch` started several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """One of several processes, or the only one."""

    index: int = 0
    count: int = 1
    device: str = "auto"
    """The torch device for this process alone."""


@contextmanager
def this_process(on_cpu: bool) -> Iterator[Process]:
    """This process among those that were launched together; with `on_cpu` none of them uses a GPU.
    Torch is imported only where there are several."""
    if int(os.environ.get("WORLD_SIZE", "1") or 1) < 2:
        yield Process()
        return
    import torch.distributed
    from accelerate import PartialState

    # Without `cpu=True` it takes itself for the only process where there is no accelerator.
    state = PartialState(cpu=on_cpu or not torch.accelerator.is_available())
    try:
        yield Process(state.process_index, state.num_processes, str(state.device))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
