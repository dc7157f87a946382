"""When the worker's events reach the app, and that each comes once and in its place."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from textual.app import App
from textual.message import Message

from engine.events import Event, ModelLoading, RowsRead, RunEnded, RunStarted, Trouble
from engine.records import LayerReading, Question
from tests.tui.fakes import finish, make_rows, make_run
from tests.tui.stage import explorer, in_loop
from tui.state.run_view import Phase
from tui.views.table.lens_table import LensTable
from tui.worker import inbox as inbox_module
from tui.worker.inbox import START_ALONE_SECONDS, Inbox, WorkerSpoke

RATE = 20
PAUSE = 1 / RATE
LAYERS = 32
RUN = make_run("a" * 16, Question(prompt="Shape:"), LAYERS)
ROWS = make_rows(LAYERS, LAYERS // 2)


def rows(first: int, last: int) -> RowsRead:
    return RowsRead(RUN.id, tuple(ROWS[first : last + 1]))


class _Timer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self._call, self._stopped = due, call, False

    def stop(self) -> None:
        self._stopped = True

    def fire(self) -> None:
        if not self._stopped:
            self._call()


class Desk:
    """An app whose clock stands still, with an inbox: what it was handed, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.taken: list[tuple[float, list[Event]]] = []
        self.wakes = 0
        self._timers: list[_Timer] = []
        monkeypatch.setattr(inbox_module, "monotonic", lambda: self.now)
        self.inbox = Inbox(cast(App[int], self), RATE)

    def post_message(self, message: Message) -> None:
        self.wakes += 1
        self.inbox.deliver(lambda events: self.taken.append((self.now, events)))

    def set_timer(self, delay: float, call: Callable[[], None]) -> _Timer:
        self._timers.append(_Timer(self.now + delay, call))
        return self._timers[-1]

    def at(self, seconds: float, *events: Event) -> None:
        """Go on to this time, and let the worker tell something."""
        for timer in sorted(self._timers, key=lambda timer: timer.due):
            if timer.due <= 1000 + seconds:
                self.now = timer.due
                self._timers.remove(timer)
                timer.fire()
        self.now = 1000 + seconds
        for event in events:
            self.inbox.tell(event)

    @property
    def handed(self) -> list[tuple[float, list[str]]]:
        """Milliseconds, and the kinds of the events."""
        return [
            (round(1000 * (at - 1000)), [type(event).__name__ for event in events])
            for at, events in self.taken
        ]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_a_run_that_is_over_within_a_frame_is_handed_over_once_and_at_its_end(desk: Desk) -> None:
    told: list[Event] = [RunStarted(RUN)]
    desk.at(0, told[0])
    for group in range(0, 33, 11):
        told.append(rows(group, group + 10))
        desk.at(0.01 + group / 2000, told[-1])
    assert desk.taken == []
    told.append(RunEnded(finish(RUN, ROWS)))
    desk.at(0.031, told[-1])
    assert desk.taken == [(1000.031, told)]
    desk.at(1)
    assert len(desk.taken) == 1


def test_first_rows_that_take_longer_than_a_frame_are_handed_over_at_once(desk: Desk) -> None:
    desk.at(0, RunStarted(RUN))
    desk.at(PAUSE + 0.01, rows(0, 7))
    assert desk.handed == [(60, ["RunStarted", "RowsRead"])]


def test_first_rows_wait_no_longer_than_a_frame_from_the_start_of_their_run(desk: Desk) -> None:
    desk.at(0, RunStarted(RUN))
    desk.at(0.01, rows(0, 7))
    desk.at(0.02, rows(8, 15))
    desk.at(0.2)
    assert desk.handed == [(50, ["RunStarted", "RowsRead", "RowsRead"])]


def test_a_run_without_rows_is_shown_after_a_while(desk: Desk) -> None:
    desk.at(0, RunStarted(RUN))
    desk.at(5)
    assert desk.handed == [(round(1000 * START_ALONE_SECONDS), ["RunStarted"])]


def test_while_rows_stream_there_is_one_frame_a_pause_and_the_last_comes_at_once(
    desk: Desk,
) -> None:
    desk.at(0, RunStarted(RUN))
    for row in range(33):
        desk.at(0.2 + 0.01 * row, rows(row, row))
    desk.at(0.525, RunEnded(finish(RUN, ROWS)))
    desk.at(1)
    times = [at for at, _ in desk.handed]
    assert [times[0], times[1], times[-1]] == [100, 200, 525]
    gaps = [later - sooner for sooner, later in itertools.pairwise(times[:-1])]
    assert min(gaps) >= 1000 * PAUSE
    assert len(times) >= 8  # none waits for longer than that
    read = [event for _, events in desk.taken for event in events if isinstance(event, RowsRead)]
    assert [row.layer for event in read for row in event.rows] == list(range(33))


def test_rows_one_by_one_wake_the_app_no_more_often_than_rows_at_once(desk: Desk) -> None:
    desk.at(0, RunStarted(RUN), *(rows(row, row) for row in range(33)))
    assert desk.wakes == 2
    desk.at(0.01, RunEnded(finish(RUN, ROWS)))
    assert desk.wakes == 3
    assert len(desk.taken) == 1


def test_a_message_whose_events_have_been_taken_holds_nothing_back(desk: Desk) -> None:
    desk.at(0, RunStarted(RUN), RunEnded(finish(RUN, ROWS)))
    desk.at(1)
    desk.post_message(WorkerSpoke())
    desk.at(1.001, Trouble("memory ran out"))
    assert desk.handed[-1] == (1001, ["Trouble"])


@pytest.mark.parametrize("end", [RunEnded(finish(RUN, ROWS[:8], "cancelled")),
                                 Trouble("memory ran out", RUN.id)])  # fmt: skip
def test_what_breaks_a_run_off_comes_after_its_rows_and_before_the_next_run(
    desk: Desk, end: Event
) -> None:
    told: list[Event] = [RunStarted(RUN), rows(0, 7), end, RunStarted(RUN), rows(0, 3)]
    desk.at(0, *told)
    desk.at(1)
    assert [event for _, events in desk.taken for event in events] == told


def test_what_is_no_part_of_a_run_is_handed_over_at_once(desk: Desk) -> None:
    desk.at(0, ModelLoading("importing torch"))
    desk.at(0.01, ModelLoading("loading weights", 0.1))
    desk.at(0.02, ModelLoading("loading weights", 0.2))
    desk.at(1)
    assert desk.handed == [(0, ["ModelLoading"]), (50, ["ModelLoading", "ModelLoading"])]


class _Reading(App[int]):
    """A real app, which keeps what it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox = Inbox(self, 1000)
        self.taken: list[Event] = []

    def on_worker_spoke(self, message: WorkerSpoke) -> None:
        self.inbox.deliver(self.taken.extend)


@in_loop
async def test_nothing_is_lost_between_threads() -> None:
    app = _Reading()
    told: list[Event] = []
    for _ in range(40):
        told += [RunStarted(RUN), *(rows(row, row) for row in range(33)), RunEnded(RUN)]

    def tell() -> None:
        for event in told:
            app.inbox.tell(event)

    async with app.run_test() as pilot:
        thread = threading.Thread(target=tell)
        thread.start()
        while len(app.taken) < len(told):
            await pilot.pause(0.01)
        thread.join()
    assert all(one is other for one, other in zip(app.taken, told, strict=True))


def _counted(monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str) -> list[object]:
    calls: list[object] = []
    method = getattr(owner, name)

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        calls.append(given[0] if given else None)
        return method(self, *given, **named)

    monkeypatch.setattr(owner, name, counted)
    return calls


def _groups(found: Sequence[LayerReading]) -> list[RowsRead]:
    return [RowsRead(RUN.id, tuple(found[start : start + 6])) for start in range(0, 33, 6)]


@in_loop
async def test_events_that_come_together_are_one_state_and_one_drawing() -> None:
    monkeypatch = pytest.MonkeyPatch()
    async with explorer(layers=LAYERS, forms_at=LAYERS // 2) as stage:
        await stage.run_done()
        shown = _counted(monkeypatch, LensTable, "show")
        try:
            told: list[Event] = [RunStarted(RUN), *_groups(ROWS), RunEnded(finish(RUN, ROWS))]
            for event in told:
                stage.app.inbox.tell(event)
            await stage.run_done(2)
            await stage.until(lambda: stage.app.state.runs[-1].phase is Phase.DONE)
        finally:
            monkeypatch.undo()
        assert len(shown) == 1
        run = stage.app.state.current
        assert run is not None
        assert [row.layer for row in run.rows] == list(range(33))
        assert stage.app.main.table.cursor == run.formation == LAYERS // 2


@in_loop
async def test_only_rows_that_look_different_are_drawn_again() -> None:
    monkeypatch = pytest.MonkeyPatch()
    async with explorer(layers=LAYERS, forms_at=LAYERS // 2) as stage:
        await stage.run_done()
        drawn = _counted(monkeypatch, LensTable, "draw_row")
        try:
            stage.app.presenter.show_all()
            assert drawn == []
            stage.app.inbox.tell(RunStarted(RUN))
            stage.app.inbox.tell(rows(0, 9))
            await stage.until(lambda: stage.app.state.live is not None)
            seen = set(drawn)
            drawn.clear()
            stage.app.inbox.tell(rows(10, 15))
            await stage.until(lambda: len(stage.app.state.runs[-1].rows) == 16)
            again = set(drawn)
        finally:
            monkeypatch.undo()
        # Row 6 holds a token that leads from row 12 on, and gets its colour there.
        assert not seen & set(range(6))
        assert not again & set(range(6))
        assert again >= set(range(10, 16))
