"""A pass whose rows are read while its later layers still run.

The forward pass runs in the model's thread. On a CPU that thread also projects the rows, between
two layers and in groups: seven rows cost about as much as one, and two threads would compete for
the same cores. If a layer takes long, the reader's thread projects the waiting rows. On an
accelerator the reader's thread projects every row as soon as it is there, on a CUDA side stream, so
that the stream on which the model runs never waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.errors import Cancelled
from engine.lens.kept import KeptStream
from engine.lens.row_reader import RowReader, Wanted
from engine.lens.streams import Streams, streams_of
from engine.passes.forward import Forward
from engine.passes.thread import submit
from engine.passes.whole_streams import WholeStreams
from engine.prompts.token_texts import TextOf
from engine.records import LayerReading, Proof, Tracked

ASKED_TOGETHER = "this run was asked together with others"
MAX_WAIT = 0.45
"""How long a row may wait for others to be projected together with it, in seconds."""


def rows_together(layers: int) -> int:
    """How many rows go through the tail at once on a CPU: no row waits longer than a quarter of the
    layers."""
    return max(1, layers // 4)


@dataclass(frozen=True)
class ItemResult:
    """What is known of one batch item once its pass has ended."""

    rows: tuple[LayerReading, ...]
    tracked: tuple[Tracked, ...]
    proof: Proof
    position: int
    """The absolute position that was read."""
    seconds: dict[str, float]
    """"pass": the whole forward pass; "lens": the projections in it and after it."""


@dataclass(frozen=True)
class _Waiting:
    """A row that has not been projected yet."""

    row: int
    read: RowStream
    since: float
    ready: Any
    """CUDA event after which `read` holds its values, or None."""


class _SideStreams:
    """A CUDA stream for each device, on which rows are projected while the model's stream runs."""

    def __init__(self) -> None:
        self._streams: dict[torch.device, Any] = {}

    def entered(self, waiting: Sequence[_Waiting]) -> AbstractContextManager[Any]:
        """A context in which kernels go to the side stream and wait until these rows are ready."""
        if waiting[0].ready is None:
            return nullcontext()
        device = waiting[0].read.stream.device
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        side = self._streams[device]
        for each in waiting:
            side.wait_event(each.ready)
            for tensor in (each.read.stream, *each.read.companions, each.read.before_addition):
                if tensor is not None:
                    tensor.record_stream(side)
        return torch.cuda.stream(side)


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
        whole: WholeStreams | None = None,
    ) -> None:
        """`wanted` has an entry for every item of the batch; `whole` is what `forward` keeps of a
        batch of one."""
        self.results: tuple[ItemResult, ...] = ()
        self._forward = forward
        self._whole = whole
        self._top_k = top_k
        self._text_of = text_of
        self._track = tuple(wanted[0].track)
        self._layers = layers = len(forward.parts.layers)
        self._lock = lock
        self._norm = norm
        self._items = [
            RowReader(layers, top_k, text_of, self._through, forward.parts.note, each)
            for each in wanted
        ]
        tail = forward.parts.tail
        self._inline = tail.replays or tail.device.type == "cpu"
        self._group = rows_together(layers) if self._inline else 1
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._last: RowStream | None = None
        self._model_logits: Tensor | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._given = 0
        self._last_entry = time.perf_counter()
        self._projecting = 0.0
        self._passing = 0.0
        self._over = threading.Event()
        self._over.set()
        """Set while this pass does not run and has no hooks on the model."""
        self._side_streams = _SideStreams()

    # The reader's side

    def __iter__(self) -> Iterator[Groups]:
        self._over.clear()
        submit(self._forward.model, self._run)
        while True:
            rows = self._next_rows()
            if rows:
                yield tuple(tuple(item[row] for row in rows) for item in self._items)
            elif self._ended:
                break
        if self._error is not None:
            raise self._error
        yield self._finish()

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
        return self._items[item].keep(
            self._forward.model, self._lock, project, self._forward.replays
        )

    def keep_everywhere(self) -> Streams | str:
        """The streams at all positions, once the pass has ended and its proof has passed; or why
        they are not kept."""
        whole, forward = self._whole, self._forward
        if whole is None:
            return ASKED_TOGETHER
        if whole.refusal is not None:
            return whole.refusal
        return streams_of(
            forward,
            whole,
            lock=self._lock,
            groups=self._items[0].groups,
            norm=self._norm,
            top_k=self._top_k,
            text_of=self._text_of,
            track=self._track,
        )

    def _next_rows(self) -> range:
        while True:
            with self._changed:
                rows = self._take_read()
                if rows or self._ended:
                    break
                overdue = self._take_overdue()
                if not overdue:
                    self._changed.wait(self._patience())
                    continue
            self._project(overdue)
        if self._ended and not rows and self._error is None and self._waiting:
            with self._changed:
                remaining, self._waiting = self._waiting, []
            self._project(remaining)
            return self._take_read()
        return rows

    def _take_read(self) -> range:
        first = self._given
        while all(self._given in item for item in self._items):
            self._given += 1
        return range(first, self._given)

    def _take_overdue(self) -> list[_Waiting]:
        if not self._waiting or self._forward.in_tail.is_set():
            return []
        if self._inline:
            age = time.perf_counter() - self._waiting[0].since
            # A replay runs the whole model, so it cannot run at the same time as the pass.
            if age < MAX_WAIT or self._forward.replays:
                return []
        taken, self._waiting = self._waiting, []
        return taken

    def _patience(self) -> float | None:
        if not self._inline or not self._waiting:
            return None
        return max(0.01, MAX_WAIT - (time.perf_counter() - self._waiting[0].since))

    # The pass's side

    def _run(self) -> None:
        began = time.perf_counter()
        try:
            with self._lock:
                began = self._last_entry = time.perf_counter()
                model_logits = self._forward.run(self._on_row, self._on_tail)
            self._model_logits = model_logits
        except BaseException as error:  # handed to the reader, whatever it is
            self._error = error.with_traceback(None) if isinstance(error, Cancelled) else error
        finally:
            self._passing = time.perf_counter() - began
            self._over.set()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _on_row(self, row: int, read: RowStream) -> None:
        now = time.perf_counter()
        if row == self._layers:
            self._last = read
            return
        ready = None
        if read.stream.is_cuda and not self._inline:
            ready = torch.cuda.Event()
            ready.record()
        due: list[_Waiting] = []
        with self._changed:
            self._waiting.append(_Waiting(row, read, now, ready))
            if self._inline:
                layer_seconds = now - self._last_entry if row else 0.0
                oldest = now - self._waiting[0].since
                if len(self._waiting) >= self._group or oldest + layer_seconds > MAX_WAIT:
                    due, self._waiting = self._waiting, []
            else:
                self._changed.notify_all()
        if due:
            self._project(due)
        self._last_entry = time.perf_counter()

    def _on_tail(self) -> None:
        if not self._inline:
            return
        with self._changed:
            due, self._waiting = self._waiting, []
        if due:
            self._project(due)

    # Both

    def _project(self, waiting: list[_Waiting]) -> None:
        began = time.perf_counter()
        rows = [each.row for each in waiting]
        with self._side_streams.entered(waiting), torch.no_grad():
            # Item by item, as a kept stream is read later, so that it gives the same numbers.
            found = [
                item.read(rows, [self._of_item(each.read, index) for each in waiting])
                for index, item in enumerate(self._items)
            ]
        with self._changed:
            for add in found:
                add()
            self._projecting += time.perf_counter() - began
            self._changed.notify_all()

    def _of_item(self, read: RowStream, item: int) -> RowStream:
        if len(self._items) == 1:
            return read
        each = slice(item, item + 1)
        before = None if read.before_addition is None else read.before_addition[each]
        return RowStream(read.stream[each], tuple(other[each] for other in read.companions), before)

    def _through(self, streams: Sequence[RowStream]) -> Tensor:
        return self._forward.project(streams, self._norm)

    def _finish(self) -> Groups:
        """Read row L of all items from the model's own logits, prove the pass and set `results`."""
        began = time.perf_counter()
        model_logits, last, places = (
            self._model_logits,
            self._last,
            self._forward.absolute_positions,
        )
        assert model_logits is not None and last is not None and places is not None
        found = []
        with self._lock, self._forward.evaluating():
            for index, item in enumerate(self._items):
                read, logits = self._of_item(last, index), model_logits[index : index + 1]
                proof = self._forward.parts.prove(self._forward.project([read]), logits)
                found.append((proof, item.finish(read, logits)))
        self._projecting += time.perf_counter() - began
        self.results = tuple(
            ItemResult(
                rows=rows,
                tracked=tracked,
                proof=proof,
                position=int(place[0]),
                seconds={"pass": self._passing, "lens": self._projecting},
            )
            for (proof, (rows, tracked)), place in zip(found, places, strict=True)
        )
        self._given = self._layers + 1
        return tuple((result.rows[-1],) for result in self.results)
