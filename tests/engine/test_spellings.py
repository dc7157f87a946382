"""Which tokens a typed word can be, for the kinds of tokenizers that models have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.events import Spelling
from engine.prompts.spellings import LONGEST, spellings, vocabulary_of
from engine.prompts.token_texts import TokenTexts
from tests.engine.test_tokens import byte_level, word_piece
from tests.study_models import llama_core, qwen_core


@cache
def llama() -> Any:
    """SentencePiece-like, with byte fallback, a begin token and a prefix space of its own."""
    return PreTrainedTokenizerFast(
        tokenizer_object=llama_core(), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@cache
def qwen() -> Any:
    """Byte-level BPE."""
    return PreTrainedTokenizerFast(tokenizer_object=qwen_core(), eos_token="<|im_end|>")


@cache
def unigram() -> Any:
    """T5's kind: newlines and doubled spaces vanish, nothing falls back to bytes."""
    pieces = [("<unk>", -9.0), ("▁", -3.0), ("▁cube", -1.0), ("cube", -2.0), ("s", -2.0)]
    core = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    core.normalizer = normalizers.Replace("\n", " ")
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


@cache
def words() -> Any:
    return word_piece()


@cache
def letters() -> Any:
    """Byte-level BPE whose merges make " gold" of a space and "gold" alike."""
    return byte_level()


@cache
def texts_of(make: Callable[[], Any]) -> TokenTexts:
    return TokenTexts(make())


def found(make: Callable[[], Any], typed: str) -> tuple[Spelling, ...]:
    return spellings(make(), typed, texts_of(make), len(make()))


def pieces(make: Callable[[], Any], typed: str) -> list[str]:
    return [make().convert_ids_to_tokens(each.id) for each in found(make, typed)]


MAKERS = [llama, qwen, letters, unigram, words]


@pytest.mark.parametrize(("make", "space"), [(llama, "▁"), (qwen, "Ġ")])
def test_a_word_with_and_without_a_space_in_front(make: Callable[[], Any], space: str) -> None:
    first, second = found(make, "cube")[:2]
    assert pieces(make, "cube")[:2] == [f"{space}cube", "cube"]
    assert (first.text, first.typed, first.whole) == (" cube", " cube", True)
    assert (second.text, second.typed, second.whole) == ("cube", "cube", True)
    assert found(make, " cube ")[:2] == (first, second)


@pytest.mark.parametrize(("make", "space"), [(llama, "▁"), (qwen, "Ġ")])
def test_the_cases_of_a_word(make: Callable[[], Any], space: str) -> None:
    """Color is one token, color is not; whole ones come first."""
    for typed in ("color", "Color"):
        spelt = found(make, typed)
        assert pieces(make, typed)[:2] == [f"{space}Color", "Color"]
        assert [each.whole for each in spelt[:2]] == [True, True]
        rest = {each.typed: each for each in spelt[2:]}
        assert rest["color"].text == "c"
        assert not rest["color"].whole
    assert any(each.typed == "CUBE" for each in found(make, "CUBE"))
    assert any(each.typed == " cube" and each.whole for each in found(make, "CUBE"))


def test_the_first_token_of_a_word_that_takes_several() -> None:
    spelt = found(letters, "golds")
    assert [(each.text, each.typed) for each in spelt[:2]] == [
        (" gold", " golds"),
        ("gold", "golds"),
    ]
    assert not any(each.whole for each in spelt)


@pytest.mark.parametrize("make", [llama, qwen])
def test_a_character_of_several_bytes(make: Callable[[], Any]) -> None:
    """É is in neither vocabulary: the first of its bytes, by the name that rows give it."""
    texts = {each.text for each in found(make, "É")}
    assert texts & {"<0xC3>", "\\xC3"}
    assert " " not in texts


def test_what_is_in_the_vocabulary_as_it_is_written() -> None:
    assert pieces(llama, "<image>")[0] == "<image>"
    assert pieces(llama, "▁cube")[0] == "▁cube"
    assert pieces(llama, "<0x0A>")[0] == "<0x0A>"
    assert pieces(qwen, "Ġcube")[0] == "Ġcube"
    assert found(qwen, "Ġcube")[0].text == " cube"
    assert pieces(qwen, "<|im_end|>")[0] == "<|im_end|>"
    assert pieces(words, "##en")[0] == "##en"


def test_white_space() -> None:
    assert pieces(qwen, " ") == ["Ġ"]
    assert pieces(llama, " ") == ["▁"]
    assert pieces(qwen, "\n")[0] == "Ċ"
    for make in MAKERS:
        assert found(make, "") == ()


@pytest.mark.parametrize("make", MAKERS)
def test_ids(make: Callable[[], Any]) -> None:
    spelt = found(make, "#3")
    assert (spelt[0].id, spelt[0].typed, spelt[0].whole) == (3, "#3", True)
    assert spelt[0].text == texts_of(make)(3)
    assert 3 in [each.id for each in found(make, "3")]
    size = len(make())
    assert all(each.id < size for each in found(make, f"#{size}"))
    assert all(each.id < size for each in found(make, "9" * 100))


def test_digits_are_spelt_too() -> None:
    assert found(qwen, "7")[0].text == "7"
    assert {each.text for each in found(qwen, "#7")} >= {texts_of(qwen)(7), "#"}


def test_pieces_that_go_on_inside_a_word() -> None:
    assert [(each.text, each.whole) for each in found(words, "en")] == [("en", True)]
    assert found(words, "gold")[0].text == " gold"


def test_a_tokenizer_that_drops_newlines() -> None:
    assert [each.text for each in found(unigram, "cube")] == [" cube", "cube"]
    first = found(unigram, "cubes")[0]
    assert (first.text, first.whole) == (" cube", False)


def test_a_word_that_nothing_matches() -> None:
    assert found(unigram, "wwww") == ()
    assert found(words, "青") == ()


def test_what_is_no_word() -> None:
    assert found(qwen, "\udcff") == ()
    assert found(qwen, "a" * (LONGEST + 1)) == ()


def test_ids_that_the_model_cannot_say_are_left_out() -> None:
    from torch import nn

    class Model(nn.Module):
        def __init__(self, head: nn.Module) -> None:
            super().__init__()
            self.head = head

        def get_output_embeddings(self) -> nn.Module:
            return self.head

    tokenizer = llama()
    image = tokenizer.convert_tokens_to_ids("<image>")
    short = vocabulary_of(Model(nn.Linear(2, 32000)), tokenizer)
    assert short == 32000 == image
    assert spellings(tokenizer, "<image>", texts_of(llama), short) == ()
    assert [each.id for each in found(llama, "<image>")] == [image]
    assert vocabulary_of(Model(nn.ReLU()), tokenizer) == len(tokenizer)
    assert vocabulary_of(nn.Linear(2, 2), tokenizer) == len(tokenizer)


@pytest.mark.parametrize("make", MAKERS)
@given(typed=st.text(max_size=12) | st.text(alphabet=" #▁Ġ<0x>cubeC7É青\n\t\x1b", max_size=8))
def test_any_text(make: Callable[[], Any], typed: str) -> None:
    spelt = found(make, typed)
    ids = [each.id for each in spelt]
    assert len(set(ids)) == len(ids)
    assert all(0 <= token < len(make()) for token in ids)
    assert all(each.text == texts_of(make)(each.id) for each in spelt)
    whole = [each.whole for each in spelt]
    assert whole == sorted(whole, reverse=True)
