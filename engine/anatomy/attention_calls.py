"""Intercepts the attention calls of a model, whichever attention kernel it uses.

An attention module of transformers looks its function up with `AttentionInterface.get_interface`
and then calls it. That lookup is wrapped for the duration of a pass, so the config stays as it is,
the masks are those of the model's own kernel, and an unedited call computes exactly what it would
have computed. A family that calls softmax itself cannot be intercepted here.
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
"""f(module, query, key, value, mask, ...) -> (output, attention weights or None)."""
Wrap = Callable[[Kernel, Kernel], Kernel]
"""f(kernel, eager function of the model's own file) -> the kernel that is called instead."""


@dataclass(frozen=True)
class AttentionCall:
    """The arguments of one attention call: after rotary embedding, query/key norms and KV cache."""

    module: nn.Module
    """The calling attention module, in a vision tower or a decoder layer."""
    query: Tensor
    """[batch, heads, queries, head width]"""
    key: Tensor
    """[batch, key/value heads, keys, head width]; with grouped-query attention several heads share
    one key/value head."""
    value: Tensor
    """[batch, key/value heads, keys, value width]"""
    mask: Any
    """The mask in the kernel's own format: [batch, 1 or heads, queries, keys], additive or boolean;
    an object that only this kernel understands; or None, where every key is visible or the kernel
    applies the causal mask itself. `eager` accepts additive masks only and never adds a causal
    mask."""
    args: tuple[Any, ...]
    """Further positional arguments; few models pass any."""
    kwargs: Mapping[str, Any]
    """Keyword arguments: scaling, dropout, soft-cap, attention sinks and the like."""
    kernel: Kernel
    """The function that the model calls."""
    eager: Kernel
    """The eager function of the model's own file, which also returns the attention weights."""

    def run(self, kernel: Kernel | None = None) -> tuple[Tensor, Tensor | None]:
        """Make this call, with `kernel` if given, else with the model's own.

        Returns the output [batch, queries, heads, value width], and the attention weights [batch,
        heads, queries, keys] if the kernel returns them.
        """
        call = (self.module, self.query, self.key, self.value, self.mask, *self.args)
        output, weights = (kernel or self.kernel)(*call, **self.kwargs)
        return output, weights


_wraps: dict[int, list[Wrap]] = {}
"""The active wrappers by thread id, the innermost first."""
_guard = threading.Lock()
_restore: list[Callable[[], None]] = []
"""Holds one function while the lookup is replaced: it puts transformers' own lookup back."""


@contextmanager
def wrapping_attention(wrap: Wrap) -> Iterator[None]:
    """Let attention modules that run in this thread call `wrap(kernel, eager)`, not `kernel`.

    Wrappers can be nested; the one that was entered last is the outermost. The lookup of
    transformers is restored as soon as no thread has an active wrapper.
    """
    from transformers.modeling_utils import AttentionInterface

    thread = threading.get_ident()
    with _guard:
        if not _wraps:
            original = AttentionInterface.get_interface
            _restore.append(partial(setattr, AttentionInterface, "get_interface", original))
            AttentionInterface.get_interface = _wrapping_lookup(original)
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


def _wrapping_lookup(original: Callable[..., Kernel]) -> Callable[..., Kernel]:
    def get_interface(self: Any, implementation: str, default: Kernel) -> Kernel:
        kernel = original(self, implementation, default)
        for wrap in _wraps.get(threading.get_ident(), ()):
            kernel = wrap(kernel, default)
        return kernel

    return get_interface
