"""Many passes over one question, each watched or edited in another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from engine.anatomy.hooks import computing
from engine.anatomy.tail import RowStream
from engine.errors import Cancelled, CannotRead
from engine.lens.lens import Lens, model_lock
from engine.passes.edits import Attached
from engine.passes.ending import end_if
from engine.passes.forward import Forward
from engine.passes.gradients import frozen_parameters
from engine.passes.positions import attention_of
from engine.passes.thread import waited_for
from engine.passes.vision_reuse import VisionCache

Stop = Callable[[], bool]
Found = TypeVar("Found")
NO_GRADIENT: Final = "the model computes without gradients what lies between this and its logits"


class RepeatedPasses:
    """Runs passes over the inputs of one run, a batch of one.

    After `remember`, what returns before the first layer, such as the vision encoder, runs once for
    all passes: whether that changes nothing is for the caller to see. All passes compute the logits
    of the positions alone if the model can.
    """

    def __init__(
        self, lens: Lens, inputs: Mapping[str, Any], positions: Sequence[int], stop: Stop
    ) -> None:
        """`positions` are those that passes read.

        Raises CannotRead if the model cannot be read, Cancelled within one layer after `stop()` is
        true.
        """
        if stop():
            raise Cancelled("cancelled")
        self.model, self._positions, self._stop = lens.model, [*positions], stop
        self._attention = attention_of(inputs)
        self.parts = lens.learn(inputs)
        self._keeps_logits = lens.supports_logits_to_keep(inputs, stop)
        self._inputs = lens.on_device(inputs)
        self.vision: VisionCache | None = None
        self.length = 0
        """How many tokens the sequence has, once a pass has run."""

    def remember(self) -> None:
        """From now on, use what the pass before has computed before the first layer."""
        self.vision = VisionCache(self.parts.before)

    def forget(self) -> None:
        """From now on, compute everything in every pass."""
        self.vision = None

    def compute_all_logits(self) -> None:
        """From now on, let the model compute the logits of all positions."""
        self._keeps_logits = False

    def forward(self, inputs: Mapping[str, Any] | None = None) -> Forward:
        """The next pass, for whatever has to be attached to it: over the run's inputs, or over
        `inputs`, several items of the same lengths, which are on the device."""
        attention = self._attention if inputs is None else attention_of(inputs)
        return Forward(
            self.model,
            self.parts,
            self._inputs if inputs is None else inputs,
            self._positions,
            attention,
            use_logits_to_keep=self._keeps_logits,
        )

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The run's inputs, on the device."""
        return self._inputs

    def run(
        self,
        attached: Sequence[Attached] = (),
        forward: Forward | None = None,
        on_row: Callable[[int, RowStream], None] = lambda row, read: None,
    ) -> Tensor:
        """Run a pass, and return its logits at the positions, float32 [positions, vocabulary].

        Raises Cancelled within one layer after `stop()` is true, and what `Forward.run` raises.
        """
        passed = self.forward() if forward is None else forward
        return self._carried_out(passed, lambda: passed.run(on_row, attached=attached))

    def differentiate(
        self,
        forward: Forward,
        attached: Sequence[Attached],
        target: Callable[[Tensor], Tensor],
        leaves: Callable[[], Sequence[Tensor]],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run a pass with gradients, and go back from it: the logits at the positions, and the
        derivative of `target(logits)` by each of `leaves()`, which is called after the pass.

        No gradient is taken with respect to parameters, and what they require is afterwards as it
        was. Nothing of the graph is left. Raises what `run` does, and CannotRead if the target does
        not depend on the leaves, as far as torch knows.
        """

        def job() -> tuple[Tensor, tuple[Tensor, ...]]:
            with frozen_parameters(self.model), computing(gradients=True):
                logits = forward.run(lambda row, read: None, attached=attached, gradients=True)
                value, by = target(logits), [*leaves()]
                if not value.requires_grad:
                    raise CannotRead(NO_GRADIENT)
                found = torch.autograd.grad(value, by, allow_unused=True)
                end_if(forward.cancelled)
                if all(each is None for each in found):
                    raise CannotRead(NO_GRADIENT)
                pairs = zip(found, by, strict=True)
                whole = tuple(
                    torch.zeros_like(leaf) if each is None else each for each, leaf in pairs
                )
                return logits.detach(), whole

        return self._carried_out(forward, job)

    def _carried_out(self, forward: Forward, pass_: Callable[[], Found]) -> Found:
        """Do what runs this pass in the model's thread, and wait for it."""
        if self._stop():
            raise Cancelled("cancelled")

        def job() -> Found:
            with ExitStack() as around:
                around.enter_context(model_lock(self.model))
                if self.vision is not None:
                    around.enter_context(self.vision.remembering())
                return pass_()

        found = waited_for(self.model, job, self._stop, forward.cancelled.set)
        self.length = forward.length
        return found
