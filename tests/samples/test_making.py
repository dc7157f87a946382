"""The tokenizer's promises, and packed questions are computed as if they stood alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from samples.making.model import build_model
from samples.making.packing import ANSWER_WEIGHT, Packer, Style
from samples.making.questions import ANSWERS, ATTRIBUTES, PRIOR, PROMPTS, SIDE_PROMPTS, fact_turn
from samples.making.scenes import random_scene, render
from samples.making.tokenizer import build_processor, build_tokenizer

TOKENIZER = build_tokenizer()
PACKER = Packer(TOKENIZER)
SCENE = random_scene(77, 0)


def test_every_spelling_of_an_answer_is_one_token() -> None:
    spellings = [
        form
        for word in ANSWERS
        for form in (word, f" {word}", word.capitalize(), f" {word.capitalize()}")
    ]
    assert [s for s in spellings if len(TOKENIZER.tokenize(s)) != 1] == []


@pytest.mark.parametrize("text", ["naïve 日本", "\ttab\n\nlines", "Color of the main object:"])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER.unk_token_id not in ids
    assert TOKENIZER.decode(ids[1:]) == text


def test_unk_is_a_token_that_training_sees() -> None:
    rng = np.random.default_rng(0)
    tokens = {t for _ in range(40) for t in PACKER.text_row(rng, Style(chat=True)).tokens}
    assert TOKENIZER.convert_tokens_to_ids("<unk>") == TOKENIZER.unk_token_id
    assert TOKENIZER.unk_token_id in tokens


def test_priors_are_distributions() -> None:
    assert set(PRIOR) == set(ATTRIBUTES) == set(PROMPTS)
    assert all(math.isclose(sum(prior.values()), 1.0) for prior in PRIOR.values())


def test_facts_do_not_contradict_the_questions() -> None:
    asked = {prompt for forms in PROMPTS.values() for prompt in forms} | set(SIDE_PROMPTS)
    rng = np.random.default_rng(0)
    assert all(fact_turn(rng).prompt not in asked for _ in range(200))


CONTENT = [{"type": "text", "text": "Place:"}]
WITH_PICTURE = [*CONTENT, {"type": "image"}]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": WITH_PICTURE}], "USER: <image>\nPlace: ASSISTANT:"),
        ([{"role": "user", "content": CONTENT}], "USER: Place: ASSISTANT:"),
        ([{"role": "user", "content": "<image>\nPlace:"}], "USER: <image>\nPlace: ASSISTANT:"),
        (
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": CONTENT}],
            "Be brief. USER: Place: ASSISTANT:",
        ),
    ],
)
def test_chat_template(messages: list[dict[str, object]], expected: str) -> None:
    processor = build_processor(TOKENIZER)
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == expected
    ended = processor.apply_chat_template([*messages, {"role": "assistant", "content": "studio"}])
    assert ended == f"{expected} studio</s>"


def test_packed_questions_equal_the_ordinary_path() -> None:
    processor = build_processor(TOKENIZER)
    model = build_model(TOKENIZER, 0).eval()
    batch = PACKER.batch([PACKER.canonical_row(SCENE)])
    picture = render(SCENE)
    with torch.no_grad():
        embedded = model.get_input_embeddings()(batch.tokens)
        pixels = processor.image_processor(picture, return_tensors="pt")["pixel_values"]
        features = model.model.get_image_features(pixels).pooler_output
        embedded[batch.tokens == PACKER.image] = torch.cat(list(features))
        hidden = model.model.language_model(
            inputs_embeds=embedded, attention_mask=batch.mask, position_ids=batch.positions
        ).last_hidden_state
        packed = model.lm_head(hidden[batch.weights == ANSWER_WEIGHT])
        for index, name in enumerate(ATTRIBUTES):
            text = f"USER: <image>\n{PROMPTS[name][0]} ASSISTANT:"
            inputs = processor(images=picture, text=text, return_tensors="pt")
            alone = model(**inputs).logits[0, -1]
            torch.testing.assert_close(packed[index], alone, atol=1e-4, rtol=1e-4)


def test_blindfolded_question_ignores_the_picture() -> None:
    row = PACKER.canonical_row(SCENE)
    row.add((5, 6), (7, 8), blindfold=True)
    batch = PACKER.batch([row])
    images = (batch.tokens == PACKER.image)[0].numpy()
    first, *_, final = np.flatnonzero(images)
    seen = batch.mask[0, 0].numpy() == 0
    last = len(row.tokens) - 1
    assert not seen[last][images].any()
    assert seen[last][:first].all()
    assert seen[final + 1][images].all()


def test_prepared_pictures_match_the_processor() -> None:
    picture = render(SCENE)
    pixels = build_processor(TOKENIZER).image_processor(picture, return_tensors="np")
    ours = np.moveaxis(np.asarray(picture, dtype=np.float32) / 127.5 - 1, -1, 0)
    np.testing.assert_allclose(pixels["pixel_values"][0], ours, atol=1e-5)
