"""The rows of the table: columns, colours, marks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len
from rich.style import Style

from engine.records import AnswerReading, LayerReading, Token
from engine.tables import Place
from tests.tui.dialog_stage import make_view
from tests.tui.fakes import make_rows
from tui.state.columns import FIGURE_COLUMNS
from tui.state.finding import found_in, next_row
from tui.views.table.table_rows import (
    Followed,
    RowFacts,
    header_segments,
    plan_columns,
    row_segments,
    visible_facts,
)
from tui.widgets.styles import Segments, Styles

COLOURS = [Style(color=f"color({number})") for number in range(20, 29)]
HUES = tuple(Style(color=f"color({number})") for number in range(30, 38))
BARS = tuple(Style(color=f"color({number})") for number in range(40, 48))
TEXT, FAINT, ANSWER, ANSWER_BAR, BAR, GOOD, ERROR, STRUCK, CURSOR = COLOURS
STYLES = Styles(TEXT, FAINT, ANSWER, ANSWER_BAR, BAR, GOOD, ERROR, STRUCK, CURSOR, HUES, BARS)
FIGURE_SETS = st.lists(st.sampled_from(list(FIGURE_COLUMNS)), unique=True).map(tuple)


@given(st.integers(20, 300), st.integers(1, 40), st.integers(0, 60), FIGURE_SETS)
def test_columns_fit(width: int, top_k: int, first: int, figures: tuple[str, ...]) -> None:
    columns = plan_columns(width, top_k, first, figures)
    assert 1 <= columns.count <= top_k
    assert columns.first + columns.count <= top_k
    if width < 60:
        return
    followed = Followed("漢字 or so", 3, (0.5, 0.1, None), (1, 123456, None))
    header = header_segments(columns, STYLES, followed, ascii_only=False)
    assert sum(cell_len(text) for text, _ in header) == width
    for reading in make_rows(3, 1, top_k=top_k):
        reading = replace(reading, answer=AnswerReading(0.3, 1.0, 98765), kl_to_last=1e-9)
        facts = RowFacts(
            reading.layer, 3, reading, answer=17, formation=1, followed=(Place(0.5, 123456), 3)
        )
        row = row_segments(facts, columns, STYLES, ascii_only=False)
        assert sum(cell_len(text) for text, _ in row) == width - 1


def test_columns_by_choice_make_way_for_the_first_token() -> None:
    every = tuple(FIGURE_COLUMNS)
    assert plan_columns(200, 3, 0, every).figures == every
    assert plan_columns(60, 3, 0, every).figures != every
    assert plan_columns(60, 3, 0, every).count == 1
    assert plan_columns(80, 3, 0, ()).count == 3


def reading(*words: str) -> LayerReading:
    top = tuple(Token(100 + len(word), word, 0.5 / n, 1.0) for n, word in enumerate(words, 1))
    return LayerReading(5, top, 1.0, 2.0)


def drawn(facts: RowFacts) -> Segments:
    return row_segments(facts, plan_columns(120, 3), STYLES, ascii_only=False)


def style_of(segments: Segments, text: str) -> Style:
    return next(style for shown, style in segments if text in shown)


def test_a_token_has_its_hue_and_the_answer_its_own() -> None:
    row = reading(" a", " bb", " ccc")
    segments = drawn(RowFacts(5, 10, row, answer=103, hues={102: 0, 103: 9, 104: 10}))
    assert style_of(segments, "␣a") == HUES[0]
    assert style_of(segments, "␣bb") == STYLES.answer
    assert style_of(segments, "␣ccc") == HUES[10 % 8]
    assert BARS[0] in [style for _, style in segments]
    plain = drawn(RowFacts(5, 10, row))
    assert style_of(plain, "␣a") == STYLES.text


def test_marks_tell_change_stay_formation_and_hold() -> None:
    row = reading(" a")

    def mark(layer: int, *, changed: bool, formation: int | None = 5, struck: bool = False) -> str:
        facts = RowFacts(layer, 10, row, changed=changed, formation=formation, struck=struck)
        return drawn(facts)[1][0].strip()

    assert mark(3, changed=True) == "○"
    assert mark(3, changed=False) == "╎"
    assert mark(5, changed=True) == "●"
    assert mark(6, changed=False) == "│"
    assert mark(6, changed=True, formation=None) == "○"
    assert mark(6, changed=True, struck=True) == ""


def test_what_is_found_is_marked() -> None:
    row = reading(" Cube", " sphere")
    segments = drawn(RowFacts(5, 10, row, find="cub"))
    assert style_of(segments, "␣Cube").reverse
    assert not style_of(segments, "␣sphere").reverse
    ids = drawn(RowFacts(5, 10, row, find="#107"))
    assert style_of(ids, "␣sphere").reverse


def test_rows_are_found_among_all_that_is_kept_and_the_search_goes_round() -> None:
    view = make_view()
    found = [each.layer for each in found_in(view, "CYLINDER")]
    assert found == list(range(11))
    assert [each.rank for each in found_in(view, "cylinder")] == [10] * 5 + [1] * 6
    assert found_in(view, "") == []
    for digits in ("9" * 5000, "0" * 5000, "\u0663" * 5000):
        assert found_in(view, f"#{digits}") == []
    found = [5, 6, 7, 8, 9, 10]
    assert next_row(found, 7, 1) == 8
    assert next_row(found, 10, 1) == 5
    assert next_row(found, 5, -1) == 10
    assert next_row([], 5, 1) is None


_OPTIONAL_ROWS = st.none() | st.integers(0, 8)


@given(
    st.integers(0, 8),
    st.integers(0, 3),
    FIGURE_SETS,
    _OPTIONAL_ROWS,
    st.sampled_from([None, 17, 100, 108]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "cube", "gray"]),
    st.sampled_from([None, 0.5, 2.0]),
)
def test_a_row_is_drawn_alike_from_what_is_visible_of_it(
    layer: int,
    first: int,
    figures: tuple[str, ...],
    formation: int | None,
    answer: int | None,
    changed: bool,
    struck: bool,
    is_read: bool,
    find: str,
    kl: float | None,
) -> None:
    columns = plan_columns(120, 6, first, figures)
    row = replace(make_rows(8, 4)[layer], kl_to_last=kl, answer=AnswerReading(0.3, 1.0, 12))
    facts = RowFacts(
        layer,
        8,
        row if is_read else None,
        answer=answer,
        formation=formation,
        changed=changed,
        hues={token.id: place for place, token in enumerate(row.top)},
        followed=(Place(0.5, 3), 2),
        find=find,
        struck=struck,
        instead="reading",
    )
    visible = visible_facts(facts, columns)
    kept = row_segments(visible, columns, STYLES, ascii_only=False)
    assert kept == row_segments(facts, columns, STYLES, ascii_only=False)
    assert visible_facts(visible, columns) == visible


def test_rows_that_differ_in_what_no_column_shows_look_alike() -> None:
    columns = plan_columns(120, 3)
    one = make_rows(8, 4)[2]
    other = replace(one, kl_to_last=0.3, top=(*one.top[: columns.count], Token(1, "z", 0.0, 0.0)))
    facts = RowFacts(2, 8, one), RowFacts(2, 8, other, answer=1, formation=6, hues={1: 3})
    assert visible_facts(facts[0], columns) == visible_facts(facts[1], columns)
    with_kl = plan_columns(120, 3, 0, ("kl",))
    assert visible_facts(facts[0], with_kl) != visible_facts(facts[1], with_kl)
