"""The interface of what a sweep reads of every item by depth, in passes of its own.

One more is a module in this package, a record in `engine.sweeps.records` and a line in
`engine.sweeps.reads`; storing, averaging, drawing and exporting follow. Its module must be
importable without torch, because reports are made without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from engine.sweeps.records import DepthOrder, DepthReading

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel
    from engine.records import Question
    from engine.sweeps.item_reader import ItemReader


class DepthRead(ABC):
    """One kind of reading by depth. It has no state between two items."""

    name: ClassVar[str]
    """The name of the method; the tag of its record."""
    record: ClassVar[type[DepthReading]]
    title: ClassVar[str]
    """The title of its section in reports."""
    words: ClassVar[str]
    """What its numbers mean."""
    is_share: ClassVar[bool] = False
    """Whether its curves are shares, which are shown in per cent."""
    weight: ClassVar[str] = ""
    """The number of each item by whose size its curves are weighted; if empty, all items count
    alike."""
    needs_tokens: ClassVar[bool] = False
    """Whether its reader needs to know what each token of an item belongs to."""

    @abstractmethod
    def order(self, settings: Mapping[str, str], seed: int) -> DepthOrder:
        """What is asked of every item, from the settings of `--read`; `seed` is that of noise.
        Raises BadInput, which names what is wrong."""

    @abstractmethod
    def reader(self, loaded: LoadedModel, question: Question, order: DepthOrder) -> ItemReader:
        """What reads the items of one sweep, all of which are asked as `question` is."""
