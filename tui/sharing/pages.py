"""What the pages of Lenscope's command line and explorer say beyond their session."""

from __future__ import annotations

from msgspec.structs import replace

from engine.events import LoadOptions
from engine.pages.page import About
from engine.pages.shown import Again
from engine.records import Run, Session
from engine.system.stamps import now
from tui.sharing.reproduce import as_command, as_python
from tui.text.glossary import OWN, STANDARD


def about_page(options: LoadOptions | None = None) -> About:
    """Return the glossary, and the command and the Python that ask each run again; `options` says
    how the model was loaded, where that is known."""

    def again(run: Run) -> Again:
        return Again(as_command(run, options), as_python(run, options))

    return About(tuple((term.word, term.meaning) for term in (*STANDARD, *OWN)), again)


def with_compared(run: Run, session: Session | None) -> Session:
    """Return a session of this run and, from another session, of all runs with which it was
    compared."""
    alone = Session(created=run.created, saved=now(), runs=(run,))
    if session is None:
        return alone
    found = [each for each in session.comparisons if run.id in (each.of, each.against)]
    ids = {each for one in found for each in (one.of, one.against)} - {run.id}
    others = tuple(other for other in session.runs if other.id in ids)
    held = {run.id, *(other.id for other in others)}
    kept = tuple(each for each in found if {each.of, each.against} <= held)
    return replace(alone, runs=(run, *others), comparisons=kept)
