"""Small data for tests of sources, as people and programs write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from engine.sweeps.sources.tasks import Prompt, Source, Task

WHAT = Prompt("What is it?", "thing")


def picture(path: Path, colour: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (colour, 20, 30)).save(path)
    return path


def asked(source: Source) -> dict[str, tuple[Task, ...]]:
    found = {each.path: each.tasks for each in source.pictures}
    assert len(found) == source.picture_count
    assert sum(map(len, found.values())) == source.item_count
    return found


def thing(color: str, size: str, depth: float, shape: str = "cube") -> dict[str, Any]:
    return {
        "color": color,
        "size": size,
        "shape": shape,
        "material": "rubber",
        "rotation": 1.5,
        "3d_coords": [0.0, 1.0, 2.0],
        "pixel_coords": [10, 20, depth],
    }


def clevr(folder: Path, scenes: Sequence[tuple[str, list[dict[str, Any]]]]) -> Path:
    entries = [
        {"image_index": index, "image_filename": name, "objects": things, "split": "val",
         "relationships": {"left": []}, "directions": {"left": [1, 2, 3]}}
        for index, (name, things) in enumerate(scenes)
    ]  # fmt: skip
    (folder / "scenes").mkdir(parents=True, exist_ok=True)
    (folder / "scenes" / "CLEVR_val_scenes.json").write_text(
        json.dumps({"info": {"version": "1.0"}, "scenes": entries})
    )
    for name, _ in scenes:
        picture(folder / "images" / "val" / name)
    return folder
