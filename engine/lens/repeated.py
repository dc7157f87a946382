"""Many passes over one question, each watched or edited in another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.errors import Cancelled
from engine.lens.lens import Lens, model_lock
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.positions import attention_of
from engine.passes.thread import waited_for
from engine.passes.vision_reuse import VisionCache

Stop = Callable[[], bool]


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

    def forward(self) -> Forward:
        """The next pass, for whatever has to be attached to it."""
        return Forward(
            self.model,
            self.parts,
            self._inputs,
            self._positions,
            self._attention,
            use_logits_to_keep=self._keeps_logits,
        )

    def run(
        self,
        attached: Sequence[Attached] = (),
        forward: Forward | None = None,
        on_row: Callable[[int, RowStream], None] = lambda row, read: None,
    ) -> Tensor:
        """Run a pass, and return its logits at the positions, float32 [positions, vocabulary].

        Raises Cancelled within one layer after `stop()` is true, and what `Forward.run` raises.
        """
        if self._stop():
            raise Cancelled("cancelled")
        passed = self.forward() if forward is None else forward

        def job() -> Tensor:
            with ExitStack() as around:
                around.enter_context(model_lock(self.model))
                if self.vision is not None:
                    around.enter_context(self.vision.remembering())
                return passed.run(on_row, attached=attached)

        logits = waited_for(self.model, job, self._stop, passed.cancelled.set)
        self.length = passed.length
        return logits
