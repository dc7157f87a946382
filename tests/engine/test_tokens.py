"""What a token adds to a running text, for the kinds of tokenizers that models have."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.prompts.token_texts import TokenTexts, remember_tokenizer, texts_for

GOLD = "Ġgold"
FIRE_HEAD = "ðŁĶ"
"""The first three bytes of a flame emoji (F0 9F 94 A5), in byte-level letters."""
MERGES = [
    ("Ġ", "g"),
    ("o", "l"),
    ("Ġg", "ol"),
    ("Ġgol", "d"),
    ("g", "ol"),
    ("gol", "d"),
    ("ð", "Ł"),
    ("ðŁ", "Ķ"),
    ("ðŁĶ", "¥"),
    ("Ġ", "ðŁ"),
    ("Ã", "©"),
]


def byte_level() -> Any:
    """GPT-2's kind: every byte is a letter, a space is a Ġ."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = list(dict.fromkeys([*letters, *(a + b for a, b in MERGES)]))
    core = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=MERGES))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken("<|end|>", special=True)])
    core.add_tokens([AddedToken("été", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>")


def sentence_piece() -> Any:
    """Llama's kind: a space is a ▁, unknown bytes are <0xHH>."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "a", "▁a", "g", "gold", "▁gold", "é", "▁▁"]
    core = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=[("▁", "a"), ("▁", "gold"), ("▁", "▁")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
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
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    core.add_special_tokens([AddedToken(text, special=True) for text in pieces[:3]])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def word_piece() -> Any:
    """BERT's kind: pieces inside a word begin with ##."""
    pieces = ["[UNK]", "[CLS]", "a", "gold", "##en", "##s", ",", "'"]
    core = Tokenizer(
        models.WordPiece(vocab={p: i for i, p in enumerate(pieces)}, unk_token="[UNK]")
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="[UNK]", clean_up_tokenization_spaces=False
    )


def text(tokenizer: Any, piece: str) -> str:
    token = tokenizer.convert_tokens_to_ids(piece)
    assert tokenizer.convert_ids_to_tokens(token) == piece
    return TokenTexts(tokenizer)(token)


@pytest.mark.parametrize(
    ("piece", "wanted"),
    [
        (GOLD, " gold"),
        ("gold", "gold"),
        ("Ġ", " "),
        ("Ċ", "\n"),
        ("ĉ", "\t"),
        ("č", "\r"),
        ("Ã©", "é"),
        ("ðŁĶ¥", "\U0001f525"),
        ("été", "été"),
        ("<|end|>", "<|end|>"),
        ("Ä", "\\xC4"),
        (FIRE_HEAD, "\\xF0\\x9F\\x94"),
        ("Ł", "\\x9F"),
        ("ĠðŁ", "\\x20\\xF0\\x9F"),
    ],
)
def test_byte_level_pieces(piece: str, wanted: str) -> None:
    assert text(byte_level(), piece) == wanted


@pytest.mark.parametrize(
    ("piece", "wanted"),
    [
        ("▁gold", " gold"),
        ("gold", "gold"),
        ("▁", " "),
        ("▁▁", "  "),
        ("é", "é"),
        ("<0x41>", "A"),
        ("<0xE4>", "<0xE4>"),
        ("<0xFF>", "<0xFF>"),
        ("</s>", "</s>"),
    ],
)
def test_sentence_pieces(piece: str, wanted: str) -> None:
    assert text(sentence_piece(), piece) == wanted


def test_a_newline_byte_keeps_its_meaning() -> None:
    """<0x0A> alone is valid UTF-8: it adds a newline, or it is named by its piece."""
    assert text(sentence_piece(), "<0x0A>") in ("\n", "<0x0A>")


@pytest.mark.parametrize(
    ("piece", "wanted"), [("gold", " gold"), ("##en", "en"), ("##s", "s"), (",", " ,")]
)
def test_word_pieces(piece: str, wanted: str) -> None:
    assert text(word_piece(), piece) == wanted


@pytest.mark.parametrize("make", [byte_level, sentence_piece, word_piece])
def test_every_id_has_a_text_without_replacement_characters(make: Any) -> None:
    tokenizer = make()
    texts = TokenTexts(tokenizer)
    for token in range(len(tokenizer)):
        found = texts(token)
        assert isinstance(found, str)
        assert found
        assert "\ufffd" not in found
        found.encode()


@pytest.mark.parametrize("make", [byte_level, sentence_piece])
def test_the_texts_of_a_sentence_add_up_to_it(make: Any) -> None:
    tokenizer = make()
    texts = TokenTexts(tokenizer)
    sentence = "a gold  a é gold"
    ids = tokenizer.encode(sentence, add_special_tokens=False)
    assert "".join(map(texts, ids)).removeprefix(" ") == sentence


def test_two_ids_of_one_text_stay_two() -> None:
    """`A` and the byte 0x41 read the same; only their ids keep them apart."""
    tokenizer = sentence_piece()
    tokenizer.add_tokens([AddedToken("A", normalized=False)])
    texts = TokenTexts(tokenizer)
    letter, byte = tokenizer.convert_tokens_to_ids(["A", "<0x41>"])
    assert letter != byte
    assert texts(letter) == texts(byte) == "A"


def test_ids_beyond_the_tokenizer_have_an_empty_text() -> None:
    """Embeddings are often padded to more rows than there are tokens."""
    for make in (byte_level, sentence_piece, word_piece):
        tokenizer = make()
        assert TokenTexts(tokenizer)(len(tokenizer) + 5) == ""


def test_a_true_replacement_character_is_itself() -> None:
    tokenizer = sentence_piece()
    tokenizer.add_tokens([AddedToken("\ufffd", normalized=False)])
    token = tokenizer.convert_tokens_to_ids("\ufffd")
    assert TokenTexts(tokenizer)(token) == "\ufffd"


def test_a_model_without_a_known_tokenizer_has_empty_texts() -> None:
    from torch import nn

    model = nn.Linear(1, 1)
    assert texts_for(model)(3) == ""
    remember_tokenizer(model, byte_level())
    tokenizer = byte_level()
    assert texts_for(model)(tokenizer.convert_tokens_to_ids(GOLD)) == " gold"
    assert texts_for(nn.Linear(1, 1))(3) == ""
