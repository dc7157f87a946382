"""The renderer is deterministic, and its truth is what the picture shows."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samples import DEFAULT_PICTURE, PICTURES, PROMPTS
from samples.making.data import LABELS, _draw
from samples.making.pictures import write_pictures
from samples.making.scenes import (
    COLORS,
    COUNTS,
    GRID,
    PATCH,
    SIZE,
    center_patches,
    random_scene,
    render,
    render_with_labels,
)

SEED = 77
SCENES = [random_scene(SEED, index) for index in range(40)]


def test_same_seed_gives_same_scene_and_picture() -> None:
    for index in range(5):
        again = random_scene(SEED, index)
        assert again == SCENES[index]
        assert render(again).tobytes() == render(SCENES[index]).tobytes()


def test_other_seed_gives_other_scene() -> None:
    assert random_scene(SEED + 1, 0) != SCENES[0]


@pytest.mark.parametrize("side", [SIZE, 2 * SIZE])
def test_picture_has_the_wanted_size(side: int) -> None:
    picture = render(SCENES[0], side)
    assert (picture.size, picture.mode) == ((side, side), "RGB")


def test_truth_counts_the_objects_and_names_the_largest() -> None:
    for scene in SCENES:
        assert scene.truth["number"] == COUNTS[len(scene.things)]
        if scene.things:
            main, *others = scene.things
            assert scene.truth["shape"] == main.shape
            assert all(main.size > 1.4 * other.size for other in others)
        else:
            assert {scene.truth[name] for name in ("color", "shape", "material")} == {"none"}


def test_every_object_is_visible() -> None:
    for scene in SCENES:
        _, owners = render_with_labels(scene)
        assert set(np.unique(owners)) - {0} == set(range(1, len(scene.things) + 1))
        assert center_patches(scene).sum() == len(scene.things)


def test_main_objects_patches_have_its_hue() -> None:
    colors = np.array(list(COLORS.values()), dtype=float)
    directions = colors / np.linalg.norm(colors, axis=1, keepdims=True)
    right = []
    for scene in SCENES:
        if not scene.things or scene.things[0].material == "metal":
            continue
        pixels, owners = render_with_labels(scene)
        covered = (owners == 1).repeat(PATCH, 0).repeat(PATCH, 1)
        mean = np.median(pixels[covered].astype(float), axis=0)
        nearest = int((directions @ mean).argmax())
        right.append(list(COLORS)[nearest] == scene.truth["color"])
    assert len(right) >= 10
    assert np.mean(right) > 0.9


def test_labels_of_a_patch_belong_to_its_object() -> None:
    pixels, labels = _draw(SEED, 0)
    scene = random_scene(SEED, 0, oddities=True)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert labels.shape == (len(LABELS), GRID, GRID)
    main = scene.things[0]
    row, column = int(main.y * GRID), int(main.x * GRID)
    assert labels[0, row, column] == 1 + list(COLORS).index(main.color)
    assert labels[LABELS.index("center"), row, column] == 1


def test_oddities_show_nothing() -> None:
    odd = [s for i in range(400) if (s := random_scene(SEED, i, oddities=True)).texture != "studio"]
    assert {scene.texture for scene in odd} == {"blank", "noise"}
    assert all(scene.truth["number"] == "zero" for scene in odd)


def test_shipped_truth_agrees_with_the_renderer(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    truths = json.loads((PICTURES / "truth.json").read_text())
    assert json.loads((tmp_path / "truth.json").read_text()) == truths
    assert len(truths) >= 6
    for name in truths:
        shipped = np.asarray(Image.open(PICTURES / name).convert("RGB"), dtype=int)
        again = np.asarray(Image.open(tmp_path / name), dtype=int)
        assert np.abs(shipped - again).max() <= 2


def test_pictures_and_prompts_are_in_place() -> None:
    assert DEFAULT_PICTURE.is_file()
    assert all((PICTURES / f"CLEVR_img{k}.png").is_file() for k in (1, 2, 3))
    presets = tomllib.loads(PROMPTS.read_text())
    assert presets["clevr"]["prompts"] == [
        "Color of the main object:",
        "Shape of the main object:",
        "Material of the main object:",
        "Number of main objects:",
    ]
    assert len(presets["coco"]["prompts"]) == 5
