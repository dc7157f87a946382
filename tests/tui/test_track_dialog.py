"""Typing a token to follow: its spellings, marks, what is tracked already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.events import Spelling, SpellingsFound
from tests.tui.dialog_stage import HOSTILE, Stage, Theatre
from tests.tui.stage import ONE_SIZE, in_loop
from tui.views.plot.track_dialog import TrackDialog

TRACKED = ((17, " cylinder"), (40, " red"))


class Teller(Theatre):
    """Answers like the worker, when it is let."""

    def __init__(
        self, tracked: tuple[tuple[int, str], ...], *, reason: str, ascii_only: bool
    ) -> None:
        self.dialog = TrackDialog(tracked, self.ask, reason=reason, ascii_only=ascii_only)
        super().__init__(self.dialog)
        self.wanted: list[str] = []
        self.deaf = False

    def ask(self, typed: str) -> None:
        self.wanted.append(typed)
        if not self.deaf:
            self.call_later(self.dialog.hear, [found(typed)])


def found(typed: str) -> SpellingsFound:
    if typed == "zzz":
        return SpellingsFound(typed, ())
    first = 300 + 10 * (ord(typed[0]) % 97)
    return SpellingsFound(
        typed,
        (
            Spelling(first, f" {typed}", f" {typed}", True),
            Spelling(first + 1, typed, typed, True),
            Spelling(first + 2, f" {typed[:2]}", f" {typed.capitalize()}", False),
        ),
    )


@asynccontextmanager
async def dialog(
    tracked: tuple[tuple[int, str], ...] = (),
    *,
    reason: str = "",
    ascii_only: bool = False,
    size: tuple[int, int] = (120, 40),
) -> AsyncIterator[tuple[Stage, Teller]]:
    app = Teller(tracked, reason=reason, ascii_only=ascii_only)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Stage(app, pilot), app


async def shows(stage: Stage, words: str) -> None:
    for _ in range(250):
        if words in stage.text:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(stage.text)


@pytest.mark.parametrize("size", ONE_SIZE)
@in_loop
async def test_all_spellings_are_offered_with_ids(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rest that no machine, however loaded, takes between two keys.
    monkeypatch.setattr("tui.views.plot.track_dialog._REST_SECONDS", 1.0)
    async with dialog(TRACKED, size=size) as (stage, app):
        await stage.press(*"cube")
        await shows(stage, "whole token")
        assert app.wanted == ["cube"]  # once, when the typing rests
        assert "320" in stage.line("␣cube ")
        assert "first piece of ␣Cube" in stage.line("322")
        assert "tracked" in stage.line("␣cylinder")
        await stage.press("enter")
        assert app.results == [(*TRACKED, (320, " cube"))]


@in_loop
async def test_several_words_and_marks() -> None:
    async with dialog() as (stage, app):
        await stage.press(*"cube, oval ,")
        await shows(stage, "␣oval")
        assert {"cube", "oval"} <= set(app.wanted)
        # Where letters come more slowly than the dialog waits, it asks for what is there by then.
        assert all("cube".startswith(word) or "oval".startswith(word) for word in app.wanted)
        await stage.press("tab", "down", "down", "down", "tab", "down", "tab", "tab")
        assert "●" in stage.line("␣cube ")
        await stage.press("enter")
        assert app.results == [((320, " cube"), (440, " oval"))]


@in_loop
async def test_the_cursor_stays_on_a_token_that_more_come_around() -> None:
    async with dialog(TRACKED) as (stage, app):
        app.deaf = True
        await stage.press("down", *"ab")
        await stage.press("down")
        app.dialog.hear([found("ab")])
        await stage.press("tab", "enter")
        assert app.results == [(TRACKED[0],)]  # the second one was under the cursor


@in_loop
async def test_enter_waits_for_the_answer() -> None:
    async with dialog(TRACKED) as (stage, app):
        app.deaf = True
        await stage.press(*"ab", "enter")
        assert "looking for its tokens" in stage.text
        assert app.results == []
        app.dialog.hear([found("ab")])
        await stage.press("enter")
        assert app.results == [(*TRACKED, (300, " ab"))]


@in_loop
async def test_what_is_tracked_can_be_let_go() -> None:
    async with dialog(TRACKED) as (stage, app):
        assert "●" in stage.line("␣red")
        await stage.press("down", "tab")
        assert "○" in stage.line("␣red")
        await stage.press("enter")
        assert app.results == [(TRACKED[0],)]


@in_loop
async def test_a_word_without_a_token_is_named() -> None:
    async with dialog() as (stage, app):
        await stage.press(*"zzz")
        await shows(stage, "no token begins like this: zzz")
        await stage.press("enter")
        assert app.results == [()]


@in_loop
async def test_a_comma_alone_is_a_word() -> None:
    async with dialog() as (stage, app):
        await stage.press(",")
        await shows(stage, "␣, ")
        assert app.wanted == [","]


@in_loop
async def test_without_the_model_only_the_sessions_tokens() -> None:
    reason = "other tokens need the model: L loads it"
    async with dialog(TRACKED, reason=reason) as (stage, app):
        await stage.press(*"cube")
        await asyncio.sleep(0.4)
        assert app.wanted == []
        assert reason in stage.text
        assert "␣red" in stage.text
        await stage.press("tab", "enter")
        assert app.results == [(TRACKED[1],)]


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
@in_loop
async def test_it_closes_without_a_change(key: str) -> None:
    async with dialog(TRACKED) as (stage, app):
        await stage.press("tab", key)
        assert app.results == [None]


@pytest.mark.parametrize("ascii_only", [True, False])
@in_loop
async def test_hostile_tokens_are_shown_safely(ascii_only: bool) -> None:
    async with dialog(((5, HOSTILE),), ascii_only=ascii_only, size=(80, 24)) as (stage, app):
        await stage.press("[")
        spellings = tuple(Spelling(n, HOSTILE, HOSTILE * 9, False) for n in range(40))
        app.dialog.hear([SpellingsFound("[", spellings)])
        await stage.pilot.pause()
        assert "\\x1b]0;x\\x07" in stage.text
        assert stage.text.isascii() == ascii_only
        await stage.pilot.resize_terminal(60, 16)
        await stage.pilot.pause()
        assert "\\x1b]0;x\\x07" in stage.text


@in_loop
async def test_the_best_spelling_of_every_word_is_taken_at_once() -> None:
    async with dialog() as (stage, app):
        await stage.press(*"cube, oval")
        await shows(stage, "enter tracks 2 tokens: the best spelling of each word")
        await stage.press("enter")
        assert app.results == [((320, " cube"), (440, " oval"))]
