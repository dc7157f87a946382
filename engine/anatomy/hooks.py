"""Forward hooks that always come off, and the places where a module's arguments hold tensors."""

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
"""Returns the arguments that the module is called with instead, or None to leave them."""
ChangeOutput = Callable[[nn.Module, Args, Kwargs, Any], Any]
"""Returns what the rest of the model gets instead of the output, or None to leave it."""


@contextmanager
def hooked(
    before: Mapping[nn.Module, BeforeCall] | None = None,
    after: Mapping[nn.Module, AfterCall] | None = None,
) -> Iterator[None]:
    """Call `before[module]` before, and `after[module]` after every call of these modules.

    The hooks observe; what they return is ignored. They are removed on leaving, whatever happens.
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
    """Let `before` change what every call of `module` receives, `after` what it returns.

    The hooks run after those that were there already, in the order in which they were added, each
    on what the one before it made. They are removed on leaving, whatever happens.
    """
    with ExitStack() as handles:
        if before is not None:
            handles.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        if after is not None:
            handles.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        yield


@contextmanager
def answering(answers: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Let these modules answer with the given functions in place of their own `forward`."""
    with ExitStack() as undo:
        for module, answer in answers.items():
            own = module.__dict__.get("forward")

            def restore(module: nn.Module = module, own: Any = own) -> None:
                if own is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = own

            undo.callback(restore)
            module.__dict__["forward"] = answer
        yield


@contextmanager
def computing(gradients: bool) -> Iterator[None]:
    """With or without gradients, in the calling thread, whatever its mode is."""
    if not gradients:
        with torch.no_grad():
            yield
    else:
        with torch.inference_mode(False), torch.enable_grad():
            yield


@contextmanager
def evaluating(model: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Eval mode, for the calling thread without gradients unless they are asked for; training flags
    are put back, and no parameter's `requires_grad` is touched."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with computing(gradients):
            yield
    finally:
        for module in training:
            module.training = True


def is_float_tensor(value: object) -> bool:
    """Whether `value` can be a residual stream."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2


def first_float_tensor(value: object) -> Tensor | None:
    """The first floating-point tensor (2-D or more) in a module's output, depth first."""
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
    """`value` (a module's output) with its first floating-point tensor replaced."""
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
    """A copy of a module's output; replacing its entries leaves the output as it is."""
    if isinstance(output, dict):
        return type(output)(**output)
    return list(output) if isinstance(output, list) else output


@dataclass(frozen=True)
class Slot:
    """Where in a call's arguments a tensor stands: a position or a keyword."""

    key: int | str

    def get(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The argument, or None where the call has none there."""
        if isinstance(self.key, int):
            return args[self.key] if self.key < len(args) else None
        return kwargs.get(self.key)

    def put(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], value: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments with `value` there."""
        args, kwargs = list(args), dict(kwargs)
        if isinstance(self.key, int):
            args[self.key] = value
        else:
            kwargs[self.key] = value
        return tuple(args), kwargs


def slots(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Slot]:
    """The places of all floating-point tensors: positions, then `hidden_states`, then keywords."""
    for index, value in enumerate(args):
        if is_float_tensor(value):
            yield Slot(index)
    for key in sorted(kwargs, key=lambda name: name != "hidden_states"):
        if is_float_tensor(kwargs[key]):
            yield Slot(key)
