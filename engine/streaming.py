"""A pass whose rows are read while its later layers still run.

The forward pass runs in the model's thread. On a CPU rows are projected in that thread between two
layers, in groups (seven rows cost about what one costs, and two threads would fight for the same
cores); if a layer takes long, the reader projects what waits. On an accelerator the reader
projects every row at once, on a stream of its own, so the model's stream never waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from msgspec import structs
from torch import Tensor

from engine.errors import Cancelled
from engine.forward import Forward
from engine.kept import KeptStream, in_main_memory
from engine.pass_thread import submit
from engine.readout import (
    TextOf,
    Why,
    answer_readings,
    finite,
    kl_divergence,
    readings,
    standings,
    tracked_tokens,
)
from engine.records import LayerReading, Proof, Tracked
from engine.replay import Replay
from engine.tail import RowStream, Tail

MAX_WAIT = 0.45
"""Seconds that a row may wait for others before it is shown."""


@dataclass(frozen=True)
class PassResult:
    """What is known once a pass has ended."""

    rows: tuple[LayerReading, ...]
    tracked: tuple[Tracked, ...]
    proof: Proof
    position: int
    length: int
    """Positions of the sequence; more than the prompt's ids where a model puts the picture's
    features ahead of them."""
    seconds: dict[str, float]


Project = Callable[[Sequence[RowStream]], Tensor]
Beside = Callable[[Sequence[int], Tensor, Project], object]


@dataclass(frozen=True)
class _Waiting:
    row: int
    read: RowStream
    since: float
    ready: Any
    """CUDA event after which `read` holds its values, or None."""


class StreamedPass:
    """Iterate to get groups of readings, in order; `result` is there when iteration has ended."""

    def __init__(
        self,
        forward: Forward,
        layers: int,
        lock: threading.Lock,
        top_k: int,
        norm: bool,
        track: Sequence[int],
        text_of: TextOf,
        prove: Callable[[Tensor, Tensor], Proof],
        tail: Tail | Replay,
        beside: Beside | None = None,
    ) -> None:
        """`beside` is handed the numbers and logits [n, vocabulary] of all rows as they are read,
        and the way from streams to logits that this pass takes; not for a replay, which cannot
        read another pass's rows beside its own."""
        self.result: PassResult | None = None
        self._forward = forward
        self._layers = layers
        self._lock = lock
        self._top_k = top_k
        self._norm = norm
        self._track = track
        self._text_of = text_of
        self._prove = prove
        self._tail = tail
        self._beside = beside
        self._inline = isinstance(tail, Replay) or tail.device.type == "cpu"
        self._group = max(1, layers // 4) if self._inline else 1
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._read: dict[int, LayerReading] = {}
        self._logits: dict[int, Tensor] = {}
        self._streams: dict[int, RowStream] = {}
        self._groups: list[tuple[int, ...]] = []
        self._last: RowStream | None = None
        self._own: Tensor | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._given = 0
        self._last_entry = time.perf_counter()
        self._projecting = 0.0
        self._passing = 0.0
        self._over = threading.Event()
        self._over.set()
        """No pass of this runs, and its hooks are gone."""
        self._side_streams: dict[torch.device, Any] = {}

    # The reader's side

    def __iter__(self) -> Iterator[tuple[LayerReading, ...]]:
        self._over.clear()
        submit(self._forward.model, self._run)
        while True:
            group = self._next_group()
            if group:
                yield group
            elif self._ended:
                break
        if self._error is not None:
            raise self._error
        yield self._finish()

    def cancel(self) -> None:
        """Let the pass end at its next layer; iteration then raises Cancelled."""
        self._forward.cancelled.set()

    def close(self) -> None:
        """Cancel what still runs and wait (briefly) until its hooks are gone."""
        self._forward.cancelled.set()
        self._over.wait(timeout=2.0)

    def keep(self) -> KeptStream:
        """What more can be read from, once the pass has ended well."""
        assert self.result is not None and self._own is not None
        if isinstance(self._tail, Tail):
            project = partial(self._tail.logits, norm=self._norm)
        else:
            project = partial(self._forward.project, norm=self._norm)
        return KeptStream(
            model=self._forward.model,
            lock=self._lock,
            readings=self.result.rows,
            streams={row: in_main_memory(read) for row, read in self._streams.items()},
            groups=tuple(sorted(self._groups)),
            own=self._own.cpu(),
            device=self._own.device,
            project=project,
            text_of=self._text_of,
            replays=self._forward.replays,
        )

    def _next_group(self) -> tuple[LayerReading, ...]:
        while True:
            with self._changed:
                group = self._take_read()
                if group or self._ended:
                    break
                overdue = self._take_overdue()
                if not overdue:
                    self._changed.wait(self._patience())
                    continue
            self._project(overdue)
        if self._ended and not group and self._error is None and self._waiting:
            with self._changed:
                left, self._waiting = self._waiting, []
            self._project(left)
            return self._take_read()
        return group

    def _take_read(self) -> tuple[LayerReading, ...]:
        group = []
        while self._given in self._read:
            group.append(self._read[self._given])
            self._given += 1
        return tuple(group)

    def _take_overdue(self) -> list[_Waiting]:
        if not self._waiting or self._forward.in_tail.is_set():
            return []
        if self._inline:
            age = time.perf_counter() - self._waiting[0].since
            # A replay runs the whole model and cannot happen beside the pass.
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
                own = self._forward.run(self._on_row, self._on_tail)
            self._own = own
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
        with self._side_stream(waiting), torch.no_grad():
            device = waiting[0].read.stream.device
            logits = self._forward.project([item.read for item in waiting], self._norm)
            rows = readings(
                [item.row for item in waiting],
                torch.cat([item.read.stream.to(device) for item in waiting]),
                logits,
                self._top_k,
                self._text_of,
                [self._forward.note(item.row, item.read) for item in waiting],
            )
            if self._beside is not None:
                self._beside([item.row for item in waiting], logits, self._through)
        with self._changed:
            for item, reading, row_logits in zip(waiting, rows, logits, strict=True):
                self._read[item.row] = reading
                self._logits[item.row] = row_logits
                self._streams[item.row] = item.read
            self._groups.append(tuple(item.row for item in waiting))
            self._projecting += time.perf_counter() - began
            self._changed.notify_all()

    def _through(self, streams: Sequence[RowStream]) -> Tensor:
        return self._forward.project(streams, self._norm)

    def _side_stream(self, waiting: list[_Waiting]) -> Any:
        if waiting[0].ready is None:
            return nullcontext()
        device = waiting[0].read.stream.device
        if device not in self._side_streams:
            self._side_streams[device] = torch.cuda.Stream(device)
        side = self._side_streams[device]
        for item in waiting:
            side.wait_event(item.ready)
            for tensor in (item.read.stream, *item.read.companions, item.read.left):
                if tensor is not None:
                    tensor.record_stream(side)
        return torch.cuda.stream(side)

    def _finish(self) -> tuple[LayerReading, ...]:
        """The last row, from the model's own logits, and everything that needs it."""
        began = time.perf_counter()
        own, read, places = self._own, self._last, self._forward.places
        assert own is not None and read is not None and places is not None
        with self._lock, self._forward.evaluating():
            proof = self._prove(self._forward.project([read]), own)
            (last,) = readings([self._layers], read.stream, own, self._top_k, self._text_of, [None])
            logits = torch.stack(
                [self._logits[row].to(own.device) for row in range(self._layers)] + [own[0]]
            )
            self._logits.clear()
            rows = [self._read[row] for row in range(self._layers)] + [last]
            divergences = kl_divergence(logits, own[0]).tolist()
            answer = last.top[0].id if last.top else None
            if answer is None:
                answers: list[Any] = [None] * len(rows)
            else:
                answers = list(answer_readings(logits, answer))
            # A pinned token of another model's may be none of this one's.
            wanted = [token for token in self._track if 0 <= token < logits.shape[-1]]
            why = _reasons(rows, answer, wanted)
            columns = torch.tensor(list(why), dtype=torch.int64)
            tracked = tracked_tokens(why, [standings(logits, columns)], self._text_of)
            if self._beside is not None:
                self._beside([self._layers], own, self._through)
        complete = tuple(
            structs.replace(row, answer=place, kl_to_last=finite(divergence))
            for row, place, divergence in zip(rows, answers, divergences, strict=True)
        )
        self._projecting += time.perf_counter() - began
        self.result = PassResult(
            rows=complete,
            tracked=tracked,
            proof=proof,
            position=int(places.flatten()[0]),
            length=self._forward.length,
            seconds={"pass": self._passing, "lens": self._projecting},
        )
        self._given = self._layers + 1
        return (complete[-1],)


def _reasons(
    rows: Sequence[LayerReading], answer: int | None, wanted: Sequence[int]
) -> dict[int, Why]:
    """The answer, every token that is top-1 in some row, and `wanted`: what is tracked, and why."""
    why: dict[int, Why] = {} if answer is None else {answer: "answer"}
    for row in rows:
        if row.top:
            why.setdefault(row.top[0].id, "top-1")
    for token in wanted:
        why.setdefault(token, "user")
    return why
