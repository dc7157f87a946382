"""The picture as a screen of words, on a worker with fixed data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image
from textual.strip import Strip

import samples
import tests.tui.stage as stages
from engine.arrays import Array
from engine.errors import BadInput
from engine.events import ReadingDropped, Trouble
from engine.methods.geometry import GeometryReading, GeometryRequest
from engine.methods.grid import GridReading, GridRequest
from engine.methods.words import WordsReading, WordsRequest
from engine.records import Picture, Question, Reading, ReadingProof, Request, Session
from tests.tui.reading_stage import opened_by
from tests.tui.stage import ONE_SIZE, PROMPT, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tests.tui.words_stage import (
    BEFORE,
    WordsWorker,
    finished_run,
    geometry,
    grid_reading,
    no_geometry,
    words_reading,
)
from tui.state.patches import Patches
from tui.state.run_view import RunView
from tui.text.show import display_text, plain_line
from tui.views.words.looking import Looking
from tui.views.words.screen import WordsScreen
from tui.widgets.picture_canvas import Scene, _marks
from tui.widgets.tint import plan

at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


@pytest.fixture(autouse=True)
def words_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FakeWorker", WordsWorker)


opened = partial(opened_by, "3", WordsScreen)


async def mapped(stage: Stage, screen: WordsScreen) -> None:
    """Wait until the picture shows, and the map of the answer over it."""
    await stage.until(lambda: screen.pane.canvas.drawn or screen.pane.mark_canvas.display)
    await stage.until(lambda: screen.looking.map is not None)
    await stage.pilot.pause()


def colours(stage: Stage) -> set[Any]:
    strips = stage.app.screen._compositor.render_strips(stage.app.size)
    styles = [segment.style for line in strips for segment in line if segment.style]
    return {colour for style in styles for colour in (style.color, style.bgcolor)}


# ---------------------------------------------------------------------- what it shows


@at_every_size
@in_loop
async def test_it_opens_on_the_answers_map(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await mapped(stage, screen)
        await stage.shows("where the answer ␣cylinder", "576 patches", "0% ██", "row 5 of 10")
        await stage.shows("patch 12,12 of 24×24", f"position {BEFORE + 11 * 24 + 11}", "x 154–168")
        await stage.shows("nothing trained the model to name it", "internal confidence 5")
        kinds = [type(request) for _, request in stage.worker.reads]
        assert kinds[:3] == [GeometryRequest, GridRequest, WordsRequest]
        assert stage.worker.reads[1][1] == GridRequest(first=5)
        assert stage.worker.reads[2][1] == WordsRequest(words=("#17",))
        assert_harmless(stage)


@at_every_size
@in_loop
async def test_the_map_follows_the_row(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await mapped(stage, screen)
        before = colours(stage)
        await stage.press("j", "j")
        await stage.shows("row 7 of 10")
        assert colours(stage) != before
        scale = screen.looking.scale
        await stage.press("G")
        await stage.shows("row 10 of 10", "The model's own next token")
        await stage.press("g")
        await stage.shows("row 0 of 10", "the projector's output")
        assert screen.looking.scale == scale  # the same over all rows
        assert screen.table.cursor == 0


@in_loop
async def test_the_cursor_walks_over_the_patches() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("right", "down", "down", "h")
        await stage.shows("patch 12,14 of 24×24")
        await stage.press("greater_than_sign")
        await stage.shows("patch 13,14 of 24×24")
        await stage.press("less_than_sign", "less_than_sign", "k", "up")
        await stage.shows("patch 11,13 of 24×24", "row 4 of 10")
        await stage.press("O")
        await stage.shows("no other tile shows this place")


@pytest.mark.slow
@in_loop
async def test_a_click_picks_a_patch_and_a_row() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        left, top = screen.pane.canvas._corner
        await stage.pilot.click(screen.pane.canvas, offset=(left + 3, top + 2))
        await stage.shows("patch 1,1 of 24×24")
        await stage.pilot.click(screen.pane.canvas, offset=(0, 0))  # beside the picture
        await stage.shows("patch 1,1 of 24×24")
        await stage.pilot.click(screen.table, offset=(4, 1 + 3 + 8))
        await stage.shows("row 8 of 10")


@in_loop
async def test_the_best_cells_one_after_the_other() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("n")
        await stage.shows("1st of 6,336 cells")
        shares = words_reading(WordsRequest(words=("#17",)), 10).probability.values[0]
        row, patch = np.unravel_index(shares.argmax(), shares.shape)
        assert (screen.looking.row, screen.looking.patch) == (row, patch)
        await stage.press("n")
        assert shares[screen.looking.row, screen.looking.patch] == np.sort(shares.ravel())[-2]
        await stage.shows("2nd of 6,336 cells")
        await stage.press("N", "N")
        assert (screen.looking.row, screen.looking.patch) == (row, patch)


@pytest.mark.slow
@in_loop
async def test_the_maps_one_after_the_other() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("f")
        await stage.shows("entropy over the picture", "nats, linear", "highest 5")
        await stage.press("percent_sign", "f")
        await stage.shows("rms over the picture", "0.5 ", " 10.5", "log")
        await stage.press("X")
        await stage.shows("only the lens's words have a contrast")
        await stage.press("X", "percent_sign", "F", "F", "F")
        await stage.shows("rms over the picture")


@in_loop
async def test_a_contrast_says_that_it_proves_nothing() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("X")
        await stage.shows("it reorders, it proves nothing", "+0.00 or less", "contrast")
        await stage.shows("internal confidence")
        await stage.press("X")
        await stage.until(lambda: "proves nothing" not in stage.text)


# ---------------------------------------------------------------------- words


@pytest.mark.slow
@in_loop
async def test_words_that_are_typed_are_mapped() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("slash", *"sky,red", "enter")
        await stage.shows("where sky is readable", "2 words: f maps the next")
        assert stage.worker.reads[-1][1] == WordsRequest(words=("sky", "red"))
        await stage.press("f")
        await stage.shows("where red is readable")
        asked = len(stage.worker.reads)
        await stage.press("slash", *"sky, red", "enter")
        await stage.shows("where sky is readable")
        assert len(stage.worker.reads) == asked  # what is known is not asked for again
        await stage.press("slash", *"cylinders", "enter")
        await stage.shows("cylinders: only its first token, c, is followed")
        await stage.press("j")
        await stage.shows("of its first token, c: internal confidence")
        await stage.press("slash", "space", "comma", "enter")
        await stage.shows("where cylinders is readable")


@in_loop
async def test_the_palette_entry_asks_for_a_word_at_once() -> None:
    async with opened_by("W", WordsScreen) as (stage, screen):
        await stage.shows("where is", "commas separate words")
        await stage.press(*"sky", "enter")
        await stage.shows("where sky is readable")
        await stage.press("W", "escape")
        await stage.until(lambda: stage.app.screen is screen)


@in_loop
async def test_vl_interps_way_is_named() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("V")
        await stage.shows("the answer ␣cylinder, vl-interp's way", "; vl-interp's 8")
        assert stage.worker.reads[-1][1] == WordsRequest(words=("#17",), way="vl-interp")
        await stage.press("V")
        await stage.until(lambda: "vl-interp's way" not in stage.text)
        await stage.shows("internal confidence 5", "; vl-interp's 8")
        await stage.press("f", "f", "V")
        await stage.shows("vl-interp's way is for words")


@pytest.mark.slow
@in_loop
async def test_each_patchs_own_word_stands_on_it_where_there_is_room() -> None:
    async with opened(side=8) as (stage, screen):
        await mapped(stage, screen)
        await stage.until(lambda: stage.text.count("red") > 20)
        await stage.press("E")
        await stage.until(lambda: stage.text.count("red") < 12)


@in_loop
async def test_a_word_that_cannot_be_read_does_not_keep_others_from_it() -> None:
    def made(request: Request) -> Reading | None:
        if isinstance(request, WordsRequest) and "日本" in request.words:
            raise BadInput("no token of this model begins '日本'")
        return None

    async with opened(made=made) as (stage, screen):
        await mapped(stage, screen)
        await stage.press("slash", *"日本,sky", "enter")
        await stage.shows("where sky is readable", "no token of this model begins '日本'")
        await stage.press("escape")
        await stage.until(lambda: not stage.app.has_dialog)
        assert "日本" not in stage.text


@pytest.mark.parametrize("ascii_only", [False, True])
@in_loop
async def test_nothing_is_shown_in_a_width_that_has_passed(ascii_only: bool) -> None:
    async with opened(startup={"ascii": ascii_only}) as (stage, screen):
        await mapped(stage, screen)
        for drawn in (screen.legend, screen.pane.mark_canvas):
            drawn._strips = [Strip.blank(50)] * 4
            drawn.refresh()
        await stage.shows("q closes", "internal confidence", *["[ ]"] * ascii_only)


@in_loop
async def test_the_lowest_step_has_no_bar() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("n")
        await stage.until(lambda: (screen.looking.row, screen.table.cursor) == (7, 7))
        await stage.until(lambda: "━" in screen.table.render_line(3 + 7).text)
        steps = [row.step for row in screen.looking.cell_rows().rows]
        bars = [screen.table.render_line(3 + row).text.count("━") for row in range(11)]
        assert 0 in steps
        assert all(bool(bar) == bool(step) for bar, step in zip(bars, steps, strict=True))
        assert max(bars) == 12


@in_loop
async def test_help_and_the_keys_that_leave() -> None:
    async with opened() as (stage, screen):
        await stage.press("question_mark")
        await stage.until(lambda: stage.app.screen is not screen)
        await stage.press("question_mark")
        await stage.until(lambda: stage.app.screen is screen)
        await stage.press("1")
        await stage.until(lambda: not stage.app.has_dialog)


@in_loop
async def test_a_low_screen_gives_its_lines_to_the_map() -> None:
    async with opened((60, 16)) as (stage, screen):
        await mapped(stage, screen)
        assert screen.pane.canvas.size.height == 10
        await stage.shows("row 5, patch 12,12: ", "576 patches")
        await stage.pilot.resize_terminal(60, 30)
        await stage.until(lambda: screen.table.size.height == 7)


@in_loop
async def test_a_run_without_norm_is_named_so() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("m")
        await stage.run_done(2)
        await stage.press("3")
        await stage.shows("readable, norm off")
        await stage.press("3", "2")
        await stage.shows("grid, norm off, probability of the best token")


@in_loop
async def test_a_run_that_has_not_ended_is_no_lasting_message() -> None:
    async with explorer(startup=WITH_PICTURE, hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live)
        await stage.press("3")
        await stage.shows("the run is on its way")
        stage.worker.go_on.set()
        await stage.run_done()
        await stage.until(lambda: "on its way" not in stage.text)


@in_loop
async def test_the_patches_words_need_room_and_a_blank_between_them() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("E")
        await stage.shows("no room for words here")


@pytest.mark.parametrize("columns", range(32, 60, 3))
def test_words_on_patches_have_a_blank_between_them(columns: int) -> None:
    patches = Patches.of(geometry((336, 336), 4), 100)
    image = Image.new("RGB", (336, 336))
    made = plan(image, (columns, columns // 2), (336, 336), patches, 0)
    words = {patch: ("cylinders" * (patch % 2) or "nothing", 0.5) for patch in range(16)}
    words[13] = ("cylinders", 0.002)
    lines = _marks(made, Scene(patches, words=lambda: words))
    written = ["".join(line.get(x, (" ",))[0] for x in range(made.shape[1])).split()
               for _, line in sorted(lines.items())]  # fmt: skip
    assert [len(line) for line in written] == [4, 4, 4, 3]  # one is too improbable


# ---------------------------------------------------------------------- going there, leaving


@in_loop
async def test_enter_goes_to_the_patch_on_the_main_screen() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        await stage.press("n")
        position, row = screen.looking.position, screen.looking.row
        await stage.press("enter")
        await stage.until(lambda: not stage.app.has_dialog)
        await stage.until(lambda: stage.app.state.place == position)
        await stage.until(lambda: stage.app.main.table.cursor == row)
        await stage.press("3")
        screen = stage.app.screen_stack[1]  # type: ignore[assignment]
        assert (screen.looking.position, screen.looking.row) == (position, row)


@pytest.mark.parametrize(
    "key", ["escape", *(pytest.param(key, marks=pytest.mark.slow) for key in ("q", "3"))]
)
@in_loop
async def test_it_closes_and_cancels_what_it_waits_for(key: str) -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_grids = True
        await stage.press("3")
        await stage.until(lambda: len(stage.worker.reads) >= 3)
        await stage.press(key)
        await stage.until(lambda: not stage.app.has_dialog)
        grid = next(
            number
            for number, (_, request) in zip(stage.worker.read_ids, stage.worker.reads, strict=True)
            if isinstance(request, GridRequest)
        )
        assert grid in stage.worker.cancelled_readings


# ---------------------------------------------------------------------- while it is read


@in_loop
async def test_rows_show_as_they_come_and_the_cursors_comes_first() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_grids = True
        await stage.press("3")
        await stage.shows("5 of 11 rows read")
        screen = stage.app.screen
        assert isinstance(screen, WordsScreen)
        await stage.press("f")
        await stage.shows("entropy over the picture")
        await stage.press("k", "k")
        steps = screen.looking.steps
        assert steps is not None
        assert (steps < 8).all()
        await stage.press("G")
        steps = screen.looking.steps
        assert steps is not None
        assert (steps == 255).all()
        await stage.until(lambda: stage.worker.reads[-1][1] == GridRequest(first=10))


@pytest.mark.slow
@in_loop
async def test_what_is_interrupted_is_read_on_demand() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        await stage.press("3")
        await stage.until(lambda: stage.worker.reads)
        run_id, _ = stage.worker.reads[-1]
        stage.worker.tell(ReadingDropped(run_id, stage.worker.read_ids[-1]))
        await stage.shows("interrupted: r reads on")
        stage.worker.holds_readings = False
        await stage.press("r")
        await stage.shows("where the answer")


@pytest.mark.slow
@in_loop
async def test_trouble_is_told() -> None:
    async with opened() as (stage, screen):
        await mapped(stage, screen)
        stage.worker.holds_readings = True
        await stage.press("slash", *"xyz", "enter")
        run_id, _ = stage.worker.reads[-1]
        error = "no token of this model begins 'xyz\x1b[31m'"
        stage.worker.tell(Trouble(error, run_id, request_id=stage.worker.read_ids[-1]))
        await stage.shows("no token of this model begins 'xyz\\x1b[31m'")
        assert_harmless(stage)


# ---------------------------------------------------------------------- without a model


def session_of(*readings: Reading, **changes: Any) -> dict[str, Any]:
    """How an explorer starts with a stored run that has these readings."""
    picture = Picture(str(samples.DEFAULT_PICTURE), "", 336, 336)
    run = replace(finished_run(picture=picture), readings=readings, **changes)
    stamp = "2026-11-22T03:00:00Z"
    return {"options": None, "session": Session(created=stamp, saved=stamp, runs=(run,))}


def stored() -> tuple[GeometryReading, GridReading, WordsReading]:
    return (
        geometry((336, 336)),
        grid_reading(GridRequest(), 10),
        words_reading(WordsRequest(words=("sky", "#17")), 10),
    )


@asynccontextmanager
async def reopened(
    *readings: Reading, size: tuple[int, int] = (120, 40), **changes: Any
) -> AsyncIterator[Stage]:
    startup = session_of(*readings, **changes)
    async with explorer(size, startup={**WITH_PICTURE, **startup}) as stage:
        await stage.until(lambda: stage.app.state.current)
        await stage.press("3")
        yield stage


@at_every_size
@in_loop
async def test_a_stored_run_shows_what_it_holds(size: tuple[int, int]) -> None:
    async with reopened(*stored(), size=size) as stage:
        await stage.shows("where the answer ␣cylinder", "row 0 of 10")
        await stage.press("f")
        await stage.shows("where sky is")
        await stage.press("slash", *"red", "enter")
        await stage.shows("not read: this needs the model: L loads it")
        await stage.press("n")
        await stage.shows("1st of 6,336 cells")


@in_loop
async def test_a_stored_word_is_shown_without_a_model_and_reasons_go() -> None:
    async with reopened(*stored()) as stage:
        await stage.shows("where the answer ␣cylinder")
        await stage.press("slash", *"sky", "enter")
        await stage.shows("where sky is readable")
        assert "needs the model" not in stage.text
        await stage.press("slash", *"dog", "enter")
        await stage.shows("not read: this needs the model")
        await stage.press("f")
        await stage.until(lambda: "not read" not in stage.text)
        await stage.press("slash", *"dog", "enter")
        await stage.shows("not read: this needs the model")
        await stage.press("f")
        await stage.shows("over the picture")
        await stage.press("V")
        await stage.shows("vl-interp's way is for words")
        await stage.press("slash", *"dog", "enter")
        await stage.shows("not read: this needs the model")


@pytest.mark.slow
@in_loop
async def test_a_stored_run_without_readings_says_what_it_needs() -> None:
    async with reopened() as stage:
        await stage.shows("which part of the picture a patch shows is not known", "L loads it")
        await stage.press(
            "j", "right", "n", "f", "X", "V", "O", "percent_sign", "E", "greater_than_sign"
        )
        assert_harmless(stage)
        await stage.press("enter")
        await stage.until(lambda: not stage.app.has_dialog)


@pytest.mark.slow
@in_loop
async def test_a_picture_that_is_gone_leaves_marks(tmp_path: Path) -> None:
    question = Question(prompt="Shape:", picture=Picture(str(tmp_path / "gone.png"), "", 336, 336))
    run = replace(finished_run(), question=question)
    async with reopened(*stored(), question=run.question) as stage:
        await stage.shows("no picture:", "gone.png", "[ .:-=+*#]")
        await stage.press("n")
        await stage.shows("[#]")


# ---------------------------------------------------------------------- nothing to show


@in_loop
async def test_without_a_picture_nothing_opens() -> None:
    async with explorer(startup={"question": Question(prompt=PROMPT)}, side=0) as stage:
        await stage.run_done()
        await stage.press("3")
        await stage.shows("no token of this run's prompt holds a picture")
        assert not stage.app.has_dialog


@in_loop
async def test_a_model_without_patches_gives_its_reason() -> None:
    def made(request: Request) -> Reading | None:
        return no_geometry() if isinstance(request, GeometryRequest) else None

    async with opened(made=made) as (stage, screen):
        await stage.shows("no map: every token sees the whole picture")
        await stage.until(lambda: screen.pane.canvas.drawn)
        await stage.press("slash", *"sky", "enter")
        await stage.press("j", "down", "n", "f")
        assert [type(request) for _, request in stage.worker.reads] == [GeometryRequest]


@pytest.mark.slow
@in_loop
async def test_what_is_approximate_says_so() -> None:
    def made(request: Request) -> Reading | None:
        if isinstance(request, GeometryRequest):
            return geometry((336, 336), how="approximate")
        return None

    async with opened(made=made) as (stage, screen):
        await mapped(stage, screen)
        await stage.shows("576 patches, approximate: its patches overlap")


@pytest.mark.slow
@in_loop
async def test_a_thumbnail_and_its_tiles_are_two_views() -> None:
    whole = geometry((336, 336), 8, thumbnail=4)

    def made(request: Request) -> Reading | None:
        return whole if isinstance(request, GeometryRequest) else None

    async with opened(made=made) as (stage, screen):
        await mapped(stage, screen)
        await stage.shows("80 patches, view 2 of 2: O", "tile 2 of 2, patch 4,4 of 8×8")
        await stage.press("O")
        await stage.shows("view 1 of 2: O", "tile 1 of 2, patch 2,2 of 4×4")


# ---------------------------------------------------------------------- marks


@at_every_size
@in_loop
async def test_plain_ascii_shows_marks(size: tuple[int, int]) -> None:
    async with opened(size, startup={"ascii": True}) as (stage, screen):
        await mapped(stage, screen)
        await stage.press("n")
        await stage.shows("where the answer _cylinder", "[ .:-=+*#]", "patch 17,8 of 24x24")
        await stage.press("f", "X", "slash", *"sky", "enter", "n")
        await stage.shows("where sky is")
        assert stage.text.isascii()


@pytest.mark.slow
@in_loop
async def test_without_colours_a_click_picks_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened((120, 40)) as (stage, screen):
        await mapped(stage, screen)
        grid = screen.pane.mark_canvas
        line = next(y for y in range(40) if "x" in grid.render_line(y).text)  # the sink's
        column = grid.render_line(line).text.index("x")
        await stage.pilot.click(grid, offset=(column + 1, line + 1))
        await stage.shows("patch 6,1 of 24×24, a sink", "A sink: massive activations")


# ---------------------------------------------------------------------- hostile data


def broken(array: Array) -> Array:
    return replace(array, data="!" * len(array.data))


HOSTILE: dict[str, tuple[Reading, ...]] = {
    "damaged boxes": (replace(stored()[0], boxes=broken(stored()[0].boxes)), *stored()[1:]),
    "damaged grid": (stored()[0], replace(stored()[1], lse=broken(stored()[1].lse)), stored()[2]),
    "damaged word": (
        *stored()[:2], replace(stored()[2], probability=broken(stored()[2].probability)),
    ),
    "tokens of another run": (
        replace(stored()[0], tokens=Array.of(np.arange(5000, 5576), "<i4")), *stored()[1:],
    ),
    "nothing but NaN": (
        stored()[0],
        replace(
            stored()[1],
            **{
                name: Array.of(np.full((11, 576), np.nan), "<f4")
                for name in ("logits", "lse", "entropy", "rms")
            },
        ),
        replace(stored()[2], probability=Array.of(np.full((2, 11, 576), np.nan), "<f4")),
    ),
    "infinities": (
        replace(stored()[0], boxes=Array.of(np.full((576, 4), np.inf), "<f4")),
        replace(stored()[1], logits=Array.of(np.full((11, 576), np.inf), "<f4")),
        replace(stored()[2], probability=Array.of(np.full((2, 11, 576), -np.inf), "<f4")),
    ),
    "boxes outside": (
        replace(stored()[0], boxes=Array.of(stored()[0].boxes.values + 5000, "<f4")), *stored()[1:],
    ),
    "other positions": (
        stored()[0],
        stored()[1],
        replace(stored()[2], positions=tuple(range(2000, 2576))),
    ),
    "no tokens": (geometry((336, 336), 0), *stored()[1:]),
    "more words asked than read": (
        *stored()[:2], replace(stored()[2], request=WordsRequest(words=("sky", "#17", "x", "y"))),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
@in_loop
async def test_hostile_readings_are_harmless_on_the_screen(name: str) -> None:
    async with reopened(*HOSTILE[name]) as stage:
        screen = stage.app.screen
        assert isinstance(screen, WordsScreen)
        await stage.until(lambda: screen.pane.canvas.drawn)
        await stage.press(
            "n", "j", "right", "down", "f", "X", "percent_sign", "f", "F", "V", "O", "r"
        )
        assert_harmless(stage)
        await stage.press("greater_than_sign", "less_than_sign", "G", "E", "n", "enter")
        await stage.until(lambda: not stage.app.has_dialog)
        assert stage.app.is_running


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_readings_are_harmless(name: str) -> None:
    run = replace(finished_run(picture=Picture("x.png", "", 336, 336)), readings=HOSTILE[name])
    looking = Looking(RunView.of(run), 5, BEFORE + 30)
    with suppress(BadInput):
        looking.place_patches(HOSTILE[name][0])  # type: ignore[arg-type]
        looking.take_stored()
    for step in (1, 1, 1, 1):
        looking.choose(step)
        for looking.is_contrast, looking.log in ((False, False), (True, True)):
            looking.go_to_best(1)
            looking.go(looking.row + 1, looking.patch + 1)
            assert looking.steps is None or len(looking.steps) == len(looking.patches)
            shown = looking.cell_rows()
            assert len(shown.rows) in (0, 11)
            assert plain_line(looking.title() + looking.meaning() + looking.confidence())
    image = Image.new("RGB", (33, 33))
    made = plan(image, (40, 12), (336, 336), looking.patches, looking.sheet)
    assert made.pixels(looking.steps, looking.patch).shape == made.shape
    assert looking.own_words().keys() <= set(range(len(looking.patches)))


@in_loop
async def test_what_fails_its_proof_is_struck_out() -> None:
    def made(request: Request) -> Reading | None:
        if not isinstance(request, WordsRequest):
            return None
        proof = ReadingProof(
            "the grid against the words", 0.25, 1e-5, passed=request.words == ("sky",)
        )
        return replace(words_reading(request, 10), proof=proof)

    async with opened(made=made) as (stage, screen):
        await stage.shows("the proof of this map failed, do not believe it", "proof failed 0.25")
        assert screen.looking.steps is None
        struck = [
            segment.text.strip()
            for line in screen._compositor.render_strips(stage.app.size)
            for segment in line
            if segment.style is not None and segment.style.strike
        ]
        assert "2.95%" in struck
        await stage.press("slash", *"sky", "enter")
        await stage.shows("where sky is readable", "proof 0.25")
        assert screen.looking.steps is not None


@pytest.mark.slow
@in_loop
async def test_damage_is_told() -> None:
    async with reopened(*HOSTILE["damaged boxes"]) as stage:
        await stage.shows("a damaged array")
    async with reopened(*HOSTILE["damaged grid"]) as stage:
        await stage.shows("the grid cannot be read: a damaged array")


@pytest.mark.slow
@in_loop
async def test_hostile_words_are_shown_as_text() -> None:
    evil = "\x1b]0;x\x07[/red]\u202e"
    reading = words_reading(WordsRequest(words=("sky",)), 10)
    word = replace(reading.words[0], text=evil)
    async with reopened(*stored()[:2], replace(reading, words=(word,))) as stage:
        await stage.shows(f"where {display_text(evil)[:12]}")
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_twelve_thousand_patches() -> None:
    side = 110
    readings = (
        geometry((336, 336), side),
        grid_reading(GridRequest(), 10, side),
        words_reading(WordsRequest(words=("#17",)), 10, side),
    )
    run = finished_run(side, picture=Picture(str(samples.DEFAULT_PICTURE), "", 336, 336))
    async with reopened(*readings, tokens=run.tokens, position=run.position) as stage:
        screen = stage.app.screen
        assert isinstance(screen, WordsScreen)
        await stage.until(lambda: screen.pane.canvas.drawn)
        await stage.shows("12100 patches", "patch 55,55 of 110×110")
        await stage.press("n", "j", "right", "f", "k")
        await stage.shows("entropy over the picture")


@pytest.mark.slow
@in_loop
async def test_it_fits_new_sizes() -> None:
    async with opened((120, 40)) as (stage, screen):
        await mapped(stage, screen)
        for width, height in ((60, 30), (40, 16), (160, 50), (80, 24)):
            await stage.pilot.resize_terminal(width, height)
            await asyncio.sleep(0.05)
        await stage.until(lambda: screen.pane.canvas.size.width == 42)
        await stage.until(
            lambda: max(strip.cell_length for strip in screen.pane.canvas._strips) <= 42
        )
        await stage.shows("patch 12,12 of 24×24")
