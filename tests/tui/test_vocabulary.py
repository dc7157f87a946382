"""Every token of whole vocabularies in every place where tokens are drawn: the right width, and
nothing that could steer a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.cells import cell_len
from rich.style import Style

from engine.prompts.token_texts import TokenTexts
from engine.records import LayerReading, Token
from tests.tui.dialog_stage import PLAIN as STYLES
from tests.tui.vocabularies import KINDS, bundled, every_text
from tui.state.answer_steps import pieces_of
from tui.state.curves import Curve
from tui.state.measures import Measure
from tui.views.detail.detail_rows import DetailLook, detail_lines
from tui.views.plot.trajectories import LEGEND_WIDTH, legend_line
from tui.views.table.table_rows import (
    Followed,
    RowFacts,
    header_segments,
    plan_columns,
    row_segments,
)
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments

QUICK, WHOLE = 1_000, 50_000
PLAIN = Style()
LOOK = DetailLook(PLAIN, PLAIN, PLAIN)

of_every_kind = pytest.mark.parametrize("kind", list(KINDS))
at_every_size = pytest.mark.parametrize(
    "size", [QUICK, pytest.param(WHOLE, marks=pytest.mark.slow)]
)


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        ("bundled", " café ja", (" c", "af", "", "é", " ", "j", "a")),
        ("bundled", "漢", ("", "", "漢")),
        ("bundled", "ああ b", ("", "", "あ", "", "", "あ", " b")),
        ("byte fallback", "Ꮖ漢x", ("", "", "Ꮖ", "", "", "漢", "x")),
    ],
)
def test_characters_of_several_tokens_are_put_together(
    kind: str, text: str, wanted: tuple[str, ...]
) -> None:
    tokenizer = bundled() if kind == "bundled" else KINDS[kind](QUICK)
    texts, ids = TokenTexts(tokenizer), tokenizer.encode(text, add_special_tokens=False)
    assert pieces_of([texts(token) for token in ids], tokenizer.decode(ids)) == wanted
    for count in range(len(ids)):  # while the answer grows
        whole = tokenizer.decode(ids[:count])
        assert "".join(pieces_of([texts(token) for token in ids[:count]], whole)) == whole


def rows_of(texts: list[tuple[int, str]], each: int) -> Iterator[LayerReading]:
    """All tokens, so many to a row."""
    for start in range(0, len(texts), each):
        top = tuple(Token(token, text, 0.25, 1.5) for token, text in texts[start : start + each])
        yield LayerReading(start % 90, top, 1.0, 2.0)


def assert_safe(segments: Segments, width: int, *, ascii_only: bool) -> None:
    text = "".join(shown for shown, _ in segments)
    assert text.isprintable(), ascii(text)
    assert cell_len(text) == width, ascii(text)
    assert not ascii_only or text.isascii(), ascii(text)
    assert strip_of(segments, width, PLAIN).cell_length == width


@pytest.mark.parametrize("ascii_only", [False, True])
@at_every_size
@of_every_kind
def test_in_the_table(kind: str, size: int, ascii_only: bool) -> None:
    texts = every_text(kind, size)
    assert len(texts) >= QUICK * 0.6
    for width in (60, 80, 137):
        columns = plan_columns(width, 3)
        for reading in rows_of(texts, columns.count):
            facts = RowFacts(reading.layer, 90, reading, find="a")
            segments = row_segments(facts, columns, STYLES, ascii_only=ascii_only)
            assert_safe(segments, width - 1, ascii_only=ascii_only)


@at_every_size
@of_every_kind
def test_in_the_head_of_the_table(kind: str, size: int) -> None:
    columns = plan_columns(120, 3, 0, ("entropy", "tracked"))
    for _, text in every_text(kind, size):
        followed = Followed(text, 0, (), ())
        assert_safe(
            header_segments(columns, STYLES, followed, ascii_only=False), 120, ascii_only=False
        )


@pytest.mark.parametrize("ascii_only", [False, True])
@at_every_size
@of_every_kind
def test_in_the_detail(kind: str, size: int, ascii_only: bool) -> None:
    texts = every_text(kind, size)
    for width, height, each in ((78, 6, 10), (58, 8, 7), (78, 23, 20), (180, 40, 37)):
        before = None
        for reading in rows_of(texts, each):
            lines = detail_lines(
                reading, before, None, (width, height), LOOK, ascii_only=ascii_only
            )
            for line in lines:
                text = "".join(shown for shown, _ in line)
                assert text.isprintable(), ascii(text)
                assert not ascii_only or text.isascii(), ascii(text)
            tokens = [line for line in lines if len(line) and line[0][0][:3].strip().isdecimal()]
            assert tokens
            # Columns are aligned: every entry is as wide as the first, whatever its token.
            widths = {cell_len(entry) for line in tokens for entry, _ in line}
            assert len(widths) == 1
            before = reading


@pytest.mark.parametrize("ascii_only", [False, True])
@at_every_size
@of_every_kind
def test_in_the_legend_of_the_plot(kind: str, size: int, ascii_only: bool) -> None:
    widths = set()
    for token, text in every_text(kind, size):
        curve = Curve(token, text, 0, False, (0.25,))
        line = legend_line(curve, PLAIN, "a", 0, Measure.PROBABILITY, ascii_only=ascii_only)
        widths.add(sum(cell_len(shown) for shown, _ in line))
        assert_safe(line, LEGEND_WIDTH, ascii_only=ascii_only)
    assert widths == {LEGEND_WIDTH}
