"""How much of the attention on the picture lies on the main object, layer by layer.

``python -m samples.making.attention`` prints, for the questions about colour and shape, each
layer's attention on the picture from the last position, and the share of it that lies on the
patches of the main object: in the mean over the heads, and in the head where it is largest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samples import MODEL
from samples.making.questions import PROMPTS
from samples.making.sample import BATCH, Sample
from samples.making.scenes import GROUND_SHARE, TEST_SEED, Scene, patch_covers, random_scene, render

_FIRST = 5000
"""The scenes that are measured come after those that the model was chosen on."""


@torch.no_grad()
def on_patches(sample: Sample, prompt: str, pictures: Sequence[Image.Image]) -> Tensor:
    """The weights of the last position on the patches, (pictures, layers, heads, patches)."""
    inputs = sample.encode(sample.chat(prompt), pictures)
    places = (inputs["input_ids"] == sample.model.config.image_token_id)[0]
    output = sample.model(**inputs, output_attentions=True, logits_to_keep=1)
    return torch.stack([weights[:, :, -1, places] for weights in output.attentions], dim=1)


def measure(sample: Sample, attribute: str, scenes: Sequence[Scene]) -> Tensor:
    """Means over the scenes, (2, layers, heads): the weight on the picture, and the share of it
    that is on the patches of the main object, those that do not show the ground."""
    sample.model.set_attn_implementation("eager")
    found = []
    for start in range(0, len(scenes), BATCH):
        some = scenes[start : start + BATCH]
        pictures = [render(scene) for scene in some]
        covered = torch.from_numpy(np.stack([_main_patches(scene) for scene in some]))
        weights = on_patches(sample, PROMPTS[attribute][0], pictures)
        whole = weights.sum(-1)
        main = (weights * covered[:, None, None]).sum(-1)
        found.append(torch.stack([whole, main / whole.clamp_min(1e-12)], dim=1))
    return torch.cat(found).mean(0)


def _main_patches(scene: Scene) -> NDArray[np.bool_]:
    owners, share = (array.ravel() for array in patch_covers(scene))
    main: NDArray[np.bool_] = (owners == 1) & (share > GROUND_SHARE)
    return main


def main() -> None:
    """Prints the shares."""
    parser = argparse.ArgumentParser(prog="python -m samples.making.attention", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--scenes", type=int, default=200)
    options = parser.parse_args()
    sample = Sample(options.model)
    drawn = (random_scene(TEST_SEED, index) for index in range(_FIRST, _FIRST + 10**6))
    scenes: list[Scene] = []
    while len(scenes) < options.scenes:
        scene = next(drawn)
        if scene.things and _main_patches(scene).any():
            scenes.append(scene)
    for attribute in ("color", "shape"):
        print(f"\n{attribute}, {len(scenes)} scenes: percent of the weight on the picture, and of")
        print("that on the main object: mean over heads, best head (its number)")
        whole, share = measure(sample, attribute, scenes)
        for layer in range(len(whole)):
            best = int(share[layer].argmax())
            print(
                f"layer {layer}: {100 * float(whole[layer].mean()):5.1f} "
                f"{100 * float(share[layer].mean()):5.1f} {100 * float(share[layer, best]):5.1f} "
                f"({best})"
            )


if __name__ == "__main__":
    main()
