"""Folders that refuse: nothing is lost, and it is said while there is time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from engine.records import Session
from engine.sessions import read_session, write_session
from tests.tui.stage import explorer, in_loop
from tests.tui.test_explorer import refuse_everywhere
from tui.actions.files import _show_session
from tui.disk import journal_keeper
from tui.disk.crashes import describe_crash, keep_traceback
from tui.disk.paths import journals_folder, sessions_folder


@pytest.fixture
def full_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that cannot be made. (Permissions would not stop root.)"""
    file = tmp_path / "in the way"
    file.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(file))
    return file


@in_loop
async def test_a_state_folder_that_refuses_is_said_and_q_writes_elsewhere(
    full_state: Path, tmp_path: Path
) -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.shows("! unsaved runs are only in memory (Not a directory", "s saves them")
        await stage.press("d", "d")
        await stage.shows("! not on disk")  # whatever the message says by now
        await stage.press("q")
        await stage.until(lambda: not stage.app.is_running)
        assert stage.app.return_code == 0
        words = stage.app.leaving.last_words or ""
    (file,) = tmp_path.glob("lenscope-*.json")
    assert f"unsaved runs are in {file} (" in words
    assert "Not a directory" in words
    assert len(read_session(file).runs) == 1


@in_loop
async def test_the_folder_for_temporary_files_is_the_last_place(
    full_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, spare = tmp_path / "gone", tmp_path / "spare"
    gone.mkdir()
    spare.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spare))
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("q")
        await stage.until(lambda: not stage.app.is_running)
        assert stage.app.return_code == 0
    (file,) = spare.glob("lenscope-*/*.json")
    assert str(file) in (stage.app.leaving.last_words or "")
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert len(read_session(file).runs) == 1


@in_loop
async def test_where_every_place_refuses_it_asks_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_everywhere(tmp_path, monkeypatch)
    async with explorer() as stage:
        await stage.run_done()
        _show_session(stage.app, Session(created="x", saved="x"), None)
        await stage.shows("! not opened: unsaved runs cannot be written anywhere")
        await stage.press("q")
        await stage.shows(
            "! unsaved runs cannot be written anywhere", "q again leaves without them"
        )
        assert stage.app.is_running
        await stage.press("r")  # it goes on
        await stage.run_done(2)
        await stage.press("q")
        await stage.until(lambda: not stage.app.is_running)
        assert stage.app.return_code == 1
        assert "lost" not in (stage.app.leaving.last_words or "lost")


@in_loop
async def test_a_disk_that_is_freed_takes_the_runs_and_the_warning_goes(
    full_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_keeper, "RETRY_SECONDS", 0.05)
    async with explorer() as stage:
        await stage.run_done()
        await stage.shows("! not on disk")
        full_state.unlink()
        await stage.until(lambda: list(journals_folder().glob("*.journal")))
        await stage.until(lambda: "! not on disk" not in stage.text)
        assert "only in memory" not in stage.text


@pytest.mark.parametrize("key", ["ctrl+s", "q"])
@in_loop
async def test_a_working_folder_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    async with explorer() as stage:
        await stage.run_done()
        gone.rmdir()
        await stage.press(key)
        if key == "ctrl+s":
            await stage.shows("saved 1 run to ")
            assert not stage.app.state.unsaved
            await stage.press("x")  # its file name is in a folder that is there
            await stage.shows("export")
            await stage.press("escape", "q")
        await stage.until(lambda: not stage.app.is_running)
        assert stage.app.return_code == 0
    (file,) = sessions_folder().glob("*.json")
    assert len(read_session(file).runs) == 1


def test_the_reason_of_a_crash_is_one_line_and_its_traceback_has_no_values() -> None:
    secret = "a secret"
    try:
        raise ValueError(f"a\nb {'x' * 1000}")
    except ValueError as error:
        line, path = describe_crash(error), keep_traceback(error)
    assert "\n" not in line
    assert line.startswith("ValueError: a b xxx")
    assert line.endswith("test_leaving.py")
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_text().replace('secret = "a secret"', "")
    for number in range(30):
        (path.parent / f"2000{number:02}.txt").write_text("")
    keep_traceback(ValueError("later"))
    assert len(list(path.parent.iterdir())) <= 10


def test_a_crash_without_a_state_folder_is_no_second_crash(full_state: Path) -> None:
    assert keep_traceback(ValueError("x")) is None


def test_an_empty_claim_is_not_what_was_kept_last() -> None:
    from tui.disk.orphans import newest_kept
    from tui.disk.paths import kept_session_path

    first = kept_session_path()
    write_session(Session(created="x", saved="x"), first)
    assert kept_session_path() != first  # two that close in the same second
    assert newest_kept() == first
