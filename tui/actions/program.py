"""The program itself: help, palette, themes, panes, the way out."""

from __future__ import annotations

from tui.app import Explorer


def show_help(app: Explorer) -> None:
    """Open the help, or close it."""
    from tui.views.help.help import Help

    if isinstance(app.screen, Help):
        app.screen.dismiss()
    elif not app.has_dialog:
        app.push_screen(Help(app.keymap, ascii_only=app.startup.ascii))


def show_glossary(app: Explorer) -> None:
    """Explain the words."""
    from tui.views.help.glossary import Glossary

    app.push_screen(Glossary(ascii_only=app.startup.ascii))


def palette(app: Explorer) -> None:
    """Open the palette of all commands."""
    app.action_command_palette()


def theme(app: Explorer) -> None:
    """Choose a theme."""
    app.search_themes()


def next_pane(app: Explorer) -> None:
    """Give the next pane the focus."""
    app.screen.focus_next()


def previous_pane(app: Explorer) -> None:
    """Give the pane before the focus."""
    app.screen.focus_previous()


def suspend(app: Explorer) -> None:
    """Let the shell have the terminal, until `fg`."""
    app.action_suspend_process()


def leave(app: Explorer) -> None:
    """Quit at once; unsaved runs are kept."""
    if app.leaving.keep():
        app.exit(return_code=0 if app.leaving.kept_well else 1)
