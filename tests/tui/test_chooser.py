"""Lists that filter: choosing one of many, a prompt, anything typed."""

from __future__ import annotations

import pytest
from textual.geometry import Region
from textual.widget import Widget

from tests.tui.dialog_stage import HOSTILE, Stage, on_stage
from tests.tui.stage import ONE_SIZE, in_loop
from tui.state.presets import read_presets
from tui.views.prompt.prompt_menu import PromptMenu
from tui.widgets.choice_list import ChoiceList
from tui.widgets.chooser import Choice, Chooser
from tui.widgets.later import draw_later

at_one_size = pytest.mark.parametrize("size", ONE_SIZE)

FRUIT = (
    Choice("apple", "Apple", "red", "recent"),
    Choice("pear", "Pear", "green", "recent"),
    Choice("plum", "Plum", "blue", "others"),
    Choice("apple pie", "Apple pie", "brown", "others"),
)


def fruit(*, ascii_only: bool = False, free: str = "") -> Chooser:
    return Chooser("fruit", FRUIT, ascii_only=ascii_only, free=free)


def under_cursor(stage: Stage) -> str:
    choices = stage.app.screen.query_one(ChoiceList)
    assert choices.highlighted is not None
    return choices.render_line(choices.highlighted - choices.scroll_offset.y).text.strip()


@at_one_size
@in_loop
async def test_typing_filters_by_all_words_in_any_case(size: tuple[int, int]) -> None:
    async with on_stage(fruit(), size) as stage:
        for words in ("recent", "Apple", "red", "Pear", "others", "Plum", "Apple pie"):
            assert words in stage.text
        await stage.press(*"BROWN", "space", *"appl")
        assert "Pear" not in stage.text
        assert "recent" not in stage.text
        assert stage.line("Apple pie").rstrip(" │").endswith("brown")
        await stage.press("enter")
        assert stage.app.results == ["apple pie"]


@in_loop
async def test_the_cursor_moves_over_headings_and_stays_at_the_ends() -> None:
    async with on_stage(fruit()) as stage:
        seen = [under_cursor(stage)]
        for _ in range(5):
            await stage.press("down")
            seen.append(under_cursor(stage))
        assert [line.split("  ")[0] for line in seen] == [
            "Apple", "Pear", "Plum", "Apple pie", "Apple pie", "Apple pie",
        ]  # fmt: skip
        await stage.press("pageup", "enter")
        assert stage.app.results == ["apple"]


@in_loop
async def test_what_is_typed_is_a_choice_only_where_it_may_be() -> None:
    async with on_stage(fruit(free="any fruit")) as stage:
        await stage.press(*"quince")
        assert stage.line("any fruit").strip("│ ").startswith("quince")
        await stage.press("enter")
        assert stage.app.results == ["quince"]
    async with on_stage(fruit()) as stage:
        await stage.press(*"quince", "enter")
        assert stage.app.results == [None]


@in_loop
async def test_what_the_typed_text_names_wins_over_what_it_is_a_part_of() -> None:
    choices = [Choice("a/b-large", "a/b-large"), Choice("a/b", "a/b")]
    async with on_stage(Chooser("x", choices, ascii_only=False)) as stage:
        await stage.press(*"a/b", "enter")
        assert stage.app.results == ["a/b"]


@in_loop
async def test_choices_that_come_later_move_neither_cursor_nor_filter() -> None:
    play = fruit()
    async with on_stage(play) as stage:
        await stage.press("p")  # what begins so comes before what only holds it
        assert under_cursor(stage).startswith("Pear")
        play.put((Choice("grape", "Grape", section="recent"), *FRUIT))
        await stage.pilot.pause()
        assert "Grape" in stage.text
        assert under_cursor(stage).startswith("Pear")
        play.put(FRUIT[:1])
        await stage.pilot.pause()
        assert under_cursor(stage).startswith("Apple")


@in_loop
async def test_a_remark_cannot_be_chosen() -> None:
    play = Chooser("x", [Choice("", "still looking")], ascii_only=False)
    async with on_stage(play) as stage:
        assert "still looking" in stage.text
        await stage.press("down", "enter")
        assert stage.app.results == [None]


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
@in_loop
async def test_it_closes_without_a_choice(key: str) -> None:
    async with on_stage(fruit()) as stage:
        await stage.press("q", key)
        assert stage.app.results == [None]


@pytest.mark.parametrize("ascii_only", [True, False])
@in_loop
async def test_hostile_text_stays_in_its_line(ascii_only: bool) -> None:
    choices = [Choice(f"{n}", f"{n}{HOSTILE}" * 5, HOSTILE, HOSTILE) for n in range(60)]
    play = Chooser("[/x] \x1b", choices, ascii_only=ascii_only, free=HOSTILE)
    async with on_stage(play, (80, 24)) as stage:
        assert stage.text.isascii() == ascii_only
        await stage.press(*"[/x]", "down")
        assert "[/x]" in stage.text
        await stage.press(*["backspace"] * 4, "down", "enter")
        assert stage.app.results == ["1"]


@in_loop
async def test_a_click_chooses_and_a_heading_does_not() -> None:
    async with on_stage(fruit()) as stage:
        await stage.pilot.click(ChoiceList, offset=(3, 0))
        assert stage.app.results == []
        await stage.pilot.hover(ChoiceList, offset=(3, 1))
        await stage.pilot.click(ChoiceList, offset=(3, 2))
        assert stage.app.results == ["pear"]


@in_loop
async def test_a_resize_lays_the_details_out_anew() -> None:
    async with on_stage(fruit(), (120, 40)) as stage:
        await stage.press("down")
        await stage.pilot.resize_terminal(60, 16)
        await stage.pilot.pause()
        assert stage.line("Pear").rstrip(" │").endswith("green")
        assert under_cursor(stage).startswith("Pear")


@in_loop
async def test_a_step_draws_two_lines_and_a_letter_only_what_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices = [Choice(f"m{n}", f"model {n}", "LlavaModel") for n in range(2000)]
    async with on_stage(Chooser("models", choices, ascii_only=False)) as stage:
        painted: list[int] = []
        refresh = Widget.refresh

        def noted(widget: Widget, *regions: Region, **how: bool) -> Widget:
            if isinstance(widget, ChoiceList):
                painted.append(len(regions))
            return refresh(widget, *regions, **how)

        monkeypatch.setattr(Widget, "refresh", noted)
        await stage.press("down")
        assert painted == [2]
        painted.clear()
        await stage.press("1")
        assert painted
        assert all(painted), "a refresh without regions paints all of it"
        assert "model 100 " in stage.text


@in_loop
async def test_the_prompt_menu_groups_presets_and_offers_what_was_asked() -> None:
    presets = read_presets()
    asked = (presets[0].prompt, "Is it [bold]?\x1b[31m", " ")
    async with on_stage(PromptMenu(presets, asked, ascii_only=False), (120, 60)) as stage:
        for preset in presets:
            assert preset.title in stage.text
            assert stage.line(f" {preset.prompt}").rstrip(" │").endswith(preset.place)
        assert "asked before" in stage.text
        assert "Is it [bold]?\\x1b[31m" in stage.text
        await stage.press(*"coco", "space", *"person", "enter")
        assert stage.app.results == ["What is the person doing?:"]


@in_loop
async def test_what_is_removed_draws_nothing_more() -> None:
    async with on_stage(fruit()) as stage:
        choices = stage.app.screen.query_one(ChoiceList)
        drawn: list[str] = []
        draw_later(choices, lambda: drawn.append("shown"))
        await stage.until(lambda: drawn)
        choices.remove()
        draw_later(choices, lambda: drawn.append("removed"))
        await stage.until(lambda: not stage.app.screen.query(ChoiceList))
        assert drawn == ["shown"]
