"""The attention calls of a model, with whatever kernel it runs.

An attention module asks `AttentionInterface.get_interface` of transformers for the function that it
then calls. What is returned there can be wrapped for as long as a pass takes: nothing of the config
changes, the masks are those of the model's own kernel, and where nothing is edited nothing is
computed otherwise. A family that calls softmax itself does not come by here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

Kernel = Callable[..., "tuple[Tensor, Tensor | None]"]
"""f(module, query, key, value, mask, ...) to the output and, from some kernels, the weights."""
Wrap = Callable[[Kernel, Kernel], Kernel]
"""From a kernel, and the eager function of the model's own file, to what is called instead."""


@dataclass(frozen=True)
class AttentionCall:
    """One attention call, as the model makes it: after rotation, norms and the KV cache."""

    module: nn.Module
    """The attention module that calls; in a vision tower or a decoder layer."""
    query: Tensor
    """[batch, heads, queries, width]"""
    key: Tensor
    """[batch, key/value heads, keys, width]; heads may share one of them."""
    value: Tensor
    """[batch, key/value heads, keys, value width]"""
    mask: Any
    """As the kernel takes it: [batch, 1 or heads, queries, keys], additive or boolean; a kernel's
    own object; or None, where all keys count, or the kernel itself rules out those after a query.
    `eager` takes additive masks only, and rules nothing out itself."""
    args: tuple[Any, ...]
    """What else the kernel is called with by position, which few models do."""
    kwargs: Mapping[str, Any]
    """Scaling, dropout, soft-cap, sinks and what else the kernel takes."""
    kernel: Kernel
    """What the model calls."""
    eager: Kernel
    """The function of the model's own file, which also returns the weights."""

    def run(self, kernel: Kernel | None = None) -> tuple[Tensor, Tensor | None]:
        """Make this call: its output [batch, queries, heads, value width], and the weights [batch,
        heads, queries, keys] where the kernel returns them."""
        call = (self.module, self.query, self.key, self.value, self.mask, *self.args)
        output, weights = (kernel or self.kernel)(*call, **self.kwargs)
        return output, weights


_wraps: dict[int, list[Wrap]] = {}
"""Per thread, the innermost first."""
_guard = threading.Lock()
_restore: list[Callable[[], None]] = []
"""Puts the lookup of transformers back, while ours is in its place."""


@contextmanager
def wrapping_attention(wrap: Wrap) -> Iterator[None]:
    """Let this thread's attention modules call `wrap(kernel, eager)` instead of their kernel.

    Several can be nested; the one that was entered last is the outermost. The lookup is the one
    of transformers again as soon as no thread wraps anything.
    """
    from transformers.modeling_utils import AttentionInterface

    thread = threading.get_ident()
    with _guard:
        if not _wraps:
            own = AttentionInterface.get_interface
            _restore.append(partial(setattr, AttentionInterface, "get_interface", own))
            AttentionInterface.get_interface = _looking_up(own)
        _wraps.setdefault(thread, []).append(wrap)
    try:
        yield
    finally:
        with _guard:
            _wraps[thread].remove(wrap)
            if not _wraps[thread]:
                del _wraps[thread]
            if not _wraps:
                _restore.pop()()


def _looking_up(own: Callable[..., Kernel]) -> Callable[..., Kernel]:
    def get_interface(self: Any, implementation: str, default: Kernel) -> Kernel:
        kernel = own(self, implementation, default)
        for wrap in _wraps.get(threading.get_ident(), ()):
            kernel = wrap(kernel, default)
        return kernel

    return get_interface
