"""Which tokens a typed word can be as the next token of a running text.

A token is offered for what it adds to a text (`engine.prompts.token_texts`), not for how a
tokenizer splits the word when it is alone: that would find begin tokens and prefix spaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine.events import Spelling
from engine.prompts.byte_level import piece_of
from engine.prompts.processors import tokenizer_of
from engine.prompts.token_texts import TextOf, texts_for

LONGEST = 200
"""Characters; nothing longer is a word."""

ANCHORS = ("a", "\n", ".")
"""Texts after which a form is tokenised. A letter would merge with a form that has no space in
front, so such forms are tokenised only after the others."""


def spellings(tokenizer: Any, typed: str, text_of: TextOf, vocabulary: int) -> tuple[Spelling, ...]:
    """The tokens, of ids below `vocabulary`, that `typed` can be; the most likely one is first.

    The word is looked up as typed, capitalised and in lower case, each with and without a space in
    front: whole tokens come first, then the first tokens of spellings that take several. "#7" and
    "7" are also the token of that id, and an exact piece of the vocabulary ("<image>", "▁cube") is
    also itself.
    """
    if len(typed) > LONGEST or not _encodable(typed):
        return ()
    forms = _forms(typed)
    number = _id_of(typed, vocabulary)
    found: list[Spelling] = []
    if number is not None and "#" in typed:
        found.append(Spelling(number, text_of(number), typed, whole=True))
    found += [each for each in _exact(tokenizer, typed, text_of) if each.text not in forms]
    whole = {form: _whole(tokenizer, form, text_of) for form in forms}
    found += [
        Spelling(token, text_of(token), form, whole=True)
        for form, token in whole.items()
        if token is not None
    ]
    if number is not None:
        found.append(Spelling(number, text_of(number), typed, whole=True))
    for form in forms:
        if whole[form] is None:
            found += _first(tokenizer, form, text_of)
    return _distinct(found, vocabulary)


class Spelled(NamedTuple):
    """The spellings of an answer in this model's vocabulary."""

    ids: tuple[int, ...]
    """The first token of each spelling: as written, capitalised and in lower case, each with and
    without a space in front."""
    several_tokens: bool
    """Whether no single token is the whole answer."""


def spelled(tokenizer: Any, text_of: TextOf, vocabulary: int) -> Callable[[str], Spelled]:
    """A function from an answer to its spellings."""

    def of(answer: str) -> Spelled:
        found = [
            each
            for each in spellings(tokenizer, answer, text_of, vocabulary)
            # A number is also offered as the token of that id, which is not a spelling of it.
            if each.text and each.typed.startswith(each.text)
        ]
        ids = tuple(dict.fromkeys(each.id for each in found))
        return Spelled(ids, not any(each.whole for each in found))

    return of


class Speller(NamedTuple):
    """Spells words in one model's vocabulary."""

    tokenizer: Any
    text_of: TextOf
    vocabulary: int

    def spellings(self, typed: str) -> tuple[Spelling, ...]:
        """The tokens that a typed word can be; see `spellings`."""
        return spellings(self.tokenizer, typed, self.text_of, self.vocabulary)

    def spelled(self, answer: str) -> Spelled:
        """An answer as the model can say it."""
        return spelled(self.tokenizer, self.text_of, self.vocabulary)(answer)


def speller_of(model: Any, processor: Any) -> Speller:
    """The speller of a loaded model."""
    tokenizer = tokenizer_of(processor)
    return Speller(tokenizer, texts_for(model), vocabulary_of(model, tokenizer))


def vocabulary_of(model: Any, tokenizer: Any) -> int:
    """How many ids the model can say, from 0 up: its outputs, or else its tokenizer's tokens."""
    try:
        outputs = getattr(model.get_output_embeddings(), "out_features", None)
    except (NotImplementedError, AttributeError):
        outputs = None
    return outputs if isinstance(outputs, int) else len(tokenizer)


def _forms(typed: str) -> tuple[str, ...]:
    word = typed.strip(" ")
    if not word:
        return (typed,) if typed else ()
    cases = dict.fromkeys((word, word[:1].upper() + word[1:], word.lower()))
    return (*(f" {each}" for each in cases), *cases)


def _id_of(typed: str, vocabulary: int) -> int | None:
    digits = typed.strip(" ").removeprefix("#")
    if digits.isascii() and digits.isdigit() and len(digits) <= 18 and int(digits) < vocabulary:
        return int(digits)
    return None


def _exact(tokenizer: Any, typed: str, text_of: TextOf) -> list[Spelling]:
    """The piece of the vocabulary that is spelled exactly as typed."""
    token = _token_of(tokenizer, typed)
    if token is None:
        return []
    return [Spelling(token, text_of(token), typed, whole=True)]


def _whole(tokenizer: Any, form: str, text_of: TextOf) -> int | None:
    """The token that adds exactly `form` to a text."""
    pieces = (
        form,
        piece_of(form),
        form.replace(" ", "▁"),
        f"##{form}",
        form.removeprefix(" "),  # vocabularies whose pieces leave the space before a word out
    )
    for piece in pieces:
        token = _token_of(tokenizer, piece)
        if token is not None and text_of(token) == form:
            return token
    return None


def _first(tokenizer: Any, form: str, text_of: TextOf) -> Iterator[Spelling]:
    """The first token of a form that takes several tokens; none where it is unknown."""
    unknown = {tokenizer.unk_token_id, None}
    for anchor in ANCHORS if form.startswith(" ") else ANCHORS[1:]:
        anchor_ids = _encode(tokenizer, anchor)
        ids = _encode(tokenizer, anchor + form)
        rest = ids[len(anchor_ids) :]
        if ids[: len(anchor_ids)] != anchor_ids or not rest:
            continue
        text = text_of(rest[0])
        # A space alone tells nothing about the word after it.
        if rest[0] not in unknown and (text.strip() or not form.strip()):
            yield Spelling(rest[0], text, form, whole=len(rest) == 1)
        return


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _token_of(tokenizer: Any, piece: str) -> int | None:
    token = tokenizer.convert_tokens_to_ids(piece) if piece else None
    known = isinstance(token, int) and tokenizer.convert_ids_to_tokens(token) == piece
    return token if known else None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _distinct(found: list[Spelling], vocabulary: int) -> tuple[Spelling, ...]:
    kept: dict[int, Spelling] = {}
    for each in sorted(found, key=lambda each: not each.whole):
        if each.id < vocabulary:
            kept.setdefault(each.id, each)
    return tuple(kept.values())
