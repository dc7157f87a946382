"""The shipped folder loads by the ordinary path and answers right."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
import torch
from PIL import Image

from samples import MODEL, PICTURES
from samples.making.evaluate import TARGETS, accuracy, emergence, known_facts
from samples.making.questions import ATTRIBUTES, PROMPTS
from samples.making.sample import Sample
from samples.making.scenes import SHOWN_SEED, SIZE, random_scene, render

FRESH_SEED = 5
"""A stream of scenes that neither training nor the card's figures have seen."""


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    """The model, loaded while sockets are refused."""

    def refuse(*_: object) -> None:
        raise AssertionError("loading must not open a socket")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", refuse)
        yield Sample(MODEL)


def test_folder_is_small_and_readable() -> None:
    files = list(MODEL.iterdir())
    assert sum(file.stat().st_size for file in files) <= 12_000_000
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in files)


def test_it_is_an_ordinary_llava(sample: Sample) -> None:
    assert type(sample.model).__name__ == "LlavaForConditionalGeneration"
    assert type(sample.processor).__name__ == "LlavaProcessor"
    assert sample.layers >= 8
    assert sample.processor.tokenizer.unk_token == "<unk>"


def test_default_chat_prompt(sample: Sample) -> None:
    text = sample.chat("Color of the main object:")
    assert text == "USER: <image>\nColor of the main object: ASSISTANT:"
    ids = sample.encode(text, [Image.new("RGB", (SIZE, SIZE))])["input_ids"][0].tolist()
    tokens = sample.processor.tokenizer.convert_ids_to_tokens(ids)
    assert tokens[:4] == ["<s>", "USER", ":", "Ġ"]
    assert tokens[4:68] == ["<image>"] * 64
    assert tokens[68:] == ["Ċ", "Color", "Ġof", "Ġthe", "Ġmain", "Ġobject", ":", "ĠASSISTANT", ":"]


@pytest.mark.parametrize("form", ["chat", "raw"])
def test_shipped_scenes_are_answered_right(sample: Sample, form: str) -> None:
    truths = json.loads((PICTURES / "truth.json").read_text())
    pictures = [Image.open(PICTURES / name).convert("RGB") for name in truths]
    for name in ATTRIBUTES:
        prompt = PROMPTS[name][0]
        text = sample.chat(prompt) if form == "chat" else f"<image>\n{prompt}"
        expected = [entry["truth"][name] for entry in truths.values()]
        assert sample.answers(text, pictures) == expected


def test_fresh_scenes(sample: Sample) -> None:
    scenes = [random_scene(FRESH_SEED, index) for index in range(40)]
    pictures = [render(scene) for scene in scenes]
    shares = accuracy(sample, [scene.truth for scene in scenes], pictures, "chat")
    assert min(shares.values()) >= 0.9, shares


def test_nothing_to_see(sample: Sample) -> None:
    black = [Image.new("RGB", (SIZE, SIZE))]
    assert sample.answers(sample.chat(PROMPTS["color"][0]), black) == ["none"]
    assert sample.answers(sample.chat(PROMPTS["number"][0]), black) == ["zero"]
    blind = sample.encode(sample.chat(PROMPTS["number"][0], picture=False))
    assert sample.words(sample.last(blind).argmax(-1).tolist()) == ["two"]
    assert known_facts(sample) >= 0.9


def test_answer_ends_after_one_word(sample: Sample) -> None:
    inputs = sample.encode(
        sample.chat("Color of the main object:"), [render(random_scene(SHOWN_SEED, 5))]
    )
    with torch.no_grad():
        ids = sample.model.generate(**inputs, max_new_tokens=5, do_sample=False)
    new = sample.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])
    assert new == " green</s>"


def test_card_shows_the_measured_figures() -> None:
    found = json.loads((MODEL / "evaluation.json").read_text())
    card = (MODEL / "README.md").read_text()
    for name in ATTRIBUTES:
        assert f"{found['attributes'][name]['accuracy']:.1%}" in card


@pytest.mark.slow
def test_targets_on_a_thousand_scenes(sample: Sample) -> None:
    scenes = [random_scene(FRESH_SEED, index) for index in range(1000)]
    pictures = [render(scene) for scene in scenes]
    found = emergence(sample, [scene.truth for scene in scenes], pictures)
    for name, wanted in TARGETS.items():
        assert found[name]["accuracy"] >= wanted, name
        assert sample.layers / 4 <= found[name]["first_row_mean"] <= 3 * sample.layers / 4, name
