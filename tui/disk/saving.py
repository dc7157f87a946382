"""Writing the session on request, and when the explorer closes for whatever reason."""

from __future__ import annotations

from pathlib import Path

from engine.errors import LenscopeError
from tui.disk.paths import kept_session_path, new_session_path, short_path
from tui.state.view_state import ViewState
from tui.text.show import plain_line


def save_session(state: ViewState, row: int) -> None:
    """Write the session to its file, or to a new one in the working directory, and say where."""
    session = state.session(row=row, with_live=False)
    if not session.runs:
        state.say("nothing to save yet: r runs the question")
        return
    path = state.session_path or new_session_path()
    error = _write(state, row, path, with_live=False)
    if error is not None:
        state.say(f"not saved: {error}", "error")
        return
    state.mark_saved(session.runs, path)
    runs = f"{len(session.runs)} run{'s' if len(session.runs) > 1 else ''}"
    state.say(f"saved {runs} to {short_path(path)}", "good")


def keep_unsaved(state: ViewState, row: int) -> tuple[str | None, bool]:
    """Write unsaved runs to the state folder.

    Returns a line about it, or None where there was nothing to keep, and whether it succeeded.
    """
    if not state.unsaved:
        return None, True
    try:
        path = kept_session_path()
    except OSError as error:
        return f"unsaved runs are lost: {error.strerror or error}", False
    failure = _write(state, row, path, with_live=True)
    if failure is not None:
        return f"unsaved runs are lost: {failure}", False
    state.mark_saved(state.session(row=row, with_live=True).runs)
    return f"unsaved runs are in {path}", True


def _write(state: ViewState, row: int, path: Path, *, with_live: bool) -> str | None:
    from engine.sessions import write_session

    try:
        write_session(state.session(row=row, with_live=with_live), path)
    except (LenscopeError, OSError) as error:
        return plain_line(str(error))
    return None
