"""Ends a pass that is cancelled, or the backward pass that follows it, at the next layer: of the
model's decoder, or of what runs before that, such as a vision tower."""

from __future__ import annotations

import threading
from collections.abc import Callable

from torch import Tensor

from engine.errors import Cancelled


def end_if(cancelled: threading.Event) -> None:
    """Raises Cancelled once that is set."""
    if cancelled.is_set():
        raise Cancelled("cancelled")


def end_backward_if(cancelled: threading.Event, stream: Tensor | None) -> None:
    """Let a backward pass that comes to this tensor end there with Cancelled, once that is set."""
    if stream is not None and stream.requires_grad:
        stream.register_hook(_ending(cancelled))


def _ending(cancelled: threading.Event) -> Callable[[Tensor], None]:
    """A hook. It holds nothing that holds the tensor: the garbage collector does not see a tensor's
    hooks."""

    def look(gradient: Tensor) -> None:
        end_if(cancelled)

    return look
