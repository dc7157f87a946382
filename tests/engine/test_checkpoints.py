"""Folders as people have them: what is understood, and the line for what is not a model here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import load
from engine.errors import BadInput, CannotLoad, LenscopeError, Remedy
from engine.events import LoadOptions
from engine.models.checkpoints import local_checkpoint
from engine.models.loading import LoadedModel
from tests.conftest import edit_json

Copied = Callable[[str], Path]
FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0a' * 32}\nsize 4978912\n"
ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "org/base-model", "r": 4}


def refused(folder: Path | str, **options: Any) -> LenscopeError:
    """How a folder is refused before torch is imported: in one line that names it."""
    with pytest.raises(LenscopeError) as caught:
        local_checkpoint(LoadOptions(model=str(folder), **options))
    line = str(caught.value)
    assert "\n" not in line
    assert str(folder) in line
    return caught.value


def refusal(folder: Path | str, **options: Any) -> str:
    return str(refused(folder, **options))


def notes(folder: Path, **options: Any) -> tuple[str, ...]:
    found = local_checkpoint(LoadOptions(model=str(folder), **options))
    assert found is not None
    return found.notes


def put_adapter(folder: Path, weights: bool = True) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    if weights:
        save_file(
            {"base_model.model.x.lora_A.weight": torch.ones(1, 1)},
            folder / "adapter_model.safetensors",
        )


def test_it_is_done_without_torch(copied: Copied) -> None:
    code = (
        "import sys; from engine.events import LoadOptions;"
        "from engine.models.checkpoints import local_checkpoint as check;"
        f"assert check(LoadOptions(model={str(copied('llava'))!r})).notes == ();"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Folders above the model


def test_the_newest_checkpoint_of_a_trainer(copied: Copied, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for step in (500, 1500, 1000):
        copied("llama").rename(out / f"checkpoint-{step}")
    found = local_checkpoint(LoadOptions(model=str(out)))
    assert found is not None and found.folder.name == "checkpoint-1500"
    assert found.notes == ("checkpoint-1500, the newest of 3 in out",)
    loaded = load(out)
    assert loaded.card.name == str(out)
    assert loaded.card.weights == load(found.folder).card.weights != ""
    assert loaded.card.notes == found.notes


@pytest.mark.parametrize("below", ["", "snapshots"])
@pytest.mark.parametrize("with_ref", [False, True])
def test_a_folder_of_the_hubs_cache(
    copied: Copied, tmp_path: Path, below: str, with_ref: bool
) -> None:
    cached = tmp_path / "models--org--tiny"
    for commit in ("a" * 40, "b" * 40):
        (cached / "snapshots").mkdir(parents=True, exist_ok=True)
        copied("llama").rename(cached / "snapshots" / commit)
    os.utime(cached / "snapshots" / ("b" * 40), (1, 1))
    if with_ref:
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("b" * 40)
    found = local_checkpoint(LoadOptions(model=str(cached / below)))
    assert found is not None
    assert found.folder.name == ("b" if with_ref else "a") * 40
    assert "snapshot" in found.notes[0] and "of 2" in found.notes[0]


def test_what_lies_below_is_listed(copied: Copied, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "models--org--tiny" / "snapshots" / "c").mkdir(parents=True)
    assert "a cache of the hub" in refusal(above) and "org/tiny" in refusal(above)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("first", "second"):
        copied("llama").rename(other / name)
    assert "name one: first, second" in refusal(other)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("params.json", "authors' own code"),
        ("model_index.json", "diffusers"),
        ("x.txt", "config.json"),
    ],
)
def test_what_a_folder_is_instead(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / file).write_text("{}")
    assert words in refusal(tmp_path)


# Weights


def shards(folder: Path, count: int = 3) -> None:
    weights = load_file(folder / FILE)
    (folder / FILE).unlink()
    names = sorted(weights)
    where = {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {name: weights[name] for name in names[number::count]}
        save_file(part, folder / file, {"format": "pt"})
        where.update(dict.fromkeys(part, file))
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


@pytest.mark.parametrize("gone", [0, 1])
def test_shards_without_their_index(copied: Copied, gone: int) -> None:
    folder = copied("llama")
    shards(folder)
    assert notes(folder) == ()
    (folder / INDEX).unlink()
    for shard in sorted(folder.glob("*.safetensors"))[:gone]:
        shard.unlink()
    line = refusal(folder)
    assert f"({INDEX}) is missing" in line
    assert ("1 of the 3 files" in line) == bool(gone)


def test_shards_that_are_not_there(copied: Copied) -> None:
    folder = copied("llama")
    shards(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "1 of the 3 files" in refusal(folder)
    assert "model-00002-of-00003.safetensors" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "damaged"),
        ("{", "damaged"),
        ('{"metadata": {}, "weight_map": {}}', "names no file"),
        ('{"weight_map": {"a": "model.bin"}}', "metadata"),
        ('{"metadata": {}, "weight_map": {"a": "../other.safetensors"}}', "outside of the folder"),
        ('{"metadata": {}, "weight_map": {"a": "/dev/zero"}}', "outside"),
    ],
)
def test_an_index_that_cannot_be_used(copied: Copied, content: str, words: str) -> None:
    folder = copied("llama")
    (folder / FILE).unlink()
    (folder / INDEX).write_text(content)
    assert words in refusal(folder)


@pytest.mark.parametrize("name", ["consolidated.safetensors", "weights.safetensors"])
def test_weights_of_another_name(copied: Copied, name: str) -> None:
    folder = copied("llama")
    (folder / FILE).rename(folder / name)
    line = refusal(folder)
    assert f"looked for in {FILE}" in line and name in line


@pytest.mark.parametrize(
    ("name", "words"),
    [("model.Q4_K_M.gguf", "llama.cpp"), ("model.onnx", "ONNX"), ("tf_model.h5", "TensorFlow")],
)
def test_weights_of_another_format(copied: Copied, name: str, words: str) -> None:
    folder = copied("llama")
    (folder / FILE).rename(folder / name)
    assert words in refusal(folder) and name in refusal(folder)


def test_pickled_weights_of_another_name(copied: Copied) -> None:
    folder = copied("llama")
    (folder / FILE).rename(folder / "consolidated.00.pth")
    assert Remedy.ALLOW_PICKLE in refused(folder).remedies
    assert "pytorch_model.bin" in refusal(folder, allow_pickle=True)


@pytest.mark.parametrize("file", [FILE, "tokenizer.json", "config.json", "processor_config.json"])
def test_a_clone_without_git_lfs(copied: Copied, file: str) -> None:
    folder = copied("llava")
    (folder / file).write_text(POINTER)
    line = refusal(folder)
    assert line.startswith(f"{file}: a Git LFS pointer") and "`git lfs pull`" in line


def test_shards_of_a_clone_without_git_lfs(copied: Copied) -> None:
    folder = copied("llama")
    shards(folder)
    for shard in folder.glob("*.safetensors"):
        shard.write_text(POINTER)
    assert "and 2 more: a Git LFS pointer" in refusal(folder)


@pytest.mark.parametrize(
    "packed",
    [
        {"quantization": {"group_size": 64, "bits": 4}},
        {"quantization_config": {"group_size": 32, "bits": 8, "mode": "affine"}},
    ],
)
def test_weights_packed_by_mlx(copied: Copied, packed: dict[str, Any]) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", **packed)
    assert "by MLX" in refusal(folder)


@pytest.mark.parametrize("model_type", ["llava", "llava_qwen", "llava_mistral"])
def test_llavas_own_format(copied: Copied, model_type: str) -> None:
    folder = copied("llama")
    edit_json(
        folder / "config.json",
        architectures=["LlavaLlamaForCausalLM"],
        model_type=model_type,
        mm_vision_tower="openai/clip-vit-large-patch14-336",
    )
    line = refusal(folder)
    assert "LLaVA's own code (LlavaLlamaForCausalLM)" in line and "llava-hf" in line


# Adapters


@pytest.mark.parametrize("with_config", [False, True])
def test_an_adapter_without_its_model(copied: Copied, with_config: bool) -> None:
    folder = copied("llama")
    (folder / FILE).unlink()
    if not with_config:
        (folder / "config.json").unlink()
    put_adapter(folder)
    error = refused(folder)
    assert isinstance(error, CannotLoad)
    assert "an adapter (LORA) of org/base-model" in str(error)
    assert error.remedies == (Remedy.LOAD_MODEL, Remedy.WITH_ADAPTER)


def test_a_model_and_an_adapter_in_one_folder(copied: Copied) -> None:
    folder = copied("llama")
    put_adapter(folder)
    error = refused(folder)
    assert isinstance(error, BadInput)
    assert error.remedies == (Remedy.WITH_ADAPTER, Remedy.NO_ADAPTER)
    assert "left out" in notes(folder, no_adapter=True)[0]
    found = local_checkpoint(LoadOptions(model=str(folder), adapter=str(folder)))
    assert found is not None and found.adapter is not None and found.notes == ()


def make_adapter(folder: Path, flaw: str) -> None:
    """An adapter's folder with a flaw."""
    if flaw == "missing":
        return
    folder.mkdir()
    if flaw == "empty":
        return
    put_adapter(folder, weights=flaw == "prompt tuning")
    if flaw == "damaged":
        (folder / "adapter_config.json").write_text("{")
    if flaw == "prompt tuning":
        edit_json(folder / "adapter_config.json", peft_type="PROMPT_TUNING")
    if flaw == "pickled":
        (folder / "adapter_model.bin").write_bytes(b"\x80")


@pytest.mark.parametrize(
    ("flaw", "kind", "words"),
    [
        ("missing", BadInput, "no such folder"),
        ("empty", BadInput, "no adapter here"),
        ("no weights", CannotLoad, "not there"),
        ("damaged", CannotLoad, "damaged"),
        ("prompt tuning", CannotLoad, "no token"),
        ("pickled", CannotLoad, "pickled"),
    ],
)
def test_what_is_no_adapter(
    copied: Copied, tmp_path: Path, flaw: str, kind: type[LenscopeError], words: str
) -> None:
    adapter = tmp_path / "adapter"
    make_adapter(adapter, flaw)
    error = refused(copied("llama"), adapter=str(adapter))
    assert isinstance(error, kind)
    assert words in str(error) and str(adapter) in str(error)


# Processors and tokenizers


def test_a_checkpoint_without_its_processor(copied: Copied, red_picture: Path) -> None:
    """As many trainers save it: asked without a picture, and it says why."""
    folder = copied("llava")
    (folder / "processor_config.json").unlink()
    loaded = load(folder)
    assert not loaded.takes_pictures
    assert "preprocessor_config.json" in loaded.card.notes[0]
    assert loaded.ask("What?").run.status == "done"
    with pytest.raises(BadInput, match=r"copy preprocessor_config\.json"):
        loaded.ask("What?", red_picture)


@pytest.mark.parametrize("split", [False, True])
def test_a_processor_of_an_older_version(copied: Copied, red_picture: Path, split: bool) -> None:
    folder = copied("llava")
    file = folder / "processor_config.json"
    content = json.loads(file.read_text())
    whole = load(folder).ask("What?", red_picture).run
    for name in ("num_additional_image_tokens", "patch_size", "vision_feature_select_strategy"):
        content.pop(name)
    if split:
        (folder / "preprocessor_config.json").write_text(json.dumps(content.pop("image_processor")))
    file.write_text(json.dumps(content))
    loaded = load(folder)
    assert loaded.ask("What?", red_picture).run.tokens == whole.tokens
    assert all("older version" in note for note in loaded.card.notes)


def test_a_token_that_the_embedding_has_no_row_for(
    copied: Copied, opened: Callable[[str], LoadedModel]
) -> None:
    folder = copied("llama")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    rows = opened("llama").model.get_input_embeddings().num_embeddings
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    first = len(opened("llama").processor)
    content["added_tokens"] += [
        token | {"id": number, "content": f"<{number}>", "special": False}
        for number in range(first, rows)
    ]
    content["added_tokens"].append(token | {"id": rows, "content": "zebra", "special": False})
    file.write_text(json.dumps(content))
    loaded = load(folder)
    assert loaded.ask("What?").run.status == "done"
    with pytest.raises(BadInput, match=rf"token {rows} \('zebra'\), and the model has {rows}"):
        loaded.ask("a zebra")
