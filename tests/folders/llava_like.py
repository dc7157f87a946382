"""The LLaVA line, Qwen's models, and others that join a tower to a decoder, as saved folders."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.conftest import QWEN_SPECIALS, QWEN_TEMPLATE, byte_level_core, write_json
from tests.families import FAMILIES
from tests.folders.parts import folder, save_model

VOCABULARY = 448
"""Wider than any tokenizer here, and a multiple of 64: real checkpoints pad their embeddings."""

HALF = [0.5, 0.5, 0.5]
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
LLAMA_SPECIALS = ("<unk>", "<s>", "</s>")
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _llama_core(*added: str) -> Any:
    """SentencePiece's BPE as in Llama 2: bytes to fall back to, a space ahead, <s> before all."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:?!"
    pieces = [*LLAMA_SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    core = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=[],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
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
            decoders.Strip(" ", 1, 0),
        ]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    core.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in (*LLAMA_SPECIALS, *added)]
    )
    return core


def _config(name: str, core: Any, eos: str, bos: str | None = None, **tokens: str) -> Any:
    """The family's small config, its ids as they are in this tokenizer."""
    config = deepcopy(FAMILIES[name]().model.config)
    text = config.get_text_config(decoder=True)
    text.vocab_size = VOCABULARY
    text.max_position_embeddings = 1024
    text.eos_token_id = text.pad_token_id = core.token_to_id(eos)
    text.bos_token_id = None if bos is None else core.token_to_id(bos)
    for attribute, token in tokens.items():
        assert hasattr(config, attribute), attribute
        setattr(config, attribute, core.token_to_id(token))
    return config


def _save(
    path: Path,
    config: Any,
    core: Any,
    tokenizer: dict[str, Any],
    preprocessor: dict[str, Any],
    template: str | None = None,
    processor: dict[str, Any] | None = None,
    video: dict[str, Any] | None = None,
) -> None:
    """The model and, as repositories have them, the files of tokenizer and processor."""
    import transformers

    save_model(getattr(transformers, _class_of(config)), config, path)
    core.save(str(path / "tokenizer.json"))
    write_json(
        path / "tokenizer_config.json",
        {
            "bos_token": None,
            "unk_token": None,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1024,
            **tokenizer,
        },
    )
    write_json(path / "preprocessor_config.json", preprocessor)
    if template is not None:
        (path / "chat_template.jinja").write_text(template, encoding="utf-8")
    if processor is not None:
        write_json(path / "processor_config.json", processor)
    if video is not None:
        write_json(path / "video_preprocessor_config.json", video)


def _class_of(config: Any) -> str:
    return type(config).__name__.removesuffix("Config") + "ForConditionalGeneration"


def _llama_tokenizer(**changes: Any) -> dict[str, Any]:
    return {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "legacy": False,
        **changes,
    }


def _qwen_tokenizer(specials: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": list(specials[1:]),
        **changes,
    }


LLAVA_NEXT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{{ '<<SYS>>\n' + message['content'][0]['text'] + '\n<</SYS>>\n\n' }}"
    "{% elif message['role'] == 'user' %}[INST] "
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] }}{% endfor %}{{ ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'][0]['text'] + '</s> ' }}{% endif %}"
    "{% endfor %}"
)


@folder("llava_next")
def save_llava_next(path: Path) -> None:
    """Mistral's chat, which ends with the question's own mark: there is no generation prompt."""
    core = _llama_core("<image>", "<pad>")
    config = _config("llava_next", core, "</s>", "<s>", image_token_index="<image>")
    _save(
        path,
        config,
        core,
        _llama_tokenizer(
            extra_special_tokens={"image_token": "<image>"},
            image_token="<image>",
            processor_class="LlavaNextProcessor",
        ),
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "processor_class": "LlavaNextProcessor",
            "aspect_ratio_setting": "anyres",
            "size": {"shortest_edge": 12},
            "crop_size": {"height": 12, "width": 12},
            "image_grid_pinpoints": config.image_grid_pinpoints,
            "do_pad": True,
            "resample": 3,
            **CLIP,
        },
        LLAVA_NEXT_TEMPLATE,
        {
            "processor_class": "LlavaNextProcessor",
            "image_token": "<image>",
            "patch_size": 4,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    )


LLAVA_ONEVISION_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'video') %}"
    "{{ '<video>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\n' + part['text'] }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@folder("llava_onevision")
def save_llava_onevision(path: Path) -> None:
    specials = (*CHATML, "<image>", "<video>")
    core = byte_level_core(specials, first=256)
    config = _config(
        "llava_onevision",
        core,
        "<|im_end|>",
        "<|im_start|>",
        image_token_index="<image>",
        video_token_index="<video>",
    )
    config.vision_aspect_ratio = "anyres_max_9"
    size = {"height": 12, "width": 12}
    _save(
        path,
        config,
        core,
        _qwen_tokenizer(specials[:3], processor_class="LlavaOnevisionProcessor"),
        {
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "processor_class": "LlavaOnevisionProcessor",
            "size": size,
            "image_grid_pinpoints": config.image_grid_pinpoints,
            "do_pad": True,
            "resample": 3,
            **CLIP,
        },
        LLAVA_ONEVISION_TEMPLATE,
        {
            "processor_class": "LlavaOnevisionProcessor",
            "image_token": "<image>",
            "video_token": "<video>",
            "num_image_tokens": 9,
            "vision_feature_select_strategy": "full",
        },
        {
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "processor_class": "LlavaOnevisionProcessor",
            "size": size,
        },
    )


def _qwen_pictures(processor: str, image_processor: str, **changes: Any) -> dict[str, Any]:
    return {
        "image_processor_type": image_processor,
        "processor_class": processor,
        "patch_size": 4,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 256, "longest_edge": 4096},
        **CLIP,
        **changes,
    }


def _qwen_config(name: str, core: Any) -> Any:
    return _config(
        name,
        core,
        "<|im_end|>",
        "<|endoftext|>",
        image_token_id="<|image_pad|>",
        video_token_id="<|video_pad|>",
        vision_start_token_id="<|vision_start|>",
        vision_end_token_id="<|vision_end|>",
    )


@folder("qwen2_5_vl")
def save_qwen2_5_vl(path: Path) -> None:
    """Its video half has no settings of its own; the template is in the tokenizer's."""
    core = byte_level_core(QWEN_SPECIALS, first=256)
    pictures = _qwen_pictures("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor")
    del pictures["size"]
    _save(
        path,
        _qwen_config("qwen2_5_vl", core),
        core,
        _qwen_tokenizer(QWEN_SPECIALS, chat_template=QWEN_TEMPLATE),
        pictures | {"min_pixels": 256, "max_pixels": 4096},
    )
    write_json(path / "chat_template.json", {"chat_template": QWEN_TEMPLATE})


QWEN3_TEMPLATE = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].content is string %}
        {{- messages[0].content }}
    {%- else %}
        {%- for part in messages[0].content if 'text' in part %}
            {{- part.text }}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages if message.role == 'user' %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == 'image' or 'image' in part %}
                {%- if add_vision_id %}Picture 1: {% endif -%}
                <|vision_start|><|image_pad|><|vision_end|>
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
QWEN3_5_TEMPLATE = """\
{%- macro rendered(content, system=false) %}
    {%- if content is string %}
        {{- content }}
    {%- elif content is iterable and content is not mapping %}
        {%- for part in content %}
            {%- if 'image' in part or part.type == 'image' %}
                {%- if system %}
                    {{- raise_exception('System message cannot contain images.') }}
                {%- endif %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- else %}
                {{- raise_exception('Unexpected item type in content.') }}
            {%- endif %}
        {%- endfor %}
    {%- elif content is none or content is undefined %}
        {{- '' }}
    {%- else %}
        {{- raise_exception('Unexpected content type.') }}
    {%- endif %}
{%- endmacro %}
{%- if not messages %}
    {{- raise_exception('No messages provided.') }}
{%- endif %}
{%- for message in messages %}
    {%- set content = rendered(message.content, message.role == 'system') | trim %}
    {%- if message.role == 'system' and not loop.first %}
        {{- raise_exception('System message must be at the beginning.') }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- else %}
        {{- '<think>\\n' }}
    {%- endif %}
{%- endif %}
"""


def _save_qwen3(name: str, path: Path, template: str, tokenizer: str) -> None:
    core = byte_level_core(QWEN_SPECIALS, first=256)
    video = _qwen_pictures("Qwen3VLProcessor", "", image_mean=HALF, image_std=HALF)
    del video["image_processor_type"]
    _save(
        path,
        _qwen_config(name, core),
        core,
        _qwen_tokenizer(QWEN_SPECIALS, tokenizer_class=tokenizer, chat_template=template),
        _qwen_pictures(
            "Qwen3VLProcessor", "Qwen2VLImageProcessorFast", image_mean=HALF, image_std=HALF
        ),
        template,
        video=video | {"video_processor_type": "Qwen3VLVideoProcessor"},
    )


@folder("qwen3_vl")
def save_qwen3_vl(path: Path) -> None:
    _save_qwen3("qwen3_vl", path, QWEN3_TEMPLATE, "Qwen2Tokenizer")


@folder("qwen3_vl_moe")
def save_qwen3_vl_moe(path: Path) -> None:
    _save_qwen3("qwen3_vl_moe", path, QWEN3_TEMPLATE, "Qwen2Tokenizer")


@folder("qwen3_5")
def save_qwen3_5(path: Path) -> None:
    """Its template trims the contents, refuses what it does not know, and begins a thought."""
    _save_qwen3("qwen3_5", path, QWEN3_5_TEMPLATE, "Qwen2Tokenizer")


@folder("qwen3_5_moe")
def save_qwen3_5_moe(path: Path) -> None:
    _save_qwen3("qwen3_5_moe", path, QWEN3_5_TEMPLATE, "Qwen2Tokenizer")


INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@folder("internvl")
def save_internvl(path: Path) -> None:
    """The processor writes the begin and end marks around what the template placed."""
    specials = (*CHATML, "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<video>")
    core = byte_level_core(specials, first=256)
    _save(
        path,
        _config("internvl", core, "<|im_end|>", image_token_id="<IMG_CONTEXT>"),
        core,
        _qwen_tokenizer(
            specials,
            extra_special_tokens={
                "context_image_token": "<IMG_CONTEXT>",
                "start_image_token": "<img>",
                "end_image_token": "</img>",
                "video_token": "<video>",
            },
            context_image_token="<IMG_CONTEXT>",
            start_image_token="<img>",
            end_image_token="</img>",
            video_token="<video>",
            processor_class="InternVLProcessor",
        ),
        {
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "processor_class": "InternVLProcessor",
            "crop_to_patches": False,
            "min_patches": 1,
            "max_patches": 12,
            "size": {"height": 16, "width": 16},
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        INTERNVL_TEMPLATE,
        {"processor_class": "InternVLProcessor", "image_seq_length": 4},
        {
            "video_processor_type": "InternVLVideoProcessor",
            "processor_class": "InternVLProcessor",
            "size": {"height": 16, "width": 16},
        },
    )


MISTRAL3_TEMPLATE = """\
{%- set today = strftime_now("%Y-%m-%d") %}
{%- set default_system_message = "You are Mistral.\\nThe current date is " + today %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- if messages[0]['content'] is string %}
        {%- set system_message = messages[0]['content'] %}
    {%- else %}
        {%- set system_message = messages[0]['content'][0]['text'] %}
    {%- endif %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = default_system_message %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '[SYSTEM_PROMPT]' + system_message + '[/SYSTEM_PROMPT]' }}
{%- for message in loop_messages %}
    {%- if message['role'] != 'user' %}
        {{- raise_exception('Only user, system and assistant roles are supported!') }}
    {%- elif message['content'] is string %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- else %}
        {{- '[INST]' }}
        {%- for block in message['content'] %}
            {%- if block['type'] == 'text' %}
                {{- block['text'] }}
            {%- elif block['type'] in ['image', 'image_url'] %}
                {{- '[IMG]' }}
            {%- else %}
                {{- raise_exception('Only text and image blocks are supported!') }}
            {%- endif %}
        {%- endfor %}
        {{- '[/INST]' }}
    {%- endif %}
{%- endfor %}
"""


@folder("mistral3")
def save_mistral3(path: Path) -> None:
    """Marks after every row of the picture; the default system text has the date in it."""
    specials = (
        *LLAMA_SPECIALS,
        *("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        *("[IMG]", "[IMG_BREAK]", "[IMG_END]", "<pad>"),
    )
    core = byte_level_core(specials, bos="<s>")
    _save(
        path,
        _config("mistral3", core, "</s>", "<s>", image_token_index="[IMG]"),
        core,
        _llama_tokenizer(
            tokenizer_class="LlamaTokenizerFast",
            additional_special_tokens=list(specials),
            processor_class="PixtralProcessor",
        ),
        {
            "image_processor_type": "PixtralImageProcessorFast",
            "processor_class": "PixtralProcessor",
            "patch_size": {"height": 4, "width": 4},
            "size": {"longest_edge": 32},
            "resample": 3,
            **CLIP,
        },
        MISTRAL3_TEMPLATE,
        {
            "processor_class": "PixtralProcessor",
            "image_token": "[IMG]",
            "image_break_token": "[IMG_BREAK]",
            "image_end_token": "[IMG_END]",
            "patch_size": 4,
            "spatial_merge_size": 2,
        },
    )


COHERE_MARKS = (
    *("<PAD>", "<UNK>", "<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    *("<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|START_RESPONSE|>"),
    *("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>"),
    *("TILE_GLOBAL", *(f"TILE_{number}" for number in range(1, 13))),
)


def _cohere_template(picture: str, response: str) -> str:
    return (
        "{{ bos_token }}{% for message in messages %}<|START_OF_TURN_TOKEN|>"
        "{{ {'user': '<|USER_TOKEN|>', 'system': '<|SYSTEM_TOKEN|>'}[message['role']] }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
        f"{picture}{{% endfor %}}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
        "{{ part['text'] }}{% endfor %}{% endif %}<|END_OF_TURN_TOKEN|>{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
        f"{response}{{% endif %}}"
    )


def _cohere_tokenizer(**changes: Any) -> dict[str, Any]:
    return {
        "tokenizer_class": "CohereTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<BOS_TOKEN>",
        "eos_token": "<|END_OF_TURN_TOKEN|>",
        "unk_token": "<UNK>",
        "pad_token": "<PAD>",
        "legacy": True,
        **changes,
    }


@folder("aya_vision")
def save_aya_vision(path: Path) -> None:
    """The placeholder, <image>, is no token; what stands for the picture are others' ids."""
    core = byte_level_core(COHERE_MARKS, bos="<BOS_TOKEN>")
    _save(
        path,
        _config(
            "aya_vision",
            core,
            "<|END_OF_TURN_TOKEN|>",
            "<BOS_TOKEN>",
            image_token_index="<|IMG_PATCH|>",
        ),
        core,
        _cohere_tokenizer(processor_class="AyaVisionProcessor"),
        {
            "image_processor_type": "GotOcr2ImageProcessor",
            "processor_class": "AyaVisionProcessor",
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 12,
            "size": {"height": 16, "width": 16},
            "image_mean": HALF,
            "image_std": HALF,
        },
        _cohere_template("<image>", "<|START_RESPONSE|>"),
        {
            "processor_class": "AyaVisionProcessor",
            "image_token": "<image>",
            "img_patch_token": "<|IMG_PATCH|>",
            "start_of_img_token": "<|START_OF_IMG|>",
            "end_of_img_token": "<|END_OF_IMG|>",
            "tile_token": "TILE",
            "tile_global_token": "TILE_GLOBAL",
            "patch_size": 4,
            "img_size": 16,
            "downsample_factor": 2,
        },
    )


@folder("cohere2_vision")
def save_cohere2_vision(path: Path) -> None:
    core = byte_level_core(COHERE_MARKS[:13], bos="<BOS_TOKEN>")
    tokens = {
        "image_token": "<|IMG_PATCH|>",
        "boi_token": "<|START_OF_IMG|>",
        "eoi_token": "<|END_OF_IMG|>",
        "img_line_break_token": "<|IMG_LINE_BREAK|>",
    }
    _save(
        path,
        _config(
            "cohere2_vision",
            core,
            "<|END_OF_TURN_TOKEN|>",
            "<BOS_TOKEN>",
            image_token_id="<|IMG_PATCH|>",
        ),
        core,
        _cohere_tokenizer(
            extra_special_tokens=tokens, processor_class="Cohere2VisionProcessor", **tokens
        ),
        {
            "image_processor_type": "Cohere2VisionImageProcessorFast",
            "processor_class": "Cohere2VisionProcessor",
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 12,
            "patch_size": 2,
            "size": {"height": 16, "width": 16},
            "image_mean": HALF,
            "image_std": HALF,
        },
        _cohere_template("<|IMG_PATCH|>", "<|START_RESPONSE|>"),
        {"processor_class": "Cohere2VisionProcessor"},
    )


GLM4V_TEMPLATE = """\
[gMASK]<sop>
{%- for msg in messages %}
    {%- if msg.role == 'system' %}
<|system|>
{{ msg.content }}
    {%- elif msg.role == 'user' %}
<|user|>{{ '\\n' }}

        {%- if msg.content is string %}
{{ msg.content }}
        {%- else %}
            {%- for item in msg.content %}
                {%- if item.type == 'video' or 'video' in item %}
<|begin_of_video|><|video|><|end_of_video|>
                {%- elif item.type == 'image' or 'image' in item %}
<|begin_of_image|><|image|><|end_of_image|>
                {%- elif item.type == 'text' %}
{{ item.text }}
                {%- endif %}
            {%- endfor %}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
GLM_SPECIALS = (
    *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
    *("<|image|>", "<|video|>"),
)


@folder("glm4v")
def save_glm4v(path: Path) -> None:
    """Its template writes a system text as it is given: a string."""
    core = byte_level_core(GLM_SPECIALS, first=256)
    pictures = _qwen_pictures("Glm4vProcessor", "Glm4vImageProcessor")
    video = {key: pictures[key] for key in pictures if key != "image_processor_type"}
    _save(
        path,
        _config(
            "glm4v",
            core,
            "<|endoftext|>",
            image_token_id="<|image|>",
            video_token_id="<|video|>",
            image_start_token_id="<|begin_of_image|>",
            image_end_token_id="<|end_of_image|>",
            video_start_token_id="<|begin_of_video|>",
            video_end_token_id="<|end_of_video|>",
        ),
        core,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "padding_side": "left",
            "do_lower_case": False,
            "remove_space": False,
            "additional_special_tokens": list(GLM_SPECIALS),
        },
        pictures,
        GLM4V_TEMPLATE,
        video=video | {"video_processor_type": "Glm4vVideoProcessor"},
    )


VIPLLAVA_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'][0]['text'] }}"
    "{% else %}{{ '###' + message['role'].replace('user', 'Human').title() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '###Assistant:' }}{% endif %}"
)


@folder("vipllava")
def save_vipllava(path: Path) -> None:
    """LLaVA's processor, under the name of another family's model."""
    core = _llama_core("<image>", "<pad>")
    _save(
        path,
        _config("vipllava", core, "</s>", "<s>", image_token_index="<image>"),
        core,
        _llama_tokenizer(processor_class="LlavaProcessor"),
        {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
            "size": {"shortest_edge": 12},
            "crop_size": {"height": 12, "width": 12},
            "resample": 3,
            **CLIP,
        },
        VIPLLAVA_TEMPLATE,
        {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "patch_size": 4,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    )


@folder("got_ocr2")
def save_got_ocr2(path: Path) -> None:
    """No chat template; always 256 tokens to a picture, and its processor takes no text alone."""
    specials = (*CHATML, "<ref>", "</ref>", "<img>", "</img>", "<imgpad>")
    core = byte_level_core(specials, first=256)
    config = _config(
        "got_ocr2", core, "<|endoftext|>", "<|endoftext|>", image_token_index="<imgpad>"
    )
    config.image_seq_length = 256
    config.vision_config.image_size = 128
    config.vision_config.patch_size = 2
    _save(
        path,
        config,
        core,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|endoftext|>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "model_input_names": ["input_ids", "attention_mask"],
            "processor_class": "GotOcr2Processor",
            "clean_up_tokenization_spaces": True,
        },
        {
            "image_processor_type": "GotOcr2ImageProcessor",
            "processor_class": "GotOcr2Processor",
            "size": {"height": 128, "width": 128},
            **CLIP,
        },
        processor={"processor_class": "GotOcr2Processor"},
    )


DEEPSEEK_TEXT = (
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}PICTURE"
    "{% elif content['type'] == 'text' %}{% set text = content['text'] %}"
    "{% if loop.first %}{% set text = text.lstrip() %}{% endif %}"
    "{% if loop.last %}{% set text = text.rstrip() %}{% endif %}"
    "{{ text }}{% endif %}{% endfor %}"
    "{% if not loop.last or add_generation_prompt %}"
    "{% if message['role'] | lower == 'user' %}{{ seps[0] }}{% else %}{{ seps[1] }}{% endif %}"
    "{% endif %}"
)
DEEPSEEK_SPECIALS = (
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"),
    *("<image_placeholder>", "<begin_of_image>", "<end_of_image>", "<|User|>", "<|Assistant|>"),
)


def _deepseek_template(user: str, assistant: str, picture: str, ahead: str = "") -> str:
    return (
        "{% set seps = ['\n\n', '<｜end▁of▁sentence｜>'] %}"
        f"{ahead}"
        "{% for message in messages %}"
        f"{{% if message['role'] | lower == 'user' %}}{user}: "
        f"{{% elif message['role'] | lower == 'assistant' %}}{assistant}: "
        "{% else %}{{ message['role'].capitalize() }}: {% endif %}"
        f"{DEEPSEEK_TEXT.replace('PICTURE', picture)}"
        "{% endfor %}"
        f"{{% if add_generation_prompt %}}{assistant}:{{% endif %}}"
    )


def _deepseek_tokenizer(**tokens: str) -> dict[str, Any]:
    return {
        "tokenizer_class": "LlamaTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<｜begin▁of▁sentence｜>",
        "eos_token": "<｜end▁of▁sentence｜>",
        "pad_token": "<｜▁pad▁｜>",
        "unk_token": None,
        "extra_special_tokens": tokens,
        **tokens,
    }


def _deepseek_pictures(processor: str, image_processor: str) -> dict[str, Any]:
    return {
        "image_processor_type": image_processor,
        "processor_class": processor,
        "size": {"height": 12, "width": 12},
        "min_size": 4,
        "do_pad": True,
        "image_mean": HALF,
        "image_std": HALF,
    }


def _deepseek_config(name: str, core: Any) -> Any:
    begin, end = DEEPSEEK_SPECIALS[:2]
    return _config(name, core, end, begin, image_token_id="<image_placeholder>")


DEEPSEEK_SYSTEM = (
    "You are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides.\n\n"
)


@folder("deepseek_vl")
def save_deepseek_vl(path: Path) -> None:
    """A system text of its own before every chat; trims what is asked."""
    core = byte_level_core(DEEPSEEK_SPECIALS, bos=DEEPSEEK_SPECIALS[0])
    _save(
        path,
        _deepseek_config("deepseek_vl", core),
        core,
        _deepseek_tokenizer(image_token="<image_placeholder>"),
        _deepseek_pictures("DeepseekVLProcessor", "DeepseekVLImageProcessor"),
        _deepseek_template("User", "Assistant", "<image_placeholder>", DEEPSEEK_SYSTEM),
        {"processor_class": "DeepseekVLProcessor", "num_image_tokens": 9},
    )


@folder("janus")
def save_janus(path: Path) -> None:
    """Its processor puts a system text before the text it is given, and the begin and end marks
    around the picture."""
    core = byte_level_core(DEEPSEEK_SPECIALS, bos=DEEPSEEK_SPECIALS[0])
    picture = (
        "{% if not loop.first %}{{ '\n' }}{% endif %}<image_placeholder>"
        "{% if not loop.last %}{{ '\n' }}{% endif %}"
    )
    _save(
        path,
        _deepseek_config("janus", core),
        core,
        _deepseek_tokenizer(
            image_token="<image_placeholder>",
            boi_token="<begin_of_image>",
            eoi_token="<end_of_image>",
        ),
        _deepseek_pictures("JanusProcessor", "JanusImageProcessor"),
        _deepseek_template("<|User|>", "<|Assistant|>", picture),
        {
            "processor_class": "JanusProcessor",
            "num_image_tokens": 9,
            "use_default_system_prompt": True,
        },
    )


OVIS2_MARKS = ("<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")


@folder("ovis2")
def save_ovis2(path: Path) -> None:
    """The placeholder, <image>, is no token; marks between the tiles are visual words too."""
    specials = (*CHATML, *OVIS2_MARKS)
    core = byte_level_core(specials, first=256)
    config = _config("ovis2", core, "<|im_end|>", image_token_id="<IMG_ATOM>")
    config.vocab_size = VOCABULARY
    config.visual_indicator_token_ids = [core.token_to_id(mark) for mark in OVIS2_MARKS[1:]]
    template = INTERNVL_TEMPLATE.replace("<IMG_CONTEXT>", "<image>")
    _save(
        path,
        config,
        core,
        _qwen_tokenizer(specials, processor_class="Ovis2Processor"),
        {
            "image_processor_type": "Ovis2ImageProcessor",
            "processor_class": "Ovis2Processor",
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 12,
            "use_covering_area_grid": True,
            "size": {"height": 16, "width": 16},
            "image_mean": HALF,
            "image_std": HALF,
        },
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + template,
        {"processor_class": "Ovis2Processor", "image_token": "<image>", "image_seq_length": 4},
    )


@folder("video_llama_3")
def save_video_llama_3(path: Path) -> None:
    specials = (*CHATML, "<|image_pad|>", "<|video_pad|>")
    core = byte_level_core(specials, first=256)
    pictures = _qwen_pictures(
        "VideoLlama3Processor",
        "VideoLlama3ImageProcessor",
        temporal_patch_size=1,
        merge_size=1,
        size={"shortest_edge": 64, "longest_edge": 1024},
        image_mean=HALF,
        image_std=HALF,
    )
    video = {key: pictures[key] for key in pictures if key != "image_processor_type"}
    _save(
        path,
        _config(
            "video_llama_3",
            core,
            "<|im_end|>",
            image_token_id="<|image_pad|>",
            video_token_id="<|video_pad|>",
        ),
        core,
        _qwen_tokenizer(specials),
        pictures,
        INTERNVL_TEMPLATE.replace("<IMG_CONTEXT>", "<|image_pad|>"),
        video=video | {"video_processor_type": "VideoLlama3VideoProcessor", "merge_size": 2},
    )
