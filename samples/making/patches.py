"""What the model says at the picture's patches, row by row.

``python -m samples.making.patches`` prints the best colour word of every patch of a sample
picture at some rows; ``measure`` counts over many scenes how often a patch names what covers it.
The patches come before the question, so the question does not matter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samples import MODEL, PICTURES
from samples.making.questions import PROMPTS
from samples.making.sample import BATCH, Sample
from samples.making.scenes import COLORS, GRID, GROUND_SHARE, SHAPES, Scene, patch_covers

_HALF = 0.5
_WORDS = {"color": tuple(COLORS), "shape": SHAPES}
_COUNTS = {8: "eight", 3: "three"}

FloatArray = NDArray[np.float64]


@torch.no_grad()
def patch_logits(sample: Sample, pictures: Sequence[Image.Image], *, norm: bool = True) -> Tensor:
    """The logits at every patch, (layers + 1, pictures, GRID * GRID, vocabulary).

    Without the norm the stream goes straight to the head; the last row is always the model's own.
    """
    inputs = sample.encode(sample.chat(PROMPTS["color"][0]), pictures)
    output = sample.model(**inputs, output_hidden_states=True)
    places = (inputs["input_ids"] == sample.model.config.image_token_id)[0]
    tail, head = sample.model.model.language_model.norm, sample.model.lm_head
    rows = [
        head(tail(state[:, places]) if norm else state[:, places])
        for state in output.hidden_states[:-1]
    ]
    return torch.stack([*rows, output.logits[:, places]])


def measure(
    sample: Sample, scenes: Sequence[Scene], pictures: Sequence[Image.Image], *, norm: bool
) -> dict[str, list[float]]:
    """Shares per row, over all patches of the scenes.

    ``color``, ``shape``, ``either``: patches that an object covers by more than half whose top-1
    names the object's own; ``color of eight``, ``shape of three``: whose best word among those
    is; ``false``: patches of the ground whose top-1 names any; ``color map``, ``shape map``: the
    mean area under the ROC curve of the probability of a word, of the patches that it is true of
    against all others (of an object or of the ground), for each word that is true of a scene.
    """
    vocabulary = np.array(sample.words(range(len(sample.processor.tokenizer))))
    tokens = {name: sample.tokens(words) for name, words in _WORDS.items()}
    counts: dict[str, list[FloatArray]] = {}
    for start in range(0, len(scenes), BATCH):
        logits = patch_logits(sample, pictures[start : start + BATCH], norm=norm)
        said = vocabulary[logits.argmax(-1).numpy()]
        for index, scene in enumerate(scenes[start : start + BATCH]):
            true, covered, ground = _truth(scene)
            either = np.zeros_like(said[:, index], dtype=bool)
            shares = logits[:, index].softmax(-1).double().numpy()
            for name, words in _WORDS.items():
                named = said[:, index] == true[name]
                either |= named
                _add(counts, name, named[:, covered])
                likeliest = logits[:, index][..., tokens[name]].argmax(-1).numpy()
                right = np.array(words)[likeliest] == true[name]
                _add(counts, f"{name} of {_COUNTS[len(words)]}", right[:, covered])
                for word in dict.fromkeys(true[name][covered].tolist()):
                    map_of_word = shares[..., tokens[name][words.index(word)]]
                    is_true = covered & (true[name] == word)
                    others = ~is_true & (covered | ground)
                    area = _areas(map_of_word[:, is_true], map_of_word[:, others])
                    _add(counts, f"{name} map", area[:, None])
            _add(counts, "either", either[:, covered])
            _add(counts, "false", np.isin(said[:, index], sum(_WORDS.values(), ()))[:, ground])
    return {name: np.concatenate(parts, 1).mean(1).tolist() for name, parts in counts.items()}


def _truth(scene: Scene) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_], NDArray[np.bool_]]:
    """What is true of each patch, which patches an object covers by more than half, and which
    show the ground."""
    owners, share = (array.ravel() for array in patch_covers(scene))
    things = scene.things
    true = {
        "color": np.array([things[int(k) - 1].color if things else "" for k in owners]),
        "shape": np.array([things[int(k) - 1].shape if things else "" for k in owners]),
    }
    return true, share > _HALF, share <= GROUND_SHARE


def _add(counts: dict[str, list[FloatArray]], name: str, hits: NDArray[Any]) -> None:
    counts.setdefault(name, []).append(hits.astype(np.float64))


def _areas(yes: FloatArray, no: FloatArray) -> FloatArray:
    """The area under the ROC curve per row (Mann-Whitney; ties count half), of the scores of
    patches for which a word is true against those of the others, (rows, patches) each."""
    above = (yes[:, :, None] > no[:, None, :]).mean((1, 2))
    equal = (yes[:, :, None] == no[:, None, :]).mean((1, 2))
    area: FloatArray = above + equal / 2
    return area


def print_best_colors(sample: Sample, picture: Image.Image, rows: Sequence[int]) -> None:
    """Print the likeliest of the eight colour words at every patch, with its probability."""
    logits = patch_logits(sample, [picture])[:, 0]
    words = list(COLORS)
    tokens = sample.tokens(words)
    shares = logits.softmax(-1)[..., tokens]
    for row in rows:
        print(f"\nrow {row}: the likeliest colour word of each patch, in percent; * is its top-1")
        top = logits[row].argmax(-1).tolist()
        for line in range(GRID):
            cells = []
            for place in range(line * GRID, (line + 1) * GRID):
                best = int(shares[row, place].argmax())
                percent = round(100 * float(shares[row, place, best]))
                mark = "*" if top[place] == tokens[best] else " "
                cells.append(f"{words[best]:>6}{percent:4}{mark}")
            print(" ".join(cells))


def main() -> None:
    """Prints what the patches of one picture say."""
    parser = argparse.ArgumentParser(prog="python -m samples.making.patches", description=__doc__)
    parser.add_argument("picture", type=Path, nargs="?", default=PICTURES / "scene_1.png")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rows", type=int, nargs="+", help="default: 0, 4, 7 and the last")
    options = parser.parse_args()
    sample = Sample(options.model)
    with Image.open(options.picture) as picture:
        print_best_colors(sample, picture.convert("RGB"), options.rows or [0, 4, 7, sample.layers])


if __name__ == "__main__":
    main()
