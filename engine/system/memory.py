"""Memory that ran out: knowing it when it happens, and giving back what was taken."""

from __future__ import annotations

import gc
import sys
from typing import Any

from engine.errors import with_causes
from engine.system.library_errors import says_out_of_memory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device; looks at what led to the error, too."""
    return any(says_out_of_memory(each) for each in with_causes(error))


def give_memory_back() -> None:
    """Free what nobody holds any more, on the devices too."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_memory(device: Any = None) -> int:
    """Bytes that can still be had on a torch device, without swapping; of main memory for None."""
    if device is not None and device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    import psutil

    return int(psutil.virtual_memory().available)
