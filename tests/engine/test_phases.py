"""What each phase of a piece of work takes."""

from __future__ import annotations

import threading

import pytest

from engine.system.phases import TOTAL, phase, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its only number is the time."""
    now = [100.0]
    monkeypatch.setattr("engine.system.phases.time.perf_counter", lambda: now[0])
    return now


def test_a_phase_within_another_interrupts_it(clock: list[float]) -> None:
    with timed() as stopwatch:
        clock[0] += 1
        with phase("learning"):
            clock[0] += 2
            with phase("proving"):
                clock[0] += 4
            clock[0] += 8
        with phase("digest"):
            clock[0] += 16
        with phase("learning"):
            clock[0] += 32
        seconds = stopwatch.seconds
    assert seconds == {"learning": 42, "proving": 4, "digest": 16, TOTAL: 63}
    assert list(seconds) == ["learning", "proving", "digest", TOTAL]


def test_a_phase_that_has_not_ended_counts_so_far(clock: list[float]) -> None:
    with timed() as stopwatch, phase("reading"):
        clock[0] += 3
        assert stopwatch.seconds == {"reading": 3, TOTAL: 3}
        clock[0] += 4
        assert stopwatch.seconds == {"reading": 7, TOTAL: 7}


def test_what_is_timed_within_another_counts_there(clock: list[float]) -> None:
    with timed() as outer:
        with phase("importing"):
            clock[0] += 1
        with timed() as inner, phase("reading"):
            clock[0] += 2
        assert inner is outer
        clock[0] += 4
        assert outer.seconds == {"importing": 1, "reading": 2, TOTAL: 7}
    with timed() as later:
        assert later.seconds == {TOTAL: 0}


def test_a_phase_ends_with_an_error(clock: list[float]) -> None:
    with timed() as stopwatch:
        with pytest.raises(ValueError, match="damaged"), phase("reading"):
            clock[0] += 1
            raise ValueError("damaged")
        clock[0] += 2
        assert stopwatch.seconds == {"reading": 1, TOTAL: 3}


def test_nobody_times_and_another_thread_is_not_timed(clock: list[float]) -> None:
    def work() -> None:
        with phase("elsewhere"):
            clock[0] += 1

    work()
    with timed() as stopwatch:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert stopwatch.seconds == {TOTAL: 1}
