"""What the patches of the bundled model say, and how it is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from engine.lens.lens import Lens
from samples import MODEL, PICTURES
from samples.making.patches import _areas, measure, patch_logits, print_best_colors
from samples.making.questions import PROMPTS
from samples.making.sample import Sample
from samples.making.scenes import (
    COLORS,
    GRID,
    GROUND_SHARE,
    SHAPES,
    Scene,
    patch_covers,
    random_scene,
    render,
    render_with_labels,
)

FRESH_SEED = 6
"""A stream of scenes that nothing else uses."""


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample(MODEL)


def scenes_of(count: int) -> list[Scene]:
    return [random_scene(FRESH_SEED, index) for index in range(count)]


@pytest.mark.parametrize("norm", [True, False])
def test_the_rows_at_the_patches_are_the_lens_of_the_engine(sample: Sample, norm: bool) -> None:
    picture = render(random_scene(FRESH_SEED, 0))
    inputs = sample.encode(sample.chat(PROMPTS["color"][0]), [picture])
    places = (inputs["input_ids"][0] == sample.model.config.image_token_id).nonzero()[:, 0]
    ours = patch_logits(sample, [picture], norm=norm)[:, 0]
    theirs = Lens(sample.model).logits(inputs, positions=places.tolist(), norm=norm)[:, 0]
    assert ours.shape == theirs.shape == (sample.layers + 1, GRID * GRID, len(ours[0, 0]))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_patches_are_covered_as_the_labels_say() -> None:
    for scene in scenes_of(30):
        _, labels = render_with_labels(scene)
        owners, share = patch_covers(scene)
        assert ((share > GROUND_SHARE) == (labels > 0)).all()
        assert (owners[labels > 0] == labels[labels > 0]).all()


def test_an_area_is_the_mann_whitney_statistic() -> None:
    rng = np.random.default_rng(0)
    yes, no = rng.integers(0, 6, (4, 9)) / 6, rng.integers(0, 6, (4, 23)) / 6
    wanted = [stats.mannwhitneyu(a, b).statistic / (9 * 23) for a, b in zip(yes, no, strict=True)]
    assert _areas(yes, no) == pytest.approx(wanted)


def test_shares_are_those_of_patches_counted_one_by_one(sample: Sample) -> None:
    scenes = scenes_of(12)
    pictures = [render(scene) for scene in scenes]
    found = measure(sample, scenes, pictures, norm=True)
    own, either, patches, false, ground = 0, 0, 0, 0, 0
    for scene, picture in zip(scenes, pictures, strict=True):
        said = sample.words(patch_logits(sample, [picture])[-1, 0].argmax(-1).tolist())
        owners, share = (array.ravel().tolist() for array in patch_covers(scene))
        for word, owner, covered in zip(said, owners, share, strict=True):
            if covered > 0.5:
                thing = scene.things[int(owner) - 1]
                patches += 1
                own += word == thing.color
                either += word in (thing.color, thing.shape)
            elif covered <= GROUND_SHARE:
                ground += 1
                false += word in (*COLORS, *SHAPES)
    assert found["color"][-1] == pytest.approx(own / patches)
    assert found["either"][-1] == pytest.approx(either / patches)
    assert found["false"][-1] == pytest.approx(false / ground)
    assert len(found["color map"]) == sample.layers + 1


def test_the_last_row_names_what_covers_a_patch(sample: Sample) -> None:
    assert_it_names(sample, 30)


@pytest.mark.slow
def test_it_does_so_on_500_scenes(sample: Sample) -> None:
    assert_it_names(sample, 500)


def assert_it_names(sample: Sample, count: int) -> None:
    scenes = scenes_of(count)
    found = measure(sample, scenes, [render(scene) for scene in scenes], norm=True)
    assert found["either"][-1] >= 0.90
    assert found["false"][-1] <= 0.05
    # The rows before it were not trained: what they say comes gradually.
    assert found["either"][0] < 0.3 < found["either"][7] < 1
    assert found["color map"][-2] > 0.9


def test_the_words_of_a_picture_are_printed(
    sample: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    with Image.open(PICTURES / "scene_1.png") as picture:
        print_best_colors(sample, picture.convert("RGB"), [sample.layers])
    heading, *lines = capsys.readouterr().out.strip().split("\n")
    assert heading.startswith(f"row {sample.layers}:")
    assert len(lines) == GRID
    assert "yellow" in lines[4]
    assert "blue" in lines[2]
