"""What is remembered from one start to the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.atomic import assert_replaced_whole
from tui.disk.paths import state_folder
from tui.disk.remembered import Remembered


def written(*memories: Remembered) -> Remembered:
    """What a later start reads, once everything is on the disk."""
    assert all(memory.settle(10) for memory in memories)
    return Remembered.load()


def test_choices_and_recent_things_come_back(tmp_path: Path) -> None:
    memory = Remembered.load()
    assert (memory.theme, memory.columns, memory.pictures) == (None, None, ())
    memory.note(theme="nord")
    memory.note(columns=("rms", "kl"), plot="rank", copy_format="json")
    for name in ("a.png", "b.png", "a.png"):
        memory.note_picture(str(tmp_path / name))
    memory.note_model("org/model")
    again = written(memory)
    assert again.theme == "nord"
    assert again.columns == ("rms", "kl")
    assert (again.plot, again.copy_format) == ("rank", "json")
    assert [Path(path).name for path in again.pictures] == ["a.png", "b.png"]
    assert again.models == ("org/model",)
    assert state_folder().stat().st_mode & 0o777 == 0o700


def test_the_file_is_replaced_as_a_whole() -> None:
    memory = Remembered.load()

    def note(theme: str) -> None:
        memory.note(theme=theme)
        assert memory.settle(10)

    note("nord")
    assert_replaced_whole(state_folder() / "remembered.json", lambda: note("gruvbox"))
    assert Remembered.load().theme == "gruvbox"


def test_two_explorers_forget_nothing_of_each_other(tmp_path: Path) -> None:
    one, other = Remembered.load(), Remembered.load()
    for index in range(8):
        one.note_picture(str(tmp_path / f"one{index}.png"))
        other.note_picture(str(tmp_path / f"other{index}.png"))
        one.note(theme=f"theme{index}")
    assert len(written(one, other).pictures) == 16


@pytest.mark.parametrize("name", [os.fsdecode(b"/a/\xff.png"), "/" + "x" * 5000])
def test_a_name_that_the_file_cannot_hold_is_left_out(name: str) -> None:
    memory = Remembered.load()
    memory.note_picture("/a/b.png")
    memory.note_picture(name)
    memory.note_model(name)
    memory.note(theme="nord")
    again = written(memory)
    assert again.pictures == ("/a/b.png",)
    assert again.theme == "nord"


def test_a_folder_that_cannot_be_written_is_no_trouble() -> None:
    state_folder().parent.mkdir(parents=True)
    state_folder().write_text("a file in the place of the folder")
    memory = Remembered.load()
    memory.note(theme="nord")
    assert memory.settle(10)
    assert memory.theme == "nord"
    assert Remembered.load().theme is None


def test_no_more_than_is_of_use(tmp_path: Path) -> None:
    memory = Remembered()
    for index in range(50):
        memory.note_picture(str(tmp_path / f"{index}.png"))
        memory.note_model(f"org/{index}")
    assert len(memory.pictures) == 20
    assert memory.models[0] == "org/49"
    assert len(memory.models) == 10
    assert not state_folder().exists()  # this one only remembers while it lives


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
def test_a_damaged_file_is_forgotten(tmp_path: Path, data: bytes) -> None:
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "remembered.json").write_bytes(data)
    assert isinstance(Remembered.load().pictures, tuple)


@pytest.mark.parametrize(
    "text", ['{"theme": 5}', '{"pictures": "x"}', '{"version": 2, "theme": "nord"}', "[]", "{"]
)
def test_a_file_of_another_kind_is_forgotten(text: str) -> None:
    state_folder().mkdir(parents=True)
    (state_folder() / "remembered.json").write_text(text)
    assert Remembered.load().theme is None
