"""Every file that is written is replaced as a whole, whatever writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from engine.records import ModelCard, Session
from engine.sessions import write_session
from engine.sweeps.export import write_lines
from engine.sweeps.records import Sweep, SweepData, SweepQuestion
from engine.sweeps.store import Store
from engine.system.files import replacing, write_file
from tests.atomic import assert_replaced_whole
from tui.sharing.exporting import write_text

TIME = "2026-11-25T00:00:00.000Z"
SESSION = Session(created=TIME, saved=TIME)


def streamed(path: Path, text: str) -> None:
    with replacing(path) as stream:
        for letter in text:
            stream.write(letter.encode())


def table(path: Path, text: str) -> None:
    write_lines(iter([{"a": text, "b": 1}]), ("a", "b"), path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path, text: write_file(path, text.encode()),
        streamed,
        write_text,
        lambda path, text: write_session(structs.replace(SESSION, view={"a": text}), path),
        table,
    ],
    ids=["bytes", "streamed", "text", "session", "table"],
)
def test_a_file_is_replaced_as_a_whole(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    write(path, "old")
    assert_replaced_whole(path, lambda: write(path, "new, and longer"))
    assert "new, and longer" in path.read_text()
    assert_replaced_whole(path, lambda: write(path, "old"))
    assert "longer" not in path.read_text()


def test_a_table_for_machines_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"

    def write(item: str) -> None:
        write_lines(iter([{"item": item}]), ("item",), path)

    write("old")
    assert_replaced_whole(path, lambda: write("new"))


def test_the_record_of_a_sweep_is_replaced_as_a_whole(tmp_path: Path) -> None:
    sweep = Sweep(
        created=TIME,
        model=ModelCard("m", None, "M", "float32", "cpu"),
        layers=4,
        question=SweepQuestion(True, None, ""),
        data=SweepData("CLEVR", "d", "0", 1, 1),
        prompts=("?",),
    )
    store = Store(tmp_path / "out")
    try:
        store.belongs_to(sweep)
        store.note({"a": "1"})
        assert_replaced_whole(tmp_path / "out" / "sweep.json", lambda: store.note({"b": "2"}))
    finally:
        store.close()
