"""The two models of the study: rows, tokens, processors and templates as published, weights random.

llava-hf/llava-1.5-7b-hf has 32 layers, Qwen/Qwen2-VL-2B-Instruct 28 (the study says 24)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image

from engine.asking.asking import Asking
from engine.lens.lens import Lens
from engine.models.loading import LoadedModel
from engine.prompts.preparing import prepare
from engine.prompts.processors import load_processor, picture_half
from engine.records import ModelCard, Picture, Question, Run
from tests import study_models
from tests.study_models import LLAVA_NAME, QWEN_NAME

Folder = Callable[[str], Path]
PROMPTS = ("Color of the main object:", pytest.param("Place:", marks=pytest.mark.slow))
SIZES = [(640, 427), (480, 320), (300, 500), (336, 336), (56, 56), (1, 1), (1500, 40)]
"""COCO, CLEVR, upright, square, and extreme pictures: width, height."""


@pytest.fixture
def llava(studied: Callable[[str], LoadedModel]) -> LoadedModel:
    return studied(LLAVA_NAME)


@pytest.fixture
def qwen(studied: Callable[[str], LoadedModel]) -> LoadedModel:
    return studied(QWEN_NAME)


def picture(folder: Path, width: int, height: int) -> Path:
    path = folder / f"{width}x{height}.png"
    Image.effect_noise((width, height), 90).convert("RGB").save(path)
    return path


def images(run: Run) -> int:
    return sum(token.kind == "image" for token in run.tokens)


def test_torchvision_is_absent_here() -> None:
    """Else the tests below would not show that it is not needed."""
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("torchvision is installed")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_llava_has_33_rows_and_576_image_tokens(
    llava: LoadedModel, tmp_path: Path, prompt: str
) -> None:
    assert type(llava.processor).__name__ == "LlavaProcessor"
    assert type(llava.processor.image_processor).__name__.startswith("CLIPImageProcessor")
    for width, height in SIZES:
        asked = Question(prompt=prompt, picture=Picture(str(picture(tmp_path, width, height))))
        run = Asking(llava, asked).run()
        assert run.status == "done", run.error
        assert len(run.rows) == 33
        assert images(run) == 576 == (336 // 14) ** 2
        assert {token.id for token in run.tokens if token.kind == "image"} == {32000}
        assert run.question.text == f"USER: <image>\n{prompt} ASSISTANT:"
        assert [token.id for token in run.tokens].count(1) == 1  # one <s>


def smart_resize(height: int, width: int) -> tuple[int, int]:
    """The published rule (Qwen2-VL, "naive dynamic resolution"): multiples of 28, the area within
    [min_pixels, max_pixels], the aspect kept as well as that allows."""
    side, least, most = 28, 3136, 12845056
    rows, columns = max(side, round(height / side) * side), max(side, round(width / side) * side)
    if rows * columns > most:
        shrink = (height * width / most) ** 0.5
        rows = max(side, int(height / shrink / side) * side)
        columns = max(side, int(width / shrink / side) * side)
    elif rows * columns < least:
        grow = (least / (height * width)) ** 0.5
        rows = -int(-height * grow // side) * side
        columns = -int(-width * grow // side) * side
    return rows, columns


@pytest.mark.parametrize("prompt", PROMPTS)
def test_qwen_has_29_rows_and_a_token_per_28_pixels_square(
    qwen: LoadedModel, tmp_path: Path, prompt: str
) -> None:
    assert type(qwen.processor).__name__ == "Qwen2VLProcessor"
    for width, height in SIZES:
        asked = Question(prompt=prompt, picture=Picture(str(picture(tmp_path, width, height))))
        asking = Asking(qwen, asked)
        run = asking.run()
        assert run.status == "done", run.error
        assert len(run.rows) == 29
        rows, columns = smart_resize(height, width)
        _, high, wide = asking.prepared.inputs["image_grid_thw"][0].tolist()  # type: ignore[union-attr]
        assert (high, wide) == (rows // 14, columns // 14)
        assert images(run) == high * wide // 4 == (high // 2) * (wide // 2)
        assert {token.id for token in run.tokens if token.kind == "image"} == {151655}
        assert run.question.text == (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
            f"<|vision_start|><|image_pad|><|vision_end|>{prompt}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )


def test_the_cells_of_a_coco_picture(qwen: LoadedModel, tmp_path: Path) -> None:
    image = Image.open(picture(tmp_path, 640, 427))
    inputs = prepare(qwen.model, qwen.processor, Question("Place:"), image).inputs
    assert inputs["image_grid_thw"].tolist() == [[1, 30, 46]]
    assert int((inputs["input_ids"] == 151655).sum()) == 15 * 23


def test_the_assembled_processor_is_the_full_one_less_its_video_half(
    study: Folder, tmp_path: Path
) -> None:
    """Token for token and pixel for pixel; torchvision is needed for the full one. With Pillow's
    image processor, which serves where torchvision is absent, the same tokens and grid, and pixels
    that another library has resized."""
    pytest.importorskip("torchvision")
    from transformers import Qwen2VLImageProcessorPil, Qwen2VLProcessor

    folder = study(QWEN_NAME)
    full = Qwen2VLProcessor.from_pretrained(folder)
    half = picture_half(Qwen2VLProcessor).from_pretrained(folder)
    pillow = picture_half(Qwen2VLProcessor).from_pretrained(folder)
    pillow.image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
    for width, height in SIZES:
        image = Image.open(picture(tmp_path, width, height))
        text = ["<|vision_start|><|image_pad|><|vision_end|>Color of the main object:"]
        wanted = full(text=text, images=[image], return_tensors="pt")
        given = half(text=text, images=[image], return_tensors="pt")
        assert set(given) == set(wanted)
        for key in wanted:
            assert torch.equal(given[key], wanted[key]), key
        resized = pillow(text=text, images=[image], return_tensors="pt")
        for key in set(wanted) - {"pixel_values"}:
            assert torch.equal(resized[key], wanted[key]), key
        gap = (resized["pixel_values"] - wanted["pixel_values"]).abs().mean()
        assert float(gap) < 2 / 255 / min(study_models.CLIP_STD)


def test_words_with_and_without_a_leading_space_are_told_apart(
    llava: LoadedModel, qwen: LoadedModel
) -> None:
    from engine.prompts.token_texts import texts_for

    for loaded, space in ((llava, "▁"), (qwen, "Ġ")):
        tokenizer = loaded.processor.tokenizer
        with_space = tokenizer.convert_tokens_to_ids(space + "cube")
        without = tokenizer.convert_tokens_to_ids("cube")
        text_of = texts_for(loaded.model)
        assert with_space != without
        assert (text_of(with_space), text_of(without)) == (" cube", "cube")


# Real sizes


@pytest.fixture
def all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


def ask_full_size(model: Any, processor: Any, name: str, question: Question) -> Run:
    """One question in bfloat16, learned and proved on a small picture as when loading."""
    from engine.models.loading import probe_inputs
    from engine.prompts.token_texts import remember_tokenizer

    remember_tokenizer(model, processor.tokenizer)
    lens = Lens(model)
    lens.learn(probe_inputs(model, processor))
    assert lens.model_parts.proof.passed
    card = ModelCard(name, None, type(model).__name__, "bfloat16", "cpu")
    return Asking(LoadedModel(model, processor, name, card, lens), question).run()


def proved(run: Run, rows: int) -> None:
    assert run.status == "done", run.error
    assert len(run.rows) == rows
    assert run.proof is not None and run.proof.passed
    assert len({row.top[0].id for row in run.rows}) > 1
    for row in run.rows:
        assert row.top[0].probability > 0


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_qwen2_vl_2b_in_bfloat16(tmp_path: Path) -> None:
    """2.2 billion parameters; about 5 GB and two minutes on two cores."""
    from transformers import Qwen2VLForConditionalGeneration

    if psutil.virtual_memory().available < 8e9:
        pytest.skip("needs 8 GB of free memory")
    config = study_models.qwen_config(full_size=True)
    model = study_models.random_model(Qwen2VLForConditionalGeneration, config, torch.bfloat16)
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_208_985_600
    study_models.save_qwen_processor(tmp_path)
    processor = load_processor_of(tmp_path, model)
    question = Question(
        prompt="Color of the main object:", picture=Picture(str(picture(tmp_path, 280, 224)))
    )
    run = ask_full_size(model, processor, QWEN_NAME, question)
    proved(run, 29)
    assert images(run) == 8 * 10


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_llava_1_5_7b_in_bfloat16(tmp_path: Path) -> None:
    """7.1 billion parameters; about 15 GB."""
    from transformers import LlavaForConditionalGeneration

    if psutil.virtual_memory().available < 18e9:
        pytest.skip("needs 18 GB of free memory")
    config = study_models.llava_config(full_size=True)
    model = study_models.random_model(LlavaForConditionalGeneration, config, torch.bfloat16)
    study_models.save_llava_processor(tmp_path)
    processor = load_processor_of(tmp_path, model)
    question = Question(prompt="Place:", picture=Picture(str(picture(tmp_path, 640, 427))))
    run = ask_full_size(model, processor, LLAVA_NAME, question)
    proved(run, 33)
    assert images(run) == 576


def load_processor_of(folder: Path, model: Any) -> Any:
    model.config.save_pretrained(folder)
    return load_processor(folder, model)[0]
