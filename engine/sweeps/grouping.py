"""Which questions can go through the model together: proved on the model, never assumed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from engine.asking.asking import explain
from engine.passes.collating import batch_key
from engine.sweeps.items import Item, came_from_the_model
from engine.sweeps.preparing import PreparedPicture
from engine.sweeps.sizing import BatchSize
from engine.system.memory import give_memory_back

if TYPE_CHECKING:
    from engine.lens.lens import Lens


class Grouping:
    """Divides pictures into groups whose questions can be batched."""

    def __init__(self, lens: Lens, size: BatchSize, notes: dict[str, str]) -> None:
        """`notes` are told why less goes together than could."""
        self._batches = lens.batches
        self._size = size
        self._notes = notes

    def groups(
        self, pictures: Sequence[PreparedPicture], padded: bool = True
    ) -> Iterator[list[PreparedPicture]]:
        """Pictures whose first questions can go together, and whose second ones can, and so on;
        one by one where the model is not proved to take them together."""
        alike: dict[Hashable, list[PreparedPicture]] = {}
        for picture in pictures:
            key = tuple(batch_key(task.inputs, padded) for task in picture.tasks)
            alike.setdefault(key, []).append(picture)
        for group in alike.values():
            refused = self._refusal(group)
            if refused is None:
                yield group
            elif padded:
                self._notes["padding"] = f"only equal lengths together: {refused}"
                yield from self.groups(group, padded=False)
            else:
                self._notes["batches"] = f"one item at a time: {refused}"
                yield from ([picture] for picture in group)

    def takes_together(self, items: Sequence[Item]) -> bool:
        """Whether different questions about the same pictures can go together."""
        try:
            inputs = [item.inputs for item in items]
            return self._batches.refusal(inputs, may_round=True) is None
        except Exception as error:
            if not came_from_the_model(error):
                raise
            return False

    def _refusal(self, group: Sequence[PreparedPicture]) -> str | None:
        if len(group) == 1 or self._size.now == 1:
            return None
        try:
            for number in range(len(group[0].tasks)):
                items = [picture.tasks[number].inputs for picture in group]
                refused = self._batches.refusal(items, may_round=True)
                if refused is not None:
                    return refused
        except Exception as error:
            if not came_from_the_model(error):
                raise
            reason = str(explain(error))
            error.__traceback__ = None  # it holds the tensors of the failed pass
            give_memory_back()
            return reason
        return None
