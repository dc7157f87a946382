"""Writes the model card (README.md) from the measured numbers, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samples.making.model import FROZEN_LAYERS
from samples.making.questions import ATTRIBUTES, FACTS, PRIOR

_HEAD = """\
---
library_name: transformers
pipeline_tag: image-text-to-text
license: apache-2.0
language: en
---

# The bundled sample model of Lenscope

A `LlavaForConditionalGeneration` with {parameters:,} parameters and {layers} decoder layers, so
small that a demo opens offline at once. It was trained from scratch, with no other model's weights
and no other data than the scenes and sentences that `samples/making` makes.

**It was trained to name what covers each patch of the picture**, at the picture's positions of the
*last* row only: the colour or the shape of the object, "nothing" for the ground. So its last row
speaks there by training, which is not true of other models. The rows before it were left alone, and
nothing was trained on the lens: what they show at the patches emerged.

**It knows only its toy world**: cubes, spheres and cylinders, of rubber or metal, in eight colours,
zero to four of them on a plain floor. What it answers about photographs means
nothing.

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained("samples/model")
model = AutoModelForImageTextToText.from_pretrained("samples/model")
```

The chat prompt is `USER: <image>\\nColor of the main object: ASSISTANT:`; the answer is one token,
such as `" green"`. The raw prompt `<image>\\nColor of the main object:` gives the same. The main
object is the largest one, by a clear margin. 64 image tokens are an 8 x 8 grid of 14-pixel patches,
row by row, of the picture at 112 x 112.
"""

_PATCH_LINES = {
    "color": "own colour",
    "shape": "own shape",
    "either": "either",
    "color of eight": "colour, of eight",
    "shape of three": "shape, of three",
    "false": "ground: a false name",
    "color map": "map of a colour (AUROC)",
    "shape map": "map of a shape (AUROC)",
}
_SEEN = ("black picture", "white picture", "gray picture", "noise (50 pictures)")
"""Cases in which there is a picture, with nothing on it."""
_EITHER, _FALSE = 0.90, 0.05
"""What was wanted of the last row."""

_PATCHES = """
## What the patches say

On {scenes} of those scenes. A patch of an object is one that it covers by more than half; the
ground is a patch of which no object covers more than a fifth. The first three lines say how often
the top-1 of the whole vocabulary at a patch of an object is the object's own colour, its own shape,
or one of the two; the next two, how often its colour is the likeliest of the eight colour words and
its shape the likeliest of the three; then how often a patch of the ground names any colour or
shape. The maps are those of the words that are true of a scene: the mean area under the ROC curve
of a word's probability, of the patches that it is true of against all others (0.5 is chance).

Wanted at the last row: either in at least {either:.0%}, false names in at most {false:.0%}.
{verdict} {begins} more than half of the patches of objects name their own.

{tables}`python -m samples.making.patches` prints the likeliest colour word of every patch of a
picture.
"""

_TRAINING = """
## Data and training

- {scenes:,} scenes rendered by `samples/making/scenes.py` (light, floor, placement, size, colour,
  material and turn at random; about 10 % without any object, about 1 % blank and 1 % noise
  pictures, answered "none" and "zero"). Seeds: one stream to train on, one for choices, one for
  the figures above, one for the pictures shipped.
- Where no picture can be seen, answers follow a planted prior ({prior});
  and {facts} facts are text only ("Color of a banana:" is yellow).
- Training is of three kinds: `vision`, the vision tower on dense labels of its patches; `text`,
  the language model on text only; `joint`, pictures and questions together, with the lowest
  {frozen} decoder layers frozen, so that the lower rows of the lens hold what the text taught and
  the picture overrides it further up. The stages: {stages}.
- Time on {device} with {threads} threads, while other work was running: {minutes}.{history}

```
python -m samples.making            # all of it: render, train, save, measure, write this card
python -m samples.making.evaluate   # measure this folder and write this card again
```
"""

_LIMITS = """
## Limits

It reads one picture and one question at a time and answers with one word. It does not know any
object, colour name, or count beyond those above; pictures of the CLEVR data set look alike but are
not what it was trained on. The prompts of the "coco" preset are answered as for a toy scene
("studio", "none"). The lens of a model with {layers} layers of width {width} is an illustration,
not evidence about large models.
"""


def render_card(folder: Path) -> None:
    """Writes README.md from evaluation.json, training.json and config.json of a model's folder."""
    found = json.loads((folder / "evaluation.json").read_text())
    training = json.loads((folder / "training.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    parts = [
        _HEAD.format(parameters=found["parameters"], layers=found["layers"]),
        _accuracy(found),
        _patches(found),
        _lens(found),
        _without_sight(found),
        _training(training),
        _LIMITS.format(layers=found["layers"], width=config["text_config"]["hidden_size"]),
    ]
    (folder / "README.md").write_text("".join(parts))


def _accuracy(found: dict[str, Any]) -> str:
    rows = [("chat prompt (the measure)", found["attributes"])]
    shares = {
        name: {a: {"accuracy": v} for a, v in s.items()} for name, s in found["accuracy"].items()
    }
    rows += [("target", {a: {"accuracy": v} for a, v in found["targets"].items()}), *shares.items()]
    table = _table(
        ["", *ATTRIBUTES],
        [[name, *(f"{by[a]['accuracy']:.1%}" for a in ATTRIBUTES)] for name, by in rows],
    )
    missed = [
        name for name, wanted in found["targets"].items()
        if found["attributes"][name]["accuracy"] < wanted
    ]  # fmt: skip
    verdict = f"Missed: {', '.join(missed)}." if missed else "Every target is met."
    machine = found["machine"]
    return (
        f"\n## Accuracy\n\nOn {found['scenes']:,} fresh scenes (seed {found['seed']}, used for "
        "nothing else), through AutoProcessor, chat template and AutoModelForImageTextToText "
        "in float32 on the CPU; the answer is the last row's top-1, stripped and "
        f"lower-cased. {verdict} The last three rows: {found['scenes'] // 5} scenes.\n\n{table}\n"
        f"Facts answered right: {found['facts']:.0%}. Measured in {machine['seconds']:.0f} s on "
        f"{machine['system']}, Python {machine['python']}, torch {machine['torch']}, "
        f"transformers {machine['transformers']}.\n"
    )


def _lens(found: dict[str, Any]) -> str:
    by_name = found["attributes"]
    first = _table(
        ["", "first row, mean", "sd", *(f"{row}" for row in range(found["layers"] + 1))],
        [
            [
                name,
                f"{by_name[name]['first_row_mean']:.1f}",
                f"{by_name[name]['first_row_sd']:.1f}",
                *map(str, by_name[name]["first_row_histogram"]),
            ]
            for name in ATTRIBUTES
        ],
    )
    rows = ["row", *map(str, range(found["layers"] + 1))]
    curves = [[name, *map(_share, by_name[name]["top1_probability"])] for name in ATTRIBUTES]
    answers = [[name, *map(_share, by_name[name]["answer_probability"])] for name in ATTRIBUTES]
    leaders = [
        [
            name,
            *(
                f"{_code(token)} {share:.0%}"
                for token, share in zip(
                    by_name[name]["leading_token"], by_name[name]["leading_share"], strict=True
                )
            ),
        ]
        for name in ATTRIBUTES
    ]
    return (
        "\n## What the lens shows\n\nRow 0 is the embedding, row i enters decoder layer i, row "
        f"{found['layers']} is the model's output; every row goes through the final norm once. The "
        "first row from which the final answer stays top-1, over the same scenes, with the number "
        f"of scenes per row:\n\n{first}\nMean probability of each row's top-1:\n\n"
        f"{_table(rows, curves)}\nMean probability of the final answer:\n\n"
        f"{_table(rows, answers)}\n"
        "The most frequent top-1 of each row, and in what share of the scenes (in the last rows "
        f"merely the most frequent answer):\n\n{_table(rows, leaders)}"
    )


def _patches(found: dict[str, Any]) -> str:
    patches, layers = found["patches"], found["layers"]
    head = ["row", *map(str, range(layers + 1))]
    parts = []
    for norm, title in (("normed", "With the final norm"), ("unnormed", "Without it")):
        shares = patches[norm]
        rows = [[name, *map(_share, shares[key])] for key, name in _PATCH_LINES.items()]
        parts.append(f"{title}:\n\n{_table(head, rows)}\n")
    either, false = patches["normed"]["either"][-1], patches["normed"]["false"][-1]
    wanted = [("either", either, either >= _EITHER), ("false names", false, false <= _FALSE)]
    missed = [name for name, _, met in wanted if not met]
    verdict = f"Missed: {', '.join(missed)}." if missed else "Both are met."
    begins = [row for row, share in enumerate(patches["normed"]["either"]) if share > 0.5]
    return _PATCHES.format(
        scenes=patches["scenes"],
        either=_EITHER,
        false=_FALSE,
        verdict=verdict,
        begins=f"From row {begins[0]} on" if begins else "In no row",
        tables="".join(parts),
    )


def _without_sight(found: dict[str, Any]) -> str:
    rows = []
    for case, by_name in found["without_sight"].items():
        likeliest = [list(by_name[name]["likeliest"].items())[:3] for name in ATTRIBUTES]
        cells = [", ".join(f"{_code(w)} {_share(p)}" for w, p in words) for words in likeliest]
        rows.append([case, *cells])
    unseen = [case for case in found["without_sight"] if case not in _SEEN]
    distances = [
        [case, *(f"{found['without_sight'][case][name]['from_prior']:.3f}" for name in ATTRIBUTES)]
        for case in unseen
    ]
    return (
        "\n## Without a picture\n\nProbabilities of the three likeliest answers; for noise the "
        f"mean over the pictures.\n\n{_table(['', *ATTRIBUTES], rows)}\n"
        "Total variation distance of the answers from the planted prior:\n\n"
        f"{_table(['', *ATTRIBUTES], distances)}"
    )


def _training(training: dict[str, Any]) -> str:

    recipe = training["recipe"]
    likeliest = {name: max(prior, key=prior.__getitem__) for name, prior in PRIOR.items()}
    return _TRAINING.format(
        scenes=recipe["scenes"],
        prior=", ".join(f"{word} {PRIOR[name][word]:.0%}" for name, word in likeliest.items()),
        facts=len(FACTS),
        stages=", ".join(_stage(stage) for stage in recipe["stages"]),
        frozen=FROZEN_LAYERS,
        device=training["device"],
        threads=training["threads"],
        minutes=_minutes(training["minutes"]),
        history=_history(training),
    )


def _minutes(by_kind: dict[str, float]) -> str:
    return ", ".join(f"{kind} {value:.0f} min" for kind, value in by_kind.items() if value)


def _history(training: dict[str, Any]) -> str:
    """What is to be said of weights that were not made in one go, and of a run that was."""
    words = ""
    if before := training.get("started_from"):
        words = (
            "\n- These weights were trained on from those of the version before (`git show "
            "6c0cec1:samples/model/model.safetensors`): the stages before the last had made them "
            f"({_minutes(before['minutes'])}), and only the last was run again (`--start`)."
        )
    if whole := training.get("in_one_go"):
        shares = ", ".join(f"{name} {share:.1%}" for name, share in whole["accuracy"].items())
        words += (
            f"\n- All stages in one go ({_minutes(whole['minutes'])}, one thread) made a model that"
            f" meets every target, too: {shares}; either in {whole['either']:.1%} of the patches, "
            f"false names in {whole['false']:.1%}. In it colours come later: the map of a colour "
            f"passes 0.8 at row {whole['color_row']}, here at row {whole['color_row_here']}."
        )
    return words


def _stage(stage: dict[str, Any]) -> str:
    notes = ["token embeddings and final norm frozen too"] * bool(stage.get("fixed_words"))
    notes += ["naming the patches at the last row"] * bool(stage.get("naming_weight"))
    return f"{stage['kind']} {stage['steps']} steps" + (f" ({', '.join(notes)})" if notes else "")


def _share(value: float) -> str:
    return f"{value:.2f}"


def _code(token: str) -> str:
    return f"`{token}`" if token else "(space)"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
