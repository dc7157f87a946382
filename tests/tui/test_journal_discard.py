"""A journal that is discarded while it is written leaves nothing that would be offered again."""

from __future__ import annotations

import os
import threading
import time

import pytest

from engine.records import Question, Session
from tests.tui.fakes import finish, make_rows, make_run
from tui.disk.journal import Journal
from tui.disk.paths import journals_folder

RUN = finish(make_run("a" * 16, Question(prompt="Shape:")), make_rows(10, 5))
SESSION = Session(created="x", saved="x", runs=(RUN,))


def test_a_journal_is_discarded_once_the_last_write_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, fsync = threading.Event(), os.fsync
    others = set(threading.enumerate())

    def slowly(descriptor: int) -> None:
        begun.set()
        time.sleep(0.2)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slowly)
    journal = Journal()
    journal.write(SESSION)
    assert begun.wait(10)
    journal.close(discard=True, seconds=10)
    assert list(journals_folder().iterdir()) == []
    for thread in set(threading.enumerate()) - others:
        thread.join(10)
    assert list(journals_folder().iterdir()) == []


def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive that hangs does not keep the explorer open."""
    begun, go_on = threading.Event(), threading.Event()

    def hanging(descriptor: int) -> None:
        begun.set()
        assert go_on.wait(10)

    monkeypatch.setattr(os, "fsync", hanging)
    journal = Journal()
    journal.write(SESSION)
    assert begun.wait(10)
    closing = threading.Thread(
        target=journal.close, kwargs={"discard": False, "seconds": 0.05}, daemon=True
    )
    closing.start()
    closing.join(5)
    ended = not closing.is_alive()
    go_on.set()
    assert ended
