"""The screen of the answer, on a worker with made numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from textual.widgets import Input

from engine.arrays import Array
from engine.errors import BadInput
from engine.methods.answer import Answer, AnswerRequest
from engine.methods.visit import VisitRequest
from engine.records import ReadingProof, Session
from tests.tui.answer_stage import ALL, answer_part, answer_reading
from tests.tui.reading_stage import asked_of, opened_by
from tests.tui.stage import ONE_SIZE, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tui.state.answer_steps import AnswerSteps, pieces_of
from tui.state.tints import Tint
from tui.text.decoding import as_pairs, decoding_words
from tui.views.answer.screen import AnswerScreen
from tui.views.answer.settings_dialog import DecodingDialog, decoding_of
from tui.views.answer.text_lines import line_of, text_lines

LAYERS = 10
at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


def screen_of(stage: Stage) -> AnswerScreen:
    return next(each for each in stage.app.screen_stack if isinstance(each, AnswerScreen))


@asynccontextmanager
async def opened(
    size: tuple[int, int] = (120, 40), **given: Any
) -> AsyncIterator[tuple[Stage, AnswerScreen]]:
    """Open the screen, and wait for the end of the answer."""
    async with opened_by("c", AnswerScreen, size, **given) as (stage, screen):
        await stage.until(lambda: screen.reading is not None)
        await stage.pilot.pause()
        yield stage, screen


def asked(stage: Stage) -> list[AnswerRequest]:
    return asked_of(stage, AnswerRequest)


# ---------------------------------------------------------------------- what it shows


@pytest.mark.slow
@at_every_size
@in_loop
async def test_every_token_is_a_column(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await stage.shows("The main object is a cylinder.", "answer, 8 tokens", "end", "greedy")
        await stage.shows("not used: temperature 0.01", "row 10 of 0-10", "after settings", "100%")
        heads = [screen.grid.render_line(line).text for line in range(3)]
        assert "cylinder" in heads[1]
        assert "from 4" in heads[2]
        assert_harmless(stage)
        assert asked(stage) == [AnswerRequest()]
        await stage.press("escape")
        assert not stage.app.has_dialog
        await stage.shows("The main object is a")
        assert "c continues" not in stage.text


@in_loop
async def test_the_steps_are_shown_as_they_come_and_can_be_stopped() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.shows("c continues")
        stage.worker.holds_answers = True
        await stage.press("c")
        await stage.shows("3 of at most 20 tokens", "The main object", "esc or ^c stops")
        screen = screen_of(stage)
        assert (screen.along.steps.count, screen.along.step, screen.reading) == (3, 2, None)
        await stage.press("left", "left", "enter")
        assert stage.app.has_dialog is False  # its first token is the run's own position
        stage.worker.holds_answers = True
        await stage.press("c")
        await stage.shows("3 of at most 20 tokens")
        await stage.press("left", "enter")
        await stage.shows("can be opened once the answer has ended")
        await stage.press("ctrl+c")
        await stage.shows("stopped after 3 tokens")
        assert stage.worker.cancelled_readings
        assert not stage.worker.cancels
        stage.worker.holds_answers = False
        await stage.press("r")
        await stage.shows("answer, 8 tokens")
        await stage.press("escape")
        assert not stage.app.has_dialog


@pytest.mark.slow
@in_loop
async def test_escape_stops_it_and_then_closes_and_nothing_is_kept() -> None:
    async with explorer() as stage:
        await stage.run_done()
        stage.worker.holds_answers = True
        await stage.press("5")
        await stage.shows("3 of at most 20 tokens")
        await stage.press("escape")
        await stage.shows("stopped after 3 tokens")
        await stage.press("escape")
        assert not stage.app.has_dialog
        assert stage.app.state.current is not None
        assert stage.app.state.current.run.readings == ()
        await stage.shows("c continues")


@pytest.mark.slow
@in_loop
async def test_an_answer_that_is_there_is_not_decoded_again() -> None:
    async with opened() as (stage, _):
        for key in ("5", "c"):
            await stage.press("escape", key)
            await stage.shows("The main object is a cylinder.", "answer, 8 tokens")
        assert len(asked(stage)) == 1


@pytest.mark.slow
@in_loop
async def test_an_answer_that_was_cut_off_grows_to_twice_its_length() -> None:
    async with explorer() as stage:
        await stage.run_done()
        stage.app.state.decode_with(AnswerRequest(max_new_tokens=5))
        await stage.press("c")
        await stage.shows("cut off after 5 tokens")
        await stage.press("c")
        await stage.shows("answer, 8 tokens")
        assert [request.max_new_tokens for request in asked(stage)] == [5, 10]
        await stage.press("c")
        await stage.shows("the model has ended this answer")


@pytest.mark.slow
@in_loop
async def test_a_long_answer_scrolls() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        stage.app.state.decode_with(AnswerRequest(max_new_tokens=512))
        await stage.press("c")
        await stage.until(lambda: screen_of(stage).reading is not None, 60)
        screen = screen_of(stage)
        await stage.shows("answer, 512 tokens", "token 511")
        assert "511" in screen.grid.render_line(0).text
        screen.along.go_to(300)
        await stage.press("right")
        await stage.shows("token 301")
        assert "301" in screen.grid.render_line(0).text
        assert "0  " not in screen.grid.render_line(0).text[:12]


# ---------------------------------------------------------------------- moving, tints, panels


@pytest.mark.slow
@in_loop
async def test_the_cursor_moves_by_tokens_and_rows() -> None:
    async with opened() as (stage, screen):
        await stage.press("left", "h", "<")
        await stage.shows("token 4")
        await stage.press("up", "k")
        await stage.shows("row 8 of 0-10, token 4", "row 8 of 0-10, its best tokens")
        await stage.press("g", "right")
        assert (screen.along.row, screen.along.step) == (0, 5)
        await stage.press("G", *["right"] * 9)
        assert (screen.along.row, screen.along.step) == (LAYERS, 7)
        before = screen.along.heat
        await stage.press("percent_sign")
        await stage.shows("entropy, 1.5 nats a step", "entropy")
        assert screen.along.heat is not before


@in_loop
async def test_the_tint_has_a_scale_and_is_read_when_it_is_wanted() -> None:
    async with opened() as (stage, screen):
        await stage.press("f")
        await stage.shows("the model's own probability  0%", "100%  linear")
        await stage.press("f")
        await stage.shows("r reads the picture's share of attention")
        await stage.press("r")
        await stage.shows("the picture's share of attention  0%", "39.6%  linear")
        assert asked(stage)[-1] == AnswerRequest(attention=True)
        assert stage.app.state.decoding == AnswerRequest(), "the tint has needed it, no setting"
        await stage.shows("greedy · attention · at most 20 tokens")
        tints = screen.along.tint.steps(screen.along.steps)
        assert max(tints) == 7
        assert min(tints) < 4
        backgrounds = {
            style.bgcolor for line in range(2) for _, style, _ in screen.text.render_line(line)
            if style is not None
        }  # fmt: skip
        assert len(backgrounds) > 3
        values = screen.along.steps.figures("picture")
        assert values is not None
        assert screen.along.step == values.argmax()
        await stage.press("n")
        assert screen.along.step == values.argsort()[-2]
        await stage.press("N", "N")
        assert screen.along.step == values.argmin()


@pytest.mark.slow
@in_loop
async def test_without_colours_the_tint_is_a_line_of_signs() -> None:
    async with opened(startup={"ascii": True}) as (stage, screen):
        await stage.press("f")
        await stage.shows("[ 1234567]")
        words, signs = (screen.text.render_line(line).text for line in range(2))
        assert "main" in words
        tint = screen.along.tint.steps(screen.along.steps)[1]
        assert signs[words.index("main")] == str(tint or " ")
        assert stage.text.isascii()
        await stage.press("tab", "tab")
        assert stage.text.isascii()


@pytest.mark.slow
@in_loop
async def test_the_counterfactual_is_asked_before_it_is_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Answer, "needs", lambda self, request: (request.against,) * bool(request.against)
    )
    async with opened() as (stage, screen):
        run = stage.app.state.current
        await stage.press("F", "r")
        await stage.shows("JS against the counterfactual  0 nats")
        assert asked(stage)[-1].against == "none"
        assert [view.counterfactual for view in stage.app.state.runs] == ["", "none"]
        assert screen.reading is not None
        await stage.press("escape")
        assert stage.app.state.current is run
        await stage.press("5", "e")
        await stage.press(*"x")
        await stage.press("escape")


@pytest.mark.slow
@in_loop
async def test_without_a_picture_nothing_can_be_put_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Answer, "needs", lambda self, request: ("none",) * bool(request.against))
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("c")
        await stage.shows("answer, 8 tokens")
        await stage.press("F", "r")
        await stage.shows("this run has no picture to replace", "The main object is a cylinder.")
        await stage.press("e")
        stage.app.screen.query_one(Input).value = "against=none"
        await stage.press("enter")
        await stage.shows("this run has no picture to replace")
        assert stage.app.state.decoding == AnswerRequest()
        await stage.press("escape", "c")
        await stage.shows("answer, 8 tokens")
        assert len(asked(stage)) == 1


@pytest.mark.slow
@in_loop
async def test_what_was_set_is_remembered_and_what_a_tint_needed_is_not() -> None:
    async with opened() as (stage, screen):
        await stage.press("e")
        stage.app.screen.query_one(Input).value = "attention=true,temperature=0.7"
        await stage.press("enter")
        await stage.until(lambda: screen.reading is not None)
        await stage.press("F", "r")
        await stage.until(lambda: asked(stage)[-1].against == "none")
        chosen = AnswerRequest(attention=True, temperature=0.7)
        assert stage.app.state.decoding == chosen
        await stage.until(lambda: screen.reading is not None and screen.reading.js is not None)
        count = len(asked(stage))
        await stage.press("escape", "c")
        await stage.shows("against none")
        assert len(asked(stage)) == count, "it is the same answer"


@pytest.mark.slow
@in_loop
async def test_while_further_answers_are_drawn_the_first_has_ended() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        stage.app.state.decode_with(AnswerRequest(temperature=0.7, top_p=0.9, draws=20, seed=1))
        stage.worker.holds_draws = True
        await stage.press("c")
        await stage.shows("11 of 20 answers drawn: esc or ^c stops, and keeps the 11")
        assert screen_of(stage).text.render_line(0).text.rstrip().endswith(". ∎")
        await stage.press("c")
        await stage.shows("the model has ended this answer")
        await stage.press("escape")
        await stage.shows("stopped: 11 of 20 answers are kept", "11 draws")
        assert screen_of(stage).text.render_line(0).text.rstrip().endswith(". ∎")
        reading = screen_of(stage).reading
        assert reading is not None and sum(draw.count for draw in reading.draws) == 11
        # Decoding all of them again begins anew.
        stage.worker.holds_draws = False
        await stage.press("escape")
        stage.app.state.decode_with(AnswerRequest(temperature=0.7, top_p=0.9, draws=20, seed=1))
        await stage.press("c")
        await stage.shows("20 draws")


# ---------------------------------------------------------------------- settings


@at_every_size
@in_loop
async def test_the_settings_are_changed_in_a_line(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await stage.press("e")
        await stage.shows("how the answer is decoded", "nothing is greedy decoding")
        line = stage.app.screen.query_one(Input)
        line.value = "temperature=0.7,top_p=0.9,draws=20,seed=1"
        await stage.shows("T 0.7 · top-p 0.9 · seed 1 · 20 draws")
        line.value = "temperature=hot"
        await stage.shows("temperature=")
        await stage.press("enter")
        assert isinstance(stage.app.screen, DecodingDialog)
        line.value = "heat=3"
        await stage.shows("answer has no 'heat'")
        line.value = "temperature=0.7,top_p=0.9,draws=20,seed=1"
        await stage.press("enter")
        await stage.shows("T 0.7 · top-p 0.9 · seed 1 · 20 draws · at most 20 tokens")
        await stage.until(lambda: screen.reading is not None)
        assert asked(stage)[-1].draws == 20
        await stage.press(*["left"] * 5)
        if size[1] < 30:  # the last row is the model's distribution
            await stage.shows("its best tokens", "after settings; 31,990 ruled out")
            await stage.press("up")
            await stage.shows("31,990 tokens ruled out; the model's 2nd", "before settings")
        else:
            await stage.shows("31,990 tokens ruled out; the model's 2nd", "before settings")
            await stage.shows("the model's distribution", "the one drawn from, after settings")
        await stage.press("tab")
        await stage.shows("20 draws, 2 different texts", "15 75.0%", "5 25.0%", "A cube.\\x1b[31m")
        assert_harmless(stage)
        assert stage.app.state.decoding.top_p == 0.9
        await stage.press("e")
        await stage.shows("temperature=0.7,top_p=0.9,seed=1,draws=20")


@pytest.mark.slow
@in_loop
async def test_the_text_with_and_without_vdd() -> None:
    async with opened() as (stage, _):
        await stage.press("e")
        stage.app.screen.query_one(Input).value = "vdd=both,alpha=0.5"
        await stage.press("enter")
        await stage.shows("VDD both, alpha 0.5, beta 0.1", "answer with VDD")
        await stage.press("tab")
        await stage.shows(
            "with VDD        The main object", "without         The main object is a cube."
        )
        await stage.press("tab")
        await stage.shows("not used: temperature 0.01, top_k 1", "kept: eos_token_id 2")


def test_a_line_of_settings_is_what_it_was_made_from() -> None:
    request = AnswerRequest(
        temperature=0.7, min_p=0.05, draws=3, vdd="unk", attention=True, against="noise=500,none"
    )
    assert decoding_of(as_pairs(request)) == request
    assert decoding_of("") == AnswerRequest()
    assert as_pairs(AnswerRequest()) == ""
    assert decoding_words(AnswerRequest(temperature=0), ascii_only=True).startswith("greedy, ")
    exact = AnswerRequest(repetition_penalty=1.0000001, against="unk", attention=True)
    assert decoding_words(exact, ascii_only=True) == (
        "greedy, repetition penalty 1.0000001, attention, against unk, at most 20 tokens"
    )
    with pytest.raises(BadInput, match="seed"):
        decoding_of("seed=-1")


# ---------------------------------------------------------------------- tables of tokens, sessions


@in_loop
async def test_enter_opens_the_token_s_own_table_and_a_session_keeps_it() -> None:
    async with opened() as (stage, screen):
        count = len(screen.run.run.tokens)
        await stage.press("left", "left", "up")
        assert (screen.along.step, screen.along.position) == (5, count + 4)
        await stage.press("enter")
        assert not stage.app.has_dialog
        visits = lambda: [r for _, r in stage.worker.reads if isinstance(r, VisitRequest)]  # noqa: E731
        await stage.until(visits)
        assert visits() == [VisitRequest(positions=(count + 4,))]
        await stage.shows(f"at position {count + 4}, token 4 of the answer (0-7)", f"w{count + 4}")
        assert stage.app.main.table.cursor == LAYERS - 1
        await stage.press(">")
        await stage.shows("token 5 of the answer")
        await stage.press("semicolon")
        await stage.until(lambda: stage.app.state.place is None)
        await stage.press("5", "home", *["left"] * 9, "enter")
        assert stage.app.state.place is None  # the first token's rows are the run's own
        session: Session = stage.app.state.session(row=0, with_live=False)
    async with explorer(startup={"session": session, "options": None}) as stage:  # without a model
        await stage.shows("The main object is a", "[␣The ␣main ␣object")
        await stage.press("5")
        await stage.shows("answer, 8 tokens", "The main object is a cylinder.", "row 10 of 0-10")
        await stage.press("e")
        stage.app.screen.query_one(Input).value = "temperature=2"
        await stage.press("enter")
        await stage.shows("the answer is not known: this needs the model: L loads it")
        await stage.shows("The main object is a cylinder.")


@pytest.mark.slow
@in_loop
async def test_a_session_without_an_answer_says_what_it_needs() -> None:
    async with explorer() as stage:
        await stage.run_done()
        session = stage.app.state.session(row=0, with_live=False)
    async with explorer(startup={"session": session, "options": None}) as stage:
        await stage.press("c")
        await stage.shows("the answer is not known: this needs the model: L loads it")


@pytest.mark.slow
@in_loop
async def test_an_answer_that_fails_its_proof_is_struck_out_and_not_kept() -> None:
    async with explorer() as stage:
        await stage.run_done()
        run = stage.app.state.current
        assert run is not None
        failed = ReadingProof("row L against the model's own logits", 1.0, 1e-3, False)
        made = answer_reading(AnswerRequest(), LAYERS, proof=failed)
        run.take(made)
        await stage.press("5")
        await stage.shows("the answer's proof failed, do not believe it", "proof failed 1")
        line = screen_of(stage).grid.render_line(5)
        assert any(segment.style and segment.style.strike for segment in line)


@pytest.mark.slow
@in_loop
async def test_the_tables_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr("tui.actions.sharing.reading_text", lambda reading, *_, **__: reading.text)
    async with opened() as (stage, _):
        monkeypatch.setattr(stage.app, "copy_text", lambda text, what: copied.append(text + what))
        await stage.press("Y")
        assert copied[0].startswith("The main object is a cylinder.answer as ")


@pytest.mark.slow
@in_loop
async def test_only_tokens_of_the_newest_answer_have_tables() -> None:
    async with opened() as (stage, screen):
        await stage.press("e")
        stage.app.screen.query_one(Input).value = "temperature=2"
        await stage.press("enter")
        await stage.shows("The main metal is")
        await stage.until(lambda: screen.reading is not None)
        await stage.press("e")
        stage.app.screen.query_one(Input).value = ""
        await stage.press("enter")
        await stage.shows("The main object is")
        await stage.press("left", "enter")
        await stage.shows("only tokens of the newest answer have tables")
        await stage.press("r")
        await stage.until(lambda: len(asked(stage)) == 3 and screen.reading is not None)
        await stage.press("left", "enter")
        await stage.until(lambda: not stage.app.has_dialog)
        assert stage.app.state.place is not None


@pytest.mark.slow
@in_loop
async def test_clicks_go_to_tokens_and_cells() -> None:
    async with opened() as (stage, screen):
        await stage.pilot.click(screen.text, offset=(8, 1))
        await stage.until(lambda: screen.along.step == 1)
        await stage.pilot.click(screen.grid, offset=(6 + 30, 6))
        await stage.until(lambda: (screen.along.step, screen.along.row) == (3, 2))
        await stage.pilot.click(screen.grid, offset=(6 + 50, 2))
        await stage.until(lambda: (screen.along.step, screen.along.row) == (5, 2))


# ---------------------------------------------------------------------- the pieces


def test_steps_take_parts_in_order() -> None:
    made = answer_reading(AnswerRequest(), LAYERS)
    steps = AnswerSteps()
    for step in range(len(ALL)):
        steps.take_part(answer_part(made, step))
    whole = AnswerSteps.of_reading(made)
    assert steps.tokens == whole.tokens
    assert steps.failed is None
    assert [steps.formation(at) for at in range(8)] == [whole.formation(at) for at in range(8)]
    assert steps.cell(LAYERS, 5) == whole.cell(LAYERS, 5)
    assert steps.cell(LAYERS, 8) is None
    assert (steps.ended, steps.pieces) == (True, whole.pieces)
    steps.take_part(answer_part(made, 8, drawn=10))
    assert (steps.ended, steps.drawn, steps.pieces[-1]) == (True, 10, "")
    sampled = AnswerSteps.of_reading(answer_reading(AnswerRequest(temperature=1.0), LAYERS))
    assert [sampled.formation(at) for at in (1, 2)] == [whole.formation(1), None]
    steps.take_part(answer_part(made, 5))
    assert steps.failed == "steps of the answer are missing"


def test_a_damaged_answer_is_named() -> None:
    made = answer_reading(AnswerRequest(), LAYERS)
    broken = Array(made.lse.dtype, made.lse.shape, "!" * len(made.lse.data), made.lse.deflate)
    assert "cannot be read" in (AnswerSteps.of_reading(replace(made, lse=broken)).failed or "")
    infinite = np.full(made.entropy.shape, np.nan, np.float32)
    odd = replace(
        made, entropy=Array.of(infinite, "<f4"), probability=Array.of(infinite[:, 0], "<f4")
    )
    steps = AnswerSteps.of_reading(odd)
    assert steps.figure("probability", 0) is None
    assert Tint.PROBABILITY.steps(steps) == (0,) * 8


def test_the_pieces_of_a_text_make_the_text() -> None:
    assert pieces_of([" The", " cat"], "The cat") == ("The", " cat")
    assert pieces_of(["a", "\ufffd", "\ufffd", " b"], "a\u00e9 b") == ("a", "", "\u00e9", " b")
    assert pieces_of(["\ufffd", "\ufffd"], "\u65e5") == ("", "\u65e5")
    assert pieces_of(["<ref>", "the", " cat", "</ref>", " at the"], "the cat at the") == (
        "", "the", " cat", "", " at the",
    )  # fmt: skip
    assert pieces_of(["\\x20\\xE6", "\\xBC", "\\xA2", " a"], " \u6f22 a") == (
        "", "", " \u6f22", " a",
    )  # fmt: skip
    assert pieces_of(["x", "y", " cat"], "z cat") == ("", "z", " cat")
    assert pieces_of(["x", "y"], "zzz") == ("x", "y")
    assert pieces_of([], "") == ()


def test_lines_are_broken_between_words() -> None:
    pieces = ["The", " cyl", "inder", " of", " gl", "ass.\n", "So", " supercalifragilistic", ""]
    lines = text_lines(pieces, 12, ended=True, ascii_only=True)
    shown = ["".join(piece.text for piece in line) for line in lines]
    assert (
        shown
        == ["The cylinder", "of glass.\\n", "So", "supercalifra", "gilistic", "[end]"][:3]
        + shown[3:]
    )
    assert all(sum(piece.width for piece in line) <= 12 for line in lines)
    assert line_of(lines, 3) == 1
    assert line_of(lines, len(pieces) - 1) == len(lines) - 1
    assert (
        "".join(shown).replace(" ", "").startswith("Thecylinderofglass.\\nSosupercalifragilistic")
    )
