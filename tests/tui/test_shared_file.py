"""Two explorers that have opened one session file: no run is lost."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.methods.contrast import ContrastRequest
from engine.records import Comparison, Question, Run, Session
from engine.sessions import read_session, write_session
from tests.tui.fakes import contrasted, finish, make_rows, make_run, tracked_tokens
from tui.disk.saving import keep_unsaved, save_session
from tui.state.run_view import RunView
from tui.state.session_file import combined
from tui.state.view_state import ViewState


def a_run(letter: str) -> Run:
    return finish(make_run(letter * 16, Question(prompt=f"Shape {letter}:"), 3), make_rows(3, 1))


def session_of(*letters: str) -> Session:
    return Session(created="c", saved="s", runs=tuple(map(a_run, letters)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shared.json"
    write_session(session_of("a", "b"), path)
    return path


def opened(file: Path) -> ViewState:
    return ViewState(Question(prompt=""), read_session(file), file)


def ask(state: ViewState, letter: str) -> None:
    state.runs.append(RunView.of(a_run(letter)))
    state.revise()


def save(state: ViewState) -> str:
    save_session(state, 0)
    assert state.note is not None
    return state.note.text


def ids(file: Path) -> str:
    return "".join(sorted(run.id[0] for run in read_session(file).runs))


def test_what_both_added_is_in_the_file_and_it_is_said(file: Path) -> None:
    one, other = opened(file), opened(file)
    ask(one, "c")
    ask(other, "d")
    assert save(one) == "saved 3 runs to shared.json"
    assert save(other) == (
        "saved 4 runs to shared.json (1 run of it from someone else, who saved it meanwhile)"
    )
    assert ids(file) == "abcd"
    ask(one, "e")
    assert "saved 5 runs" in save(one)
    assert ids(file) == "abcde"
    assert save(one) == "saved 5 runs to shared.json"  # nobody else has saved since


def test_a_run_that_was_deleted_here_does_not_come_back(file: Path) -> None:
    one, other = opened(file), opened(file)
    ask(one, "c")
    save(one)
    other.delete(other.runs[0])
    save(other)
    assert ids(file) == "bc"


def test_what_both_found_about_one_run_is_kept(file: Path) -> None:
    one, other = opened(file), opened(file)
    requests = (ContrastRequest(against=("b" * 16,), a=a) for a in (1.0, 2.0))
    first, second = (contrasted(request, a_run("a").rows) for request in requests)
    one.runs[0].run = replace(one.runs[0].run, readings=(first,), title="named")
    one.runs[0].saved = False
    save(one)
    other.runs[0].run = replace(
        other.runs[0].run,
        readings=(second,),
        tracked=(*other.runs[0].run.tracked, *tracked_tokens([9], 4)),
    )
    other.runs[0].saved = False
    save(other)
    (run, _) = read_session(file).runs
    assert {reading.request.a for reading in run.readings} == {1.0, 2.0}  # type: ignore[attr-defined]
    assert run.title == "named"
    assert {token.id for token in run.tracked} == {17, 9}


@dataclass(frozen=True)
class Told:
    """A reading of which only this counts: what it tells."""

    what: frozenset[str]

    def replaces(self, other: Told) -> bool:
        return self.what >= other.what


def test_of_two_readings_the_one_that_tells_all_is_kept() -> None:
    less, more, else_ = (Told(frozenset(what)) for what in ("a", "ab", "c"))

    def both(ours: tuple[Told, ...], theirs: tuple[Told, ...]) -> tuple[object, ...]:
        runs = (replace(a_run("a"), readings=each) for each in (ours, theirs))
        return combined(*runs).readings

    assert both((less, else_), (more,)) == (else_, more)
    assert both((more,), (less, else_)) == (more, else_)
    assert both((more,), (Told(more.what),))[0] is more


def test_what_only_the_other_changed_is_taken(file: Path) -> None:
    one, other = opened(file), opened(file)
    one.rename(one.runs[0], "named")
    one.comparisons["b" * 16] = Comparison("b" * 16, "runs", "a" * 16, "b" * 16, 0, ())
    save(one)
    ask(other, "c")
    save(other)
    session = read_session(file)
    assert session.runs[0].title == "named"
    assert len(session.comparisons) == 1
    assert other.runs[0].run.title == "named"


@pytest.mark.parametrize(
    "content", ["{", "", '{"format": "lenscope-session", "version": 99}', "[]"]
)
def test_a_file_that_is_something_else_by_now_stays(file: Path, content: str) -> None:
    state = opened(file)
    ask(state, "c")
    file.write_text(content)
    assert save(state) == (
        "saved 3 runs to shared-2.json (shared.json is something else by now and stays as it is)"
    )
    assert file.read_text() == content
    assert ids(file.with_name("shared-2.json")) == "abc"
    ask(state, "d")
    assert save(state) == "saved 4 runs to shared-2.json"


def test_a_file_that_is_gone_is_written_again(file: Path) -> None:
    state = opened(file)
    file.unlink()
    ask(state, "c")
    assert save(state) == "saved 3 runs to shared.json"
    assert ids(file) == "abc"


def test_a_program_that_keeps_the_stamp_is_noticed_too(file: Path) -> None:
    state = opened(file)
    session = read_session(file)
    write_session(replace(session, runs=(*session.runs, a_run("f"))), file)
    ask(state, "c")
    save(state)
    assert ids(file) == "abcf"


def test_many_at_the_same_moment(file: Path) -> None:
    states = [opened(file) for _ in range(6)]
    for state, letter in zip(states, "cdef01", strict=True):
        ask(state, letter)
    threads = [threading.Thread(target=save_session, args=(state, 0)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(file) == "01abcdef"


def test_explorers_that_close_at_the_same_moment_keep_a_file_each(tmp_path: Path) -> None:
    states = [ViewState(Question(prompt="")) for _ in range(6)]
    for state, letter in zip(states, "abcdef", strict=True):
        ask(state, letter)
    kept: list[Path | None] = []
    threads = [
        threading.Thread(target=lambda state=state: kept.append(keep_unsaved(state, 0).path))
        for state in states
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids(path) for path in kept if path is not None) == list("abcdef")


def test_drives_without_locks_are_no_hindrance(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    state = opened(file)
    ask(state, "c")
    assert save(state) == "saved 3 runs to shared.json"
