"""What a pass can be watched and edited by: modules' inputs and outputs, and attention calls.

    mlp = lens.layers[3].mlp

    def silence(hidden: Tensor) -> Tensor:  # [batch, positions, width]
        hidden = hidden.clone()
        hidden[:, 5] = 0.0
        return hidden

    forward = Forward(model, parts, inputs, positions=[-1])
    own = forward.run(on_row, attached=[Edit(mlp, silence), Watch(lens.layers[4], seen.append)])

Editors act in the order in which they are given, each on what the one before it made. Rows, and
watchers that are given after an editor, show what the model goes on with once it has acted. Only
the pass itself is edited, not the lens's own use of the same modules: a row shows what the model's
own tail makes of the edited stream. An editor that returns what it was given changes nothing, to
the bit. When the pass has ended, nothing of all this is left on the model.
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
"""Whether what is called now is called by the pass, in its thread."""


class Attached(Protocol):
    """A watcher or an editor of one pass."""

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """In place until this is left; acts while `active()`."""


@dataclass(frozen=True)
class Watch:
    """Calls `function` with a module's input or output, whenever the pass calls the module.

    That is the first floating-point tensor of two or more axes: among the arguments those by
    position come first, then `hidden_states`; in an output the first of a tuple. For a decoder
    layer it is the residual stream, [batch, positions, width] in nearly all models. It must not be
    changed in place.
    """

    module: nn.Module
    function: Callable[[Tensor], object]
    where: Where = "output"

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """As `Attached.attached`."""

        def look(value: Tensor) -> Tensor:
            self.function(value)
            return value

        return _changed(self.module, look, self.where, active)


@dataclass(frozen=True)
class Edit:
    """Replaces a module's input or output by what `function` makes of it.

    For which tensor that is see `Watch`. `function` returns a tensor of the same shape and dtype,
    or the one that it was given; the pass ends with a ValueError where it does not. A module that
    the pass never calls is never edited, without an error.
    """

    module: nn.Module
    function: Callable[[Tensor], Tensor]
    where: Where = "output"

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """As `Attached.attached`."""
        return _changed(self.module, self.function, self.where, active)


@dataclass(frozen=True)
class AttentionWatch:
    """Calls `function` with every attention call of the pass, its output [batch, queries, heads,
    value width], and its weights [batch, heads, queries, keys], if the kernel returns them.

    With a `module`, only with the calls of that attention module; without one also with those of a
    vision tower.
    """

    function: Callable[[AttentionCall, Tensor, Tensor | None], object]
    module: nn.Module | None = None

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """As `Attached.attached`."""

        def look(call: AttentionCall) -> tuple[Tensor, Tensor | None]:
            output, weights = call.run()
            self.function(call, output, weights)
            return output, weights

        return _attention(look, self.module, active)


@dataclass(frozen=True)
class AttentionEdit:
    """Changes attention calls: `before` returns another call to be made, `after` another output.

    Position 4 may not look at the first three, where the model has an additive mask (see
    `AttentionCall.mask`):

        def blind(call: AttentionCall) -> AttentionCall:
            mask = call.mask.clone()  # [batch, 1, queries, keys]
            mask[:, :, 4, :3] = torch.finfo(mask.dtype).min
            return dataclasses.replace(call, mask=mask)

        AttentionEdit(before=blind, module=layer.self_attn)

    `after` is given the call and its output [batch, queries, heads, value width]. For `module` see
    `AttentionWatch`.
    """

    before: Callable[[AttentionCall], AttentionCall] | None = None
    after: Callable[[AttentionCall, Tensor], Tensor] | None = None
    module: nn.Module | None = None

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """As `Attached.attached`."""

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
            raise CannotRead(f"{type(module).__name__} is called without a tensor to look at")
        value = slot.get(args, kwargs)
        made = _checked(function(value), value, module)
        return None if made is value else slot.put(args, kwargs, made)

    def after(module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        if not active():
            return None
        value = first_float_tensor(output)
        if value is None:
            raise CannotRead(f"{type(module).__name__} returns no tensor to look at")
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
