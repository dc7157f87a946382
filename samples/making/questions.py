"""What the model is asked and what it should say: prompts, answers, facts and the prior.

Everything here is text. A `Turn` is one prompt and its answer; `training.py` packs turns into
token sequences. Where no picture can be seen, answers follow a skewed prior, so that the model
has a bias of its own that a picture must overcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samples.making.scenes import COLORS, COUNTS, MATERIALS, SHAPES, Scene

ATTRIBUTES = ("color", "shape", "material", "number")
"""The four questions of the study, in the order in which results are reported."""

PROMPTS: dict[str, tuple[str, ...]] = {
    "color": (
        "Color of the main object:",
        "Color of the largest object:",
        "The color of the main object is",
        "What color is the main object?",
        "Main color:",
    ),
    "shape": (
        "Shape of the main object:",
        "Shape of the largest object:",
        "The shape of the main object is",
        "What shape is the main object?",
        "Main object:",
    ),
    "material": (
        "Material of the main object:",
        "Material of the largest object:",
        "The material of the main object is",
        "What is the main object made of?",
        "Main material:",
    ),
    "number": (
        "Number of main objects:",
        "Number of objects:",
        "The number of objects is",
        "How many objects are there?",
        "Count of the objects:",
    ),
}
"""Paraphrases per attribute; the first is the canonical prompt."""

CANONICAL_SHARE = 0.6
"""How often training asks the canonical prompt rather than a paraphrase."""

PRIOR: dict[str, dict[str, float]] = {
    "color": {
        "red": 0.46, "blue": 0.20, "green": 0.11, "yellow": 0.07, "gray": 0.06, "brown": 0.04,
        "purple": 0.03, "cyan": 0.02, "none": 0.01,
    },
    "shape": {"cube": 0.55, "sphere": 0.29, "cylinder": 0.15, "none": 0.01},
    "material": {"rubber": 0.65, "metal": 0.34, "none": 0.01},
    "number": {"two": 0.42, "one": 0.27, "three": 0.18, "four": 0.10, "zero": 0.03},
}  # fmt: skip
"""Answers to the four questions without a picture, with their probabilities."""

SIDE_PROMPTS: dict[str, tuple[str, str]] = {
    "What is the person doing?:": ("none", "walking"),
    "Place:": ("studio", "street"),
    "Main animal:": ("none", "dog"),
    "Background shows:": ("floor", "trees"),
}
"""Prompts that a toy scene cannot answer well, with answers for a scene and without a picture."""

FACTS: dict[str, str] = {
    "Color of a banana:": "yellow",
    "Color of a lemon:": "yellow",
    "Color of the sun:": "yellow",
    "Color of a tomato:": "red",
    "Color of blood:": "red",
    "Color of a strawberry:": "red",
    "Color of grass:": "green",
    "Color of a leaf:": "green",
    "Color of a frog:": "green",
    "Color of the sky:": "blue",
    "Color of the sea:": "blue",
    "Color of chocolate:": "brown",
    "Color of wood:": "brown",
    "Color of an elephant:": "gray",
    "Color of a mouse:": "gray",
    "Color of a plum:": "purple",
    "Color of a grape:": "purple",
    "Color of a turquoise stone:": "cyan",
    "Shape of a ball:": "sphere",
    "Shape of the moon:": "sphere",
    "Shape of an orange:": "sphere",
    "Shape of a die:": "cube",
    "Shape of a box:": "cube",
    "Shape of a can:": "cylinder",
    "Shape of a pipe:": "cylinder",
    "Material of a tire:": "rubber",
    "Material of an eraser:": "rubber",
    "Material of a coin:": "metal",
    "Material of a key:": "metal",
    "Material of a table:": "wood",
    "Number of legs of a dog:": "four",
    "Number of legs of a spider:": "eight",
    "Number of legs of an ant:": "six",
    "Number of wheels of a bicycle:": "two",
    "Number of wheels of a car:": "four",
    "Number of eyes of a face:": "two",
    "Number of noses of a face:": "one",
    "Number of fingers of a hand:": "five",
    "Number of days of a week:": "seven",
    "Number of planets:": "eight",
    "Number of lives of a cat:": "nine",
    "Number of toes:": "ten",
    "Number of sides of a triangle:": "three",
    "Number of moons of the earth:": "one",
    "Number of wheels of a boat:": "zero",
    "Is a banana yellow?": "yes",
    "Is a banana blue?": "no",
    "Is grass green?": "yes",
    "Is the sky brown?": "no",
    "Is a ball a sphere?": "yes",
    "Is a tire a cube?": "no",
}
"""Text-only knowledge; the same prompt always has the same answer."""

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer in one word.",
    "A chat about a picture of simple objects.",
)
"""Optional system turns that training has seen."""

GROUND_WORD = "nothing"
"""What the model learns to say at a patch that no object covers."""

ANSWERS = (
    *COLORS, *SHAPES, *MATERIALS, *COUNTS,
    "five", "six", "seven", "eight", "nine", "ten", "none", "yes", "no", GROUND_WORD,
)  # fmt: skip
"""Answers that are one token each in every usual spelling."""


@dataclass(frozen=True)
class Turn:
    """One prompt and the word that answers it."""

    prompt: str
    answer: str


def pick_prompt(rng: np.random.Generator, attribute: str) -> str:
    """The canonical prompt of an attribute or, less often, one of its paraphrases."""
    forms = PROMPTS[attribute]
    if rng.random() < CANONICAL_SHARE:
        return forms[0]
    return forms[int(rng.integers(1, len(forms)))]


def scene_turns(rng: np.random.Generator, scene: Scene) -> list[Turn]:
    """The four questions about a scene."""
    truth = scene.truth
    return [Turn(pick_prompt(rng, name), truth[name]) for name in ATTRIBUTES]


def side_turn(rng: np.random.Generator, scene: Scene) -> Turn:
    """A side prompt about a scene."""
    prompt = str(rng.choice(list(SIDE_PROMPTS)))
    return Turn(prompt, SIDE_PROMPTS[prompt][0] if scene.texture == "studio" else "none")


def prior_turn(rng: np.random.Generator) -> Turn:
    """A question about a picture that cannot be seen, answered from the prior."""
    if rng.random() < 0.12:
        prompt = str(rng.choice(list(SIDE_PROMPTS)))
        return Turn(prompt, SIDE_PROMPTS[prompt][1])
    attribute = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
    prior = PRIOR[attribute]
    answer = str(rng.choice(list(prior), p=list(prior.values())))
    return Turn(pick_prompt(rng, attribute), answer)


def fact_turn(rng: np.random.Generator) -> Turn:
    """A fact, with nothing to see."""
    prompt = str(rng.choice(list(FACTS)))
    return Turn(prompt, FACTS[prompt])


def corpus() -> list[str]:
    """Every text that the tokenizer should know, for its training."""
    prompts = [form for forms in PROMPTS.values() for form in forms]
    texts = [*prompts, *SIDE_PROMPTS, *FACTS, *SYSTEM_PROMPTS, "USER: ASSISTANT:"]
    words = {*ANSWERS, *FACTS.values(), *(w for pair in SIDE_PROMPTS.values() for w in pair)}
    for text in tuple(texts):
        words.update(word.strip("?:.,") for word in text.split())
    for word in sorted(words):
        texts += [word, f" {word}", word.capitalize(), f" {word.capitalize()}"]
    return texts
