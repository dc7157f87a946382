"""A pass whose rows are read while its later layers still run.

The forward pass runs in the model's thread. That thread also launches the readout of the rows,
between two layers and in groups: on a CPU seven rows cost about as much as one, and two threads
would compete for the same cores; on an accelerator a pass is bound by launches, so there are few,
they go to a side stream, and the thread waits for none of them. The thread that iterates waits for
the numbers of a group and turns them into readings. If a layer takes long, it also launches the
rows that wait for others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.errors import Cancelled, typed_line
from engine.lens.group_readout import GroupGraphs, group_reader
from engine.lens.kept import KeptStream
from engine.lens.pace import MAX_WAIT, Pace
from engine.lens.reuse import ReusingPass
from engine.lens.row_reader import LaunchedEnd, LaunchedGroup, RowReader, Wanted
from engine.lens.streams import Streams, streams_after, streams_of
from engine.passes.forward import Forward
from engine.passes.inference import give_ordinary_tensors
from engine.passes.prefix_cache import Kept
from engine.passes.thread import submit
from engine.prompts.token_texts import TextOf
from engine.records import LayerReading, Made, Proof, Tracked
from engine.system.memory import is_out_of_memory
from engine.system.side_streams import SideStream

ASKED_TOGETHER = "this run was asked together with others"
UNPROVED = "the last row of a pass that goes on from another one fails its proof"


class RanOut(Exception):
    """Memory ran out in a pass, and there is something to drop before it is run again."""


@dataclass(frozen=True)
class ItemResult:
    """What is known of one batch item once its pass has ended."""

    rows: tuple[LayerReading, ...]
    tracked: tuple[Tracked, ...]
    proof: Proof
    position: int
    """The absolute position that was read."""
    seconds: dict[str, float]
    """"pass": the whole forward pass; "lens": what the reading of rows took of it, and after it."""
    made: Made = field(default_factory=Made)


@dataclass(frozen=True)
class _Waiting:
    """A row whose readout has not been launched yet."""

    row: int
    read: RowStream
    since: float


@dataclass(frozen=True)
class Beside:
    """What a model keeps for reading its passes, from one pass to the next."""

    side: SideStream
    graphs: GroupGraphs
    pace: Pace


@dataclass(frozen=True)
class Instead:
    """What to do where a pass that lets the model do less than it usually does fails."""

    forward: Callable[[], Forward]
    """Another pass over the same inputs."""
    worked: Callable[[], None] = lambda: None
    """Called once it has been read and proved."""


Groups = tuple[tuple[LayerReading, ...], ...]
"""For every batch item, the readings of the same group of consecutive rows."""


class StreamedPass:
    """A pass to iterate over: yields groups of rows 0..L in order, for all batch items at once.

    `results` are set when the iteration has ended.
    """

    def __init__(
        self,
        forward: Forward,
        lock: threading.Lock,
        top_k: int,
        norm: bool,
        wanted: Sequence[Wanted],
        text_of: TextOf,
        beside: Beside,
        instead: Instead | None = None,
        reusing: ReusingPass | None = None,
    ) -> None:
        """`wanted` has an entry for every item of the batch. `instead` is for where `forward`
        fails, or its proof does. With `reusing`, `forward` is its own."""
        self.results: tuple[ItemResult, ...] = ()
        self._forward = forward
        self._instead = instead
        self._instead_worked: Callable[[], None] = lambda: None
        self._ran_instead = False
        self._reusing = reusing
        self._top_k = top_k
        self._text_of = text_of
        self._track = tuple(wanted[0].track)
        self._layers = len(forward.parts.layers)
        self._lock = lock
        self._norm = norm
        self._beside = beside
        read_group = group_reader(self._through, top_k)
        if len(wanted) == 1:
            read_group = beside.graphs.reader(read_group)
        self._items = [
            RowReader(forward.parts, top_k, text_of, read_group, self._through, each)
            for each in wanted
        ]
        self._group = 1
        """How many rows are launched together; known once row 0 is."""
        self._launching = threading.Lock()
        self._changed = threading.Condition()
        """Guards everything below that both threads change."""
        self._waiting: list[_Waiting] = []
        self._in_flight: deque[tuple[LaunchedGroup, ...]] = deque()
        """What has been launched and not been collected, an entry for every item."""
        self._launched = 0
        """How many rows have been taken to be read."""
        self._last: RowStream | None = None
        self._ends: tuple[LaunchedEnd, ...] = ()
        self._error: BaseException | None = None
        self._failed_to_read = False
        """Whether the error came from the readout, not from the model."""
        self._ended = False
        self._given = 0
        self._began = self._last_entry = time.perf_counter()
        self._reading = 0.0
        self._passing = 0.0
        self._timed = threading.Event()
        """Set once it is known how long the pass took."""
        self._over = threading.Event()
        self._over.set()
        """Set while this pass does not run and has no hooks on the model."""

    # The reader's side

    def __iter__(self) -> Iterator[Groups]:
        yield from self._run_once()
        instead = self._instead_of()
        if instead is not None and self._error is not None and self._may_run_instead(self._error):
            yield from self._run_instead(instead)
            instead = None
        results = self._finish()
        if instead is not None and not all(each.proof.passed for each in results):
            yield from self._run_instead(instead)
            results = self._finish()
        if self._ran_instead and all(each.proof.passed for each in results):
            self._instead_worked()
        for item in self._items:
            item.forget_logits()
        self.results = results
        yield tuple((result.rows[-1],) for result in results)
        if self._reusing is not None and results[0].proof.passed:
            failed = self._reusing.end(self._items[0].streams)
            made = self._reusing.made
            self.results = tuple(
                replace(each, made=made, proof=failed or each.proof) for each in results
            )

    def cancel(self) -> None:
        """End the pass at its next layer; the iteration then raises Cancelled."""
        self._forward.cancelled.set()

    def close(self) -> None:
        """Cancel the pass if it still runs, and wait up to two seconds until its hooks are gone."""
        self._forward.cancelled.set()
        self._over.wait(timeout=2.0)

    def keep(self, item: int = 0) -> KeptStream:
        """The kept stream of an item, once the pass has ended and its proof has passed."""
        project = self._forward.projecting_later(self._norm)
        return self._items[item].keep(self._forward.model, self._lock, project)

    def keep_everywhere(self) -> Streams | str:
        """The streams at all positions, once the pass has ended and its proof has passed; or why
        they are not kept."""
        return self.everywhere_later()()

    def everywhere_later(self) -> Callable[[], Streams | str]:
        """A function that returns the same. Those of a pass that went on from another one are put
        together with that one's when it is called, since most are never looked at."""
        forward = self._forward
        if forward.whole is None:
            return lambda: ASKED_TOGETHER
        kept = Kept.of(forward.whole)
        if isinstance(kept, str):
            return lambda: kept
        streams = streams_of(
            forward,
            kept,
            forward.whole.positions,
            lock=self._lock,
            groups=self._items[0].groups,
            norm=self._norm,
            top_k=self._top_k,
            text_of=self._text_of,
            track=self._track,
        )
        if forward.going_on is None:
            return lambda: streams
        return partial(streams_after, forward.going_on.streams, streams)

    def _run_once(self) -> Iterator[Groups]:
        self._over.clear()
        submit(self._forward.model, self._run)
        while True:
            launched = self._next()
            if launched is None:
                return
            if not launched:
                self._launch_overdue()
                continue
            began = time.perf_counter()
            for item, each in zip(self._items, launched, strict=True):
                item.collect(each)
            self._count(time.perf_counter() - began)
            rows = self._take_read()
            if rows:
                yield tuple(tuple(item[row] for row in rows) for item in self._items)

    def _next(self) -> tuple[LaunchedGroup, ...] | None:
        """Wait for a group to collect; empty if rows have to be launched here, None at the end."""
        with self._changed:
            while True:
                if self._in_flight:
                    return self._in_flight.popleft()
                if self._ended:
                    return None
                if self._are_overdue():
                    return ()
                self._changed.wait(self._patience())

    def _take_read(self) -> range:
        first = self._given
        while all(self._given in item for item in self._items):
            self._given += 1
        return range(first, self._given)

    def _are_overdue(self) -> bool:
        # A replay runs the whole model, so it cannot run at the same time as the pass.
        forward = self._forward
        if not self._waiting or forward.in_tail.is_set() or forward.replays:
            return False
        return time.perf_counter() - self._waiting[0].since >= MAX_WAIT

    def _launch_overdue(self) -> None:
        # In this order: rows that are taken are launched before the pass can launch its end.
        with self._launching:
            with self._changed:
                taken, self._waiting = self._waiting, []
            if taken:
                self._launch_now(taken)

    def _patience(self) -> float:
        # A row that begins to wait does not wake this thread, which would hold up the pass.
        since = self._waiting[0].since if self._waiting else time.perf_counter()
        return max(0.01, MAX_WAIT - (time.perf_counter() - since))

    def _may_run_instead(self, error: BaseException) -> bool:
        """Whether an error can come from what the model was told not to do: at the call of the
        model, or after all layers."""
        at_the_edge = self._launched in (0, self._layers)
        if isinstance(error, RanOut):
            return True
        expected = isinstance(error, Exception) and not isinstance(error, Cancelled)
        of_the_model = not self._failed_to_read and not is_out_of_memory(error)
        return at_the_edge and expected and of_the_model

    def _instead_of(self) -> Instead | None:
        """What to do where the pass has failed, or its proof does."""
        error, reusing = self._error, self._reusing
        if reusing is None:
            return self._instead
        if error is not None and is_out_of_memory(error):
            if not reusing.may_free_memory:
                return None
            # Its frames hold tensors of the failed pass, and what was not launched is lost.
            self._error = error = RanOut("memory ran out")
            self._waiting.clear()
            self._launched, self._failed_to_read = self._given, False
            return Instead(partial(reusing.plainly, None))
        if not reusing.reuses:
            return None
        why = UNPROVED if error is None else typed_line(error)
        return Instead(partial(reusing.plainly, why))

    def _run_instead(self, instead: Instead) -> Iterator[Groups]:
        forward = instead.forward()
        forward.cancelled = self._forward.cancelled
        self._forward, self._instead_worked, self._ran_instead = forward, instead.worked, True
        self._error, self._ended = None, False
        yield from self._run_once()

    def _finish(self) -> tuple[ItemResult, ...]:
        """Collect what is only known at the end. Raises the error of the pass."""
        error, self._error = self._error, None
        if error is not None:
            # The thread of the pass, which still refers to this, must not keep alive what the
            # error's frames hold, nor these frames the error.
            try:
                raise error
            finally:
                del error
        places = self._forward.absolute_positions
        assert places is not None
        found = [item.finish(each) for item, each in zip(self._items, self._ends, strict=True)]
        self._timed.wait()
        self._given = self._layers + 1
        return tuple(
            ItemResult(
                rows=each.rows,
                tracked=each.tracked,
                proof=each.proof,
                position=int(place[0]),
                seconds={"pass": self._passing, "lens": self._reading},
            )
            for each, place in zip(found, places, strict=True)
        )

    # The pass's side

    def _run(self) -> None:
        forward = self._forward
        with self._lock:
            ends: tuple[LaunchedEnd, ...] = ()
            try:
                self._began = self._last_entry = time.perf_counter()
                forward.run(
                    self._on_row,
                    self._on_tail,
                    attached=() if self._reusing is None else self._reusing.attached,
                    on_logits=self._launch_end,
                )
                ends = self._ends
            except BaseException as error:  # handed to the reader, whatever it is
                self._error = error.with_traceback(None) if isinstance(error, Cancelled) else error
            finally:
                self._over.set()
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()
            # What nobody waits for, while no other pass can run.
            self._end_timing(ends)
            give_ordinary_tensors(forward.model)
            if ends and len(ends) == 1 and self._last is not None:
                sizes = {self._group, self._layers % self._group or self._group}
                self._beside.graphs.prepare(sorted(sizes), self._last)

    def _end_timing(self, ends: tuple[LaunchedEnd, ...]) -> None:
        if ends and self._forward.parts.tail.device.type != "cpu":
            with suppress(Exception):  # the reader meets the same error, and tells it
                for each in ends:
                    each.fetched.wait()  # this thread was ahead of the device
            self._passing = time.perf_counter() - self._began
            if self._forward.going_on is None:  # the few tokens of others take as long as many
                self._beside.pace.passed(self._layers, self._forward.length, self._passing)
        self._timed.set()

    def _on_row(self, row: int, read: RowStream) -> None:
        now = time.perf_counter()
        if row == 0:
            self._group = self._beside.pace.rows(self._layers, self._forward.length)
        if row == self._layers:
            self._last = read
            return
        if row < self._launched:
            return  # by the pass that this one replaces
        self._launched = row + 1
        due: list[_Waiting] = []
        with self._changed:
            self._waiting.append(_Waiting(row, read, now))
            layer_seconds = now - self._last_entry if row else 0.0
            oldest = now - self._waiting[0].since
            if len(self._waiting) >= self._group or oldest + layer_seconds > MAX_WAIT:
                due, self._waiting = self._waiting, []
        if due:
            self._launch(due)
        self._last_entry = time.perf_counter()

    def _on_tail(self) -> None:
        with self._changed:
            due, self._waiting = self._waiting, []
        if due:
            self._launch(due)

    def _launch_end(self, own: Tensor) -> None:
        self._on_tail()  # where a model does not call its tail, its last rows still wait
        began, last = time.perf_counter(), self._last
        self._passing = began - self._began
        assert last is not None
        side = self._beside.side
        marks = [side.mark(device) for device in {last.stream.device, own.device}]
        with self._launching, self._telling_failures(), side.after(*marks):
            self._ends = tuple(
                item.launch_end(read, logits, self._forward.project([read]))
                for index, item in enumerate(self._items)
                for read, logits in [(self._of_item(last, index), own[index : index + 1])]
            )
        self._count(time.perf_counter() - began)

    # Both

    def _launch(self, waiting: list[_Waiting]) -> None:
        with self._launching:
            self._launch_now(waiting)

    def _launch_now(self, waiting: list[_Waiting]) -> None:
        """Launch the readout of these rows; to be called by whoever holds `_launching`."""
        began, side = time.perf_counter(), self._beside.side
        rows = [each.row for each in waiting]
        marks = [side.mark(device) for device in {each.read.stream.device for each in waiting}]
        with self._telling_failures(), side.after(*marks):
            # Item by item, as a kept stream is read later, so that it gives the same numbers.
            launched = tuple(
                item.launch(rows, [self._of_item(each.read, index) for each in waiting])
                for index, item in enumerate(self._items)
            )
        with self._changed:
            self._in_flight.append(launched)
            self._changed.notify_all()
        self._count(time.perf_counter() - began)

    @contextmanager
    def _telling_failures(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._failed_to_read = True
            raise

    def _count(self, seconds: float) -> None:
        with self._changed:
            self._reading += seconds

    def _of_item(self, read: RowStream, item: int) -> RowStream:
        if len(self._items) == 1:
            return read
        return read.mapped(lambda tensor: tensor[item : item + 1])

    def _through(self, streams: Sequence[RowStream]) -> Tensor:
        return self._forward.project(streams, self._norm)
