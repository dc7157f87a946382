"""Choosing a model: recent, bundled, cached, a folder or any hub id."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

import samples
from engine.models import local_models
from engine.models.local_models import LocalModel
from tests.tui.dialog_stage import HOSTILE, on_stage
from tests.tui.stage import ONE_SIZE, in_loop
from tui.views.models.model_picker import ModelPicker
from tui.widgets.chooser import Chooser

CACHED = (
    LocalModel("org/big", "/c/big", 15_200_000_000, "", True, "LlavaForConditionalGeneration"),
    LocalModel("org/half", "/c/half", 3_400_000, "", False, None),
)


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The cache has two models, and is looked through when this is set."""
    event = threading.Event()

    def found(cache_dir: str | None = None) -> tuple[LocalModel, ...]:
        assert cache_dir == "/cache"
        event.wait(10)
        return CACHED

    monkeypatch.setattr(local_models, "local_models", found)
    return event


def picker(*recent: str, ascii_only: bool = False) -> ModelPicker:
    return ModelPicker(recent=recent, cache_dir="/cache", ascii_only=ascii_only)


async def looked(stage: object) -> None:
    """Wait until the cache has been looked through."""
    import asyncio

    for _ in range(500):
        if "searching" not in stage.text:  # type: ignore[attr-defined]
            return
        await asyncio.sleep(0.02)
    raise AssertionError("still searching")


@pytest.mark.parametrize("size", ONE_SIZE)
@in_loop
async def test_the_cache_is_looked_through_meanwhile(
    size: tuple[int, int], scan: threading.Event
) -> None:
    async with on_stage(picker("org/half", "mine/other"), size) as stage:
        for words in ("recent", "mine/other", "bundled", "samples/model", "searching"):
            assert words in stage.text
        await stage.press(*"org/")
        await stage.press(*["backspace"] * 4, "down")
        scan.set()
        await looked(stage)
        assert stage.line("org/big").rstrip(" │").endswith("LlavaForConditionalGeneration, 15.2 GB")
        assert stage.line("org/half").rstrip(" │").endswith("3.4 MB, incomplete")
        assert "LlavaForConditionalGeneration, 5.1 MB" in stage.line("samples/model")
        await stage.press("enter")
        assert stage.app.results == ["mine/other"]


@in_loop
async def test_looking_is_nothing_to_choose(scan: threading.Event) -> None:
    async with on_stage(picker()) as stage:
        await stage.press("pagedown", "enter")
        assert stage.app.results == [str(samples.MODEL)]
    scan.set()


@in_loop
async def test_a_folder_is_completed_and_a_model_in_it_taken(
    scan: threading.Event, tmp_path: Path
) -> None:
    scan.set()
    model = tmp_path / "models" / "tiny-llava"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"model_type": "llava"}))
    (tmp_path / "models" / "tiny-notes").mkdir()
    async with on_stage(picker()) as stage:
        await looked(stage)
        await stage.press(*"mod", "tab")
        await stage.press("t", "tab")
        play = stage.app.screen
        assert isinstance(play, Chooser)
        assert play.typed == "models/tiny-"
        assert stage.line("models/tiny-llava").rstrip(" │").endswith("a model")
        await stage.press("n", "enter")  # no model: what is in it is shown
        assert play.typed == "models/tiny-notes/"
        assert stage.app.results == []
        await stage.press(*["backspace"] * len("notes/"), "l", "enter")
        assert stage.app.results == ["models/tiny-llava"]


@in_loop
async def test_any_hub_id_can_be_typed(scan: threading.Event) -> None:
    scan.set()
    async with on_stage(picker()) as stage:
        await stage.press(*"org/bi")
        await looked(stage)
        await stage.press("down", "enter")
        assert stage.app.results == ["org/bi"]


@pytest.mark.parametrize("ascii_only", [True, False])
@in_loop
async def test_hostile_names_are_shown_safely(ascii_only: bool, scan: threading.Event) -> None:
    scan.set()
    name = f"a{HOSTILE}/b"
    async with on_stage(picker(name, ascii_only=ascii_only), (80, 24)) as stage:
        await looked(stage)
        assert "a\\x1b]0;x\\x07" in stage.text
        assert stage.text.isascii() == ascii_only
        await stage.press("enter")
        assert stage.app.results == [name]
