"""Which part of the photograph each of its tokens shows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from engine.arrays import Array, check_shape
from engine.methods.method import Method, Stop, Subject
from engine.records import Reading, ReadingProof, Request, Run
from engine.tables import Column, Table

if TYPE_CHECKING:
    from engine.lens.picture_patches import PicturePatches

NOT_IN_PROMPT: Final = "the picture's positions in this model's stream are no tokens of its prompt"
TRIED: Final = (
    "the pixels of half of the picture's tokens are changed, with the vision layers bypassed: how "
    "many of the stream's {tokens} tokens are not as if all pixels were changed, or none"
)


class GeometryRequest(Request, frozen=True):
    """Has no settings."""


class GeometryReading(Reading, frozen=True, kw_only=True, tag="geometry"):
    """The boxes of n picture tokens, in the order of the prompt."""

    request: GeometryRequest
    how: Literal["exact", "approximate", "none"]
    """`reason` says why it is not exact."""
    tokens: Array
    """int32 [n]: the positions of the tokens, ascending."""
    boxes: Array
    """float32 [n, 4]: x0, y0, x1, y1 in pixels of the photograph, not clipped: padding reaches
    beyond. NaN for a token that shows nothing of it (a newline, padding alone)."""
    tile: Array
    """int16 [n]: the tile that the token belongs to, from 0 in the order of the prompt; -1 if
    unknown."""
    row: Array
    """int16 [n]: the token's row in its tile, from 0; -1 if unknown."""
    column: Array
    """int16 [n]: likewise."""

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, Array):
            return
        count = self.tokens.shape[0] if self.tokens.shape else 0
        check_shape("tokens", self.tokens, "<i4", (count,))
        check_shape("boxes", self.boxes, "<f4", (count, 4))
        for name in ("tile", "row", "column"):
            check_shape(name, getattr(self, name), "<i2", (count,))

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        tokens = self.tokens.integers
        if any(a >= b for a, b in pairwise(tokens)):
            return "its tokens do not ascend"
        if tokens and not 0 <= tokens[0] <= tokens[-1] < len(run.tokens):
            return f"tokens {tokens[0]} to {tokens[-1]} of {len(run.tokens)}"
        return None


class Geometry(Method[GeometryRequest, GeometryReading]):
    """Finds which pixels each picture token depends on, by watching the model."""

    name: ClassVar[str] = "geometry"
    title: ClassVar[str] = "Which part of the picture each of its tokens shows"
    request = GeometryRequest
    reading = GeometryReading

    def supports(self, subject: Subject) -> str | None:
        """A reason if the run has no picture, or nothing is left of it."""
        if subject.run.question.picture is None:
            return "this run has no picture"
        if not any(map(_may_be_pixels, subject.inputs.values())):
            return "this run's picture was left out: no token shows it"
        return None

    def read(
        self, subject: Subject, request: GeometryRequest, stop: Stop
    ) -> Iterator[GeometryReading]:
        """Find it once for inputs of this kind; a model without such a relation gives a reading
        with `how` "none" and the reason.

        Raises Cancelled soon after `stop()` is true.
        """
        yield _reading(request, subject.run, patches_of(subject, stop))

    def tables(self, reading: GeometryReading) -> tuple[Table, ...]:
        """One line per picture token."""
        columns = (
            Column("position", "count"), Column("tile", "count"), Column("row", "count"),
            Column("column", "count"), Column("x0", "number"), Column("y0", "number"),
            Column("x1", "number"), Column("y1", "number"),
        )  # fmt: skip
        places = zip(
            reading.tokens.values.tolist(),
            reading.tile.values.tolist(),
            reading.row.values.tolist(),
            reading.column.values.tolist(),
            reading.boxes.values.tolist(),
            strict=True,
        )
        rows = tuple(
            (token, tile, row, column, *(None if edge != edge else edge for edge in box))
            for token, tile, row, column, box in places
        )
        title = f"patches of the picture: {reading.how}"
        return (Table(title, columns, rows, (reading.reason,) if reading.reason else ()),)


def _may_be_pixels(value: object) -> bool:
    dtype = getattr(value, "dtype", None)
    return bool(getattr(dtype, "is_floating_point", False)) and getattr(value, "ndim", 0) >= 2


def patches_of(subject: Subject, stop: Stop) -> PicturePatches:
    """Which pixels each picture token of a run depends on, found once for inputs of this kind; the
    run has a picture, as `Geometry.supports` demands.

    Raises Cancelled soon after `stop()` is true.
    """
    from engine.lens.picture_patches import picture_patches
    from engine.prompts.preparing import prepare

    loaded, question = subject.loaded, subject.run.question
    picture = question.picture
    assert picture is not None
    return picture_patches(
        loaded.lens,
        loaded.processor,
        subject.inputs,
        (picture.width, picture.height),
        lambda drawn: prepare(loaded.model, loaded.processor, question, drawn).inputs,
        stop,
    )


def _reading(request: GeometryRequest, run: Run, found: PicturePatches) -> GeometryReading:
    import numpy as np

    boxes, how, reason = found.boxes, found.how, found.reason
    if boxes is not None and found.relation.length != len(run.tokens):
        boxes, how, reason = None, "none", NOT_IN_PROMPT
    relation = found.relation
    if boxes is None:
        nothing = np.empty(0)
        return GeometryReading(
            request=request,
            how="none",
            reason=reason,
            tokens=Array.of(nothing, "<i4"),
            boxes=Array.of(np.empty((0, 4)), "<f4"),
            tile=Array.of(nothing, "<i2"),
            row=Array.of(nothing, "<i2"),
            column=Array.of(nothing, "<i2"),
        )
    # Some tokens of a picture, which separate its rows, show nothing of it.
    pictured = {place for place, token in enumerate(run.tokens) if token.kind == "image"}
    tokens = sorted(pictured.union(boxes.tokens.tolist()))
    place = {token: index for index, token in enumerate(tokens)}
    at = [place[token] for token in boxes.tokens.tolist()]
    edges = np.full((len(tokens), 4), np.nan)
    edges[at] = boxes.boxes.numpy()
    cells = np.full((3, len(tokens)), -1)
    cells[:, at] = [boxes.tile.numpy(), boxes.row.numpy(), boxes.column.numpy()]
    proof = None
    if how == "exact" and relation.mistaken is not None:
        what, mistaken = TRIED.format(tokens=relation.tried), relation.mistaken
        proof = ReadingProof(what, float(mistaken), 0.0, mistaken == 0)
    return GeometryReading(
        request=request,
        how=how,
        reason=reason,
        proof=proof,
        tokens=Array.of(np.array(tokens), "<i4"),
        boxes=Array.of(edges, "<f4"),
        tile=Array.of(cells[0], "<i2"),
        row=Array.of(cells[1], "<i2"),
        column=Array.of(cells[2], "<i2"),
    )
