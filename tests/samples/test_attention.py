"""Where the bundled model looks: two ways to read it, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine import load
from engine.methods.attention import AttentionReading
from samples import MODEL
from samples.making.attention import measure, on_patches
from samples.making.questions import PROMPTS
from samples.making.sample import Sample
from samples.making.scenes import TEST_SEED, random_scene, render


def test_the_engine_reads_what_the_eager_model_returns(tmp_path: Path) -> None:
    picture = render(random_scene(TEST_SEED, 5000))
    path = tmp_path / "scene.png"
    picture.save(path)
    asked = load(MODEL).ask(PROMPTS["color"][0], image=path)
    found: AttentionReading = asked.read("attention", heads="all")
    sample = Sample()
    sample.model.set_attn_implementation("eager")
    theirs = on_patches(sample, PROMPTS["color"][0], [picture])[0]  # [layers, heads, patches]
    for each, weights in zip(found.layers, theirs, strict=True):
        assert np.abs(np.asarray(each.map) - weights.numpy()).max() < 1e-5
    of_picture = found.groups.index("picture")
    shares = np.stack([np.asarray(each.shares)[:, of_picture] for each in found.layers])
    assert np.abs(shares - theirs.sum(-1).numpy()).max() < 1e-5
    best = {(each.layer, each.head) for each in found.best}
    assert len(best) == 3 and all(each.share > 0.5 for each in found.best)


def test_the_middle_layers_look_at_the_main_object() -> None:
    scenes = [random_scene(TEST_SEED, index) for index in range(5000, 5012)]
    scenes = [scene for scene in scenes if scene.things]
    _, share = measure(Sample(), "color", scenes)
    best = share.amax(-1)  # [layers]
    assert bool((best[4:8] > 0.9).all())
    assert float(best[0]) < 0.3
    assert torch.isfinite(share).all()
