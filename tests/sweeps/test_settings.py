"""The settings with which a sweep decodes: their grammar, and what is made of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.lens.decoding_settings import DecodingSettings
from engine.sweeps.records import MOST_SETTINGS, Decoding
from engine.sweeps.settings import GREEDY, decoding_of, name_of, names_of, normalised


def values(text: str, name: str = "temperature") -> list[float | int | None]:
    """Of one setting; the base line is left out."""
    first, *others = decoding_of({}, [f"{name}={text}"]).settings
    assert first == DecodingSettings()
    return [getattr(each, name) for each in others]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.7", [0.7]),
        ("0.5|1|2", [0.5, 1, 2]),
        ("0.1..1.0", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("0.5..2/0.5", [0.5, 1.0, 1.5, 2.0]),
        ("0.5..2/0.6", [0.5, 1.1, 1.7]),
        ("1..1", [1.0]),
        ("0.5|0.4..0.6/0.1", [0.5, 0.4, 0.6]),
        (" 0.5 | 1 ", [0.5, 1.0]),
        ("0..1/0.5", [0.5, 1.0]),  # 0 is the base line
    ],
)
def test_values_of_a_range(text: str, wanted: list[float]) -> None:
    assert values(text) == wanted


def test_ranges_of_whole_numbers_have_no_others() -> None:
    assert values("1..5", "top_k") == [1, 2, 3, 4, 5]
    assert values("1..100", "top_k") == [1, 12, 23, 34, 45, 56, 67, 78, 89, 100]
    assert values("10..50/20", "top_k") == [10, 30, 50]
    seeds = decoding_of({"temperature": "1"}, ["seed=0..2"])
    assert [each.seed for each in seeds.settings[1:]] == [0, 1, 2]


def test_combinations_and_alternatives() -> None:
    both = decoding_of({}, ["temperature=0.5|1,top_p=0.9|0.5"])
    assert names_of(both) == (
        GREEDY,
        "temperature=0.5,top_p=0.9",
        "temperature=0.5,top_p=0.5",
        "temperature=1,top_p=0.9",
        "temperature=1,top_p=0.5",
    )
    either = decoding_of({"max_new_tokens": "7"}, ["temperature=0.5", "top_k=5"])
    assert names_of(either) == (GREEDY, "temperature=0.5", "temperature=1,top_k=5")
    assert {each.max_new_tokens for each in either.settings} == {7}
    common = decoding_of({"top_p": "0.9", "draws": "3"}, ["temperature=0.5|1"])
    assert names_of(common) == (GREEDY, "temperature=0.5,top_p=0.9", "temperature=1,top_p=0.9")
    assert [common.draws_of(each) for each in common.settings] == [1, 3, 3]


def test_without_ranges_the_common_settings_are_tried() -> None:
    assert names_of(decoding_of({})) == (GREEDY,)
    assert names_of(decoding_of({"max_new_tokens": "5"})) == (GREEDY,)
    assert names_of(decoding_of({"temperature": "0.7"})) == (GREEDY, "temperature=0.7")


def test_what_decodes_alike_is_decoded_once() -> None:
    alike = ["temperature=0,top_p=0.5|0.9", "temperature=1,top_p=1", "temperature=1", "top_p=1.0"]
    assert names_of(decoding_of({}, alike)) == (GREEDY, "temperature=1")
    penalised = decoding_of({}, ["repetition_penalty=1|1.2", "temperature=0,seed=4"])
    assert names_of(penalised) == (GREEDY, "repetition_penalty=1.2")
    assert penalised.draws_of(penalised.settings[1]) == 1


@pytest.mark.parametrize(
    ("common", "varied", "says"),
    [
        ({"vdd": "unk"}, [], "no 'vdd'; they take max_new_tokens="),
        ({"draws": "0"}, [], "draws=0: not a whole number >= 1"),
        ({"draws": "many"}, [], "draws=many: not a number"),
        ({"max_new_tokens": "513"}, [], "max_new_tokens=513: not a whole number <= 512"),
        ({}, ["temperature=1..0.5"], "from the smaller number to the larger"),
        ({}, ["temperature=0..1/0"], "the step is 0"),
        ({}, ["temperature=-1"], "neither a number (0.5) nor a range (0.1..1.0, 0..2/0.5)"),
        ({}, ["temperature=1e3"], "neither a number"),
        ({}, ["temperature=0.1.."], "neither a number"),
        ({}, ["temperature="], "neither a number"),
        ({}, ["temperature=1||2"], "neither a number"),
        ({}, ["temperature=1001"], "temperature=1001: not a number <= 1000.0"),
        ({}, ["top_p=0..1"], "top_p=0: not a number > 0.0"),
        ({}, ["top_p=0.5..1.5"], "top_p=1.5: not a number <= 1.0"),
        ({}, ["top_k=1.5"], "top_k=1.5: not a whole number"),
        ({}, ["top_k=1..3/0.5"], "top_k is a whole number, and so is its step"),
        ({}, ["heat=1"], "'heat=1' is none; write name=0.5"),
        ({}, ["temperature"], "'temperature' is none"),
        ({}, [""], "'' is none"),
        ({}, ["max_new_tokens=1..5"], "is none"),
        ({}, ["temperature=1,temperature=2"], "temperature is given twice"),
        ({"temperature": "1"}, ["temperature=1"], "temperature is given twice"),
        ({}, ["temperature=0..1/0.0001"], "10,001 values; the limit is 100"),
        ({}, ["temperature=0.1..1.0,top_p=0.01..1/0.09"], "120 combinations; the limit is 100"),
        ({}, ["temperature=0.01..0.6/0.01", "top_k=1..60/1"], "121 settings; the limit is 100"),
        ({"draws": "400"}, ["temperature=1|2|3"], "1,201 answers to every question (4 settings"),
    ],
)
def test_refusals_say_what_is_allowed(common: dict[str, str], varied: list[str], says: str) -> None:
    with pytest.raises(BadInput) as refused:
        decoding_of(common, varied)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def decimals(most: int) -> st.SearchStrategy[Fraction]:
    return st.builds(lambda n: Fraction(n, 100), st.integers(1, most * 100))


def written(value: Fraction) -> str:
    return f"{float(value):.2f}"


@examples(max_examples=40)
@given(decimals(5), decimals(5), decimals(1) | st.none())
def test_every_range(one: Fraction, other: Fraction, step: Fraction | None) -> None:
    low, high = sorted((one, other))
    count = 10 if step is None else (high - low) // step + 1
    text = f"{written(low)}..{written(high)}" + ("" if step is None else f"/{written(step)}")
    if count > MOST_SETTINGS - 1:
        with pytest.raises(BadInput, match="the limit is 100"):
            decoding_of({}, [f"temperature={text}"])
        return
    found = values(text)
    apart = (high - low) / 9 if step is None else step
    wanted = dict.fromkeys(float(low + number * apart) for number in range(count))
    assert found == [*wanted]
    if step is None:
        assert (found[0], found[-1]) == (float(low), float(high))


SETTINGS = st.builds(
    DecodingSettings,
    temperature=st.none() | st.integers(0, 300).map(lambda n: n / 100),
    top_k=st.none() | st.integers(1, 500),
    top_p=st.none() | st.integers(1, 100).map(lambda n: n / 100),
    min_p=st.none() | st.integers(0, 100).map(lambda n: n / 100),
    repetition_penalty=st.none() | st.integers(1, 300).map(lambda n: n / 100),
    seed=st.integers(0, 9),
)


@examples(max_examples=40)
@given(SETTINGS)
def test_a_name_is_the_settings(settings: DecodingSettings) -> None:
    """A name parsed again is what it names, and what it names does what was asked for."""
    once = normalised(settings)
    assert normalised(once) == once
    name = name_of(once)
    parsed = decoding_of({}, [] if name == GREEDY else [name]).settings
    assert parsed[-1] == once
    wanted, given = settings.explicit, once.explicit
    if not settings.samples:
        wanted, given = wanted | {"seed": 0}, given | {"seed": 0}
    assert given == wanted


def test_a_decoding_without_settings_is_none() -> None:
    import msgspec

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"settings": []}, Decoding)
