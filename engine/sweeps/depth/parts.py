"""What every part of the model wrote of an item's answer; see `engine.methods.parts`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from engine.errors import BadInput
from engine.methods.parts import PROVED
from engine.records import ReadingProof, Token, finite
from engine.sweeps.depth.depth_read import DepthRead
from engine.sweeps.records import DepthCurve, DepthOrder, DepthSet, PartShares

if TYPE_CHECKING:
    from engine.lens.logit_parts import LogitParts
    from engine.models.loading import LoadedModel
    from engine.records import Question
    from engine.sweeps.items import Item
    from engine.sweeps.records import SweepItem

ANSWER: Final = "answer minus runner-up"
TRUTH: Final = "truth minus best other"
SUM: Final = "sum"
BETWEEN: Final = "added between layers"


class Parts(DepthRead):
    """Takes the logits of the position that answers apart, in a pass of its own for each item."""

    name: ClassVar[str] = "parts"
    record: ClassVar[type[PartShares]] = PartShares
    title: ClassVar[str] = "Which parts of the model wrote the answer, by depth"
    words: ClassVar[str] = (
        "Means of what the embedding, every attention and every MLP add to a difference of two "
        "logits, with the final norm as it is at the end: those of the two best tokens, and where "
        "the truth is known that of its best first token minus that of the best token that begins "
        "no spelling of it, negative where the answer is wrong. All parts sum to the difference. "
        "Which part wrote an answer is not which one was needed."
    )

    def order(self, settings: Mapping[str, str], seed: int) -> DepthOrder:
        """See `DepthRead.order`."""
        if settings:
            raise BadInput(
                "a sweep's parts take no settings: they are of the answer and of the truth, at the "
                "position that answers"
            )
        return DepthOrder()

    def reader(self, loaded: LoadedModel, question: Question, order: DepthOrder) -> PartsReader:
        """See `DepthRead.reader`."""
        return PartsReader(loaded)


class PartsReader:
    """Reads the parts of one item at a time."""

    name = Parts.name

    def __init__(self, loaded: LoadedModel) -> None:
        from engine.prompts.token_texts import texts_for

        self._lens = loaded.lens
        self._text_of = texts_for(loaded.model)

    def read(self, item: Item, record: SweepItem) -> PartShares:
        """See `ItemReader.read`."""
        from engine.lens.ranking import Blocks
        from engine.lens.reading_parts import read_parts
        from engine.sweeps.item_reader import attempted

        found = attempted(lambda: read_parts(self._lens, item.inputs))
        if isinstance(found, str):
            return PartShares(reason=found)
        if found.head is None:
            return PartShares(reason=f"its logits are no sum of parts: {found.parts[0].reason}")
        best: list[int] = Blocks.of(found.logits[None], 2).best(2)[0].tolist()
        sets = [self._set(found, ANSWER, best)]
        if record.spellings:
            spelled = list(record.spellings)
            truth = spelled[int(found.logits[spelled].argmax())]
            others = found.logits.clone()
            others[spelled] = -math.inf
            sets.append(self._set(found, TRUTH, [truth, int(others.argmax())]))
        passed = found.error <= found.tolerance
        if not passed:
            return PartShares(reason=f"they do not sum to the logit: error {found.error:.2g}")
        return PartShares(
            sets=tuple(sets),
            proof=ReadingProof(PROVED, finite(found.error), found.tolerance, passed),
        )

    def _set(self, found: LogitParts, of: str, ids: Sequence[int]) -> DepthSet:
        """The parts of the first token's logit minus the second one's."""
        from engine.lens.reading_parts import ADDED

        both = found.shares(ids)  # float64 [2, parts]
        shares = (both[0] - both[1]).tolist()
        numbers = {SUM: math.fsum(shares)}
        curves: dict[str, dict[int, float]] = {}
        for part, share in zip(found.parts, shares, strict=True):
            if part.layer is None:
                numbers[part.name] = numbers.get(part.name, 0.0) + share
                continue
            between = part.name == ADDED.format(row=part.layer)
            name, layer = (BETWEEN, part.layer - 1) if between else (part.name, part.layer)
            curve = curves.setdefault(name, {})
            curve[layer] = curve.get(layer, 0.0) + share
            numbers[name] = numbers.get(name, 0.0) + share
        layers = range(len(self._lens.layers))
        probabilities = found.logits.softmax(-1).clamp_max(1.0)
        return DepthSet(
            of=of,
            by="layer",
            numbers={name: finite(value) for name, value in numbers.items()},
            curves=tuple(
                DepthCurve(name, tuple(curve.get(layer) for layer in layers))
                for name, curve in curves.items()
            ),
            tokens=tuple(
                Token(
                    token,
                    self._text_of(token),
                    float(probabilities[token]),
                    finite(float(found.logits[token])),
                )
                for token in ids
            ),
        )
