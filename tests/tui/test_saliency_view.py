"""The screen of saliency, on a worker with made numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import samples
import tests.tui.stage as stages
import tui.views.reading_screen as screens
from engine.arrays import Array
from engine.events import Trouble
from engine.methods.saliency import SaliencyReading, SaliencyRequest
from engine.records import Picture, Reading, ReadingProof, Request, Session, Token
from tests.tui.dialog_stage import HOSTILE
from tests.tui.reading_stage import asked_of, opened_by
from tests.tui.saliency_stage import SaliencyWorker, saliency_part, saliency_reading
from tests.tui.stage import ONE_SIZE, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tests.tui.words_stage import BEFORE, SIDE, finished_run, geometry, positions_of, tokens_of
from tui.state.maps import NO_STEP
from tui.views.saliency.known import KnownSaliency
from tui.views.saliency.row_grid import columns_of, steps_of, strongest
from tui.views.saliency.screen import SaliencyScreen

LAYERS = 10
ANSWERED = "logit of ␣cylinder minus ␣sphere: +1.8"
CELLS = positions_of(SIDE * SIDE)
COUNT = BEFORE + SIDE * SIDE + 2
FAILED = ReadingProof("the pass's logits are those of the run", 0.4, 1e-3, False)
at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


@pytest.fixture(autouse=True)
def saliency_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FakeWorker", SaliencyWorker)


def screen_of(stage: Stage) -> SaliencyScreen:
    return next(each for each in stage.app.screen_stack if isinstance(each, SaliencyScreen))


@asynccontextmanager
async def opened(
    size: tuple[int, int] = (120, 40), **given: Any
) -> AsyncIterator[tuple[Stage, SaliencyScreen]]:
    """Open the screen, and wait for the patches."""
    async with opened_by("8", SaliencyScreen, size, **given) as (stage, screen):
        await stage.until(lambda: screen.salient.geometry is not None)
        yield stage, screen


async def read(stage: Stage, screen: SaliencyScreen) -> None:
    """Wait until what is shown has been read, and the picture shows."""
    await stage.until(lambda: screen._missing is None)
    pane = screen.pane
    await stage.until(lambda: pane.canvas.drawn or pane.mark_canvas.display or not pane.display)
    await stage.pilot.pause()


async def press_and_rest(
    stage: Stage, screen: SaliencyScreen, monkeypatch: pytest.MonkeyPatch, *keys: str
) -> None:
    """Press keys that follow each other faster than the cursor rests, however long they take."""
    rests: list[Callable[[], None] | None] = []
    with monkeypatch.context() as held:
        held.setattr(screen, "_once_it_rests", rests.append)
        await stage.press(*keys)
        await stage.until(lambda: len(rests) == len(keys))
    if rests[-1] is not None:
        rests[-1]()


def asked(stage: Stage) -> list[SaliencyRequest]:
    return asked_of(stage, SaliencyRequest)


# ---------------------------------------------------------------------- what it shows


@at_every_size
@in_loop
async def test_it_opens_on_the_gradient_of_the_pixels(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await read(stage, screen)
        await stage.shows("gradient x input, pixels", ANSWERED, "proof 1.0e-6")
        await stage.shows("-0.039", "+0.039", "patch 12,12: +0.0", "occlusion")
        assert asked(stage) == [SaliencyRequest()]
        steps = screen.salient.steps()
        assert steps is not None
        assert {0, 7} & {*steps.tolist()} == {7}
        assert steps.min() < 4  # the hollow
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_every_way_that_was_tried_stands_in_the_table() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        for _ in range(4):
            await stage.press("f")
            await read(stage, screen)
        await stage.press("b")
        await stage.shows("occlusion 1x1", "0.59", "0.21", "0.45/0.35")
        await stage.shows("IG 32", "SmoothGrad 32", "grad x attention", "gradient")
        assert [(each.way, each.compare) for each in asked(stage)] == [
            ("gradient", False),
            ("ig", False),
            ("smoothgrad", False),
            ("attention", False),
            ("occlusion", False),
            ("occlusion", True),
        ]
        await stage.press("b")
        await stage.shows("this has been compared")
        await stage.press("F", "F", "F")
        await stage.shows(
            "integrated gradients, 32 steps", "completeness error 0.012", "start -3.2"
        )
        assert len(asked(stage)) == 6


@pytest.mark.slow
@in_loop
async def test_what_is_passed_by_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "_REST", 60)
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("f", "f", "f", "f", "p")
        await stage.shows("occlusion, row 5")
        assert asked(stage) == [SaliencyRequest()]


@pytest.mark.slow
@in_loop
async def test_what_is_compared_at_once_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "_REST", 0.01)
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_saliency = True  # type: ignore[attr-defined]
        screen.action_way(1)
        screen.action_compare()  # before the cursor has rested
        await stage.shows("6 of 8 passes")
        await stage.pilot.pause(0.1)
        assert asked(stage)[1:] == [SaliencyRequest(way="ig", compare=True)]


@pytest.mark.slow
@in_loop
async def test_occlusion_grows_in_blocks_and_can_be_stopped() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_saliency = True  # type: ignore[attr-defined]
        await stage.press("F")
        await stage.shows("6 of 8 passes", "esc or ^c stops", "occlusion, pixels")
        steps = screen.salient.steps()
        assert steps is not None
        assert (steps == NO_STEP).sum() >= SIDE * SIDE // 4
        await stage.press("ctrl+c")
        await stage.shows("stopped: r reads it")
        assert stage.worker.cancelled_readings == [stage.worker.read_ids[-1]]
        await stage.press("f", "F")
        await stage.shows("stopped: r reads it")  # it is not read again unasked
        stage.worker.holds_saliency = False  # type: ignore[attr-defined]
        await stage.press("r")
        await read(stage, screen)
        assert [each.way for each in asked(stage)] == ["gradient", "occlusion", "occlusion"]
        await stage.press("escape")
        await stage.until(lambda: not stage.app.has_dialog)


@pytest.mark.slow
@in_loop
async def test_steps_and_blocks_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("plus")
        await stage.shows("this way takes one input")
        await press_and_rest(stage, screen, monkeypatch, "f", "plus")
        await stage.shows("integrated gradients, 64 steps, pixels")
        await read(stage, screen)
        await press_and_rest(stage, screen, monkeypatch, "F", "F", "plus", "plus")
        await stage.shows("occlusion, 3x3 patches, pixels")
        await read(stage, screen)
        assert [(each.way, each.steps, each.block) for each in asked(stage)[1:]] == [
            ("ig", 64, 1),
            ("occlusion", 64, 3),
        ]


@pytest.mark.slow
@at_every_size
@in_loop
async def test_a_row_in_place_of_the_pixels(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(size) as (stage, screen):
        await read(stage, screen)
        await stage.press("j")
        await stage.shows("the map is of the pixels: p takes row 6")
        await stage.press("p")
        await stage.shows("gradient x input, row 6")
        await read(stage, screen)
        await stage.shows("the picture", "+", "row 6 of 0-10")
        assert asked(stage)[-1] == SaliencyRequest(row=6)
        await press_and_rest(stage, screen, monkeypatch, "k", "k")
        await read(stage, screen)
        assert asked(stage)[-1] == SaliencyRequest(row=4)
        assert len(asked(stage)) == 3
        await stage.press("f", "f", "f", "p")
        await stage.shows("has neither pixels nor a row")


@pytest.mark.slow
@at_every_size
@in_loop
async def test_rows_and_positions_are_a_grid(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await read(stage, screen)
        await stage.press("D")
        await stage.shows("rows x positions", "PPP", "row 5, : at 580: +0.15")
        assert asked(stage)[-1] == SaliencyRequest(row=0, matrix=True)
        await stage.press("j", "left")
        await stage.shows("row 6, ␣Shape at 579")
        await stage.press("S")
        await stage.shows("each row has its own scale: brightness cannot be compared")
        await stage.press("enter")
        await stage.until(lambda: not stage.app.has_dialog)
        assert (stage.app.main.table.cursor, stage.app.state.place) == (6, 579)
        await stage.press("8", "D")  # the token under the cursor is explained now
        await stage.shows("logit of ␣cylinder minus ␣sphere at 579: +1.8")


@pytest.mark.slow
@in_loop
async def test_words_and_positions_are_explained() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("slash", *"red,blue", "enter")
        await read(stage, screen)
        assert asked(stage)[-1].of == ("red", "blue")
        await stage.press("slash", *",a,b", "enter")
        await stage.shows("one word, or two")
        await stage.press("less_than_sign")
        await read(stage, screen)
        assert asked(stage)[-1].position == 579
        await stage.press("greater_than_sign")
        await read(stage, screen)
        assert len(asked(stage)) == 3


@pytest.mark.slow
@in_loop
async def test_the_strongest_patches_are_walked() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("n")
        await stage.shows("patch 8,10", "1st of 576 by size")
        await stage.press("n", "N", "right", "O", "enter")
        await stage.until(lambda: not stage.app.has_dialog)
        assert stage.app.state.place == BEFORE + 9 * SIDE + 8


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.slow
@in_loop
async def test_what_cannot_be_read_is_told() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_saliency = True  # type: ignore[attr-defined]
        await stage.press("f")
        await stage.until(lambda: len(asked(stage)) == 2)
        run_id, _ = stage.worker.reads[-1]
        error = "memory ran out in the backward pass \x1b[31m"
        stage.worker.tell(Trouble(error, run_id, request_id=stage.worker.read_ids[-1]))
        await stage.shows("memory ran out in the backward pass \\x1b[31m")
        assert_harmless(stage)
        await stage.press("F")
        await stage.shows("gradient x input, pixels", "What a small change")
        await stage.press("f")
        await stage.shows("memory ran out")
        assert len(asked(stage)) == 2


@pytest.mark.slow
@in_loop
async def test_a_failed_proof_takes_the_map_away() -> None:
    def made(request: Request) -> Reading | None:
        if not isinstance(request, SaliencyRequest):
            return None
        return saliency_reading(request, LAYERS, COUNT, CELLS, proof=FAILED)

    async with opened(made=made) as (stage, screen):
        await read(stage, screen)
        await stage.shows("the proof of this map failed", "proof failed 0.4")
        assert screen.salient.steps() is None
        await stage.press("D")
        await stage.shows("rows x positions are not known yet")


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
        await stage.press("8")
        yield stage


def stored(request: SaliencyRequest, **changes: Any) -> SaliencyReading:
    return saliency_reading(request, LAYERS, COUNT, CELLS, **changes)


@at_every_size
@in_loop
async def test_a_stored_run_shows_what_it_holds(size: tuple[int, int]) -> None:
    gradient = stored(SaliencyRequest(compare=True))
    ig = stored(SaliencyRequest(way="ig", compare=True))
    async with reopened(geometry((336, 336)), gradient, ig, size=size) as stage:
        await stage.shows("IG 32", "0.58", "0.22", ANSWERED)
        assert not stage._workers
        await stage.press("f")
        await stage.shows("completeness error 0.012")
        await stage.press("f")
        await stage.shows("this saliency is not known: this needs the model: L loads it")
        await stage.press("D", "n", "b", "j", "p", "r")
        await stage.shows("this needs the model: L loads it")


@pytest.mark.slow
@in_loop
async def test_texts_from_a_file_are_harmless() -> None:
    made = stored(
        SaliencyRequest(way="attention", of=(HOSTILE[:90],)),
        of=(Token(7, HOSTILE, 0.5, 1.0),) * 2,
        notes=(HOSTILE,),
    )
    plain = stored(SaliencyRequest(row=3, matrix=True), of=(Token(7, HOSTILE, 0.5, 1.0),))
    tokens = tuple(replace(token, text=HOSTILE) for token in tokens_of(SIDE * SIDE))
    async with reopened(geometry((336, 336)), made, plain, tokens=tokens) as stage:
        await stage.shows("log p of")
        assert_harmless(stage)
        screen_of(stage).salient.explain(of=(HOSTILE[:90],))
        await stage.press("F", "F", "D")
        await stage.pilot.pause(0.2)
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_damaged_arrays_are_told() -> None:
    made = stored(SaliencyRequest(matrix=True))
    damaged = replace(
        made,
        map=Array("<f4", (576,), "A" * 4, True),
        matrix=Array("<f4", (11, 581), "A" * 4, True),
    )
    async with reopened(geometry((336, 336)), damaged) as stage:
        await stage.shows("damaged array")
        await stage.press("j", "D", "n")
        assert_harmless(stage)


# ---------------------------------------------------------------------- looks


@pytest.mark.slow
@at_every_size
@in_loop
async def test_plain_ascii_says_the_sign_too(size: tuple[int, int]) -> None:
    async with opened(size, startup={"ascii": True}) as (stage, screen):
        await read(stage, screen)
        await stage.shows("#", "+", "-", "=", "[%=-.'+*#]")
        assert stage.text.isascii(), stage.text
        await stage.press("D")
        await stage.shows("PPP", "q")
        assert stage.text.isascii(), stage.text


@pytest.mark.slow
@in_loop
async def test_without_colours_marks_stand_for_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened() as (stage, screen):
        await read(stage, screen)
        assert screen.pane.mark_canvas.display
        await stage.shows("#", "[%=-.'+*#]")


# ---------------------------------------------------------------------- pure


def test_the_same_map_is_known_whatever_was_measured_beside_it() -> None:
    known = KnownSaliency(COUNT)
    plain = stored(SaliencyRequest())
    compared = stored(SaliencyRequest(compare=True, steps=64, block=3, position=COUNT - 1))
    rows = stored(SaliencyRequest(row=0, matrix=True))
    known.take_all([compared, plain, rows, stored(SaliencyRequest(of=("red",)))])
    assert known.reading(SaliencyRequest()) is compared
    assert known.tried(SaliencyRequest()) == [compared, rows]
    assert known.matrix(SaliencyRequest()) is rows
    assert known.reading(SaliencyRequest(way="ig")) is None
    assert known.reading(SaliencyRequest(row=0)) is rows


def test_a_part_belongs_to_what_was_asked() -> None:
    known = KnownSaliency(COUNT)
    part = saliency_part(SaliencyRequest(way="ig"), CELLS, 2)
    known.take_part(SaliencyRequest(way="ig", compare=True), part)
    assert known.part(SaliencyRequest(way="ig")) is part
    assert known.part(SaliencyRequest(way="ig", steps=64)) is None


def test_tokens_of_the_picture_share_columns_where_they_do_not_fit() -> None:
    tokens = tokens_of(100)
    assert columns_of(tokens, 200) == [(at, at) for at in range(105)]
    columns = columns_of(tokens, 25)
    assert columns[:4] == [(0, 0), (1, 1), (2, 2), (3, 7)]
    assert columns[-2:] == [(103, 103), (104, 104)]
    assert len(columns) == 25
    assert [at for first, last in columns for at in range(first, last + 1)] == [*range(105)]


def test_a_column_shows_what_is_farthest_from_zero() -> None:
    values = np.array([[1.0, -3.0, 2.0, np.nan], [np.nan, 0.5, -0.1, 4.0]], np.float32)
    found = strongest(values, [(0, 2), (3, 3)])
    assert found[0, 0] == -3
    assert np.isnan(found[0, 1])
    assert found[1].tolist() == [0.5, 4.0]
    assert steps_of(found, own_scale=False).tolist() == [[1, NO_STEP], [4, 7]]
    assert steps_of(found, own_scale=True).tolist() == [[0, NO_STEP], [4, 7]]
