"""Memory: how much is free, whether an error says that it ran out, and how to free it."""

from __future__ import annotations

import gc
import sys
from typing import Any

from engine.errors import with_causes
from engine.system.library_errors import says_out_of_memory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that memory ran out on some device."""
    return any(says_out_of_memory(each) for each in with_causes(error))


def give_memory_back() -> None:
    """Collect garbage, and return the cached memory of CUDA devices to the driver."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_memory(device: Any = None) -> int:
    """Bytes that can be allocated on a torch device, or (None) in main memory without swapping."""
    if device is not None and device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    import psutil

    return int(psutil.virtual_memory().available)
