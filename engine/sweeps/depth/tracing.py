"""At which row and tokens an item's answer is decided; see `engine.methods.tracing`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from msgspec import structs

from engine.errors import BadInput, CannotRead
from engine.methods.method import read_whole
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.methods.tracing import TracingReading, TracingRequest
from engine.records import finite
from engine.sweeps.depth.depth_read import DepthRead
from engine.sweeps.records import DepthCurve, DepthOrder, DepthSet, Recoveries
from engine.sweeps.replacing import replacements

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel
    from engine.records import Question
    from engine.sweeps.items import Item
    from engine.sweeps.records import SweepItem

DIFFERENCE: Final = "difference"
CLEAN: Final = "with the picture"
CORRUPT: Final = "without"
OF_ONE_WORD: Final = "{against}, log-probability"
"""Nats are not to be averaged with differences of logits."""
NOT_COMPARED: Final = "nothing stands in the place of its picture"


class Tracing(DepthRead):
    """Patches every site at every row, in passes of its own for each item."""

    name: ClassVar[str] = "tracing"
    record: ClassVar[type[Recoveries]] = Recoveries
    title: ClassVar[str] = "At which row, and at which tokens, the answer is decided"
    words: ClassVar[str] = (
        "Values of the pass with the picture are copied into the pass with something else instead, "
        "or the other way round, at some tokens and one row: which share of the difference between "
        "the two that brings back, or takes away: the mean over all items, weighted by the size of "
        "the difference, so that items between whose passes there is little count little. Items "
        "that are compared by a log-probability, as where both answers are the same, are averaged "
        "apart from those that are compared by a difference of two logits."
    )
    is_share: ClassVar[bool] = True
    weight: ClassVar[str] = DIFFERENCE
    needs_tokens: ClassVar[bool] = True

    def order(self, settings: Mapping[str, str], seed: int) -> DepthOrder:
        """See `DepthRead.order`."""
        from engine.counterfactuals.tokens import NAMES as OTHER_TOKENS

        request = request_of(method_of(self.name), settings)
        assert isinstance(request, TracingRequest)
        if request.position != -1:
            raise BadInput("tracing: a sweep traces the position that answers: leave position= out")
        against = replacements(request.against, seed)
        if len(against) > 1:
            raise BadInput("tracing: against= takes one counterfactual in a sweep")
        if against[0].name in OTHER_TOKENS:
            raise BadInput(
                f"tracing: against={against[0].name} has other tokens than the picture, so that "
                "nothing can be copied between the two"
            )
        asked: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(request))
        del asked["against"], asked["position"]
        return DepthOrder(asked, against[0])

    def reader(self, loaded: LoadedModel, question: Question, order: DepthOrder) -> TracingReader:
        """See `DepthRead.reader`."""
        return TracingReader(loaded, question, order)


class TracingReader:
    """Traces one item at a time."""

    name = Tracing.name

    def __init__(self, loaded: LoadedModel, question: Question, order: DepthOrder) -> None:
        self._loaded, self._question = loaded, question
        self._request = msgspec.convert(order.request, TracingRequest)

    def read(self, item: Item, record: SweepItem) -> Recoveries | None:
        """See `ItemReader.read`; None without the picture."""
        from engine.sweeps.item_reader import attempted

        compared = item.task.compared
        if record.instead:
            return None
        if compared is None or isinstance(compared, str):
            return Recoveries(reason=compared or NOT_COMPARED)
        found = attempted(lambda: self._traced(item, record))
        if isinstance(found, str):
            return Recoveries(reason=found)
        if found.proof is not None and not found.proof.passed:
            return Recoveries(reason=f"not proved ({found.proof.what}): error {found.proof.error}")
        traced = _set(found, compared.task.against, len(record.rows) - 1)
        return Recoveries(sets=(traced,), proof=found.proof)

    def _traced(self, item: Item, record: SweepItem) -> TracingReading:
        """Raises CannotRead where the model does not allow it."""
        from engine.sweeps.depth.subjects import subject_of

        picture, compared = item.picture, item.task.compared
        assert compared is not None and not isinstance(compared, str)
        corrupt = subject_of(self._loaded, self._question, picture, compared)
        clean = subject_of(
            self._loaded, self._question, picture, item.task, record.item, (corrupt,)
        )
        request = structs.replace(self._request, against=corrupt.run.id)
        try:
            found = read_whole(method_of(self.name), clean, request)
        except BadInput as error:  # such as a site that this question does not have
            raise CannotRead(str(error)) from error
        assert isinstance(found, TracingReading)
        return found


def _set(found: TracingReading, against: str, layers: int) -> DepthSet:
    metric, by_row = found.metric, found.request.what == "stream"
    clean, corrupt = metric.clean, metric.corrupt
    sites = zip(found.sites, found.recovery.values.tolist(), strict=True)
    recovered = {site.name: dict(zip(found.rows, row, strict=True)) for site, row in sites}
    places = range(layers + 1 if by_row else layers)
    return DepthSet(
        of=against if len(metric.of) == 2 else OF_ONE_WORD.format(against=against),
        by="row" if by_row else "layer",
        numbers={
            CLEAN: clean,
            CORRUPT: corrupt,
            DIFFERENCE: None if clean is None or corrupt is None else clean - corrupt,
        },
        curves=tuple(
            DepthCurve(name, tuple(finite(each[at]) if at in each else None for at in places))
            for name, each in recovered.items()
        ),
        tokens=metric.of,
    )
