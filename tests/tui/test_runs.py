"""Runs in the session: list, compare, rename, delete, run all presets; models."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.records import Picture
from tests.tui.stage import ONE_SIZE, PROMPT, SIZES, explorer, in_loop
from tui.state.run_view import Phase
from tui.views.compare.compare import Compare
from tui.views.models.model_picker import ModelPicker
from tui.views.runs.history import History

at_every_size = pytest.mark.parametrize("size", SIZES)
at_one_size = pytest.mark.parametrize("size", ONE_SIZE)


@at_one_size
@in_loop
async def test_one_key_runs_all_presets_of_the_set(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("a")
        await stage.until(lambda: isinstance(stage.app.screen, History))
        await stage.run_done(5)
        prompts = [question.prompt for question in stage.worker.questions[1:]]
        assert prompts == [
            p.prompt for p in stage.app.presenter.presets if p.place.startswith("clevr")
        ]
        await stage.shows("Material of the main", "cylinder", "99.0%")
        await stage.press("escape")
        await stage.shows("run 5/5")


@in_loop
async def test_a_cancel_ends_the_queue() -> None:
    async with explorer(hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 4)
        stage.worker.go_on.set()
        await stage.run_done()
        stage.worker.go_on.clear()
        await stage.press("a", "escape")
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 4)
        await stage.shows("run 1 of 4")
        await stage.press("ctrl+c")
        await stage.run_done(2)
        assert len(stage.worker.questions) == 2
        assert stage.app.state.runs[-1].phase is Phase.CANCELLED


@in_loop
async def test_the_question_follows_the_run_that_is_shown(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("e", *"?", "ctrl+r", "escape")
        await stage.run_done(2)
        await stage.press("comma")
        assert stage.app.main.editor.text == PROMPT
        await stage.press("full_stop")
        assert stage.app.main.editor.text == PROMPT + "?"
        await stage.press("e", "x", "escape", "comma")
        assert stage.app.main.editor.text == PROMPT
        await stage.shows("not asked: the prompt (w lists it)")
        await stage.press("w", "enter")  # what was typed and not asked is not lost
        assert stage.app.main.editor.text == PROMPT + "?x"
        stage.app.asker.set_picture(Picture(str(tmp_path / "red.png")))
        await stage.press("full_stop")
        await stage.shows("not asked: the prompt (w lists it) and the picture (o lists it)")
        assert stage.app.state.question.picture is None


@at_one_size
@in_loop
async def test_rename_delete_undo(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("r")
        await stage.run_done(2)
        await stage.press("f6", *"mine", "enter")
        await stage.until(lambda: stage.app.state.runs[1].run.title == "mine")
        await stage.press("delete")
        await stage.shows("deleted; u brings it back")
        assert len(stage.app.state.runs) == 1
        await stage.press("u")
        await stage.shows("brought back", "run 2/2")
        assert stage.app.state.runs[1].run.title == "mine"
        await stage.press("u")
        await stage.shows("nothing has been deleted")
        await stage.press("H")
        await stage.until(lambda: isinstance(stage.app.screen, History))
        await stage.shows("mine")


@at_every_size
@in_loop
async def test_two_runs_are_compared(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("b")
        await stage.shows("comparing needs two runs")
        stage.worker.forms_at = 8
        await stage.press("e", "x", "ctrl+r", "escape")
        await stage.run_done(2)
        await stage.press("b")
        await stage.until(lambda: isinstance(stage.app.screen, Compare))
        await stage.shows("part", "cylinder", PROMPT[:12])
        await stage.press("q")
        await stage.until(lambda: not isinstance(stage.app.screen, Compare))
        assert stage.app.is_running


@at_one_size
@in_loop
async def test_another_model_takes_the_place_and_the_session_stays(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("M")
        await stage.until(lambda: isinstance(stage.app.screen, ModelPicker))
        await stage.shows("bundled")
        await stage.press(*"org/another", "enter")
        await stage.run_done(2)
        assert [options.model for options in stage.worker.loads][1:] == ["org/another"]
        assert len(stage.app.state.runs) == 2


@in_loop
async def test_a_menu_offers_the_presets_and_what_was_asked() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("w")
        await stage.shows("COCO", "Place:", "Material of the main object:")
        await stage.press(*"place", "enter")
        await stage.until(lambda: stage.app.main.editor.text == "Place:")
        assert len(stage.worker.questions) == 1
