"""Every key, at three sizes, on a worker with fixed data."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from textual import events

from engine.pages.opening import read_page
from engine.records import Picture, Question
from engine.sessions import read_session
from tests.tui.stage import ONE_SIZE, PROMPT, SIZES, Stage, explorer, in_loop
from tui.sharing.formats import FORMATS
from tui.state.run_view import Phase
from tui.views.files.file_dialog import FileDialog
from tui.views.help.help import Help
from tui.views.prompt.prompt_editor import PromptEditor
from tui.views.table.lens_table import LensTable

at_every_size = pytest.mark.parametrize("size", SIZES)
at_one_size = pytest.mark.parametrize("size", ONE_SIZE)


def table(stage: Stage) -> LensTable:
    return stage.app.screen_stack[0].query_one(LensTable)


def editor(stage: Stage) -> PromptEditor:
    return stage.app.screen_stack[0].query_one(PromptEditor)


@at_every_size
@in_loop
async def test_it_loads_runs_once_by_itself_and_shows_everything(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.shows("samples/model", "float32", "✓ proof 2.4e-6", "0.412 s")
        await stage.shows("layer", "1st", "2nd", "3rd", "entropy", "␣cylinder", "99.0%", "10 out")
        await stage.shows("top-1 for good from layer 5 of 10", PROMPT)
        assert len(stage.worker.questions) == 1
        assert isinstance(stage.app.focused, LensTable)
        assert table(stage).cursor == 5  # where the answer formed


@at_one_size
@in_loop
async def test_cursor_keys(size: tuple[int, int]) -> None:
    async with explorer(size, layers=64, forms_at=32) as stage:
        await stage.run_done()
        lens = table(stage)
        await stage.press("g")
        assert lens.cursor == 0
        await stage.press("j", "down", "j", "k")
        assert lens.cursor == 2
        await stage.press("up", "up", "up", "up")
        assert lens.cursor == 0
        await stage.press("pagedown")
        page = lens.cursor
        assert 4 < page < 60
        await stage.press("pageup")
        assert lens.cursor == 0
        await stage.press("ctrl+d")
        assert 0 < lens.cursor <= page
        await stage.press("ctrl+u")
        assert lens.cursor == 0
        await stage.press("G")
        assert lens.cursor == 64
        await stage.shows("64 out")
        await stage.press("home")
        assert lens.cursor == 0
        await stage.shows("0 emb")
        await stage.press("end")
        assert lens.cursor == 64
        for _ in range(64):
            lens.action_cursor(-1)
        for _ in range(64):
            lens.action_cursor(1)
        assert lens.cursor == 64
        assert lens.scroll_offset.y == 65 - (lens.size.height - 1)


@at_one_size
@in_loop
async def test_typing_is_never_taken_for_commands(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("e")
        assert isinstance(stage.app.focused, PromptEditor)
        await stage.press(*"qrmcdpos", "question_mark", "plus", "comma", "full_stop")
        assert editor(stage).text.endswith("qrmcdpos?+,.")
        assert stage.app.is_running
        assert len(stage.worker.questions) == 1
        await stage.press("ctrl+r")
        await stage.run_done(2)
        assert stage.worker.questions[1].prompt.endswith("qrmcdpos?+,.")
        await stage.press("escape")
        assert isinstance(stage.app.focused, LensTable)
        await stage.press("tab")
        assert isinstance(stage.app.focused, PromptEditor)
        await stage.press("shift+tab")
        assert isinstance(stage.app.focused, LensTable)


@pytest.mark.parametrize("key", ["ctrl+r", "f5", "r"])
@in_loop
async def test_run_keys(key: str) -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press(key)
        await stage.run_done(2)
        await stage.shows("layers, run 2/2")
        await stage.press("comma")
        await stage.shows("layers, run 1/2")
        await stage.press("full_stop")
        await stage.shows("layers, run 2/2")


@at_one_size
@in_loop
async def test_rows_appear_while_later_layers_run(size: tuple[int, int]) -> None:
    async with explorer(size, hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 4)
        await stage.shows("layer 3 of 10", "␣cube")
        assert "99.0%" not in stage.text
        stage.worker.go_on.set()
        await stage.run_done()
        await stage.shows("99.0%")


@pytest.mark.parametrize("focus", ["table", "editor", "help"])
@in_loop
async def test_ctrl_c_cancels_wherever_the_focus_is(focus: str) -> None:
    async with explorer(hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 4)
        if focus == "editor":
            await stage.press("e")
        if focus == "help":
            await stage.press("f1")
        await stage.press("ctrl+c")
        await stage.run_done()
        assert stage.worker.cancels == 1
        current = stage.app.state.current
        assert current is not None
        assert current.phase is Phase.CANCELLED
        assert len(current.rows) == 4
        if focus != "help":
            await stage.shows("layers, cancelled after 4 of 11 rows", "␣cube")
            assert stage.text.count("cancelled after 4 of 11 rows") == 2


@in_loop
async def test_ctrl_c_copies_a_selection_else_says_how_to_quit() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("ctrl+c")
        await stage.shows("q or ctrl+q quits")
        await stage.press("e")
        editor(stage).select_all()
        await stage.press("ctrl+c")
        assert stage.app.clipboard == PROMPT
        await stage.shows("copied the selection")
        assert stage.app.is_running


@at_every_size
@in_loop
async def test_help(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("question_mark")
        await stage.until(lambda: isinstance(stage.app.screen, Help))
        await stage.shows("Glossary")
        await stage.press("tab")
        await stage.shows("Run the question", "r ctrl+r f5")
        await stage.press("r", "j")  # not taken for commands
        assert len(stage.worker.questions) == 1
        await stage.press("escape")
        await stage.until(lambda: not isinstance(stage.app.screen, Help))
        await stage.press("f1")
        await stage.until(lambda: isinstance(stage.app.screen, Help))
        await stage.press("f1")
        await stage.until(lambda: not isinstance(stage.app.screen, Help))


@in_loop
async def test_presets() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.until(lambda: stage.app.presenter.presets)
        presets = [preset.prompt for preset in stage.app.presenter.presets]
        here = presets.index(PROMPT)
        await stage.press("right_square_bracket")
        assert editor(stage).text == presets[here + 1]
        await stage.shows("clevr 3/4, not asked yet")
        await stage.press("left_square_bracket", "left_square_bracket")
        assert editor(stage).text == presets[here - 1]
        await stage.press("e", "f4")
        assert editor(stage).text == PROMPT
        await stage.press("f3")
        assert editor(stage).text == presets[here - 1]
        assert len(stage.worker.questions) == 1


@in_loop
async def test_norm_and_top_k() -> None:
    async with explorer((200, 60)) as stage:
        await stage.run_done()
        await stage.press("m")
        await stage.run_done(2)
        assert not stage.worker.questions[1].norm
        await stage.shows("norm off", "own")
        await stage.press("m")
        await stage.run_done(3)
        assert stage.worker.questions[2].norm
        await stage.press("plus")
        await stage.shows("4th")
        await stage.press("minus", "minus")
        await stage.until(lambda: "3rd" not in stage.text)
        assert len(stage.worker.questions) == 3  # the rows hold ten
        await stage.press(*["plus"] * 9)
        await stage.run_done(4)
        assert stage.worker.questions[3].top_k == 11


@in_loop
async def test_token_columns_that_do_not_fit_can_be_reached() -> None:
    async with explorer((80, 24), startup={"question": Question(prompt=PROMPT, top_k=8)}) as stage:
        await stage.run_done()
        await stage.shows("1st")
        assert "8th" not in stage.text
        await stage.press(*["right"] * 8)
        await stage.shows("8th")
        await stage.press(*["h"] * 8)
        await stage.shows("1st")


@at_every_size
@in_loop
async def test_detail_follows_the_cursor(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        if size[1] < 32:
            assert "rms" not in stage.text
            await stage.press("d")
        await stage.shows("layer 5 ", "answer 26.2% #1", "rms 16")
        await stage.press("j")
        await stage.shows("layer 6 ")
        await stage.press("d")
        await stage.until(lambda: "rms" not in stage.text)


@in_loop
async def test_a_failed_proof_strikes_the_rows_out(tmp_path: Path) -> None:
    async with explorer(passed=False) as stage:
        await stage.run_done()
        await stage.shows("proof failed", "layers, refused", "do not believe")
        line = table(stage).render_line(3)
        assert any(segment.style and segment.style.strike for segment in line)
        await stage.press("ctrl+s")
        await stage.shows("nothing to save")
        await stage.press("c")
        await stage.shows("its answer is not continued")
        await stage.press("q")
    assert not (tmp_path / "state" / "lenscope" / "sessions").exists()


def refuse_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder can be written to: neither the state's, the working one nor that for temporary
    files. (Permissions would not stop root.)"""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()


@pytest.mark.parametrize("key", ["ctrl+s", "s"])
@in_loop
async def test_save_and_reopen(tmp_path: Path, key: str) -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("j", "j", key)
        await stage.shows("saved 1 run to lenscope-")
        await stage.press("r")
        await stage.run_done(2)
        await stage.press(key)
        await stage.shows("saved 2 runs to lenscope-")
        await stage.press("q")
        assert stage.app.leaving.last_words is None
    (file,) = tmp_path.glob("lenscope-*.json")
    session = read_session(file)
    assert [run.status for run in session.runs] == ["done", "done"]
    reopened = {"options": None, "session": session, "session_path": file}
    async with explorer(startup=reopened) as stage:
        await stage.shows("␣cylinder", "99.0%", "✓ proof", "run 2/2", "samples/model (reopened)")
        assert table(stage).cursor == 7
        await stage.press("r")
        await stage.shows("no model is loaded", "L loads the one of this run")
        await stage.press("c")
        await stage.shows("this needs the model: L loads it")
        await stage.press("escape")
        await stage.press("ctrl+s")
        await stage.shows(f"saved 2 runs to {file.name}")
    assert len(list(tmp_path.glob("*.json"))) == 1


@in_loop
async def test_a_file_that_refuses_is_not_the_end_of_saving(tmp_path: Path) -> None:
    async with explorer() as stage:
        await stage.run_done()
        stage.app.state.session_path = Path("missing/x.json")
        await stage.press("ctrl+s")
        await stage.shows("saved 1 run to lenscope-", "missing/x.json")
        assert not stage.app.state.unsaved
    (file,) = tmp_path.glob("lenscope-*.json")
    assert len(read_session(file).runs) == 1


@in_loop
async def test_disks_that_all_refuse_are_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_everywhere(tmp_path, monkeypatch)
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("ctrl+s")
        await stage.shows("! not saved")
        assert stage.app.state.unsaved
        assert stage.app.is_running


@pytest.mark.parametrize("key", ["q", "ctrl+q"])
@in_loop
async def test_quitting_keeps_unsaved_runs(tmp_path: Path, key: str) -> None:
    async with explorer(hold_at=6, deaf=True) as stage:
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 6)
        if key == "ctrl+q":
            await stage.press("e")
        await stage.press(key)
        await stage.until(lambda: not stage.app.is_running)
    assert stage.worker.stopped
    (file,) = (tmp_path / "state" / "lenscope" / "sessions").glob("*.json")
    assert str(file) in (stage.app.leaving.last_words or "")
    assert file.parent.stat().st_mode & 0o777 == 0o700
    (run,) = read_session(file).runs
    assert (run.status, len(run.rows)) == ("cancelled", 6)


@in_loop
async def test_how_a_picture_had_to_be_shown_is_said(tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").convert("F").save(tmp_path / "deep map.tif")
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        await stage.press("o", *(tmp_path / "deep map.tif").as_uri(), "enter")
        await stage.shows("float pixels from 0 to 255: shown black to white")
        picture = stage.app.state.question.picture
        assert picture is not None and picture.path == str(tmp_path / "deep map.tif")


@in_loop
async def test_the_note_of_a_runs_picture_is_said_when_it_has_ended() -> None:
    note = "float pixels from -3 to 7: shown black to white"
    question = Question("What?", Picture("deep.tif", note=note))
    async with explorer((120, 40), startup={"question": question}) as stage:
        await stage.run_done()
        await stage.shows(f"the picture: {note}")


@in_loop
async def test_a_page_is_written_opened_and_never_saved_over() -> None:
    page = Path("run.html")
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        await stage.press("x", *["down"] * [each.name for each in FORMATS].index("html"))
        await stage.press("tab")
        for _ in range(60):
            await stage.press("backspace")
        await stage.press(*"run.html", "enter")
        await stage.shows("wrote run.html")
        written = page.read_bytes()
        (run,) = read_page(page).runs
        await stage.press("o", *"run.html", "enter")
        await stage.shows("opened 1 run")
        assert stage.app.state.current is not None
        assert stage.app.state.current.run == run
        await stage.press("ctrl+s")
        await stage.until(lambda: list(Path().glob("*.json")))
        assert page.read_bytes() == written


@in_loop
async def test_open_a_session_and_a_picture(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "red [bold].png")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "folder").mkdir()
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        await stage.press("ctrl+s", "o")
        await stage.until(lambda: isinstance(stage.app.screen, FileDialog))
        await stage.shows("folder/", "broken.json", "red [bold].png", "lenscope-")
        await stage.press(*"bro", "tab", "enter")
        await stage.shows("damaged")
        await stage.press("o", *"no.json", "enter")
        await stage.shows("no such session")
        await stage.press("o", *"red", "down", "enter")
        await stage.shows("r asks about this picture")
        await stage.press("o", *"no.png", "enter")
        await stage.shows("no.png: no such picture")
        await stage.press("r")
        await stage.run_done(2)
        picture = stage.worker.questions[1].picture
        assert picture is not None
        assert picture.path == "red [bold].png"
        await stage.press("ctrl+o", *"lens", "tab", "enter")
        await stage.shows("opened 1 run;")
        await stage.press("ctrl+o", "escape")
        await stage.until(lambda: not isinstance(stage.app.screen, FileDialog))


@in_loop
async def test_too_small_says_so() -> None:
    async with explorer((50, 12)) as stage:
        await stage.shows("needs 60 x 16")
        await stage.pilot.resize_terminal(90, 30)
        await stage.run_done()
        await stage.shows("layer", "1st")
        assert "needs 60" not in stage.text


@in_loop
async def test_without_a_model_it_says_what_to_do() -> None:
    async with explorer(startup={"options": None}) as stage:
        await stage.shows("no model is loaded: M chooses one, o opens a session")


@in_loop
async def test_ascii_is_ascii() -> None:
    async with explorer(startup={"ascii": True}) as stage:
        await stage.run_done()
        await stage.shows("_cylinder", "99.0%", "###")
        assert stage.text.isascii()
        await stage.press("f1", "slash", *"run the question")
        await stage.shows("Run the question")
        assert stage.text.isascii()


@pytest.mark.parametrize("theme", ["lenscope-light", "ansi-dark", "textual-light", "gruvbox"])
@in_loop
async def test_themes(theme: str) -> None:
    async with explorer(startup={"theme": theme}) as stage:
        await stage.run_done()
        await stage.shows("␣cylinder")


@in_loop
async def test_questions_wait_for_the_model() -> None:
    async with explorer(hold_loading=True) as stage:
        await stage.shows("loading weights", "━")
        await stage.press("r", "r")
        await stage.shows("as soon as the model is ready")
        stage.worker.loaded.set()
        await stage.run_done()
        assert len(stage.worker.questions) == 1


@in_loop
async def test_ctrl_c_cancels_the_loading_and_r_loads_again() -> None:
    async with explorer(hold_loading=True) as stage:
        await stage.shows("loading weights", "^c cancels")
        await stage.press("ctrl+c")
        await stage.shows("loading was cancelled", "r loads again")
        stage.worker.loaded.set()
        await stage.press("r")
        await stage.run_done()
        await stage.shows("cylinder")


@in_loop
async def test_a_model_that_did_not_load_is_tried_again() -> None:
    async with explorer(failing_loads=2) as stage:
        await stage.shows("the download broke off", "r loads again")
        await stage.press("ctrl+r")
        await stage.until(lambda: stage.worker.failing_loads == 0)
        await stage.shows("the download broke off")
        await stage.press("ctrl+r")
        await stage.run_done()
        assert "broke off" not in stage.text


@in_loop
async def test_a_text_only_model_says_so_in_the_pictures_place() -> None:
    async with explorer(takes_pictures=False, startup={"no_picture": False}) as stage:
        await stage.run_done()
        await stage.shows("this model reads text only", "no picture", "cylinder")


@in_loop
async def test_a_new_question_makes_a_running_pass_give_way() -> None:
    async with explorer(hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 4)
        stage.worker.hold_at = None
        await stage.press("r")
        await stage.run_done(2)
        phases = [run.phase for run in stage.app.state.runs]
        assert phases[-1] is Phase.DONE


@in_loop
async def test_saved_json_is_the_engines(tmp_path: Path) -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("ctrl+s")
        await stage.shows("saved")
    (file,) = tmp_path.glob("*.json")
    data = json.loads(file.read_text())
    assert data["format"] == "lenscope-session"
    assert data["view"]["row"] == 5


@in_loop
async def test_what_is_typed_right_behind_e_or_slash_is_typed() -> None:
    async with explorer() as stage:
        await stage.run_done()
        app = stage.app
        for key in ("e", "q", "x"):  # as one read of a fast line brings them
            app.post_message(events.Key(key, key))
        await stage.until(lambda: editor(stage).text == PROMPT + "qx")
        await stage.press("escape")
        for key in ("slash", "q", "r"):
            app.post_message(events.Key(key, "/" if key == "slash" else key))
        await stage.until(lambda: app.state.look.find == "qr")
        assert app.is_running
        assert len(stage.worker.questions) == 1


@in_loop
async def test_keys_after_the_one_that_quits_do_nothing() -> None:
    async with explorer() as stage:
        await stage.run_done()
        stage.app.exit(return_code=0)
        stage.app.do("plot")
        assert stage.app.main.lower.view("plot") is None
