"""Makes the saliency readings of one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from engine.anatomy.logit_map import difference
from engine.arrays import Array
from engine.errors import BadInput
from engine.lens.repeated import RepeatedPasses
from engine.lens.saliency_attention import attention_slopes, with_weights
from engine.lens.saliency_curves import CellCurves, at_random, most_salient_first
from engine.lens.saliency_leaves import Leaf, Slope, Target, Values, pixel_leaf, row_leaf
from engine.lens.saliency_proof import disagreement
from engine.lens.saliency_ways import COMPLETE, Found, integrated, occluded, smoothed, times_input
from engine.methods.logit_asked import asked_ids, asked_tokens
from engine.methods.method import Stop, Subject
from engine.methods.named_places import check_length
from engine.methods.saliency import (
    MOST_STEPS,
    Curves,
    SaliencyPart,
    SaliencyReading,
    SaliencyRequest,
)
from engine.methods.saliency_places import Cells, mean_picture
from engine.passes.choices import Choices
from engine.prompts.token_texts import texts_for
from engine.records import ReadingProof, finite
from engine.system.steps import finished

PROVED: Final = (
    "the slope along a random direction against a finite difference, what the model chooses (such "
    "as experts) held as it is, and the answer's "
    "log-probability against that of the run; the larger one, as a share of what is allowed"
)
OCCLUDED: Final = (
    "the logits of a pass in which nothing is replaced against those of a plain pass, to the bit, "
    "and the answer's log-probability against that of the run, as a share of what is allowed"
)
MATRIX: Final = "; and the slopes by rows 0 and {row}, likewise"
DOUBLED: Final = (
    "{steps} steps were taken instead of {asked}: with fewer, the attributions missed the change "
    "of the target by more than 5 %"
)
NOT_COMPLETE: Final = (
    "with {steps} steps the attributions still miss the change of the target by {error:.0%}"
)
TO_NO_TOKEN: Final = "{share:.3g} of the sum belongs to pixel values of no single token"
FROM_MEAN: Final = "the path starts at the row with the mean of the picture's tokens in their place"
FROM_ZERO: Final = "the path starts at a row of zeros"
NO_LAYER: Final = "layers {layers} are not in the map: their attention among the tokens is not seen"
NOT_COMPARED: Final = "the map was not measured: {reason}"
CHOSEN: Final = (
    "what the model chooses, such as experts, is held where slopes are compared with finite "
    "differences: in one of these passes it would have chosen otherwise"
)
NO_CELLS: Final = "no token of this run is the picture's"
ANSWERED: Final = "{share:.3g} of the sum belongs to tokens of the answer, which are not shown"

Growing = Generator[SaliencyPart, None, "_Made"]


@dataclass
class _Made:
    """A map, and how it was made."""

    sums: Tensor
    """float64 [tokens + 1]: see `Leaf.per_token`."""
    error: float
    """The proof's, as a share of what is allowed."""
    steps: int
    leaf: Leaf | None = None
    baseline: float | None = None
    completeness: float | None = None
    matrix: Array | None = None
    notes: list[str] = field(default_factory=list)


class Maps:
    """The map of one request about a run, and what it is measured by."""

    def __init__(
        self, subject: Subject, request: SaliencyRequest, position: int, stop: Stop
    ) -> None:
        """Finds what the map belongs to, and runs a plain pass; `position` is an index.

        Raises BadInput for a row or a word that there is not; CannotRead where it is not known
        which token a pixel value belongs to; Cancelled soon after `stop()` is true.
        """
        self._subject, self._request, self._stop = subject, request, stop
        self._lens, self._position = subject.loaded.lens, position
        self._of_pixels = request.row is None and request.way != "attention"
        reached = subject.reaching([position])
        self._inputs = reached.inputs
        positions = (position, subject.run.position)
        passes = self._passes = RepeatedPasses(self._lens, self._inputs, positions, stop)
        self._layers = len(passes.parts.layers)
        if request.row is not None and request.row > self._layers:
            raise BadInput(f"there is no row {request.row}: they go from 0 to {self._layers}")
        self._cells = Cells.of(subject, stop)
        self._owners = self._cells.owners(passes.inputs) if self._of_pixels else {}
        if not self._of_pixels:
            passes.remember()
        self._clean = passes.run()
        check_length(reached.run, passes.length)
        self._choices = Choices()
        self._target = Target((*asked_ids(subject, request.of, self._clean[0]),))

    def read(self) -> Iterator[SaliencyPart | SaliencyReading]:
        """Yield the map as it grows, and the reading last."""
        request = self._request
        made = yield from self._made()
        if request.matrix and made.matrix is None:
            leaf = row_leaf(self._passes, self._target, 0, self._cells.tokens)
            slope = leaf.slope(leaf.start, range(self._layers + 1), self._rows_proved)
            self._add_matrix(made, slope)
        shown = self._map(made.sums)
        curves = self._measured(made, shown) if request.compare else None
        count = len(self._subject.run.tokens)
        beyond = float(made.sums[count:-1].nansum())
        if beyond:
            made.notes.append(ANSWERED.format(share=beyond))
        if self._of_pixels and float(made.sums[-1].nan_to_num()):
            made.notes.append(TO_NO_TOKEN.format(share=float(made.sums[-1])))
        if self._choices.flipped:
            made.notes.append(CHOSEN)
        places = self._cells.places
        yield SaliencyReading(
            request=request,
            proof=self._proof(made.error),
            position=self._position,
            of=asked_tokens(self._clean[0], self._target.ids, texts_for(self._lens.model)),
            value=finite(float(self._target(self._clean))),
            cells=self._array_of_cells(),
            grid=None if places is None else Array.of(places, "<i2"),
            map=_floats(shown),
            positions=None if self._of_pixels else _floats(made.sums[:count]),
            matrix=made.matrix,
            completeness=None if made.completeness is None else finite(made.completeness),
            baseline=None if made.baseline is None else finite(made.baseline),
            steps=made.steps,
            curves=curves,
            notes=(*made.notes,),
        )

    # The ways

    def _made(self) -> Growing:
        request = self._request
        if request.way == "attention":
            return self._by_attention()
        leaf, gap = self._leaf()
        if request.way == "occlusion":
            return (yield from self._by_occlusion(leaf, gap))
        rows = range(self._layers + 1) if request.matrix and not request.row else ()
        slope = leaf.slope(leaf.start, rows, self._rows_proved if rows else ())
        pairs = zip(leaf.owners, leaf.start, strict=True)
        owned = tuple((owner >= 0).expand(each.shape) for owner, each in pairs)
        error = self._disagreement(leaf.start, slope, leaf.held(self._choices), owned)
        made = _Made(times_input(leaf, slope), error, 1, leaf)
        if rows:
            self._add_matrix(made, slope, leaf.row)
        if request.way == "smoothgrad":
            found = yield from self._told(smoothed(leaf, request.steps, request.seed))
            made.sums, made.steps = found.sums, found.done
        if request.way == "ig":
            yield from self._integrate(made, leaf, slope)
        return made

    def _integrate(
        self, made: _Made, leaf: Leaf, slope: Slope
    ) -> Generator[SaliencyPart, None, None]:
        steps = self._request.steps
        assert leaf.stand_in is not None
        start, cells = leaf.stand_in, self._cells.tokens
        if leaf.row is not None and cells:
            start = leaf.replaced(cells, leaf.stand_in, leaf.start)
            made.notes.append(FROM_MEAN)
        elif leaf.row is not None:
            start = tuple(torch.zeros_like(each) for each in leaf.start)
            made.notes.append(FROM_ZERO)
        made.baseline = leaf.value(start)
        risen = slope.value - made.baseline
        found = yield from self._told(integrated(leaf, start, risen, steps, MOST_STEPS))
        made.sums, made.completeness = found.sums, found.completeness
        made.steps = found.before + found.done
        if found.done > steps:
            made.notes.append(DOUBLED.format(steps=found.done, asked=steps))
        if found.completeness is not None and not found.completeness <= COMPLETE:
            told = {"steps": found.done, "error": found.completeness}
            made.notes.append(NOT_COMPLETE.format(**told))

    def _by_occlusion(self, leaf: Leaf, gap: float) -> Growing:
        assert leaf.stand_in is not None
        known = {place for owner in leaf.owners for place in owner.unique().tolist()}
        blocks = self._cells.blocks(self._request.block, known)
        if not self._of_pixels:
            pictured = {*self._cells.tokens}
            blocks += [[place] for place in range(leaf.length) if place not in pictured]
        every = [token for token in self._cells.tokens if token in known]
        baseline = leaf.value(leaf.replaced(every, leaf.stand_in, leaf.start)) if every else None
        value = float(self._target(self._clean))
        found = yield from self._told(occluded(leaf, blocks, value, self._lens))
        error = 0.0 if gap == 0.0 else math.inf
        return _Made(found.sums, error, found.done, leaf, baseline)

    def _by_attention(self) -> _Made:
        passes, target = self._passes, self._target
        seen = finished(self._lens.read_attention(self._inputs, self._position, stop=self._stop))
        found = attention_slopes(passes, target, seen)
        held = with_weights(passes, target, found, self._choices)
        error = self._disagreement(found.weights, found.clean, held)
        sums = torch.cat([found.together, torch.zeros(1, dtype=torch.float64)])
        made = _Made(sums, error, 1)
        if found.without:
            layers = ", ".join(map(str, found.without))
            made.notes.append(NO_LAYER.format(layers=layers))
        return made

    def _leaf(self) -> tuple[Leaf, float]:
        """What the map is of, and by how much a pass that is given the run's own values differs
        from a plain one."""
        if self._of_pixels:
            needs = self._request.way in ("ig", "occlusion")
            leaf = self._pixels(needs)
            return leaf, difference(leaf.logits(leaf.start), self._clean)
        assert self._request.row is not None
        return self._row(self._request.row)

    def _pixels(self, with_stand_in: bool) -> Leaf:
        stand_in = None
        if with_stand_in:
            stand_in = mean_picture(self._subject, self._passes.inputs, [*self._owners])
        return pixel_leaf(self._passes, self._target, self._owners, stand_in)

    def _row(self, row: int) -> tuple[Leaf, float]:
        leaf = row_leaf(self._passes, self._target, row, self._cells.tokens)
        gap = difference(leaf.logits(leaf.start), self._clean)
        if gap and self._passes.vision is not None:
            self._passes.forget()
            return self._row(row)
        return leaf, gap

    def _told(self, growing: Iterator[Found]) -> Generator[SaliencyPart, None, Found]:
        """Tell what is found as parts, and return the whole."""
        found = None
        for found in growing:
            yield SaliencyPart(
                cells=self._array_of_cells(),
                map=_floats(self._map(found.sums)),
                done=found.done,
                orders=found.orders,
            )
        assert found is not None
        return found

    # What is told

    def _measured(self, made: _Made, shown: Tensor) -> Curves | None:
        """Insertion and deletion, at the pixels if the map is of them, else at row 0."""
        cells = self._cells.tokens
        if not cells:
            made.notes.append(NOT_COMPARED.format(reason=NO_CELLS))
            return None
        try:
            leaf = self._pixels(with_stand_in=True) if self._of_pixels else self._row(0)[0]
        except BadInput as error:
            made.notes.append(NOT_COMPARED.format(reason=error))
            return None
        curves = CellCurves(leaf, cells, self._lens)
        own = curves.along(most_salient_first(shown))
        drawn = curves.along(at_random(len(cells), self._request.seed))
        return Curves(
            insertion=finite(own.insertion),
            deletion=finite(own.deletion),
            random_insertion=finite(drawn.insertion),
            random_deletion=finite(drawn.deletion),
            fractions=_floats(own.fractions),
            inserted=_floats(own.inserted),
            deleted=_floats(own.deleted),
        )

    def _map(self, sums: Tensor) -> Tensor:
        """The picture's tokens; of pixels, NaN for those that show none."""
        shown = sums[[*self._cells.tokens]].clone()
        if self._of_pixels:
            owned = {place for each in self._owners.values() for place in each.unique().tolist()}
            none = [token not in owned for token in self._cells.tokens]
            shown[torch.tensor(none, dtype=torch.bool)] = math.nan
        return shown

    def _add_matrix(self, made: _Made, slope: Slope, proved: int | None = None) -> None:
        """Add the matrix, and prove its slope at two of its rows, but for one that is proved."""
        count = len(self._subject.run.tokens)
        every = torch.stack([slope.rows[row] for row in sorted(slope.rows)])
        made.matrix = _floats(every[:, :count])
        for row in {*self._rows_proved} - {proved}:
            leaf = row_leaf(self._passes, self._target, row, self._cells.tokens)
            of_row = Slope(slope.value, slope.logits, (slope.of_rows[row],), {})
            error = self._disagreement(leaf.start, of_row, leaf.held(self._choices))
            made.error = max(made.error, error)

    @property
    def _rows_proved(self) -> tuple[int, int]:
        """The first row and the middle one."""
        return 0, max(1, self._layers // 2)

    def _array_of_cells(self) -> Array:
        return Array.of(np.array(self._cells.tokens), "<i4")

    # The proof

    def _disagreement(
        self,
        at: Values,
        slope: Slope,
        value: Callable[[Values], float],
        among: Values | None = None,
    ) -> float:
        dtype = self._passes.parts.dtype
        return disagreement(at, slope, value, self._target, dtype, among)

    def _proof(self, error: float) -> ReadingProof:
        run = self._subject.run
        assert run.proof is not None
        best = run.rows[-1].top[0]
        own = float(self._clean[-1].double().log_softmax(-1)[best.id])
        # Each of two logits may be off by as much as the run's proof allows.
        apart = abs(own - math.log(best.probability)) / (2 * run.proof.tolerance)
        worst = math.inf if math.isnan(apart) else max(apart, error)
        what = OCCLUDED if self._request.way == "occlusion" else PROVED
        if self._request.matrix:
            what += MATRIX.format(row=self._rows_proved[1])
        return ReadingProof(what, finite(worst), 1.0, worst <= 1.0)


def _floats(values: Tensor) -> Array:
    return Array.of(values.detach().cpu().numpy(), "<f4")
