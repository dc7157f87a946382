"""Passes over one question in which some positions may not attend to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from engine.anatomy.logit_map import difference
from engine.errors import CannotRead
from engine.lens.lens import Lens
from engine.lens.repeated import RepeatedPasses, Stop
from engine.passes.knockout import Knockout, Pairs
from engine.passes.own_keys import KeyWatch, OwnKeys, noise, own_keys

MOST_KINDS: Final = 16
"""Kinds of inputs for which it is remembered where a model attends."""
OWN_CODE: Final = (
    "{model} has no attention among its tokens in which a pair can be forbidden: it computes it in "
    "its own code"
)

_remembered: WeakKeyDictionary[Any, dict[Any, OwnKeys]] = WeakKeyDictionary()


def refusal(model: nn.Module, inputs: Mapping[str, Any]) -> str | None:
    """Why no pairs can be forbidden in passes over inputs of this kind, if that has been found."""
    known = _remembered.get(model, {}).get(_kind_of(inputs))
    if known is None or known.first:
        return None
    return OWN_CODE.format(model=type(model).__name__)


class Knocked(NamedTuple):
    """One pass in which pairs were forbidden."""

    logits: Tensor
    """The model's own, at the positions: float32 [positions, vocabulary]."""
    edited: int
    """In how many attention calls a pair was forbidden that had been allowed."""
    leak: float
    """See `Knockout.leak`."""


class Knockouts:
    """Runs passes over the inputs of one run, a batch of one, with pairs forbidden in some layers.

    What returns before the first layer, such as the vision encoder, runs once for all passes if
    that does not change the clean pass by a bit. All passes compute the logits of the positions
    alone if the model can.
    """

    def __init__(
        self,
        lens: Lens,
        inputs: Mapping[str, Any],
        positions: Sequence[int],
        stop: Stop = lambda: False,
    ) -> None:
        """Runs the clean passes; `positions` are those whose logits passes give.

        Raises CannotRead if the model has no attention in which pairs can be forbidden, Cancelled
        within one layer after `stop()` is true.
        """
        self.model = lens.model
        self._passes = RepeatedPasses(lens, inputs, positions, stop)
        self.layers = self._passes.parts.layers
        self._passes.remember()
        plain = self._passes.run()
        self._own = self._where(inputs)
        refused = refusal(self.model, inputs)
        if refused is not None:
            raise CannotRead(refused)
        self.clean = self._unforbidden()
        """The logits of a pass with the editor attached and nothing forbidden, float32 [positions,
        vocabulary]."""
        if not self.clean.equal(plain):
            self._passes.forget()
            self.clean = self._unforbidden()
        self.gap = difference(self.clean, plain)
        """The largest difference of `clean` from the logits of a pass without an editor."""

    def knocked(self, pairs: Pairs, layers: range) -> Knocked:
        """A pass in which these pairs are forbidden in these layers.

        Raises CannotRead where a mask takes no single pairs, Cancelled within one layer after
        `stop()` is true.
        """
        editor = self._editor(pairs, layers)
        logits = self._passes.run([editor])
        return Knocked(logits, editor.edited, editor.leak)

    @property
    def length(self) -> int:
        """How many tokens the sequence has."""
        return self._passes.length

    @property
    def attending(self) -> tuple[bool, ...]:
        """For each layer, whether it has attention among the tokens that can be edited."""
        return tuple(bool(self._own_of(layer)) for layer in self.layers)

    @property
    def looks_elsewhere(self) -> bool:
        """Whether layers also attend to states outside the sequence, which is left as it is."""
        return self._own.elsewhere

    def _unforbidden(self) -> Tensor:
        return self.knocked(Pairs((), ()), range(len(self.layers))).logits

    def _editor(self, pairs: Pairs, layers: range) -> Knockout:
        own = {
            module: first
            for layer in layers
            for module, first in self._own_of(self.layers[layer]).items()
        }
        return Knockout(pairs.matrix(self.length), own)

    def _own_of(self, layer: nn.Module) -> dict[nn.Module, int]:
        known = self._own.first
        return {module: known[module] for module in layer.modules() if module in known}

    def _where(self, inputs: Mapping[str, Any]) -> OwnKeys:
        """Which keys are the sequence's own; found once for each kind of inputs."""
        kind = _kind_of(inputs)
        known = _remembered.setdefault(self.model, {})
        if kind not in known:
            plain, noisy = KeyWatch(self.layers), KeyWatch(self.layers)
            self._passes.run([plain])
            self._passes.run([*noise(self.layers), noisy])
            while len(known) >= MOST_KINDS:
                known.pop(next(iter(known)))
            known[kind] = own_keys(plain, noisy, self.length)
        return known[kind]


def _kind_of(inputs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (name, tuple(value.shape) if isinstance(value, Tensor) else repr(value))
        for name, value in sorted(inputs.items())
    )
