"""Every way in which the weights of a checkpoint can differ from the model: said, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import load
from engine.errors import CannotLoad
from engine.models.headers import Stored, own_dtype, stored_in
from engine.models.weights_used import in_order
from engine.records import ModelCard
from tests.conftest import edit_json

Copied = Callable[[str], Path]
Weights = dict[str, torch.Tensor]
FILE = "model.safetensors"
Q = "model.layers.1.self_attn.q_proj"


def change(folder: Path, edit: Callable[[Weights], Any], file: str = FILE) -> None:
    weights = {name: value.clone() for name, value in load_file(folder / file).items()}
    edit(weights)
    save_file(weights, folder / file, {"format": "pt"})


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(CannotLoad) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def card(folder: Path, **options: Any) -> ModelCard:
    return load(folder, **options).card


def test_a_checkpoint_that_is_quite_the_model_has_no_notes(copied: Copied) -> None:
    assert card(copied("llama")).notes == ()
    assert card(copied("llava")).notes == ()


# Extra


@pytest.mark.parametrize(
    ("extra", "count", "first"),
    [
        ({f"{Q}.lora_A": (8, 16), f"{Q}.lora_B": (16, 8)}, 2, f"{Q}.lora_A"),
        ({"model.layers.4.mlp.up_proj.weight": (4, 4)}, 1, "model.layers.4.mlp.up_proj.weight"),
        ({"value_head.weight": (1, 16), "value_head.bias": (1,)}, 2, "value_head.bias"),
        ({f"{Q}.bias": (16,)}, 1, f"{Q}.bias"),
        ({"model.layers.11.a.weight": (1,), "model.layers.9.a.weight": (1,)}, 2, "model.layers.9"),
    ],
    ids=["lora", "layer", "head", "bias", "order"],
)
def test_weights_without_a_place_are_told(
    copied: Copied, extra: dict[str, tuple[int, ...]], count: int, first: str
) -> None:
    folder = copied("llama")
    own = len(load_file(folder / FILE))
    change(folder, lambda w: w.update({name: torch.ones(side) for name, side in extra.items()}))
    (note,) = card(folder).notes
    assert note.startswith(f"{count} weight")
    assert f"(first: {first}" in note
    assert FILE in note and f"{own} were read" in note


def test_more_layers_in_the_file_than_in_the_config(copied: Copied) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", num_hidden_layers=2)
    loaded = load(folder)
    assert len(loaded.lens.layers) == 2
    (note,) = loaded.card.notes
    assert "model.layers.2.input_layernorm.weight" in note


def test_what_transformers_lists_to_be_ignored_stays_silent(copied: Copied) -> None:
    """Old checkpoints keep the rotary frequencies of every layer."""
    folder = copied("llama")
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    change(folder, lambda w: w.update({name: torch.ones(4)}))
    assert card(folder).notes == ()


# Missing, of another shape


@pytest.mark.parametrize("tied", [False, True])
def test_a_missing_head(copied: Copied, tied: bool) -> None:
    folder = copied("llama")
    change(folder, lambda w: w.pop("lm_head.weight"))
    edit_json(folder / "config.json", tie_word_embeddings=tied)
    if tied:
        assert card(folder).notes == ()
    else:
        assert "1 of the model's weights are missing" in refusal(folder)


def test_another_shape_is_named_with_both(copied: Copied) -> None:
    folder = copied("llama")
    name = "model.embed_tokens.weight"
    rows, width = load_file(folder / FILE)[name].shape
    change(folder, lambda w: w.update({name: torch.zeros(rows + 24, width)}))
    line = refusal(folder)
    assert f"first: {name}, {rows + 24}x{width} in the file, {rows}x{width} by config.json" in line


# Tied against the file


def test_a_head_of_its_own_where_the_config_ties_it(copied: Copied) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", tie_word_embeddings=True)
    loaded = load(folder)
    (note,) = loaded.card.notes
    assert "ties lm_head.weight" in note and "as they are in the file" in note
    head = load_file(folder / FILE)["lm_head.weight"]
    assert torch.equal(loaded.model.lm_head.weight.detach(), head)


def test_a_second_loading_says_it_again(copied: Copied) -> None:
    """transformers says many things once a process."""
    folder = copied("llama")
    edit_json(folder / "config.json", tie_word_embeddings=True)
    assert card(folder).notes == card(folder).notes != ()


# Of another class


def test_a_class_that_transformers_does_not_have(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old names are known by what fits; what does not is refused before anything is allocated."""
    folder = copied("llama")
    edit_json(folder / "config.json", architectures=["LLaMAForCausalLM"])
    assert load(folder).card.class_name == "LlamaForCausalLM"
    change(folder, lambda w: [w.update({f"own.{name}": w.pop(name)}) for name in list(w)])
    from transformers import PreTrainedModel

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", None)
    line = refusal(folder)
    assert "LLaMAForCausalLM" in line and "converted" in line


# Other formats of numbers, scales


@pytest.mark.parametrize(
    ("names", "method"),
    [
        ({f"{Q}.weight_scale": (1,)}, None),
        ({f"{Q}.weight_scale_inv": (1, 1)}, None),
        ({f"{Q}.scales": (16, 1), f"{Q}.qzeros": (16, 1)}, None),
        ({f"{Q}.weight.absmax": (4,), f"{Q}.weight.quant_map": (16,)}, None),
        ({f"{Q}.SCB": (16,)}, None),
    ],
    ids=str,
)
def test_scales_that_nothing_applies_are_refused(
    copied: Copied, names: dict[str, tuple[int, ...]], method: str | None
) -> None:
    folder = copied("llama")
    change(folder, lambda w: w.update({name: torch.ones(side) for name, side in names.items()}))
    line = refusal(folder)
    assert f"{len(names)} scales in the checkpoint would not be applied" in line
    assert next(iter(names)) in line or sorted(names)[0] in line


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_weights_of_whole_numbers_are_refused(copied: Copied, dtype: torch.dtype) -> None:
    folder = copied("llama")
    change(folder, lambda w: w.update({f"{Q}.weight": w[f"{Q}.weight"].to(dtype)}))
    line = refusal(folder)
    assert "whole numbers" in line and f"{Q}.weight" in line


@pytest.mark.parametrize("method", ["exl9", "", None])
def test_a_quantisation_that_nobody_knows_is_refused(copied: Copied, method: str | None) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", quantization_config={"quant_method": method, "bits": 3})
    line = refusal(folder)
    assert "does not know" in line
    assert str(method or "which method") in line


@pytest.mark.parametrize("file_dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config_dtype", [None, "float32", "bfloat16"])
def test_the_dtype_is_the_configs_or_else_the_files(
    copied: Copied, file_dtype: torch.dtype, config_dtype: str | None
) -> None:
    folder = copied("llama")
    change(folder, lambda w: w.update({name: value.to(file_dtype) for name, value in w.items()}))
    edit_json(folder / "config.json", dtype=config_dtype)
    found = card(folder, device="cpu")
    wanted = config_dtype or str(file_dtype).removeprefix("torch.")
    assert found.dtype == ("float32" if wanted == "float16" else wanted)
    narrowed = file_dtype == torch.float32 and config_dtype == "bfloat16"
    assert len(found.notes) == narrowed
    if narrowed:
        assert "float32" in found.notes[0] and "bfloat16" in found.notes[0]
        assert card(folder, dtype="bfloat16").notes == ()  # the user said so


def test_most_of_the_numbers_decide() -> None:
    small = Stored(Path("x"), "norm", "F32", (8,))
    large = Stored(Path("x"), "weight", "BF16", (64, 64))
    packed = Stored(Path("x"), "packed", "U8", (640, 64))
    assert own_dtype([small, large, packed]) == "bfloat16"
    assert own_dtype([packed]) is None


# Twice


def shards(folder: Path, parts: list[Weights]) -> None:
    (folder / FILE).unlink()
    where = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file(part, folder / file, {"format": "pt"})
        where.update(dict.fromkeys(part, file))
    (folder / f"{FILE}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


@pytest.mark.parametrize("differs", [False, True])
def test_a_weight_in_two_shards(copied: Copied, differs: bool) -> None:
    folder = copied("llama")
    weights = load_file(folder / FILE)
    again = {f"{Q}.weight": weights[f"{Q}.weight"] + float(differs)}
    shards(folder, [weights, again])
    if differs:
        line = refusal(folder)
        assert "twice" in line and "model-00001-of-00002" in line
    else:
        assert card(folder).notes == ()


@pytest.mark.parametrize("differs", [False, True])
def test_a_weight_under_an_old_name_too(copied: Copied, differs: bool) -> None:
    """Names of older versions are renamed, and meet those that were saved since."""
    folder = copied("llava")

    def double(weights: Weights) -> None:
        name = next(each for each in weights if each.endswith("layers.1.mlp.up_proj.weight"))
        old = "language_model.model.layers.1.mlp.up_proj.weight"
        new = "model.language_model.layers.1.mlp.up_proj.weight"
        assert name in (old, new)
        weights[new if name == old else old] = weights[name] + float(differs)

    change(folder, double)
    if differs:
        assert "twice, with different numbers" in refusal(folder)
    else:
        assert card(folder).notes == ()


@pytest.mark.parametrize(
    "beside", ["model-00001-of-00002.safetensors", "consolidated.safetensors", "pytorch_model.bin"]
)
def test_a_second_set_of_weights_is_told(copied: Copied, beside: str) -> None:
    folder = copied("llama")
    (folder / beside).write_bytes((folder / FILE).read_bytes())
    (note,) = card(folder).notes
    assert FILE in note and beside in note and "not read" in note


def test_the_file_is_read_and_not_the_shards_beside_it(copied: Copied) -> None:
    folder = copied("llama")
    weights = load_file(folder / FILE)
    kept = (folder / FILE).read_bytes()
    shards(folder, [{name: value * 3 for name, value in weights.items()}])
    (folder / FILE).write_bytes(kept)
    loaded = load(folder)
    assert "model-00001-of-00001.safetensors" in loaded.card.notes[0]
    assert torch.equal(loaded.model.lm_head.weight.detach(), weights["lm_head.weight"])


@pytest.mark.parametrize("name", ["optimizer.pt", "training_args.bin", "rng_state.pth"])
def test_what_trainers_keep_is_no_second_set(copied: Copied, name: str) -> None:
    folder = copied("llama")
    (folder / name).write_bytes(b"\x80\x04.")
    assert card(folder).notes == ()


# The header


def test_the_header_tells_names_shapes_and_formats(tmp_path: Path) -> None:
    file = tmp_path / FILE
    save_file({"a": torch.zeros(2, 3, dtype=torch.bfloat16), "b": torch.zeros(4)}, file)
    found = {each.name: (each.format, each.shape, each.bytes) for each in stored_in([file])}
    assert found == {"a": ("BF16", (2, 3), 12), "b": ("F32", (4,), 16)}


def test_names_are_sorted_as_people_count() -> None:
    assert in_order(["x.10.a", "x.9.b", "x.9.a"]) == ["x.9.a", "x.9.b", "x.10.a"]
