"""The picture, the prompt and the settings beside a table are those of its run, or are marked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image
from textual.widgets import Input

from engine.events import ModelReady
from engine.records import ModelCard, Picture, Question, Session
from tests.tui.dialog_stage import make_view
from tests.tui.fakes import CARD, finish, make_rows, make_run
from tests.tui.stage import ONE_SIZE, PROMPT, Stage, explorer, in_loop
from tui.actions.runs import show_run
from tui.sharing.formats import FORMATS
from tui.state.changed_since import changed_since, is_same_model, is_same_picture
from tui.state.view_state import ModelPhase, ModelView

at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A red one and a blue one."""
    made = []
    for name in ("red", "blue"):
        made.append(tmp_path / f"{name}.png")
        Image.new("RGB", (40, 30), name).save(made[-1])
    return made[0], made[1]


def about(picture: Path, **more: object) -> dict[str, object]:
    question = Question(prompt=PROMPT, picture=Picture(str(picture)))
    return {"question": question, "no_picture": False, **more}


def title(stage: Stage) -> str:
    """The caption of the table as the screen shows it."""
    table = stage.app.main.table
    y = table.region.y
    return stage.text.splitlines()[y][table.region.x : table.region.right]


def gutter(stage: Stage) -> set[str]:
    """What stands before the rows of the table."""
    table = stage.app.main.table
    first = table.region.y + 1 + table.head_height
    rows = min(table.count, table._visible_rows)
    return {line[table.region.x + 1] for line in stage.text.splitlines()[first : first + rows]}


async def is_marked(stage: Stage, *changed: str) -> None:
    await stage.until(lambda: f"not asked yet: {', '.join(changed)}" in title(stage))
    assert gutter(stage) == {"?", "▌"}
    assert "earlier answer" in stage.text


async def is_unmarked(stage: Stage) -> None:
    await stage.until(lambda: "not asked yet" not in stage.text)
    assert gutter(stage) == {" ", "▌"}
    assert "earlier answer" not in stage.text


async def opened(stage: Stage, picture: Path) -> None:
    """Open a picture as the user does."""
    await stage.press("o")
    await stage.until(lambda: stage.app.screen.query(Input))
    stage.app.screen.query_one(Input).value = str(picture)
    await stage.press("enter")
    await stage.until(lambda: not stage.app.has_dialog)
    await stage.until(lambda: named(stage) == picture.name)


async def shows_picture(stage: Stage, picture: Path) -> None:
    await stage.until(lambda: named(stage) == picture.name)


def named(stage: Stage) -> str:
    """The name of the picture that the pane shows."""
    shown = stage.app.main.preview._picture
    return Path(shown.path).name if shown is not None else ""


def colour(stage: Stage) -> tuple[int, ...]:
    """The colour in the middle of the picture."""
    image = stage.app.main.preview._image
    assert image is not None
    pixel = image.getpixel((20, 15))
    assert isinstance(pixel, tuple)
    return tuple(round(value / 255) for value in pixel)


@at_every_size
@in_loop
async def test_another_picture_marks_the_table_that_names_its_own(
    size: tuple[int, int], pictures: tuple[Path, Path]
) -> None:
    red, blue = pictures
    async with explorer(size, startup=about(red)) as stage:
        await stage.run_done()
        await is_unmarked(stage)
        await opened(stage, blue)
        await is_marked(stage, "picture")
        assert "red.png" in title(stage)
        assert PROMPT[:10] in title(stage)
        await opened(stage, red)  # changing it back removes the mark
        await is_unmarked(stage)
        await opened(stage, blue)
        await is_marked(stage, "picture")
        await stage.press("r")
        await stage.run_done(2)
        await is_unmarked(stage)


@at_every_size
@in_loop
async def test_every_run_has_its_own_picture_beside_it(
    size: tuple[int, int], pictures: tuple[Path, Path]
) -> None:
    red, blue = pictures
    async with explorer(size, startup=about(red)) as stage:
        await stage.run_done()
        await opened(stage, blue)
        await stage.press("r")
        await stage.run_done(2)
        for key, picture in (("comma", red), ("full_stop", blue), ("comma", red)):
            await stage.press(key)
            await shows_picture(stage, picture)
            await is_unmarked(stage)
        await opened(stage, blue)
        await is_marked(stage, "picture")
        await stage.press("full_stop", "comma")
        await stage.until(lambda: named(stage) == "red.png")
        await is_unmarked(stage)
        assert is_same_picture(stage.app.presenter.question().picture, Picture(str(red)))


@at_every_size
@in_loop
async def test_every_way_to_change_the_prompt(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        for keys, back in (
            (("e", "x"), ("backspace", "escape")),
            (("right_square_bracket",), ("left_square_bracket",)),
            (("w", *"place:", "enter"), ("w", *"shape", "enter")),
        ):
            await stage.press(*keys)
            await is_marked(stage, "prompt")
            assert PROMPT[:10] in title(stage)
            await stage.press(*back)
            await is_unmarked(stage)
        await stage.press("e", "x", "ctrl+r")
        await stage.run_done(2)
        await is_unmarked(stage)


@pytest.mark.slow
@in_loop
async def test_what_is_typed_while_a_run_starts_stays_and_is_marked() -> None:
    async with explorer(hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 4)
        await stage.press("e", "x", "y")
        await is_marked(stage, "prompt")
        stage.worker.go_on.set()
        await stage.run_done()
        assert stage.app.main.editor.text == PROMPT + "xy"
        await is_marked(stage, "prompt")
        await stage.press("ctrl+r", "z")
        await stage.run_done(2)
        assert stage.app.state.runs[1].run.question.prompt == PROMPT + "xy"
        assert stage.app.main.editor.text == PROMPT + "xyz"
        await is_marked(stage, "prompt")


@pytest.mark.slow
@in_loop
async def test_the_prompt_follows_a_queue_unless_something_has_been_typed() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("a")
        await stage.run_done(5)
        await stage.press("escape")
        assert stage.app.main.editor.text == stage.app.state.runs[-1].run.question.prompt
        await is_unmarked(stage)
        await stage.press("e", "x", "escape", "a")
        await stage.run_done(9)
        await stage.press("escape")
        assert stage.app.main.editor.text.endswith("x")
        await is_marked(stage, "prompt")


@pytest.mark.slow
@in_loop
async def test_settings_that_cannot_be_asked_yet_are_marked() -> None:
    run = finish(make_run("a" * 16, Question(prompt=PROMPT)), make_rows(10, 5))
    session = Session(created=run.created, saved=run.created, runs=(run,))
    async with explorer(startup={"options": None, "session": session}) as stage:
        await stage.shows("(reopened)")
        await is_unmarked(stage)
        await stage.press("m")
        await is_marked(stage, "norm")
        await stage.press("m")
        await is_unmarked(stage)


@at_every_size
@in_loop
async def test_another_model_is_named_beside_that_of_the_run(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        stage.worker.loaded.clear()
        await stage.press("M", *"org/another", "enter")
        await is_marked(stage, "model")
        await stage.shows("samples/model (another is loading)", "asked: model")
        stage.worker.failing_loads = 1
        stage.worker.loaded.set()
        await stage.shows("samples/model (another did not load)")
        await is_marked(stage, "model")
        await stage.press("r")
        await stage.run_done(2)
        await is_unmarked(stage)


@pytest.mark.slow
@in_loop
async def test_a_run_of_another_model_is_marked_while_this_one_is_loaded() -> None:
    other = replace(CARD, name="org/first", dtype="bfloat16")
    async with explorer() as stage:
        await stage.run_done()
        old = make_view(7, PROMPT)
        old.run = replace(old.run, question=replace(old.run.question, model=other))
        stage.app.state.runs.insert(0, old)
        await stage.press("comma")
        await is_marked(stage, "model")
        await stage.shows("org/first (model is loaded)")
        old.run = replace(
            old.run, question=replace(old.run.question, model=replace(CARD, dtype="bfloat16"))
        )
        stage.app.presenter.show_all()
        await stage.shows("samples/model (float32 is loaded)")
        await stage.press("full_stop")
        await is_unmarked(stage)


@pytest.mark.slow
@in_loop
async def test_a_run_brings_its_settings_with_it() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("m")
        await stage.run_done(2)
        await stage.press("comma")
        await is_unmarked(stage)
        assert stage.app.presenter.question().norm
        raw = make_view(7, "raw", chat=False, system="Be brief.", prefix="A")
        before = stage.app.state.current
        stage.app.state.include(raw.run)
        show_run(stage.app, before)
        await is_unmarked(stage)
        asked = stage.app.presenter.question()
        assert (asked.chat, asked.system, asked.prefix) == (False, "Be brief.", "A")


@pytest.mark.slow
@in_loop
async def test_a_file_that_was_written_again_is_another_picture(
    pictures: tuple[Path, Path],
) -> None:
    red, blue = pictures
    async with explorer(startup=about(red)) as stage:
        await stage.run_done()
        await stage.until(lambda: stage.app.state.question.picture.sha256)  # type: ignore[union-attr]
        await stage.press("r")
        await stage.run_done(2)
        red.write_bytes(blue.read_bytes())
        await opened(stage, red)
        await is_marked(stage, "picture")
        await stage.press("r")
        await stage.run_done(3)
        await is_unmarked(stage)


@pytest.mark.slow
@in_loop
async def test_a_picture_that_is_not_here_is_shown_from_its_preview_or_missed(
    pictures: tuple[Path, Path],
) -> None:
    from engine.pictures.opening import open_picture

    records = [open_picture(path).record for path in pictures]
    gone = replace(records[0], path="/not/here/red.png")
    changed = replace(records[1], preview=None, sha256="0" * 64)
    without = replace(gone, preview=None, path="/not/here/gone.png")
    runs = tuple(
        finish(make_run(f"{n:016x}", Question(prompt=f"{n}", picture=picture)), make_rows(10, 5))
        for n, picture in enumerate((gone, records[1], without, changed))
    )
    session = Session(created=runs[0].created, saved=runs[0].created, runs=runs)
    startup = {"options": None, "session": session, "no_picture": False}
    async with explorer(startup=startup) as stage:
        await stage.shows("the file has changed")
        assert not stage.app.main.preview.drawn
        await stage.press("comma")
        await stage.shows("gone.png", "no such picture")
        assert not stage.app.main.preview.drawn
        await stage.press("comma")
        await stage.until(lambda: stage.app.main.preview.drawn and colour(stage) == (0, 0, 1))
        await stage.press("comma")
        await stage.until(lambda: named(stage) == "red.png" and colour(stage) == (1, 0, 0))
        await is_unmarked(stage)


@pytest.mark.slow
@in_loop
async def test_the_replacement_of_a_picture_is_named(pictures: tuple[Path, Path]) -> None:
    async with explorer(startup=about(pictures[0])) as stage:
        await stage.run_done()
        await stage.press("B")
        await stage.run_done(2)
        await stage.press("escape", "full_stop")
        await stage.shows("red.png, replaced by none")
        await is_unmarked(stage)
        await stage.press("comma")
        await stage.until(lambda: "replaced by" not in stage.text)


@pytest.mark.slow
@in_loop
async def test_ascii_marks_are_ascii() -> None:
    async with explorer((80, 24), startup={"ascii": True}) as stage:
        await stage.run_done()
        stage.app.presenter.put_prompt("日本" * 40)
        await stage.press("ctrl+r")
        await stage.run_done(2)
        await stage.press("e", "x")
        await stage.until(lambda: "not asked yet: prompt" in title(stage))
        assert gutter(stage) == {"?", ">"}
        assert title(stage).isascii()


@pytest.mark.slow
@in_loop
async def test_a_prompt_is_asked_as_it_was_put() -> None:
    odd = "a\r\nb\nc\x0cd\u2028e"
    async with explorer() as stage:
        await stage.run_done()
        stage.app.presenter.put_prompt(odd)
        await stage.press("ctrl+r")
        await stage.run_done(2)
        assert stage.worker.questions[1].prompt == odd
        await is_unmarked(stage)


@at_every_size
@in_loop
async def test_a_figure_shows_what_the_run_was_asked(
    size: tuple[int, int], pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    red, blue = pictures
    startup = about(red, theme="lenscope")
    async with explorer(size, startup=startup) as stage:
        await stage.run_done()
        await stage.until(lambda: stage.app.main.preview.drawn)
        await opened(stage, blue)
        await stage.press("e", *"Why so?", "escape")
        await is_marked(stage, "picture, prompt")
        before = stage.text
        await stage.press("x")
        await stage.press(*["down"] * [each.name for each in FORMATS].index("svg"))
        stage.app.screen.query_one(Input).value = "figure.svg"
        await stage.press("enter")
        await stage.until(lambda: (tmp_path / "figure.svg").is_file())
        await stage.shows("wrote figure.svg")
        figure = (tmp_path / "figure.svg").read_text()
        assert "not&#160;asked&#160;yet" not in figure
        assert "Why" not in figure
        assert "#ff0000" in figure
        assert "#0000ff" not in figure
        assert ("red.png" in figure) == (size[0] > 80)
        await is_marked(stage, "picture, prompt")
        assert stage.app.main.editor.text.endswith("Why so?")
        screen = [line for line in stage.text.splitlines() if "figure.svg" not in line]
        assert set(screen) <= set(before.splitlines())


def test_other_cards_are_other_models() -> None:
    def loaded(card: ModelCard, *, template: bool = True) -> ModelView:
        ready = ModelReady(card, 10, True, template, "tail", 0.5, 16)
        return ModelView(ModelPhase.READY, card.name, ready=ready)

    assert is_same_model(None, loaded(CARD))
    assert is_same_model(CARD, ModelView())
    assert is_same_model(CARD, loaded(replace(CARD, name="./samples/model/", device="cuda")))
    assert is_same_model(replace(CARD, revision="a"), loaded(CARD))
    # Where the weights are known, names do not matter.
    one, two = replace(CARD, weights="1" * 64), replace(CARD, weights="2" * 64)
    assert is_same_model(one, loaded(replace(one, name="/moved/elsewhere")))
    assert not is_same_model(one, loaded(two))
    assert is_same_model(one, loaded(CARD))  # a session of an older version does not know them
    for other in ({"name": "x"}, {"dtype": "bfloat16"}, {"revision": "b"}):
        assert not is_same_model(replace(CARD, revision="a"), loaded(replace(CARD, **other)))
    run = make_view(1, PROMPT, chat=False)
    question = replace(run.run.question, chat=True)
    assert changed_since(run, question, loaded(CARD)) == ("chat template",)
    assert not changed_since(run, question, loaded(CARD, template=False))
    assert changed_since(run, replace(run.run.question, top_k=99), loaded(CARD)) == ("top-k",)
    assert not changed_since(run, replace(run.run.question, top_k=10), loaded(CARD))


def test_a_picture_is_known_by_content_else_by_name() -> None:
    here, there = Picture("a/./b.png", "1" * 64), Picture("/c.png", "1" * 64)
    assert is_same_picture(None, None)
    assert not is_same_picture(None, here)
    assert is_same_picture(here, there)
    assert not is_same_picture(here, Picture("a/b.png", "2" * 64))
    assert is_same_picture(here, Picture("a/b.png"))
    assert not is_same_picture(here, Picture("/c.png"))
    assert is_same_picture(Picture("a\udcff.png"), Picture("a\ufffd.png"))
    assert not is_same_picture(Picture("a\ud800.png"), Picture("b.png"))


@pytest.mark.slow
@in_loop
async def test_a_name_that_is_not_utf8_can_be_asked_about(tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff.png")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "red.png").rename(name)
    async with explorer() as stage:
        await stage.run_done()
        stage.app.main.preview.open(Picture(name))
        await is_marked(stage, "picture")
        await stage.press("r")
        await stage.run_done(2)
        asked = stage.worker.questions[1].picture
        assert asked is not None
        assert asked.path == name
        await is_unmarked(stage)
