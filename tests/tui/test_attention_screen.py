"""The screen of attention, on a worker with made numbers."""

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
from engine.events import ReadingDropped, Trouble
from engine.methods.attention import AttentionRequest, LayerAttention
from engine.methods.geometry import GeometryRequest
from engine.methods.knockout import KnockoutRequest
from engine.records import Picture, Reading, ReadingProof, Request, Session, Token
from tests.tui.attention_stage import (
    REACH,
    RECURRENT,
    SINK,
    WINDOWED,
    AttentionWorker,
    attention_reading,
    knockout_reading,
)
from tests.tui.dialog_stage import HOSTILE
from tests.tui.reading_stage import asked_of, opened_by
from tests.tui.stage import ONE_SIZE, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tests.tui.words_stage import (
    BEFORE,
    SIDE,
    finished_run,
    geometry,
    no_geometry,
    positions_of,
    tokens_of,
)
from tui.views.attention.screen import AttentionScreen

LAYERS = 10
COUNT = BEFORE + SIDE * SIDE + 2
at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


@pytest.fixture(autouse=True)
def attention_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FakeWorker", AttentionWorker)


opened = partial(opened_by, "4", AttentionScreen)


async def read(stage: Stage, screen: AttentionScreen) -> None:
    """Wait until all layers have been read, and the picture shows."""
    await stage.until(lambda: screen.gaze.known.has_shares and screen.gaze.geometry is not None)
    pane = screen.pane
    await stage.until(lambda: pane.canvas.drawn or pane.mark_canvas.display)
    await stage.pilot.pause()


def asked(stage: Stage, kind: type[Request] = AttentionRequest) -> list[Request]:
    return asked_of(stage, kind)


# ---------------------------------------------------------------------- what it shows


@at_every_size
@in_loop
async def test_it_opens_on_the_shares_of_the_position(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await read(stage, screen)
        await stage.shows("raw", "without sinks", f"sinks: 0, {SINK}", "layer 5 of 0-9, mean of 4")
        await stage.shows("no attention here (recurrent)", "attention weight", "best heads", "7.2")
        assert asked(stage) == [AttentionRequest()]
        assert len(asked(stage, GeometryRequest)) == 1
        assert not asked(stage, KnockoutRequest)  # it is never unasked
        assert_harmless(stage)


@in_loop
async def test_both_numbers_are_shown_always() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        raw = screen.shares.render_line(1).text.split()
        without = screen.shares.render_line(2).text.split()
        assert raw == ["raw", "45.1%", "7.5%", "3.8%", "23.8%", "15.0%", "3.8%", "1.0%"]
        assert without[2:] == ["0%", "14.2%", "7.1%", "43.0%", "28.5%", "7.1%", "-"]
        await stage.press("right_parenthesis")
        await stage.shows("head 0 of 0-3")
        assert screen.shares.render_line(1).text.split() != raw
        await stage.press("D")
        await stage.shows("raw 0-59.0%", "no sinks 0-")


@in_loop
async def test_the_map_follows_the_layer_on_one_scale() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        scale, steps = screen.gaze.scale, screen.gaze.steps
        assert steps is not None
        await stage.press("j", "j")
        await stage.shows("layer 7 of 0-9")
        assert screen.gaze.scale == scale
        now = screen.gaze.steps
        assert now is not None
        assert (now != steps).any()
        assert screen.shares.cursor == 7
        await stage.press("S")
        await stage.shows("own scale", "cannot be compared")
        assert screen.gaze.scale != scale
        await stage.press("S", "percent_sign")
        await stage.shows("weight, log")
        await stage.press("g")
        await stage.shows("layer 0 of 0-9")
        assert len(asked(stage)) == 1  # nothing has been asked for again


@in_loop
async def test_layers_without_attention_and_with_windows_are_named() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press(*"k" * (5 - RECURRENT))
        await stage.shows(f"layer {RECURRENT}: no attention here (recurrent)")
        assert screen.gaze.steps is None
        await stage.press(*"j" * (WINDOWED - RECURRENT))
        await stage.shows(f"layer {WINDOWED} sees from token {REACH} on", f"≥{REACH}")
        struck = [piece for piece in screen.strip._line.segments if piece[1].strike]
        assert any("<s>" in text for text, _ in struck)
        assert not any("576" in text for text, _ in struck)  # it sees a part of the picture


@in_loop
async def test_the_cursor_walks_over_the_patches() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.shows("patch 12,12 (position 278): 0.25%, rank 4 of 576")
        await stage.press("right", "down", "h")
        await stage.shows("patch 12,13 (position 302)")
        await stage.press("O")
        await stage.shows("no other tile shows this place")


@pytest.mark.slow
@in_loop
async def test_clicks_pick_a_layer_a_patch_a_head_and_a_token() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.pilot.click(screen.shares, offset=(6, 1 + 4 + 8))
        await stage.shows("layer 8 of 0-9")
        left, top = screen.pane.canvas._corner
        await stage.pilot.click(screen.pane.canvas, offset=(left + 3, top + 2))
        await stage.shows("patch 1,1 ")
        await stage.press("D")
        await stage.until(lambda: screen.matrix.size.width)
        await stage.pilot.click(screen.matrix, offset=(1 + 4 + 3, 1 + 2 + 1))
        await stage.shows("layer 2 of 0-9, head 1 of 0-3")
        await stage.pilot.click(screen.strip, offset=(4, 0))
        await stage.until(lambda: screen.gaze.position == 0)


# ---------------------------------------------------------------------- heads


@in_loop
async def test_the_map_of_a_head_is_read_when_the_cursor_rests() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("right_parenthesis", "right_parenthesis", "right_parenthesis")
        await stage.until(lambda: len(asked(stage)) == 2)
        assert asked(stage)[1] == AttentionRequest(layers=(5,), heads="all")
        await stage.until(lambda: screen.gaze.steps is not None)
        await stage.shows("head 2 of 0-3")
        await stage.press("left_parenthesis")
        await stage.shows("head 1 of 0-3")
        await stage.pilot.pause(0.5)
        assert len(asked(stage)) == 2  # all heads came at once
        await stage.press("j", "j")
        wanted = AttentionRequest(layers=(7,), heads="all")
        await stage.until(lambda: asked(stage)[-1] == wanted)


@in_loop
async def test_the_best_heads_one_after_the_other() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.shows("7.2 61.0% 0.21, 9.3 60.0% 0.42")
        await stage.press("n")
        await stage.shows("layer 7 of 0-9, head 2", "1st of the 2 heads")
        await stage.press("n")
        await stage.shows("layer 9 of 0-9, head 3", "2nd of the 2 heads")
        await stage.press("N")
        await stage.shows("layer 7 of 0-9, head 2")


@pytest.mark.parametrize("ascii_only", [False, True])
@in_loop
async def test_all_heads_at_once(ascii_only: bool) -> None:
    async with opened(startup={"ascii": ascii_only}) as (stage, screen):
        await read(stage, screen)
        await stage.press("D", "n")
        await stage.shows("all heads", "heads 0-3 of 0-3", "raw 0-59.0%", "no sinks 0-")
        marked = [screen.matrix.render_line(y).text for y in range(2, 12)]
        assert [line.split()[0] for line in marked] == [str(layer) for layer in range(LAYERS)]
        if ascii_only:
            assert marked[9].count("#") == 2
            assert not marked[RECURRENT][4:].strip()
        await stage.press("D")
        await stage.shows("shares, head 2")


# ---------------------------------------------------------------------- ways, positions


@in_loop
async def test_each_way_is_read_when_it_is_wanted() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("f")
        await stage.shows("what arrives, |a W_O v|", "norm, linear")
        await stage.press("f")
        await stage.shows(
            "weight relative to a neutral prompt", 'relative to "Describe the image."'
        )
        await stage.shows(" times")
        await stage.press("f")
        await stage.shows("attention weight")
        ways = [request.way for request in asked(stage) if isinstance(request, AttentionRequest)]
        assert ways == ["weight", "contribution", "relative"]


@in_loop
async def test_other_positions_are_read_once_the_cursor_rests() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tui.views.reading_screen._REST", 600.0)
            await stage.press("<", "<", "<")
            assert len(asked(stage)) == 1
        assert screen.gaze.position == BEFORE - 1
        await stage.press("j")  # the cursor rests sooner from now on
        await stage.until(lambda: len(asked(stage)) == 2)
        assert asked(stage)[1] == AttentionRequest(position=BEFORE - 1)
        await stage.until(lambda: screen.gaze.known.has_shares)
        await stage.press(">", ">", ">")
        await stage.until(lambda: screen.gaze.position == COUNT - 1)
        assert screen.gaze.known.has_shares
        assert AttentionRequest() not in asked(stage)[1:]  # what is known is not asked for again


@in_loop
async def test_enter_goes_to_the_position_that_looks() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("<", "j", "enter")
        await stage.until(lambda: not stage.app.has_dialog)
        await stage.until(lambda: stage.app.state.place == COUNT - 2)
        await stage.until(lambda: stage.app.main.table.cursor == 6)
        await stage.press("4")
        again = stage.app.screen_stack[1]
        assert isinstance(again, AttentionScreen)
        assert (again.gaze.position, again.gaze.layer) == (COUNT - 2, 6)


# ---------------------------------------------------------------------- knockout


@at_every_size
@in_loop
async def test_knockout_is_asked_for_and_shown(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await read(stage, screen)
        await stage.press("K")
        await stage.shows("if it may not: log p(cylinder) -0.50", "without", "→ last")
        await stage.shows("in layers 4-5: cylinder -0.50 → -3.53, now: red 61.0%")
        assert asked(stage, KnockoutRequest) == [KnockoutRequest()]
        await stage.press("g")
        await stage.shows("in layers 0-1: cylinder -0.50 → -0.50, still the answer")
        await stage.press("<")
        await stage.until(lambda: "still the answer" not in stage.text)
        await stage.press(">")
        await stage.shows("still the answer")  # the run holds it
        assert_harmless(stage)


@in_loop
async def test_a_knockout_that_failed_its_proof_is_told() -> None:
    failed = ReadingProof("a pass in which nothing is forbidden", 0.5, 1e-3, passed=False)

    def made(request: Request) -> Reading | None:
        if not isinstance(request, KnockoutRequest) or sound:
            return None
        return replace(knockout_reading(request, LAYERS, COUNT), proof=failed)

    sound: list[bool] = []
    async with opened(made=made) as (stage, screen):
        await read(stage, screen)
        await stage.press("K")
        await stage.shows("the proof of knockout failed (0.5): its effects are not shown")
        assert "log p(cylinder)" not in stage.text
        await stage.press("<")
        await stage.until(lambda: "proof of knockout" not in stage.text)
        await stage.press(">")
        await stage.shows("the proof of knockout failed (0.5)")  # the run holds it, unsaved
        sound.append(True)
        await stage.press("K")
        await stage.shows("log p(cylinder) -0.50", "proof 1.0e-6")
        assert "proof of knockout" not in stage.text
        assert len(asked(stage, KnockoutRequest)) == 2


@in_loop
async def test_effects_show_as_they_come_and_k_again_stops() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.shows("K asks what the answer becomes then")
        stage.worker.holds_attention = True  # type: ignore[attr-defined]
        await stage.press("K")
        await stage.shows("3 of 24 passes", "log p(cylinder) -0.50", "picture → last")
        assert "first → all" not in stage.text
        await stage.press("K")
        await stage.shows("knockout was stopped")
        assert stage.worker.read_ids[-1] in stage.worker.cancelled_readings


@in_loop
async def test_only_the_same_knockout_is_stopped() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_attention = True  # type: ignore[attr-defined]
        await stage.press("K", "Z")
        await stage.shows("token 278 → last", "picture → last")
        assert len(asked(stage, KnockoutRequest)) == 2
        assert not stage.worker.cancelled_readings
        await stage.press("Z")
        await stage.shows("knockout was stopped")
        assert stage.worker.cancelled_readings == [stage.worker.read_ids[-1]]


@in_loop
async def test_a_knockout_that_is_known_is_not_asked_for_again() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("Z")
        await stage.shows("token 278 → last")
        await stage.press("K")
        await stage.shows("first → all", "proof 1.0e-6")
        assert next(iter(screen._knocked.effects.pairs)) == ("token 278", "last")
        await stage.press("Z")
        await stage.shows("this has been read")
        assert [*screen._knocked.effects.pairs][-1] == ("token 278", "last")
        assert len(asked(stage, KnockoutRequest)) == 2


@pytest.mark.parametrize("size", [(80, 24), (120, 30)])
@in_loop
async def test_knockouts_of_many_patches_leave_room_for_the_shares(size: tuple[int, int]) -> None:
    def has_pairs(count: int) -> bool:
        return len(screen._knocked.effects.pairs) == count

    async with opened(size) as (stage, screen):
        await read(stage, screen)
        body = screen.query_one("#attention-body").size.height
        for count in range(1, 12):
            await stage.press("left", "Z")
            await stage.until(partial(has_pairs, count))
        names = [pair[0].removeprefix("token ") for pair in screen._knocked.effects.pairs]
        shown = body // 2 - 3  # the border, and a line above
        await stage.shows(*names[-shown:], f"without {11 - shown} older")
        await stage.until(lambda: screen.panel.region.height == body // 2)
        assert names[-shown - 1] not in stage.text
        assert screen.shares.region.height == body - body // 2
        lines = [screen.shares.render_line(y).text for y in range(screen.shares.size.height)]
        assert any(line.startswith("▌  5") for line in lines), lines


@in_loop
async def test_a_knockout_that_was_interrupted_is_read_again() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_attention = True  # type: ignore[attr-defined]
        await stage.press("K")
        await stage.shows("3 of 24 passes")
        run_id, request = stage.worker.reads[-1]
        for key in ("r", "K"):  # either asks again
            stage.worker.tell(ReadingDropped(run_id, stage.worker.read_ids[-1]))
            await stage.shows("the reading was interrupted: r reads on")
            stage.worker.holds_attention = key == "r"  # type: ignore[attr-defined]
            await stage.press(key)
            await stage.until(lambda: "interrupted" not in stage.text)
        await stage.shows("first → all", "proof 1.0e-6")
        assert asked(stage, KnockoutRequest) == [request] * 3
        await stage.press("r")
        await stage.pilot.pause()
        assert len(asked(stage, KnockoutRequest)) == 3  # it has been read


@in_loop
async def test_attention_that_cannot_be_read_is_asked_for_once() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_attention = True  # type: ignore[attr-defined]
        await stage.press("f")
        await stage.until(lambda: len(asked(stage)) == 2)
        run_id, request = stage.worker.reads[-1]
        stage.worker.tell(Trouble("no memory", run_id, request_id=stage.worker.read_ids[-1]))
        await stage.shows("no memory")
        for key in ("j", "k", "F", "f"):
            await stage.press(key)
            await stage.pilot.pause(0.4)  # longer than the cursor must rest
        assert asked(stage) == [AttentionRequest(), request]
        await stage.shows("no memory")
        stage.worker.holds_attention = False  # type: ignore[attr-defined]
        await stage.press("r")
        await stage.until(lambda: screen.gaze.map is not None)
        assert asked(stage) == [AttentionRequest(), request, request]
        await stage.until(lambda: "no memory" not in stage.text)


@in_loop
async def test_the_patch_under_the_cursor_is_forbidden() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        await stage.press("Z")
        await stage.shows("token 278 → last")
        assert asked(stage, KnockoutRequest) == [KnockoutRequest(("278",), ("last",))]
        await stage.press("<", "<", "Z")
        await stage.shows("this patch comes after the token that looks")


# ---------------------------------------------------------------------- without a picture


@in_loop
async def test_a_run_without_a_picture_has_shares() -> None:
    async with opened(
        startup={"question": replace(WITH_PICTURE["question"], picture=None)}, side=0
    ) as (
        stage,
        screen,
    ):
        await stage.until(lambda: screen.gaze.known.has_shares)
        await stage.shows("shares, mean of 4 heads", "no sinks", "this run has no picture")
        assert not asked(stage, GeometryRequest)
        await stage.press("right", "O", "Z", "n", "D", "D", "right_parenthesis")
        await stage.shows("head 0 of 0-3")
        await stage.pilot.pause(0.5)
        assert len(asked(stage)) == 1  # there is no map to be asked for


@in_loop
async def test_a_picture_that_is_not_in_patches_says_why() -> None:
    def made(request: Request) -> Reading | None:
        return no_geometry() if isinstance(request, GeometryRequest) else None

    async with opened(made=made) as (stage, screen):
        await stage.until(lambda: screen.gaze.geometry is not None)
        await stage.shows("every token sees the whole picture", "without sinks")


@in_loop
async def test_cross_attention_is_a_line_of_its_own() -> None:
    states = LayerAttention(4, keys="states", heads=4, map=Array.of(np.full(50, 0.02), "<f4"))

    def made(request: Request) -> Reading | None:
        if not isinstance(request, AttentionRequest):
            return None
        usual = attention_reading(request, LAYERS, COUNT)
        return replace(usual, layers=(*usual.layers, states))

    async with opened(made=made) as (stage, screen):
        await read(stage, screen)
        await stage.shows("4× looks at 50 states")
        assert screen.shares.cursor == 6
        await stage.press("k")
        await stage.shows("layer 4 looks at 50 states, which are no tokens")


# ---------------------------------------------------------------------- loading, failing, storing


@in_loop
async def test_layers_show_as_they_come() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_attention = True  # type: ignore[attr-defined]
        await stage.press("4")
        await stage.shows("5 of 10 layers read")
        screen = stage.app.screen
        assert isinstance(screen, AttentionScreen)
        assert [line.is_read for line in screen.gaze.lines] == [True] * 5 + [False] * 5
        assert screen.shares.render_line(4 + 9).text.split() == ["9"]
        stage.worker.tell(ReadingDropped(stage.worker.reads[0][0], stage.worker.read_ids[0]))
        await stage.shows("the reading was interrupted: r reads on")
        stage.worker.holds_attention = False  # type: ignore[attr-defined]
        await stage.press("r")
        await stage.until(lambda: screen.gaze.known.has_shares)


@pytest.mark.parametrize(
    "key", ["escape", *(pytest.param(key, marks=pytest.mark.slow) for key in ("q", "4", "1"))]
)
@in_loop
async def test_it_closes_and_cancels_what_it_waits_for(key: str) -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_attention = True  # type: ignore[attr-defined]
        await stage.press("4")
        await stage.until(lambda: asked(stage))
        number = stage.worker.read_ids[
            stage.worker.reads.index((stage.worker.reads[0][0], AttentionRequest()))
        ]
        await stage.press(key)
        await stage.until(lambda: not stage.app.has_dialog)
        assert number in stage.worker.cancelled_readings
        cancelled = Trouble("reading was cancelled", stage.worker.reads[0][0], request_id=number)
        stage.worker.tell(Trouble("something else"))
        await stage.shows("something else")
        stage.worker.tell(cancelled)
        await stage.until(lambda: stage.app.state.note is None)  # that it was cancelled is no news
        assert not stage.app.asker._unwanted


@in_loop
async def test_trouble_is_told() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        stage.worker.holds_attention = True  # type: ignore[attr-defined]
        await stage.press("K")
        run_id, _ = stage.worker.reads[-1]
        error = "masks of this kernel cannot be edited \x1b[31m"
        stage.worker.tell(Trouble(error, run_id, request_id=stage.worker.read_ids[-1]))
        await stage.shows("masks of this kernel cannot be edited \\x1b[31m")
        assert_harmless(stage)


@in_loop
async def test_a_run_that_has_not_ended_cannot_be_looked_into() -> None:
    async with explorer(startup=WITH_PICTURE, hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live)
        await stage.press("4")
        await stage.shows("the run is on its way")
        assert not stage.app.has_dialog


def session_of(*readings: Reading, **changes: Any) -> dict[str, Any]:
    picture = Picture(str(samples.DEFAULT_PICTURE), "", 336, 336)
    run = replace(finished_run(picture=picture), readings=readings, **changes)
    stamp = "2026-11-22T03:00:00Z"
    return {"options": None, "session": Session(created=stamp, saved=stamp, runs=(run,))}


@asynccontextmanager
async def reopened(
    *readings: Reading, size: tuple[int, int] = (120, 40), **changes: Any
) -> AsyncIterator[Stage]:
    async with explorer(
        size, startup={**WITH_PICTURE, **session_of(*readings, **changes)}
    ) as stage:
        await stage.until(lambda: stage.app.state.current)
        await stage.press("4")
        yield stage


@at_every_size
@in_loop
async def test_a_stored_run_shows_what_it_holds(size: tuple[int, int]) -> None:
    stored = (
        geometry((336, 336)),
        attention_reading(AttentionRequest(), LAYERS, COUNT),
        knockout_reading(KnockoutRequest(), LAYERS, COUNT),
    )
    async with reopened(*stored, size=size) as stage:
        await stage.shows("without sinks", f"sinks: 0, {SINK}", "layer 0 of 0-9")
        await stage.shows("in layers 0-1: cylinder -0.50")
        await stage.press("right_parenthesis")
        await stage.shows("more attention is not known: this needs the model: L loads it")
        await stage.press("left_parenthesis", "K")
        await stage.shows("this has been read")
        await stage.press("Z")
        await stage.shows("what the answer becomes without is not known: this needs the model")


@in_loop
async def test_a_stored_run_without_attention_says_what_it_needs() -> None:
    async with reopened() as stage:
        await stage.shows("this needs the model: L loads it")
        await stage.press("j", "right", "n", "D", "K", "Z", "f", "<")
        await stage.shows("this needs the model")


@in_loop
async def test_texts_from_a_file_are_harmless() -> None:
    made = attention_reading(AttentionRequest(), LAYERS, COUNT)
    groups = (*made.groups[:5], HOSTILE)
    layers = (replace(made.layers[0], reason=HOSTILE, shares=None), *made.layers[1:])
    knocked = knockout_reading(KnockoutRequest(), LAYERS, COUNT)
    cells = tuple(
        replace(cell, source=HOSTILE, answer=cell.answer and replace(cell.answer, text=HOSTILE))
        for cell in knocked.cells
    )
    stored = (
        geometry((336, 336)),
        replace(made, groups=groups, layers=layers),
        replace(
            attention_reading(AttentionRequest(way="relative"), LAYERS, COUNT), neutral=HOSTILE
        ),
        replace(knocked, cells=cells, answer=Token(7, HOSTILE, 0.5, 1.0), notes=(HOSTILE,)),
    )
    tokens = tuple(replace(token, text=HOSTILE) for token in tokens_of(SIDE * SIDE))
    async with reopened(*stored, tokens=tokens) as stage:
        await stage.shows("without sinks")
        assert_harmless(stage)
        await stage.press("f", "f")
        await stage.shows("relative to")
        assert_harmless(stage)
        await stage.press("G")
        assert_harmless(stage)


@in_loop
async def test_damaged_arrays_are_told() -> None:
    made = attention_reading(AttentionRequest(), LAYERS, COUNT)
    damaged = replace(made.layers[0], shares=Array("<f4", (4, 7), "A" * 4, True))
    async with reopened(replace(made, layers=(damaged, *made.layers[1:]))) as stage:
        await stage.shows("damaged array")
        await stage.press("j", "D", "n")
        assert_harmless(stage)


@in_loop
async def test_readings_that_do_not_fit_each_other_are_told() -> None:
    request = AttentionRequest(way="contribution")
    odd = attention_reading(request, LAYERS, COUNT, positions_of(16), sinks=(), best=())

    def made(asked: Request) -> Reading | None:
        return odd if asked == request else None

    why = "two readings of this position's attention do not fit"
    async with reopened(attention_reading(AttentionRequest(), LAYERS, COUNT), odd) as stage:
        await stage.shows(why, "without sinks")
        await stage.press("D", "f", "j", "n", "S")
        assert_harmless(stage)
    async with opened(made=made) as (stage, screen):
        await read(stage, screen)
        await stage.press("f")
        await stage.shows(why)
        for key in ("j", "k"):
            await stage.press(key)
            await stage.pilot.pause(0.4)  # longer than the cursor must rest
        await stage.shows(why)
        assert asked(stage) == [AttentionRequest(), request]


# ---------------------------------------------------------------------- looks


@at_every_size
@in_loop
async def test_plain_ascii_tells_groups_by_letters(size: tuple[int, int]) -> None:
    async with opened(size, startup={"ascii": True}) as (stage, screen):
        await read(stage, screen)
        await stage.press("K")
        await stage.shows("FFFF", "PPP", "QQ", "-> last", "[ .:-=+*#]")
        assert stage.text.isascii(), stage.text
        await stage.press("D", "n", "j")
        await stage.shows("all heads")
        assert stage.text.isascii(), stage.text


@in_loop
async def test_without_colours_letters_fill_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened() as (stage, screen):
        await read(stage, screen)
        assert screen.pane.mark_canvas.display
        await stage.shows("FFFF", "PPP", "QQ")


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30)])
@in_loop
async def test_the_layer_under_the_cursor_stays_visible(size: tuple[int, int]) -> None:
    async with opened(size, layers=32) as (stage, screen):
        await read(stage, screen)
        await stage.press("K", "G")
        await stage.until(lambda: screen.shares.cursor == 31)
        lines = [screen.shares.render_line(y).text for y in range(screen.shares.size.height)]
        assert any(line.startswith("▌ 31") or line.startswith("▌  31") for line in lines), lines
        await stage.pilot.resize_terminal(90, 26)
        await stage.shows("layer 31 of 0-31" if size[0] > 0 else "")
        await stage.pilot.resize_terminal(120, 40)
        await stage.shows("layer 31 of 0-31, mean of 4 heads")


@in_loop
async def test_a_step_of_a_layer_redraws_little_of_the_shares() -> None:
    async with opened() as (stage, screen):
        await read(stage, screen)
        before = [screen.shares.render_line(y).text for y in range(4, 14)]
        strips = dict(screen.shares._strips)
        await stage.press("j")
        await stage.until(lambda: screen.shares.cursor == 6)
        after = [screen.shares.render_line(y).text for y in range(4, 14)]
        assert [a[1:] for a in after] == [b[1:] for b in before]
        assert all(screen.shares._strips[row] == strips[row] for row in range(LAYERS))
