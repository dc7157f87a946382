"""Adapters of the real peft: put on, left out, or refused; what runs is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import load
from engine.errors import BadInput, CannotLoad, Remedy
from engine.lens.check import check_rows
from engine.models.loading import LoadedModel, probe_inputs

Copied = Callable[[str], Path]
Opened = Callable[[str], LoadedModel]
TARGETS = ["q_proj", "v_proj", "up_proj"]


@pytest.fixture(scope="module", autouse=True)
def with_peft() -> None:
    """Import the library, five seconds, where its tests run, not wherever they are collected."""
    pytest.importorskip("peft")


def train_adapter(base: Path, folder: Path, **settings: Any) -> Any:
    """An adapter as peft saves it after training; returns the model with it, as peft runs it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    llava = AutoConfig.from_pretrained(base).model_type == "llava"
    auto = AutoModelForImageTextToText if llava else AutoModelForCausalLM
    model = auto.from_pretrained(base)
    given = {"r": 4, "lora_alpha": 32, "target_modules": TARGETS} | settings
    adapted = get_peft_model(model, LoraConfig(**given))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    adapted.save_pretrained(folder)
    return adapted.eval()


@pytest.mark.parametrize("name", ["llama", "llava"])
@pytest.mark.parametrize(
    "settings", [{}, {"modules_to_save": ["lm_head"]}, {"use_dora": True}], ids=str
)
def test_the_rows_are_those_of_peft(
    copied: Copied, opened: Opened, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    base = copied(name)
    adapted = train_adapter(base, tmp_path / "adapter", **settings)
    loaded = load(base, adapter=tmp_path / "adapter")
    inputs = probe_inputs(loaded.model, loaded.processor)
    with torch.no_grad():
        wanted, plain = adapted(**inputs).logits, opened(name).model(**inputs).logits
        own = loaded.model(**inputs).logits
    assert torch.allclose(own, wanted, atol=1e-5)
    assert not torch.allclose(own, plain, atol=1e-2)
    assert all(check.right for check in check_rows(loaded.lens, inputs))
    assert loaded.card.adapter == str(tmp_path / "adapter")
    assert loaded.card.weights not in ("", opened(name).card.weights)
    (note,) = loaded.card.notes
    assert note.startswith("with the adapter adapter (LORA")
    run = loaded.ask("What?").run
    assert run.question.model is not None and run.question.model.notes == loaded.card.notes


def test_names_of_an_older_version_are_understood(copied: Copied, tmp_path: Path) -> None:
    base, folder = copied("llava"), tmp_path / "adapter"
    train_adapter(base, folder)
    loaded = load(base, adapter=folder)
    file = folder / "adapter_model.safetensors"
    weights = {
        name.replace("model.language_model.layers", "language_model.model.layers"): value
        for name, value in load_file(file).items()
    }
    save_file(weights, file, {"format": "pt"})
    again = load(base, adapter=folder)
    inputs = probe_inputs(loaded.model, loaded.processor)
    with torch.no_grad():
        assert torch.equal(loaded.model(**inputs).logits, again.model(**inputs).logits)


def test_an_adapter_beside_its_base_is_never_chosen_in_silence(
    copied: Copied, opened: Opened
) -> None:
    """With peft installed, transformers would put it on, and without pass over it."""
    folder = copied("llama")
    train_adapter(folder, folder)
    with pytest.raises(BadInput) as caught:
        load(folder)
    assert caught.value.remedies == (Remedy.WITH_ADAPTER, Remedy.NO_ADAPTER)
    inputs = probe_inputs(opened("llama").model, opened("llama").processor)
    without, with_it = load(folder, no_adapter=True), load(folder, adapter=folder)
    with torch.no_grad():
        plain = opened("llama").model(**inputs).logits
        assert torch.equal(without.model(**inputs).logits, plain)
        assert not torch.allclose(with_it.model(**inputs).logits, plain, atol=1e-2)
    assert "left out" in without.card.notes[0] and without.card.adapter is None
    assert "with the adapter" in with_it.card.notes[0]


def test_an_adapter_of_another_model(copied: Copied, tmp_path: Path) -> None:
    train_adapter(copied("llama"), tmp_path / "adapter")
    with pytest.raises(CannotLoad, match="adapter"):
        load(copied("llava"), adapter=tmp_path / "adapter")


@pytest.mark.parametrize("kind", ["missing", "of another shape", "no part"])
def test_weights_of_an_adapter_that_do_not_fit(copied: Copied, tmp_path: Path, kind: str) -> None:
    base = copied("llama")
    train_adapter(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(each for each in weights if "layers.1" in each and "lora_A" in each)
    if kind == "missing":
        del weights[name]
    elif kind == "of another shape":
        weights[name] = torch.ones(3, 3)
    else:
        weights[name.replace("layers.1", "layers.77")] = weights[name].clone()
    save_file(weights, file, {"format": "pt"})
    if kind == "no part":
        told = load(base, adapter=tmp_path / "adapter").card.notes[1]
        assert "1 weight of the adapter" in told and "layers.77" in told
        return
    with pytest.raises(CannotLoad, match=kind) as caught:
        load(base, adapter=tmp_path / "adapter")
    assert "layers.1" in str(caught.value)


def test_without_peft_it_is_named(
    copied: Copied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = copied("llama")
    train_adapter(base, tmp_path / "adapter")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CannotLoad, match=r"pip install 'lenscope\[adapters\]'"):
        load(base, adapter=tmp_path / "adapter")
