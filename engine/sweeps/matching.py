"""What a decoded answer says, of the answers that it is compared with: matched as whole words.

A text is a sequence of words: letters and digits without case, marks and punctuation around them,
after Unicode's compatibility normalisation. An apostrophe joins letters, but a final 's is left out
("dog's" is "dog"); commas and full stops inside a number belong to it ("1,000" is "1000"), and so
do the minus and the point before one ("-3", ".5" is "0.5"); the words zero to ten are digits; in
scripts without spaces, each character is a word. An article in front of an answer that has more
words counts for nothing. Answers without words, such as signs, are compared as they are written.

A letter that is an answer can be an article, too. Where a noun may follow it in the text, it is an
article and says nothing: "a red cube (B)" is B, "A) a red cube" is A.

An answer is in a text if its words follow one another there: "no" is in "No, it is red", and
neither in "I know" nor in "nothing". Of several answers in a text, the first says what the text
says, and of those that begin at one word the longest.

What a text is compared with:

- to a truth that is yes or no: yes and no;
- to a truth of a group that has few: all truths of the group. It has few if they are at most
  MOST_CHOICES, and are true of two questions or more on average;
- to any other truth: that truth alone, so that it can be anywhere in the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import regex

if TYPE_CHECKING:
    from engine.sweeps.sources.tasks import Source

YES: Final = ("yes",)
NO: Final = ("no",)
MOST_CHOICES: Final = 40
"""Truths of a group up to which a text is compared with all of them."""
ENOUGH: Final = 3
"""How many of ten people must have given an answer so that it is wholly right."""

_NO_SPACES: Final = "".join(
    rf"\p{{Script={script}}}"
    for script in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
)
_LETTERS: Final = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_NO_SPACES}]]+"
_MINUS: Final = r"(?:(?<![\p{L}\p{M}\p{N})\]%.-])-(?=\.?\d))?"
"""A sign, not the dash of "2020-01-02" or "A-3"."""
_WORD: Final = regex.compile(
    rf"{_MINUS}(?:"
    r"\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:[.:]\d+)+|(?<![\p{L}\p{M}\p{N}.])\.\d+"
    rf"|[{_NO_SPACES}]\p{{M}}*"
    rf"|{_LETTERS}(?:'{_LETTERS})*)",
    regex.VERSION1,
)
_NOUN_MAY_FOLLOW: Final = regex.compile(
    r"[ \t]+(?!(?:is|was|and|or|because)\b)[\p{Script=Latin}\p{N}]", regex.VERSION1
)
"""What comes after an article: a word, with neither a mark nor the end of a line before it."""
_ARTICLES: Final = frozenset(("a", "an", "the"))
_NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}

Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """The words of a text, as they are compared."""
    return tuple(map(_word, _WORD.findall(_plain(text))))


def _plain(text: str) -> str:
    """A text in the characters in which words are looked for."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return plain.replace("\u2019", "'").replace("\u2212", "-")


def _word(found: str) -> str:
    """What was found as a word, as it is compared."""
    word = found.removesuffix("'s").replace(",", "")
    if word.startswith((".", "-.")):
        word = word.replace(".", "0.", 1)
    return _NUMBERS.get(word, word)


def is_yes_or_no(answer: str | None) -> bool:
    """Whether an answer is yes, or no, and nothing more."""
    return answer is not None and answer_words(answer) in (YES, NO)


@lru_cache(maxsize=2**14)
def answer_words(answer: str) -> Words:
    """The words of an answer that others are compared with."""
    found = words_of(answer)
    return found[1:] if len(found) > 1 and found[0] in _ARTICLES else found


def is_same_answer(one: str, other: str) -> bool:
    """Whether two answers have the same words, or none and the same marks."""
    words = answer_words(one)
    return words == answer_words(other) and (bool(words) or one.strip() == other.strip())


class Matcher:
    """Finds out which of some answers a text gives."""

    def __init__(self, answers: Iterable[str]) -> None:
        """Of answers that are written differently and have the same words, the first is found."""
        self._bare: dict[str, str] = {}
        """Answers without words, such as signs: a text gives these if it is nothing else."""
        self._by_first: dict[str, list[tuple[Words, str]]] = {}
        known: set[Words] = set()
        for answer in answers:
            words = answer_words(answer)
            if not words:
                self._bare.setdefault(answer.strip(), answer)
            elif words not in known:
                known.add(words)
                self._by_first.setdefault(words[0], []).append((words, answer))
        for some in self._by_first.values():
            some.sort(key=lambda each: -len(each[0]))

    def said_in(self, text: str) -> str | None:
        """The answer that a text gives; None for none of them."""
        plain = _plain(text)
        found = [*_WORD.finditer(plain)]
        words = tuple(_word(each[0]) for each in found)
        for place, word in enumerate(words):
            for wanted, answer in self._by_first.get(word, ()):
                if words[place : place + len(wanted)] != wanted:
                    continue
                is_article = len(wanted) == 1 and word in _ARTICLES
                if not (is_article and _NOUN_MAY_FOLLOW.match(plain, found[place].end())):
                    return answer
        return None if words else self._bare.get(text.strip())


@lru_cache(maxsize=2**12)
def matcher_of(answers: tuple[str, ...]) -> Matcher:
    """The matcher of these answers, made once."""
    return Matcher(answers)


class Choices:
    """Which answers a text is compared with, for the questions of one set of data."""

    def __init__(self, truths: Iterable[tuple[str, str | None]]) -> None:
        """`truths` are the group and the truth of every question."""
        found: dict[str, dict[str, None]] = {}
        counts: dict[str, int] = {}
        for group, truth in truths:
            if truth is None:
                continue
            counts[group] = counts.get(group, 0) + 1
            some = found.setdefault(group, {})
            if len(some) <= MOST_CHOICES:
                some[truth] = None
        self._few = {
            group: tuple(some)
            for group, some in found.items()
            if len(some) <= MOST_CHOICES and counts[group] >= 2 * len(some)
        }

    def answers_beside(self, group: str, truth: str) -> tuple[str, ...]:
        """What a text is compared with where this is true: the truth, and then the others."""
        if is_yes_or_no(truth):
            return (truth, *YES, *NO)
        return (truth, *self._few.get(group, ()))

    def said_in(self, text: str, group: str, truth: str | None) -> str | None:
        """What a text says: the truth as it is written, another answer, or None."""
        if truth is None:
            return None
        return matcher_of(self.answers_beside(group, truth)).said_in(text)


def choices_of(source: Source) -> Choices:
    """Those of all data, whatever of it is asked about."""
    return Choices((task.group, task.truth) for picture in source.listing for task in picture.tasks)


def soft_score(text: str, given: tuple[str, ...]) -> float:
    """How right a text is by what people answered: min(n / 3, 1), where n of them gave the answer
    that it gives (Antol et al. 2015, arXiv 1505.00468). Yes and no are both looked for where one
    of them was given."""
    beside = (*YES, *NO) if any(map(is_yes_or_no, given)) else ()
    said = matcher_of((*given, *beside)).said_in(text)
    if said is None:
        return 0.0
    return min(sum(is_same_answer(each, said) for each in given) / ENOUGH, 1.0)
