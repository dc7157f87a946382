"""On which line a key stands, in whatever way it is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.disk.toml_lines import key_lines

EVERYTHING = r"""# a = 0
a = 1
"b.c" = '''
x = "3
'''
d.e = [1,
  2, # k = 3
  {f = "}", g = {'h i' = 2}}, ]
[k]
l = { m = "=", n."\u006f" = 2.5 }
[[p . "q"]]
r = "\"" # ]
[[p.q]]
s = 1979-05-27 07:32:00
t = ""
u = """

""" # """


def test_every_way_to_write_a_key() -> None:
    text = EVERYTHING + '"""\n\n[x] = """"\n[z]'
    assert key_lines(text) == {
        ("a",): 2,
        ("b.c",): 3,
        ("d",): 6,
        ("d", "e"): 6,
        ("d", "e", "f"): 8,
        ("d", "e", "g"): 8,
        ("d", "e", "g", "h i"): 8,
        ("k",): 9,
        ("k", "l"): 10,
        ("k", "l", "m"): 10,
        ("k", "l", "n"): 10,
        ("k", "l", "n", "o"): 10,
        ("p",): 11,
        ("p", "q"): 11,
        ("p", "q", "r"): 12,
        ("p", "q", "s"): 14,
        ("p", "q", "t"): 15,
        ("p", "q", "u"): 16,
        ("z",): 19,
    }
    assert set(key_lines(text)) == set(paths_of(tomllib.loads(text)))


def paths_of(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key, as the standard parser sees them."""
    if isinstance(value, list):
        for item in value:
            yield from paths_of(item, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from paths_of(inner, (*path, name))


KEY = st.sampled_from(["a", "b-1", "'c = 1'", '"d.\\"e"', "f . g", '""', "1.5", "h.'i'", "true"])
SIMPLE = st.sampled_from(
    [
        "1",
        "1.5",
        "true",
        '"x = 1"',
        "'''\n[a]\n'''",
        '"""\n"b" = "" """""',
        "1979-05-27",
        '"#"',
        "''",
    ]
)
VALUE = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: "[\n" + ", # b = {\n".join([*values, "]"])),
        st.tuples(KEY, inner).map(lambda pair: "{ " + " = ".join(pair) + " }"),
        st.tuples(inner, inner).map(lambda pair: f"{{x = {pair[0]} ,y.z={pair[1]}}}"),
    ),
    max_leaves=6,
)
LINE = st.one_of(
    st.tuples(KEY, VALUE).map(" = ".join),
    KEY.map(lambda key: f"[ {key} ] # [no]"),
    KEY.map(lambda key: f"[[{key}]]"),
    st.sampled_from(["", "# a = 1", "\t"]),
)


def parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


@settings(max_examples=300, deadline=None)
@given(st.lists(LINE, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_no_key_is_missed_and_none_made_up(lines: list[str], end: str) -> None:
    kept: list[str] = []
    for line in lines:  # what the standard parser takes
        if parsed("\n".join([*kept, line])) is not None:
            kept.append(line)
    text = end.join(kept)
    table = parsed(text)
    assert table is not None
    found = key_lines(text)
    assert set(found) == set(paths_of(table))
    # The text up to the line of a key does not have it yet.
    for path, number in found.items():
        before = parsed("\n".join(text.split("\n")[: number - 1]))
        assert before is None or path not in set(paths_of(before))


@pytest.mark.parametrize("text", ["", "\n\n", "# a = 1", "  # [a]\n"])
def test_nothing_to_find(text: str) -> None:
    assert key_lines(text) == {}
