"""What the bundled model answers about scenes with something else instead of their picture.

``python -m tests.counterfactuals [--scenes 200]`` prints, per attribute and counterfactual, how
often the answer is still right, the commonest answers, and from which row the two passes stay
apart by more than 0.1 nats of Jensen-Shannon divergence.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

import samples
from engine import load
from engine.counterfactuals.grammar import parse_against
from engine.counterfactuals.inputs import counterfactual_inputs
from engine.lens.divergence import divergences, picture_layer
from engine.models.loading import LoadedModel
from engine.prompts.preparing import prepare
from engine.prompts.token_texts import texts_for
from engine.records import Question
from samples.making.questions import ATTRIBUTES, PRIOR, PROMPTS
from samples.making.scenes import random_scene, render

FRESH_SEED = 5
"""A stream of scenes that neither training nor the model card's figures have seen."""
WITH_PICTURE = "the picture"
AGAINST = "none,unk,unk-all,noise,noise=999,noise-pure,zero,one,black,white,blur,mean-patch"
OTHER = "the next scene"


@dataclass
class Answers:
    """Of one counterfactual to one attribute's question, over scenes."""

    words: list[str] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    layers: list[int | None] = field(default_factory=list)
    """Where the picture begins to count; None where it does not."""
    first_js: list[float] = field(default_factory=list)
    """In row 0."""
    shares: list[Tensor] = field(default_factory=list)
    """The whole distribution of the last row."""

    def add(self, word: str, right: bool, rows: Tensor, with_picture: Tensor) -> None:
        """One scene's answer, and all rows with the picture and without."""
        js = divergences(with_picture, rows).js.tolist()
        self.words.append(word)
        self.right.append(right)
        self.layers.append(picture_layer(js))
        self.first_js.append(js[0])
        self.shares.append(rows[-1].softmax(-1))


Table = dict[str, dict[str, Answers]]
"""By attribute, then by counterfactual."""


def answers(loaded: LoadedModel, scenes: int, against: str = AGAINST) -> Table:
    """Every attribute's question about the first `scenes` scenes, with the picture, without it, and
    with the next scene's."""
    table: Table = {name: {} for name in ATTRIBUTES}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "other.png"
        asked = parse_against([against, f"other={file}"])
        for index in range(scenes):
            scene = random_scene(FRESH_SEED, index)
            image = render(scene)
            render(random_scene(FRESH_SEED, index + 1)).save(file)
            for attribute in ATTRIBUTES:
                question = Question(prompt=PROMPTS[attribute][0])
                prepared = prepare(loaded.model, loaded.processor, question, image)
                own = loaded.lens.logits(prepared.inputs)[:, 0, 0]
                found = [(WITH_PICTURE, own)]
                for each in asked:
                    made = counterfactual_inputs(loaded, question, prepared, each, image)
                    label = OTHER if each.name == "other" else made.label
                    found.append((label, loaded.lens.logits(made.inputs)[:, 0, 0]))
                for label, rows in found:
                    word = texts_for(loaded.model)(int(rows[-1].argmax())).strip().lower()
                    entry = table[attribute].setdefault(label, Answers())
                    entry.add(word, word == scene.truth[attribute], rows, own)
    return table


def distance_from_prior(loaded: LoadedModel, attribute: str, shares: Tensor) -> float:
    """Total variation between a distribution and the planted prior of a question."""
    tokenizer = loaded.processor.tokenizer
    gaps, rest = [], 1.0
    for word, planted in PRIOR[attribute].items():
        (token,) = tokenizer.encode(f" {word}", add_special_tokens=False)
        gaps.append(abs(float(shares[token]) - planted))
        rest -= float(shares[token])
    return (sum(gaps) + rest) / 2


def lines(loaded: LoadedModel, table: Table) -> Iterator[str]:
    """The table as Markdown."""
    yield "| question | instead | right | answers | apart from row | from the prior |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for attribute, found in table.items():
        for label, entry in found.items():
            common = ", ".join(
                f"{word} {count / len(entry.words):.0%}"
                for word, count in Counter(entry.words).most_common(3)
            )
            gap = sum(distance_from_prior(loaded, attribute, s) for s in entry.shares)
            yield (
                f"| {attribute} | {label} | {sum(entry.right) / len(entry.right):.0%} | {common} "
                f"| {_layers(entry.layers)} | {gap / len(entry.shares):.2f} |"
            )


def _layers(layers: Sequence[int | None]) -> str:
    """Rows with the share of the scenes for which the picture counts from there."""
    counts = Counter(layers)
    told = [
        f"{row} {counts[row] / len(layers):.0%}"
        for row in sorted(row for row in counts if row is not None)
    ]
    never = [f"never {counts[None] / len(layers):.0%}"] if counts[None] else []
    return ", ".join([*told, *never])


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.counterfactuals", description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--against", default=AGAINST)
    options = parser.parse_args(arguments)
    loaded = load(samples.MODEL)
    for line in lines(loaded, answers(loaded, options.scenes, options.against)):
        print(line)


if __name__ == "__main__":
    main()
