"""Notes on a model stay visible beside its runs, and are told wherever it is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import samples
from engine.events import LoadOptions, ModelReady
from engine.records import Question, Run, Session
from engine.sessions import read_session, write_session
from tests.tui.dialog_stage import HOSTILE, make_view
from tests.tui.fakes import CARD, finish, make_rows, make_run
from tests.tui.stage import ONE_SIZE, PROMPT, Stage, explorer, in_loop
from tui.cli import main
from tui.commands.check import run_check
from tui.sharing.copying import table_text, write_export
from tui.sharing.reproduce import as_python
from tui.state.run_view import RunView
from tui.state.view_state import ViewState
from tui.text.loading_times import loaded_line
from tui.widgets.notes_line import notes_line

at_every_size = pytest.mark.parametrize("size", ONE_SIZE)

NOTE = "40 weights of the file belong to no part of the model (first: a.lora_A.weight)"
OTHER = "the file of 2 that the index names was read"


def noted(number: int, *notes: str) -> Run:
    run = finish(make_run(f"{number:016x}", Question(prompt=PROMPT)), make_rows(10, 5))
    card = replace(CARD, notes=notes)
    return replace(run, question=replace(run.question, model=card))


def startup(*runs: Run, **more: object) -> dict[str, object]:
    session = Session(created=runs[0].created, saved=runs[0].created, runs=runs)
    return {"options": None, "session": session, **more}


def lower_border(stage: Stage) -> str:
    table = stage.app.main.table
    line = stage.text.splitlines()[table.region.bottom - 1]
    return line[table.region.x : table.region.right]


@at_every_size
@in_loop
async def test_a_note_is_seen_as_long_as_a_run_of_its_model(size: tuple[int, int]) -> None:
    async with explorer(size, startup=startup(noted(1), noted(2, NOTE))) as stage:
        await stage.until(lambda: "! 40 weights of the file belong" in lower_border(stage))
        before = lower_border(stage)
        for key in ("j", "G", "e", "x", "escape", "d", "d"):
            await stage.press(key)
            assert "! 40 weights of the file belong" in lower_border(stage)
        assert lower_border(stage)[:40] == before[:40]
        await stage.press("comma")
        await stage.until(lambda: "!" not in lower_border(stage))
        await stage.press("exclamation_mark")
        await stage.shows("there is nothing to note about this model")
        await stage.press("full_stop", "exclamation_mark")
        await stage.shows("notes on the model", "samples/model", "a.lora_A.weight)")
        await stage.press("q")
        await stage.until(lambda: not stage.app.has_dialog)


TOOK = {"importing": 1.23, "reading": 4.02, "digest": 0.01, "learning": 0.96}


def test_what_loading_took_in_one_line() -> None:
    ready = ModelReady(CARD, 10, False, True, "tail", 7.06, 16, phases=TOOK)
    told = "loaded in 7.1 s: importing 1.2, reading 4.0, learning 1.0"
    assert loaded_line(ready) == told
    state = ViewState(Question(prompt=PROMPT))
    state.apply(ready)
    assert state.note is not None
    assert state.note.text == told
    state.apply(replace(ready, phases={}))
    assert state.note is None
    assert loaded_line(replace(ready, phases={"digest": 0.01})) == "loaded in 7.1 s"


@in_loop
async def test_what_loading_took_stands_below_the_notes_on_that_model() -> None:
    async with explorer(hold_loading=True) as stage:
        await stage.shows("loading weights")
        card = replace(CARD, notes=(NOTE,))
        stage.app.inbox.tell(
            ModelReady(card, 10, False, True, "tail", 7.06, 16, phases=TOOK),
        )
        await stage.until(lambda: "! 40 weights" in lower_border(stage))
        await stage.press("exclamation_mark")
        await stage.shows("a.lora_A.weight)", "loaded in 7.1 s: importing 1.2, reading 4.0")
        assert stage.app.state.notes == (NOTE,)


@pytest.mark.slow
@in_loop
async def test_a_loaded_model_is_noted_before_its_first_run() -> None:
    async with explorer(hold_loading=True) as stage:
        await stage.shows("loading weights")
        card = replace(CARD, notes=(NOTE, OTHER))
        stage.app.inbox.tell(ModelReady(card, 10, False, True, "tail", 0.5, 16))
        await stage.until(lambda: "! 2 notes: 40 weights" in lower_border(stage))


@pytest.mark.slow
@in_loop
async def test_hostile_notes_stay_on_their_line() -> None:
    long = noted(1, HOSTILE * 9, "x" * 200_000)
    async with explorer((80, 24), startup=startup(long, ascii=True)) as stage:
        await stage.until(lambda: "! 2 notes: \\x1b" in lower_border(stage))
        assert lower_border(stage).isascii()
        await stage.press("exclamation_mark")
        await stage.shows("notes on the model", "\\x1b[31m[/red]")
        assert "\x1b" not in stage.text


@given(
    st.lists(st.text(max_size=60), max_size=4),
    st.sampled_from(["", "0-9 of 33", "100-140 of 4000"]),
    st.integers(0, 120),
    st.booleans(),
)
def test_the_line_has_its_width_and_the_place_its_end(
    notes: list[str], place: str, room: int, ascii_only: bool
) -> None:
    line = notes_line(notes, place, room, ascii_only=ascii_only)
    assert line.plain.endswith(place)
    assert line.plain.isprintable()
    if notes and room >= 12 + len(place) + 3:
        assert line.cell_length == room
        assert line.plain.startswith("! ")
    assert line.plain.isascii() or not ascii_only


def test_every_text_that_is_shared_tells_them(tmp_path: Path) -> None:
    view = RunView.of(noted(1, NOTE, "a\x1b[31m\nb"))
    for style, line in (
        ("text", f"note     {NOTE}\n"),
        ("markdown", "Note on samples/model: 40 weights of the file"),
        ("json", "40 weights of the file"),
    ):
        text = table_text(view, style)
        assert line in text
        assert "\x1b" not in text
        assert "40 weights" not in table_text(RunView.of(noted(1)), style)
    write_export(view, "command", tmp_path / "run.sh")
    script = (tmp_path / "run.sh").read_text().splitlines()
    assert script[:2] == [
        f"# Note on samples/model: {NOTE}",
        "# Note on samples/model: a\\x1b[31m b",
    ]
    assert script[2].startswith("lenscope run")
    python = as_python(view.run, None)
    assert python.startswith(f"# Note on samples/model: {NOTE}\n")
    compile(python, "run.py", "exec")


def test_a_session_keeps_them_and_older_ones_have_none(tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    run = noted(1, NOTE)
    write_session(Session(created=run.created, saved=run.created, runs=(run,)), file)
    held = read_session(file).runs[0].question.model
    assert held is not None
    assert held.notes == (NOTE,)
    data = json.loads(file.read_text())
    assert data["runs"][0]["question"]["model"].pop("notes") == [NOTE]
    file.write_text(json.dumps(data))
    assert read_session(file).runs[0].question.model == CARD


@pytest.mark.slow
def test_run_and_check_print_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.models import loading

    plain = loading.load_with(LoadOptions(str(samples.MODEL)))
    card = replace(plain.card, notes=(NOTE, "a\x1b[31m"))
    loaded = dataclasses.replace(plain, card=card)
    monkeypatch.setattr(loading, "load_with", lambda *_: loaded)
    assert main(["run", "--no-image", "--prompt", "Shape:"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:3] == [f"lenscope: note: {NOTE}", "lenscope: note: a\\x1b[31m"]
    assert run_check(LoadOptions(str(samples.MODEL)), proof_only=True) == 0
    printed = capsys.readouterr().out.splitlines()
    assert f"notes      {NOTE}" in printed
    assert "notes      a\\x1b[31m" in printed


def test_a_view_without_a_model_has_no_notes() -> None:
    assert "note" not in table_text(make_view(1, PROMPT), "markdown")
