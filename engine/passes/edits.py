"""Watchers and editors of a forward pass: of modules' inputs and outputs, and of attention calls.

    mlp = lens.layers[3].mlp

    def silence(hidden: Tensor) -> Tensor:  # [batch, positions, width]
        hidden = hidden.clone()
        hidden[:, 5] = 0.0
        return hidden

    forward = Forward(model, parts, inputs, positions=[-1])
    logits = forward.run(on_row, attached=[Edit(mlp, silence), Watch(lens.layers[4], seen.append)])

Editors act in the order in which they are given; each gets the tensor that the editor before it
returned. Rows, and watchers that are given after an editor, see the edited tensor. Only the pass is
edited, not the lens's own calls of the same modules: a row shows what the unedited tail makes of
the edited stream. An editor that returns the tensor it was given changes nothing, to the bit. All
hooks are removed when the pass ends.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from engine.anatomy.attention_calls import AttentionCall, Kernel, wrapping_attention
from engine.anatomy.hooks import (
    Args,
    Kwargs,
    changing,
    first_float_tensor,
    slots,
    with_first_tensor,
)
from engine.errors import CannotRead

Where = Literal["input", "output"]
Active = Callable[[], bool]
"""Whether the current call is made by the pass itself, not by the lens or another thread."""


class Attached(Protocol):
    """A watcher or an editor of one pass."""

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """A context in which this is attached; it only acts while `active()` is true."""


@dataclass(frozen=True)
class Watch:
    """Calls `function` with a module's input or output whenever the pass calls the module.

    The input or output is its first floating-point tensor of two or more axes. Of the arguments,
    positional ones come first, then `hidden_states`; of a tuple output, the first entry. For a
    decoder layer that is the residual stream, [batch, positions, width] in nearly all models.
    `function` must not change the tensor in place.
    """

    module: nn.Module
    function: Callable[[Tensor], object]
    where: Where = "output"

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `Attached.attached`."""

        def look(value: Tensor) -> Tensor:
            self.function(value)
            return value

        return _changed(self.module, look, self.where, active)


@dataclass(frozen=True)
class Edit:
    """Replaces a module's input or output by what `function` returns for it.

    `Watch` says which tensor that is. `function` must return a tensor of the same shape and dtype,
    or the pass raises ValueError. No error is raised if the pass never calls the module.
    """

    module: nn.Module
    function: Callable[[Tensor], Tensor]
    where: Where = "output"

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `Attached.attached`."""
        return _changed(self.module, self.function, self.where, active)


@dataclass(frozen=True)
class AttentionWatch:
    """Calls `function(call, output, weights)` after every attention call of the pass.

    `output` is [batch, queries, heads, value width]; `weights` is [batch, heads, queries, keys], or
    None if the kernel does not return them. With a `module`, only calls of that attention module
    count; without one, those of a vision tower do too.
    """

    function: Callable[[AttentionCall, Tensor, Tensor | None], object]
    module: nn.Module | None = None

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `Attached.attached`."""

        def look(call: AttentionCall) -> tuple[Tensor, Tensor | None]:
            output, weights = call.run()
            self.function(call, output, weights)
            return output, weights

        return _attention(look, self.module, active)


@dataclass(frozen=True)
class AttentionEdit:
    """Edits attention calls: `before` returns the call to make, `after` the output to use.

    For example, keep position 4 from attending to the first three positions, in a model with an
    additive mask (see `AttentionCall.mask`):

        def blind(call: AttentionCall) -> AttentionCall:
            mask = call.mask.clone()  # [batch, 1, queries, keys]
            mask[:, :, 4, :3] = torch.finfo(mask.dtype).min
            return dataclasses.replace(call, mask=mask)

        AttentionEdit(before=blind, module=layer.self_attn)

    `after` gets the call and its output [batch, queries, heads, value width], and must return a
    tensor of the same shape and dtype. For `module` see `AttentionWatch`.
    """

    before: Callable[[AttentionCall], AttentionCall] | None = None
    after: Callable[[AttentionCall, Tensor], Tensor] | None = None
    module: nn.Module | None = None

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `Attached.attached`."""

        def edited(call: AttentionCall) -> tuple[Tensor, Tensor | None]:
            if self.before is not None:
                call = self.before(call)
            output, weights = call.run()
            if self.after is not None:
                output = _checked(self.after(call, output), output, call.module)
            return output, weights

        return _attention(edited, self.module, active)


def _changed(
    module: nn.Module, function: Callable[[Tensor], Tensor], where: Where, active: Active
) -> AbstractContextManager[None]:
    def before(module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        if not active():
            return None
        slot = next(slots(args, kwargs), None)
        if slot is None:
            raise CannotRead(f"{type(module).__name__} is called without a floating-point tensor")
        value = slot.get(args, kwargs)
        made = _checked(function(value), value, module)
        return None if made is value else slot.put(args, kwargs, made)

    def after(module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        if not active():
            return None
        value = first_float_tensor(output)
        if value is None:
            raise CannotRead(f"{type(module).__name__} returns no floating-point tensor")
        made = _checked(function(value), value, module)
        return None if made is value else with_first_tensor(output, made)

    return changing(module, before) if where == "input" else changing(module, after=after)


def _attention(
    make: Callable[[AttentionCall], tuple[Tensor, Tensor | None]],
    only: nn.Module | None,
    active: Active,
) -> AbstractContextManager[None]:
    def wrap(kernel: Kernel, eager: Kernel) -> Kernel:
        def called(
            module: nn.Module,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attention_mask: Any,
            *args: Any,
            **kwargs: Any,
        ) -> tuple[Tensor, Tensor | None]:
            call = AttentionCall(
                module, query, key, value, attention_mask, args, kwargs, kernel, eager
            )
            if not active() or (only is not None and module is not only):
                return call.run()
            return make(call)

        return called

    return wrapping_attention(wrap)


def _checked(made: Tensor, value: Tensor, module: nn.Module) -> Tensor:
    if not isinstance(made, Tensor) or (made.shape, made.dtype) != (value.shape, value.dtype):
        found = (
            f"{list(made.shape)} {made.dtype}" if isinstance(made, Tensor) else type(made).__name__
        )
        raise ValueError(
            f"an edit of {type(module).__name__} returned {found}, "
            f"not {list(value.shape)} {value.dtype}"
        )
    return made
