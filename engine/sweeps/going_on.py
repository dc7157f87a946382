"""Batches that go on from what the questions about their pictures have in common, once it is proved
that this changes no row."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from torch import Tensor

from engine.lens.batch_reuse import BatchReuse
from engine.lens.reuse_kinds import sequences_along
from engine.passes.prefix_cache import IDS, Beginning, GoingOn
from engine.sweeps.beginnings import digest_of
from engine.sweeps.items import Item, came_from_the_model
from engine.sweeps.pixels import DevicePixels
from engine.system.memory import free_memory, give_memory_back

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
    """What tells each from others -> its place in the batch of the pass."""
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
        """Of one token of one beginning; 0 until one has been read."""
        self._went_on = False
        """Whether a batch has gone on."""
        self._why_not = ""
        """Why one has not: the last reason."""

    def most(self, item: Item, count: int) -> int | None:
        """How many items may go on from beginnings of `count` tokens at a time, so that these and
        their copies fit in memory. What they take is measured on that of `item` alone, if none has
        been read yet; None where it has none."""
        if not self._bytes:
            try:
                self._beginning({_key(item, count): item}, count)
            except Exception as error:
                if not came_from_the_model(error):
                    raise
                error.__traceback__ = None  # it holds the tensors of the failed pass
                self.forget()
                give_memory_back()
                return 0
        if not self._bytes:
            return None
        room = free_memory(self._lens.device) // MOST_OF_MEMORY
        return int(room // (2 * count * self._bytes))

    def of(self, batch: Sequence[Item], count: int) -> GoesOn | str:
        """How a batch goes on whose items have `count` tokens in common with all others about their
        pictures; or why it does not. Raises where memory runs out, and where the model does not
        take the batch as a whole either."""
        found = self._goes_on(batch, count)
        if isinstance(found, str):
            self.forget()
        self._tell(found if isinstance(found, str) else None)
        return found

    def refusal(self, batch: Sequence[Item]) -> str | None:
        """Why no batch like this one goes on, as far as that is known; None if it may. Runs
        nothing."""
        if not all(isinstance(item.inputs.get(IDS), Tensor) for item in batch):
            return None
        # Questions about the same picture may begin differently, and have beginnings of their own.
        repeats = len({item.pixels for item in batch}) < len(batch)
        return self._reuse.refusal({**batch[0].inputs, **self._sequences(batch)}, repeats)

    def refuse(self, failed: GoesOn, why: str) -> str:
        """Let no batch like one that has failed go on any more. Returns why."""
        why = self._reuse.refuse(failed.inputs, failed.going_on.items or (), why)
        self.forget()
        self._tell(why)
        return why

    def _sequences(self, batch: Sequence[Item]) -> dict[str, Any]:
        """The inputs of a batch that run along its tokens."""
        along = [sequences_along(item.inputs, item.inputs[IDS]) for item in batch]
        return along[0] if len(along) == 1 else self._lens.collated(along)

    def _goes_on(self, batch: Sequence[Item], count: int) -> GoesOn | str:
        together = self._sequences(batch)
        keys = [_key(item, count) for item in batch]
        repeats = len({*keys}) < len(keys)
        refused = self._reuse.refusal({**batch[0].inputs, **together}, repeats)
        if refused is not None:
            return refused
        kept = self._beginning(dict(zip(keys, batch, strict=True)), count)
        if isinstance(kept, str):
            return kept
        inputs = {**kept.others, **together}
        places = [kept.places[key] for key in keys]
        going_on = self._reuse.goes_on(
            inputs, kept.beginning, places, lambda: self._pixels.collated(batch)
        )
        return going_on if isinstance(going_on, str) else GoesOn(inputs, going_on)

    def forget(self) -> None:
        """Free the beginnings."""
        self._kept = None

    def _beginning(self, first: Mapping[Hashable, Item], count: int) -> _Kept | str:
        """What these items begin with, by their keys; read if it is not kept."""
        kept = self._kept
        if kept is not None and kept.length == count and first.keys() <= kept.places.keys():
            return kept
        self.forget()
        items = [*first.values()]
        inputs = self._lens.on_device(self._pixels.collated(items))
        beginning = self._reuse.begin(inputs, count)
        if isinstance(beginning, str):
            return beginning
        self._bytes = beginning.nbytes / (count * len(items))
        places = {key: place for place, key in enumerate(first)}
        others = {k: v for k, v in inputs.items() if k not in beginning.sequences}
        self._kept = _Kept(count, places, beginning, others)
        return self._kept

    def _tell(self, refused: str | None) -> None:
        self._went_on = self._went_on or refused is None
        self._why_not = refused or self._why_not
        if self._went_on:
            others = f"; some do not: {self._why_not}" if self._why_not else ""
            self._notes["beginnings"] = (
                "prompts of a picture go on from the keys and values of what they have in common; "
                f"in the batches that were proved, no logit is further than {self._reuse.gap:.2g} "
                f"from that of a whole pass{others}"
            )
        else:
            self._notes["beginnings"] = f"off: {refused}"


def _key(item: Item, count: int) -> Hashable:
    """Equal for items that begin alike: what is shown, and the first `count` tokens."""
    along = sequences_along(item.inputs, item.inputs[IDS])
    return item.pixels, digest_of({name: value[:, :count] for name, value in along.items()})
