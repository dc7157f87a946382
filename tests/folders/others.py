"""Saved folders of Google's, Hugging Face's, Meta's and other families.

Each is as on the hub: the names of processors and image processors, the tokenizer's style and
special tokens, and how the chat template writes a picture.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.conftest import byte_level_core, write_json
from tests.families import FAMILIES
from tests.folders.parts import folder, save_model

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

GEMMA_CONTROLS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
LLAMA_CONTROLS = ("<unk>", "<s>", "</s>")


def _pieces(controls: Iterable[str]) -> dict[str, int]:
    """A vocabulary as of SentencePiece: control tokens, bytes, printable letters."""
    vocabulary = {text: index for index, text in enumerate(controls)}
    for piece in (*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))):
        vocabulary[piece] = len(vocabulary)
    return vocabulary


def _sentencepiece_core(
    controls: tuple[str, ...], specials: Iterable[str], bos: str | None, *, prefix: bool = False
) -> Any:
    """Letters with byte fallback; `prefix` puts a space before every text, as Llama does."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    vocabulary = _pieces(controls)
    core = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=[], unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    spaces = normalizers.Replace(" ", "▁")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    decoding = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        decoding.append(decoders.Strip(content=" ", left=1))
    core.decoder = decoders.Sequence(decoding)
    if bos is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, vocabulary[bos])]
        )
    core.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in (*controls, *specials)]
    )
    return core


def _ids(core: Any, **tokens: str) -> dict[str, int]:
    """Settings of a config that are ids, by their tokens' texts."""
    return {name.replace("__", "."): core.token_to_id(text) for name, text in tokens.items()}


def _save_tiny(name: str, path: Path, core: Any, **changes: Any) -> None:
    """Save the family's tiny model with a vocabulary for this tokenizer. A change's name may lead
    into a part: `text_config__bos_token_id`, or, with dots, in a mapping."""
    built = FAMILIES[name]().model
    config = copy.deepcopy(built.config)
    width = -(-core.get_vocab_size() // 16) * 16
    for key, value in {"vocab_size": width, **changes}.items():
        *parts, last = key.replace("__", ".").split(".")
        target = config.get_text_config(decoder=True) if key == "vocab_size" else config
        for part in parts:
            target = getattr(target, part)
        setattr(target, last, value)
    save_model(type(built), config, path)


def _save_beside(
    path: Path,
    core: Any,
    tokenizer: dict[str, Any],
    image: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    template: str | None = None,
) -> None:
    """Write what a repository has beside the weights."""
    core.save(str(path / "tokenizer.json"))
    write_json(path / "tokenizer_config.json", {"clean_up_tokenization_spaces": False, **tokenizer})
    if image is not None:
        write_json(path / "preprocessor_config.json", image)
    if processor is not None:
        write_json(path / "processor_config.json", processor)
    if template is not None:
        (path / "chat_template.jinja").write_text(template, encoding="utf-8")


# Google's

GEMMA_TEMPLATE = (
    "{{ bos_token }}"
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- if messages[0]['content'] is string -%}"
    "{%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}"
    "{%- else -%}{%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}"
    "{%- endif -%}{%- set loop_messages = messages[1:] -%}"
    "{%- else -%}{%- set first_user_prefix = '' -%}{%- set loop_messages = messages -%}"
    "{%- endif -%}"
    "{%- for message in loop_messages -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else '') }}"
    "{%- if message['content'] is string -%}{{ message['content'] | trim }}"
    "{%- else -%}{%- for item in message['content'] -%}"
    "{%- if item['type'] == 'image' -%}{{ 'PICTURE' }}"
    "{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{{ '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
GEMMA_TOKENIZER = {
    "tokenizer_class": "GemmaTokenizer",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "add_eos_token": False,
}
GEMMA_IDS = {"text_config__bos_token_id": 2, "text_config__eos_token_id": 1, "pad_token_id": 0}


def _siglip_settings(side: int, **others: Any) -> dict[str, Any]:
    return {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
        **HALF,
        **others,
    }


@folder("gemma3")
def save_gemma3(path: Path) -> None:
    """The placeholder in the text is the mark where a picture begins; the processor puts the
    image tokens, the end mark and blank lines around."""
    marks = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    core = _sentencepiece_core(
        GEMMA_CONTROLS, ("<start_of_turn>", "<end_of_turn>", *marks.values()), "<bos>"
    )
    ids = {f"{name}_index": core.token_to_id(text) for name, text in marks.items()}
    _save_tiny("gemma3", path, core, **GEMMA_IDS, **ids)
    _save_beside(
        path,
        core,
        {
            **GEMMA_TOKENIZER,
            **marks,
            "extra_special_tokens": marks,
            "processor_class": "Gemma3Processor",
        },
        _siglip_settings(
            16,
            do_convert_rgb=None,
            do_pan_and_scan=None,
            pan_and_scan_max_num_crops=None,
            pan_and_scan_min_crop_size=None,
            pan_and_scan_min_ratio_to_activate=None,
            image_processor_type="Gemma3ImageProcessor",
            image_seq_length=4,
            processor_class="Gemma3Processor",
        ),
        {"image_seq_length": 4, "processor_class": "Gemma3Processor"},
        GEMMA_TEMPLATE.replace("PICTURE", "<start_of_image>"),
    )


@folder("paligemma")
def save_paligemma(path: Path) -> None:
    """No chat template. The processor writes the BOS after the picture and a newline after the
    prompt, takes no text without a picture, and adds 1152 tokens for places and masks."""
    places = [f"<loc{place:04}>" for place in range(1024)] + [f"<seg{n:03}>" for n in range(128)]
    core = _sentencepiece_core(GEMMA_CONTROLS, ("<image>", *places), "<bos>")
    _save_tiny("paligemma", path, core, **GEMMA_IDS, image_token_index=core.token_to_id("<image>"))
    _save_beside(
        path,
        core,
        {
            **GEMMA_TOKENIZER,
            "additional_special_tokens": ["<image>"],
            "processor_class": "PaliGemmaProcessor",
        },
        _siglip_settings(
            16,
            do_convert_rgb=None,
            image_processor_type="SiglipImageProcessor",
            image_seq_length=16,
            processor_class="PaliGemmaProcessor",
        ),
    )


@folder("gemma4")
def save_gemma4(path: Path) -> None:
    """Everything in one processor_config.json, with an audio and a video half; the fewest image
    tokens that the image processor allows is 70."""
    marks = {
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
        "audio_token": "<|audio|>",
    }
    core = _sentencepiece_core(
        GEMMA_CONTROLS, ("<|turn>", "<turn|>", "<|video|>", *marks.values()), "<bos>"
    )
    width = -(-core.get_vocab_size() // 16) * 16
    _save_tiny(
        "gemma4",
        path,
        core,
        text_config__vocab_size_per_layer_input=width,
        text_config__bos_token_id=2,
        text_config__eos_token_id=1,
        text_config__pad_token_id=0,
        vision_config__position_embedding_size=64,
        **_ids(
            core,
            image_token_id="<|image|>",
            boi_token_id="<|image>",
            eoi_token_id="<image|>",
            audio_token_id="<|audio|>",
            video_token_id="<|video|>",
        ),
    )
    pixels = {
        "do_convert_rgb": True,
        "do_normalize": False,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "max_soft_tokens": 70,
        "patch_size": 4,
        "pooling_kernel_size": 2,
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
    _save_beside(
        path,
        core,
        {**GEMMA_TOKENIZER, **marks, "processor_class": "Gemma4Processor"},
        None,
        {
            "audio_ms_per_token": 40,
            "audio_seq_length": 750,
            "feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"},
            "image_processor": {
                **pixels,
                "image_processor_type": "Gemma4ImageProcessor",
                "image_seq_length": 70,
            },
            "image_seq_length": 70,
            "processor_class": "Gemma4Processor",
            "video_processor": {
                **pixels,
                "do_sample_frames": True,
                "num_frames": 32,
                "video_processor_type": "Gemma4VideoProcessor",
            },
        },
        "{{ bos_token }}"
        "{%- for message in messages -%}"
        "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
        "{{ '<|turn>' + role + '\n' }}"
        "{%- if message['content'] is string -%}{{ message['content'] | trim }}"
        "{%- else -%}{%- for item in message['content'] -%}"
        "{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}"
        "{%- elif item['type'] == 'image' -%}{{ '\n\n<|image|>\n\n' }}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}{{ '<turn|>\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|turn>model\n' }}{%- endif -%}",
    )


# Hugging Face's

IDEFICS_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
FRAMES = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *TILES)


def _tiled_settings(kind: str, **others: Any) -> dict[str, Any]:
    return {
        "do_convert_rgb": True,
        "do_image_splitting": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "resample": 1,
        "rescale_factor": 1 / 255,
        "image_processor_type": f"{kind}ImageProcessor",
        "processor_class": f"{kind}Processor",
        **HALF,
        **others,
    }


@folder("idefics3")
def save_idefics3(path: Path) -> None:
    """A space after the colon only where no picture follows; a mark of its own before every
    tile, newlines between rows of them."""
    bos, eos = "<|begin_of_text|>", "<|end_of_text|>"
    core = byte_level_core((bos, eos, "<|eot_id|>", *FRAMES), first=256, bos=bos)
    _save_tiny(
        "idefics3",
        path,
        core,
        **_ids(
            core,
            image_token_id="<image>",
            pad_token_id=eos,
            text_config__bos_token_id=bos,
            text_config__eos_token_id="<end_of_utterance>",
            text_config__pad_token_id=eos,
        ),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "Idefics3Processor",
            "bos_token": bos,
            "eos_token": "<end_of_utterance>",
            "pad_token": eos,
            "additional_special_tokens": list(FRAMES[:3]),
        },
        _tiled_settings("Idefics3", size={"longest_edge": 32}, max_image_size={"longest_edge": 16}),
        {"image_seq_len": 4, "processor_class": "Idefics3Processor"},
        "<|begin_of_text|>" + IDEFICS_TEMPLATE,
    )


@folder("smolvlm")
def save_smolvlm(path: Path) -> None:
    """The processor needs num2words, and torchvision for its video half."""
    core = byte_level_core(("<|endoftext|>", "<|im_start|>", "<|im_end|>", *FRAMES), first=256)
    _save_tiny(
        "smolvlm",
        path,
        core,
        **_ids(
            core,
            image_token_id="<image>",
            pad_token_id="<|im_end|>",
            text_config__bos_token_id="<|im_start|>",
            text_config__eos_token_id="<end_of_utterance>",
            text_config__pad_token_id="<|im_end|>",
        ),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "GPT2Tokenizer",
            "processor_class": "SmolVLMProcessor",
            "add_prefix_space": False,
            "bos_token": "<|im_start|>",
            "eos_token": "<end_of_utterance>",
            "pad_token": "<|im_end|>",
            "unk_token": "<|endoftext|>",
            "additional_special_tokens": list(FRAMES[:3]),
            "extra_special_tokens": {
                "fake_image_token": "<fake_token_around_image>",
                "image_token": "<image>",
                "end_of_utterance_token": "<end_of_utterance>",
                "global_image_token": "<global-img>",
            },
        },
        _tiled_settings(
            "SmolVLM",
            size={"longest_edge": 32},
            max_image_size={"longest_edge": 16},
            video_sampling={"fps": 1, "max_frames": 4, "video_size": {"longest_edge": 16}},
        ),
        {"image_seq_len": 4, "processor_class": "SmolVLMProcessor"},
        "<|im_start|>" + IDEFICS_TEMPLATE.replace(".capitalize()", " | capitalize"),
    )


@folder("idefics2")
def save_idefics2(path: Path) -> None:
    """Five crops of every picture; marks that two of them share."""
    core = _sentencepiece_core(LLAMA_CONTROLS, FRAMES[:3], "<s>", prefix=True)
    _save_tiny(
        "idefics2",
        path,
        core,
        **_ids(
            core,
            image_token_id="<image>",
            text_config__bos_token_id="<s>",
            text_config__eos_token_id="</s>",
            text_config__pad_token_id="<unk>",
        ),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "LlamaTokenizer",
            "processor_class": "Idefics2Processor",
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<unk>",
            "unk_token": "<unk>",
            "additional_special_tokens": list(FRAMES[:3]),
        },
        _tiled_settings("Idefics2", size={"longest_edge": 16, "shortest_edge": 8}),
        {"image_seq_len": 3, "processor_class": "Idefics2Processor"},
        IDEFICS_TEMPLATE,
    )


@folder("idefics")
def save_idefics(path: Path) -> None:
    """No chat template and no placeholder: the processor writes the picture before the text."""
    core = _sentencepiece_core(LLAMA_CONTROLS, FRAMES[:2], "<s>", prefix=True)
    base = core.token_to_id(FRAMES[0])
    _save_tiny("idefics", path, core, vocab_size=base, bos_token_id=1, eos_token_id=2)
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "LlamaTokenizer",
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<unk>",
            "unk_token": "<unk>",
            "additional_special_tokens": list(FRAMES[:2]),
        },
        {
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_num_channels": 3,
            "image_processor_type": "IdeficsImageProcessor",
            "image_size": 12,
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    )


# Meta's

LLAMA_SPECIALS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
)


@folder("mllama")
def save_mllama(path: Path) -> None:
    """One token for the whole picture, which the head cannot write. The template writes a system
    turn of its own where there is no picture, and refuses one where there is."""
    core = byte_level_core((*LLAMA_SPECIALS, "<|image|>"), first=256, bos="<|begin_of_text|>")
    image = core.token_to_id("<|image|>")
    ids = _ids(
        core,
        text_config__bos_token_id="<|begin_of_text|>",
        text_config__eos_token_id="<|eot_id|>",
        text_config__pad_token_id="<|finetune_right_pad_id|>",
    )
    _save_tiny("mllama", path, core, **ids, image_token_index=image, vocab_size=image)
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "MllamaProcessor",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "pad_token": "<|finetune_right_pad_id|>",
            "model_input_names": ["input_ids", "attention_mask"],
        },
        {
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_processor_type": "MllamaImageProcessor",
            "max_image_tiles": 2,
            "processor_class": "MllamaProcessor",
            "resample": 2,
            "rescale_factor": 1 / 255,
            "size": {"height": 12, "width": 12},
            **HALF,
        },
        None,
        "{{- bos_token }}"
        "{%- if messages[0]['role'] == 'system' %}"
        "{%- set system_message = messages[0]['content'] | trim %}"
        "{%- set messages = messages[1:] %}"
        "{%- else %}{%- set system_message = '' %}{%- endif %}"
        "{%- set image_ns = namespace(has_images=false) %}"
        "{%- for message in messages %}{%- for content in message['content'] %}"
        "{%- if content['type'] == 'image' %}{%- set image_ns.has_images = true %}{%- endif %}"
        "{%- endfor %}{%- endfor %}"
        "{%- if image_ns.has_images and not system_message == '' %}"
        "{{- raise_exception('Prompting with images is incompatible with system messages.') }}"
        "{%- endif %}"
        "{%- if not image_ns.has_images %}"
        "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}"
        "{{- 'Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n' }}"
        "{{- system_message }}{{- '<|eot_id|>' }}{%- endif %}"
        "{%- for message in messages %}"
        "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
        "{%- if message['content'] is string %}{{- message['content'] }}"
        "{%- else %}{%- for content in message['content'] %}"
        "{%- if content['type'] == 'image' %}{{- '<|image|>' }}"
        "{%- elif content['type'] == 'text' %}{{- content['text'] }}{%- endif %}"
        "{%- endfor %}{%- endif %}{{- '<|eot_id|>' }}{%- endfor %}"
        "{%- if add_generation_prompt %}"
        "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}",
    )


@folder("llama4")
def save_llama4(path: Path) -> None:
    """The token in the text, which ends a picture's tiles, is another than the patches'. The
    image processor needs torchvision."""
    marks = (
        "<|image_start|>",
        "<|image_end|>",
        "<|tile_x_separator|>",
        "<|tile_y_separator|>",
        "<|image|>",
        "<|patch|>",
    )
    turns = (
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|header_start|>",
        "<|header_end|>",
        "<|eot|>",
    )
    core = byte_level_core(
        (*turns, "<|finetune_right_pad|>", *marks), first=256, bos="<|begin_of_text|>"
    )
    _save_tiny(
        "llama4",
        path,
        core,
        **_ids(
            core,
            boi_token_index="<|image_start|>",
            eoi_token_index="<|image_end|>",
            image_token_index="<|patch|>",
            text_config__bos_token_id="<|begin_of_text|>",
            text_config__eos_token_id="<|eot|>",
            text_config__pad_token_id="<|finetune_right_pad|>",
        ),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "PreTrainedTokenizer",
            "processor_class": "Llama4Processor",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot|>",
            "pad_token": "<|finetune_right_pad|>",
            "model_input_names": ["input_ids", "attention_mask"],
        },
        {
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_processor_type": "Llama4ImageProcessorFast",
            "max_patches": 4,
            "processor_class": "Llama4Processor",
            "resample": 2,
            "rescale_factor": 1 / 255,
            "resize_to_max_canvas": False,
            "size": {"height": 16, "width": 16},
            **HALF,
        },
        {
            "fake_image_token": "<|image|>",
            "image_token": "<|image|>",
            "patch_size": 4,
            "processor_class": "Llama4Processor",
        },
        "{{- bos_token }}{%- for message in messages %}"
        "{{- '<|header_start|>' + message['role'] + '<|header_end|>\n\n' }}"
        "{%- if message['content'] is string %}{{- message['content'] }}"
        "{%- else %}{%- for content in message['content'] %}"
        "{%- if content['type'] == 'image' %}{{- '<|image|>' }}"
        "{%- elif content['type'] == 'text' %}{{- content['text'] | trim }}{%- endif %}"
        "{%- endfor %}{%- endif %}{{- '<|eot|>' }}{%- endfor %}"
        "{%- if add_generation_prompt %}"
        "{{- '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif %}",
    )


@folder("chameleon")
def save_chameleon(path: Path) -> None:
    """No chat template. The processor writes marks around the image tokens, and a separator
    after the prompt."""
    vocabulary_map = FAMILIES["chameleon"]().model.config.vocabulary_map
    marks = ("<racm3:break>", "<eoss>", "<reserved08706>", *vocabulary_map)
    core = byte_level_core(("<s>", "<pad>", "</s>", "<unk>", *marks), first=0, bos="<s>")
    _save_tiny(
        "chameleon",
        path,
        core,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        vocabulary_map={text: core.token_to_id(text) for text in vocabulary_map},
        image_token_id=core.token_to_id("<image>"),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "ChameleonProcessor",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "sep_token": "<reserved08706>",
            "unk_token": "<unk>",
        },
        {
            "crop_size": {"height": 8, "width": 8},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [1.0, 1.0, 1.0],
            "image_processor_type": "ChameleonImageProcessor",
            "image_std": [1.0, 1.0, 1.0],
            "processor_class": "ChameleonProcessor",
            "resample": 1,
            "rescale_factor": 0.0078,
            "size": {"shortest_edge": 8},
        },
        {
            "image_seq_length": 16,
            "image_token": "<image>",
            "processor_class": "ChameleonProcessor",
        },
    )


# Others


@folder("granite4_vision")
def save_granite4_vision(path: Path) -> None:
    """A base picture and tiles, with a feature more for every row of them."""
    turns = ("<|end_of_text|>", "<|pad|>", "<|unk|>", "<|start_of_role|>", "<|end_of_role|>")
    core = byte_level_core((*turns, "<image>"), first=256)
    _save_tiny(
        "granite4_vision",
        path,
        core,
        **_ids(
            core,
            image_token_index="<image>",
            text_config__bos_token_id="<|end_of_text|>",
            text_config__eos_token_id="<|end_of_text|>",
            text_config__pad_token_id="<|pad|>",
        ),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "GPT2Tokenizer",
            "processor_class": "Granite4VisionProcessor",
            "add_prefix_space": False,
            "bos_token": "<|end_of_text|>",
            "eos_token": "<|end_of_text|>",
            "pad_token": "<|pad|>",
            "unk_token": "<|unk|>",
        },
        {
            "crop_size": {"height": 16, "width": 16},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_grid_pinpoints": [[16, 32]],
            "image_processor_type": "LlavaNextImageProcessor",
            "processor_class": "Granite4VisionProcessor",
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": 16},
            **HALF,
        },
        {
            "downsample_rate": "1/2",
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 4,
            "processor_class": "Granite4VisionProcessor",
            "vision_feature_select_strategy": "default",
        },
        "{%- for message in messages %}"
        "{{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' }}"
        "{%- if message['content'] is string %}{{- message['content'] }}"
        "{%- else %}{%- for entry in message['content'] %}"
        "{%- if entry['type'] == 'image' %}{{- '<image>\n' }}"
        "{%- elif entry['type'] == 'text' %}{{- entry['text'] }}{%- endif %}"
        "{%- endfor %}{%- endif %}{{- '<|end_of_text|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}"
        "{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}",
    )


@folder("fuyu")
def save_fuyu(path: Path) -> None:
    """No chat template. The processor itself writes the placeholder before the text, the BOS
    after the picture, and the beginning of the answer (a byte) after the prompt."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    # Unigram, where the placeholder is an ordinary piece, after a space.
    texts = [*_pieces(("|ENDOFTEXT|", "<s>", "<unk>")), "|SPEAKER|", "|NEWLINE|"]
    core = Tokenizer(
        models.Unigram(
            [(text, -1.0 if len(text) > 1 else -9.0) for text in texts],
            unk_id=2,
            byte_fallback=True,
        )
    )
    core.normalizer = normalizers.Sequence([])
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    ids = {"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    _save_tiny(
        "fuyu",
        path,
        core,
        **{f"text_config__{name}": value for name, value in ids.items()},
        image_token_id=core.token_to_id("|SPEAKER|"),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "LlamaTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "|ENDOFTEXT|",
            "unk_token": "<unk>",
        },
        {
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": 0.5,
            "image_processor_type": "FuyuImageProcessor",
            "image_std": 0.5,
            "padding_mode": "constant",
            "padding_value": 1.0,
            "patch_size": {"height": 4, "width": 4},
            "processor_class": "FuyuProcessor",
            "resample": 2,
            "rescale_factor": 1 / 255,
            "size": {"height": 12, "width": 20},
        },
    )


CHATML_TURNS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _chatml(picture: str, opening: str = "") -> str:
    return (
        f"{opening}{{% for message in messages %}}"
        "{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for item in message['content'] %}"
        f"{{% if item['type'] == 'image' %}}{{{{ '{picture}' }}}}"
        "{% elif item['type'] == 'text' %}{{ item['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


@folder("aria")
def save_aria(path: Path) -> None:
    """The picture is always 490 or 980 pixels wide: the tiny model's patches are large."""
    core = _sentencepiece_core(
        LLAMA_CONTROLS,
        ("<|im_start|>", "<|im_end|>", "<fim_prefix>", "<fim_suffix>", "<|img|>"),
        None,
        prefix=True,
    )
    _save_tiny(
        "aria",
        path,
        core,
        vision_config__image_size=980,
        vision_config__patch_size=140,
        projector_patch_to_query_dict={49: 4},
        **_ids(
            core,
            image_token_index="<|img|>",
            text_config__bos_token_id="<s>",
            text_config__eos_token_id="</s>",
            text_config__pad_token_id="<unk>",
        ),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "LlamaTokenizer",
            "processor_class": "AriaProcessor",
            "add_bos_token": False,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<unk>",
            "unk_token": "<unk>",
            "image_token": "<|img|>",
            "extra_special_tokens": {"image_token": "<|img|>"},
        },
        {
            "do_convert_rgb": True,
            "image_processor_type": "AriaImageProcessor",
            "max_image_size": 980,
            "min_image_size": 336,
            "processor_class": "AriaProcessor",
            "split_image": False,
            **HALF,
        },
        {
            "image_token": "<|img|>",
            "processor_class": "AriaProcessor",
            "size_conversion": {"490": 4, "980": 4},
        },
        _chatml("<fim_prefix><|img|><fim_suffix>"),
    )


@folder("lfm2_vl")
def save_lfm2_vl(path: Path) -> None:
    """Tiles with marks of their own and a thumbnail; the image processor needs torchvision."""
    tiles = tuple(f"<|img_row_{row}_col_{col}|>" for row in range(1, 5) for col in range(1, 5))
    marks = ("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>", *tiles)
    turns = ("<|pad|>", "<|startoftext|>", *CHATML_TURNS)
    core = byte_level_core((*turns, *marks), first=256, bos="<|startoftext|>")
    _save_tiny(
        "lfm2_vl",
        path,
        core,
        **_ids(
            core,
            image_token_id="<image>",
            text_config__bos_token_id="<|startoftext|>",
            text_config__eos_token_id="<|im_end|>",
            text_config__pad_token_id="<|pad|>",
        ),
    )
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "Lfm2VlProcessor",
            "bos_token": "<|startoftext|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|pad|>",
            "image_token": "<image>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "image_thumbnail": "<|img_thumbnail|>",
        },
        {
            "do_image_splitting": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "downsample_factor": 2,
            "encoder_patch_size": 4,
            "image_processor_type": "Lfm2VlImageProcessorFast",
            "max_image_tokens": 4,
            "max_num_patches": 16,
            "max_pixels_tolerance": 2.0,
            "max_tiles": 4,
            "min_image_tokens": 2,
            "min_tiles": 2,
            "processor_class": "Lfm2VlProcessor",
            "resample": 2,
            "rescale_factor": 1 / 255,
            "return_row_col_info": True,
            "size": {"height": 16, "width": 16},
            "tile_size": 16,
            "use_thumbnail": True,
            **HALF,
        },
        {"processor_class": "Lfm2VlProcessor"},
        _chatml("<image>", "{{- bos_token -}}"),
    )


@folder("molmo2")
def save_molmo2(path: Path) -> None:
    """The tokens of pictures are not in the head's vocabulary; the processor writes a BOS if the
    template does not. The image processor needs torchvision."""
    marks = {
        "image_start_token_id": "<im_start>",
        "image_end_token_id": "<im_end>",
        "image_patch_id": "<im_patch>",
        "image_col_id": "<im_col>",
        "low_res_image_start_token_id": "<low_res_im_start>",
        "frame_start_token_id": "<frame_start>",
        "frame_end_token_id": "<frame_end>",
    }
    others = ("<|image|>", "<im_low>", "<|video|>")
    core = byte_level_core((*CHATML_TURNS, *marks.values(), *others), first=256)
    end = core.token_to_id("<|endoftext|>")
    _save_tiny(
        "molmo2",
        path,
        core,
        vocab_size=core.token_to_id("<im_start>"),
        text_config__additional_vocab_size=16,
        text_config__bos_token_id=end,
        text_config__eos_token_id=end,
        text_config__pad_token_id=end,
        **_ids(core, **marks),
    )
    pixels = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "patch_size": 4,
        "processor_class": "Molmo2Processor",
        "resample": 2,
        "size": {"height": 16, "width": 16},
        **HALF,
    }
    _save_beside(
        path,
        core,
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "Molmo2Processor",
            "bos_token": None,
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "additional_special_tokens": [*CHATML_TURNS[1:], *marks.values(), *others],
        },
        {
            **pixels,
            "image_processor_type": "Molmo2ImageProcessor",
            "max_crops": 4,
            "overlap_margins": [1, 1],
            "pooling_size": [2, 2],
        },
        {"image_use_col_tokens": True, "processor_class": "Molmo2Processor"},
        _chatml("<|image|>"),
    )
    write_json(
        path / "video_preprocessor_config.json",
        {**pixels, "pooling_size": [2, 2], "video_processor_type": "Molmo2VideoProcessor"},
    )
