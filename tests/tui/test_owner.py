"""Journals on drives without locks: whose process is gone is offered, whose runs is not."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from engine.records import Question, Session
from tests.tui.fakes import finish, make_rows, make_run
from tui.disk import owner
from tui.disk.journal import Journal, lock_of
from tui.disk.orphans import newest_orphan
from tui.disk.paths import journals_folder, own_folder

RUN = finish(make_run("a" * 16, Question(prompt="Shape:")), make_rows(10, 5))
SESSION = Session(created="x", saved="x", runs=(RUN,))


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def no_locks(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def written() -> Path:
    """A journal of this process, which runs."""
    journal = Journal()
    journal.write(SESSION)
    assert journal.settle(10)
    assert journal.path is not None
    return journal.path


def put_owner(journal: Path, **changes: Any) -> None:
    lock = lock_of(journal)
    known = msgspec.json.decode(lock.read_bytes(), type=owner.Owner)
    lock.write_bytes(msgspec.json.encode(replace(known, **changes)))


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_journal_without_locks_belongs_to_its_process(no_locks: None) -> None:
    journal = written()
    assert newest_orphan() is None
    put_owner(journal, pid=ended_process())
    orphan = newest_orphan()
    assert orphan is not None
    assert orphan.session == SESSION


@pytest.mark.parametrize(
    "changes", [{"started": "1"}, {"boot": "another"}], ids=["id used again", "machine restarted"]
)
def test_another_process_of_the_same_id_is_not_the_owner(
    no_locks: None, changes: dict[str, Any]
) -> None:
    put_owner(written(), **changes)
    assert newest_orphan() is not None


def test_of_another_machine_only_the_time_tells(no_locks: None) -> None:
    journal = written()
    put_owner(journal, host="another", pid=ended_process())
    assert newest_orphan() is None
    old = time.time() - owner.OTHER_MACHINE_SECONDS - 1
    os.utime(journal, (old, old))
    assert newest_orphan() is not None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 9000])
def test_a_lock_that_says_nothing_is_known_by_its_name(no_locks: None, content: bytes) -> None:
    journal = written()
    lock_of(journal).write_bytes(content)
    assert newest_orphan() is None  # this process, whose id is in the name, runs
    dead = journal.with_name(f"20260101-000000-{ended_process()}.journal")
    journal.rename(dead)
    lock_of(journal).rename(lock_of(dead))
    assert newest_orphan() is not None


def test_what_killed_explorers_left_half_written_is_taken_away_later() -> None:
    folder = own_folder(journals_folder())
    kept = written()
    young = [folder / ".lenscope-1.tmp", folder / "20260101-000000-1.lock"]
    old = [folder / ".lenscope-2.tmp", folder / "20260101-000000-2.lock"]
    for path in (*young, *old):
        path.write_text("")
    for path in old:
        os.utime(path, (1, 1))
    os.utime(lock_of(kept), (1, 1))
    newest_orphan()
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in (*young, kept, lock_of(kept))
    }
