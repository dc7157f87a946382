"""Rendered sets of scenes, kept in a working folder as memory-mapped arrays."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samples.making.scenes import (
    COLORS,
    GRID,
    MATERIALS,
    SHAPES,
    SIZE,
    Scene,
    center_patches,
    random_scene,
    render,
    render_with_labels,
)

LABELS = ("color", "shape", "material", "size", "center")
"""Dense labels of a patch; 0 is background (or, for ``center``, no centre)."""
LABEL_CLASSES = (1 + len(COLORS), 1 + len(SHAPES), 1 + len(MATERIALS), 3, 2)

_LARGE = 0.3
_SHRUNK_EVERY = 5
"""Every fifth picture is drawn at twice the side and shrunk, as the processor shrinks files."""


@dataclass(frozen=True)
class SceneSet:
    """Scenes with their pictures and patch labels."""

    seed: int
    pixels: NDArray[np.uint8]
    """Pixels (n, SIZE, SIZE, 3)."""
    labels: NDArray[np.uint8]
    """Patch labels (n, len(LABELS), GRID, GRID)."""

    def __len__(self) -> int:
        return len(self.pixels)

    def scene(self, index: int) -> Scene:
        """The scene that a picture of this set shows."""
        return random_scene(self.seed, index, oddities=True)


def scene_set(folder: Path, seed: int, count: int, workers: int) -> SceneSet:
    """The first ``count`` scenes of a stream, rendered unless the folder has them already."""
    stem = folder / f"scenes-{seed}-{count}"
    done = stem.with_suffix(".json")
    shapes = {
        "pixels": (count, SIZE, SIZE, 3),
        "labels": (count, len(LABELS), GRID, GRID),
    }
    paths = {name: Path(f"{stem}-{name}.npy") for name in shapes}
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            name: np.lib.format.open_memmap(paths[name], "w+", np.uint8, shape)
            for name, shape in shapes.items()
        }
        with ProcessPoolExecutor(workers) as pool:
            work = pool.map(partial(_draw, seed), range(count), chunksize=64)
            for index, (pixels, labels) in enumerate(work):
                arrays["pixels"][index], arrays["labels"][index] = pixels, labels
        for array in arrays.values():
            array.flush()
        done.write_text(json.dumps({"seed": seed, "count": count}))
    return SceneSet(seed, np.load(paths["pixels"]), np.load(paths["labels"]))


def _draw(seed: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture (SIZE, SIZE, 3) and the labels (len(LABELS), GRID, GRID) of one scene."""
    scene = random_scene(seed, index, oddities=True)
    pixels, owners = render_with_labels(scene)
    if index % _SHRUNK_EVERY == 0 and scene.texture == "studio":
        large = render(scene, 2 * SIZE)
        pixels = np.asarray(large.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    columns = [[0, 0, 0, 0]] + [
        [
            1 + list(COLORS).index(thing.color),
            1 + SHAPES.index(thing.shape),
            1 + MATERIALS.index(thing.material),
            2 if thing.size > _LARGE else 1,
        ]
        for thing in scene.things
    ]
    table = np.asarray(columns, dtype=np.uint8)
    labels = np.moveaxis(table[owners], -1, 0)
    return pixels, np.concatenate([labels, center_patches(scene)[None].astype(np.uint8)])
