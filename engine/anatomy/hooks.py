"""Forward hooks that are always removed, and finding the tensors in a module's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
BeforeCall = Callable[[nn.Module, Args, Kwargs], None]
AfterCall = Callable[[nn.Module, Args, Kwargs, Any], None]
ChangeCall = Callable[[nn.Module, Args, Kwargs], "tuple[Args, Kwargs] | None"]
"""Returns the arguments to call the module with instead, or None to leave them unchanged."""
ChangeOutput = Callable[[nn.Module, Args, Kwargs, Any], Any]
"""Returns the output that replaces the module's own, or None to leave it unchanged."""


@contextmanager
def hooked(
    before: Mapping[nn.Module, BeforeCall] | None = None,
    after: Mapping[nn.Module, AfterCall] | None = None,
) -> Iterator[None]:
    """Call `before[module]` before and `after[module]` after every call of that module.

    The hooks only observe: what they return is ignored. They are removed when the context is left,
    also by an exception.
    """
    with ExitStack() as handles:
        for module, watch in (before or {}).items():
            handles.callback(
                module.register_forward_pre_hook(_observe(watch), with_kwargs=True).remove
            )
        for module, watch_after in (after or {}).items():
            handles.callback(
                module.register_forward_hook(_observe(watch_after), with_kwargs=True).remove
            )
        yield


def _observe(watch: Callable[..., None]) -> Callable[..., None]:
    def observer(*call: Any) -> None:
        watch(*call)

    return observer


@contextmanager
def changing(
    module: nn.Module, before: ChangeCall | None = None, after: ChangeOutput | None = None
) -> Iterator[None]:
    """Let `before` change the arguments of every call of `module`, and `after` change its output.

    The hooks run after those that are already registered; each gets what the hook before it
    returned. They are removed when the context is left, also by an exception.
    """
    with ExitStack() as handles:
        if before is not None:
            handles.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        if after is not None:
            handles.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        yield


@contextmanager
def answering(answers: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Replace the `forward` of these modules by the given functions until the context is left."""
    with ExitStack() as undo:
        for module, answer in answers.items():
            original = module.__dict__.get("forward")

            def restore(module: nn.Module = module, original: Any = original) -> None:
                if original is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = original

            undo.callback(restore)
            module.__dict__["forward"] = answer
        yield


@contextmanager
def computing(gradients: bool, inference: bool = False) -> Iterator[None]:
    """Switch gradients on or off for the calling thread, whatever its current mode; off with
    `inference` in torch's inference mode."""
    if not gradients:
        with torch.inference_mode() if inference else torch.no_grad():
            yield
    else:
        with torch.inference_mode(False), torch.enable_grad():
            yield


@contextmanager
def evaluating(
    model: nn.Module, gradients: bool = False, inference: bool = False
) -> Iterator[None]:
    """Put the model into eval mode, and run the calling thread as `computing` does.

    The training flags are restored afterwards; no parameter's `requires_grad` is touched.
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with computing(gradients, inference):
            yield
    finally:
        for module in training:
            module.training = True


def is_hooked(module: nn.Module) -> bool:
    """Whether calling a module runs more than what its class defines: forward hooks, or a `forward`
    that was set on the module itself."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def is_float_tensor(value: object) -> bool:
    """Whether `value` can be a residual stream: a floating-point tensor of two or more axes."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2


def first_float_tensor(value: object) -> Tensor | None:
    """The first floating-point tensor of two or more axes in a module's output, depth first."""
    if isinstance(value, Tensor):
        return value if is_float_tensor(value) else None
    inner: Sequence[object] = ()
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, (tuple, list)):
        inner = value
    for item in inner:
        found = first_float_tensor(item)
        if found is not None:
            return found
    return None


def with_first_tensor(value: Any, replacement: Tensor) -> Any:
    """A module's output `value` with its first floating-point tensor replaced."""
    if isinstance(value, Tensor):
        return replacement
    keyed = isinstance(value, Mapping)
    items = list(value.values()) if keyed else list(value)
    for index, item in enumerate(items):
        if first_float_tensor(item) is not None:
            items[index] = with_first_tensor(item, replacement)
            break
    if keyed:
        return type(value)(**dict(zip(value, items, strict=True)))
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def shallow_copy(output: Any) -> Any:
    """A shallow copy of a module's output: entries of the copy can be replaced safely."""
    if isinstance(output, dict):
        return type(output)(**output)
    return list(output) if isinstance(output, list) else output


@dataclass(frozen=True)
class Slot:
    """Which argument of a call holds a tensor: a position or a keyword."""

    key: int | str

    def get(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The argument, or None if the call does not have it."""
        if isinstance(self.key, int):
            return args[self.key] if self.key < len(args) else None
        return kwargs.get(self.key)

    def put(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], value: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A copy of the arguments in which this one is `value`."""
        args, kwargs = list(args), dict(kwargs)
        if isinstance(self.key, int):
            args[self.key] = value
        else:
            kwargs[self.key] = value
        return tuple(args), kwargs


def slots(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Slot]:
    """The slots of all floating-point tensors: positional ones, then `hidden_states`, then other
    keywords."""
    for index, value in enumerate(args):
        if is_float_tensor(value):
            yield Slot(index)
    for key in sorted(kwargs, key=lambda name: name != "hidden_states"):
        if is_float_tensor(kwargs[key]):
            yield Slot(key)
