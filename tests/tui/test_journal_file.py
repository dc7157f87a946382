"""The file of a journal: what is appended, what a kill leaves of it, and how large it becomes."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.errors import BadInput
from engine.methods.contrast import ContrastRequest
from engine.records import Comparison, ComparisonRow, LayerReading, Question, Run, Session
from engine.sessions import run_to_json
from tests.tui.fakes import contrasted, finish, make_rows, make_run, tracked_tokens
from tui.disk import journal_file
from tui.disk.journal import Journal, lock_of
from tui.disk.journal_file import JournalFile, read_journal
from tui.disk.orphans import newest_orphan
from tui.disk.paths import journals_folder, own_folder

FUZZ = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def a_run(number: int, layers: int = 6) -> Run:
    run = make_run(f"{number:016x}", Question(prompt=f"Shape {number}: \u202e"), layers)
    return finish(run, make_rows(layers, 3))


def session_of(*runs: Run, **changes: Any) -> Session:
    return replace(Session(created="c", saved="s", runs=runs, view={"row": 1}), **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.journal"


def test_each_change_is_appended_and_read_back(path: Path) -> None:
    file = JournalFile(path)
    live = replace(a_run(1), status="cancelled", rows=(), tracked=(), proof=None)
    steps = [
        session_of(),
        session_of(live),
        session_of(replace(live, rows=a_run(1).rows[:2])),
        session_of(replace(live, rows=a_run(1).rows[:5]), saved="later"),
        session_of(a_run(1), view={"row": 3, "run": f"{1:016x}"}),
        session_of(replace(a_run(1), title="named")),
        session_of(replace(a_run(1), tracked=tracked_tokens([5, 6], 7))),
        session_of(a_run(1), a_run(2), a_run(3)),
        session_of(a_run(1), a_run(3)),
        session_of(a_run(1), a_run(2), a_run(3)),
        session_of(a_run(3), a_run(1)),
        session_of(),
    ]
    for session in steps:
        file.write(session)
        assert read_journal(path) == session
    file.close()


def test_readings_and_comparisons_are_appended_too(path: Path) -> None:
    file = JournalFile(path)
    first, second = a_run(1), a_run(2)
    reading = contrasted(ContrastRequest(against=(second.id,)), first.rows)
    rows = (ComparisonRow(0, 0.5, 0.25),)
    compared = Comparison(second.id, "counterfactual", first.id, second.id, 0, rows)
    file.write(session_of(first, second))
    before = path.stat().st_size
    file.write(session_of(replace(first, readings=(reading,)), second, comparisons=(compared,)))
    appended = path.stat().st_size - before
    again = contrasted(ContrastRequest(against=(second.id,), a=2.0), first.rows)
    more = session_of(
        replace(first, readings=(reading, again)), second, comparisons=(replace(compared, layer=0),)
    )
    before = path.stat().st_size
    file.write(more)
    assert path.stat().st_size - before < 1.2 * appended  # the first reading is not written again
    assert read_journal(path) == more
    file.close()


STEP = st.sampled_from(["add", "rename", "rows", "delete", "move", "replace", "compare", "view"])


@FUZZ
@given(steps=st.lists(st.tuples(STEP, st.integers(0, 9)), max_size=25), spare=st.integers(0, 9000))
def test_any_changes_in_any_order(
    tmp_path: Path, steps: list[tuple[str, int]], spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "SPARE_BYTES", spare)
    path = tmp_path / f"{random.random()}.journal"
    file, runs = JournalFile(path), list[Run]()
    comparisons, view = dict[str, Comparison](), {"row": 0}
    for count, (step, number) in enumerate(steps):
        index = number % len(runs) if runs else 0
        if step == "add" or not runs:
            runs.insert(index, a_run(count, 2))
        elif step == "rename":
            runs[index] = replace(runs[index], title=f"{count}")
        elif step == "rows":
            runs[index] = replace(runs[index], status="cancelled", rows=runs[index].rows[:number])
        elif step == "delete":
            runs.pop(index)
        elif step == "move":
            runs.append(runs.pop(index))
        elif step == "replace":
            runs[index] = replace(a_run(count, 3), id=runs[index].id)
        elif step == "compare":
            run = runs[index].id
            comparisons[run] = Comparison(run, "runs", runs[0].id, run, count, ())
        else:
            view = {"row": count}
        ids = {run.id for run in runs}
        # Runs that were cut short keep tokens that are tracked through all rows: not written so.
        shown = tuple(replace(run, tracked=(), formation=None, proof=run.proof) for run in runs)
        kept = tuple(c for c in comparisons.values() if {c.of, c.against} <= ids)
        session = session_of(*shown, view=view, comparisons=kept)
        file.write(session)
        found = read_journal(path)
        assert [run.id for run in found.runs] == [run.id for run in session.runs]
        assert [replace(run, formation=None) for run in found.runs] == list(session.runs)
        assert set(found.comparisons) == set(session.comparisons)
        assert found.view == view
    file.close()


def test_a_journal_that_is_cut_anywhere_holds_what_was_whole(path: Path) -> None:
    file = JournalFile(path)
    for count in range(1, 4):
        file.write(session_of(*(a_run(number, 2) for number in range(count))))
    file.write(session_of(replace(a_run(0, 2), title="named"), a_run(1, 2), a_run(2, 2)))
    file.close()
    data = path.read_bytes()
    ends = [index for index, byte in enumerate(data) if byte == 10]
    seen = []
    for length in [*range(ends[0] + 1, len(data), 211), len(data)]:
        path.write_bytes(data[:length] + b"\0" * (length % 3))
        runs = read_journal(path).runs
        seen.append(len(runs))
        whole = data[:length].count(b'"run": {') - (0 if data[:length].endswith(b"\n") else 1)
        assert len(runs) >= min(max(whole, 0), 3)
        assert [run.id for run in runs] == [f"{n:016x}" for n in range(len(runs))]
    assert seen == sorted(seen)
    assert runs[0].title == "named"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]\n",
        b'{"format": "lenscope-session", "version": 1}\n',
        b'{"format": "lenscope-journal"}\n',
        b'{"format": "lenscope-journal", "version": 2}\n',
        b"[" * 100_000,
    ],
)
def test_what_is_no_journal_is_a_line(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read_journal(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "ID", "fields": {"layers": 10000000}}',
        '{"id": "ID", "fields": {"id": 5}}',
        '{"id": "ID", "longer": {"rows": [-1, [5]]}}',
        '{"id": "ID", "longer": {"title": [0, []]}}',
        '{"id": "ID", "longer": {"layers": [0, []]}}',
        '{"runs": ["ID", "ffffffffffffffff"]}',
        '{"view": {"a": %s}}' % ("[" * 200 + "]" * 200),
        '{"comparison": {"id": "ID", "kind": "runs", "of": "ID", "against": "ID"}}',
    ],
)
def test_a_damaged_run_does_not_take_others_with_it(path: Path, line: str) -> None:
    file = JournalFile(path)
    file.write(session_of(a_run(1), a_run(2)))
    file.close()
    with path.open("a") as stream:
        stream.write(line.replace("ID", f"{1:016x}") + "\n")
    assert a_run(2) in read_journal(path).runs or line.startswith('{"runs"')


def test_few_bytes_are_written_and_the_file_stays_small(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = JournalFile(path)
    runs: list[Run] = []
    for number in range(20):
        runs.append(a_run(number, 10))
        file.write(session_of(*runs))
        runs[-1] = replace(runs[-1], title=f"title {number}")
        file.write(session_of(*runs))
    needed = path.stat().st_size
    assert file.bytes_written < 1.1 * needed
    monkeypatch.setattr(journal_file, "SPARE_BYTES", 2**15)
    for number in range(60):  # the same run again and again
        rows = tuple(replace(row, rms=number / 3) for row in runs[0].rows)
        runs[0] = replace(runs[0], rows=rows)
        file.write(session_of(*runs))
    assert path.stat().st_size < 2.2 * needed + 2**15
    assert read_journal(path).runs == tuple(runs)
    file.close()


def test_a_disk_that_fills_up_and_is_freed_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = JournalFile(path)
    file.write(session_of(a_run(1)))
    write, room = os.write, [0]

    def short(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(descriptor, bytes(data)[: room[0]])
        room[0] -= count
        return count

    for left in (0, 100, 5000):
        room[0] = left
        monkeypatch.setattr(os, "write", short)
        with pytest.raises(OSError, match="No space"):
            file.write(session_of(a_run(1), a_run(2)))
        assert read_journal(path) == session_of(a_run(1))
        assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
    monkeypatch.undo()
    file.write(session_of(a_run(1), a_run(2)))
    assert read_journal(path) == session_of(a_run(1), a_run(2))
    file.close()


def test_what_is_deleted_while_it_is_written_stays_deleted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = JournalFile(path)
    file.write(session_of(a_run(1)))
    sync = os.fsync

    def delete_meanwhile(descriptor: int) -> None:
        sync(descriptor)
        file.delete()

    monkeypatch.setattr(os, "fsync", delete_meanwhile)
    monkeypatch.setattr(journal_file, "SPARE_BYTES", -(10**9))  # written anew each time
    file.write(session_of(a_run(1), a_run(2)))
    file.write(session_of(a_run(1), a_run(2), a_run(3)))
    assert list(path.parent.glob("*.journal")) == []
    assert list(path.parent.glob(".lenscope*")) == []


def test_a_journal_that_is_closed_at_once_leaves_nothing_behind() -> None:
    for _ in range(5):
        journal = Journal()
        journal.write(session_of(*(a_run(number) for number in range(30))))
        journal.close(discard=True, seconds=30)
        assert list(journals_folder().glob("*")) == []


def test_a_journal_that_someone_took_away_is_begun_again() -> None:
    journal = Journal()
    journal.write(session_of(a_run(1)))
    assert journal.settle(10)
    first = journal.path
    assert first is not None
    for path in (first, lock_of(first)):
        path.unlink()
    journal.write(session_of(a_run(1), a_run(2)))
    assert journal.settle(10)
    assert journal.path is not None
    assert read_journal(journal.path).runs == (a_run(1), a_run(2))
    assert newest_orphan() is None
    journal.close(discard=True)
    assert list(journals_folder().glob("*")) == []


WRITER = """
import random, sys
from msgspec.structs import replace
from tests.tui.test_journal_file import a_run, session_of
from tui.disk import journal_file
from tui.disk.journal import Journal
journal_file.SPARE_BYTES = 20_000
journal, runs = Journal(), []
random.seed(int(sys.argv[1]))
for count in range(10_000):
    if random.random() < 0.3 or not runs:
        runs.append(a_run(len(runs), 12))
    else:
        index = random.randrange(len(runs))
        runs[index] = replace(runs[index], title=str(count))
    journal.write(session_of(*runs, saved=str(count)))
    if count % 3 == 0:
        assert journal.settle(60)
        print(len(runs), count, flush=True)
"""


@pytest.mark.parametrize("points", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_any_point_it_loses_nothing_that_was_on_the_disk(points: int) -> None:
    root = str(Path(__file__).parents[2])
    for point in range(points):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(point)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert writer.stdout is not None
        random.seed(point)
        for _ in range(random.randrange(1, 4 if points == 1 else 40)):
            writer.stdout.readline()
        # The next writes are under way now.
        subprocess.run(["sleep", f"{random.random() * 0.05:.4f}"], check=True)
        writer.send_signal(signal.SIGKILL)
        acknowledged = writer.stdout.read().split("\n")
        writer.wait()
        writer.stdout.close()
        last = [line for line in acknowledged if " " in line][-1:]
        orphan = newest_orphan()
        assert orphan is not None
        runs = orphan.session.runs
        if last:
            count, step = map(int, last[0].split())
            assert len(runs) >= count
            assert int(orphan.session.saved) >= step
        assert [run.id for run in runs] == [f"{number:016x}" for number in range(len(runs))]
        for path in own_folder(journals_folder()).iterdir():
            path.unlink()


def test_the_rows_of_a_running_run_are_written_once(path: Path) -> None:
    file = JournalFile(path)
    run = replace(a_run(1, 40), status="cancelled", rows=(), tracked=(), proof=None)
    rows: tuple[LayerReading, ...] = a_run(1, 40).rows
    for count in range(len(rows) + 1):
        file.write(session_of(replace(run, rows=rows[:count])))
    whole = len(run_to_json(replace(run, rows=rows)))
    assert file.bytes_written < 1.5 * whole
    assert read_journal(path).runs[0].rows == rows
    file.close()
