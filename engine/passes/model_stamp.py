"""Tells whether a model would still compute what it did: what a pass has left is of use only to the
same model.

The values of weights are not compared, which would take longer than what is saved. A change shows
in where they lie, in the counters by which torch numbers changes in place, and in what is hooked
onto the modules. What is written through `tensor.data` into the same memory does not show.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final

from torch import Tensor, nn

from engine.passes.model_state import Place

Stamp = tuple[object, ...]
"""Equal to another as long as the model has not been changed."""

ADAPTED: Final = ("_active_adapter", "_disable_adapters", "merged_adapters", "scaling")
"""Where peft's layers say which adapters they add, and how much of them."""


def stamp_of(model: nn.Module, but: Container[Place]) -> Stamp:
    """The stamp of a model, to be made by whoever holds its lock: of its modules, parameters and
    buffers (those at the places `but` aside, in which passes leave what they like), hooks, patched
    forwards, adapters, and attention implementations."""
    found: list[object] = []
    configs: dict[int, Any] = {}
    for module in model.modules():
        own = vars(module)
        found.append(id(module))
        found.extend(map(_tensor, own["_parameters"].values()))
        for name, value in own["_buffers"].items():
            if (module, name) not in but:
                found.append(_tensor(value))
        for hooks in (own["_forward_pre_hooks"], own["_forward_hooks"]):
            if hooks:
                found.extend(hooks)  # their keys: torch numbers all hooks of a process
        if "forward" in own:
            found.append(own["forward"])
        if "_active_adapter" in own:
            found.extend(repr(getattr(module, name, None)) for name in ADAPTED)
        if "config" in own:
            configs[id(own["config"])] = own["config"]
    found.extend(getattr(config, "_attn_implementation", None) for config in configs.values())
    return tuple(found)


def _tensor(value: Tensor | None) -> object:
    if value is None:
        return None
    version = -1 if value.is_inference() else value._version
    try:
        where = value.data_ptr()
    except (RuntimeError, NotImplementedError):  # some wrapped tensors have no memory of their own
        where = id(value)
    return where, version, value.dtype, value.device
