"""What is kept of a run at all positions, and what has been read from it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from msgspec import structs

from engine.errors import BadInput, Remedy
from engine.records import OtherPosition, Run

if TYPE_CHECKING:
    from torch import Tensor

    from engine.lens.grid import GridFill
    from engine.lens.kept import KeptStream
    from engine.lens.lens import Lens
    from engine.lens.streams import Streams
    from engine.methods.method import Stop

Read = TypeVar("Read", Run, OtherPosition)


class Change(Protocol):
    """A change of what was read at one position, the run's own or another."""

    def __call__(self, read: Read) -> Read: ...


NOT_KEPT: Final = (
    "the streams of all positions are no longer kept of this run: run it again to read them"
)
_FILLS: Final = 6
"""How many partly or wholly filled grids of a run are remembered."""


class Everywhere:
    """The streams of one run at all positions, and the grids that are being filled from them."""

    def __init__(self, found: Streams | str | Callable[[], Streams | str]) -> None:
        """`found` are the streams that the run's own pass kept, or why it did not keep them; or a
        function that returns either, called when they are first needed."""
        self._found: Callable[[], Streams | str] | None = None
        self._streams: Streams | None = None
        if callable(found):
            self._found = found
        elif not isinstance(found, str):
            self._streams = found
        self._refused: BadInput | None = None
        """Why all positions cannot be kept, once that is known."""
        self._dropped = False
        self._some: Streams | None = None
        """Those of the last few positions, where all do not fit."""
        self._after: _Answered | None = None
        self._own: Tensor | None = None
        self._fills: OrderedDict[Any, GridFill] = OrderedDict()

    @property
    def holds(self) -> bool:
        """Whether streams are kept."""
        return any(
            each is not None for each in (self._found, self._streams, self._some, self._after)
        )

    def drop(self) -> None:
        """Free the streams, because newer runs need the memory."""
        self._found = self._streams = self._some = self._after = self._own = None
        self._dropped = True
        self._fills.clear()

    def streams(
        self, lens: Lens, run: Run, inputs: Mapping[str, Any], positions: Sequence[int] = ()
    ) -> Streams:
        """The streams at these positions at least, or at all those of the prompt: from the run's
        pass; where that did not keep them, from another pass over the same inputs; those of the
        answer's tokens from a pass over the prompt and the answer as far as it is asked for.

        Raises BadInput if they are no longer kept, would take too much memory, or if a position is
        out of range.
        """
        places = resolved(run, positions)
        if self._dropped:
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        count = len(run.tokens)
        before = tuple(place for place in places if place < count)
        if before == places:
            return self._of_the_prompt(lens, run, inputs, places)
        # What a replay remembers belongs to one pass.
        replays = lens.learn(inputs).tail.replays
        after = self._of_the_answer(lens, run, inputs, places if replays else places[len(before) :])
        if replays or not before:
            return after
        from engine.lens.streams import joined

        kept = self._of_the_prompt(lens, run, inputs, before).some(before)
        return joined(kept, after.some(places[len(before) :]))

    def _of_the_prompt(
        self, lens: Lens, run: Run, inputs: Mapping[str, Any], places: tuple[int, ...]
    ) -> Streams:
        if self._found is not None:
            found, self._found = self._found(), None
            self._streams = None if isinstance(found, str) else found
        if self._streams is None and self._refused is None:
            try:
                self._streams = lens.streams(inputs, None, *_how_read(run))
            except BadInput as error:
                self._refused = BadInput(str(error), *error.remedies)
        if self._streams is not None:
            return self._streams
        if not places:
            assert self._refused is not None
            raise BadInput(str(self._refused), *self._refused.remedies)
        if self._some is None or not {*places} <= {*self._some.positions}:
            self._some = lens.streams(inputs, places, *_how_read(run))
        return self._some

    def _of_the_answer(
        self, lens: Lens, run: Run, inputs: Mapping[str, Any], places: tuple[int, ...]
    ) -> Streams:
        from engine.prompts.extended import extended

        count = len(run.tokens)
        ids = answer_up_to(run, places[-1])
        known = self._after
        if (
            known is None
            or known.ids[: len(ids)] != ids
            or not {*places} <= {*known.streams.positions}
        ):
            whole = extended(lens.model, inputs, ids)
            # With those of all its tokens, so that a walk back over the answer needs no pass.
            wanted = sorted({*places, *range(count, count + len(ids))})
            try:
                streams = lens.streams(whole, wanted, *_how_read(run))
            except BadInput:
                streams = lens.streams(whole, places, *_how_read(run))
            known = self._after = _Answered(ids, streams)
        return known.streams

    def at_its_own(self, kept: KeptStream, stop: Stop) -> Tensor:
        """The probability of every token at the run's own position, float32 [L + 1, vocabulary]:
        what the words' own columns are compared with, read once."""
        if self._own is None:
            self._own = kept.probabilities(stop)
        return self._own

    def fill(
        self,
        lens: Lens,
        run: Run,
        inputs: Mapping[str, Any],
        positions: Sequence[int] = (),
        *,
        top: int = 1,
        kl: bool = False,
        norm: bool = True,
    ) -> GridFill:
        """A grid of these positions, or of all, with the rows that have been read of it.

        It is read with the final norm if the run is; without it also with `norm` off. Raises what
        `streams` raises, and CannotRead if the norm cannot be left out.
        """
        from engine.lens.grid import GridFill

        norm = norm and run.question.norm
        if not norm:
            lens.learn(inputs).tail.refuse_norm_off()
        places = resolved(run, positions)
        key = (places, answer_up_to(run, max(places, default=0)), top, norm)
        known = self._fills.get(key)
        # One that has the divergences too serves who does not want them.
        if known is None or (kl and not known.kl):
            streams = self.streams(lens, run, inputs, places)
            if places and places != streams.positions:
                streams = streams.some(places)
            self._fills[key] = GridFill(streams, top, kl, norm)
        self._fills.move_to_end(key)
        while len(self._fills) > _FILLS:
            self._fills.popitem(last=False)
        return self._fills[key]


@dataclass(frozen=True)
class _Answered:
    """Streams of a pass over the prompt and these tokens of an answer."""

    ids: tuple[int, ...]
    streams: Streams


def _how_read(run: Run) -> tuple[bool, int, tuple[int, ...]]:
    """With the norm or without, how many top tokens, and which tokens are followed."""
    top_k = len(run.rows[-1].top) if run.rows else 10
    return run.question.norm, top_k, tuple(each.id for each in run.tracked if each.why == "user")


def answer_up_to(run: Run, position: int) -> tuple[int, ...]:
    """The tokens of the run's newest answer up to a position; none if it is one of the prompt."""
    from engine.methods.answer import answer_tokens  # which is itself a method

    return answer_tokens(run)[: max(0, position + 1 - len(run.tokens))]


def last_position(run: Run) -> int:
    """The largest position of a run: that of its newest answer's last token, or of its prompt's."""
    from engine.methods.answer import answer_tokens

    return len(run.tokens) + len(answer_tokens(run)) - 1


def resolved(run: Run, positions: Sequence[int]) -> tuple[int, ...]:
    """Positions of a run in ascending order, with negative ones counted back from the last token of
    its prompt; those from the prompt's length on are the tokens of its newest answer.

    Raises BadInput for a position out of range.
    """
    count, last = len(run.tokens), last_position(run)
    for position in positions:
        if not -count <= position <= last:
            raise BadInput(f"there is no position {position}: they go from 0 to {last}")
    return tuple(sorted({each + count if each < 0 else each for each in positions}))


def changed_at(run: Run, position: int | None, change: Change) -> Run:
    """The run with a change of what was read at a position: its own if that is None, or else one of
    its `others`."""
    if position is None or position == run.position:
        return change(run)
    others = tuple(change(other) if other.position == position else other for other in run.others)
    return structs.replace(run, others=others)
