"""What is kept of a run at all positions, and what has been read from it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
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
        self._own: Tensor | None = None
        self._fills: OrderedDict[Any, GridFill] = OrderedDict()

    @property
    def holds(self) -> bool:
        """Whether streams are kept."""
        return any(each is not None for each in (self._found, self._streams, self._some))

    def drop(self) -> None:
        """Free the streams, because newer runs need the memory."""
        self._found = self._streams = self._some = self._own = None
        self._dropped = True
        self._fills.clear()

    def streams(
        self, lens: Lens, run: Run, inputs: Mapping[str, Any], positions: Sequence[int] = ()
    ) -> Streams:
        """The streams at these positions at least, or at all: from the run's pass; where that did
        not keep them, from another pass over the same inputs.

        Raises BadInput if they are no longer kept, would take too much memory, or if a position is
        out of range.
        """
        places = resolved(run, positions)
        if self._dropped:
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        if self._found is not None:
            found, self._found = self._found(), None
            self._streams = None if isinstance(found, str) else found
        top_k = len(run.rows[-1].top) if run.rows else 10
        track = tuple(each.id for each in run.tracked if each.why == "user")
        if self._streams is None and self._refused is None:
            try:
                self._streams = lens.streams(inputs, None, run.question.norm, top_k, track)
            except BadInput as error:
                self._refused = BadInput(str(error), *error.remedies)
        if self._streams is not None:
            return self._streams
        if not places:
            assert self._refused is not None
            raise BadInput(str(self._refused), *self._refused.remedies)
        if self._some is None or not {*places} <= {*self._some.positions}:
            self._some = lens.streams(inputs, places, run.question.norm, top_k, track)
        return self._some

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
        key = (places, top, norm)
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


def resolved(run: Run, positions: Sequence[int]) -> tuple[int, ...]:
    """Positions of a run in ascending order, with negative ones counted back from its last token.

    Raises BadInput for a position out of range.
    """
    count = len(run.tokens)
    for position in positions:
        if not -count <= position < count:
            raise BadInput(f"there is no position {position}: they go from 0 to {count - 1}")
    return tuple(sorted({position % count for position in positions}))


def changed_at(run: Run, position: int | None, change: Change) -> Run:
    """The run with a change of what was read at a position: its own if that is None, or else one of
    its `others`."""
    if position is None or position == run.position:
        return change(run)
    others = tuple(change(other) if other.position == position else other for other in run.others)
    return structs.replace(run, others=others)
