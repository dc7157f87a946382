"""Habits: the room that panes take, what a mouse does, settings, drafts, pasted paths, help."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from textual import events
from textual.widgets import Input

from engine.events import Trouble
from engine.records import OtherPosition, Picture, Question, Token
from tests.tui.dialog_stage import make_state, make_view, on_stage
from tests.tui.fakes import make_rows
from tests.tui.stage import PROMPT, Stage, explorer, in_loop
from tui.actions.keymap import Keymap
from tui.actions.palette_words import WORDS
from tui.actions.registry import ACTIONS, BY_ID
from tui.contrast import LEGIBLE, contrast, legible
from tui.showing import presenter
from tui.state.folding import Fold, shown_rows
from tui.state.listing import Field, Order, listed, next_order
from tui.state.milestones import milestones
from tui.state.presets import Preset, ring_of, step_preset
from tui.text.pasted import pasted_path
from tui.text.show import stand_in_text
from tui.theme import OWN, theme_names
from tui.views.compare.compare import Compare
from tui.views.compare.pair_context import PairContext
from tui.views.compare.pair_detail import PairDetail
from tui.views.compare.runs_plot import RunsPlot
from tui.views.help.help import Help
from tui.views.help.help_text import GLOSSARY, help_sections, matching
from tui.views.runs.history import History
from tui.views.settings.settings_form import SettingsForm
from tui.widgets.chooser import Choice, best_first
from tui.widgets.explaining import Kind, explained_on, unexplained_on
from tui.widgets.line_entry import with_change
from tui.widgets.places import PlaceChosen
from tui.widgets.status import KeyBar

FOUR_SIZES = [
    (80, 24),
    (100, 30),
    pytest.param((120, 40), marks=pytest.mark.slow),
    pytest.param((200, 60), marks=pytest.mark.slow),
]
PICTURES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize("size", FOUR_SIZES)
@in_loop
async def test_panes_take_the_room_that_is_free(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        main = stage.app.main
        assert main.table.columns.bar >= 2  # at every width
        detail = main.lower.view("detail")
        assert detail.display == (size[0] >= 100)
        if size[1] == 60:
            assert main.table.size.height == 12  # the head and eleven rows
            await stage.until(lambda: detail.size.height > 30)
            await stage.press("d")
            await stage.until(lambda: main.table.size.height > 40)
        bottom = max(pane.region.bottom for pane in (main.table, detail) if pane.display)
        assert bottom == size[1] - 2  # the message and the keys are below


@in_loop
async def test_rows_that_say_the_same_are_folded() -> None:
    async with explorer((80, 24)) as stage:
        await stage.press("F")
        await stage.run_done()
        await stage.press("g", "F")
        await stage.shows("5 rows are folded, which equal that above", "6 -8", "6 of 11 rows")
        await stage.shows("where 1st to 3rd change")
        await stage.press("F")
        await stage.shows("7 rows are folded", "0 -2", "3 -4", "5 -9", "10 out", "4 of 11 rows")
        table = stage.app.main.table
        assert table.line_count == 4
        await stage.press("j")
        assert table.cursor == 3
        await stage.press("j", "j", "j")
        assert table.cursor == 10
        stage.app.post_message(PlaceChosen(stage.app.state.runs[0].run.position, 7))
        await stage.shows("5 -6", "7 -9", "5 of 11 rows")  # it is not folded while it is gone to
        assert table.cursor == 7
        await stage.press("k")
        await stage.shows("5 -9", "4 of 11 rows")
        assert table.cursor == 5
        await stage.press("g", "2")
        await stage.until(lambda: stage.app.main.lower.is_open("grid"))
        grid = stage.app.main.lower.view("grid")
        grid.focus()
        for _ in range(6):  # the grid is never folded, and its cursor's row is the table's
            await stage.press("j")
        await stage.until(lambda: table.cursor == grid.cursor == 6)
        await stage.press("1", "g")
        run = stage.app.state.runs[0]
        other = Token(id=7777, text=" zebra", probability=0.01, logit=None)
        run.deepened[7] = replace(run.rows[7], top=(*run.rows[7].top, other))
        await stage.press("slash", *"zebra", "enter")
        await stage.until(lambda: table.cursor == 7)
        await stage.press("escape")
        await stage.press("F")
        await stage.shows("every row is shown", "  7 ")


def test_which_rows_are_shown() -> None:
    view = make_view()
    assert shown_rows(view.rows, 10, 5) == (0, 3, 5, 10)
    assert shown_rows(view.rows, 10, 5, keep=[7]) == (0, 3, 5, 7, 10)
    assert shown_rows(view.rows[:4], 10, None) == (0, 3, *range(4, 11))
    assert shown_rows(view.rows, 10, 5, tokens=3) == (0, 3, 5, 6, 9, 10)


def test_with_one_token_shown_equal_rows_are_those_whose_top_1_stays() -> None:
    assert [fold.next(3) for fold in Fold] == [Fold.EQUAL, Fold.LEADER, Fold.NONE]
    assert Fold.NONE.next(1) is Fold.LEADER
    assert Fold.EQUAL.next(1) is Fold.NONE
    assert Fold.EQUAL.words(1) == Fold.LEADER.words(3) == "where top-1 changes"


@in_loop
async def test_the_detail_scrolls_to_all_that_can_be_read() -> None:
    async with explorer((120, 40)) as stage:
        await stage.run_done()
        detail = stage.app.main.lower.view("detail")
        await stage.press("K")
        await stage.press("J", "J")
        await stage.until(lambda: "of 16" in str(detail.border_subtitle))
        await stage.press("K", "K")
        assert not detail.border_subtitle
        stage.app.asker._gone.add(stage.app.state.runs[0].run.id)
        await stage.press("G")  # a row of which no more was read
        await stage.press("J", "J", "J")
        await stage.shows("this run's stream is not kept")


@in_loop
async def test_the_detail_reads_on_to_the_end_of_the_vocabulary() -> None:
    async with explorer((120, 40), vocabulary=2500) as stage:
        await stage.run_done()
        detail, run = stage.app.main.lower.view("detail"), stage.app.state.runs[0]

        async def to_the_end_of(count: int) -> None:
            assert detail.scroll_tokens(1000) == ""
            await stage.until(lambda: 5 in run.deepened and len(run.deepened[5].top) == count)
            await stage.until(lambda: f"-{count:,} of {count:,}" in str(detail.border_subtitle))

        await to_the_end_of(1000)
        await stage.press("J")
        await stage.shows("reading the first 2,000 tokens of this row")
        await to_the_end_of(2000)
        await stage.press("J")
        await stage.shows("reading the first 4,000 tokens of this row")
        await to_the_end_of(2500)
        await stage.press("J")
        await stage.shows("these are all 2,500 tokens of the vocabulary")
        await stage.press("d")  # nothing of it is kept by a closed detail
        await stage.until(lambda: len(run.deepened[5].top) == 1000)
        await stage.press("d")
        await stage.until(lambda: "-1,000 of 1,000" in str(detail.border_subtitle))
        await stage.press("J")
        await to_the_end_of(2000)
        await stage.press("j")  # another row is read to the depth at which one begins
        await stage.until(lambda: 6 in run.deepened and len(run.deepened[6].top) == 1000)
        assert len(run.deepened[5].top) == 1000
        stage.app.asker._gone.add(run.run.id)
        await stage.press("J")
        await stage.shows("these are the first 1,000 tokens", "this run's stream is not kept")


def test_milestones() -> None:
    view = make_view()
    tracked = view.run.tracked[0]
    words = milestones(tracked).words
    assert words == "top-10 row 0, top-1 row 0, peak 50.0% row 0, last #1"


def test_lists_are_sorted_and_filtered() -> None:
    fields = (
        Field[tuple[str, float | None]]("name", lambda item: item[0]),
        Field[tuple[str, float | None]]("p", lambda item: item[1]),
    )
    items = [("b red", 0.5), ("A", None), ("c", 0.25)]

    def names(**order: object) -> str:
        return "".join(name[0] for name, _ in listed(items, fields, Order(**order)))  # type: ignore[arg-type]

    assert names() == "bAc"
    assert names(by="name") == "Abc"
    assert names(by="p") == "cbA"
    assert names(by="p", descending=True) == "bcA"
    assert names(wanted="p>30%") == "b"
    assert names(wanted="p<=0.25") == "c"
    assert names(wanted="p=0.5 red") == "b"
    assert names(wanted="name:RED") == "b"
    assert names(wanted="nothing:red") == ""
    order = Order()
    for by in ("name", "p", ""):
        order = next_order(order, fields)
        assert order.by == by


# ---------------------------------------------------------------------- the mouse


@in_loop
async def test_dialogs_close_by_the_mouse_and_one_click_does_not_quit() -> None:
    async with explorer((100, 30)) as stage:
        await stage.run_done()
        for key in ("H", "question_mark", "o", "S", "t", "x", "C"):
            await stage.press(key)
            await stage.until(lambda: stage.app.has_dialog)
            box = stage.app.screen.query(".dialog").first()
            await stage.pilot.click(offset=(box.region.x + 1, box.region.bottom - 2))  # inside
            assert stage.app.has_dialog
            await stage.pilot.click(offset=(box.region.x + 3, box.region.bottom - 1))
            await stage.until(lambda: not stage.app.has_dialog)
        await stage.press("b")
        await stage.press("question_mark")
        await stage.until(lambda: stage.app.has_dialog)
        await stage.pilot.click(offset=(0, 15))  # beside it
        await stage.until(lambda: not stage.app.has_dialog)
        bar = stage.text.splitlines()[-1]
        await stage.pilot.click("KeyBar", offset=(bar.index("quit") + 1, 0))
        await stage.shows("a second click quits, or q")
        assert stage.app.is_running
        await stage.pilot.click("KeyBar", offset=(bar.index("quit") + 1, 0))
        await stage.until(lambda: stage.app._exit)


@in_loop
async def test_a_click_on_a_hint_opens_its_dialog() -> None:
    opens = {"track", "history", "models", "open", "export", "help"}
    async with explorer((200, 30)) as stage:
        await stage.run_done()
        bar, ends = stage.app.main.query_one(KeyBar), 0
        for hint in bar._shown:
            ends += hint.width
            if hint.action in opens:
                opens.remove(hint.action)
                await stage.pilot.click("KeyBar", offset=(ends - 1, 0))
                await stage.pilot.pause()
                assert stage.app.has_dialog, hint.action
                stage.app.screen.dismiss(None)
                await stage.until(lambda: not stage.app.has_dialog)
        assert not opens


@in_loop
async def test_a_view_without_a_box_closes_by_a_click_on_its_last_key_alone() -> None:
    async with explorer((100, 30)) as stage:
        await stage.run_done()
        await stage.press("9")
        await stage.shows("q closes")
        lines = stage.text.splitlines()
        y = next(at for at, line in enumerate(lines) if "q closes" in line)
        x = lines[y].index("q closes")
        for at in (1, x - 1, x + len("q closes")):
            await stage.pilot.click(offset=(at, y))
            assert stage.app.has_dialog
        await stage.pilot.click(offset=(x, y))
        await stage.until(lambda: not stage.app.has_dialog)


@in_loop
async def test_ctrl_z_suspends_in_dialogs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    suspended: list[bool] = []
    async with explorer((80, 24)) as stage:
        monkeypatch.setattr(
            type(stage.app), "action_suspend_process", lambda app: suspended.append(app.has_dialog)
        )
        await stage.run_done()
        await stage.press("e", "x", "ctrl+z", "escape")  # in the editor it takes back
        assert stage.app.main.editor.text == PROMPT
        assert suspended == []
        await stage.press("ctrl+z", "t", "ctrl+z")
        assert suspended == [False, True]


@in_loop
async def test_messages_go_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presenter, "NOTE_SECONDS", 0.2)
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        stage.app.say("a remark")
        assert "a remark" in stage.text or stage.app.state.note is not None
        await stage.until(lambda: stage.app.state.note is None)
        await stage.shows("top-1 for good")
        stage.app.say("a mistake", "error")
        await stage.pilot.pause(0.4)
        await stage.shows("a mistake")


# ---------------------------------------------------------------------- the question


@in_loop
async def test_what_is_typed_survives_the_presets_and_a_run_leads_to_the_table() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        editor = stage.app.main.editor
        await stage.press("e", *"!?", "escape", "right_square_bracket")
        await stage.shows("what you typed comes back with [")
        await stage.press("right_square_bracket", "left_square_bracket", "left_square_bracket")
        assert editor.text == PROMPT + "!?"
        await stage.press("e", "ctrl+r")
        await stage.run_done(2)
        assert stage.app.focused is stage.app.main.table
        assert stage.worker.questions[-1].prompt == PROMPT + "!?"


def test_the_ring_of_prompts() -> None:
    presets = tuple(Preset(text, f"s {text}", "s", "S") for text in "abc")
    assert step_preset(ring_of(presets, ["x"], "a"), "a", -1).prompt == "x"  # type: ignore[union-attr]
    assert step_preset(ring_of(presets, ["x"], "x"), "x", 1).prompt == "a"  # type: ignore[union-attr]
    assert step_preset(ring_of(presets, [], "a"), "a", -1).prompt == "c"  # type: ignore[union-attr]
    assert step_preset(ring_of((), [], ""), "", 1) is None


def test_a_line_holds_what_it_does_not_show() -> None:
    held = "a\nb\u200dc\x1b"
    assert with_change(held, stand_in_text(held)) == held
    for changed, now in (
        ("xa␊b\ufffdc␛", "xa\nb\u200dc\x1b"),
        ("a␊b\ufffdc␛\x1b[31m", "a\nb\u200dc\x1b\x1b[31m"),
        ("a␊c␛", "a\nc\x1b"),
        ("a␊b\ufffd␊c␛", "a\nb\u200d␊c\x1b"),
        ("", ""),
    ):
        assert with_change(held, changed) == now
    assert with_change("aa\n\n", "a␊␊") == "a\n\n"
    assert with_change("", "aa") == "aa"


@pytest.mark.parametrize("size", FOUR_SIZES[:1])
@in_loop
async def test_settings_are_changed_in_the_app(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("S")
        await stage.until(lambda: isinstance(stage.app.screen, SettingsForm))

        async def put(**values: str) -> None:
            for name, value in values.items():
                stage.app.screen.query_one(f"#{name}", Input).value = value
            await stage.press("enter")

        await put(top_k="0")
        await stage.shows("top-k: a number from 1 to 100")
        await put(top_k="      5", seed="9" * 30)
        await stage.shows("seed: a whole number")
        await put(top_k="2", asked="maybe")
        await stage.shows("asked: chat, raw")
        await put(asked="raw", system="", prefix="It is", seed="7", norm="on")
        await stage.until(lambda: not stage.app.has_dialog)
        await stage.shows("asks with these settings")
        assert stage.app.state.top_k == 2
        assert stage.app.seed == 7
        state, system = stage.app.state, "Be brief.\nBe\u200d kind.\x1b"
        state.question = replace(state.question, system=system)
        await stage.press("S")
        await stage.shows("Be brief.␊Be\ufffd kind.␛")
        await stage.press("home", "delete", "end", "exclamation_mark", "enter")
        await stage.until(lambda: not stage.app.has_dialog)
        assert state.question.system == system[1:] + "!"
        state.question = replace(state.question, system=None)
        await stage.press("r")
        await stage.run_done(2)
        asked = stage.worker.questions[-1]
        assert (asked.chat, asked.prefix, asked.top_k, asked.system) == (False, "It is", 2, None)
        await stage.press("S", *["down"] * 7, *["backspace"] * 4, *"bfloat16", "enter")
        await stage.run_done(3)
        assert stage.app.asker.options is not None
        assert stage.app.asker.options.dtype == "bfloat16"


# ---------------------------------------------------------------------- pictures and paths


def test_paths_as_terminals_paste_them() -> None:
    assert pasted_path(" /a/b.png\n") == "/a/b.png"
    assert pasted_path("'/a/b c.png' ") == "/a/b c.png"
    assert pasted_path('"/a/b.png"') == "/a/b.png"
    assert pasted_path("/a/b\\ c.png") == "/a/b c.png"
    assert pasted_path("file:///a/b%20c.png") == "/a/b c.png"
    assert pasted_path("'unbalanced") == "'unbalanced"
    assert pasted_path("/a.png\n/b.png") == "/a.png"
    assert pasted_path("") == ""


def make_pictures(folder: Path) -> list[Path]:
    from PIL import Image

    paths = [folder / name for name in ("a.png", "b.png", "c c.png")]
    for index, path in enumerate(paths):
        Image.new("RGB", (20, 20), (index * 40, 0, 0)).save(path)
    return paths


@in_loop
async def test_a_pasted_path_opens_and_the_folder_is_walked(tmp_path: Path) -> None:
    first, second, third = make_pictures(tmp_path)
    startup = {"question": Question(prompt=PROMPT, picture=Picture(str(first))),
               "no_picture": False}  # fmt: skip
    async with explorer((100, 30), startup=startup) as stage:
        await stage.run_done()

        def shown() -> str:
            picture = stage.app.state.question.picture
            return picture.path if picture is not None else ""

        await stage.press("right_curly_bracket")
        await stage.until(lambda: shown() == str(second))
        await stage.press("left_curly_bracket")
        await stage.until(lambda: shown() == str(first))
        await stage.press("left_curly_bracket")
        await stage.shows("this is the first of 3 pictures here")
        question = stage.app.state.question
        stage.app.state.question = replace(question, picture=Picture("./b.png"))
        await stage.press("right_curly_bracket")
        await stage.until(lambda: shown() == "c c.png")
        stage.app.post_message(events.Paste(f"'{third}' "))
        await stage.until(lambda: shown() == str(third))
        stage.app.post_message(events.Paste("no such thing"))
        await stage.shows("no file of this name: no such thing")
        await stage.press("e")
        stage.app.post_message(events.Paste(str(first)))
        await stage.until(lambda: stage.app.main.editor.text.endswith(str(first)))
        await stage.pilot.pause()
        assert shown() == str(third)  # what is pasted into the prompt is text
        stage.app.main.editor.load_text(PROMPT)
        await stage.press("escape", "Q")
        await stage.until(lambda: isinstance(stage.app.screen, History))
        await stage.run_done(4)
        asked = [question.picture.path for question in stage.worker.questions[1:]]  # type: ignore[union-attr]
        assert asked == [str(first), str(second), str(third)]


# ---------------------------------------------------------------------- comparison and plot


@in_loop
async def test_a_comparison_shows_both_details_and_the_difference_in_points() -> None:
    left, right = make_view(1, "Shape:"), make_view(2, "Colour:", forms_at=8)
    said = ["reading position 1"]
    play = Compare(left, right, PairContext(ascii_only=False, want=lambda *_: said[-1]))
    async with on_stage(play, (100, 30)) as stage:
        assert "pt" in stage.line("Δ")
        await stage.press("G", "g", "enter", "j")
        assert play.query_one(PairDetail).display
        assert stage.text.count("layer 1 ") == 2
        detail = play.query_one(PairDetail)
        found = [each for each in explained_on(stage.app.screen) if each.widget is detail]
        for text in ("layer", "entropy"):  # of both halves
            assert {each.region.x // 50 for each in found if each.text == text} == {0, 1}, text
        more = make_rows(10, 5, top_k=40)[1]
        last = Token(id=7777, text=" zebra", probability=1e-9, logit=None)
        left.deepened[1] = replace(more, top=(*more.top, last))
        await stage.press("g", "j", "K")
        assert "zebra" not in stage.text
        await stage.press(*"JJJJJJ")  # of the other side no more is known
        assert stage.text.count("zebra") == 1
        assert stage.text.count("layer 1 ") == 2
        await stage.press(*"KKKKKK")
        assert "zebra" not in stage.text
        await stage.press("G", "k")
        assert "points" in stage.lines[0]
        assert "%" not in stage.line("Δ")
        await stage.press("p")
        await stage.until(lambda: stage.text.count("no picture") == 2)
        table = play.table
        assert len(table.rows) == 11
        assert table.rows[6][4] == "no"
        await stage.press("enter")
        play.go((1, 1))
        await stage.until(lambda: "reading position 1" in stage.text)
        said.append("it cannot be read")
        play.hear([Trouble("too long")])
        await stage.until(lambda: "it cannot be read" in stage.text)
        assert "reading" not in stage.text
        for side in (left, right):
            side.run = replace(side.run, others=(OtherPosition(1, tuple(side.rows)),))
        play.hear([Trouble("of something else")])
        await stage.pilot.resize_terminal(200, 40)
        await stage.until(lambda: stage.text.count("next here") == 2)
        heads = [
            each
            for each in explained_on(stage.app.screen)
            if each.text in ("moved", "next here", "raw")
        ]
        assert len({(each.text, each.region.x // 100) for each in heads}) == 6
        marks = [each for each in explained_on(stage.app.screen) if each.term.word == "moved, left"]
        sides = {each.region.x // 100 for each in marks if each.kind is Kind.MARKS}
        assert sides == {0, 1}
        assert unexplained_on(stage.app.screen) == []
        await stage.press("P")
        assert isinstance(stage.app.screen, RunsPlot)


@in_loop
async def test_a_comparison_is_copied_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    async with explorer((120, 40)) as stage:
        await stage.run_done()
        await stage.press("e", "?", "ctrl+r")
        await stage.run_done(2)
        await stage.press("b", "Y")
        assert stage.app.clipboard.startswith("left_row\tleft")
        assert len(stage.app.clipboard.splitlines()) == 12
        await stage.press("y")
        assert len(stage.app.clipboard.splitlines()) == 2
        await stage.press("x", "enter")
        await stage.until(lambda: (tmp_path / "two-runs.csv").is_file())
        await stage.press("x", "enter")
        await stage.shows("this file exists: enter again replaces it")
        line = stage.app.screen.query_one(Input)
        for name, objection in (
            ("a" * 300 + ".csv", "not a possible file name"),
            ("a.gif", "the name must end with"),
            ("none/a.csv", "no such folder"),
        ):
            line.value = name
            await stage.press("enter")
            await stage.shows(objection)
        line.value = "~/own.csv"
        await stage.press("enter")
        await stage.until(lambda: (tmp_path / "home" / "own.csv").is_file())


@in_loop
async def test_runs_are_marked_and_plotted_together() -> None:
    views = [make_view(index, f"q{index}:", forms_at=3 + index) for index in range(4)]
    async with on_stage(History(make_state(*views), ascii_only=False), (120, 40)) as stage:
        await stage.press("g", "space", "j", "space", "j", "space")
        assert "3 marked: b compares, P plots them" in stage.text
        await stage.press("P")
        assert isinstance(stage.app.screen, RunsPlot)
        await stage.until(lambda: "3 runs: p of the first run's answer" in stage.text)
        assert "q0:" in stage.text and "q2:" in stage.text and "q3:" not in stage.text
        await stage.press("asterisk")
        await stage.until(lambda: "3 runs: p of its own answer" in stage.text)


@in_loop
async def test_a_plot_of_many_runs_names_each_and_says_only_what_is_known() -> None:
    views = [make_view(index, f"q{index}:") for index in range(10)]
    strange = make_view(10, "strange:")
    strange.run = replace(strange.run, tracked=())
    end, other = strange.rows[-1], Token(id=7777, text=" other", probability=0.9, logit=None)
    strange.rows[-1] = replace(end, top=(other,), answer=None)
    async with on_stage(RunsPlot([*views, strange], ascii_only=False), (120, 50)) as stage:
        assert [f"{letter} q" in stage.text for letter in "abcdefghij"] == [True] * 10
        assert stage.text.count("not known at the end") == 1


@in_loop
async def test_the_plot_has_the_answer_first_and_all_that_was_top_1_on_request() -> None:
    async with explorer((120, 40)) as stage:
        await stage.run_done()
        await stage.press("P")
        await stage.shows("and 2 more")
        await stage.press("asterisk")
        await stage.shows("the plot has every token that is top-1")
        await stage.until(lambda: "and 2 more" not in stage.text)


# ---------------------------------------------------------------------- help, palette, themes


@in_loop
async def test_help_is_filtered_and_explains_what_stands_on_the_screen() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        await stage.press("question_mark")
        await stage.shows("Glossary", "row  One line of the table")
        await stage.press("slash", *"undo", "enter")
        await stage.shows("help, /undo", "Bring a deleted run back")
        await stage.press("slash", *"zzz")
        await stage.shows("nothing says so")
        await stage.press("escape", "q", "backslash", "question_mark")
        await stage.until(lambda: isinstance(stage.app.screen, Help))
        await stage.shows("row  One line of the table", "marks of a row")
        assert "tail  Whatever" not in stage.text


def test_the_glossary_comes_first_and_a_filter_keeps_what_says_it() -> None:
    sections = help_sections(Keymap(), ascii_only=True)
    assert sections[0].title == GLOSSARY
    found = matching(sections, "rms")
    assert found[0].entries[0].name == "rms"
    (only,) = matching(sections, "", {"rms", "p"})
    assert {entry.name for entry in only.entries} == {"rms", "p"}


@pytest.mark.parametrize(
    ("typed", "best"),
    [("help", "help"), ("undo", "undo"), ("rms", "columns"), ("noise=999", "instead"),
     ("settings", "settings"), ("next position", "next-position"), ("quit", "leave"),
     ("system", "settings"), ("batch", "ask-every"), ("chart", "plot"),
     ("position", "next-position"), ("html", "export"), ("share", "export")],
)  # fmt: skip
def test_the_palette_finds_by_the_words_that_people_type(typed: str, best: str) -> None:
    choices = [
        Choice(action.id, action.title, section=action.group, words=WORDS.get(action.id, ""))
        for action in ACTIONS
        if action.palette
    ]
    assert best_first(choices, typed.split())[0].value == best


def test_every_word_is_of_an_action() -> None:
    assert set(WORDS) <= set(BY_ID)


def test_contrast() -> None:
    from textual.color import Color

    assert contrast(Color.parse("#ffffff"), Color.parse("#000000")) == pytest.approx(21)
    assert contrast(Color.parse("#777777"), Color.parse("#ffffff")) == pytest.approx(4.48, abs=0.01)
    assert legible("#333333", "#ffffff", "#000000") == "#333333"
    mixed = Color.parse(legible("#ffcc00", "#ffffff", "#000000"))
    assert contrast(mixed, Color.parse("#ffffff")) >= LEGIBLE
    assert legible("#ffffff", "#ffffff", "#fefefe") == "#FEFEFE"


@in_loop
async def test_the_answer_is_legible_in_every_theme() -> None:
    from textual.color import Color

    async with explorer((80, 24)) as stage:
        await check_themes(stage, Color.parse)


async def check_themes(stage: Stage, parse: object) -> None:
    from textual.color import Color

    names = [theme.name for theme in OWN]
    assert set(names) <= set(theme_names())
    for name in theme_names():
        theme = stage.app.get_theme(name)
        assert theme is not None
        if theme.ansi:
            continue  # the terminal's own colours, which nobody but the terminal knows
        stage.app.theme = name
        variables = stage.app.get_css_variables()
        answer, behind = (Color.parse(variables[each]) for each in ("answer", "background"))
        assert contrast(answer, behind) >= LEGIBLE, name
