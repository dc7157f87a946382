"""The view model of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from msgspec.structs import replace

from engine.counterfactuals.grammar import label
from engine.methods.deepen import DeepenReading
from engine.methods.seen import SeenReading
from engine.records import LayerReading, Reading, Request, Run, Token
from engine.stays import formation_row
from tui.text.numbers import number


class Phase(Enum):
    """The stages of a run."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass
class RunView:
    """The view model of one run."""

    run: Run
    rows: list[LayerReading] = field(default_factory=list)
    phase: Phase = Phase.RUNNING
    continuation: str = ""
    """The answer's text as generated so far, beginning with the answer's token."""
    continuing: bool = False
    saved: bool = False
    not_kept: str | None = None
    """Why the run, too large for a session file, is only shown; None if it is kept."""
    deepened: dict[int, LayerReading] = field(default_factory=dict)
    """Layer -> row with more top tokens than the session holds."""
    unsaved_readings: dict[str, Reading] = field(default_factory=dict)
    """Method -> its newest reading, for methods whose readings are not saved."""

    @classmethod
    def of(cls, run: Run, *, saved: bool = False) -> RunView:
        """Return the view of a finished run."""
        return cls(run, list(run.rows), Phase(run.status), saved=saved)

    @property
    def complete(self) -> bool:
        """Whether the last row has been read."""
        return len(self.rows) == self.run.layers + 1

    @property
    def refused(self) -> str | None:
        """Why the rows cannot be trusted, or None."""
        proof = self.run.proof
        if proof is None or proof.passed:
            return None
        return self.run.error or (
            f"its last row differs from the model's by {number(proof.max_abs_difference)}, "
            f"more than {number(proof.tolerance)}"
        )

    @property
    def answer(self) -> Token | None:
        """Top-1 of the last row; None until it is known."""
        return self.rows[-1].top[0] if self.complete and self.rows[-1].top else None

    @property
    def formation(self) -> int | None:
        """The formation row: the first from which the answer stays top-1; None until it is
        known."""
        if self.run.formation is not None:
            return self.run.formation
        return formation_row(self.rows) if self.complete else None

    def reading(self, layer: int) -> LayerReading | None:
        """Return a row, with more of its top tokens where they have been read; None before it is
        read."""
        known = next((row for row in self.rows if row.layer == layer), None)
        return self.deepened.get(layer, known)

    @property
    def name(self) -> str:
        """The run's name in lists: its title or else its prompt, and what replaced its picture."""
        if self.run.title:
            return self.run.title
        counterfactual = self.run.question.counterfactual
        instead = f" [{label(counterfactual)}]" if counterfactual is not None else ""
        return self.run.question.prompt + instead

    @property
    def leaders(self) -> tuple[Token, ...]:
        """The tokens that are top-1 in any row so far, in order of first appearance."""
        first: dict[int, Token] = {}
        for row in self.rows:
            if row.top:
                first.setdefault(row.top[0].id, row.top[0])
        return tuple(first.values())

    @property
    def hues(self) -> dict[int, int]:
        """Token id -> index of its colour in every view of this run, counted from 0: first the
        leaders, then tracked tokens. Other tokens have none."""
        ids = [token.id for token in self.leaders]
        ids += [tracked.id for tracked in self.run.tracked if tracked.why == "user"]
        return {token: index for index, token in enumerate(dict.fromkeys(ids))}

    @property
    def counterfactual(self) -> str:
        """The name of what was shown instead of the picture; empty if the picture was shown."""
        counterfactual = self.run.question.counterfactual
        return counterfactual.name if counterfactual is not None else ""

    @property
    def has_picture(self) -> bool:
        """Whether the question has a picture."""
        return self.run.question.picture is not None

    def take(
        self, reading: Reading, why_not: Callable[[Run], str | None] = lambda _: None
    ) -> str | None:
        """Add a reading. `why_not` says why a run could not be saved; a reading with which this one
        could not is only shown, and the reason returned."""
        if isinstance(reading, DeepenReading):
            # Tokens read for the detail pane are shown but not saved: how many tokens a
            # file holds must not depend on where the cursor has rested.
            self.deepened[reading.row.layer] = reading.row
            return None
        merged = reading.merged(self.run)
        if merged == self.run:
            self.unsaved_readings[reading.method] = reading
            return None
        reason = why_not(merged)
        if reason is not None:
            self.unsaved_readings[reading.method] = reading
            return reason
        self.run, self.saved = merged, False
        return None

    def reading_of(self, method: str, request: Request | None = None) -> Reading | None:
        """Return the newest reading of a method, or the one that answers this request, or None."""
        shown = self.unsaved_readings.get(method)
        for known in (*([shown] if shown is not None else []), *reversed(self.run.readings)):
            if known.method == method and (request is None or known.fulfils(request)):
                return known
        return None

    @property
    def seen(self) -> SeenReading | None:
        """What the model saw of the picture; None until that has been read."""
        known = self.unsaved_readings.get("seen")
        return known if isinstance(known, SeenReading) else None

    def untrack(self, token: int) -> None:
        """Stop tracking a token; leaders and the answer stay tracked."""
        leaders = {leader.id for leader in self.leaders}
        kept = []
        for known in self.run.tracked:
            if known.id != token or known.why == "answer":
                kept.append(known)
            elif token in leaders:
                kept.append(replace(known, why="top-1"))
        self.run = replace(self.run, tracked=tuple(kept))
        self.saved = False

    @property
    def worth_keeping(self) -> bool:
        """Whether the run belongs into a session file. A counterfactual that this model cannot
        take belongs there too, with its reason."""
        said_no = self.run.question.counterfactual is not None and self.phase is Phase.FAILED
        return (bool(self.rows) or said_no) and self.refused is None and self.not_kept is None

    def frozen(self) -> Run:
        """Return the run as it would be saved now; a running one is saved as cancelled."""
        if self.phase is Phase.RUNNING:
            return replace(self.run, status="cancelled", rows=tuple(self.rows))
        return self.run
