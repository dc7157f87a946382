"""Contrast: what a picture adds to a model's answer, after Visual Debias Decoding (VDD, arXiv
2403.05262)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from engine.counterfactuals.defaults import CONTRAST_A, CONTRAST_B
from engine.errors import BadInput
from engine.methods.method import Method, Stop, Subject
from engine.methods.without_picture import (
    FROM_TWO_PROVED_RUNS,
    no_picture_to_replace,
    references_of,
    rows_together,
)
from engine.records import (
    Layer,
    Number,
    Reading,
    Request,
    RunId,
    Token,
    finite,
)
from engine.tables import Column, Table

if TYPE_CHECKING:
    from torch import Tensor

    from engine.lens.kept import KeptStream

STORED_TOP = 10


class ContrastRequest(Request, frozen=True):
    """Which contrast to read; for `a` and `b` see the function `contrast`."""

    against: tuple[str, ...] = ("none",)
    """The runs without the picture, by id or by counterfactual; the mean of several is taken."""
    a: Number = CONTRAST_A
    """The weight of the difference, from 0 up."""
    b: Number = CONTRAST_B
    """The cut-off: a share, from 0 to 1, of the probability of the best token."""


class ContrastRow(Struct, frozen=True):
    """The contrast of one row."""

    layer: Layer
    top: tuple[Token, ...]
    """The top tokens of the contrast, without those that b removes."""
    entropy: Number | None
    """Entropy of the contrast, in nats."""
    js: Number | None
    kl: Number | None
    """Divergences of the picture's row from the reference's (KL(picture || reference)), in nats."""


class ContrastReading(Reading, frozen=True, kw_only=True, tag="contrast"):
    """The contrast of a run with one or several runs without its picture.

    VDD is published for the last row; applying it to the other rows is our extension.
    """

    request: ContrastRequest
    rows: tuple[ContrastRow, ...]
    against: RunId
    """The run without the picture; the first if there are several."""
    references: tuple[RunId, ...] = ()
    """All runs without the picture."""

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """The runs without the picture."""
        return self.references or (self.against,)

    def fulfils(self, request: Request) -> bool:
        """Whether it has these settings, and was read against the runs that are asked for."""
        return (
            isinstance(request, ContrastRequest)
            and (request.a, request.b) == (self.request.a, self.request.b)
            and request.against in (self.request.against, self.refers_to)
        )


class Contrast(Method[ContrastRequest, ContrastReading]):
    """What the picture adds: (1 + a) * logits with the picture - a * logits without it."""

    name: ClassVar[str] = "contrast"
    title: ClassVar[str] = "What the picture adds to each row (contrast)"
    request = ContrastRequest
    reading = ContrastReading

    def supports(self, subject: Subject) -> str | None:
        """A reason if the run has no picture that could be replaced."""
        return no_picture_to_replace(subject)

    def needs(self, request: ContrastRequest) -> tuple[str, ...]:
        """The counterfactuals that serve as the reference."""
        return request.against

    def read(
        self, subject: Subject, request: ContrastRequest, stop: Stop
    ) -> Iterator[ContrastReading]:
        """Read the contrast from the kept streams, without a new pass."""
        check_settings(request.a, request.b)
        others = references_of(subject, request.against, "a contrast")
        references = tuple(other.run.id for other in others)
        yield ContrastReading(
            request=request,
            reason=FROM_TWO_PROVED_RUNS,
            rows=contrast_rows(
                subject.kept, [other.kept for other in others], request.a, request.b, stop
            ),
            against=references[0],
            references=references,
        )

    def tables(self, reading: ContrastReading) -> tuple[Table, ...]:
        """One line per row: the top token of the contrast, and the divergences of the two rows."""
        request = reading.request
        columns = (
            Column("layer", "count"),
            Column("token", "token", "contrast"),
            Column("probability", "share", "p"),
            Column("entropy", "number"),
            Column("js", "number", "JS"),
            Column("kl", "number", "KL"),
        )
        rows = tuple(
            (
                row.layer,
                row.top[0].text if row.top else None,
                row.top[0].probability if row.top else None,
                row.entropy,
                row.js,
                row.kl,
            )
            for row in reading.rows
        )
        title = f"contrast with {' and '.join(request.against)}, a={request.a:g}, b={request.b:g}"
        note = "Published for the last row; the other rows are an extension. JS and KL in nats."
        return (Table(title, columns, rows, (note,)),)


def contrast_rows(
    picture: KeptStream,
    references: list[KeptStream],
    a: float,
    b: float,
    stop: Stop = lambda: False,
) -> tuple[ContrastRow, ...]:
    """Rows 0..L of the contrast of a pass with one or several others, from their kept streams.

    Raises BadInput for a or b out of range, Cancelled soon after `stop()` is true.
    """
    from engine.lens.as_records import layer_readings
    from engine.lens.divergence import divergences
    from engine.lens.readout import read

    rows: list[ContrastRow] = []
    for some, plain, without in rows_together(picture, references, stop):
        reference = mean_reference(*without)
        divergence = divergences(plain, reference)  # [rows] each
        numbers = read(contrast(plain, reference, a, b), STORED_TOP).numbers()
        found = layer_readings(some, numbers, picture.text_of, [None] * len(some))
        for row, js, kl in zip(found, divergence.js.tolist(), divergence.kl.tolist(), strict=True):
            top = tuple(token for token in row.top if token.logit is not None)
            rows.append(ContrastRow(row.layer, top, row.entropy, finite(js), finite(kl)))
    return tuple(rows)


def check_settings(a: float, b: float) -> None:
    """Raise BadInput if a or b is out of range."""
    if not (math.isfinite(a) and a >= 0):
        raise BadInput(f"the contrast's a must be a number from 0 up, not {a:g}")
    if not 0 <= b <= 1:
        raise BadInput(f"the contrast's b must be a share from 0 to 1, not {b:g}")


def contrast(
    picture: Tensor, reference: Tensor, a: float = CONTRAST_A, b: float = CONTRAST_B
) -> Tensor:
    """Logits (1 + a) * picture - a * reference, float32 [..., vocabulary] (VDD, arXiv 2403.05262).

    Tokens whose probability in `picture` is below b times that of its best token are removed (set
    to -inf). With a = 0 the remaining tokens keep the ranks of the picture's row; with b = 1 only
    its best token and those tied with it remain. A token that `reference` rules out (-inf) gets the
    lowest finite logit of the reference instead.

    Raises BadInput for a or b out of range.
    """
    import torch

    check_settings(a, b)
    picture, reference = picture.float(), reference.float().to(picture.device)
    least = picture.amax(-1, keepdim=True) + (math.log(b) if b else -math.inf)
    removed = (picture < least) | (picture == -math.inf)
    never = reference == -math.inf
    lowest = reference.masked_fill(never, math.inf).amin(-1, keepdim=True)
    logits = (1 + a) * picture - a * torch.where(never, lowest, reference)
    return logits.masked_fill(removed, -math.inf)


def mean_reference(*references: Tensor) -> Tensor:
    """The mean logits of several counterfactuals, float32 [..., vocabulary]: VDD's "both" is the
    mean of `none` and `unk`."""
    import torch

    return torch.stack([each.float().to(references[0].device) for each in references]).mean(0)
