"""What a pass leaves on the model's modules beside its output.

Some models keep a tensor of the last prompt as an attribute, and count the positions of the tokens
that follow from it: continued from the keys and values of another prompt, they would count wrongly.
Which attributes these are is observed, never known by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Place = tuple[nn.Module, str]
"""A module and the name of an attribute or a buffer of it."""


class ModelState:
    """The attributes of a model in which passes have been seen to leave tensors.

    To be used by whoever holds the model's lock.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._places: dict[Place, Tensor | None] = {}
        """The attributes, each with what it held before it was first seen to change."""
        self._written: set[Place] = set()
        """Those of them that the last observed pass has changed."""

    def __contains__(self, place: object) -> bool:
        """Whether passes have been seen to change this attribute."""
        return place in self._places

    @contextmanager
    def observed(self) -> Iterator[None]:
        """A context for a pass over a whole prompt: notes which attributes it changes."""
        before = {place: (value, _version(value)) for place, value in self._all()}
        self._written.clear()
        try:
            yield
        finally:
            for place, value in self._all():
                known = before.get(place)
                changed = known is None or known[0] is not value or known[1] != _version(value)
                # An attribute that only appears is no state of a prompt unless it holds a tensor.
                if changed and (known is not None or value is not None):
                    self._places.setdefault(place, None if known is None else known[0])
                    self._written.add(place)

    def now(self) -> dict[Place, Tensor | None]:
        """Copies of what these attributes hold after the pass that was observed last; where it has
        left one as it was, what it held before any pass: the rest is of another prompt."""
        found: dict[Place, Tensor | None] = {}
        for (module, name), before in self._places.items():
            written = (module, name) in self._written
            value = _holder(module, name).get(name) if written else before
            found[module, name] = value.clone() if isinstance(value, Tensor) else None
        return found

    @contextmanager
    def put_back(self, state: Mapping[Place, Tensor | None]) -> Iterator[None]:
        """A context in which the attributes hold copies of `state`, and what they held before any
        pass where `state` does not know them; afterwards they hold what they held before, in every
        case."""
        state = {**self._places, **state}
        held = {(module, name): _holder(module, name).get(name) for module, name in state}
        try:
            for (module, name), value in state.items():
                _holder(module, name)[name] = None if value is None else value.clone()
            yield
        finally:
            for (module, name), value in held.items():
                _holder(module, name)[name] = value

    def _all(self) -> Iterator[tuple[Place, Tensor | None]]:
        for module in self._model.modules():
            for holder in (vars(module), module._buffers):
                for name, value in holder.items():
                    if value is None or isinstance(value, Tensor):
                        yield (module, name), value


def _holder(module: nn.Module, name: str) -> dict[str, Any]:
    return module._buffers if name in module._buffers else vars(module)


def _version(value: Tensor | None) -> int | None:
    # A tensor made in inference mode has none; such a one is always new after a pass.
    return None if value is None or value.is_inference() else value._version
