"""One pass over a batch of items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from torch import Tensor

from engine.anatomy.parts import ModelParts
from engine.asking.asking import explain
from engine.errors import CannotRead, typed_line
from engine.lens.batched import BatchNumbers
from engine.lens.input_kinds import kind_of
from engine.records import MOST_SHORT, Made
from engine.sweeps.going_on import BatchesGoOn
from engine.sweeps.items import Item, came_from_the_model
from engine.sweeps.pixels import DevicePixels
from engine.sweeps.records import STORED_TOP
from engine.sweeps.truths import TruthSpellings
from engine.sweeps.vision import ReusedVision
from engine.system.memory import is_out_of_memory
from engine.system.steps import finished

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from engine.lens.lens import Lens


MOST_TRIES: Final = 3
"""Questions of one kind whose attention fails to be read before that of others is not tried."""


class BatchRead(NamedTuple):
    """What a pass gives."""

    numbers: BatchNumbers
    """Perhaps still being computed."""
    unread: str
    """Why attention was wanted, but is not read; empty otherwise."""
    made: Made
    """What of it was taken from other passes."""


class BatchReader:
    """Gives batches to the device, reusing what it has for the same pictures."""

    def __init__(
        self, lens: Lens, spellings: TruthSpellings, sharing: bool, notes: dict[str, str]
    ) -> None:
        """With `sharing`, prompts of a picture share its vision pass where they do not go on
        from a beginning; `notes` are told what the model does not allow."""
        self._lens = lens
        self._reads_attention: set[frozenset[str]] = set()
        """The kinds of inputs of which the attention of a question alone could be read."""
        self._unread: dict[frozenset[str], list[str]] = {}
        """For the others, why not, for each question that was tried."""
        self._spellings = spellings
        self._notes = notes
        self._vision = ReusedVision(sharing, notes)
        self._pixels = DevicePixels(lens)
        self._go_on = BatchesGoOn(lens, self._pixels, notes)
        self._reads_unnormed: dict[frozenset[str], bool] = {}
        """Per kind of inputs, whether rows can be read without the final norm."""

    def most_after(self, item: Item, count: int) -> int | None:
        """See `BatchesGoOn.most`."""
        return self._go_on.most(item, count)

    def refusal(self, batches: Iterable[Sequence[Item]]) -> str | None:
        """Why none of these batches goes on; None if one of them may."""
        refused: str | None = None
        for batch in batches:
            refused = self._go_on.refusal(batch)
            if refused is None:
                return None
        return refused

    def read(
        self,
        batch: Sequence[Item],
        shares_pixels: bool,
        begun: int = 0,
        whole: str | None = None,
    ) -> BatchRead:
        """Give a batch to the device. It goes on from the first `begun` tokens, which the items
        have in common with all others about their pictures: none where attention is wanted. Where
        it does not, `whole` may say why, and the vision pass is reused and kept where it
        `shares_pixels` with the batch before or after it. Raises CannotRead, and whatever the model
        raises."""
        lens, first = self._lens, batch[0].inputs
        parts = lens.learn(first)
        kind = kind_of(first)
        if kind not in self._reads_unnormed:
            lens.supports_logits_to_keep(first)
            self._reads_unnormed[kind] = self._can_leave_norm_out(parts)
        bare = self._reads_unnormed[kind]
        truths = [self._spellings.of(item.task.task.truth).ids for item in batch]
        wanted = [each.task.groups for each in batch if each.task.groups is not None]
        reason = None if whole is None else whole[:MOST_SHORT]
        if begun:
            went_on = self._read_on(batch, begun, truths, bare)
            if not isinstance(went_on, str):
                made = Made("reused" if _has_pixels(first) else "computed", begun)
                return BatchRead(went_on, "", made)
            reason = went_on[:MOST_SHORT]
        unread = self._why_unread(first) if wanted else ""
        groups = wanted if wanted and not unread else None
        inputs = self._pixels.collated(batch)

        def read(around: AbstractContextManager[object] | None) -> BatchNumbers:
            return lens.read_batch(inputs, truths, STORED_TOP, bare, around, groups)

        if not shares_pixels or not _has_pixels(first):
            return BatchRead(read(None), unread, Made(reason=reason))
        pixels = tuple(item.pixels for item in batch)
        found = self._vision.read(pixels, read, parts)
        made = Made("reused" if self._vision.was_reused else "computed", reason=reason)
        return BatchRead(found, unread, made)

    def _read_on(
        self, batch: Sequence[Item], begun: int, truths: Sequence[Sequence[int]], bare: bool
    ) -> BatchNumbers | str:
        """What a batch gives that goes on from the first `begun` tokens; or why it does not."""
        goes_on = self._go_on.of(batch, begun)
        if isinstance(goes_on, str):
            return goes_on
        try:
            return self._lens.read_batch(
                goes_on.inputs, truths, STORED_TOP, bare, None, None, goes_on.going_on
            )
        except Exception as error:
            if is_out_of_memory(error) or not came_from_the_model(error):
                raise
            return self._go_on.refuse(goes_on, typed_line(error))

    def _why_unread(self, inputs: Mapping[str, Any]) -> str:
        """Why the attention of such inputs cannot be read; empty if it can."""
        kind = kind_of(inputs)
        if kind in self._reads_attention:
            return ""
        reasons = self._unread.setdefault(kind, [])
        if len(reasons) < MOST_TRIES:
            # How the model's weights are reached is found out on a question alone.
            try:
                finished(self._lens.read_attention(inputs))
            except Exception as error:
                if not came_from_the_model(error) or is_out_of_memory(error):
                    raise
                reasons.append(str(error if isinstance(error, CannotRead) else explain(error)))
            else:
                self._reads_attention.add(kind)
                return ""
        return reasons[-1]

    def forget_pictures(self) -> None:
        """Free what is kept for more questions about the same pictures."""
        self._vision.forget()
        self._go_on.forget()
        self._pixels.forget()

    def _can_leave_norm_out(self, parts: ModelParts) -> bool:
        try:
            parts.tail.refuse_norm_off()
        except CannotRead as error:
            self._notes["norm"] = f"not read without it: {error}"
            return False
        return True


def _has_pixels(inputs: Mapping[str, Any]) -> bool:
    """Whether there is a picture among the inputs, and not only tokens."""
    return any(isinstance(value, Tensor) and value.is_floating_point() for value in inputs.values())
