"""The view model of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from msgspec.structs import replace

from engine.counterfactuals.grammar import label
from engine.errors import BadInput
from engine.methods.answer import AnswerReading, answer_tokens, newest_answer
from engine.methods.deepen import DeepenReading
from engine.methods.grid import GridPart, GridReading
from engine.methods.seen import SeenReading
from engine.methods.words import WordsReading
from engine.records import (
    LayerReading,
    OtherPosition,
    Part,
    PromptToken,
    Question,
    Reading,
    Request,
    Run,
    Token,
)
from engine.stays import formation_row
from tui.state.grid_cells import GridCells
from tui.state.prompt_spans import Spans
from tui.text.numbers import number

KEPT: Final = 1000
"""Top tokens that are kept of a row, unless the user reads on: of a large vocabulary a whole row
takes some 30 MB."""
NEXT_HERE: Final = "next here"
"""What the best token of the last row is called at a position that is not the run's own."""


@dataclass(frozen=True)
class RowsBefore:
    """Whose rows stand in the table until a run's own come."""

    over: tuple[str, int]
    """The run and the position that the table showed when the run started: where it has shown
    another since, these rows are not in it any more."""
    parts: tuple[tuple[int, Question], ...]
    """From the top: up to which row (itself not included), and the question that they belong to."""


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
    saved: bool = False
    not_kept: str | None = None
    """Why the run, too large for a session file, is only shown; None if it is kept."""
    deepened: dict[int, LayerReading] = field(default_factory=dict)
    """Layer -> row with more top tokens than the session holds."""
    vocabulary: int | None = field(default=None, compare=False)
    """How many tokens there are, once a row has been read to its end."""
    unsaved_readings: dict[str, Reading] = field(default_factory=dict)
    """Method -> its newest reading, for methods whose readings are not saved."""
    blank: str = ""
    """Why there are no rows at this position, or what is being done about it."""
    before: RowsBefore | None = field(default=None, compare=False)
    """Whose rows stay on the screen until those of this run come; None where none do."""
    base: RunView | None = field(default=None, repr=False, compare=False)
    """Of a view of another position, the view of the whole run."""
    _deepened_at: dict[int, dict[int, LayerReading]] = field(default_factory=dict, compare=False)
    _whole: frozenset[tuple[int, int]] = field(default=frozenset(), compare=False)
    """The rows of which more than KEPT tokens are kept, each as a position and a row."""
    _more_hues: dict[int, int] = field(default_factory=dict, compare=False)
    _spans: dict[tuple[bool, int], Spans] = field(default_factory=dict, compare=False)
    _answered: tuple[Run, tuple[PromptToken, ...]] | None = field(default=None, compare=False)
    """The run whose newest answer's tokens are known, and these."""
    _cells: GridCells | None = field(default=None, compare=False)

    @classmethod
    def of(cls, run: Run, *, saved: bool = False) -> RunView:
        """Return the view of a finished run."""
        return cls(run, list(run.rows), Phase(run.status), saved=saved)

    # ------------------------------------------------------------------ positions

    @property
    def own(self) -> RunView:
        """The view of the run at its own position, which also has its readings: this one, unless
        it was made by `at`."""
        return self if self.base is None else self.base

    def place(self, wanted: int | None) -> int:
        """Return the position that is wanted, or the run's own if it is None or out of range."""
        own = self.own.run
        last = len(own.tokens) + len(self.answer_tokens) - 1
        return wanted if wanted is not None and 0 <= wanted <= last else own.position

    @property
    def whole_answer(self) -> AnswerReading | None:
        """The newest answer; its tokens stand at the positions after the prompt. None without one,
        or if it failed its proof."""
        found = newest_answer(self.own.run)
        return found if found is not None and found.worth_keeping else None

    @property
    def answer_tokens(self) -> tuple[PromptToken, ...]:
        """The tokens of the newest answer; none without one, or where it is damaged."""
        own = self.own
        if own._answered is None or own._answered[0] is not own.run:
            found = newest_answer(own.run)
            tokens: tuple[int, ...] = ()
            with suppress(BadInput):
                tokens = answer_tokens(own.run)
            texts = {} if found is None else found.texts
            made = tuple(
                PromptToken(token, texts.get(token, ""), "text", "prefix") for token in tokens
            )
            own._answered = (own.run, made)
        return own._answered[1]

    def token(self, position: int) -> PromptToken | None:
        """Return the token at a position of the prompt or of the answer; None beyond them."""
        prompt, answer = self.own.run.tokens, self.answer_tokens
        if 0 <= position < len(prompt):
            return prompt[position]
        index = position - len(prompt)
        return answer[index] if 0 <= index < len(answer) else None

    def at(self, position: int) -> RunView | None:
        """Return this run at one of its positions, with the rows and the tracked tokens there;
        None while it has not been read."""
        own = self.own
        if position == own.run.position:
            return own
        other = next((known for known in own.run.others if known.position == position), None)
        return None if other is None else own._at(other)

    def blank_at(self, position: int, reason: str) -> RunView:
        """Return this run at a position that has not been read, without rows; `reason` says why."""
        view = self.own._at(OtherPosition(position, ()))
        view.blank = reason
        return view

    def _at(self, other: OtherPosition) -> RunView:
        run = replace(
            self.run,
            position=other.position,
            rows=other.rows,
            tracked=other.tracked,
            others=(),
            formation=None,
        )
        deepened = self._deepened_at.setdefault(other.position, {})
        view = RunView(run, list(other.rows), self.phase, deepened=deepened, base=self)
        known = self.hues
        for token in view.leaders:
            if token.id not in known:
                self._more_hues.setdefault(token.id, len(known) + len(self._more_hues))
        return view

    def spans(self, *, unfolded: bool) -> Spans:
        """Return the prompt and the answer as they are walked."""
        return self._spans_with(len(self.answer_tokens), unfolded)

    def prompt_spans(self, *, unfolded: bool) -> Spans:
        """Return the prompt alone as it is walked."""
        return self._spans_with(0, unfolded)

    def _spans_with(self, answer: int, unfolded: bool) -> Spans:
        own, key = self.own, (unfolded, answer)
        if key not in own._spans:
            own._spans[key] = Spans.of(own.run.tokens, unfolded=unfolded, answer=answer)
        return own._spans[key]

    @property
    def cells(self) -> GridCells | None:
        """What is known of the run's grid; None if nothing is."""
        own = self.own
        if own._cells is None:
            found = [
                known for known in own.run.readings if isinstance(known, GridReading | WordsReading)
            ]
            if any(isinstance(known, GridReading) for known in found):
                for known in found:
                    own._take_cells(known)
        return own._cells

    def take_part(self, part: Part) -> None:
        """Take in a part of a reading that has been found before the whole."""
        if isinstance(part, GridPart):
            self.own._take_cells(part)

    def _take_cells(self, found: GridPart | GridReading | WordsReading) -> None:
        if self._cells is None:
            self._cells = GridCells()
        if isinstance(found, WordsReading):
            self._cells.add_words(found)
        else:
            self._cells.add(found)

    def keep_whole(self, position: int | None = None, rows: Iterable[int] = ()) -> None:
        """Keep more than KEPT tokens of these rows at a position, and forget what has been read
        beyond these of all others; without rows, of all. What arrives later is cut likewise."""
        own = self.own
        own._whole = frozenset((own.place(position), row) for row in rows)
        for place, read in ((own.run.position, own.deepened), *own._deepened_at.items()):
            for layer, row in read.items():
                read[layer] = own._cut(row, place)

    def _cut(self, row: LayerReading, position: int) -> LayerReading:
        if len(row.top) <= KEPT or (position, row.layer) in self.own._whole:
            return row
        return replace(row, top=row.top[:KEPT])

    def start_again(self, run: Run) -> None:
        """Forget all rows, since the run has been started once more."""
        self.run, self.phase = run, Phase.RUNNING
        self.rows.clear()
        self._deepened_at.clear()
        self._spans.clear()
        self._cells = None

    # ------------------------------------------------------------------ rows

    @property
    def complete(self) -> bool:
        """Whether the last row has been read."""
        return len(self.rows) == self.run.layers + 1

    @property
    def table(self) -> tuple[str, int]:
        """What a table of these rows shows: the run's id, and the position."""
        return self.run.id, self.run.position

    @property
    def still_before(self) -> tuple[tuple[int, Question], ...]:
        """The rows in the table that belong to an earlier question, from the top: the first of
        them, and the question."""
        found, first = [], len(self.rows)
        for end, question in self.before.parts if self.before is not None else ():
            if end > first:
                found.append((first, question))
                first = end
        return tuple(found)

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
    def answer_name(self) -> str:
        """What the token of `answer` is called: the run has one answer, and what would be said next
        at another position is not it."""
        return "answer" if self.own is self else NEXT_HERE

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
        leaders, then tracked tokens, then the leaders at other positions. Other tokens have
        none."""
        if self.base is not None:
            return self.base.hues
        ids = [token.id for token in self.leaders]
        ids += [tracked.id for tracked in self.run.tracked if tracked.why == "user"]
        # A token has one colour at all positions; what is seen at others comes last.
        return self._more_hues | {token: at for at, token in enumerate(dict.fromkeys(ids))}

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
            place, rows = self.place(reading.request.position), self.deepened
            if place != self.run.position:
                rows = self._deepened_at.setdefault(place, {})
            rows[reading.row.layer] = self._cut(reading.row, place)
            if 0 < len(reading.row.top) < reading.request.count:
                self.vocabulary = len(reading.row.top)
            return None
        if isinstance(reading, GridReading | WordsReading):
            _ = self.cells  # what was stored before comes first
            self._take_cells(reading)
            if reading.request.positions:
                # What was visible where not all positions could be read: shown, not saved.
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
        if isinstance(reading, AnswerReading):
            # What was read at its tokens may belong to another answer now.
            for place in [each for each in self._deepened_at if each >= len(merged.tokens)]:
                del self._deepened_at[place]
        return None

    def reading_of(self, method: str, request: Request | None = None) -> Reading | None:
        """Return the newest reading of a method, or the one that answers this request, or None."""
        own = self.own
        shown = own.unsaved_readings.get(method)
        for known in (*([shown] if shown is not None else []), *reversed(own.run.readings)):
            if known.method == method and (request is None or known.fulfils(request)):
                return known
        return None

    @property
    def seen(self) -> SeenReading | None:
        """What the model saw of the picture; None until that has been read."""
        known = self.own.unsaved_readings.get("seen")
        return known if isinstance(known, SeenReading) else None

    def untrack(self, token: int) -> None:
        """Stop tracking a token at this position; leaders and the answer stay tracked."""
        leaders = {leader.id for leader in self.leaders}
        kept = []
        for known in self.run.tracked:
            if known.id != token or known.why == "answer":
                kept.append(known)
            elif token in leaders:
                kept.append(replace(known, why="top-1"))
        self.run = replace(self.run, tracked=tuple(kept))
        own = self.own
        if own is not self:
            others = tuple(
                replace(other, tracked=tuple(kept))
                if other.position == self.run.position
                else other
                for other in own.run.others
            )
            own.run = replace(own.run, others=others)
        own.saved = False

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
