"""Scenes as a data set in CLEVR's published format: ``python -m samples.making.clevr DIR``.

The scenes are those that the bundled model is measured on; training has not seen them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from samples.making.scenes import SIZE, TEST_SEED, Scene, random_scene, render

SPLIT = "val"


def write_clevr(folder: Path, count: int, seed: int = TEST_SEED, side: int = SIZE) -> None:
    """Writes ``count`` scenes of the stream ``seed``: ``images/val/CLEVR_val_000000.png`` and so
    on, and ``scenes/CLEVR_val_scenes.json``."""
    pictures = folder / "images" / SPLIT
    pictures.mkdir(parents=True, exist_ok=True)
    entries = []
    for index in range(count):
        scene = random_scene(seed, index)
        name = f"CLEVR_{SPLIT}_{index:06}.png"
        render(scene, side).save(pictures / name)
        entries.append(_entry(scene, index, name, side))
    info = {"split": SPLIT, "license": "Apache-2.0", "version": "lenscope"}
    (folder / "scenes").mkdir(exist_ok=True)
    (folder / "scenes" / f"CLEVR_{SPLIT}_scenes.json").write_text(
        json.dumps({"info": info, "scenes": entries})
    )


def _entry(scene: Scene, index: int, name: str, side: int) -> dict[str, Any]:
    return {
        "image_index": index,
        "image_filename": name,
        "split": SPLIT,
        "objects": [
            {
                "shape": thing.shape,
                "color": thing.color,
                "material": thing.material,
                # The first thing is clearly the largest; the lower it stands, the nearer it is.
                "size": "small" if number else "large",
                "pixel_coords": [thing.x * side, thing.y * side, 10 - thing.y],
                "3d_coords": [thing.x, thing.y, thing.size / 2],
                "rotation": float(thing.yaw),
            }
            for number, thing in enumerate(scene.things)
        ],
        "relationships": {},
        "directions": {},
    }


def main() -> None:
    """Parses the options and writes."""
    parser = argparse.ArgumentParser(prog="python -m samples.making.clevr", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=TEST_SEED, help="stream of the scenes")
    parser.add_argument("--side", type=int, default=SIZE, help="pixels")
    options = parser.parse_args()
    write_clevr(options.folder, options.scenes, options.seed, options.side)


if __name__ == "__main__":
    main()
