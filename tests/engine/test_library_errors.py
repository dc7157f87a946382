"""Errors of other libraries, provoked for real: our one module of their words still knows them.

TESTED names the versions with which that was done. With a newer one, run this module: if it passes
but for the list, add the version; if not, mend `engine.system.library_errors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import load
from engine.errors import CannotLoad
from engine.models.loading import LoadedModel
from engine.system.library_errors import (
    WEIGHTS_BAR,
    HubTrouble,
    first_other_shape,
    has_no_safetensors,
    hub_trouble,
    miscounts_picture,
    missing_package,
    needs_remote_code,
    needs_torchvision,
    not_in_json,
    says_out_of_memory,
    unknown_model_type,
)
from engine.system.memory import is_out_of_memory
from tests.engine.test_hub import go_offline, point_at
from tests.hub_server import Hub, serving

TESTED = {
    "torch": ("2.13",),
    "transformers": ("5.23",),
    "safetensors": ("0.8",),
    "huggingface_hub": ("2.4",),
    "peft": ("0.21",),
    "httpx2": ("2.16",),
}
"""Minor versions; those of httpx2 and huggingface_hub are what transformers brings."""

Saved = Callable[[str], Path]
MODEL = "someone/tiny-llama"


def provoked(act: Callable[[], object]) -> Exception:
    """What a library raises."""
    with pytest.raises(Exception) as caught:
        act()
    assert isinstance(caught.value, Exception)
    return caught.value


@pytest.mark.parametrize("library", TESTED)
def test_the_installed_version_is_one_that_was_tested(library: str) -> None:
    minor = ".".join(metadata.version(library).split(".")[:2])
    assert minor in TESTED[library]


# torch


def test_memory_that_runs_out() -> None:
    error = provoked(lambda: torch.empty(2**48))
    assert says_out_of_memory(error) and is_out_of_memory(error)
    assert says_out_of_memory(torch.OutOfMemoryError("of a device that is not here"))
    assert not says_out_of_memory(provoked(lambda: torch.ones(2, 3) @ torch.ones(2, 3)))


# transformers


def test_a_model_with_code_of_its_own(tmp_path: Path) -> None:
    from transformers import AutoConfig

    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    error = provoked(lambda: AutoConfig.from_pretrained(tmp_path, trust_remote_code=False))
    assert needs_remote_code(error)


def test_an_image_processor_without_torchvision() -> None:
    from transformers import LlavaOnevisionVideoProcessor

    with suppress(metadata.PackageNotFoundError):
        pytest.skip(f"torchvision {metadata.version('torchvision')} is installed")
    assert needs_torchvision(provoked(LlavaOnevisionVideoProcessor))


def test_weights_that_are_only_pickled(copied: Saved) -> None:
    from transformers import LlamaForCausalLM

    folder = copied("llama")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    error = provoked(lambda: LlamaForCausalLM.from_pretrained(folder, use_safetensors=True))
    assert has_no_safetensors(error)


def test_a_model_type_that_is_not_there(tmp_path: Path) -> None:
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "not_yet"}))
    error = provoked(lambda: AutoConfig.from_pretrained(tmp_path))
    assert unknown_model_type(error) == "not_yet"
    assert unknown_model_type(ValueError("model type")) is None


def test_a_package_that_is_not_there() -> None:
    error = provoked(lambda: import_module("no_such_package.part"))
    assert missing_package(error) == "no_such_package"
    words = "Loading an AWQ model requires gptqmodel. Please install it: `pip install gptqmodel`"
    assert missing_package(ImportError(words)) == "gptqmodel"
    assert missing_package(ImportError("cannot import name 'x'")) is None
    assert missing_package(ValueError("pip install x")) is None


@pytest.mark.parametrize("content", ["", "{", '{"version": "1.0", "model": {', "<html>"])
def test_what_is_no_json(copied: Saved, content: str) -> None:
    from transformers import AutoTokenizer

    folder = copied("llama")
    (folder / "tokenizer.json").write_text(content)
    assert not_in_json(provoked(lambda: AutoTokenizer.from_pretrained(folder)))
    assert not_in_json(provoked(lambda: json.loads(content)))
    with pytest.raises(CannotLoad, match=r"tokenizer\.json: damaged, it is not JSON"):
        load(folder)


def test_a_weight_of_another_shape() -> None:
    error = provoked(
        lambda: torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(4, 3).state_dict())
    )
    assert first_other_shape(error) == "first: weight, 3x4 in the file, 3x2 in the model"
    assert first_other_shape(RuntimeError("size")) is None


def test_an_unknown_error_is_whole_and_has_its_type(
    copied: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    words = "no such thing; " * 60

    def fail(*_: object, **__: object) -> None:
        raise ArithmeticError(words)

    monkeypatch.setattr(LlamaForCausalLM, "__init__", fail)
    with pytest.raises(CannotLoad) as caught:
        load(copied("llama"))
    assert str(caught.value).endswith(f"ArithmeticError: {words.strip()}")


def test_fewer_image_tokens_than_features(opened: Callable[[str], LoadedModel]) -> None:
    loaded = opened("llava")
    image = loaded.model.config.image_token_id
    ids = torch.tensor([[1, image, 2]])
    side = loaded.model.config.vision_config.image_size
    pixels = torch.zeros(1, 3, side, side)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert miscounts_picture(provoked(lambda: loaded.model(**inputs, pixel_values=pixels)))


def test_the_bar_over_the_weights(saved: Saved) -> None:
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    described: list[object] = []

    def told(factory: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        described.append(settings.get("desc"))
        return factory(*args, **settings, disable=True)

    before = logging.set_tqdm_hook(told)
    try:
        LlamaForCausalLM.from_pretrained(saved("llama"))
    finally:
        logging.set_tqdm_hook(before)
    assert WEIGHTS_BAR in described


# safetensors


def test_damaged_weights_mean_nothing_else(copied: Saved) -> None:
    from safetensors.torch import load_file

    file = copied("llama") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    error = provoked(lambda: load_file(file))
    for means in (says_out_of_memory, needs_remote_code, has_no_safetensors, miscounts_picture):
        assert not means(error)
    assert hub_trouble(error) is None


# huggingface_hub and httpx2


@pytest.fixture
def hub(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that holds the tiny Llama."""
    with serving(Hub({MODEL: saved("llama")})) as served:
        point_at(served, monkeypatch)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between its own tries
        yield served


def fetch(cache: Path, name: str = MODEL, **settings: Any) -> Exception:
    """What huggingface_hub raises where it is to bring a whole model."""
    from huggingface_hub import snapshot_download

    return provoked(lambda: snapshot_download(name, cache_dir=cache, **settings))


def test_a_gated_model(hub: Hub, tmp_path: Path) -> None:
    hub.gated.add(MODEL)
    assert hub_trouble(fetch(tmp_path)) is HubTrouble.GATED


def test_a_model_that_was_taken_down(hub: Hub, tmp_path: Path) -> None:
    hub.disabled.add(MODEL)
    assert hub_trouble(fetch(tmp_path)) is HubTrouble.DISABLED


def test_a_model_or_revision_that_the_hub_has_not(hub: Hub, tmp_path: Path) -> None:
    assert hub_trouble(fetch(tmp_path, "someone/else")) is HubTrouble.NO_SUCH_MODEL
    assert hub_trouble(fetch(tmp_path, revision="v9")) is HubTrouble.NO_SUCH_REVISION


def test_downloads_that_break_off_and_files_that_come_short(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = 0
    assert hub_trouble(fetch(tmp_path)) is HubTrouble.BROKE_OFF
    hub.cut_after, hub.short_by = None, 10
    assert hub_trouble(fetch(tmp_path / "other")) is HubTrouble.BROKE_OFF


def test_offline_with_nothing_or_a_part_in_the_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(MODEL, cache_dir=tmp_path, allow_patterns=["*.json"])
    go_offline(monkeypatch)
    assert hub_trouble(fetch(tmp_path)) is HubTrouble.INCOMPLETE
    assert hub_trouble(fetch(tmp_path / "empty")) is HubTrouble.UNREACHABLE


def test_a_hub_that_does_not_answer(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub({MODEL: saved("llama")})) as served:
        point_at(served, monkeypatch)
    assert hub_trouble(fetch(tmp_path)) is HubTrouble.UNREACHABLE
