"""Batches that go on from what the questions about their pictures have in common, once it is proved
that this changes no row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from engine.lens.batch_reuse import BatchReuse
from engine.lens.reuse_kinds import sequences_along
from engine.passes.prefix_cache import IDS, Beginning, GoingOn
from engine.sweeps.items import Item
from engine.sweeps.pixels import DevicePixels
from engine.system.memory import free_memory

if TYPE_CHECKING:
    from engine.lens.lens import Lens

MOST_OF_MEMORY: Final = 4
"""Beginnings, with the copies that a batch goes on from, take no more than this part of the free
memory: one in so many."""


class _Kept(NamedTuple):
    """What the last pass over beginnings has left."""

    length: int
    """The number of tokens of each."""
    places: dict[Hashable, int]
    """What tells the pixels of each from others -> its place in the batch of the pass."""
    beginning: Beginning
    others: dict[str, Any]
    """The inputs of that pass that do not run along its tokens. Nothing that goes on is given
    them: their names tell which kind of inputs this is."""


class GoesOn(NamedTuple):
    """How a batch goes on."""

    inputs: dict[str, Any]
    going_on: GoingOn


class BatchesGoOn:
    """Keeps the beginnings of the pictures that are asked about."""

    def __init__(self, lens: Lens, pixels: DevicePixels, notes: dict[str, str]) -> None:
        """`notes` are told whether batches go on, and why not."""
        self._lens = lens
        self._pixels = pixels
        self._notes = notes
        self._reuse = BatchReuse(lens)
        self._kept: _Kept | None = None
        self._bytes = 0.0
        """Of one token of one beginning, as far as that is known."""

    def most(self, count: int) -> int | None:
        """How many items may go on from beginnings of `count` tokens at a time, so that these and
        their copies fit in memory; None as long as it is not known what they take."""
        if not self._bytes:
            return None
        room = free_memory(self._lens.device) // MOST_OF_MEMORY
        return int(room // (2 * count * self._bytes))

    def of(self, batch: Sequence[Item], count: int) -> GoesOn | str:
        """How a batch goes on whose items have `count` tokens in common with all others about their
        pictures; or why it does not. Raises where memory runs out, and where the model does not
        take the batch as a whole either."""
        found = self._goes_on(batch, count)
        self._tell(found if isinstance(found, str) else None)
        return found

    def _goes_on(self, batch: Sequence[Item], count: int) -> GoesOn | str:
        along = [sequences_along(item.inputs, item.inputs[IDS]) for item in batch]
        together = along[0] if len(along) == 1 else self._lens.collated(along)
        repeats = len({item.pixels for item in batch}) < len(batch)
        refused = self._reuse.refusal({**batch[0].inputs, **together}, repeats)
        if refused is not None:
            return refused
        kept = self._beginning(batch, count)
        if isinstance(kept, str):
            return kept
        inputs = {**kept.others, **together}
        places = [kept.places[item.pixels] for item in batch]
        going_on = self._reuse.goes_on(
            inputs, kept.beginning, places, lambda: self._pixels.collated(batch)
        )
        return going_on if isinstance(going_on, str) else GoesOn(inputs, going_on)

    def forget(self) -> None:
        """Free the beginnings."""
        self._kept = None

    def _beginning(self, batch: Sequence[Item], count: int) -> _Kept | str:
        """The beginnings of a batch's pictures, read if they are not kept."""
        first = {item.pixels: item for item in reversed(batch)}
        kept = self._kept
        if kept is not None and kept.length == count and first.keys() <= kept.places.keys():
            return kept
        self.forget()
        items = [first[pixels] for pixels in dict.fromkeys(item.pixels for item in batch)]
        inputs = self._lens.on_device(self._pixels.collated(items))
        beginning = self._reuse.begin(inputs, count)
        if isinstance(beginning, str):
            return beginning
        self._bytes = beginning.nbytes / (count * len(items))
        places: dict[Hashable, int] = {item.pixels: place for place, item in enumerate(items)}
        others = {k: v for k, v in inputs.items() if k not in beginning.sequences}
        self._kept = _Kept(count, places, beginning, others)
        return self._kept

    def _tell(self, refused: str | None) -> None:
        reuse, told = self._reuse, self._notes.get("beginnings", "")
        if refused is None:
            self._notes["beginnings"] = (
                "prompts of a picture go on from the keys and values of what they have in common; "
                f"no logit is further than {reuse.gap:.2g} from that of a whole pass"
            )
        elif not told.startswith("prompts"):
            self._notes["beginnings"] = f"off: {refused}"
