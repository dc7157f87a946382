"""Checkpoints on disk with their real processors: loaded, proved, and asked with a picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from engine import load
from engine.asking.asking import Asking
from engine.errors import BadInput, CannotLoad
from engine.records import Picture, Question
from tests.folders import FOLDERS

NEEDS = {
    "cohere2_vision": "torchvision",
    "fuyu": "torchvision",
    "lfm2_vl": "torchvision",
    "llama4": "torchvision",
    "mistral3": "torchvision",
    "molmo2": "torchvision",
    "smolvlm": "num2words",
}
"""Families whose processor needs a package that Lenscope does not bring."""

UNREAD = {"vision-encoder-decoder-gpt2"}
"""Its image processor is not found beside a GPT-2 tokenizer: refused, not yet read."""


QUICK = {
    "llama", "gemma3", "qwen2_5_vl", "blip-2", "mllama", "pix2struct", "t5", "llava_next",
    "smolvlm",
}  # fmt: skip
"""Folders that differ in kind; the full set has them all."""


@pytest.mark.filterwarnings("ignore")  # the libraries' own, of their processors
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FOLDERS.keys() - UNREAD)
    ],
)
def test_a_folder_is_loaded_and_asked(name: str, tmp_path: Path, red_picture: Path) -> None:
    FOLDERS[name](tmp_path)
    package = NEEDS.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        if name == "fuyu":
            pytest.skip("without torchvision transformers' own processor fails on any picture")
        with pytest.raises(CannotLoad, match=package):
            load(tmp_path)
        return
    loaded = load(tmp_path)
    picture = Picture(str(red_picture)) if loaded.takes_pictures else None
    run = Asking(loaded, Question(prompt="What color?", picture=picture)).run()
    assert run.status == "done", run.error
    assert run.proof is not None and run.proof.passed
    assert len(run.rows) == len(loaded.lens.layers) + 1
    assert run.position == len(run.tokens) - 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["blip", "git"])
def test_the_answer_is_read_behind_the_prefix_not_behind_a_closing_token(
    name: str, tmp_path: Path, red_picture: Path
) -> None:
    """BERT's tokenizer closes every text with [SEP]."""
    FOLDERS[name](tmp_path)
    loaded = load(tmp_path)
    question = Question(prompt="What?", picture=Picture(str(red_picture)), prefix=" it is")
    run = Asking(loaded, question).run()
    assert run.status == "done", run.error
    assert run.tokens[-1].part == "prefix"
    assert run.tokens[-1].kind == "text"
    assert run.position == len(run.tokens) - 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["blip-2", "kosmos-2", "pix2struct"])
def test_a_model_that_needs_its_picture_says_so(name: str, tmp_path: Path) -> None:
    FOLDERS[name](tmp_path)
    with pytest.raises(BadInput, match="without a picture"):
        Asking(load(tmp_path), Question(prompt="What?")).run()
