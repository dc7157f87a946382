"""Attention knockout: what the answer becomes if some tokens may not look at others.

For every pair of a source and a target, and in a window of layers at a time, the target's attention
on the source is forbidden, and the pass is run again (Geva et al. 2023, arXiv 2304.14767; with
pictures: Zhang et al. 2024, arXiv 2411.18620).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from msgspec import Meta, Struct

from engine.errors import BadInput, CannotRead
from engine.methods.everywhere import last_position, resolved
from engine.methods.method import Method, Stop, Subject
from engine.methods.named_places import (
    check_length,
    is_written_out,
    named_places,
    written_out,
)
from engine.prompts.token_groups import picture_cells
from engine.records import (
    Layer,
    NonNegative,
    Number,
    Part,
    Positive,
    Reading,
    ReadingProof,
    Request,
    Run,
    Short,
    Token,
    finite,
)
from engine.tables import Column, Table

if TYPE_CHECKING:
    from torch import Tensor

    from engine.lens.knockout import Knocked, Knockouts

PANEL: Final = (
    ("picture", "last"),
    ("picture", "question"),
    ("question", "last"),
    ("first", "all"),
)
"""The sources and targets that are read if none are named."""
GROUPS: Final = ("picture", "marks", "question", "first", "last", "all")
"""The picture's tokens; the marks around and between them, which may have collected what those
before them show; the tokens of the prompt as it was typed, but for the position that is read; the
first token; the position that is read; everything up to it."""
_LEAST_WINDOW: Final = 4
MOST_NAMES: Final = 1000
NO_ATTENTION: Final = "these layers have no attention among the tokens that could be forbidden"
OUT_OF_REACH: Final = "no target looks at the source in these layers anyway"
PLACEHOLDER: Final = (
    "the model looks at the picture by cross-attention: its token in the sequence is a placeholder"
)
NOT_FINITE: Final = "the logits of this pass are not all numbers"
ELSEWHERE: Final = (
    "what layers look at outside this sequence of tokens (cross-attention) is not forbidden"
)
NOT_ALL: Final = (
    "layers {layers} have no attention among the tokens that could be forbidden: what they carry "
    "from token to token by other means goes on"
)
PROVED: Final = (
    "the logits of a pass in which nothing is forbidden against those of a plain pass, and what "
    "attention gives the last target against the same with other values at what it may not look "
    "at, both to the bit; and the answer's log-probability against that of the run"
)

Names = Annotated[tuple[Annotated[str, Meta(max_length=100)], ...], Meta(max_length=MOST_NAMES)]


class KnockoutRequest(Request, frozen=True, rename={"sources": "from", "targets": "to"}):
    """Which tokens may not look at which, and in how many layers at a time."""

    own_pass: ClassVar[bool] = True

    sources: Names = ()
    """What must not be looked at: names of GROUPS, each by itself, and positions ("7", "12-20"),
    which are one source together. If `targets` is empty, too, the pairs of PANEL; else "picture"
    and "question"."""
    targets: Names = ()
    """What may not look there, likewise; "last" if empty, but for PANEL."""
    window: NonNegative = 0
    """How many layers a window has; 0 takes an eighth of the model's, at least four: without a
    single layer little changes, since its neighbours do the same."""
    position: int = -1
    """The position whose answer is followed; negative ones count back from the last token of the
    prompt, and those from its length on are the tokens of the newest answer."""


class KnockoutCell(Struct, frozen=True, rename={"source": "from", "target": "to"}):
    """The answer if a target may not look at a source in some layers."""

    source: Short
    target: Short
    layers: tuple[Layer, Layer]
    """The first and the last layer of the window. Layer l takes row l to row l + 1."""
    log_probability: Number | None = None
    """Of the token that is best in the clean pass, in nats."""
    answer: Token | None = None
    """The token that is best then."""
    reason: Short | None = None
    """Why there are no numbers."""


class KnockoutPart(Part, frozen=True):
    """The cells that were read since the last part."""

    position: NonNegative
    log_probability: Number | None
    answer: Token
    cells: tuple[KnockoutCell, ...]
    done: NonNegative
    of: Positive
    """How many cells there will be."""


class KnockoutReading(Reading, frozen=True, kw_only=True, tag="knockout"):
    """The cells of every pair: all layers at once, then each window."""

    request: KnockoutRequest
    position: NonNegative
    """Index into the run's tokens, followed by those of its newest answer."""
    window: Positive
    """How many layers a window has; the last may have fewer."""
    log_probability: Number | None
    """Of `answer`, in nats, if nothing is forbidden."""
    answer: Token
    """The best token at the position if nothing is forbidden."""
    cells: Annotated[tuple[KnockoutCell, ...], Meta(max_length=2**20)]
    notes: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()
    """What was left out, and what is not forbidden."""

    def __post_init__(self) -> None:
        if any(cell.layers[0] > cell.layers[1] for cell in self.cells):
            raise ValueError("a window ends before it begins")

    def effect(self, cell: KnockoutCell) -> float | None:
        """By how much a cell's log-probability differs from that of the clean pass, in nats."""
        if cell.log_probability is None or self.log_probability is None:
            return None
        return cell.log_probability - self.log_probability

    @property
    def reaches(self) -> int:
        """See `Reading.reaches`."""
        sides = " ".join({side for cell in self.cells for side in (cell.source, cell.target)})
        return max(self.position, *map(int, re.findall(r"\d{1,9}", sides)), 0)

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        if self.position > last_position(run):
            return f"position {self.position} of {last_position(run) + 1} tokens"
        if any(cell.layers[1] >= run.layers for cell in self.cells):
            return f"layers beyond {run.layers}"
        return None


@dataclass(frozen=True)
class Named:
    """A pair of sources and targets, as it is shown and as positions."""

    source: str
    target: str
    sources: tuple[int, ...]
    targets: tuple[int, ...]


class Knockout(Method[KnockoutRequest, KnockoutReading]):
    """Runs a pass for every pair and window."""

    name: ClassVar[str] = "knockout"
    title: ClassVar[str] = "What the answer becomes if it may not look there"
    request = KnockoutRequest
    reading = KnockoutReading

    def supports(self, subject: Subject) -> str | None:
        """A reason if there is nothing to look back at, or if it has been found before that the
        model computes attention in its own code."""
        if len(subject.run.tokens) < 2:
            return "this run has a single token, which can look at nothing else"
        from engine.lens.knockout import refusal

        return refusal(subject.loaded.lens.model, subject.inputs)

    def read(
        self, subject: Subject, request: KnockoutRequest, stop: Stop
    ) -> Iterator[KnockoutPart | KnockoutReading]:
        """Run the clean passes, then every pair over all layers at once, then over windows: coarse
        first, then what lies between.

        Raises BadInput for a name or position that the run does not have, or if no pair is left;
        CannotRead if the model has no attention in which a pair can be forbidden, or attends over
        something else than the run's tokens.
        """
        from engine.lens.knockout import Knockouts
        from engine.passes.knockout import Pairs

        run = subject.run
        (position,) = resolved(run, [request.position])
        pairs, notes = named_pairs(run, request, position)
        reached = subject.reaching(
            [position, *(place for pair in pairs for place in (*pair.sources, *pair.targets))]
        )
        passes = Knockouts(subject.loaded.lens, reached.inputs, (position, run.position), stop)
        check_length(reached.run, passes.length)
        clean = _Clean(passes, run)
        layers = len(passes.layers)
        window = window_of(request, layers)
        placeholder = passes.looks_elsewhere and len(picture_cells(run.tokens)) < 2
        orders = [(pair, each) for each, pair in product(windows_in_order(layers, window), pairs)]
        cells: dict[tuple[Named, range], KnockoutCell] = {}
        for pair, each in orders:
            shown: Knocked | str
            if placeholder and "picture" in (pair.source, pair.target):
                shown = PLACEHOLDER
            elif not any(passes.attending[layer] for layer in each):
                shown = NO_ATTENTION
            else:
                shown = passes.knocked(Pairs(pair.sources, pair.targets), each)
            cell = clean.cell(pair, each, shown)
            cells[pair, each] = cell
            yield KnockoutPart(
                position, clean.log_probability, clean.answer, (cell,), len(cells), len(orders)
            )
        without = [str(layer) for layer, attends in enumerate(passes.attending) if not attends]
        if without:
            notes.append(NOT_ALL.format(layers=", ".join(without)))
        if passes.looks_elsewhere:
            notes.append(ELSEWHERE)
        yield KnockoutReading(
            request=request,
            proof=clean.proof(),
            position=position,
            window=window,
            log_probability=clean.log_probability,
            answer=clean.answer,
            cells=tuple(cells[pair, each] for pair in pairs for each in windows(layers, window)),
            notes=tuple(notes),
        )

    def tables(self, reading: KnockoutReading) -> tuple[Table, ...]:
        """The effect of every window on every pair; then every cell with the answer that it has."""
        return _effects(reading), _cells(reading)


class _Clean:
    """The answer if nothing is forbidden, with which all cells are compared."""

    def __init__(self, passes: Knockouts, run: Run) -> None:
        from engine.prompts.token_texts import texts_for

        self._passes, self._run = passes, run
        self._text_of = texts_for(passes.model)
        found = self._best(passes.clean)
        if found is None:
            raise CannotRead(NOT_FINITE)
        self.answer = found
        self.log_probability = self._log_probability(passes.clean, found.id)
        self._leak = 0.0

    def cell(self, pair: Named, layers: range, shown: Knocked | str) -> KnockoutCell:
        """What one pass has shown, or why there was none."""
        answer = log_probability = reason = None
        if isinstance(shown, str):
            reason = shown
        elif not shown.edited:
            reason = OUT_OF_REACH
        else:
            answer = self._best(shown.logits)
            if answer is None:
                reason = NOT_FINITE  # no number that would need a proof
            else:
                self._leak = max(self._leak, shown.leak)
                log_probability = self._log_probability(shown.logits, self.answer.id)
        return KnockoutCell(
            source=pair.source,
            target=pair.target,
            layers=(layers[0], layers[-1]),
            log_probability=log_probability,
            answer=answer,
            reason=reason,
        )

    def proof(self) -> ReadingProof:
        """Whether nothing forbidden changes nothing, and what is forbidden has no weight."""
        own = self._passes.clean[-1].log_softmax(-1)  # at the run's own position
        best = self._run.rows[-1].top[0]
        differs = abs(float(own[best.id]) - math.log(best.probability))
        exact = max(self._passes.gap, self._leak)
        assert self._run.proof is not None
        tolerance = 2 * self._run.proof.tolerance  # each of two logits may be off by as much
        return ReadingProof(
            what=PROVED,
            error=None if math.isnan(differs) else finite(max(exact, differs)),
            tolerance=tolerance,
            passed=exact == 0.0 and differs <= tolerance,
        )

    def _best(self, logits: Tensor) -> Token | None:
        from engine.lens.as_records import top_tokens
        from engine.lens.readout import read

        (top,) = top_tokens(read(logits[:1], 1).numbers(), self._text_of)
        return top[0] if top else None

    def _log_probability(self, logits: Tensor, token: int) -> float | None:
        return finite(float(logits[0].log_softmax(-1)[token]))


def window_of(request: KnockoutRequest, layers: int) -> int:
    """How many layers a window has, if the model has so many."""
    return min(request.window or max(_LEAST_WINDOW, layers // 8), layers)


def windows(layers: int, window: int) -> tuple[range, ...]:
    """All layers at once; then, unless that is the same, windows of so many that tile them."""
    tiles = tuple(range(first, min(first + window, layers)) for first in range(0, layers, window))
    return (range(layers),) if len(tiles) == 1 else (range(layers), *tiles)


def windows_in_order(layers: int, window: int) -> tuple[range, ...]:
    """The same, coarse to fine: each window that follows halves a gap between those before."""
    whole, *tiles = windows(layers, window)
    step = 1
    while step < len(tiles):
        step *= 2
    order: list[int] = []
    while step:
        order += [tile for tile in range(0, len(tiles), step) if tile not in order]
        step //= 2
    return (whole, *(tiles[tile] for tile in order))


def named_pairs(run: Run, request: KnockoutRequest, position: int) -> tuple[list[Named], list[str]]:
    """The pairs that a request asks for, and notes on those that are left out because the run has
    no such tokens.

    Raises BadInput for an unknown name, a position out of range, and if no pair is left.
    """
    sources, targets = _sides(request.sources, "from"), _sides(request.targets, "to")
    if sources or targets:
        asked = tuple(product(sources or ("picture", "question"), targets or ("last",)))
    else:
        asked = PANEL
    pairs, left_out = [], []
    for source, target in asked:
        named = Named(
            source, target, _tokens(run, source, position), _tokens(run, target, position)
        )
        if any(place != other for place, other in product(named.sources, named.targets)):
            pairs.append(named)
        else:
            left_out.append(f"{source} -> {target}")
    if not pairs:
        raise BadInput(f"this run has no tokens for {', '.join(left_out)}")
    notes = [f"left out, for want of such tokens: {', '.join(left_out)}"] if left_out else []
    return pairs, notes


def _sides(names: Sequence[str], field: str) -> tuple[str, ...]:
    """Names of groups, each by itself, and all positions together."""
    places = []
    for name in names:
        if name in GROUPS:
            continue
        if not is_written_out(name):
            raise BadInput(
                f"knockout: {field}={name}: write {', '.join(GROUPS)}, or positions such as 7 or "
                "12-20"
            )
        places.append(name)
    named = dict.fromkeys(name for name in names if name in GROUPS)
    return (*named, *([",".join(places)] if places else []))


def _tokens(run: Run, side: str, position: int) -> tuple[int, ...]:
    """The positions of a group, or those that are written out, ascending."""
    groups = named_places(run, position)
    return tuple(groups[side]) if side in groups else written_out(run, side)


def _layers(cell: KnockoutCell) -> str:
    first, last = cell.layers
    return str(first) if first == last else f"{first}-{last}"


def _effects(reading: KnockoutReading) -> Table:
    pairs = list(dict.fromkeys((cell.source, cell.target) for cell in reading.cells))
    rows: dict[str, dict[tuple[str, str], float | None]] = {}
    for cell in reading.cells:
        rows.setdefault(_layers(cell), {})[cell.source, cell.target] = reading.effect(cell)
    columns = (
        Column("layers"),
        *(
            Column(f"{source}_to_{target}", "number", f"{source} -> {target}", decimals=3)
            for source, target in pairs
        ),
    )
    note = (
        f"If nothing is forbidden, the answer at position {reading.position} has "
        f"{reading.answer.probability:.1%}. source -> target: in these layers the target may not "
        "look at the source."
    )
    return Table(
        "knockout: change of the answer's log-probability, in nats",
        columns,
        tuple((layers, *(found.get(pair) for pair in pairs)) for layers, found in rows.items()),
        (note, *reading.notes),
    )


def _cells(reading: KnockoutReading) -> Table:
    columns = (
        Column("from"),
        Column("to"),
        Column("layers"),
        Column("effect", "number", decimals=3),
        Column("answer", "token"),
        Column("probability", "share", "p"),
        Column("reason"),
    )
    rows = tuple(
        (
            cell.source,
            cell.target,
            _layers(cell),
            reading.effect(cell),
            None if cell.answer is None else cell.answer.text,
            None if cell.answer is None else cell.answer.probability,
            cell.reason,
        )
        for cell in reading.cells
    )
    return Table("knockout: the answer if a target may not look at a source", columns, rows)
