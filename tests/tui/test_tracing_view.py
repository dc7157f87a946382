"""The screen of tracing, on a worker with made numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import samples
import tests.tui.stage as stages
from engine.arrays import Array
from engine.errors import BadInput, Remedy
from engine.events import Trouble
from engine.methods.tracing import SITES, TracingReading, TracingRequest
from engine.records import Picture, Question, Reading, ReadingProof, Request, Session, Token
from tests.tui.dialog_stage import HOSTILE
from tests.tui.reading_stage import asked_of, opened_by
from tests.tui.stage import ONE_SIZE, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tests.tui.tracing_stage import CORRUPT, TracingWorker, tracing_reading
from tests.tui.words_stage import BEFORE, SIDE, finished_run, geometry, positions_of, tokens_of
from tui.state.patches import NO_PATCHES, Patches
from tui.state.run_view import RunView
from tui.views.tracing.against import against_of, choices_of
from tui.views.tracing.known import KnownTracing
from tui.views.tracing.screen import TracingScreen
from tui.views.tracing.sites import SiteNames, box_of, written
from tui.views.tracing.traced import positions_in

LAYERS = 10
AGAINST = TracingRequest().against
CELLS = positions_of(SIDE * SIDE)
COUNT = BEFORE + SIDE * SIDE + 2
at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


@pytest.fixture(autouse=True)
def tracing_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FakeWorker", TracingWorker)


def screen_of(stage: Stage) -> TracingScreen:
    return next(each for each in stage.app.screen_stack if isinstance(each, TracingScreen))


opened = partial(opened_by, "7", TracingScreen)


async def read(stage: Stage, screen: TracingScreen) -> None:
    """Wait until all that is shown has been read, and the picture shows."""
    await stage.until(lambda: screen.traced.missing() is None and screen.traced.geometry)
    pane = screen.pane
    await stage.until(lambda: pane.canvas.drawn or pane.mark_canvas.display)
    await stage.pilot.pause()


def asked(stage: Stage) -> list[TracingRequest]:
    return asked_of(stage, TracingRequest)


# ---------------------------------------------------------------------- what it shows


@at_every_size
@in_loop
async def test_it_opens_on_the_usual_sites(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await read(stage, screen)
        await stage.shows("logit of ␣cylinder minus ␣red: clean +3.20, corrupt -1.10")
        await stage.shows("picture", "question", "last", "what suffices", "proof 1.0e-6")
        await stage.shows(
            "patched at row 5, the picture's tokens bring back 0.73 of the difference"
        )
        assert asked(stage) == [TracingRequest()]
        lines = [screen.table.render_line(y).text.split() for y in range(1, 5)]
        assert lines[0][:4] == ["0", "+1.00", "0", "+0.01"]
        assert lines[3][:4] == ["3", "+0.99", "-0.05", "+0.02"]
        assert_harmless(stage)


@in_loop
async def test_parts_fill_the_table_coarse_to_fine() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_tracing = True  # type: ignore[attr-defined]
        await stage.press("D")
        await stage.shows("15 of 33 passes, row 5", "not proved yet", "esc or ^c stops")
        known = screen.traced.known
        assert known.rows == (0, 2, 5, 7, 10)
        lines = [screen.table.render_line(y).text.split() for y in range(1, 4)]
        assert lines[1] == ["1", ".", ".", "."]
        assert lines[2][1:] == ["-0.50", "+0.02", "-0.01"]


@pytest.mark.slow
@in_loop
async def test_the_row_under_the_cursor_has_bars_and_a_sentence() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("G")
        await stage.shows(
            "row 10 of 0-10", "the picture's tokens bring back nothing of the difference"
        )
        await stage.press("right_parenthesis", "right_parenthesis")
        await stage.shows("patched at row 10, the last token brings back 1.01 of the difference")
        await stage.shows("site: last")
        await stage.press("g")
        await stage.shows("patched at row 0, the last token brings back 0.01")
        line = screen.bars.render_line(0).text
        assert "+1.00" in line and "█" in line
        assert len(asked(stage)) == 1


@pytest.mark.slow
@in_loop
async def test_a_step_of_a_row_redraws_little() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        strips = dict(screen.table._strips)
        await stage.press("j")
        await stage.until(lambda: screen.table.cursor == 6)
        assert all(screen.table._strips[row] == strips[row] for row in range(LAYERS))


# ---------------------------------------------------------------------- what is asked


@pytest.mark.slow
@in_loop
async def test_direction_part_and_window_are_asked_for_and_kept() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("D")
        await stage.shows("what is needed", "the picture's tokens take away -0.37")
        await stage.press("f")
        await read(stage, screen)
        await stage.shows(
            f"attention of {AGAINST} into run 1", "with the attention of layer 5 patched"
        )
        await stage.press("plus", "plus")
        await read(stage, screen)
        await stage.shows("layers 5-7 of 0-9", "attention, 3 layers at once")
        assert screen.traced.rows == tuple(range(8))
        await stage.press("F", "D")
        await stage.shows("patched at row 5, the picture's tokens bring back 0.73")
        assert [(each.direction, each.what, each.window) for each in asked(stage)] == [
            ("recover", "stream", 1),
            ("break", "stream", 1),
            ("break", "attention", 1),
            ("break", "attention", 2),
            ("break", "attention", 3),
        ]
        await stage.press("plus")
        await stage.shows("f chooses attention or MLP")


@pytest.mark.slow
@at_every_size
@in_loop
async def test_a_box_on_the_picture_becomes_a_site(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await read(stage, screen)
        await stage.press("space")
        await stage.shows("one corner of the box")
        await stage.press("right", "right", "down", "space")
        await read(stage, screen)
        await stage.shows("site: box 12,12-14,13", "the patches 12,12-14,13 bring back 0.32")
        assert asked(stage)[1:] == [TracingRequest(sites=("278-280,302-304",))]
        steps = screen.traced.steps(0)
        assert steps is not None
        assert (steps > 0).sum() == 6
        await stage.press("space", "escape")
        assert screen.traced.corner is None
        await stage.press("delete")
        await stage.shows("site: last")
        assert len(screen.traced.sites) == 3
        await stage.press("space", "space")
        await stage.shows("site: patch 14,13", "patched at row 5, patch 14,13 brings back")


@pytest.mark.slow
@in_loop
async def test_a_token_and_typed_positions_become_sites() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("less_than_sign", "space")
        await stage.shows("the token ␣Shape at 579 brings back")
        await stage.press("t", *"0-2", "enter")
        await stage.shows("the tokens at 0-2 bring back 0.32")
        await stage.press("t", *"features", "enter")
        await stage.shows("what the picture adds between layers was not patched: this model adds")
        await read(stage, screen)
        assert [each.sites for each in asked(stage)] == [(), ("579",), ("0-2",), ("features",)]
        assert len(screen.table._shown.columns) == 6
        await stage.press("t", "enter", "t", "escape")
        assert len(screen.traced.sites) == 6


@pytest.mark.slow
@in_loop
async def test_what_is_added_while_it_is_read_waits() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_tracing = True  # type: ignore[attr-defined]
        await stage.press("D")
        await stage.shows("15 of 33 passes")
        await stage.press("t", *"7", "enter")
        assert len(asked(stage)) == 2  # what is being read is not lost
        stage.worker.holds_tracing = False  # type: ignore[attr-defined]
        await stage.press("escape", "r")
        await read(stage, screen)
        assert asked(stage)[-1].sites == ("picture", "question", "last", "7")


@pytest.mark.slow
@in_loop
async def test_it_is_compared_with_other_runs() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("r")
        await stage.run_done(2)
        await stage.press("7")
        screen = screen_of(stage)
        await read(stage, screen)
        await stage.press("A")
        await stage.shows("compared with", "noise[=STEP, 500]", "another run", "run 1")
        await stage.press(*"run 1", "enter")
        await read(stage, screen)
        first = stage.app.state.runs[0].run.id
        assert asked(stage)[-1].against == first
        await stage.shows("of run 2 (scene_1.png) into run 1 (scene_1.png): what suffices")
        await stage.press("A", *"blur=8", "enter")
        await read(stage, screen)
        assert asked(stage)[-1].against == "blur=8"
        await stage.press("A", *"cat", "enter")
        await stage.shows("cat")
        assert len(asked(stage)) == 3


@pytest.mark.slow
@in_loop
async def test_the_counterfactual_is_asked_first() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        assert [view.counterfactual for view in stage.app.state.runs] == ["", AGAINST]
        await stage.press("q")
        await stage.until(lambda: not stage.app.has_dialog)
        assert stage.app.state.current is stage.app.state.runs[0]
        await stage.press("full_stop")
        await stage.until(lambda: stage.app.state.current is stage.app.state.runs[1])
        await stage.press("7")  # on the counterfactual: the picture's run against it
        assert screen_of(stage).traced.run is stage.app.state.runs[0]
        assert screen_of(stage).traced.setting.against == AGAINST


@pytest.mark.slow
@in_loop
async def test_noise_of_another_seed_is_another_run() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        assert "seed" not in stage.text
        await stage.press("q")
        await stage.until(lambda: not stage.app.has_dialog)
        stage.app.seed = 7
        await stage.press("7")
        screen = screen_of(stage)
        await read(stage, screen)
        first = stage.app.state.runs[1].run.id
        assert screen.traced.setting.against == first  # what is known, under its own name
        assert (len(asked(stage)), len(stage.worker.questions)) == (1, 2)
        await stage.press("A", *AGAINST, "enter")
        await stage.shows(f"into {AGAINST}, seed 7: what suffices")
        await read(stage, screen)
        assert asked(stage)[-1].against == AGAINST
        assert screen.traced.known.against not in (first, CORRUPT)
        await stage.press("q")
        await stage.until(lambda: not stage.app.has_dialog)
        stage.app.seed = 0
        await stage.press("7")
        screen = screen_of(stage)
        await stage.shows(f"into {AGAINST}, seed 7: what suffices")
        await stage.press("A", *AGAINST, "enter")
        await stage.shows(f"into {AGAINST}: what suffices")
        assert screen.traced.known.against == first  # it is still known
        made = [question.counterfactual for question in stage.worker.questions[1:]]
        assert [None if each is None else each.seed for each in made] == [0, 7]


@pytest.mark.slow
@in_loop
async def test_words_are_compared() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("slash", *"red,blue", "enter")
        await read(stage, screen)
        assert asked(stage)[-1].of == ("red", "blue")
        await stage.press("slash", *",a", "enter")
        await stage.shows("one word, or two")


@pytest.mark.slow
@in_loop
async def test_it_can_be_stopped_and_taken_up_again() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_tracing = True  # type: ignore[attr-defined]
        await stage.press("D")
        await stage.shows("15 of 33 passes")
        await stage.press("ctrl+c")
        await stage.shows("stopped, this is not kept: r traces again")
        assert stage.worker.cancelled_readings == [stage.worker.read_ids[-1]]
        stage.worker.holds_tracing = False  # type: ignore[attr-defined]
        await stage.press("r")
        await read(stage, screen)
        await stage.press("escape")
        await stage.until(lambda: not stage.app.has_dialog)


@pytest.mark.slow
@in_loop
async def test_closing_cancels_and_enter_goes_there() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("j", "up", "enter")
        await stage.until(lambda: not stage.app.has_dialog)
        assert stage.app.main.table.cursor == 6
        assert stage.app.state.place == screen.traced.patches.positions[screen.traced.patch]
        stage.worker.holds_tracing = True  # type: ignore[attr-defined]
        await stage.press("7", "A", *"black", "enter")
        await stage.until(lambda: asked(stage)[-1].against == "black")
        await stage.press("q")
        await stage.until(lambda: stage.worker.cancelled_readings)


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.slow
@in_loop
async def test_runs_of_another_length_are_told_with_what_helps() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_tracing = True  # type: ignore[attr-defined]
        await stage.press("A", *"white", "enter")
        await stage.until(lambda: len(asked(stage)) == 2)
        run_id, _ = stage.worker.reads[-1]
        error = "the runs have 581 and 12 tokens \x1b[31m"
        trouble = Trouble(error, run_id, (Remedy.RUN_AGAIN,), stage.worker.read_ids[-1])
        stage.worker.tell(trouble)
        await stage.shows("the runs have 581 and 12 tokens \\x1b[31m (r)")
        assert_harmless(stage)
        await stage.press("D")
        await stage.shows("not known: this run's stream is not kept: r runs it again")


@pytest.mark.slow
@in_loop
async def test_a_failed_proof_is_struck_out() -> None:
    failed = ReadingProof("everything patched is the clean run", 0.4, 1e-3, False)

    def made(request: Request) -> Reading | None:
        if not isinstance(request, TracingRequest):
            return None
        return tracing_reading(request, LAYERS, COUNT, CELLS, proof=failed)

    async with opened(made=made) as (stage, screen):
        await read(stage, screen)
        await stage.shows("the proof of this tracing failed", "proof failed 0.4")
        cells = [segment for segment in screen.table.render_line(1) if "+1.00" in segment.text]
        assert cells
        assert all(cell.style is not None and cell.style.strike for cell in cells)
        assert "█" not in screen.bars.render_line(0).text


@pytest.mark.slow
@in_loop
async def test_without_a_picture_it_says_so() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("7")
        await stage.shows("this run has no picture that another could stand in for")
        assert not stage.app.has_dialog


# ---------------------------------------------------------------------- reopened


@asynccontextmanager
async def reopened(
    *readings: Reading, size: tuple[int, int] = (120, 40), **changes: Any
) -> AsyncIterator[Stage]:
    picture = Picture(str(samples.DEFAULT_PICTURE), "", 336, 336)
    run = replace(finished_run(picture=picture), readings=readings, **changes)
    stamp = "2026-11-22T03:00:00Z"
    session = Session(created=stamp, saved=stamp, runs=(run,))
    startup = {**WITH_PICTURE, "options": None, "session": session}
    async with explorer(size, startup=startup) as stage:
        await stage.until(lambda: stage.app.state.current)
        await stage.press("7")
        yield stage


def stored(request: TracingRequest = TracingRequest(), **changes: Any) -> TracingReading:  # noqa: B008
    return tracing_reading(request, LAYERS, COUNT, CELLS, **changes)


@pytest.mark.slow
@at_every_size
@in_loop
async def test_a_stored_run_shows_what_it_holds(size: tuple[int, int]) -> None:
    box = stored(TracingRequest(sites=("278-280,302-304",)))
    async with reopened(geometry((336, 336)), stored(), box, size=size) as stage:
        await stage.shows("corrupt -1.10", "row 0 of 0-10")
        assert screen_of(stage).traced.sites == [*SITES, "278-280,302-304"]
        assert not stage._workers
        await stage.press("D")
        await stage.shows("the counterfactual was not asked: this needs the model: L loads it")
        await stage.press("D")
        await stage.shows("what suffices")


@pytest.mark.slow
@in_loop
async def test_a_stored_run_without_a_tracing_says_what_it_needs() -> None:
    async with reopened() as stage:
        await stage.shows("this needs the model: L loads it")
        await stage.press("j", "right", "space", "space", "D", "f", "plus", "r", "delete")
        await stage.shows("this needs the model: L loads it")


@pytest.mark.slow
@in_loop
async def test_texts_from_a_file_are_harmless() -> None:
    made = stored(notes=(HOSTILE,))
    sites = tuple(replace(site, name=HOSTILE[:90], reason=HOSTILE) for site in made.sites[:1])
    metric = replace(made.metric, of=(Token(7, HOSTILE, 0.5, 1.0),))
    other = stored(sites=(*sites, *made.sites[1:]), metric=metric)
    tokens = tuple(replace(token, text=HOSTILE) for token in tokens_of(SIDE * SIDE))
    async with reopened(geometry((336, 336)), made, other, tokens=tokens) as stage:
        await stage.shows("log p of")
        assert_harmless(stage)
        await stage.press(*["right_parenthesis"] * 4, "t", *"579", "enter")
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_damaged_arrays_are_told() -> None:
    made = stored()
    damaged = replace(made, recovery=Array("<f4", (3, 11), "A" * 4, True))
    async with reopened(geometry((336, 336)), damaged) as stage:
        await stage.shows("damaged array")
        await stage.press("j", "right_parenthesis")
        assert_harmless(stage)


# ---------------------------------------------------------------------- looks


@pytest.mark.slow
@at_every_size
@in_loop
async def test_plain_ascii_says_the_same(size: tuple[int, int]) -> None:
    async with opened(size, startup={"ascii": True}) as (stage, screen):
        await read(stage, screen)
        await stage.shows("+1.00", "-0.05", "[%=-.'+*#]", ">picture")
        await stage.press("space", "right", "down", "space")
        await stage.shows("box 12,12-13,13")
        assert stage.text.isascii(), stage.text


@pytest.mark.slow
@in_loop
async def test_without_colours_numbers_and_signs_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened() as (stage, screen):
        await read(stage, screen)
        assert screen.pane.mark_canvas.display
        await stage.shows("+1.00", "-0.05", "=")


# ---------------------------------------------------------------------- pure


def test_positions_are_written_and_read_as_spans() -> None:
    assert written([20, 3, 12, 13, 13, 14]) == "3,12-14,20"
    assert positions_in("3,12-14,20") == (3, 12, 13, 14, 20)
    assert positions_in("picture") == positions_in("-3") == positions_in("0-9999999") == ()


def test_a_box_spans_the_patches_between_two_corners() -> None:
    patches = Patches.of(geometry((336, 336)), COUNT)
    assert box_of(patches, 0, 25) == box_of(patches, 25, 0) == (0, 1, 24, 25)
    assert box_of(patches, 24, 1) == (0, 1, 24, 25)
    assert box_of(patches, 7, 7) == (7,)


def test_sites_are_called_by_what_stands_there() -> None:
    patches = Patches.of(geometry((336, 336)), COUNT)
    names = SiteNames(tokens_of(SIDE * SIDE), patches, ascii_only=True)
    assert names.short("picture", CELLS) == "picture"
    assert names.short("3", (BEFORE,)) == "patch 1,1"
    assert names.short("3-4,27-28", (3, 4, 27, 28)) == "box 1,1-2,2"
    assert names.short("3,5", (3, 5)) == "at 3,5"
    assert names.phrase("579", (579,)) == ("the token _Shape at 579", False)
    assert names.phrase("question", (579,)) == ("the question's tokens", True)
    bare = SiteNames(tokens_of(1), NO_PATCHES, ascii_only=True)
    assert bare.phrase("9", (9,)) == ("the tokens at 9", True)


def test_readings_of_another_setting_are_left_out() -> None:
    wanted = TracingRequest()
    run = stored(TracingRequest(against=CORRUPT))
    others = [
        stored(TracingRequest(direction="break")),
        stored(TracingRequest(what="mlp")),
        stored(TracingRequest(position=3)),
        stored(TracingRequest(of=("red",))),
    ]
    known = KnownTracing(wanted, COUNT)
    known.take_all(others)
    assert not known.columns
    known.take_all([stored(TracingRequest(position=COUNT - 1))])
    assert [*known.columns] == [*SITES]
    by_id = KnownTracing(replace(wanted, against=CORRUPT), COUNT)
    by_id.take_all([run, stored(TracingRequest(sites=("7",)))])  # against noise, which is that run
    assert [*by_id.columns] == [*SITES, "7"]


def test_a_name_does_not_mean_a_run_of_another_seed() -> None:
    for setting, known in (
        (TracingRequest(), []),
        (TracingRequest(against=CORRUPT), [*SITES]),
    ):
        collected = KnownTracing(setting, COUNT, frozenset([CORRUPT]))
        collected.take_all([stored()])
        assert [*collected.columns] == known


def test_a_part_never_takes_the_place_of_a_reading() -> None:
    from tests.tui.tracing_stage import tracing_part

    known = KnownTracing(TracingRequest(), COUNT)
    part = tracing_part(TracingRequest(), LAYERS, COUNT, CELLS, 2)
    known.take_part(TracingRequest(), part)
    assert known.rows == (0, 10)
    assert known.caption == "not proved yet"
    known.take(stored())
    whole = np.array([*known.columns["picture"].values.values()])
    known.take_part(TracingRequest(), part)
    assert (np.array([*known.columns["picture"].values.values()]) == whole).all()
    assert known.caption == "proof 1.0e-6"


def test_only_what_keeps_positions_is_offered() -> None:
    picture = Picture("other.png", "", 336, 336)
    one = RunView.of(finished_run(picture=picture))
    short = RunView.of(replace(finished_run(side=4, picture=picture), id="5" * 16))
    elsewhere = replace(one.run, id="6" * 16, question=Question(prompt="Color:", picture=picture))
    found = choices_of(one, [one, short, RunView.of(elsewhere)])
    names = [choice.value for choice in found]
    assert "none" not in names and "unk" not in names
    assert "unk-all" in names
    assert names[-1] == "5" * 16
    assert found[-1].detail == "other.png: 21 tokens, this run has 581"
    assert against_of("5" * 16, [short], 0) == "5" * 16
    assert against_of("noise = 700", [], 0) == "noise=700"
    with pytest.raises(BadInput, match="one"):
        against_of("noise,blur", [], 0)
