"""The method "geometry": what it reads of a run, what it keeps, and what it refuses."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import samples
from engine import load
from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.lens import picture_patches
from engine.methods.asked_run import AskedRun
from engine.methods.geometry import NOT_IN_PROMPT, Geometry, GeometryReading, GeometryRequest
from engine.models.loading import LoadedModel
from engine.records import Picture, Question, ReadingProof
from tests.folders import FOLDERS


def asked(loaded: LoadedModel, prompt: str = "Shape:", **others: Any) -> AskedRun:
    picture = Picture(str(others.pop("path", samples.DEFAULT_PICTURE)))
    asking = Asking(loaded, Question(prompt, picture=picture, **others))
    return AskedRun(asking, asking.run())


def geometry_of(run: AskedRun) -> GeometryReading:
    reading = run.read(Geometry(), GeometryRequest())
    assert isinstance(reading, GeometryReading)
    return reading


def test_the_bundled_model_sees_an_even_grid(bundled: LoadedModel) -> None:
    run = asked(bundled)
    reading = geometry_of(run)
    picture = run.run.question.picture
    assert picture is not None
    assert (reading.how, reading.reason) == ("exact", "")
    assert isinstance(reading.proof, ReadingProof) and reading.proof.passed
    pictured = [place for place, each in enumerate(run.run.tokens) if each.kind == "image"]
    assert reading.tokens.values.tolist() == pictured
    side = round(len(pictured) ** 0.5)
    rows, columns = np.divmod(np.arange(side * side), side)
    assert np.array_equal(reading.row.values, rows)
    assert np.array_equal(reading.column.values, columns)
    assert not reading.tile.values.any()
    wide, high = picture.width / side, picture.height / side
    expected = np.stack([columns * wide, rows * high, (columns + 1) * wide, (rows + 1) * high], 1)
    assert np.abs(reading.boxes.values - expected).max() < 0.05


def test_it_is_found_once_for_pictures_of_a_size(
    bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another prompt before the picture moves its tokens; another size is another kind."""
    first = geometry_of(asked(bundled))
    found: list[Any] = []
    own = picture_patches.token_relation

    def counted(*args: Any) -> Any:
        found.append(args)
        return own(*args)

    monkeypatch.setattr(picture_patches, "token_relation", counted)
    again = geometry_of(asked(bundled, "Colour of the main object in the picture:"))
    assert not found
    assert np.array_equal(again.boxes.values, first.boxes.values)
    raw = geometry_of(asked(bundled, "a b c <image> d", chat=False))
    assert not found
    assert raw.tokens.values[0] != first.tokens.values[0]
    assert np.array_equal(raw.boxes.values, first.boxes.values)
    other = tmp_path / "other.png"
    Image.new("RGB", (50, 30)).save(other)
    geometry_of(asked(bundled, path=other))
    assert len(found) == 1


def test_it_is_forgotten_with_its_model() -> None:
    before = len(picture_patches._remembered)
    loaded = load(samples.MODEL)
    run = asked(loaded)
    geometry_of(run)
    assert len(picture_patches._remembered) == before + 1
    del loaded, run
    gc.collect()
    assert len(picture_patches._remembered) == before


def test_a_run_with_other_pixels_has_the_same_boxes(bundled: LoadedModel) -> None:
    run = asked(bundled)
    (noise,) = parse_against(["noise=500"], 0)
    changed = asked(bundled, counterfactual=noise)
    assert geometry_of(changed).boxes == geometry_of(run).boxes


def test_what_is_not_supported(bundled: LoadedModel, opened: Callable[[str], LoadedModel]) -> None:
    asking = Asking(bundled, Question("Shape:"))
    run = AskedRun(asking, asking.run())
    assert Geometry().supports(run.subject) == "this run has no picture"
    (without,) = parse_against(["none"], 0)
    gone = asked(bundled, counterfactual=without)
    assert Geometry().supports(gone.subject) == "this run's picture was left out: no token shows it"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("blip-2", picture_patches.WHOLE),
        ("florence2", picture_patches.ABSENT),
        ("mllama", picture_patches.ABSENT),
    ],
)
def test_no_relation_is_a_reading_with_its_reason(
    name: str, reason: str, tmp_path: Path, red_picture: Path
) -> None:
    FOLDERS[name](tmp_path)
    reading = geometry_of(asked(load(tmp_path), "What?", path=red_picture))
    assert (reading.how, reading.reason, reading.proof) == ("none", reason, None)
    assert reading.tokens.shape == (0,) and reading.boxes.shape == (0, 4)
    (table,) = Geometry().tables(reading)
    assert reason in table.notes


def test_a_model_that_cannot_run_back_says_so() -> None:
    """As with kernels that have no backward pass; nothing is remembered of it."""
    loaded = load(samples.MODEL)
    run = asked(loaded)
    projector = loaded.model.model.multi_modal_projector

    class NoWayBack(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError("no kernel")

    handle = projector.register_forward_hook(lambda *call: NoWayBack.apply(call[-1]))
    reading = geometry_of(run)
    assert (reading.how, reading.tokens.shape) == ("none", (0,))
    assert "NotImplementedError: no kernel" in reading.reason
    handle.remove()
    assert geometry_of(run).how == "exact"


@pytest.mark.filterwarnings("ignore")
def test_features_in_front_of_the_prompt(tmp_path: Path, red_picture: Path) -> None:
    """GIT's have no ids, but positions; the first shows nothing but a summary of the others."""
    FOLDERS["git"](tmp_path)
    reading = geometry_of(asked(load(tmp_path), "What?", path=red_picture))
    assert reading.how == "exact"
    assert reading.tokens.values.tolist() == list(range(10))
    assert np.isnan(reading.boxes.values[0]).all()
    assert np.isfinite(reading.boxes.values[1:]).all()
    assert reading.tile.values.tolist() == [-1, *[0] * 9]
    assert NOT_IN_PROMPT not in reading.reason


@pytest.mark.filterwarnings("ignore")
def test_separators_between_rows_show_nothing(tmp_path: Path, red_picture: Path) -> None:
    FOLDERS["llava_next"](tmp_path)
    run = asked(load(tmp_path), "What?", path=red_picture)
    reading = geometry_of(run)
    empty = np.isnan(reading.boxes.values).any(1)
    assert reading.how == "exact"
    assert 0 < empty.sum() < len(empty)
    assert np.array_equal(empty, reading.tile.values < 0)
    assert len(empty) == sum(token.kind == "image" for token in run.run.tokens)
