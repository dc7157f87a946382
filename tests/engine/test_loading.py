"""Loading: what works, and one line with the remedy for every folder that does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import engine
import samples
from engine import load
from engine.asking.asking import Asking
from engine.errors import CannotLoad, CannotRead, LenscopeError, Remedy
from engine.events import LoadOptions
from engine.models.importing import import_and_load
from engine.models.loading import LoadedModel
from engine.records import Picture, Question
from tests.conftest import edit_json, hooks_of, small_text_config

Copied = Callable[[str], Path]
Opened = Callable[[str], LoadedModel]


def refused(folder: Path | str, **options: Any) -> LenscopeError:
    """How a model is refused (exit 3): in one line that names the folder."""
    with pytest.raises((CannotLoad, CannotRead)) as caught:
        load(folder, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000
    assert str(folder) in line or any(str(value) in line for value in options.values())
    return caught.value


def refusal(folder: Path | str, **options: Any) -> str:
    return str(refused(folder, **options))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Load, change and save the weights of a folder."""
    path = folder / "model.safetensors"
    weights = {key: value.clone() for key, value in load_file(path).items()}
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


# What works


@pytest.mark.parametrize(
    ("name", "class_name", "pictures", "chat"),
    [
        ("llava", "LlavaForConditionalGeneration", True, True),
        ("qwen2_vl", "Qwen2VLForConditionalGeneration", True, True),
        ("llama", "LlamaForCausalLM", False, False),
    ],
)
def test_a_folder_loads_and_is_proved(
    opened: Opened,
    saved: Copied,
    red_picture: Path,
    name: str,
    class_name: str,
    pictures: bool,
    chat: bool,
) -> None:
    loaded = opened(name)
    assert loaded.name == loaded.card.name == str(saved(name))
    assert (loaded.card.class_name, loaded.card.dtype) == (class_name, "float32")
    assert (loaded.takes_pictures, loaded.has_chat_template) == (pictures, chat)
    assert len(loaded.lens.layers) == 4
    assert not loaded.model.training
    assert hooks_of(loaded.model) == 0
    picture = Picture(str(red_picture)) if pictures else None
    run = Asking(loaded, Question(prompt="What?", picture=picture)).run()
    assert run.status == "done"
    assert run.proof is not None
    assert run.proof.passed


def test_the_bundled_model_loads_by_the_ordinary_path(bundled: LoadedModel) -> None:
    assert bundled.name == str(samples.MODEL)
    assert bundled.takes_pictures
    assert bundled.has_chat_template
    assert len(bundled.lens.layers) >= 8


def test_the_processor_needs_no_torchvision(opened: Opened) -> None:
    """Qwen2-VL's processor with its picture half only."""
    processor = opened("qwen2_vl").processor
    assert type(processor).__name__ == "Qwen2VLProcessor"
    assert processor.image_token == "<|image_pad|>"
    assert processor.image_processor.merge_size == 2
    assert repr(processor)


def test_loading_says_nothing_on_the_terminal(
    saved: Copied, capfd: pytest.CaptureFixture[str]
) -> None:
    saved("llava")
    capfd.readouterr()
    stages: list[str] = []
    load(saved("llava"), progress=lambda stage, fraction: stages.append(stage))
    assert capfd.readouterr() == ("", "")
    assert len(stages) >= 4
    assert all(stages)


def test_every_phase_is_timed(saved: Copied) -> None:
    seconds = load(saved("llava")).seconds
    phases = {name: value for name, value in seconds.items() if name != "total"}
    assert list(phases) == ["checking", "reading", "processor", "digest", "learning", "proving"]
    assert all(value > 0 for value in phases.values())
    assert sum(phases.values()) <= seconds["total"]


def test_the_import_is_a_phase(saved: Copied) -> None:
    loaded = import_and_load(LoadOptions(str(saved("llama"))))
    assert next(iter(loaded.seconds)) == "importing"
    assert loaded.card.weights == load(saved("llama")).card.weights != ""


def test_another_weight_is_another_digest(copied: Copied) -> None:
    folder = copied("llama")
    before = load(folder).card.weights
    assert load(folder).card.weights == before

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["model.norm.weight"][-1] += 1

    change_weights(folder, change)
    assert load(folder).card.weights not in ("", before)


def test_the_public_names() -> None:
    assert engine.load is load
    assert issubclass(engine.CannotLoad, engine.LenscopeError)
    assert issubclass(engine.CannotRead, engine.LenscopeError)
    parameters = inspect.signature(engine.load).parameters
    assert parameters["device"].default == parameters["dtype"].default == "auto"
    with pytest.raises(AttributeError):
        engine.nothing_of_this_name  # noqa: B018


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_wanted_dtype_is_taken(saved: Copied, dtype: str) -> None:
    loaded = load(saved("llama"), dtype=dtype)
    assert loaded.card.dtype == dtype
    run = Asking(loaded, Question(prompt="What?")).run()
    assert run.status == "done"


def test_half_precision_becomes_single_on_a_cpu(copied: Copied) -> None:
    folder = copied("llama")
    change_weights(folder, lambda w: w.update({key: value.half() for key, value in w.items()}))
    edit_json(folder / "config.json", dtype="float16")
    assert load(folder, device="cpu").card.dtype == "float32"


def test_pickled_weights_open_when_they_are_trusted(copied: Copied) -> None:
    folder = copied("llama")
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    assert Remedy.ALLOW_PICKLE in refused(folder).remedies
    assert len(load(folder, allow_pickle=True).lens.layers) == 4


# Folders that are none


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "missing")
    assert "no such folder" in refusal("./missing")
    refusal("~no-such-user-here/model")


def test_a_name_that_no_hub_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refusal("no-such-owner/no-such-model", cache_dir=str(tmp_path))


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    assert "a file" in refusal(path)


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "config.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"model_type": 5}'],
    ids=lambda data: repr(data[:16]),
)
def test_a_damaged_config(copied: Copied, data: bytes) -> None:
    folder = copied("llama")
    (folder / "config.json").write_bytes(data)
    refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "no_such_model"},
        {"num_attention_heads": 0},
        {"hidden_size": "wide"},
        {"vocab_size": -1},
        {"num_hidden_layers": 0},
        {"vocab_size": 328},
        {"rope_parameters": {"rope_type": "no_such_rope", "rope_theta": 1.0}},
    ],
    ids=str,
)
def test_a_config_with_wrong_values(copied: Copied, changes: dict[str, Any]) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", **changes)
    refusal(folder)


# Weights


def test_a_folder_without_weights(copied: Copied) -> None:
    folder = copied("llava")
    (folder / "model.safetensors").unlink()
    assert "no weights" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 200, 0.5, 0.99])
def test_truncated_weights(copied: Copied, kept: float) -> None:
    path = copied("llava") / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    refusal(path.parent)


def test_weights_that_are_no_safetensors(copied: Copied) -> None:
    folder = copied("llava")
    (folder / "model.safetensors").write_bytes(b"\x80\x04 a pickle under another name")
    refusal(folder)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("llama", "model.norm.weight"),
        ("llama", "lm_head.weight"),
        ("llama", "model.layers.2.mlp.up_proj.weight"),
        ("llava", "vision_tower"),
        ("llava", "multi_modal_projector"),
    ],
)
def test_missing_weights_are_never_made_up(copied: Copied, name: str, part: str) -> None:
    """transformers would fill them with random numbers and only warn."""
    folder = copied(name)

    def drop(weights: dict[str, torch.Tensor]) -> None:
        found = [key for key in weights if part in key]
        assert found
        for key in found:
            del weights[key]

    change_weights(folder, drop)
    assert "missing" in refusal(folder)


def test_weights_of_another_shape(copied: Copied) -> None:
    folder = copied("llama")
    change_weights(folder, lambda w: w.update({"lm_head.weight": w["lm_head.weight"][:-1].clone()}))
    refusal(folder)


@pytest.mark.parametrize("size", [401, 403])
def test_a_shape_is_not_taken_for_a_refused_login(copied: Copied, size: int) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", vocab_size=size)
    line = refusal(folder)
    assert "login" not in line
    assert "access" not in line


def test_weights_that_are_no_numbers(copied: Copied) -> None:
    folder = copied("llama")
    change_weights(folder, lambda w: w["model.norm.weight"].fill_(torch.nan))
    refusal(folder)


def test_a_missing_part_of_sharded_weights(copied: Copied, opened: Opened) -> None:
    folder = copied("llama")
    (folder / "model.safetensors").unlink()
    opened("llama").model.save_pretrained(folder, max_shard_size="20KB")
    parts = sorted(folder.glob("*.safetensors"))
    assert len(parts) > 2
    assert len(load(folder).lens.layers) == 4
    parts[1].unlink()
    refusal(folder)


# Tokenizers, processors and templates


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_vl"])
def test_a_missing_tokenizer(copied: Copied, name: str) -> None:
    folder = copied(name)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refusal(folder)


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_vl"])
def test_a_damaged_tokenizer(copied: Copied, name: str) -> None:
    folder = copied(name)
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {')
    refusal(folder)


@pytest.mark.parametrize("template", ["{% if %}", "{{ raise_exception('never') }}", "{{ 1 / 0 }}"])
def test_a_damaged_chat_template(copied: Copied, template: str) -> None:
    folder = copied("llava")
    (folder / "chat_template.jinja").write_text(template)
    refusal(folder)


def test_a_template_for_plain_strings_does_not_keep_a_model_out(copied: Copied) -> None:
    folder = copied("llava")
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ 'USER: ' + m['content'] }}{% endfor %} ASSISTANT:"
    )
    assert load(folder).takes_pictures


def test_a_tokenizer_of_another_model(copied: Copied) -> None:
    """Its ids lie outside the embedding; the pass on which the lens is learned fails."""
    folder = copied("llama")
    edit_json(folder / "config.json", vocab_size=40)

    def shrink(weights: dict[str, torch.Tensor]) -> None:
        for key in ("lm_head.weight", "model.embed_tokens.weight"):
            weights[key] = weights[key][:40].clone()

    change_weights(folder, shrink)
    refusal(folder)


def test_another_number_of_picture_tokens_than_the_model_makes(copied: Copied) -> None:
    folder = copied("llava")
    edit_json(folder / "processor_config.json", patch_size=2)
    refusal(folder)


# Models without a vocabulary head


def save_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    vision = small | {"image_size": 8, "patch_size": 4}
    CLIPModel(
        CLIPConfig(text_config=small | {"vocab_size": 50}, vision_config=vision, projection_dim=8)
    ).save_pretrained(folder)


def bert_config() -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )


def save_bert_encoder(folder: Path) -> None:
    from transformers import BertModel

    BertModel(bert_config()).save_pretrained(folder)


def save_bert_classifier(folder: Path) -> None:
    from transformers import BertForSequenceClassification

    BertForSequenceClassification(bert_config()).save_pretrained(folder)


def save_vit_classifier(folder: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
    )
    ViTForImageClassification(config).save_pretrained(folder)


def save_llama_classifier(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    LlamaForSequenceClassification(LlamaConfig(**small_text_config())).save_pretrained(folder)


def save_tied_classifier(folder: Path) -> None:
    """Its embedding could be used as the head, which it was never trained with."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(**small_text_config(tie_word_embeddings=True))
    LlamaForSequenceClassification(config).save_pretrained(folder)


def save_t5_encoder(folder: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)


@pytest.mark.parametrize(
    "save",
    [
        save_clip,
        save_bert_encoder,
        save_bert_classifier,
        save_vit_classifier,
        save_llama_classifier,
        save_tied_classifier,
        save_t5_encoder,
    ],
    ids=lambda save: save.__name__.removeprefix("save_"),
)
def test_a_model_without_a_vocabulary_head(
    save: Callable[[Path], None], saved: Copied, tmp_path: Path
) -> None:
    """With a tokenizer, so that only the model can be at fault."""
    save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((saved("llama") / name).read_bytes())
    line = refusal(tmp_path)
    assert "tokenizer" not in line


# Settings


@pytest.mark.parametrize(
    "options",
    [
        {"device": "banana"},
        {"device": "cuda:99"},
        {"device": "meta"},
        {"dtype": "banana"},
        {"dtype": "int8"},
        {"dtype": "nn"},
    ],
    ids=str,
)
def test_settings_that_do_not_exist(saved: Copied, options: dict[str, Any]) -> None:
    with pytest.raises(LenscopeError) as caught:
        load(saved("llama"), **options)
    assert next(iter(options.values())) in str(caught.value)


def test_quantising_without_its_package(saved: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    with pytest.raises(CannotLoad, match="pip install"):
        load(saved("llama"), quantize="4bit")
