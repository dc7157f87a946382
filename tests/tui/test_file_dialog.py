"""Choosing a file: recent pictures, sizes, and a preview of the one under the cursor."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from tests.tui.dialog_stage import HOSTILE, Stage, on_stage
from tests.tui.stage import SIZES, in_loop
from tui.views.files.file_dialog import FileDialog, file_size
from tui.views.picture.preview import Preview

at_every_size = pytest.mark.parametrize("size", SIZES)


def preview(stage: Stage) -> Preview:
    return stage.app.screen.query_one(Preview)


def typed(stage: Stage) -> str:
    return stage.app.screen.query_one(Input).value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, a damaged one, a session and a folder."""
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "sky [bold].png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 1500)
    (tmp_path / "session.json").write_text("{}")
    (tmp_path / "deeper").mkdir()
    return tmp_path


@at_every_size
@in_loop
async def test_the_picture_under_the_cursor_is_shown(size: tuple[int, int], folder: Path) -> None:
    async with on_stage(FileDialog(""), size) as stage:
        await stage.press("r", "down")
        facts = f"40×30, {(folder / 'red.png').stat().st_size} B"
        await stage.until(lambda: preview(stage).drawn and facts in stage.text)
        assert stage.text.count("red.png") == 2  # in the list, and over the preview
        await stage.press("backspace", *"ses", "down")
        await stage.until(lambda: "│ 2 B " in stage.text)
        assert not preview(stage).drawn
        await stage.press("enter")
        assert stage.app.results == ["session.json"]


@in_loop
async def test_a_path_that_is_typed_is_shown_too(folder: Path) -> None:
    async with on_stage(FileDialog("")) as stage:
        await stage.press(*"sky [bold].png")
        await stage.until(lambda: preview(stage).drawn and "64×64" in stage.text)


@in_loop
async def test_what_is_no_picture_is_a_line(folder: Path) -> None:
    async with on_stage(FileDialog("")) as stage:
        await stage.press("r", "down")
        await stage.until(lambda: preview(stage).drawn)
        await stage.press("backspace", *"dam", "down")
        await stage.until(lambda: "damaged picture" in stage.text or "not a pic" in stage.text)
        assert not preview(stage).drawn
        await stage.press("enter")  # the app says it again, where the path is opened
        assert stage.app.results == ["damaged.png"]


@pytest.mark.parametrize(("size", "wanted"), [((120, 40), False), ((79, 24), True)])
@in_loop
async def test_no_preview_without_room_or_wish(
    size: tuple[int, int], wanted: bool, folder: Path
) -> None:
    async with on_stage(FileDialog("", preview=wanted), size) as stage:
        await stage.press("r", "down")
        await stage.until(lambda: " B " in stage.text)
        assert not preview(stage).display
        if wanted:
            await stage.pilot.resize_terminal(120, 40)
            await stage.until(lambda: preview(stage).drawn)


@in_loop
async def test_recent_pictures_come_first_if_they_are_still_there(folder: Path) -> None:
    far = folder / "deeper" / "far.png"
    far.write_bytes((folder / "red.png").read_bytes())
    recent = (str(far), str(folder / "gone.png"), "\x00")
    async with on_stage(FileDialog("", recent=recent)) as stage:
        assert stage.lines.index(stage.line("recent")) < stage.lines.index(stage.line("deeper/ "))
        assert "deeper/far.png" in stage.text
        assert "gone.png" not in stage.text
        await stage.press("r")
        assert "recent" not in stage.text
        await stage.press("backspace", "tab")
        assert typed(stage) == ""  # what is recent has no part in completing
        await stage.press("down")
        await stage.until(lambda: preview(stage).drawn)
        await stage.press("enter")
        assert stage.app.results == [str(far)]


@in_loop
async def test_it_starts_where_the_last_picture_was(folder: Path) -> None:
    (folder / "deeper" / "one.png").touch()
    async with on_stage(FileDialog("deeper/", recent=[str(folder / "red.png")])) as stage:
        assert "one.png" in stage.text
        await stage.press("up", "up", "up", "enter")
        assert stage.app.results == [str(folder / "red.png")]


@in_loop
async def test_the_cursor_begins_at_either_end(folder: Path) -> None:
    for key, name in (("up", "sky [bold].png"), ("down", "deeper/")):
        async with on_stage(FileDialog("")) as stage:
            await stage.press(key, "tab")
            assert typed(stage) == name


@in_loop
async def test_a_folder_is_entered(folder: Path) -> None:
    async with on_stage(FileDialog("")) as stage:
        await stage.press("down", "enter")
        assert typed(stage) == "deeper/"
        assert stage.app.results == []


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
@in_loop
async def test_it_closes_without_a_choice(key: str) -> None:
    async with on_stage(FileDialog("")) as stage:
        await stage.press("q", key)
        assert stage.app.results == [None]


@pytest.mark.parametrize("ascii_only", [True, False])
@in_loop
async def test_hostile_names(ascii_only: bool, folder: Path) -> None:
    name = f"z{HOSTILE.replace('/', '')}.png"
    (folder / name).write_bytes((folder / "red.png").read_bytes())
    play = FileDialog(
        "", recent=[str(folder / name)], preview=not ascii_only, ascii_only=ascii_only
    )
    async with on_stage(play, (120, 40)) as stage:
        assert stage.text.count("\\x1b]0;x") == 2
        assert stage.text.isascii() == ascii_only
        await stage.press("z", "down")
        if not ascii_only:
            await stage.until(lambda: preview(stage).drawn)
        await stage.press("enter")
        assert stage.app.results == [name]


def test_sizes() -> None:
    assert [file_size(n) for n in (0, 999, 1000, 2_345_678, 15_200_000_000)] == [
        "0 B", "999 B", "1.0 kB", "2.3 MB", "15.2 GB",
    ]  # fmt: skip
