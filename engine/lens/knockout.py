"""Passes over one question in which some positions may not attend to others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from engine.anatomy.logit_map import difference
from engine.errors import Cancelled, CannotRead
from engine.lens.lens import Lens, model_lock
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.knockout import Knockout, Pairs
from engine.passes.own_keys import KeyWatch, OwnKeys, noise, own_keys
from engine.passes.positions import attention_of
from engine.passes.thread import waited_for
from engine.passes.vision_reuse import VisionCache

Stop = Callable[[], bool]
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
        self.model, self._lens, self._positions, self._stop = lens.model, lens, [*positions], stop
        if stop():
            raise Cancelled("cancelled")
        self._attention = attention_of(inputs)
        self._parts = lens.learn(inputs)
        self._keeps_logits = lens.supports_logits_to_keep(inputs, stop)
        self._inputs = lens.on_device(inputs)
        self.layers = self._parts.layers
        self.length = 0
        """How many tokens the sequence has."""
        self._vision: VisionCache | None = VisionCache(self._parts.before)
        plain = self._run()
        self._own = self._where(inputs)
        refused = refusal(self.model, inputs)
        if refused is not None:
            raise CannotRead(refused)
        self.clean = self._unforbidden()
        """The logits of a pass with the editor attached and nothing forbidden, float32 [positions,
        vocabulary]."""
        if self._vision is not None and not self.clean.equal(plain):
            self._vision = None
            self.clean = self._unforbidden()
        self.gap = difference(self.clean, plain)
        """The largest difference of `clean` from the logits of a pass without an editor."""

    def knocked(self, pairs: Pairs, layers: range) -> Knocked:
        """A pass in which these pairs are forbidden in these layers.

        Raises CannotRead where a mask takes no single pairs, Cancelled within one layer after
        `stop()` is true.
        """
        editor = self._editor(pairs, layers)
        logits = self._run([editor])
        return Knocked(logits, editor.edited, editor.leak)

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
            self._run([plain])
            self._run([*noise(self.layers), noisy])
            while len(known) >= MOST_KINDS:
                known.pop(next(iter(known)))
            known[kind] = own_keys(plain, noisy, self.length)
        return known[kind]

    def _run(self, attached: Sequence[Attached] = ()) -> Tensor:
        if self._stop():
            raise Cancelled("cancelled")
        model = self.model
        forward = Forward(
            model,
            self._parts,
            self._inputs,
            self._positions,
            self._attention,
            use_logits_to_keep=self._keeps_logits,
        )

        def job() -> Tensor:
            with ExitStack() as around:
                around.enter_context(model_lock(model))
                if self._vision is not None:
                    around.enter_context(self._vision.remembering())
                return forward.run(lambda row, read: None, attached=attached)

        logits = waited_for(model, job, self._stop, forward.cancelled.set)
        self.length = forward.length
        return logits


def _kind_of(inputs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (name, tuple(value.shape) if isinstance(value, Tensor) else repr(value))
        for name, value in sorted(inputs.items())
    )
