"""Renders the sample pictures and writes what they show to ``truth.json``."""

from __future__ import annotations

import json
from pathlib import Path

from samples import PICTURES
from samples.making.scenes import SHOWN_SEED, random_scene, render

SIDE = 336
"""Larger than the model's own 112 pixels, to be pleasant to look at."""
SHOWN = (14, 8, 9, 2, 20, 36, 4, 29)
"""Indices of the shown scenes in the stream SHOWN_SEED."""


def write_pictures(folder: Path = PICTURES) -> None:
    """Writes ``scene_1.png`` and so on, and ``truth.json``, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    truths = {}
    for number, index in enumerate(SHOWN, start=1):
        scene = random_scene(SHOWN_SEED, index)
        name = f"scene_{number}.png"
        render(scene, SIDE).save(folder / name, optimize=True)
        truths[name] = scene.as_dict()
    (folder / "truth.json").write_text(json.dumps(truths, indent=1) + "\n")
