"""What an answer says: whole words, and of several answers the first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sweeps.matching import (
    MOST_CHOICES,
    Choices,
    Matcher,
    is_same_answer,
    is_yes_or_no,
    soft_score,
    words_of,
)

COLOURS = ("red", "blue", "light blue", "dark gray")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No, it's RED.", ["no", "it", "red"]),
        ("I don't know", ["i", "don't", "know"]),
        ("I don’t know", ["i", "don't", "know"]),
        ("the dogs' dog's", ["the", "dogs", "dog"]),
        ("traffic_light/traffic-light", ["traffic", "light", "traffic", "light"]),
        ("1,000 or 2,3 or 4.5 at 10:30.", ["1000", "or", "2", "3", "or", "4.5", "at", "10:30"]),
        ("two of Ten", ["2", "of", "10"]),
        ("3D 2x", ["3d", "2x"]),
        ("-3, \u22123 (-.5)?", ["-3", "-3", "-0.5"]),
        (".5 -1,000 x=-2.5", ["0.5", "-1000", "x", "-2.5"]),
        ("2020-01-02 10-20 A-3", ["2020", "01", "02", "10", "20", "a", "3"]),
        ("(1)-2 --3 - 4", ["1", "2", "3", "4"]),
        ("a.5 ..5 1.5", ["a", "5", "5", "1.5"]),
        ("ＹＥＳ ﬁne", ["yes", "fine"]),
        ("是的。", ["是", "的"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("Straße", ["strasse"]),
        ("\U0001f600 !?", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert list(words_of(text)) == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no", "no"),
        (" No.", "no"),
        ("No, there is no dog, yes?", "no"),
        ("Yes, there is no doubt", "yes"),
        ("I know", None),
        ("Nothing. None. Not at all. Yesterday", None),
        ("There isn't", None),
        ("**Yes**", "yes"),
        ("The answer is: yes", "yes"),
        ("", None),
    ],
)
def test_yes_and_no_are_words(text: str, said: str | None) -> None:
    for truth in ("yes", "no"):
        assert Choices([("g", truth)]).said_in(text, "g", truth) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It is red, not blue", "red"),
        ("A light blue sky", "light blue"),
        ("blue light", "blue"),
        ("Light, blue", "light blue"),
        ("Light and blue", "blue"),
        ("dark, darker", None),
        ("reddish", None),
        ("The DARK-GRAY one", "dark gray"),
    ],
)
def test_the_first_answer_counts_and_of_these_the_longest(text: str, said: str | None) -> None:
    assert Matcher(COLOURS).said_in(text) == said


def test_a_truth_is_found_as_it_is_written() -> None:
    choices = Choices([("g", "A Dog"), ("g", "cat")] * 2)
    assert choices.said_in("dog", "g", "A Dog") == "A Dog"
    assert choices.said_in("a dog", "g", "cat") == "A Dog"
    yes = Choices([("g", "Yes")])
    assert yes.said_in("yes!", "g", "Yes") == "Yes"
    assert yes.said_in("no!", "g", "Yes") == "no"
    assert choices.said_in("dog", "g", None) is None
    assert Matcher(["the"]).said_in("The") == "the"  # an article alone is the answer
    assert Matcher(["?", "2"]).said_in(" ? ") == "?" and Matcher(["?"]).said_in("2?") is None
    assert Matcher(["2"]).said_in("two cubes") == "2"


def test_few_truths_are_compared_with_one_another() -> None:
    few = [("colour", "red"), ("colour", "blue")] * 2
    assert Choices(few).said_in("red, then blue", "colour", "blue") == "red"
    once = Choices(few[:2])  # each true of one question: not a set to choose from
    assert once.said_in("red, then blue", "colour", "blue") == "blue"
    assert once.said_in("green", "colour", "blue") is None
    many = [("thing", f"thing{number}") for number in range(MOST_CHOICES + 1)] * 2
    assert Choices(many).said_in("thing1 thing2", "thing", "thing2") == "thing2"
    fewer = many[:MOST_CHOICES] * 2
    assert Choices(fewer).said_in("thing1 thing2", "thing", "thing2") == "thing1"
    assert Choices(few).said_in("red, then blue", "another group", "blue") == "blue"
    mixed = Choices([("g", "yes"), ("g", "no"), ("g", "left")] * 2)
    assert mixed.said_in("left, yes", "g", "yes") == "yes"


@pytest.mark.parametrize(
    ("text", "score"),
    [("dog", 1.0), ("A dog.", 1.0), ("puppy", 2 / 3), ("a hound", 1 / 3), ("cat", 0.0), ("", 0.0)],
)
def test_soft_scores(text: str, score: float) -> None:
    given_ones = ("dog",) * 5 + ("Dog", "puppy", "puppy", "hound", "animal")
    assert soft_score(text, given_ones) == pytest.approx(score)


def test_signs_are_compared_as_they_are_written() -> None:
    choices = Choices([("g", "<"), ("g", ">"), ("g", "=")] * 2)
    assert choices.said_in(" < ", "g", ">") == "<"
    assert not is_same_answer("<", ">") and is_same_answer(" <", "<\n")
    assert not is_same_answer("<", "") and not is_same_answer("3", "-3")
    assert is_same_answer("A dog", "Dog.")
    people = ("<",) * 8 + (">",) * 2
    assert soft_score("<", people) == 1.0 and soft_score(">", people) == pytest.approx(2 / 3)
    assert soft_score("=", people) == soft_score("", people) == 0.0
    assert soft_score("-3", ("3",) * 10) == 0.0 and soft_score("0.5", (".5",) * 10) == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("There is a dog, so the answer is B", "B"),
        ("Answer: a red cube (B)", "B"),
        ("A red cube", None),
        ("a 3D cube", None),
        ("A", "A"),
        ("(a)", "A"),
        ("A) a red cube, not B", "A"),
        ("A. Red", "A"),
        ("A: red", "A"),
        ("**A** red", "A"),
        ("Answer: A\nB has no cube", "A"),
        ("Option A is right, B is not", "A"),
        ("A because B is red", "A"),
        ("A island, B", "B"),
        ("\u7b54\u6848\u662fA\u800c\u975eB", "A"),
    ],
)
def test_a_letter_is_no_article(text: str, said: str | None) -> None:
    assert Matcher("ABCD").said_in(text) == said


def test_soft_scores_of_yes_and_no() -> None:
    assert soft_score("No. Or yes.", ("yes",) * 10) == 0.0
    assert soft_score("Yes", ("yes",) * 8 + ("no",) * 2) == 1.0
    assert soft_score("No", ("yes",) * 8 + ("no",) * 2) == pytest.approx(2 / 3)


@given(st.text() | st.text("aA .,-3:'(\n"))
def test_any_text_can_be_compared(text: str) -> None:
    words = words_of(text)
    assert all(words) and words == words_of(" ".join(words))
    found = Matcher([text]).said_in(f"<<{text}>>") if words else Matcher([text]).said_in(text)
    assert found == text


@pytest.mark.parametrize(
    ("answer", "is_one"),
    [
        ("Yes", True),
        ("no.", True),
        ("a yes", True),
        ("yes no", False),
        ("know", False),
        ("", False),
    ],
)
def test_answers_that_are_yes_or_no(answer: str, is_one: bool) -> None:
    assert is_yes_or_no(answer) == is_one
