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
  Nothing was trained on the lens.
- Time on {device} with {threads} threads, while other work was running: {minutes}.

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


def _without_sight(found: dict[str, Any]) -> str:
    rows = []
    for case, by_name in found["without_sight"].items():
        likeliest = [list(by_name[name].items())[:3] for name in ATTRIBUTES]
        cells = [", ".join(f"{_code(w)} {_share(p)}" for w, p in words) for words in likeliest]
        rows.append([case, *cells])
    return (
        "\n## Without a picture\n\nProbabilities of the three likeliest answers; for noise the "
        f"mean over the pictures.\n\n{_table(['', *ATTRIBUTES], rows)}"
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
        minutes=", ".join(f"{name} {value:.0f} min" for name, value in training["minutes"].items()),
    )


def _stage(stage: dict[str, Any]) -> str:
    kept = " (token embeddings and final norm frozen too)" if stage.get("fixed_words") else ""
    return f"{stage['kind']} {stage['steps']} steps{kept}"


def _share(value: float) -> str:
    return f"{value:.2f}"


def _code(token: str) -> str:
    return f"`{token}`" if token else "(space)"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
