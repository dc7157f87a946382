"""What libraries warn of, provoked for real where it can be: what concerns the truth is told."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine import load
from engine.models.loading import probe_inputs
from engine.system.library_warnings import Heard
from engine.system.quiet import listening, quiet
from tests.conftest import edit_json

Copied = Callable[[str], Path]


def told(message: str) -> tuple[str, ...]:
    heard = Heard()
    heard.add(message)
    return heard.notes()


# Provoked


def test_a_tie_that_the_file_contradicts(copied: Copied) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", tie_word_embeddings=True)
    assert any("ties" in note for note in load(folder).card.notes)


def test_settings_of_rotary_positions_that_are_passed_over(copied: Copied) -> None:
    folder = copied("llama")
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "no_such_setting": 3}
    edit_json(folder / "config.json", rope_parameters=rope)
    (note,) = load(folder).card.notes
    assert "rotary" in note and "no_such_setting" in note


def test_sliding_windows_are_there_whatever_is_warned_of(copied: Copied) -> None:
    logits = []
    folder = copied("qwen2_vl")
    for width in (2, 4096):
        content = json.loads((folder / "config.json").read_text())
        windows = {"use_sliding_window": True, "sliding_window": width, "max_window_layers": 0}
        content["text_config"] |= windows
        content["text_config"].pop("layer_types", None)
        (folder / "config.json").write_text(json.dumps(content))
        loaded = load(folder)
        assert loaded.card.notes == ()
        with torch.no_grad():
            logits.append(loaded.model(**probe_inputs(loaded.model, loaded.processor)).logits)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_logs_and_warnings_are_heard_and_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with listening() as heard:
        logging.getLogger("transformers.anything").warning("The key 'x' will be ignored.")
        logging.getLogger("accelerate.anything").warning("y: unexpected results may be met")
        warnings.warn("z is not used", stacklevel=1)
        logging.getLogger("transformers.anything").info("w is not used")
    assert capfd.readouterr() == ("", "")
    assert [note.removeprefix("a library says: ") for note in heard.notes()] == [
        "The key 'x' will be ignored.",
        "y: unexpected results may be met",
        "z is not used",
    ]


def test_loggers_are_as_before() -> None:
    from transformers.utils import logging as transformers_logging

    logger = transformers_logging.get_logger("transformers")
    before = (logger.level, logger.propagate, logger.handlers[:])
    with quiet(), listening():
        assert logger.handlers != before[2]
    assert (logger.level, logger.propagate, logger.handlers) == before


# Their words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "The tied weights mapping and config for this model specifies to tie a.weight to "
            "b.weight, but both are present in the checkpoints with different values, so we will "
            "NOT tie them.",
            "ties b.weight to a.weight",
        ),
        (
            "The tokenizer you are loading from 'x' with an incorrect regex pattern: https://y. "
            "This will lead to incorrect tokenization.",
            "wrong pattern",
        ),
        (
            "You are using a model of type `a` to instantiate a model of type `b`. This may be "
            "expected",
            "of a a model, and a b is run",
        ),
        (
            "MatMul8bitLt: inputs will be cast from torch.bfloat16 to float16 during quantization",
            "compute in float16, the others in bfloat16",
        ),
        (
            "Last layer must use `full_attention`, but got `sliding_attention`. Forcing",
            "sliding_attention is replaced",
        ),
        ("Keyword argument `size` is not a valid argument and will be ignored.", "`size`"),
        ("Some new thing fell\n back: weights are newly initialized", "newly initialized"),
    ],
)
def test_what_concerns_the_truth(message: str, words: str) -> None:
    (note,) = told(message)
    assert words in note and "\n" not in note


@pytest.mark.parametrize(
    "message",
    [
        "`torch_dtype` is deprecated! Use `dtype` instead!",
        "Using a slow image processor, which is not used any more.",
        "The fast path is not available because kernels are unused.",
        "The following generation flags are not valid and may be ignored: ['temperature'].",
        "Some parameters are on the meta device because they were offloaded to the disk.",
        "LlavaForConditionalGeneration LOAD REPORT from: x a | UNEXPECTED | not used",
        "Unauthenticated requests to the HF Hub will be ignored sometimes: set HF_TOKEN",
    ],
)
def test_what_does_not(message: str) -> None:
    assert told(message) == ()


def test_what_is_said_twice_is_told_once() -> None:
    heard = Heard()
    for _ in range(3):
        heard.add("x will be ignored")
    assert len(heard.notes()) == 1
