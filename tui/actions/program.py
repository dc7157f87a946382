"""Actions on the program itself: help, palette, theme, focus, suspending, quitting."""

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
    """Open the glossary."""
    from tui.views.help.glossary import Glossary

    app.push_screen(Glossary(ascii_only=app.startup.ascii))


def palette(app: Explorer) -> None:
    """Open the command palette."""
    app.action_command_palette()


def theme(app: Explorer) -> None:
    """Choose a theme."""
    app.search_themes()


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
    """Quit at once; unsaved runs are kept."""
    if app.leaving.keep():
        app.exit(return_code=0 if app.leaving.kept_well else 1)
