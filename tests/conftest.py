"""Shared fixtures: the bundled model, and tiny saved folders of real transformers classes."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import samples

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel

# Read when torch is imported: its threads, in as many workers as there are cores, would only wait
# for each other. Whatever needs them all says so.
os.environ.setdefault("OMP_NUM_THREADS", "1")

VOCABULARY = 320
"""Wider than the tokenizers below: real checkpoints pad their embeddings too."""

LLAVA_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'][0]['text'] + '\\n' }}"
    "{%- else -%}USER: "
    "{%- for part in message['content'] if part['type'] == 'image' -%}<image>\n{% endfor -%}"
    "{%- for part in message['content'] if part['type'] == 'text' -%}{{ part['text'] }}"
    "{%- endfor -%}{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt %} ASSISTANT:{% endif -%}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
LLAVA_SPECIALS = ("<s>", "</s>", "<unk>", "<pad>", "<image>")


@pytest.fixture(scope="module", autouse=True)
def only_new_objects_are_collected() -> None:
    """Let the garbage collector leave alone what was made before a module's tests, as the program
    does once torch is imported: the engine collects garbage after every failed pass, every model
    and every reading, and of the million objects that the libraries and the tests consist of this
    takes a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def bundled() -> LoadedModel:
    """The bundled model. Its answers are no matter of these tests."""
    from engine import load

    return load(samples.MODEL)


@pytest.fixture(scope="session")
def red_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small red PNG, 40 x 24."""
    path = tmp_path_factory.mktemp("pictures") / "red.png"
    Image.new("RGB", (40, 24), (200, 30, 30)).save(path)
    return path


def byte_level_core(specials: tuple[str, ...], first: int = 0, bos: str | None = None) -> Any:
    """A `tokenizers` tokenizer of single bytes; the special tokens' ids begin at `first`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    shift = len(specials) if first == 0 else 0
    vocabulary = {letter: index + shift for index, letter in enumerate(letters)}
    if first == 0:
        vocabulary |= {text: index for index, text in enumerate(specials)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True) for text in specials])
    if bos is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
        )
    return core


def small_text_config(**changes: Any) -> dict[str, Any]:
    """Settings of a decoder whose vocabulary holds the tokenizers of this file."""
    from tests.families.parts import text_config

    return text_config(layers=4) | {"vocab_size": VOCABULARY} | changes


def _save_llava(folder: Path) -> None:
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    from tests.families.parts import with_noise

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_core(LLAVA_SPECIALS, bos="<s>"),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": 12, "width": 12}, do_center_crop=False
        ),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=12,
            patch_size=4,
        ),
        text_config=LlamaConfig(**small_text_config(bos_token_id=0, eos_token_id=1)),
        image_token_index=4,
        vision_feature_layer=-1,
        image_seq_length=9,
    )
    torch.manual_seed(0)
    with_noise(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    processor.save_pretrained(folder)


def _save_llama(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from tests.families.parts import with_noise

    torch.manual_seed(0)
    config = LlamaConfig(**small_text_config(bos_token_id=0, eos_token_id=1))
    with_noise(LlamaForCausalLM(config)).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=byte_level_core(LLAVA_SPECIALS[:4], bos="<s>"),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def _save_qwen2_vl(folder: Path) -> None:
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    from tests.families.parts import with_noise

    core = byte_level_core(QWEN_SPECIALS, first=256)
    ids = {text: core.token_to_id(text) for text in QWEN_SPECIALS}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config=small_text_config(
            rope_parameters=rope, bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"]
        ),
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "mlp_ratio": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(0)
    with_noise(Qwen2VLForConditionalGeneration(config)).save_pretrained(folder)
    # As in the checkpoint's own repository: tokenizer files, and an image processor's settings.
    core.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "additional_special_tokens": list(QWEN_SPECIALS[1:]),
            "clean_up_tokenization_spaces": False,
            "chat_template": QWEN_TEMPLATE,
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2VLProcessor",
            "patch_size": 4,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "min_pixels": 64,
            "max_pixels": 4096,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )


_BUILDERS: dict[str, Callable[[Path], None]] = {
    "llava": _save_llava,
    "llama": _save_llama,
    "qwen2_vl": _save_qwen2_vl,
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny saved model (llava, llama, qwen2_vl); it must not be changed."""
    folders: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            _BUILDERS[name](folders[name])
        return folders[name]

    return folder_of


@pytest.fixture
def copied(saved: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a tiny saved model that a test may damage."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(saved(name), tmp_path / name))

    return copy


@pytest.fixture(scope="session")
def opened(saved: Callable[[str], Path]) -> Callable[[str], LoadedModel]:
    """A tiny saved model, loaded by the ordinary path, once."""
    from engine import load

    models: dict[str, LoadedModel] = {}

    def model_of(name: str) -> LoadedModel:
        if name not in models:
            models[name] = load(saved(name))
        return models[name]

    return model_of


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    """Change the top-level keys of a JSON file; None removes one."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {key: value for key, value in content.items() if value is not None})


def hooks_of(model: Any) -> int:
    """How many hooks of the engine's are on a model; transformers keeps some of its own there."""
    hooks = [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    return sum(str(getattr(hook, "__module__", "")).startswith("engine") for hook in hooks)


def tensors() -> int:
    """How many tensors are alive."""
    from torch import Tensor

    gc.collect()
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())
