"""What is on the disk while an explorer runs, and who is offered it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from engine.records import Question, Session
from engine.sessions import read_session
from tests.tui.fakes import finish, make_rows, make_run
from tui.disk.journal import Journal
from tui.disk.journal_file import read_journal
from tui.disk.orphans import newest_kept, newest_orphan, retire
from tui.disk.paths import journals_folder, own_folder, sessions_folder

RUN = finish(make_run("a" * 16, Question(prompt="Shape:")), make_rows(10, 5))
SESSION = Session(created="x", saved="x", runs=(RUN,))

HOLDER = """
import sys, time
from engine.sessions import read_session
from tui.disk.journal import Journal
journal = Journal()
journal.write(read_session(sys.argv[1]))
print("writing", flush=True)
time.sleep(60)
"""


def until(holds: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def journals() -> list[Path]:
    return sorted(journals_folder().glob("*.journal")) if journals_folder().is_dir() else []


def test_the_newest_session_is_on_the_disk_until_the_journal_is_closed() -> None:
    journal = Journal()
    for index in range(30):
        journal.write(replace(SESSION, saved=f"time {index}"))
    until(lambda: journals() and read_journal(journals()[0]).saved == "time 29")
    assert len(journals()) == 1
    assert newest_orphan() is None  # its explorer lives
    assert journals_folder().stat().st_mode & 0o777 == 0o700
    journal.close(discard=True)
    assert list(journals_folder().iterdir()) == []
    journal.write(SESSION)
    time.sleep(0.1)
    assert journals() == []


def test_a_killed_explorers_journal_is_offered_and_never_lost(tmp_path: Path) -> None:
    from engine.sessions import write_session

    write_session(SESSION, tmp_path / "given.json")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "given.json")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        until(lambda: len(journals()) == 1)
        assert newest_orphan() is None
        mine = Journal()  # two at once write two files
        mine.write(replace(SESSION, saved="mine"))
        until(lambda: len(journals()) == 2)
        assert newest_orphan() is None
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    orphan = newest_orphan()
    assert orphan is not None
    assert orphan.session == SESSION
    kept = retire(orphan)
    assert kept is not None
    assert kept.parent == sessions_folder()
    assert read_session(kept) == SESSION
    assert newest_orphan() is None
    assert newest_kept() == kept
    mine.close(discard=False)
    left = newest_orphan()
    assert left is not None
    assert left.session.saved == "mine"


def test_the_one_that_was_written_last_is_offered_first() -> None:
    from engine.sessions import write_session

    for name, saved, age in (("1", "late", 10), ("2", "early", 1000), ("3", "empty", 0)):
        path = own_folder(journals_folder()) / f"{name}.json"
        runs = () if saved == "empty" else SESSION.runs
        write_session(replace(SESSION, saved=saved, runs=runs), path)
        os.utime(path, (time.time() - age,) * 2)
    orphan = newest_orphan()
    assert orphan is not None
    assert orphan.session.saved == "late"


def test_explorers_that_share_a_home_and_a_process_id_write_two_files() -> None:
    one, other = Journal(), Journal()
    one.write(replace(SESSION, saved="one"))
    other.write(replace(SESSION, saved="other"))
    until(lambda: len(journals()) == 2)
    assert {read_journal(path).saved for path in journals()} == {"one", "other"}
    one.close(discard=True)
    assert [read_journal(path).saved for path in journals()] == ["other"]
    assert newest_orphan() is None
    other.close(discard=False)
    assert newest_orphan() is not None


def test_what_is_damaged_or_empty_is_not_offered_and_stays() -> None:
    journals_folder().mkdir(parents=True)
    for name in ("1.json", "2.journal"):
        (journals_folder() / name).write_text("{")
        (journals_folder() / f"empty{name}").write_text("")
    assert newest_orphan() is None
    assert len(list(journals_folder().iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_no_trouble() -> None:
    journals_folder().parent.mkdir(parents=True)
    journals_folder().write_text("a file in the place of the folder")
    journal = Journal()
    journal.write(SESSION)
    time.sleep(0.2)
    journal.close(discard=True)
    assert newest_orphan() is None
    assert newest_kept() is None
