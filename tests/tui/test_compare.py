"""Two runs side by side: how rows are matched, where they part, and how that looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from engine.records import Counterfactual, ModelCard, Picture, Question, Token, Tracked
from tests.tui.dialog_stage import HOSTILE, PLAIN, Stage, make_view, on_stage
from tests.tui.fakes import track
from tests.tui.stage import ONE_SIZE, SIZES, in_loop
from tui.state.comparing import align, differences
from tui.state.run_view import RunView
from tui.views.compare.compare import Compare, CompareTable
from tui.views.compare.pair_columns import (
    CHANGE,
    Room,
    Scrolled,
    bar_of_change,
    diverging_bar,
    plan_pair,
    signed_figure,
)
from tui.views.compare.pair_context import PairContext

at_every_size = pytest.mark.parametrize("size", SIZES)
at_one_size = pytest.mark.parametrize("size", ONE_SIZE)

OTHER = ModelCard("org/other", None, "OtherModel", "float32", "cpu")
SPHERE = Token(42, " sphere", 0.5, 1.0)


def of_model(view: RunView, card: ModelCard | None) -> RunView:
    view.run = replace(view.run, question=replace(view.run.question, model=card))
    return view


# What is compared


def test_a_run_and_itself() -> None:
    view = make_view()
    compared = align(view, view)
    assert [row.same for row in compared.rows] == [True] * 11
    assert (compared.parts, compared.parts_for_good) == (None, None)
    assert [token.text for token in compared.answers] == [" cylinder"]
    assert not compared.by_depth
    assert not compared.by_text
    for row in compared.rows:
        assert row.left_layer == row.right_layer
        assert row.changes[0].difference == 0


def test_where_they_part_and_come_together_again() -> None:
    """The answer leads from row 5 on the left, from row 8 on the right."""
    compared = align(make_view(forms_at=5), make_view(forms_at=8))
    assert [row.same for row in compared.rows] == [True] * 5 + [False] * 3 + [True] * 3
    assert compared.parts == 5
    assert compared.parts_for_good is None


def test_where_they_part_for_good() -> None:
    left, right = make_view(forms_at=5), make_view(forms_at=8, answer=SPHERE)
    compared = align(left, right)
    assert (compared.parts, compared.parts_for_good) == (5, 5)
    left.rows[6] = replace(left.rows[6], top=right.rows[6].top)
    compared = align(left, right)
    assert (compared.parts, compared.parts_for_good) == (5, 7)
    assert [token.text for token in compared.answers] == [" cylinder", " sphere"]


def test_rows_that_have_not_been_read_say_nothing() -> None:
    compared = align(make_view(forms_at=5), make_view(running=True, read=4, forms_at=5))
    assert [row.same for row in compared.rows] == [True] * 4 + [None] * 7
    assert compared.rows[4].right is None
    assert (compared.parts, compared.parts_for_good) == (None, None)
    nothing = make_view(running=True, read=0)
    assert {row.same for row in align(nothing, nothing).rows} == {None}


@pytest.mark.parametrize(
    ("forms_at", "read", "words"),
    [
        (5, None, "top-1 is the same in every row"),
        (5, 4, "top-1 is the same in all rows read in both"),
        (2, 4, "top-1 first differs in row 2; later rows have not been read"),
        (2, None, "top-1 first differs in row 2, but is the same at the end"),
        (5, 0, "no row can be compared"),
    ],
)
def test_nothing_is_said_of_rows_that_have_not_been_read(
    forms_at: int, read: int | None, words: str
) -> None:
    right = make_view(2, forms_at=forms_at, read=read)
    assert CompareTable(make_view(1, forms_at=5), right, ascii_only=False).verdict == words


def test_probabilities_come_from_wherever_a_run_holds_them() -> None:
    left, right = make_view(), make_view(answer=SPHERE)
    right.run = replace(right.run, tracked=())
    for view in (left, right):  # rows that hold nothing but their leaders
        view.rows = [replace(row, top=row.top[:1], answer=None) for row in view.rows]
    first = align(left, right).rows[0]
    assert first.changes[0].left == 0.5  # tracked
    assert first.changes[0].right is None
    assert first.changes[0].difference is None
    assert first.changes[1].left is None

    right.deepened[0] = replace(right.rows[0], top=(SPHERE, Token(17, " cylinder", 0.125, 0.0)))
    first = align(left, right).rows[0]
    assert first.changes[0].difference == 0.125 - 0.5
    assert first.changes[1].right == 0.5

    right.deepened.clear()
    track(right, [Tracked(17, " cylinder", "user", (0.75,) * 11, (0.0,) * 11, (1,) * 11)])
    assert align(left, right).rows[0].changes[0].difference == 0.25


def test_another_model_is_matched_by_text() -> None:
    """Ids mean nothing there; the same id may be another token, and the other way round."""
    left = make_view()
    right = of_model(make_view(answer=Token(42, " cylinder", 0.5, 0.0)), OTHER)
    compared = align(left, right)
    assert compared.by_text
    assert compared.parts is None
    assert len(compared.answers) == 1
    assert align(left, make_view(answer=Token(42, " cylinder", 0.5, 0.0))).parts == 5
    assert align(of_model(make_view(), None), make_view()).by_text


@given(st.integers(0, 60), st.integers(0, 60))
def test_layers_are_matched_by_depth(one: int, other: int) -> None:
    left = RunView(make_view(running=True, read=0, layers=max(one, 1)).run)
    right = RunView(make_view(running=True, read=0, layers=max(other, 1)).run)
    left.run, right.run = replace(left.run, layers=one), replace(right.run, layers=other)
    compared = align(left, right)
    pairs = [(row.left_layer, row.right_layer) for row in compared.rows]
    assert compared.by_depth == (one != other)
    assert len(pairs) == max(one, other) + 1
    assert pairs[0] == (0, 0) or max(one, other) == 0
    assert pairs[-1] == (one, other)
    assert pairs == sorted(pairs)
    for side, layers in ((0, one), (1, other)):
        assert {pair[side] for pair in pairs} == set(range(layers + 1))
    deeper = max(one, other)
    for row, (mine, theirs) in enumerate(pairs):
        assert abs(mine * deeper - row * one) <= deeper / 2
        assert abs(theirs * deeper - row * other) <= deeper / 2


def test_what_the_questions_differ_in() -> None:
    one = Question(prompt="Shape:", picture=Picture(path="/a/x.png", sha256="a" * 64), model=OTHER)
    assert differences(one, one) == []
    for change, told in (
        ({"prompt": "Size:"}, ("prompt", "Shape:", "Size:")),
        ({"norm": False}, ("norm", "on", "off")),
        ({"chat": False}, ("asked", "as a chat", "raw")),
        ({"system": "Be brief."}, ("system", "-", "Be brief.")),
        ({"prefix": " It"}, ("prefix", "-", " It")),
        ({"counterfactual": Counterfactual("gray")}, ("image replacement", "-", "gray")),
        ({"model": replace(OTHER, name="org/b")}, ("model", "org/other", "org/b")),
        ({"picture": Picture(path="/b/y.png", sha256="a" * 64)}, ("picture", "x.png", "y.png")),
    ):
        found = differences(one, replace(one, **change))
        assert told in found, change
        assert {name for name, *_ in found} <= {told[0], "parameters", "seed"}
    same_name = replace(one, picture=Picture(path="/b/x.png", sha256="b" * 64))
    assert differences(one, same_name) == [("picture's file", "a" * 8, "b" * 8)]


# How it is drawn


@given(st.floats(-1, 1), st.integers(0, 15).map(lambda half: 2 * half + 1), st.booleans())
def test_a_bar_goes_either_way(share: float, width: int, ascii_only: bool) -> None:
    bar = diverging_bar(share, width, ascii_only=ascii_only)
    assert cell_len(bar) == width
    assert bar.isascii() or not ascii_only
    middle = width // 2
    left, right = bar[:middle].strip(), bar[middle + 1 :].strip()
    assert not (left and right)
    if abs(share) * middle >= 1:
        assert bool(right) == (share > 0)
    assert diverging_bar(-share, width, ascii_only=True).count("=") == diverging_bar(
        share, width, ascii_only=True
    ).count("=")


@given(st.floats(-1, 1))
def test_a_difference_has_its_sign_and_its_place(difference: float) -> None:
    shown = signed_figure(difference)
    assert len(shown) == 6
    if abs(difference) >= 0.00005:
        assert ("+" in shown) == (difference > 0)
        assert ("-" in shown) == (difference < 0)
    else:
        assert shown.strip() == "0"


@given(
    st.integers(56, 240),
    st.integers(0, 2),
    st.integers(0, 6),
    st.booleans(),
    st.integers(1, 10),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_the_columns_fit(
    width: int, answers: int, others: int, by_depth: bool, top_k: int, tokens: int, first: int
) -> None:
    change = CHANGE + bar_of_change(width) + 1
    blocks = [Room(change, True)] * answers + [Room(20, False)] * others
    plan = plan_pair(width, blocks, by_depth, top_k, Scrolled(tokens, first))
    shown = blocks[plan.blocks.start : plan.blocks.stop]
    used = plan.layer + 2 * plan.side + plan.mark + sum(block.width for block in shown)
    assert plan.count >= 1
    assert plan.token >= 4
    assert bool(shown) == bool(blocks)
    assert plan.first + plan.count <= max(top_k, plan.count)
    if width >= 76:
        assert used <= width
        assert plan.token >= 6


@pytest.mark.parametrize("width", [77, 117, 197])
def test_hostile_tokens_stay_in_their_cells(width: int) -> None:
    left = make_view(answer=Token(17, HOSTILE, 0.5, 0.0))
    right = make_view(2, forms_at=8, answer=Token(42, HOSTILE * 2, 0.5, 0.0))
    table = CompareTable(left, right, ascii_only=False)
    widths = set()
    for row in range(table.count):
        line = "".join(text for text, _ in table.draw_row(row, width, PLAIN))
        assert line.isprintable()
        widths.add(cell_len(line))
    assert len(widths) == 1
    assert max(widths) <= width


def rows_of(stage: Stage) -> dict[int, str]:
    """The lines of the table, by layer."""
    cells = [line.strip("│").lstrip("▌ ") for line in stage.lines[6:-1]]
    return {int(cell.split()[0]): cell for cell in cells if cell[:1].isdigit()}


@at_every_size
@in_loop
async def test_the_screen_shows_both(size: tuple[int, int]) -> None:
    left = make_view(1, "Shape of the left one:", forms_at=5)
    right = make_view(2, "Shape of the right one:", forms_at=8, norm=False)
    async with on_stage(Compare(left, right, PairContext(ascii_only=False)), size) as stage:
        assert "Shape of the left one:; norm on" in stage.lines[1]
        assert "␣cylinder 99.0% from row 5" in stage.lines[1]
        assert "Shape of the right one:; norm off" in stage.lines[2]
        assert "top-1 first differs in row 5, but is the same at the end" in stage.lines[3]
        rows = rows_of(stage)
        assert "part" in rows[5]
        assert sum("part" in line for line in rows.values()) == 1
        assert "␣cylinder"[:6] in rows[5]
        assert "≠" in rows[6]
        assert "=" in rows[4]
        assert " -" in rows[6]  # the right run has less of the answer there
        (line,) = (line for line in stage.lines if line[1] == "▌")
        assert "part" in line


@at_every_size
@in_loop
async def test_two_answers_have_a_column_each(size: tuple[int, int]) -> None:
    left, right = make_view(1), make_view(2, forms_at=8, answer=SPHERE)
    async with on_stage(Compare(left, right, PairContext(ascii_only=False)), size) as stage:
        assert "differs from row 5 on, for good" in stage.lines[3]
        heads = stage.lines[5]
        assert heads.count("Δ ␣") == 2
        assert "␣cyl" in heads
        assert "␣sph" in heads
        figures = rows_of(stage)[10]
        assert "-" in figures  # neither run's rows hold the other's answer


@at_one_size
@in_loop
async def test_the_sides_are_swapped(size: tuple[int, int]) -> None:
    left, right = make_view(1, "One:", forms_at=5), make_view(2, "Two:", forms_at=8)
    async with on_stage(Compare(left, right, PairContext(ascii_only=False)), size) as stage:
        before = rows_of(stage)[6]
        assert "One:" in stage.lines[1]
        await stage.press("O")
        assert "Two:" in stage.lines[1]
        assert "One:" in stage.lines[2]
        assert rows_of(stage)[6] != before
        assert "+" in rows_of(stage)[6]
        await stage.press("O")
        assert rows_of(stage)[6] == before


@at_one_size
@in_loop
async def test_moving_and_leaving(size: tuple[int, int]) -> None:
    left, right = make_view(1, layers=40), make_view(2, layers=40)
    for leave in ("escape", "q", "b"):
        async with on_stage(Compare(left, right, PairContext(ascii_only=False)), size) as stage:
            table = stage.app.screen.query_one(CompareTable)
            seen = [table.cursor]
            for key in ("j", "down", "k", "G", "g", "pagedown", "pageup", "end", "home"):
                await stage.press(key)
                seen.append(table.cursor)
                (line,) = (line for line in stage.lines if line[1] == "▌")
                assert line.strip("│▌ ").split()[0] == str(table.cursor)
            assert seen[:6] == [0, 1, 2, 1, 40, 0]
            assert seen[6] > 10
            assert seen[7:] == [0, 40, 0]
            assert ("of 41" in stage.lines[0]) == (size[1] < 48)
            await stage.press(leave)
            assert stage.app.results == [None]


@at_one_size
@in_loop
async def test_other_models_are_said(size: tuple[int, int]) -> None:
    left, right = make_view(1, layers=10), of_model(make_view(2, layers=4, forms_at=2), OTHER)
    async with on_stage(Compare(left, right, PairContext(ascii_only=False)), size) as stage:
        assert "10 and 4 layers: rows matched by depth" in stage.lines[4]
        assert "different models: tokens matched by text"[: size[0] - 44] in stage.lines[4]
        assert "model samples/model" in stage.lines[1]
        assert "model org/other" in stage.lines[2]
        assert "10/4" in stage.text


@in_loop
async def test_rows_of_a_failed_proof_are_marked() -> None:
    left, right = make_view(1), make_view(2, passed=False)
    async with on_stage(Compare(left, right, PairContext(ascii_only=False))) as stage:
        assert "proof failed" in stage.lines[2]
        assert "proof failed" not in stage.lines[1]


@at_every_size
@in_loop
async def test_hostile_and_ascii(size: tuple[int, int]) -> None:
    left = make_view(1, HOSTILE, answer=Token(17, HOSTILE, 0.5, 0.0), system=HOSTILE)
    right = make_view(2, HOSTILE + "?", forms_at=8, answer=Token(42, "é日本", 0.5, 0.0))
    for ascii_only in (False, True):
        async with on_stage(
            Compare(left, right, PairContext(ascii_only=ascii_only)), size
        ) as stage:
            assert stage.text.isascii() == ascii_only


@in_loop
async def test_resize() -> None:
    left, right = make_view(1), make_view(2, forms_at=8)
    async with on_stage(Compare(left, right, PairContext(ascii_only=False)), (200, 60)) as stage:
        for width, height in ((80, 24), (60, 16), (120, 40)):
            await stage.pilot.resize_terminal(width, height)
            await stage.pilot.pause()
            assert "part" in stage.text
