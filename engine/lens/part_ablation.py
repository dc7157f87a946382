"""What a logit becomes if a part is taken out of the pass, and everything after it runs on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.anatomy.logit_map import difference
from engine.lens.logit_parts import LogitPart, LogitParts
from engine.lens.reading_parts import WHOLE_LAYER, watching_head
from engine.lens.repeated import RepeatedPasses
from engine.passes.edits import Attached
from engine.passes.part_edits import Scaled


def can_be_taken_out(part: LogitPart) -> bool:
    """Whether a part can be ablated: neither the embedding nor a bias can, nor what is added
    between two layers."""
    return not part.rest and (part.term is not None or part.name == WHOLE_LAYER)


class PartAblations:
    """Runs passes over the inputs of one run in which one part is zero at the position.

    What returns before the first layer runs once for all passes if that does not change the clean
    pass by a bit.
    """

    def __init__(
        self, passes: RepeatedPasses, found: LogitParts, parts: Sequence[LogitPart]
    ) -> None:
        """Runs clean passes, in which the editors of `parts` are attached and change nothing;
        `found` was read by `passes`, and may have heads for parts.

        Raises ValueError for a part that cannot be taken out, Cancelled within one layer after the
        `stop()` of `passes` is true.
        """
        self._passes, self._found, self._parts = passes, found, parts
        for part in parts:
            if not can_be_taken_out(part):
                raise ValueError(f"{part.label} is the output of no module")
        self._heads: dict[tuple[int, str], int] = {}
        for part in found.parts:
            if part.head is not None and part.layer is not None:
                place = part.layer, part.name
                self._heads[place] = max(self._heads.get(place, 0), part.head + 1)
        passes.remember()
        self._clean()
        self.gap = difference(self._clean(), found.logits)
        """How far the logits of the clean pass are from those of the pass that `found` is of."""
        if self.gap:
            passes.forget()
            self.gap = difference(self._clean(), found.logits)

    def without(self, part: LogitPart) -> Tensor:
        """The head's own output when a part is zero at the position, float32 [vocabulary].

        `part` is one of those that were named. Raises Cancelled within one layer after `stop()` is
        true.
        """
        into: list[Tensor] = []
        self._run([part], 0.0, into)
        return into[0]

    def _clean(self) -> Tensor:
        return self._run(self._parts, 1.0, [])

    def _run(self, parts: Sequence[LogitPart], factor: float, into: list[Tensor]) -> Tensor:
        forward = self._passes.forward()
        opened = self._passes.parts.tail.opened()
        attached: list[Attached] = []
        for part in parts:
            assert part.layer is not None
            module = None if part.term is None else part.term.module
            call = 0 if part.term is None else part.term.call
            head = None
            if part.head is not None:
                module, head = part.projection, (part.head, self._heads[part.layer, part.name])
            attached.append(Scaled(forward, part.layer, module, call, head, factor))
        if not isinstance(opened, str):
            attached.append(watching_head(opened, forward, into))
        return self._passes.run(attached, forward)[0].cpu()
