"""From a question to the model's inputs: text, tokens, kinds, parts, and what is refused."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from engine.errors import BadInput, LenscopeError, Remedy
from engine.prompts.preparing import Prepared, prepare
from engine.prompts.processors import tokenizer_of
from engine.prompts.templates import has_chat_template, picture_span
from engine.records import Question

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel

Opened = Callable[[str], "LoadedModel"]
RED = Image.new("RGB", (40, 24), (200, 30, 30))
QWEN_TOKENS = (40 // 8) * (24 // 8)
"""The picture's sides are multiples of patch size times merge size: nothing is resized."""


def ask(loaded: LoadedModel, prompt: str, picture: bool = False, **settings: Any) -> Prepared:
    question = Question(prompt=prompt, **settings)
    return prepare(loaded.model, loaded.processor, question, RED if picture else None)


def parts(prepared: Prepared) -> list[tuple[str, str]]:
    """Runs of tokens of one part, with their joined text; those of the picture counted."""
    found = []
    for part, group in groupby(prepared.tokens, key=lambda token: token.part):
        tokens = list(group)
        text = "".join(token.text for token in tokens)
        found.append((part, str(len(tokens)) if part == "picture" else text))
    return found


def refused(loaded: LoadedModel, prompt: str, picture: bool = False, **settings: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        ask(loaded, prompt, picture, **settings)
    assert "\n" not in str(caught.value)
    return caught.value


def refusal(loaded: LoadedModel, prompt: str, picture: bool = False, **settings: Any) -> str:
    return str(refused(loaded, prompt, picture, **settings))


def with_template(loaded: LoadedModel, template: str | None) -> Any:
    """The processor with another chat template."""
    processor = copy.copy(loaded.processor)
    if tokenizer_of(processor) is processor:
        processor.chat_template = template
    else:
        processor.tokenizer = copy.deepcopy(loaded.processor.tokenizer)
        processor.tokenizer.chat_template = None
        processor.chat_template = template
    return processor


# Parts and kinds


def test_a_chat_with_everything_in_it(opened: Opened) -> None:
    prepared = ask(opened("llava"), "What?", True, system="Be brief.", prefix=" It is")
    assert prepared.text == "Be brief.\nUSER:<image>\nWhat? ASSISTANT: It is"
    assert parts(prepared) == [
        ("template", "<s>"),
        ("system", "Be brief."),
        ("template", "\nUSER:"),
        ("picture", "9"),
        ("template", "\n"),
        ("prompt", "What?"),
        ("template", " ASSISTANT:"),
        ("prefix", " It is"),
    ]


def test_a_chat_without_a_picture(opened: Opened) -> None:
    prepared = ask(opened("llava"), "What?")
    assert "<image>" not in prepared.text
    assert parts(prepared) == [
        ("template", "<s>USER:"),
        ("prompt", "What?"),
        ("template", " ASSISTANT:"),
    ]
    assert "pixel_values" not in prepared.inputs


def test_kinds_of_tokens(opened: Opened) -> None:
    prepared = ask(opened("llava"), "What?", True)
    kinds = {token.kind: token.text for token in reversed(prepared.tokens)}
    assert set(kinds) == {"text", "image", "special"}
    assert kinds["image"] == "<image>"
    assert kinds["special"] == "<s>"
    assert [t.id for t in prepared.tokens] == prepared.inputs["input_ids"][0].tolist()


def test_qwen2_vl_in_a_chat(opened: Opened) -> None:
    prepared = ask(opened("qwen2_vl"), "What?", True, prefix="A")
    assert parts(prepared) == [
        (
            "template",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        ),
        ("picture", str(QWEN_TOKENS + 2)),
        ("prompt", "What?"),
        ("template", "<|im_end|>\n<|im_start|>assistant\n"),
        ("prefix", "A"),
    ]
    grid = prepared.inputs["image_grid_thw"][0].tolist()
    images = [token for token in prepared.tokens if token.kind == "image"]
    assert len(images) == grid[1] * grid[2] // 4 == QWEN_TOKENS
    assert prepared.inputs["mm_token_type_ids"].sum() == QWEN_TOKENS
    special = {token.text for token in prepared.tokens if token.kind == "special"}
    assert special == {"<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"}


def test_qwen2_vls_own_system_text_can_be_replaced(opened: Opened) -> None:
    prepared = ask(opened("qwen2_vl"), "What?", system="Be brief.")
    assert ("system", "Be brief.") in parts(prepared)
    assert "helpful" not in prepared.text


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "llama"])
@pytest.mark.parametrize("chat", [True, False])
def test_the_prompt_is_found_whatever_its_letters(opened: Opened, name: str, chat: bool) -> None:
    loaded = opened(name)
    for prompt in ("  spaces around  ", "zwei\nZeilen\n", "日本語 \U0001f525 é", "\t", "a"):
        if not prompt.strip():
            continue
        prepared = ask(loaded, prompt, name != "llama", chat=chat)
        ids = tokenizer_of(loaded.processor)(prompt, add_special_tokens=False)["input_ids"]
        assert [token.id for token in prepared.tokens if token.part == "prompt"] == ids


@pytest.mark.parametrize("system", ["Be brief.", "x\nUSER: y", "\nUSER:", " ASSISTANT:", "What?"])
def test_the_system_text_is_found_whatever_it_holds(opened: Opened, system: str) -> None:
    for picture in (True, False):
        found = parts(ask(opened("llava"), "What?", picture, system=system))
        assert ("system", system) in found
        assert ("prompt", "What?") in found


def test_a_prompt_that_looks_like_the_template_is_found(opened: Opened) -> None:
    prompt = "USER: What? ASSISTANT: It ASSISTANT:"
    assert ("prompt", prompt) in parts(ask(opened("llava"), prompt, True, prefix=" ASSISTANT:"))


def test_a_template_that_trims_what_was_typed(opened: Opened) -> None:
    loaded = opened("llama")
    processor = with_template(
        loaded, "{% for m in messages %}[{{ m['content'] | trim }}]{% endfor %}!"
    )
    prepared = prepare(loaded.model, processor, Question(prompt="  What?  ", prefix=" x"), None)
    assert prepared.text == "[What?]! x"
    assert parts(prepared) == [
        ("template", "<s>["),
        ("prompt", "What?"),
        ("template", "]!"),
        ("prefix", " x"),
    ]


# Special tokens


def begin_marks(prepared: Prepared) -> int:
    return sum(token.text == "<s>" for token in prepared.tokens)


def test_the_tokenizer_adds_its_begin_mark_once(opened: Opened) -> None:
    for chat in (True, False):
        for picture in (True, False):
            assert begin_marks(ask(opened("llava"), "What?", picture, chat=chat)) == 1
    assert begin_marks(ask(opened("llama"), "What?")) == 1


def test_a_template_that_writes_the_begin_mark_gets_no_second_one(opened: Opened) -> None:
    for name in ("llama", "llava"):
        loaded = opened(name)
        template = "{{ bos_token }}" + (
            loaded.processor.chat_template or "{{ messages[0].content }}"
        )
        processor = with_template(loaded, template)
        for image in (None, RED) if name == "llava" else (None,):
            prepared = prepare(loaded.model, processor, Question(prompt="What?"), image)
            assert prepared.text.startswith("<s>")
            assert begin_marks(prepared) == 1
            assert ("prompt", "What?") in parts(prepared)


@pytest.mark.parametrize("where", ["prompt", "system", "prefix"])
@pytest.mark.parametrize("mark", ["<image>", "</s>", "<unk>"])
def test_special_tokens_are_not_interpreted_in_a_chat(
    opened: Opened, where: str, mark: str
) -> None:
    settings = {"prompt": "What?", where: f"a{mark}b"}
    error = refused(opened("llava"), picture=True, **settings)
    assert mark in str(error)
    assert error.remedies == (Remedy.RAW,)


def test_qwen2_vls_marks_are_not_interpreted_in_a_chat(opened: Opened) -> None:
    for mark in ("<|image_pad|>", "<|vision_start|>", "<|im_end|>", "<|video_pad|>"):
        error = refused(opened("qwen2_vl"), f"a {mark}", True)
        assert mark in str(error)
        assert error.remedies == (Remedy.RAW,)


def test_text_that_only_resembles_a_special_token_is_text(opened: Opened) -> None:
    prepared = ask(opened("llava"), "< image > <img> image> <s", True)
    assert ("prompt", "< image > <img> image> <s") in parts(prepared)


# Raw


def test_raw_with_a_picture_and_no_placeholder_puts_it_first(opened: Opened) -> None:
    prepared = ask(opened("llava"), "What?", True, chat=False)
    assert prepared.text == "<image>What?"
    assert parts(prepared) == [("template", "<s>"), ("picture", "9"), ("prompt", "What?")]


def test_raw_qwen2_vl_gets_its_begin_and_end_marks(opened: Opened) -> None:
    prepared = ask(opened("qwen2_vl"), "What?", True, chat=False)
    assert prepared.text == "<|vision_start|><|image_pad|><|vision_end|>What?"
    assert parts(prepared) == [("picture", str(QWEN_TOKENS + 2)), ("prompt", "What?")]


def test_raw_with_one_placeholder_keeps_it_in_its_place(opened: Opened) -> None:
    prepared = ask(opened("llava"), "See <image> here", True, chat=False, prefix="!")
    assert prepared.text == "See <image> here!"
    assert parts(prepared) == [
        ("template", "<s>"),
        ("prompt", "See "),
        ("picture", "9"),
        ("prompt", " here"),
        ("prefix", "!"),
    ]


@pytest.mark.parametrize(
    "typed", ["a<|image_pad|>b", "a<|vision_start|><|image_pad|><|vision_end|>b"]
)
def test_raw_qwen2_vl_takes_the_placeholder_as_typed(opened: Opened, typed: str) -> None:
    prepared = ask(opened("qwen2_vl"), typed, True, chat=False)
    assert prepared.text == typed
    images = [token for token in prepared.tokens if token.kind == "image"]
    assert len(images) == QWEN_TOKENS
    assert {token.part for token in images} == {"picture"}


def test_raw_with_more_placeholders_than_pictures(opened: Opened) -> None:
    for name, mark in (("llava", "<image>"), ("qwen2_vl", "<|image_pad|>")):
        loaded = opened(name)
        assert "2" in refusal(loaded, f"{mark}a{mark}", True, chat=False)
        assert mark in refusal(loaded, f"a{mark}", False, chat=False)
        refusal(loaded, "a", False, chat=False, prefix=mark)
        refusal(loaded, "a", False, chat=False, system=mark)
        refusal(loaded, mark, True, chat=False, prefix=mark)


def test_a_placeholder_in_the_raw_prefix_is_the_pictures_place(opened: Opened) -> None:
    """One placeholder for one picture: it stays where the user put it, or is refused by name."""
    try:
        prepared = ask(opened("llava"), "What?", True, chat=False, prefix="<image>")
    except BadInput as error:
        assert "prefix" in str(error)
    else:
        assert prepared.text == "What?<image>"


def test_raw_special_tokens_are_what_they_say(opened: Opened) -> None:
    prepared = ask(opened("llama"), "a</s>b", chat=False)
    assert [token.kind for token in prepared.tokens] == ["special", "text", "special", "text"]
    assert prepared.tokens[2].part == "prompt"


def test_a_model_without_a_template_is_asked_raw(opened: Opened) -> None:
    loaded = opened("llama")
    assert not has_chat_template(loaded.processor)
    prepared = ask(loaded, "What?", prefix=" It")
    assert prepared.text == "What? It"
    assert parts(prepared) == [("template", "<s>"), ("prompt", "What?"), ("prefix", " It")]


def test_a_model_with_pictures_and_without_a_template(opened: Opened) -> None:
    loaded = opened("llava")
    processor = with_template(loaded, None)
    assert not has_chat_template(processor)
    span = picture_span(processor)
    assert span is not None
    assert span.placeholder == "<image>"
    prepared = prepare(loaded.model, processor, Question(prompt="What?"), RED)
    assert prepared.text == "<image>What?"


# Templates of other kinds


def test_a_template_that_refuses_a_system_turn(opened: Opened) -> None:
    loaded = opened("llama")
    processor = with_template(
        loaded,
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system turn') }}{% endif %}"
        "{{ messages[0].content }}",
    )
    assert prepare(loaded.model, processor, Question(prompt="What?"), None).text == "What?"
    with pytest.raises(BadInput, match="No system turn"):
        prepare(loaded.model, processor, Question(prompt="What?", system="Be brief."), None)


def test_a_template_that_drops_the_system_turn_is_not_used_silently(opened: Opened) -> None:
    loaded = opened("llama")
    processor = with_template(
        loaded, "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(BadInput, match="system"):
        prepare(loaded.model, processor, Question(prompt="What?", system="Be brief."), None)


def test_a_template_that_drops_the_picture_is_not_used_silently(opened: Opened) -> None:
    loaded = opened("llava")
    processor = with_template(
        loaded,
        "{% for m in messages %}{% for part in m.content if part.type == 'text' %}"
        "{{ part.text }}{% endfor %}{% endfor %}",
    )
    try:
        prepared = prepare(loaded.model, processor, Question(prompt="What?"), RED)
    except BadInput:
        return
    assert sum(token.kind == "image" for token in prepared.tokens) == 9


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ 'USER: ' + m['content'] }}{% endfor %} ASSISTANT:",
        "{% for m in messages %}USER: {{ m['content'] }}{% endfor %} ASSISTANT:",
    ],
    ids=["added", "printed"],
)
def test_a_template_that_takes_plain_strings_only(opened: Opened, template: str) -> None:
    """Common in older checkpoints; Python's notation of a list must never reach the model."""
    loaded = opened("llava")
    processor = with_template(loaded, template)
    for image in (None, RED):
        try:
            prepared = prepare(loaded.model, processor, Question(prompt="What?"), image)
        except BadInput:
            continue
        assert "{'type'" not in prepared.text
        assert ("prompt", "What?") in parts(prepared)
        assert sum(token.kind == "image" for token in prepared.tokens) == (9 if image else 0)


@pytest.mark.parametrize(
    "template", ["{{ messages[0].missing.deeper }}", "{% if %}", "{{ 1 / 0 }}"]
)
def test_a_broken_template_is_refused(opened: Opened, template: str) -> None:
    loaded = opened("llama")
    with pytest.raises(LenscopeError):
        prepare(loaded.model, with_template(loaded, template), Question(prompt="What?"), None)


# What cannot be asked


@pytest.mark.parametrize("prompt", ["", " ", "\n\t "])
def test_an_empty_prompt(opened: Opened, prompt: str) -> None:
    assert "empty" in refusal(opened("llava"), prompt)
    assert "empty" in refusal(opened("llava"), prompt, True, chat=False)


def test_twenty_thousand_words(opened: Opened) -> None:
    """Refused with both lengths, and without a word from the libraries on the terminal."""
    loaded = opened("llava")
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    ear, logger = Ear(), logging.getLogger("transformers")
    logger.addHandler(ear)
    try:
        line = refusal(loaded, "word " * 20_000, True)
    finally:
        logger.removeHandler(ear)
    limit = loaded.model.config.get_text_config().max_position_embeddings
    assert str(limit) in line
    length = len("<USER:") + 9 + len("\n") + 20_000 * len("word ") + len(" ASSISTANT:")
    assert str(length) in line
    assert said == []


def test_a_prompt_as_long_as_the_context_is_asked(opened: Opened) -> None:
    loaded = opened("llama")
    limit = loaded.model.config.max_position_embeddings
    assert len(ask(loaded, "x" * (limit - 1)).tokens) == limit
    refusal(loaded, "x" * limit)


def test_a_lone_surrogate_is_refused(opened: Opened) -> None:
    assert "Unicode" in refusal(opened("llama"), "\udcff")
    assert "Unicode" in refusal(opened("llama"), "a", system="\udcff")
    assert "Unicode" in refusal(opened("llama"), "a", prefix="\ud800")


def test_a_picture_for_a_model_that_takes_none(opened: Opened) -> None:
    assert refused(opened("llama"), "What?", True).remedies == (Remedy.NO_PICTURE,)


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (3, 3), (1, 600), (600, 1)])
def test_pictures_of_odd_shapes_work_or_are_refused(opened: Opened, size: tuple[int, int]) -> None:
    """Qwen2-VL refuses sides more than 200 to 1; a channel axis must never be guessed."""
    image = Image.new("RGB", size, (9, 9, 9))
    for name in ("llava", "qwen2_vl"):
        loaded = opened(name)
        try:
            prepared = prepare(loaded.model, loaded.processor, Question(prompt="What?"), image)
        except BadInput as error:
            assert name == "qwen2_vl"
            assert max(size) / min(size) > 200, error
        else:
            assert any(token.kind == "image" for token in prepared.tokens)
