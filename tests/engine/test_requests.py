"""From the words of a command line, and of a call, to a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.methods.contrast import ContrastRequest
from engine.methods.debias import DebiasRequest
from engine.methods.deepen import DeepenRequest
from engine.methods.registry import method_names, method_of
from engine.methods.requests import parse_read, request_of
from engine.methods.track import TrackRequest
from engine.records import Request


def asked(text: str) -> Request:
    name, settings = parse_read(text)
    return request_of(method_of(name), settings)


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("contrast", ContrastRequest()),
        ("contrast:a=0.5,b=0", ContrastRequest(a=0.5, b=0.0)),
        ('contrast:against="none,unk" , a=2', ContrastRequest(("none", "unk"), a=2.0)),
        ("contrast:against=noise=500", None),
        ('contrast:against="noise=500"', ContrastRequest(("noise=500",))),
        ('debias:answers=" yes, no "', DebiasRequest(("yes", "no"))),
        ("deepen:layer=3", DeepenRequest(3)),
        ("deepen:layer=3,count=7", DeepenRequest(3, 7)),
        ("track:ids=7", TrackRequest((7,))),
        ('track:ids="3-5,9",words="a b"', TrackRequest((3, 4, 5, 9), ("a b",))),
    ],
)
def test_settings_are_read(text: str, request_: Request | None) -> None:
    if request_ is None:  # an equals sign in a value needs no quotes
        assert asked(text) == ContrastRequest(("noise=500",))
    else:
        assert asked(text) == request_


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "there is no method 'nonsense'; the methods are answer, attention, "),
        ("contrast:", "missing after the colon"),
        ("contrast:a", "write METHOD"),
        ('contrast:a="1', "write METHOD"),
        ("contrast:a=1,a=2", "a is given twice"),
        ("contrast:c=1", "contrast has no 'c'; it takes against=, a=, b="),
        ("contrast:a=x", "contrast: a=: Expected `float`"),
        ("deepen", "deepen: layer= is missing; it takes layer=, count="),
        ("deepen:layer=1,count=0", "deepen: count=: Expected `int` >= 1"),
        ("track:ids=-1", "track: ids=: Expected `int` >= 0"),
        ("track:ids=0-999999999", "too many numbers"),
        ("seen:a=1", "it takes no settings"),
    ],
)
def test_what_is_wrong_is_one_line(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        asked(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.sampled_from(method_names()),
    st.dictionaries(
        st.text("abcdefgh_", min_size=1, max_size=5),
        st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"])),
        max_size=4,
    ),
)
def test_quoted_values_come_back_as_they_are(name: str, settings: dict[str, str]) -> None:
    written = ",".join(f'{field}="{value}"' for field, value in settings.items())
    text = f"{name}:{written}" if settings else name
    assert parse_read(text) == (name, settings)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        asked(text)
    except BadInput as error:
        assert str(error)


def test_python_gives_values_as_they_are() -> None:
    contrast = method_of("contrast")
    assert request_of(contrast, {"against": ["none"], "a": 2}) == ContrastRequest(("none",), 2.0)
    assert request_of(contrast, {"against": "none,unk"}) == ContrastRequest(("none", "unk"))
    with pytest.raises(BadInput, match="Expected"):
        request_of(contrast, {"against": 3})
