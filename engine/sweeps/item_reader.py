"""Reading more of one item than its rows, in passes of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from engine.asking.asking import explain
from engine.errors import CannotRead
from engine.sweeps.items import Item, came_from_the_model
from engine.sweeps.records import DecodedAnswers, DepthReading, SweepItem
from engine.system.memory import give_memory_back, is_out_of_memory

Made = TypeVar("Made")


class ItemReader(Protocol):
    """Reads items one at a time, just before they are stored."""

    @property
    def name(self) -> str:
        """Under which the seconds that it takes are stored."""

    def read(self, item: Item, record: SweepItem) -> DecodedAnswers | DepthReading | str | None:
        """What it finds about an item whose rows are in `record`; None if there is nothing to read
        of it; or the reason why the question as a whole fails."""


def attempted(make: Callable[[], Made]) -> Made | str:
    """What `make` makes, or the reason why the model does not allow it.

    Where memory runs out, it is given back, and asked for once more. Raises errors that did not
    come out of the model.
    """
    for last in (False, True):
        try:
            return make()
        except Exception as error:
            if not came_from_the_model(error):
                raise
            if last or not is_out_of_memory(error):
                return str(error if isinstance(error, CannotRead) else explain(error))
            error.__traceback__ = None  # it holds the tensors of the failed pass
        give_memory_back()
    raise AssertionError("unreachable")
