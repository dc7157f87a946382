"""Actions on the program itself: help, palette, theme, focus, suspending, quitting."""

from __future__ import annotations

from functools import partial

from tui.actions.palette_words import WORDS
from tui.actions.registry import ACTIONS
from tui.app import Explorer
from tui.theme import theme_names
from tui.widgets.chooser import Choice, Chooser


def show_help(app: Explorer) -> None:
    """Open the help, or close it."""
    from tui.views.help.help import Help

    if isinstance(app.screen, Help):
        app.screen.dismiss()
    elif not app.has_dialog or app.two_runs is not None:
        app.push_screen(Help(app.keymap, ascii_only=app.startup.ascii))


def show_glossary(app: Explorer) -> None:
    """Open the help, in which the glossary comes first."""
    if not app.has_dialog or app.two_runs is not None:
        show_help(app)


def explain(app: Explorer) -> None:
    """Explain what stands where the cursor is; where nothing is explained, show the glossary."""
    from tui.views.help.explanation import explanation_of
    from tui.views.help.help import Help

    if not app.can_explain:
        return
    ascii_only = app.startup.ascii
    found = explanation_of(app.screen, app.keymap, ascii_only=ascii_only)
    app.push_screen(found or Help(app.keymap, ascii_only=ascii_only))


def palette(app: Explorer) -> None:
    """Open the list of all commands."""
    ascii_only = app.startup.ascii
    commands = [
        Choice(
            action.id,
            action.title,
            app.keymap.names(action, ascii_only=ascii_only),
            section=action.group,
            words=WORDS.get(action.id, ""),
        )
        for action in ACTIONS
        if action.palette
    ]
    app.push_screen(
        Chooser("commands", commands, ascii_only=ascii_only, hint="what to do"), partial(_do, app)
    )


def _do(app: Explorer, identity: str | None) -> None:
    if identity is None:
        return
    pair = app.two_runs
    (app.do if pair is None else pair.perform)(identity)


def theme(app: Explorer) -> None:
    """Choose a theme."""
    themes = [Choice(name, name, "in use" if name == app.theme else "") for name in theme_names()]
    app.push_screen(
        Chooser("themes", themes, ascii_only=app.startup.ascii), partial(_take_theme, app)
    )


def _take_theme(app: Explorer, name: str | None) -> None:
    if name is not None:
        app.theme = name


def redraw(app: Explorer) -> None:
    """Write the whole screen again."""
    app.redraw()


def next_pane(app: Explorer) -> None:
    """Focus the next pane."""
    app.screen.focus_next()


def previous_pane(app: Explorer) -> None:
    """Focus the previous pane."""
    app.screen.focus_previous()


def suspend(app: Explorer) -> None:
    """Suspend the program until `fg`."""
    app.action_suspend_process()


def leave(app: Explorer) -> None:
    """Quit at once; unsaved runs are kept. Where no place takes them, ask once more."""
    if app.leaving.keep_or_ask():
        app.exit(return_code=0 if app.leaving.kept_well else 1)
    else:
        app.presenter.show_lines()
