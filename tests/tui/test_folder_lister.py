"""A folder is listed once, and a large one in the background."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.tui.dialog_stage import on_stage
from tests.tui.stage import in_loop
from tui.views.files import folder_lister
from tui.views.files.file_dialog import FileDialog
from tui.views.files.folder_lister import FolderLister


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """More files than are listed at once; the last folder of all is found only by all of them."""
    for number in range(60):
        (tmp_path / f"p{number:03}.png").touch()
    (tmp_path / "Zebras").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder_lister, "AT_ONCE", 20)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_it_is_listed_once_for_all_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[str] = []
    scan, told, goes_on = folder_lister.scan, threading.Event(), threading.Event()

    def counted(path: str, most: int) -> Any:
        scanned.append(threading.current_thread().name)
        if len(scanned) > 1:
            assert goes_on.wait(60)
        return scan(path, most)

    monkeypatch.setattr(folder_lister, "scan", counted)
    lister = FolderLister(told.set)
    assert len(lister.completions("")) <= 20
    goes_on.set()
    assert told.wait(60)
    assert lister.completions("")[0] == "Zebras/"
    assert len(lister.completions("p")) == 60
    assert lister.completions("P01") == [f"p01{digit}.png" for digit in range(10)]
    assert lister.completions("z") == ["Zebras/"]
    assert lister.completions("q") == []
    assert scanned[0] == threading.main_thread().name and len(scanned) == 2
    assert scanned[1] != scanned[0]


@in_loop
async def test_the_dialog_shows_the_rest_when_it_is_known(folder: Path) -> None:
    async with on_stage(FileDialog("")) as stage:
        await stage.until(lambda: "Zebras/" in stage.text)
        await stage.press(*"p05", "down", "enter")
        assert stage.app.results == ["p050.png"]


def test_endless_folders_are_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lister, "MOST_LISTED", 30)
    entries, is_cut = folder_lister.scan("", folder_lister.MOST_LISTED)
    assert is_cut and len(entries) <= 30
    assert folder_lister.scan(os.devnull, 10) == ([], False)
