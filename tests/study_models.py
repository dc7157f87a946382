"""The two models of the study, built offline: their published configs, processors, special tokens
and chat templates, with random weights.

`full_size=False` keeps everything that decides rows and tokens (layers, picture geometry, ids,
vocabulary) and makes the widths small.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tests.conftest import write_json

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

WORDS = ("Color", "of", "the", "main", "object", "Place", "red", "cube", "USER", "ASSISTANT", "is")
"""Words that are one token, with and without a leading space."""

LLAVA_NAME = "llava-1.5-7b-hf"
LLAVA_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{# Render all text next #}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}"
    "{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

QWEN_NAME = "Qwen2-VL-2B-Instruct"
QWEN_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
QWEN_FIRST_SPECIAL = 151643


def llava_config(full_size: bool) -> Any:
    """llava-hf/llava-1.5-7b-hf; the sizes that its config.json leaves out are Vicuna's."""
    from transformers import LlavaConfig

    text: dict[str, Any] = {
        "model_type": "llama",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "vocab_size": 32064,
        "num_hidden_layers": 32,
    }
    vision: dict[str, Any] = {
        "model_type": "clip_vision_model",
        "image_size": 336,
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "projection_dim": 768,
        "vocab_size": 32000,
    }
    if not full_size:
        text |= {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
        text |= {"num_key_value_heads": 4}
        vision |= {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
        vision |= {"num_hidden_layers": 3}
    return LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=32000,
        pad_token_id=32001,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        dtype="float16",
    )


def qwen_config(full_size: bool) -> Any:
    """Qwen/Qwen2-VL-2B-Instruct."""
    from transformers import Qwen2VLConfig

    text: dict[str, Any] = {
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "max_window_layers": 28,
        "rms_norm_eps": 1e-06,
        "use_sliding_window": False,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1000000.0,
            "mrope_section": [16, 24, 24],
        },
    }
    vision: dict[str, Any] = {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_channels": 3,
        "hidden_size": 1536,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if not full_size:
        text |= {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
        text["rope_parameters"] |= {"mrope_section": [1, 1, 2]}
        vision |= {"hidden_size": 32, "embed_dim": 16, "num_heads": 2, "depth": 2}
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )


def random_model(model_class: Any, config: Any, dtype: torch.dtype, device: str = "cpu") -> Any:
    """A model with random weights, made without ever holding it in another dtype: memory for one
    copy. Norms are near 1, as in a trained model, but not 1."""
    with torch.device("meta"):
        model = model_class(config).to(dtype)
    model.to_empty(device=device)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0 if "norm" in name or "ln_" in name else 0.0, 0.1)
            else:
                parameter.normal_(0.0, 0.6 * parameter[0].numel() ** -0.5)
        for name, module in model.named_modules():
            # Buffers are not in checkpoints; they are computed when a model is made.
            if hasattr(module, "inv_freq"):
                fresh = _fresh(module, config, name)
                module.inv_freq = fresh.inv_freq.to(device)
                if hasattr(module, "original_inv_freq"):
                    module.original_inv_freq = module.inv_freq.clone()
            if hasattr(module, "position_ids"):
                positions = torch.arange(module.position_ids.shape[-1], device=device)
                module.position_ids = positions.unsqueeze(0)
    model.tie_weights()
    return model.eval()


def save_study_model(name: str, folder: Path, device: str, full_size: bool = True) -> None:
    """A checkpoint of one of the study's models with random weights, in bfloat16."""
    from transformers import LlavaForConditionalGeneration, Qwen2VLForConditionalGeneration

    if name == LLAVA_NAME:
        model_class, config = LlavaForConditionalGeneration, llava_config(full_size)
        save_llava_processor(folder)
    else:
        model_class, config = Qwen2VLForConditionalGeneration, qwen_config(full_size)
        save_qwen_processor(folder)
    random_model(model_class, config, torch.bfloat16, device).save_pretrained(folder)


def _fresh(module: Any, config: Any, name: str) -> Any:
    if hasattr(module, "config"):
        return type(module)(module.config)
    vision = config.vision_config
    return type(module)(vision.embed_dim // vision.num_heads // 2)


def save_llava_processor(folder: Path) -> None:
    """The files that the checkpoint has beside its weights: CLIP's picture settings, a Llama
    tokenizer (SentencePiece-like, with byte fallback) with `<image>`, and the chat template."""
    llama_core().save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer",
            "processor_class": "LlavaProcessor",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "image_token": "<image>",
            "model_max_length": 4096,
            "padding_side": "left",
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
            "crop_size": {"height": 336, "width": 336},
            "size": {"shortest_edge": 336},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "resample": 3,
            "rescale_factor": 1 / 255,
        },
    )
    write_json(
        folder / "processor_config.json",
        {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
        },
    )
    write_json(folder / "chat_template.json", {"chat_template": LLAVA_TEMPLATE})


def save_qwen_processor(folder: Path) -> None:
    """The files that the checkpoint has beside its weights: byte-level BPE with its special tokens
    where they are, the picture settings and the chat template."""
    qwen_core().save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_prefix_space": False,
            "additional_special_tokens": list(QWEN_SPECIALS[1:]),
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "errors": "replace",
            "clean_up_tokenization_spaces": False,
            "model_max_length": 32768,
            "chat_template": QWEN_TEMPLATE,
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2VLProcessor",
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
        },
    )
    write_json(folder / "chat_template.json", {"chat_template": QWEN_TEMPLATE})


def llama_core() -> Any:
    """Ids as in Llama: <unk> <s> </s>, 256 bytes, pieces; then <image> 32000 and <pad> 32001."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary |= {f"<0x{byte:02X}>": byte + 3 for byte in range(256)}
    for letter in ["▁", *(chr(code) for code in range(33, 127)), "é", "青"]:
        vocabulary[letter] = len(vocabulary)
    merges = _spelt(vocabulary, [word for each in WORDS for word in (each, "▁" + each)])
    _fill(vocabulary, 32000)
    core = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    core.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False)
            for text in ("<unk>", "<s>", "</s>", "<image>", "<pad>")
        ]
    )
    return core


def qwen_core() -> Any:
    """Bytes, merged pieces, then the special tokens from 151643 on."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    merges = _spelt(vocabulary, [word for each in WORDS for word in (each, "Ġ" + each)])
    _fill(vocabulary, QWEN_FIRST_SPECIAL)
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True) for text in QWEN_SPECIALS])
    return core


def _spelt(vocabulary: dict[str, int], words: Iterable[str]) -> list[tuple[str, str]]:
    """Merges that make one token of each word, letter by letter."""
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    return merges


def _fill(vocabulary: dict[str, int], size: int) -> None:
    while len(vocabulary) < size:
        vocabulary[f"piece{len(vocabulary)}"] = len(vocabulary)
