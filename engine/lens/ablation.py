"""What a logit becomes if something is taken out of the pass, and everything after it runs on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor

from engine.anatomy.logit_map import difference
from engine.lens.reading_parts import watching_head
from engine.lens.repeated import RepeatedPasses
from engine.passes.edits import Attached
from engine.passes.forward import Forward

TakenOut = TypeVar("TakenOut")


class Ablations(ABC, Generic[TakenOut]):
    """Runs passes over the inputs of one run in which one of several things is zero at the
    position.

    What returns before the first layer runs once for all passes if that does not change the clean
    pass by a bit.
    """

    def __init__(self, passes: RepeatedPasses, logits: Tensor, things: Sequence[TakenOut]) -> None:
        """Runs clean passes, in which the editors of all things are attached and change nothing;
        `logits` are those of a plain pass of `passes`.

        Raises Cancelled within one layer after the `stop()` of `passes` is true.
        """
        self._passes, self._things = passes, things
        passes.remember()
        self.gap = difference(self._clean(), logits)
        """How far the logits of the clean pass are from `logits`."""
        if self.gap:
            passes.forget()
            self.gap = difference(self._clean(), logits)

    @abstractmethod
    def editor(self, forward: Forward, thing: TakenOut, factor: float) -> Attached:
        """What multiplies a thing by a factor at the position of a pass."""

    def without(self, thing: TakenOut) -> Tensor:
        """The head's own output when one of the things is zero at the position, float32
        [vocabulary].

        Raises Cancelled within one layer after `stop()` is true.
        """
        into: list[Tensor] = []
        self.run([thing], 0.0, into)
        return into[0]

    def run(self, things: Sequence[TakenOut], factor: float, into: list[Tensor]) -> Tensor:
        """Run a pass with some things multiplied by a factor; return its logits at the position,
        float32 [vocabulary], and leave the head's own output in `into`."""
        forward = self._passes.forward()
        opened = self._passes.parts.tail.opened()
        attached = [self.editor(forward, thing, factor) for thing in things]
        if not isinstance(opened, str):
            attached.append(watching_head(opened, forward, into))
        return self._passes.run(attached, forward)[0].cpu()

    def _clean(self) -> Tensor:
        return self.run(self._things, 1.0, [])
