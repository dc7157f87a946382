"""The runs in the session, which of them is shown, and what a session file holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from engine.errors import LenscopeError
from engine.records import Comparison, Question, Run, Session
from engine.system.stamps import now
from tui.state.drafts import Drafts
from tui.state.run_view import Phase, RunView
from tui.state.session_file import KnownFile, combined
from tui.state.table_look import TableLook


class SessionState:
    """The content of the session, and which part of it is shown."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.runs: list[RunView] = []
        self.current: RunView | None = None
        self.drafts = Drafts()
        self.comparisons: dict[str, Comparison] = {}
        """Id of the counterfactual run -> its comparison with the picture's run."""
        self.look = TableLook(top_k=question.top_k)
        self.session_path: Path | None = None
        self._file: KnownFile | None = None
        self._reopened_bytes = 0
        self._added_bytes: dict[str, int] = {}
        self.revision = 0
        """Incremented by every change that a journal of the session should hold."""
        self._watchers: list[Callable[[], None]] = []
        self._deleted: list[tuple[int, RunView]] = []
        self._edited = False
        self._created = now()
        self._view: dict[str, Any] = {}
        self._places: dict[str, int] = {}
        self.unfolded = False
        """Whether every patch of the picture is shown, and walked, by itself."""

    @property
    def place(self) -> int | None:
        """The position under the cursor, in the tokens of the shown run; None for its own."""
        return self._places.get(self.current.run.id) if self.current is not None else None

    @place.setter
    def place(self, position: int | None) -> None:
        if self.current is None:
            return
        own = self.current.run.position
        self.current.before = None  # of another position these rows would be
        if position is None or self.current.place(position) == own:
            self._places.pop(self.current.run.id, None)
        else:
            self._places[self.current.run.id] = position

    @property
    def here(self) -> RunView | None:
        """The shown run at the position under the cursor, without rows while they are not read."""
        if self.current is None:
            return None
        place = self.current.place(self.place)
        reason = f"position {place} has not been read"
        return self.current.at(place) or self.current.blank_at(place, reason)

    def when_revised(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` whenever the revision changes."""
        self._watchers.append(watcher)

    def revise(self) -> None:
        """Increment the revision after a change."""
        self.revision += 1
        for watcher in self._watchers:
            watcher()

    @property
    def live(self) -> RunView | None:
        """The run whose pass is running, or None."""
        return next((run for run in reversed(self.shown) if run.phase is Phase.RUNNING), None)

    @property
    def shown(self) -> list[RunView]:
        """All runs that can be on the screen: those of the session, and the draft."""
        return self.runs if self.drafts.view is None else [*self.runs, self.drafts.view]

    @property
    def is_draft(self) -> bool:
        """Whether the run that is shown is not a part of the session."""
        return self.current is not None and self.current is self.drafts.view

    @property
    def unsaved(self) -> bool:
        """Whether anything has not been saved to a file."""
        if any(run.worth_keeping and not run.saved for run in self.runs):
            return True
        return self._edited and any(run.worth_keeping for run in self.runs)

    @property
    def unsaved_or_live(self) -> bool:
        """Whether anything, including a running run, belongs into a journal."""
        return self.unsaved or any(run.phase is Phase.RUNNING for run in self.runs)

    @property
    def top_k(self) -> int:
        """Tokens per layer in the table."""
        return self.look.top_k

    @top_k.setter
    def top_k(self, top_k: int) -> None:
        self.look = dataclasses.replace(self.look, top_k=top_k)

    def find(self, run_id: str | None) -> RunView | None:
        """Return a run by its id, or None."""
        return next((view for view in self.shown if view.run.id == run_id), None)

    def why_not_kept(self, run: Run) -> str | None:
        """Return why a run, as it is now, cannot be a part of the session, or None if it can:
        nothing is added to a session that could not be saved, or opened again."""
        from engine.sessions import MAX_BYTES, check_can_be_kept, run_size

        try:
            check_can_be_kept(run)
        except LenscopeError as error:
            return str(error)
        sizes = self._added_bytes | {run.id: run_size(run)}
        if self._reopened_bytes + sum(sizes.values()) > MAX_BYTES:
            return f"the session is full ({MAX_BYTES:,} bytes): save it and open a new one"
        self._added_bytes = sizes
        return None

    def switch(self, step: int) -> None:
        """Show the next or the previous run; a draft comes after all others."""
        if self.current is None or not self.runs:
            return
        if self.is_draft:
            self.current = self.current if step > 0 else self.runs[-1]
            return
        index = self.runs.index(self.current) + step
        self.current = self.runs[min(max(index, 0), len(self.runs) - 1)]

    def show(self, view: RunView) -> None:
        """Show this run."""
        if view in self.runs:
            self.current = view

    def rename(self, view: RunView, title: str) -> None:
        """Give a run a title; an empty one removes it."""
        view.run = replace(view.run, title=" ".join(title.split()) or None)
        view.saved = False
        self.revise()

    def annotate(self, view: RunView, line: str) -> None:
        """Give a run tags, the words of a line that begin with #, and a note, its others."""
        words = line.split()
        tags = tuple(dict.fromkeys(word[1:] for word in words if word[0] == "#" and word[1:]))
        note = " ".join(word for word in words if word[0] != "#") or None
        view.run = replace(view.run, tags=tags, note=note)
        view.saved = False
        self.revise()

    def untrack(self, view: RunView, token: int) -> None:
        """Stop tracking a token in a run."""
        view.untrack(token)
        self.revise()

    def delete(self, view: RunView) -> bool:
        """Remove a run from the session until `undo_delete`; return False for a running one."""
        if view.phase is Phase.RUNNING or view not in self.runs:
            return False
        index = self.runs.index(view)
        self.runs.pop(index)
        self._deleted.append((index, view))
        self._added_bytes.pop(view.run.id, None)
        self._edited = True
        if self.current is view:
            self.current = self.runs[min(index, len(self.runs) - 1)] if self.runs else None
        self.revise()
        return True

    def undo_delete(self) -> RunView | None:
        """Put the run deleted last back in its place and show it; return None where none was
        deleted."""
        if not self._deleted:
            return None
        index, view = self._deleted.pop()
        self.runs.insert(min(index, len(self.runs)), view)
        self.current = view
        self.revise()
        return view

    def drop(self, view: RunView) -> None:
        """Remove a run that is stored elsewhere and of which nothing is new, for good; one that the
        session's file holds stays."""
        if view in self.runs and not (self._file is not None and view.run.id in self._file.runs):
            self.runs.remove(view)
            self._added_bytes.pop(view.run.id, None)
            self._places.pop(view.run.id, None)
            self.revise()

    def picture_of(self, view: RunView) -> RunView:
        """Return the run with the picture to which a counterfactual belongs; else the run
        itself."""
        comparison = self.comparisons.get(view.run.id)
        return (self.find(comparison.of) if comparison is not None else None) or view

    def counterfactuals_of(self, view: RunView) -> list[RunView]:
        """Return the runs of the same question with something else instead of the picture."""
        ids = {known.against for known in self.comparisons.values() if known.of == view.run.id}
        return [other for other in self.runs if other.run.id in ids]

    def reopen(self, session: Session, path: Path | None) -> None:
        """Show a saved session; it replaces the present one."""
        self.runs = [RunView.of(run, saved=True) for run in session.runs]
        self._deleted, self._edited = [], False
        self._created = session.created
        self.comparisons = {known.against: known for known in session.comparisons}
        self._view = dict(session.view)
        self.session_path = path
        self._file = KnownFile.of(session, path) if path is not None else None
        self._reopened_bytes, self._added_bytes = _size_of(session, self._file), {}
        chosen = self._view.get("run")
        by_id = {view.run.id: view for view in self.runs}
        last = self.runs[-1] if self.runs else None
        self.current = by_id.get(chosen, last) if isinstance(chosen, str) else last
        self._places = {}
        self.drafts.drop()
        self.drafts.view = None
        place = self._view.get("place")
        if isinstance(place, int) and not isinstance(place, bool):
            self.place = place
        if self.current is not None:
            self.question = replace(self.current.run.question, model=None, text="")
            self.top_k = self.question.top_k

    @property
    def reopened_row(self) -> int | None:
        """The cursor's row when the reopened session was saved, or None."""
        row = self._view.get("row")
        return row if isinstance(row, int) and row >= 0 else None

    def session(self, *, row: int, with_live: bool) -> Session:
        """Return the session as a file should hold it."""
        kept = [
            view
            for view in self.runs
            if view.worth_keeping and (with_live or view.phase is not Phase.RUNNING)
        ]
        ids = {view.run.id for view in kept}
        view = dict(self._view, row=row)
        if self.current is not None and not self.is_draft:
            view["run"] = self.current.run.id
        view.pop("place", None)
        if self.place is not None and not self.is_draft:
            view["place"] = self.place
        return Session(
            created=self._created,
            saved=now(),
            runs=tuple(view.frozen() for view in kept),
            comparisons=tuple(
                comparison
                for comparison in self.comparisons.values()
                if {comparison.of, comparison.against} <= ids
            ),
            view=view,
        )

    def mark_saved(self, session: Session, path: Path | None = None) -> None:
        """Mark the runs of a session as saved, and remember its file if given."""
        ids = {run.id for run in session.runs}
        for view in self.runs:
            view.saved = view.saved or view.run.id in ids
        self._edited = False
        if path is not None:
            self.session_path, self._file = path, KnownFile.of(session, path)

    def knows_file(self, path: Path) -> bool:
        """Return whether the session's file is as it was when it was read or written here."""
        return self._file is not None and self._file.is_still(path)

    def take_in(self, theirs: Session) -> int:
        """Take in what someone else has written to the session's file; return how many of its runs
        are new or have changed. Runs that were deleted here stay deleted."""
        known = self._file.runs if self._file is not None else frozenset()
        changed = 0
        for run in theirs.runs:
            view = self.find(run.id)
            if view is None:
                if run.id in known:
                    continue
                self.runs.append(RunView.of(run, saved=True))
            elif view.run == run or view.phase is Phase.RUNNING:
                continue
            elif view.saved:
                view.run, view.rows, view.phase = run, list(run.rows), Phase(run.status)
            else:
                view.run = combined(view.run, run)
            changed += 1
        self.comparisons = {known.against: known for known in theirs.comparisons} | self.comparisons
        if changed:
            self.revise()
        return changed


def _size_of(session: Session, file: KnownFile | None) -> int:
    """Return about how many bytes a session takes in its file."""
    from engine.sessions import run_size

    if file is not None and file.status is not None:
        return file.status[1]
    return sum(run_size(run) for run in session.runs)
