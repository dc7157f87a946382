"""Models that take text only, as saved folders, and the kinds of tokenizer that families share."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.conftest import byte_level_core, write_json
from tests.families import FAMILIES
from tests.folders.parts import folder, save_model

LETTERS = [chr(code) for code in range(33, 127)]
LLAMA_SPECIALS = ("<unk>", "<s>", "</s>")
BART_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
GEMMA_SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
QWEN_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")


def around(core: Any, before: str = "", after: str = "") -> Any:
    """The tokenizer, adding these special tokens before a text and after it."""
    from tokenizers import processors

    marks = [text for text in (before, after) if text]
    core.post_processor = processors.TemplateProcessing(
        single=f"{before} $A {after}".strip(),
        special_tokens=[(text, core.token_to_id(text)) for text in dict.fromkeys(marks)],
    )
    return core


def add_special(core: Any, specials: Iterable[str]) -> Any:
    """The tokenizer with these texts as special tokens."""
    from tokenizers import AddedToken

    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    return core


def sentencepiece_core(specials: tuple[str, ...], *, space_ahead: bool, added: str = "") -> Any:
    """SentencePiece's BPE as Llama 2 (with a space before every text) and Gemma have it: bytes
    to fall back to; `specials` have the first ids, `added` (separated by spaces) the last."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    pieces = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *LETTERS]
    core = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=[],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces = normalizers.Replace(" ", "▁")
    decoding = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if space_ahead:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
        decoding.append(decoders.Strip(" ", 1, 0))
    else:
        core.normalizer = spaces
    core.decoder = decoders.Sequence(decoding)
    return add_special(core, (*specials, *added.split()))


def unigram_core(specials: tuple[str, ...], unknown: str, behind: Iterable[str] = ()) -> Any:
    """SentencePiece's Unigram as T5 and XLM-R have it: white space is one space, and every word
    has one ahead. `specials` have the first ids, `behind` the last."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [*((text, 0.0) for text in specials), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in LETTERS]
    pieces += [(text, 0.0) for text in behind]
    core = Tokenizer(models.Unigram(pieces, unk_id=specials.index(unknown), byte_fallback=False))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )
    core.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return add_special(core, (*specials, *behind))


def t5_core() -> Any:
    """T5's own: </s> after every text, and 100 sentinels at the end of the vocabulary."""
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(100))]
    return around(unigram_core(("<pad>", "</s>", "<unk>"), "<unk>", sentinels), after="</s>")


def bart_core(*added: str) -> Any:
    """RoBERTa's and BART's own: bytes, between <s> and </s>."""
    return around(byte_level_core((*BART_SPECIALS, *added)), "<s>", "</s>")


def wordpiece_core() -> Any:
    """BERT's own, without capitals, between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    letters = [letter for letter in LETTERS if not letter.isupper()]
    pieces = [*specials, *letters, *(f"##{letter}" for letter in letters)]
    core = Tokenizer(
        models.WordPiece(
            vocab={piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"
        )
    )
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(prefix="##")
    return around(add_special(core, specials), "[CLS]", "[SEP]")


def padded(core: Any) -> int:
    """The width of embeddings for this tokenizer: wider, as real checkpoints pad theirs."""
    return (int(core.get_vocab_size()) // 16 + 1) * 16


def save_tokenizer(path: Path, core: Any, **settings: Any) -> None:
    """Write tokenizer.json and, with these settings, tokenizer_config.json."""
    path.mkdir(exist_ok=True)
    core.save(str(path / "tokenizer.json"))
    write_json(path / "tokenizer_config.json", settings)


def _save_tiny(name: str, path: Path, core: Any, **changes: Any) -> None:
    """Save the family's tiny model with a vocabulary for this tokenizer."""
    built = FAMILIES[name]().model
    config = deepcopy(built.config)
    config.vocab_size = padded(core)
    for key, value in changes.items():
        setattr(config, key, value)
    save_model(type(built), config, path)


def _ids(core: Any, **tokens: str) -> dict[str, int]:
    return {f"{name}_token_id": core.token_to_id(text) for name, text in tokens.items()}


@folder("gpt2")
def save_gpt2(path: Path) -> None:
    """A base model as of 2019: the tokenizer's settings name no class, nothing is put before a
    text, and one token is BOS and EOS."""
    from transformers import GPT2Config, GPT2LMHeadModel

    core = byte_level_core(("<|endoftext|>",), first=256)
    config = GPT2Config(
        vocab_size=core.get_vocab_size(),
        n_positions=128,
        n_embd=32,
        n_layer=4,
        n_head=4,
        initializer_range=0.2,
        **_ids(core, bos="<|endoftext|>", eos="<|endoftext|>"),
    )
    save_model(GPT2LMHeadModel, config, path)
    save_tokenizer(path, core, model_max_length=128)


LLAMA3_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


@folder("llama")
def save_llama(path: Path) -> None:
    """Llama 3 Instruct: the chat template writes the BOS that the tokenizer would add as well."""
    specials = (
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    )
    core = around(byte_level_core(specials, first=256), "<|begin_of_text|>")
    _save_tiny(
        "llama",
        path,
        core,
        pad_token_id=None,
        **_ids(core, bos="<|begin_of_text|>", eos="<|eot_id|>"),
    )
    save_tokenizer(
        path,
        core,
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=512,
        clean_up_tokenization_spaces=True,
        chat_template=LLAMA3_TEMPLATE,
    )


@folder("llama-base")
def save_llama_base(path: Path) -> None:
    """Llama 2: a base model with SentencePiece's BPE, and a space before every text."""
    core = around(sentencepiece_core(LLAMA_SPECIALS, space_ahead=True), "<s>")
    _save_tiny("llama", path, core, pad_token_id=None, **_ids(core, bos="<s>", eos="</s>"))
    special = {"__type": "AddedToken", "lstrip": False, "normalized": False, "rstrip": False}
    save_tokenizer(
        path,
        core,
        tokenizer_class="LlamaTokenizer",
        add_bos_token=True,
        add_eos_token=False,
        bos_token={**special, "content": "<s>", "single_word": False},
        eos_token={**special, "content": "</s>", "single_word": False},
        unk_token={**special, "content": "<unk>", "single_word": False},
        pad_token=None,
        legacy=False,
        clean_up_tokenization_spaces=False,
        model_max_length=1000000000000000019884624838656,
        padding_side="right",
        sp_model_kwargs={},
    )


GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)


def gemma_core(added: str = "") -> Any:
    """Gemma's own: no space ahead, and BOS before every text."""
    core = sentencepiece_core(
        GEMMA_SPECIALS, space_ahead=False, added=f"<start_of_turn> <end_of_turn> {added}"
    )
    return around(core, "<bos>")


GEMMA_TOKENIZER = {
    "tokenizer_class": "GemmaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "clean_up_tokenization_spaces": False,
    "spaces_between_special_tokens": False,
}


@folder("gemma2")
def save_gemma2(path: Path) -> None:
    """Its chat template writes the BOS, and refuses a system turn."""
    core = gemma_core()
    ids = _ids(core, bos="<bos>", eos="<eos>", pad="<pad>")
    _save_tiny("gemma2", path, core, **ids)
    save_tokenizer(path, core, **GEMMA_TOKENIZER, chat_template=GEMMA_TEMPLATE)


QWEN3_TEMPLATE = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not \
(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""


def _save_qwen(name: str, path: Path) -> None:
    core = byte_level_core(QWEN_SPECIALS, first=256)
    ids = _ids(core, bos="<|endoftext|>", eos="<|im_end|>")
    _save_tiny(name, path, core, pad_token_id=None, **ids)
    save_tokenizer(
        path,
        core,
        tokenizer_class="Qwen2Tokenizer",
        add_bos_token=False,
        add_prefix_space=False,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        errors="replace",
        model_max_length=131072,
        split_special_tokens=False,
        clean_up_tokenization_spaces=False,
        chat_template=QWEN3_TEMPLATE,
    )


@folder("qwen3")
def save_qwen3(path: Path) -> None:
    """No BOS; contents that are no strings are left out by the chat template."""
    _save_qwen("qwen3", path)


@folder("qwen3_moe")
def save_qwen3_moe(path: Path) -> None:
    _save_qwen("qwen3_moe", path)


@folder("t5")
def save_t5(path: Path) -> None:
    """As in the first T5 there are no settings of the tokenizer but its length."""
    core = t5_core()
    _save_tiny("t5", path, core, **_ids(core, pad="<pad>", eos="</s>", decoder_start="<pad>"))
    save_tokenizer(path, core, model_max_length=512)


@folder("bart")
def save_bart(path: Path) -> None:
    """Its decoder starts with the EOS, and its first token is forced."""
    core = bart_core()
    ids = _ids(core, bos="<s>", eos="</s>", pad="<pad>", decoder_start="</s>")
    _save_tiny("bart", path, core, **ids)
    write_json(
        path / "generation_config.json",
        {"_from_model_config": True, "num_beams": 4, "forced_bos_token_id": 0, **ids},
    )
    save_tokenizer(path, core, model_max_length=512)
