"""Saliency: to what in the picture, or at which positions, the answer is sensitive.

Gradients (Simonyan et al. 2014, arXiv 1312.6034), integrated gradients (Sundararajan et al. 2017,
arXiv 1703.01365), SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825), gradient x attention (Chefer
et al. 2021, arXiv 2103.15679, of the answer's row alone), occlusion (Zeiler and Fergus 2014, arXiv
1311.2901); compared by insertion and deletion (Petsiuk et al. 2018, arXiv 1806.07421).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from engine.arrays import Array, check_shape
from engine.methods.everywhere import last_position, resolved
from engine.methods.method import Method, Stop, Subject
from engine.records import (
    Layer,
    NonNegative,
    Number,
    Part,
    Positive,
    Reading,
    Request,
    Run,
    Short,
    Token,
)
from engine.tables import Table

Way = Literal["gradient", "ig", "smoothgrad", "attention", "occlusion"]
MOST_STEPS = 4096


class SaliencyRequest(Request, frozen=True):
    """Of what, with respect to what, and how."""

    own_pass: ClassVar[bool] = True

    way: Way = "gradient"
    """"gradient": gradient x input. "ig": integrated gradients from the mean picture (at a row:
    from the mean of the picture's tokens in their place; without a picture, from zero).
    "smoothgrad": gradient x input, the mean over noisy inputs. "attention": the positive part of
    gradient x attention in the row of the position, summed over layers and heads. "occlusion": the
    fall of the target when a block of patches is replaced by the mean picture (at a row: by the
    mean of the picture's tokens; every other position alone likewise)."""
    position: int = -1
    """The position whose answer is explained; negative ones count back from the last token of the
    prompt."""
    of: Annotated[tuple[Short, ...], Meta(max_length=2)] = ()
    """A word, whose log-probability is the target; or two, whose logits' difference is. If empty,
    the best token's logit minus the second best's, which has a slope where the log-probability of
    a certain answer has none."""
    row: Layer | None = None
    """The row of the residual stream with respect to which it is; None for the pixels. "attention"
    has neither."""
    matrix: bool = False
    """Whether gradient x input is also given for every row and position, from one backward pass."""
    steps: Annotated[int, Meta(ge=1, le=MOST_STEPS)] = 32
    """How many inputs "ig" and "smoothgrad" take; "ig" doubles them while it is not complete."""
    block: Annotated[int, Meta(ge=1, le=64)] = 1
    """How many patches an occluded block is wide and high."""
    seed: NonNegative = 0
    """Of SmoothGrad's noise."""
    compare: bool = False
    """Whether the map is also measured by insertion and deletion."""


class Curves(Struct, frozen=True):
    """The target while the picture's cells are deleted from the whole picture, or inserted into the
    mean picture, the most salient ones first."""

    insertion: Number | None
    """Area under the curve, from 0 to 1, of the target's probability (of a difference: of the
    sigmoid of it). Higher is better."""
    deletion: Number | None
    """Likewise; lower is better."""
    random_insertion: Number | None
    """Of cells in a random order, which a map must beat."""
    random_deletion: Number | None
    fractions: Array
    """float32 [points]: the share of the cells that is inserted or deleted."""
    inserted: Array
    """float32 [points]: the probability (or sigmoid) then."""
    deleted: Array


class SaliencyPart(Part, frozen=True):
    """The map as it is so far: the mean over the inputs so far, or the blocks occluded so far."""

    cells: Array
    map: Array
    done: NonNegative
    orders: Positive
    """How many passes there will be."""


class SaliencyReading(Reading, frozen=True, kw_only=True, tag="saliency"):
    """A map over the picture's tokens, and one over all positions where it is of a row."""

    request: SaliencyRequest
    position: NonNegative
    """Index into the run's tokens, followed by those of its newest answer."""
    of: Annotated[tuple[Token, ...], Meta(min_length=1, max_length=2)]
    value: Number | None
    """The target: log-probability in nats, or a difference of logits."""
    cells: Array
    """int32 [cells]: the positions of the picture's tokens, to which the map belongs."""
    grid: Array | None = None
    """int16 [cells, 3]: tile, row and column of each, from 0; -1 where it is unknown. None if it is
    of all."""
    map: Array
    """float32 [cells]: of the pixels, the sum over those that a token shows; signed where the way
    has a sign. NaN for a token that shows none."""
    positions: Array | None = None
    """float32 [tokens]: of a row or of attention, every position's; None of pixels."""
    matrix: Array | None = None
    """float32 [layers + 1, tokens]: gradient x input of every row at every position."""
    completeness: Number | None = None
    """Of "ig": |sum of all attributions - (target - target at the start)| / max(|that|, 1e-6)."""
    baseline: Number | None = None
    """Of "ig" and "occlusion": the target of what stands in for the input."""
    steps: NonNegative = 0
    """How many inputs were taken; of "ig" with those of every round."""
    curves: Curves | None = None
    notes: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()

    def __post_init__(self) -> None:
        if isinstance(self.map, Array) and isinstance(self.cells, Array):
            shape = self.cells.shape
            check_shape("cells", self.cells, "<i4", shape[:1] or (0,))
            check_shape("map", self.map, "<f4", shape)
            if isinstance(self.grid, Array):
                check_shape("grid", self.grid, "<i2", (*shape, 3))
        if isinstance(self.positions, Array):
            check_shape("positions", self.positions, "<f4", self.positions.shape[:1] or (0,))
        if isinstance(self.matrix, Array):
            check_shape("matrix", self.matrix, "<f4", (*self.matrix.shape, 0, 0)[:2])

    @property
    def reaches(self) -> int:
        """See `Reading.reaches`."""
        return self.position

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        tokens = len(run.tokens)
        if self.position > last_position(run):
            return f"position {self.position} of {last_position(run) + 1} tokens"
        cells = self.cells.integers
        if any(a >= b for a, b in pairwise(cells)) or not all(0 <= each < tokens for each in cells):
            return f"cells that are not positions of {tokens} tokens in ascending order"
        if self.positions is not None and self.positions.shape[0] != tokens:
            return f"{self.positions.shape[0]} positions of {tokens} tokens"
        if self.matrix is not None and self.matrix.shape != (run.layers + 1, tokens):
            return f"a matrix of {self.matrix.shape} for {run.layers + 1} rows, {tokens} tokens"
        if self.request.row is not None and self.request.row > run.layers:
            return f"a row beyond {run.layers}"
        return None


class Saliency(Method[SaliencyRequest, SaliencyReading]):
    """Differentiates the answer, or occludes what it may rest on."""

    name: ClassVar[str] = "saliency"
    title: ClassVar[str] = "To what in the picture the answer is sensitive"
    request = SaliencyRequest
    reading = SaliencyReading

    def read(
        self, subject: Subject, request: SaliencyRequest, stop: Stop
    ) -> Iterator[SaliencyPart | SaliencyReading]:
        """Make the map, then measure it.

        Raises BadInput for a position, row or word that there is not, for blocks where it is not
        known which tokens are neighbours, and where no mean picture can be made that a way needs;
        CannotRead where it is not known which token a pixel value belongs to, the model computes
        without gradients, or no attention can be seen.
        """
        from engine.methods.saliency_maps import Maps

        (position,) = resolved(subject.run, [request.position])
        yield from Maps(subject, request, position, stop).read()

    def tables(self, reading: SaliencyReading) -> tuple[Table, ...]:
        """The largest cells and positions, every row's largest position, and the measures."""
        from engine.methods.saliency_tables import tables

        return tables(reading)
