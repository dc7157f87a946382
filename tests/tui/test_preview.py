"""The picture pane and the picture as large as the screen."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style
from textual.app import ComposeResult
from textual.screen import Screen
from textual.strip import Strip

from engine.records import Picture, Processed
from tests.tui.dialog_stage import Stage, on_stage
from tests.tui.fakes import seen_reading
from tests.tui.stage import SIZES, in_loop
from tui.views.picture.picture_view import ZOOMS, Canvas, PictureView, window
from tui.views.picture.preview import Preview, picture_facts
from tui.widgets.half_blocks import Colours, centred_words, picture_strips

at_every_size = pytest.mark.parametrize("size", SIZES)
HOSTILE_NAME = "a\x1b]0;x\x07[red]\u202e.png"
MODELS_VIEW = seen_reading()
DAMAGED_VIEW = seen_reading("bm8gcGljdHVyZQ==")


class PaneScreen(Screen[None]):
    """A picture pane, and what it tells."""

    CSS = "PaneScreen #picture { width: 40; height: 12; border: round $frame; }"

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Preview.Opened | Preview.Refused] = []

    def compose(self) -> ComposeResult:
        yield Preview(colours=Colours.FINE)

    @property
    def pane(self) -> Preview:
        return self.query_one(Preview)

    def on_preview_opened(self, message: Preview.Opened) -> None:
        self.told.append(message)

    def on_preview_refused(self, message: Preview.Refused) -> None:
        self.told.append(message)


@asynccontextmanager
async def pane() -> AsyncIterator[tuple[Stage, PaneScreen]]:
    play = PaneScreen()
    async with on_stage(play, (80, 24)) as stage:
        yield stage, play


def picture(folder: Path, name: str = "two.png", size: tuple[int, int] = (40, 20)) -> Picture:
    """A picture that is red on the left and blue on the right."""
    from PIL import Image

    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    image.save(folder / name)
    return Picture(str(folder / name))


def colours(stage: Stage) -> set[tuple[int, int, int]]:
    """The colours of the half-blocks on the screen (a half-block of one colour is a blank)."""
    strips = stage.app.screen._compositor.render_strips(stage.app.size)
    found: set[tuple[int, int, int]] = set()
    for segment in (segment for line in strips for segment in line):
        for colour in (segment.style.bgcolor, segment.style.color) if segment.style else ():
            if colour is not None and colour.triplet is not None:
                found.add(colour.triplet)
    return found


RED, BLUE = (255, 0, 0), (0, 0, 255)


@in_loop
async def test_a_picture_shows_with_its_name_and_size(tmp_path: Path) -> None:
    async with pane() as (stage, play):
        play.pane.open(picture(tmp_path))
        await stage.until(lambda: play.pane.drawn and "40×20" in stage.text)
        assert "two.png" in stage.text
        assert {RED, BLUE} <= colours(stage)
        play.pane.tell(Processed(336, 336, 1, "resized"), 576)
        await stage.pilot.pause()
        assert "40×20 → 336×336, 576 tokens" in stage.text
        play.pane.clear("[b]text\x1b only")
        await stage.pilot.pause()
        assert "[b]text\\x1b only" in stage.text
        assert "no picture" in stage.text
        assert not {RED, BLUE} & colours(stage)


@in_loop
async def test_a_hostile_name_stays_a_name(tmp_path: Path) -> None:
    async with pane() as (stage, play):
        play.pane.open(picture(tmp_path, HOSTILE_NAME))
        await stage.until(lambda: play.pane.drawn)
        assert "a\\x1b]0;x\\x07[red]\\u202e" in stage.text


@in_loop
async def test_what_the_model_sees_and_back(tmp_path: Path) -> None:
    async with pane() as (stage, play):
        play.pane.open(picture(tmp_path))
        await stage.until(lambda: play.pane.drawn)
        play.pane.show_seen(MODELS_VIEW)
        await stage.until(lambda: "what the model sees" in stage.text)
        assert BLUE not in colours(stage)
        play.pane.show_original()
        await stage.pilot.pause()
        assert "two.png" in stage.text
        assert BLUE in colours(stage)
        play.pane.show_seen(MODELS_VIEW)  # the way back is asked for before it has come
        play.pane.show_original()
        await asyncio.sleep(0.3)
        await stage.pilot.pause()
        assert "two.png" in stage.text


@in_loop
async def test_a_damaged_view_is_refused_and_the_picture_stays(tmp_path: Path) -> None:
    async with pane() as (stage, play):
        play.pane.open(picture(tmp_path))
        await stage.until(lambda: play.pane.drawn)
        play.told.clear()
        play.pane.show_seen(DAMAGED_VIEW)
        await stage.until(lambda: play.told)
        assert isinstance(play.told[0], Preview.Refused)
        assert "two.png" in stage.text
        assert BLUE in colours(stage)


@in_loop
async def test_a_refused_picture_leaves_the_one_before(tmp_path: Path) -> None:
    async with pane() as (stage, play):
        play.pane.open(picture(tmp_path))
        await stage.until(lambda: play.pane.drawn)
        play.told.clear()
        play.pane.open(Picture(str(tmp_path / "none.png")))
        await stage.until(lambda: play.told)
        assert isinstance(play.told[0], Preview.Refused)
        assert "none.png" in play.told[0].error
        assert "two.png" in stage.text


@in_loop
async def test_of_what_nobody_waits_for_nothing_is_said(tmp_path: Path) -> None:
    async with pane() as (stage, play):
        play.pane.open(Picture(str(tmp_path / "none.png")))
        play.pane.open(picture(tmp_path))
        await stage.until(lambda: play.pane.drawn)
        assert [type(message) for message in play.told] == [Preview.Opened]


@in_loop
async def test_without_term_image_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    # An import that is under way in another thread would undo what follows.
    picture_strips(Image.new("RGB", (2, 2)), 2, 2, colours=Colours.FINE)
    monkeypatch.setitem(sys.modules, "term_image", None)
    async with pane() as (stage, play):
        play.pane.open(picture(tmp_path))
        # It is drawn once it is open, and again for a new size.
        await stage.until(lambda: any(isinstance(told, Preview.Refused) for told in play.told))
        refused = [told.error for told in play.told if isinstance(told, Preview.Refused)]
        assert all("pip install term-image" in error for error in refused)
    view = PictureView(picture(tmp_path), None, ascii_only=False, colours=Colours.FINE)
    async with on_stage(view, (80, 24)) as stage:
        await stage.until(lambda: "pip install term-image" in stage.text)


@in_loop
async def test_it_fits_after_a_storm_of_sizes(tmp_path: Path) -> None:
    async with pane() as (stage, play):
        play.pane.open(picture(tmp_path))
        await stage.until(lambda: play.pane.drawn)
        for width in (30, 12, 20, 38, 26):
            play.pane.styles.width = width
            await stage.pilot.pause()
        await stage.until(lambda: play.pane._drawn_for == (24, 10))
        lines = [play.pane.render_line(y) for y in range(10)]
        assert {line.cell_length for line in lines} == {24}
        inked = [line for line in lines if any(s.style and s.style.bgcolor for s in line)]
        assert len(inked) >= 6  # 40 x 20 in 24 cells: six lines


@given(
    st.integers(1, 99999), st.integers(1, 99999), st.integers(0, 99999), st.integers(0, 60),
    st.integers(1, 12),
)  # fmt: skip
def test_facts_fit_and_keep_the_count(
    width: int, height: int, tokens: int, room: int, tiles: int
) -> None:
    shown = Picture("x", "", width, height)
    facts = picture_facts(shown, Processed(336, 336, tiles, "resized"), tokens, room)
    assert len(facts) <= room
    count = f"{tokens} tokens"
    if tokens and room >= len(count):
        assert facts.endswith(count)
    if room == 60 and tiles > 1:
        assert f"→ {tiles} × 336×336" in facts


def test_facts_without_what_is_not_known() -> None:
    assert picture_facts(None, None, 5, 40) == ""
    assert picture_facts(Picture("x"), None, 5, 40) == ""
    assert picture_facts(Picture("x", "", 640, 480), None, 0, 40) == "640×480"
    assert picture_facts(Picture("x", "", 640, 480), None, 576, 40) == "640×480, 576 tokens"


@given(st.text(max_size=40), st.integers(0, 50), st.integers(1, 6), st.booleans())
def test_words_in_a_pictures_place_fit(
    words: str, width: int, height: int, ascii_only: bool
) -> None:
    for y in range(height):
        strip = centred_words(words, y, (width, height), Style(), Console(), ascii_only=ascii_only)
        assert strip.cell_length == width
        assert strip.text.isprintable()
        assert strip.text.isascii() or not ascii_only


def test_words_in_a_pictures_place_are_wrapped() -> None:
    def shown(height: int) -> list[str]:
        words = "/a/long/folder/of/pictures/x.png: text, not a picture"
        return [
            centred_words(words, y, (24, height), Style(), Console()).text.strip()
            for y in range(height)
        ]

    assert " ".join(shown(5)).split()[-4:] == ["text,", "not", "a", "picture"]
    assert shown(1)[0].endswith("…")


# ---------------------------------------------------------------------- as large as the screen


@at_every_size
@in_loop
async def test_zoom_move_and_fit(size: tuple[int, int], tmp_path: Path) -> None:
    view = PictureView(picture(tmp_path), MODELS_VIEW, ascii_only=False, colours=Colours.FINE)
    async with on_stage(view, size) as stage:
        await stage.until(lambda: "40×20, 1x" in stage.text)
        assert {RED, BLUE} <= colours(stage)
        await stage.press("plus", "plus", "plus")
        await stage.until(lambda: "40×20, 3x" in stage.text)
        await stage.press("h", "h", "left", "left")
        await stage.until(lambda: BLUE not in colours(stage))
        await stage.press(*["l"] * 9)
        await stage.until(lambda: RED not in colours(stage) and BLUE in colours(stage))
        await stage.press("minus")
        await stage.until(lambda: "40×20, 2x" in stage.text)
        await stage.press("0")
        await stage.until(lambda: "40×20, 1x" in stage.text and RED in colours(stage))
        await stage.press("v")
        await stage.until(lambda: "what the model sees, resized to 2x2, 1x" in stage.text)
        await stage.press("v")
        await stage.until(lambda: "two.png, 40×20" in stage.text)
        await stage.press("q")
        assert stage.app.results == [None]


@in_loop
async def test_a_held_key_is_not_lost(tmp_path: Path) -> None:
    view = PictureView(picture(tmp_path), None, ascii_only=False, colours=Colours.FINE)
    async with on_stage(view) as stage:
        await stage.until(lambda: "1x" in stage.text)
        await stage.press(*["plus"] * 20)
        await stage.until(lambda: f"{ZOOMS[-1]:g}x" in stage.text)
        await stage.press(*["minus"] * 20)
        await stage.until(lambda: ", 1x" in stage.text)


@in_loop
async def test_what_would_look_the_same_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    show = Canvas.show

    def noted(canvas: Canvas, strips: list[Strip]) -> None:
        shown.append(len(strips))
        show(canvas, strips)

    monkeypatch.setattr(Canvas, "show", noted)
    view = PictureView(picture(tmp_path), None, ascii_only=False, colours=Colours.FINE)
    async with on_stage(view) as stage:
        await stage.until(lambda: shown)
        await stage.press("0", "h", "minus", "down")
        await asyncio.sleep(0.3)
        await stage.pilot.pause()
        assert len(shown) == 1
        await stage.press("plus")
        await stage.until(lambda: len(shown) == 2)


@pytest.mark.parametrize("key", ["escape", "q", "z", "ctrl+c"])
@in_loop
async def test_it_closes(key: str, tmp_path: Path) -> None:
    view = PictureView(picture(tmp_path), None, ascii_only=False, colours=Colours.INDEXED)
    async with on_stage(view, (80, 24)) as stage:
        await stage.press(key)
        assert stage.app.results == [None]


@in_loop
async def test_the_view_says_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / HOSTILE_NAME
    broken.write_bytes(b"no picture")
    view = PictureView(Picture(str(broken)), None, ascii_only=False, colours=Colours.FINE)
    async with on_stage(view) as stage:
        # The path may be long, and the reason on the next line.
        await stage.until(lambda: "not a picture" in " ".join(re.split(r"[│\s]+", stage.text)))
        await stage.press("v")
        assert "has not been read yet" in stage.text
    view = PictureView(picture(tmp_path), DAMAGED_VIEW, ascii_only=False, colours=Colours.FINE)
    async with on_stage(view) as stage:
        await stage.until(lambda: "40×20" in stage.text)
        await stage.press("v")
        await stage.until(lambda: "preview" in stage.text)
        await stage.press("v")
        await stage.until(lambda: "40×20" in stage.text and BLUE in colours(stage))


@in_loop
async def test_plain_ascii_has_no_picture(tmp_path: Path) -> None:
    view = PictureView(
        picture(tmp_path, "naïve.png"), MODELS_VIEW, ascii_only=True, colours=Colours.FINE
    )
    async with on_stage(view, (80, 24)) as stage:
        assert "no picture in plain ASCII" in stage.text
        await stage.press("plus", "v", "l", "0")
        assert "no picture in plain ASCII" in stage.text
        assert stage.text.isascii()


@in_loop
async def test_the_view_fits_a_new_size(tmp_path: Path) -> None:
    view = PictureView(picture(tmp_path), None, ascii_only=False, colours=Colours.FINE)
    async with on_stage(view, (120, 40)) as stage:
        await stage.until(lambda: BLUE in colours(stage))
        await stage.pilot.resize_terminal(60, 16)
        await stage.until(lambda: view.query_one(Canvas).size.width == 58)
        await stage.until(lambda: _widest(view) <= 58)


def _widest(view: PictureView) -> int:
    return max(strip.cell_length for strip in view.query_one(Canvas)._strips)


@given(
    st.integers(1, 3000), st.integers(1, 3000), st.integers(2, 200), st.integers(2, 120),
    st.sampled_from(ZOOMS), st.floats(-2, 3), st.floats(-2, 3),
)  # fmt: skip
def test_the_window_lies_in_the_picture(
    width: int, height: int, columns: int, lines: int, zoom: float, x: float, y: float
) -> None:
    box, centre = window((width, height), (columns, lines), zoom, (x, y))
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height
    assert all(0 <= share <= 1 for share in centre)
    if zoom == 1:
        assert box[2] - box[0] == width or box[3] - box[1] == height
