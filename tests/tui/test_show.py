"""Whatever a token's text is, what is shown is safe, visible and of the width that was asked."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.text.bars import line_bar, probability_bar
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.show import display_text, plain_line, show_pieces, stand_in_text, whole_parts

HOSTILE = [
    "\x1b]0;PWNED\x07",
    "\x1b[2J",
    "\x9b31m",
    "[/red]",
    "[/",
    "\r\nx",
    "a\x00b",
    "\u202egnp.exe",
    "\u200b\u200d\ufeff",
    "👁\ufe0f",
    "👩\u200d👩\u200d👧",
    "🇩🇪",
    "👍🏽",
    "\u0301",
    "e" + "\u0301" * 40,
    "\u1100\u1161\u11a8",
    "का",
    "漢字",
    "\ud800",
    "\U000e0041",
    "\u3164",
    "\u00a0",
    "\u00ad",
    "",
]

any_text = st.text(st.characters(codec=None), max_size=30)
settings.register_profile("shown", deadline=None, max_examples=100)
settings.load_profile("shown")


def is_safe(shown: str, spaces: bool) -> bool:
    allowed = {"Zs"} if spaces else set()
    for index, char in enumerate(shown):
        category = unicodedata.category(char)
        if char == " " and spaces:
            continue
        if category[0] in "CZ" and category not in allowed:
            return False
        if category == "Mn" and not (index and shown[index - 1].isprintable()):
            return False
    return shown.isprintable() or spaces


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_harmless(text: str) -> None:
    shown = display_text(text)
    assert shown
    assert shown.isprintable()
    assert " " not in shown
    assert "\x1b" not in shown
    shown.encode("utf-8")


@given(any_text)
@example("🇩🇪🇩")
@example("\u0600\u0601")
def test_shown_text_is_safe_and_visible(text: str) -> None:
    shown = display_text(text)
    assert is_safe(shown, spaces=False)
    assert shown.isprintable()
    assert cell_len(shown) == sum(piece.width for piece in show_pieces(text))
    assert cell_len(shown) >= min(len(text), 1)


@given(any_text, st.integers(0, 40))
def test_width_is_exact(text: str, width: int) -> None:
    assert cell_len(display_text(text, width)) == width
    assert len(display_text(text, width, ascii_only=True)) == width


@given(any_text)
def test_ascii_is_ascii(text: str) -> None:
    assert display_text(text, ascii_only=True).isascii()
    assert display_text(text, ascii_only=True).isprintable()


@given(any_text)
def test_messages_keep_their_spaces(text: str) -> None:
    line = plain_line("a " + text)
    assert line.startswith("a ")
    assert line.isprintable()


@given(any_text)
def test_an_editor_shows_stand_ins(text: str) -> None:
    shown = stand_in_text(text)
    assert len(shown) == len(text)
    assert shown.replace(" ", "").replace("\t", "").isprintable()


def test_stand_ins() -> None:
    assert stand_in_text("a\x1b[m\u202eb 漢e\u0301") == "a␛[m\ufffdb 漢e\u0301"


def test_what_it_looks_like() -> None:
    assert display_text(" gold") == "␣gold"
    assert display_text(" gold", ascii_only=True) == "_gold"
    assert display_text("a\n\tb") == "a↵⇥b"
    assert display_text("\x1b") == "\\x1b"
    assert display_text("e\u0301") == "e\u0301"
    assert display_text("\u0301") == "\\u0301"
    assert display_text("") == '""'
    assert display_text("cylinder", 5) == "cyli…"
    assert display_text("漢字漢", 4) == "漢… "
    assert display_text("<0x0A>") == "<0x0A>"
    assert plain_line("no such\nfile") == "no such file"


@given(st.floats(0, 1), st.integers(0, 30))
def test_bars_have_their_width(probability: float, width: int) -> None:
    assert cell_len(probability_bar(probability, width)) == width
    assert len(probability_bar(probability, width, ascii_only=True)) == width
    assert cell_len(line_bar(probability, width)) == width
    assert probability_bar(probability, width, ascii_only=True).isascii()


@given(st.floats(0, 1))
def test_figures_have_their_width(probability: float) -> None:
    assert len(figure(probability)) == FIGURE_WIDTH


def test_bars_and_figures_look_right() -> None:
    assert probability_bar(1, 4) == "████"
    assert probability_bar(0.5, 4) == "██  "
    assert probability_bar(0.001, 4) == "▏   "
    assert probability_bar(0.999, 4) == "███▉"
    assert probability_bar(0, 4) == "    "
    assert probability_bar(0.5, 4, ascii_only=True) == "##--"
    assert [line_bar(p, 4) for p in (1, 0.999, 0.5, 0.3, 0.1, 0.01)] == [
        "━━━━", "━━━╸", "━━  ", "━   ", "╸   ", "    ",
    ]  # fmt: skip
    assert [figure(p) for p in (1, 0.99951, 0.9994, 0.412, 0.0999, 0.041, 0.0001, 1e-9, 0)] == [
        " 100%", " 100%", "99.9%", "41.2%", "9.99%", "4.10%", "0.01%", "<.01%", "   0%",
    ]  # fmt: skip


@given(
    st.lists(st.text("ab 1.9-", min_size=1, max_size=9), min_size=1, max_size=5), st.integers(1, 60)
)
def test_of_parts_only_whole_ones_are_left_out(parts: list[str], width: int) -> None:
    line = "; ".join(parts)
    shown = whole_parts(line, width, ascii_only=True)
    assert cell_len(shown) <= width
    if cell_len(line) <= width:
        assert shown == line
    elif "; " in shown:
        kept = shown.removesuffix("; ~").split("; ")
        assert kept == parts[: len(kept)]
        assert len(kept) < len(parts)
        more = "; ".join(parts[: len(kept) + 1])
        assert cell_len(more) + len("; ~") > width


def test_a_number_is_not_cut_where_other_parts_can_be_left_out() -> None:
    assert whole_parts("sent +2.5; position 31", 14) == "sent +2.5; …"
    assert whole_parts("sent +2.5; position 31", 22) == "sent +2.5; position 31"
    assert whole_parts("sent\x1b[0m +2.5; at", 9) == "sent\\x1b…"
