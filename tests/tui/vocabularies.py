"""Vocabularies of real shape: trained on what is at hand, with every kind of odd token added."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from engine.prompts.token_texts import TokenTexts
from samples import MODEL

_CHAT = ["<|im_start|>", "<|im_end|>", "<image>", "<|vision_start|>", "[/INST]", "</s>", "<pad>"]

_MANY_SCRIPTS = (
    "naïve café – “quoted” … 100 € ½ × 3 | 红色的立方体，圆柱体。赤い立方体と球。 "
    "빨간 정육면체와 구 "
    "красный куб и шар κόκκινος κύβος مكعب أحمر كبير קובייה אדומה लाल घन स्लेटी ลูกบาศก์สีแดง "
    "🔴 🟥 👩‍🔬 👍🏽 🇩🇪 ❤️ \t\r\n\x0b\x0c a\u0301 e\u0308 \u200b\u200d\u202e\u2066\ufeff"
)


def _lines() -> Iterator[str]:
    """Text of many kinds: the standard library's own, and many scripts."""
    folder = Path(sys.modules["json"].__file__ or "").parents[1]
    for name in ("argparse.py", "decimal.py", "html/entities.py", "this.py", "typing.py"):
        path = folder / name
        if path.is_file():
            yield from path.read_text("utf-8", "replace").splitlines(keepends=True)
    for start in range(len(_MANY_SCRIPTS)):
        yield _MANY_SCRIPTS[start : start + 40]


@cache
def byte_level(size: int) -> Any:
    """GPT-2's and Qwen's kind: byte-level BPE, with all 256 bytes."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        _lines(),
        trainers.BpeTrainer(
            vocab_size=size,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=_CHAT,
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>")


@cache
def byte_fallback(size: int) -> Any:
    """Llama's and Gemma's kind: a space is a ▁, and bytes that no piece covers are <0xHH>."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    trained.train_from_iterator(
        _lines(), trainers.BpeTrainer(vocab_size=size, show_progress=False, max_token_length=24)
    )
    pieces = [*_CHAT, *(f"<0x{byte:02X}>" for byte in range(256))]
    learned = sorted(trained.get_vocab(), key=trained.get_vocab().__getitem__)
    pieces += [piece for piece in learned if piece not in pieces]
    pieces += [
        piece for n in (2, 4, 15) for piece in ("▁" * n, "\n" * n, "\t" * n) if piece not in pieces
    ]
    core = Tokenizer(
        models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[], byte_fallback=True)
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    core.add_special_tokens([AddedToken(text, special=True) for text in _CHAT])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


@cache
def many_scripts(size: int) -> Any:
    """A vocabulary of characters: CJK, controls, bidi marks, joiners, marks, emoji, flags."""
    ranges = [
        range(0x20),
        range(0x7F, 0xA1),  # C1 controls, and the no-break space
        range(0x21, 0x7F),
        range(0x300, 0x330),  # combining marks
        range(0x590, 0x5F5),  # Hebrew
        range(0x600, 0x6FF),  # Arabic, its marks and its invisible signs
        range(0x900, 0x97F),  # Devanagari
        range(0xE00, 0xE5B),  # Thai
        range(0x1100, 0x1200),  # Hangul jamo
        range(0x2000, 0x2070),  # spaces, joiners, bidi marks
        range(0x2580, 0x25A0),  # blocks, as bars are made of
        range(0x3000, 0x3100),  # CJK punctuation, kana
        range(0xAC00, 0xAC40),  # Hangul
        range(0xFE00, 0xFE10),  # variation selectors
        range(0xFEFF, 0xFF60),  # byte-order mark, full-width forms
        range(0x1F1E6, 0x1F200),  # regional indicators
        range(0x1F300, 0x1F650),  # emoji and skin tones
        range(0xE0001, 0xE0080),  # tags
    ]
    pieces = list(dict.fromkeys(chr(code) for codes in ranges for code in codes))
    pieces += [
        "👩‍🔬",
        "👍🏽",
        "🇩🇪",
        "❤️",
        "a\u0301\u0301\u0301\u0301",
        "\r\n",
        "\x1b[2J",
        "[/red]",
        "[bold]",
    ]
    further = (code for code in range(0x4E00, 0x110000) if not 0xD800 <= code < 0xE000)
    room = max(size - len(pieces), 200)
    known = set(pieces)
    pieces += list(islice((chr(code) for code in further if chr(code) not in known), room))
    core = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}, "a"))
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core)


def bundled() -> Any:
    """The tokenizer of the bundled model, whose answers are in English."""
    return PreTrainedTokenizerFast(tokenizer_file=str(MODEL / "tokenizer.json"))


KINDS = {"byte-level": byte_level, "byte fallback": byte_fallback, "many scripts": many_scripts}


def every_text(kind: str, size: int) -> list[tuple[int, str]]:
    """Id and text of every token of a vocabulary, as they are stored in records."""
    tokenizer = KINDS[kind](size)
    texts = TokenTexts(tokenizer)
    return [(token, texts(token)) for token in range(len(tokenizer))]
