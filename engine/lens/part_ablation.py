"""What a logit becomes if a part is taken out of the pass, and everything after it runs on."""

from __future__ import annotations

from collections.abc import Sequence

from engine.lens.ablation import Ablations
from engine.lens.logit_parts import LogitPart, LogitParts
from engine.lens.reading_parts import WHOLE_LAYER
from engine.lens.repeated import RepeatedPasses
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.part_edits import Scaled


def can_be_taken_out(part: LogitPart) -> bool:
    """Whether a part can be ablated: neither the embedding nor a bias can, nor what is added
    between two layers."""
    return not part.rest and (part.term is not None or part.name == WHOLE_LAYER)


class PartAblations(Ablations[LogitPart]):
    """Takes out parts."""

    def __init__(
        self, passes: RepeatedPasses, found: LogitParts, parts: Sequence[LogitPart]
    ) -> None:
        """See `Ablations`; `found` was read by `passes`, and may have heads for parts.

        Raises ValueError for a part that cannot be taken out.
        """
        for part in parts:
            if not can_be_taken_out(part):
                raise ValueError(f"{part.label} is the output of no module")
        self._heads: dict[tuple[int, str], int] = {}
        for part in found.parts:
            if part.head is not None and part.layer is not None:
                place = part.layer, part.name
                self._heads[place] = max(self._heads.get(place, 0), part.head + 1)
        super().__init__(passes, found.logits, parts)

    def editor(self, forward: Forward, part: LogitPart, factor: float) -> Attached:
        """See `Ablations.editor`."""
        assert part.layer is not None
        module = None if part.term is None else part.term.module
        call = 0 if part.term is None else part.term.call
        head = None
        if part.head is not None:
            module, call = part.projection, 0
            head = part.head, self._heads[part.layer, part.name]
        return Scaled(forward, part.layer, module, call, head, factor)
