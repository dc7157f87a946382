"""Memory that ran out: knowing it when it happens, and giving back what was taken."""

from __future__ import annotations

import gc
import sys


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, on whatever device; looks at what led to the error, too."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        text = str(error).lower()
        if isinstance(error, RuntimeError) and (
            "allocate memory" in text or "out of memory" in text
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def give_memory_back() -> None:
    """Free what nobody holds any more, on the devices too."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
