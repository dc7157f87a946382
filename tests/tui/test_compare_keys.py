"""Every key of the registry where two runs are compared: it acts on both, or says why it does
not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from textual.keys import _character_to_key

from engine.records import ModelCard, PromptToken, Token, Tracked
from tests.tui.dialog_stage import PLAIN, make_view
from tests.tui.fakes import track
from tests.tui.stage import EVERY_SIZE, PROMPT, WITH_PICTURE, Stage, explorer, in_loop
from tui.actions.registry import ACTIONS, BY_ID
from tui.sharing.pair_table import pair_table
from tui.state.comparing import align
from tui.state.finding import found_in_both
from tui.state.folding import Fold, shown_pairs
from tui.state.pair_figures import both_figures, has_difference
from tui.state.pair_places import SharedPlaces
from tui.state.run_view import RunView
from tui.state.table_look import TableLook
from tui.views.compare.compare import Compare, CompareTable
from tui.views.compare.pair_blocks import figure_block
from tui.views.compare.pair_context import PairContext
from tui.views.compare.pair_keys import BY_APP, reason_against
from tui.views.compare.pair_rows import PairRows
from tui.views.compare.pair_screen import PairScreen
from tui.views.compare.runs_plot import RunsPlot
from tui.views.compare.without import Without
from tui.widgets.explaining import explained_on

OTHER = ModelCard("org/other", None, "OtherModel", "float32", "cpu")
EVERYWHERE = {"cancel", "redraw", "suspend", "screenshot", "copy-as", "glossary", "open-pasted"}
"""What acts in all dialogs alike, or has no key; it has tests of its own."""


SLOW_SIZES = [EVERY_SIZE[0], *(pytest.param(size, marks=pytest.mark.slow) for size in (
    (100, 30), *EVERY_SIZE[1:]))]  # fmt: skip
"""The narrowest, and all in the full set."""


def of_model(view: RunView, card: ModelCard) -> RunView:
    view.run = replace(view.run, question=replace(view.run.question, model=card))
    return view


def tracked(view: RunView, text: str, share: float, rank: int, token: int = 300) -> RunView:
    n = view.run.layers + 1
    track(view, [Tracked(token, text, "user", (share,) * n, (0.0,) * n, (rank,) * n)])
    return view


@asynccontextmanager
async def compared(size: tuple[int, int] = (120, 40), **startup: Any) -> AsyncIterator[Stage]:
    """An explorer that compares its two runs, which part in row 5."""
    async with explorer(size, startup={**WITH_PICTURE, **startup}) as stage:
        await stage.run_done()
        stage.worker.forms_at = 8
        await stage.press("e", "x", "ctrl+r", "escape")
        await stage.run_done(2)
        await stage.press("b")
        await stage.until(lambda: isinstance(stage.app.screen, Compare))
        await stage.pilot.pause()
        yield stage


def screen(stage: Stage) -> PairScreen:
    shown = stage.app.screen
    assert isinstance(shown, PairScreen)
    return shown


def border(stage: Stage) -> str:
    """What the lower border says."""
    return stage.text.splitlines()[-1]


# ---------------------------------------------------------------------- the registry


def test_every_action_acts_or_has_a_reason() -> None:
    left, right = make_view(1), make_view(2)
    comparison = Compare(left, right, PairContext())
    own = comparison.performers()
    for action in ACTIONS:
        acts = action.id in own or action.id in BY_APP
        reason = comparison.reason(action.id)
        assert acts != bool(reason), action.id
        assert "{" not in reason, reason
        assert len(reason) <= 76, reason  # it fits into the border at 80 columns
    bound = {
        (key, binding.action)
        for key, bindings in comparison._bindings.key_to_bindings.items()
        for binding in bindings
    }
    for action in ACTIONS:
        for key in action.keys:
            assert any(
                name == f"perform({action.id!r})"
                and at == (_character_to_key(key) if len(key) == 1 else key)
                for at, name in bound
            ), (action.id, key)
    assert not own.keys() & BY_APP
    assert {*own, *BY_APP} <= BY_ID.keys()
    assert not reason_against("no such action")


@pytest.mark.slow
@pytest.mark.parametrize("size", [*EVERY_SIZE, (100, 30)])
@in_loop
async def test_every_key_that_does_nothing_says_why(size: tuple[int, int]) -> None:
    async with compared(size) as stage:
        for action in ACTIONS:
            reason = screen(stage).reason(action.id)
            if not reason:
                continue
            for key in action.keys:
                screen(stage).tell("")
                await stage.press(key)
                assert isinstance(stage.app.screen, Compare), action.id
                assert reason in border(stage), (action.id, key)
        assert len(stage.app.state.runs) == 2
        assert len(stage.worker.questions) == 2


def _has_changed(stage: Stage, text: str, clipboard: str) -> bool:
    return stage.text != text or stage.app.clipboard != clipboard


@pytest.mark.slow
@in_loop
async def test_every_key_that_acts_changes_something() -> None:
    async with compared((120, 30)) as stage:
        ready = {
            "up": "G", "page-up": "G", "half-page-up": "G", "first-row": "G", "down": "g",
            "find-next": "g", "earlier-tokens": "l", "fewer-tokens": "J", "next-position": "<",
            "next-part": "(", "own-position": "<", "previous-run": ".", "last-row": "g",
        }  # fmt: skip
        stage.app.state.look = TableLook(figures=("entropy", "rms", "kl", "answer"), find="two")
        stage.app.show_look()
        for action in ACTIONS:
            if action.id in EVERYWHERE or screen(stage).reason(action.id) or not action.keys:
                continue
            pair = screen(stage)
            if action.id in ready:
                await stage.press(ready[action.id])
            pair.tell("")
            await stage.pilot.pause()
            before, clipboard = stage.text, stage.app.clipboard
            await stage.press(action.keys[0])
            await stage.until(partial(_has_changed, stage, before, clipboard))
            while stage.app.screen is not pair and stage.app.screen is not stage.app.main:
                await stage.press("escape")
                await stage.pilot.pause()
            if stage.app.screen is stage.app.main:  # it closes the comparison
                assert action.id in ("leave", "leave-editor", "compare")
                await stage.press("b")
            elif pair.searched.find_line.is_open:
                await stage.press(*"two", "enter")
            await stage.until(lambda: isinstance(stage.app.screen, Compare))
            await stage.pilot.pause()


@pytest.mark.slow
@in_loop
async def test_the_users_own_keys_act_here() -> None:
    async with compared(keys={"fold": "ctrl+k", "leave": "Z", "down": "z"}) as stage:
        await stage.press("ctrl+k")
        await stage.shows("rows are folded", "ctrl+k folds more")
        here = screen(stage).table_row
        await stage.press("z")
        assert screen(stage).table_row > here
        await stage.shows("Z closes")
        await stage.press("q")
        assert isinstance(stage.app.screen, Compare)
        await stage.press("Z")
        await stage.until(lambda: stage.app.screen is stage.app.main)


# ---------------------------------------------------------------------- finding


def test_both_sides_are_searched_in_all_that_they_keep() -> None:
    left, right = make_view(1, forms_at=5), make_view(2, forms_at=8)
    hidden = Token(7777, " zebra", 1e-6, None)
    right.deepened[3] = replace(right.rows[3], top=(*right.rows[3].top, hidden))
    (found,) = found_in_both((left, right), align(left, right), "ZEBRA")
    assert (found.row, found.left) == (3, None)
    assert found.right is not None
    assert found.right.rank == len(right.rows[3].top) + 1


@pytest.mark.parametrize("size", SLOW_SIZES)
@in_loop
async def test_what_is_found_is_said_with_side_row_and_rank(size: tuple[int, int]) -> None:
    async with compared(size) as stage:
        right = stage.app.state.runs[1]
        right.rows[3] = replace(
            right.rows[3], top=(*right.rows[3].top[:-1], Token(7777, " zebra", 0.0001, None))
        )
        right.rows[9] = replace(
            right.rows[9], top=(Token(7777, " zebra", 0.5, None), *right.rows[9].top[1:])
        )
        await stage.press("slash", *"zebra", "enter")
        await stage.shows("row 9, ␣zebra right rank 1, 50.0%; 2 of 2 rows")
        assert screen(stage).table_row == 9
        await stage.press("n")
        await stage.shows("row 3, ␣zebra right rank 10, 0.01%; 1 of 2 rows")
        await stage.press("N", "slash", *"sphere", "enter")
        await stage.shows("␣sphere left rank", "right rank")
        await stage.press("slash", *"nothing at all", "enter")
        await stage.shows("no row holds")
        assert stage.app.state.look.find == "nothing at all"  # the table below has it, too
        await stage.press("q")
        assert stage.app.main.table._chosen.find == "nothing at all"


# ---------------------------------------------------------------------- tracking


def test_tracked_tokens_have_both_probabilities_and_their_difference() -> None:
    left, right = tracked(make_view(1), " cat", 0.25, 3), tracked(make_view(2), " cat", 0.5, 1)
    rows = align(left, right)
    assert [token.text for token in rows.tokens] == [" cylinder", " cat"]
    change = rows.rows[4].changes[1]
    assert (change.left, change.right, change.difference) == (0.25, 0.5, 0.25)
    assert (change.left_rank, change.right_rank) == (3, 1)
    table = CompareTable(left, right, TableLook(figures=("tracked",)), ascii_only=False)
    line = "".join(text for text, _ in table.draw_row(4, 160, PLAIN))
    assert "25.0% #3" in line
    assert "50.0% #1" in line
    assert "+25.0" in line
    exported = pair_table(rows, ("a", "b"))
    assert exported.rows[4][-3:] == (0.25, 0.5, 25.0)


def test_of_another_model_a_tracked_token_is_matched_by_text() -> None:
    left = tracked(make_view(1), " cat", 0.25, 3)
    right = of_model(tracked(make_view(2), " cat", 0.5, 1, token=9), OTHER)
    rows = align(left, right)
    assert [token.text for token in rows.tracked] == [" cat"]
    assert rows.rows[0].changes[-1].difference == 0.25


@pytest.mark.parametrize("size", SLOW_SIZES)
@in_loop
async def test_a_word_is_tracked_in_both_runs(size: tuple[int, int]) -> None:
    async with compared(size) as stage:
        await stage.press("t", *"cube")
        await stage.shows("whole token")
        await stage.press("enter")
        await stage.until(lambda: all(run.run.tracked[-1].why == "user" for run in runs(stage)))
        assert [run.run.tracked[-1].id for run in runs(stage)] == [300, 300]
        while "␣token300" not in stage.text.splitlines()[5]:
            await stage.press("l")
        await stage.shows("13.6% 13.6%")
        heads = {each.text: each.term.word for each in explained_on(stage.app.screen)}
        assert (heads["␣token300"], heads["Δ"]) == ("tracked token", "points, part, for good")
        await stage.press("P", "asterisk", "asterisk")
        await stage.until(lambda: isinstance(stage.app.screen, RunsPlot))
        await stage.shows("p of ␣token300")
        await stage.press("percent_sign", "percent_sign")
        await stage.shows("rank of ␣token300")
        await stage.press("q", "t", "tab", "enter")
        await stage.until(lambda: all(run.run.tracked[-1].why != "user" for run in runs(stage)))
        stage.app.state.top_k = 12
        await stage.press("plus")
        await stage.shows("10 tokens of each row, which is all that both runs hold")
        assert stage.app.state.top_k == 12
        for run in runs(stage):
            run.rows.clear()
        await stage.press("plus")
        await stage.shows("no rows here yet")
        assert stage.app.state.top_k == 12


def runs(stage: Stage) -> list[RunView]:
    return stage.app.state.runs


@pytest.mark.slow
@in_loop
async def test_a_run_of_another_model_is_not_tracked_by_ids_of_this_one() -> None:
    async with compared() as stage:
        of_model(runs(stage)[0], OTHER)
        stage.app.asker._gone.add(runs(stage)[0].run.id)  # as when its model was replaced
        await stage.press("t", *"cube")
        await stage.shows("whole token")
        await stage.press("enter")
        await stage.shows("left: only what its rows hold", "another model")
        assert all(known.why != "user" for known in runs(stage)[0].run.tracked)
        await stage.until(lambda: runs(stage)[1].run.tracked[-1].why == "user")


# ---------------------------------------------------------------------- columns, tokens, folding


def test_figures_of_both_sides_and_where_a_difference_means_nothing() -> None:
    left, right = make_view(1, forms_at=5), make_view(2, forms_at=8)
    left.rows[6] = replace(left.rows[6], entropy=1.0)
    right.rows[6] = replace(right.rows[6], entropy=None)
    rows = align(left, right)
    both = both_figures("entropy", rows.rows[6], rows)
    assert (both.left, both.right, both.difference) == (1.0, None, None)
    assert both_figures("entropy", rows.rows[3], rows).difference == 0
    assert has_difference("rms", rows)
    assert has_difference("answer", rows)
    others = align(left, of_model(make_view(2, answer=Token(42, " ball", 0.5, 0.0)), OTHER))
    assert not has_difference("rms", others)
    assert not has_difference("answer", others)
    assert has_difference("kl", others)
    chosen = pair_table(others, ("a", "b"), ("entropy", "rms", "answer"))
    names = [column.name for column in chosen.columns]
    assert "entropy_difference" in names
    assert "left_rms" in names
    assert "rms_difference" not in names
    assert {len(row) for row in chosen.rows} == {len(names)}
    elsewhere = pair_table(rows, ("a", "b"), ("answer",), answer_name="next here")
    assert [(each.name, each.head) for each in elsewhere.columns[-3:]] == [
        ("left_answer", "left next here"),
        ("right_answer", "right next here"),
        ("answer_points", "points"),
    ]
    assert {len(row) for row in elsewhere.rows} == {len(elsewhere.columns)}
    for at, name in ((left, "answer's p"), (left.blank_at(0, ""), "next here's p")):
        heading = figure_block(PairRows(at, right, ascii_only=False), "answer").heading(PLAIN)
        assert name in heading[0][0]


def test_rows_fold_where_neither_side_changes() -> None:
    left, right = make_view(1, forms_at=5), make_view(2, forms_at=8)
    rows = align(left, right)
    shown = shown_pairs((left, right), rows)
    changes = [
        at
        for at in range(1, 11)
        if any(side.rows[at].top[0].id != side.rows[at - 1].top[0].id for side in (left, right))
    ]
    assert {0, 5, 10, *changes} <= set(shown)
    assert len(shown) < 11
    assert 7 not in shown
    assert 7 in shown_pairs((left, right), rows, keep=[7])


@pytest.mark.slow
@pytest.mark.parametrize("size", [*EVERY_SIZE, (100, 30)])
@in_loop
async def test_columns_top_k_and_folding_are_those_of_the_table(size: tuple[int, int]) -> None:
    async with compared(size) as stage:
        await stage.press("F")
        await stage.until(lambda: stage.app.state.look.fold is Fold.EQUAL)
        await stage.press("F")
        await stage.shows("rows are folded", "of 11 rows")
        assert stage.app.state.look.fold is Fold.LEADER
        await stage.press("C", "j", "space", "enter")  # rms besides entropy
        await stage.until(lambda: stage.app.state.look.figures == ("entropy", "rms"))
        seen = stage.text
        for _ in range(4):
            await stage.press("l")
            seen += stage.text
        assert "entropy" in seen
        assert "rms" in seen
        await stage.press(*["h"] * 8)
        await stage.shows("these are the first columns")
        await stage.press("plus")
        await stage.shows("4 tokens of each row")
        await stage.press(*["plus"] * 7)
        await stage.shows("which is all that both runs hold")
        assert stage.app.state.top_k == 10
        assert len(stage.worker.questions) == 2  # neither is asked again
        await stage.press("q")
        assert stage.app.main.table.line_count < 11


# ---------------------------------------------------------------------- positions


def prompted(view: RunView, *words: str) -> RunView:
    tokens = tuple(
        PromptToken(9 if word == "<image>" else len(word) * 100 + ord(word[0]), word,
                    "image" if word == "<image>" else "text", "prompt")
        for word in words
    )  # fmt: skip
    view.run = replace(view.run, tokens=tokens, position=len(tokens) - 1)
    return view


def test_positions_are_matched_from_the_start_and_from_the_end() -> None:
    image = ("<image>",) * 3
    left = prompted(make_view(1), "user", *image, "What", "is", "it")
    right = prompted(make_view(2), "user", "What", "was", "it")
    shared = SharedPlaces.of(left, right, unfolded=False)
    assert shared.right_of == {0: 0, 6: 3}
    assert shared.step(6, -1) == (0, 0)
    assert shared.step(0, -1) is None
    assert shared.step(6, 1) is None
    same = SharedPlaces.of(left, prompted(make_view(3), "user", *image, "What", "is", "it"),
                           unfolded=False)  # fmt: skip
    assert same.firsts == (0, 1, 4, 5, 6)
    assert same.step(4, -1) == (1, 1)
    longer = prompted(make_view(4), "a", "user", *image, "What", "is", "it")
    assert SharedPlaces.of(left, longer, unfolded=True).step(6, -1) == (5, 6)


@pytest.mark.slow
@in_loop
async def test_both_prompts_are_walked_together() -> None:
    async with compared((80, 24)) as stage:
        await stage.press("<")
        await stage.shows("at position 3 (0-4)")
        await stage.until(lambda: [run.at(3) is not None for run in runs(stage)] == [True, True])
        await stage.until(lambda: all(side.run.position == 3 for side in screen(stage).sides))
        await stage.until(lambda: "␣w3" in stage.text)
        await stage.press("O")
        assert all(side.run.position == 3 for side in screen(stage).sides)
        await stage.press(";")
        await stage.until(lambda: all(side.own is side for side in screen(stage).sides))
        await stage.press("G", "(", "(", "(", "(")
        await stage.shows("first part that both prompts share")


# ---------------------------------------------------------------------- the rest


@pytest.mark.slow
@in_loop
async def test_another_run_takes_the_place_of_the_right_one() -> None:
    async with compared() as stage:
        await stage.press("q", "e", "y", "ctrl+r", "escape")
        await stage.run_done(3)
        await stage.press("b")
        await stage.until(lambda: isinstance(stage.app.screen, Compare))
        assert [side.run.id for side in screen(stage).sides] == [
            run.run.id for run in runs(stage)[1:]
        ]
        await stage.press("comma")
        assert screen(stage).sides[1] is runs(stage)[0]
        await stage.press("comma")
        await stage.shows("is the first of the runs")


@pytest.mark.slow
@in_loop
async def test_a_command_of_the_palette_acts_on_both() -> None:
    async with compared() as stage:
        await stage.press("ctrl+p", *"fold rows", "enter")
        await stage.shows("rows are folded, which on both sides equal that above")
        await stage.press("ctrl+p", *"edit the prompt", "enter")
        await stage.shows("questions are asked on the main screen")
        assert isinstance(stage.app.screen, Compare)


@pytest.mark.slow
@in_loop
async def test_with_and_without_the_picture_has_the_same_keys() -> None:
    async with explorer((80, 24), startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("B")
        await stage.until(lambda: isinstance(stage.app.screen, Without))
        pair = screen(stage)
        for action in ACTIONS:
            acts = action.id in pair.performers() or action.id in BY_APP
            assert acts != bool(pair.reason(action.id)), action.id
        await stage.shows("contrast with none (f)")
        await stage.press("plus")
        await stage.shows("4 tokens of each row")
        await stage.press("slash", *"cyl", "enter")
        await stage.shows("␣cylinder left rank")
        await stage.press("full_stop")
        await stage.shows("these two runs belong together")
        assert PROMPT not in border(stage)
        await stage.press("B")
        await stage.until(lambda: stage.app.screen is stage.app.main)
