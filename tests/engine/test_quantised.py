"""Real quantised checkpoints: loaded with their scales, proved, and without a note."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import load
from engine.errors import CannotLoad
from engine.lens.check import check_rows
from engine.models.loading import LoadedModel, probe_inputs
from tests.conftest import edit_json

pytestmark = pytest.mark.slow

Copied = Callable[[str], Path]
Opened = Callable[[str], LoadedModel]
FILE = "model.safetensors"


def packed_to_int8(folder: Path) -> None:
    """As compressed-tensors stores eight bits a number: whole numbers, and a scale for each row."""
    weights = load_file(folder / FILE)
    for name in [each for each in weights if each.endswith("_proj.weight")]:
        value = weights[name]
        scale = value.abs().amax(1, keepdim=True) / 127
        weights[name] = (value / scale).round().to(torch.int8)
        weights[f"{name}_scale"] = scale
    save_file(weights, folder / FILE, {"format": "pt"})
    by_rows = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
    by_token = by_rows | {"strategy": "token", "dynamic": True}
    groups = {"targets": ["Linear"], "weights": by_rows, "input_activations": by_token}
    edit_json(
        folder / "config.json",
        quantization_config={
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "quantization_status": "compressed",
            "config_groups": {"group_0": groups},
            "ignore": ["lm_head"],
        },
    )


def test_compressed_tensors(copied: Copied, opened: Opened) -> None:
    pytest.importorskip("compressed_tensors")
    folder = copied("llama")
    packed_to_int8(folder)
    loaded = load(folder)
    assert loaded.card.notes == ()
    inputs = probe_inputs(loaded.model, loaded.processor)
    with torch.no_grad():
        whole, packed = (each.model(**inputs).logits for each in (opened("llama"), loaded))
    assert 0 < (whole - packed).abs().max() < 0.2 * whole.abs().max()
    assert all(check.right for check in check_rows(loaded.lens, inputs))


def test_the_same_weights_without_the_config_are_refused(copied: Copied) -> None:
    folder = copied("llama")
    packed_to_int8(folder)
    edit_json(folder / "config.json", quantization_config=None)
    with pytest.raises(CannotLoad, match="scales in the checkpoint would not be applied"):
        load(folder)


def test_without_the_package_it_is_named(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied("llama")
    packed_to_int8(folder)
    monkeypatch.setattr(
        "transformers.quantizers.quantizer_compressed_tensors.is_compressed_tensors_available",
        lambda: False,
    )
    with pytest.raises(CannotLoad, match="compressed-tensors"):
        load(folder)


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_bitsandbytes(copied: Copied, opened: Opened, tmp_path: Path, bits: str) -> None:
    pytest.importorskip("bitsandbytes")
    folder = copied("llama")
    quantised = load(folder, device="cpu", quantize=bits)
    quantised.model.save_pretrained(tmp_path / "saved")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "saved" / name).write_bytes((folder / name).read_bytes())
    loaded = load(tmp_path / "saved", device="cpu")
    assert loaded.card.notes == quantised.card.notes
    inputs = probe_inputs(loaded.model, loaded.processor)
    with torch.no_grad():
        first, again = (each.model(**inputs).logits for each in (quantised, loaded))
    assert torch.allclose(first.float(), again.float(), atol=1e-3)
