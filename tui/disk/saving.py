"""Writing the session on request, and when the explorer closes for whatever reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.errors import LenscopeError
from engine.system.files import reason_of
from tui.disk.paths import (
    kept_session_path,
    new_session_path,
    short_path,
    temporary_session_path,
)
from tui.disk.shared_file import Saved, save_shared
from tui.state.view_state import ViewState
from tui.text.numbers import count_of_runs
from tui.text.show import plain_line

_Place = Callable[[], Path]


@dataclass(frozen=True)
class Kept:
    """What has become of unsaved runs."""

    line: str | None
    """A line about it, or None where there was nothing to keep."""
    well: bool
    """Whether nothing is lost."""
    path: Path | None = None


def save_session(state: ViewState, row: int) -> None:
    """Write the session to its file, or to a new one in the working directory, and say where.

    Where the file has been changed by someone else meanwhile, what is in it stays in it; where
    there is no working directory, or it cannot be written to, the session goes elsewhere.
    """
    if not state.session(row=row, with_live=False).runs:
        state.say("nothing to save yet: r runs the question")
        return
    refusals: list[str] = []
    saved: Saved | None = None
    if state.session_path is not None:
        try:
            saved = save_shared(state, row, state.session_path)
        except (LenscopeError, OSError, MemoryError) as error:
            refusals.append(_reason(error))
    if saved is None:
        places = (new_session_path, kept_session_path)
        path = _write_somewhere(state, row, places, refusals, with_live=False)
        if path is None:
            state.say(f"not saved: {'; '.join(refusals)}", "error")
            return
        saved = Saved(path, "; ".join(refusals))
    because = f" ({saved.note})" if saved.note else ""
    runs = count_of_runs(len(state.session(row=row, with_live=False).runs))
    state.say(f"saved {runs} to {short_path(saved.path)}{because}", "good")


def keep_unsaved(state: ViewState, row: int) -> Kept:
    """Write unsaved runs to the state folder; where that refuses, to the working folder, or else
    to a folder for temporary files."""
    if not state.unsaved:
        return Kept(None, well=True)
    places = (kept_session_path, new_session_path, temporary_session_path)
    refusals: list[str] = []
    path = _write_somewhere(state, row, places, refusals, with_live=True)
    why = "; ".join(refusals)
    if path is None:
        return Kept(f"unsaved runs cannot be written anywhere ({why})", well=False)
    because = f" ({why})" if why else ""
    return Kept(f"unsaved runs are in {path}{because}", well=True, path=path)


def _write_somewhere(
    state: ViewState, row: int, places: Sequence[_Place], refusals: list[str], *, with_live: bool
) -> Path | None:
    """Write the session to the first place that takes it; return it, and add to `refusals` why
    others did not."""
    from engine.sessions import write_session

    session = state.session(row=row, with_live=with_live)
    for place in places:
        path: Path | None = None
        try:
            path = place()
            write_session(session, path)
        except (LenscopeError, OSError, MemoryError) as error:
            reason = _reason(error)
            if reason not in refusals:
                refusals.append(reason)
            _remove_empty(path)
        else:
            state.mark_saved(session, None if with_live else path)
            return path
    return None


def _remove_empty(path: Path | None) -> None:
    """Remove a file that was claimed and never written."""
    with suppress(OSError):
        if path is not None and path.stat().st_size == 0:
            path.unlink()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        name = f"{short_path(Path(error.filename))}: " if error.filename else ""
        return plain_line(f"{name}{reason_of(error)}")
    return plain_line(str(error) or type(error).__name__)
