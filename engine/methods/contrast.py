"""Contrast rows: what a picture adds to a model's answer, as VDD has it (arXiv 2403.05262)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from engine.counterfactuals.defaults import CONTRAST_A, CONTRAST_B
from engine.errors import BadInput, Cancelled
from engine.methods.method import Method, Stop, Subject
from engine.records import (
    NonNegative,
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

FROM_TWO_PROVED_RUNS = "computed from the rows of runs that are each proved"
STORED_TOP = 10


class ContrastRequest(Request, frozen=True):
    """Which contrast is to be read."""

    against: tuple[str, ...] = ("none",)
    """Runs without the picture, by id or by their counterfactual; of several the mean is taken."""
    a: float = CONTRAST_A
    b: float = CONTRAST_B
    """The settings of `contrast`."""


class ContrastRow(Struct, frozen=True):
    """The contrast of one row."""

    layer: NonNegative
    top: tuple[Token, ...]
    """Of the contrast; tokens that b removes are not among them."""
    entropy: float | None
    js: float | None
    kl: float | None
    """Of the picture's row against the reference's, in nats."""


class ContrastReading(Reading, frozen=True, kw_only=True, tag="contrast"):
    """The contrast of a run with one without its picture, or with several together.

    Published for the last row; the other rows are an extension.
    """

    request: ContrastRequest
    rows: tuple[ContrastRow, ...]
    against: RunId
    """The run without the picture; the first, where there are several."""
    references: tuple[RunId, ...] = ()
    """All of them."""

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """The runs without the picture."""
        return self.references or (self.against,)


class Contrast(Method[ContrastRequest, ContrastReading]):
    """What the picture adds: (1 + a) times its logits less a times those without it."""

    name: ClassVar[str] = "contrast"
    title: ClassVar[str] = "What the picture adds to each row (contrast)"
    request = ContrastRequest
    reading = ContrastReading

    def supports(self, subject: Subject) -> str | None:
        """A reason where the run has no picture to take away."""
        return without_picture(subject)

    def needs(self, request: ContrastRequest) -> tuple[str, ...]:
        """The counterfactuals that it is read against."""
        return request.against

    def read(
        self, subject: Subject, request: ContrastRequest, stop: Stop
    ) -> Iterator[ContrastReading]:
        """Read it from the kept streams, without a new pass."""
        check_settings(request.a, request.b)
        if not request.against:
            raise BadInput("a contrast needs a run without the picture")
        others = [subject.against(reference) for reference in request.against]
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
        """A line a row: the first token of the contrast, and how far the two rows are apart."""
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


def without_picture(subject: Subject) -> str | None:
    """The reason where a run has no picture that could be taken away."""
    question = subject.run.question
    if question.picture is None:
        return "this run has no picture to put something for"
    if question.counterfactual is not None:
        return "this run is itself without its picture: read it of the picture's run"
    return None


def contrast_rows(
    picture: KeptStream,
    references: list[KeptStream],
    a: float,
    b: float,
    stop: Stop = lambda: False,
) -> tuple[ContrastRow, ...]:
    """Rows of the contrast of a pass with others, read from their kept streams.

    Raises BadInput for settings that the contrast cannot have, Cancelled once `stop()`.
    """
    from engine.lens.as_records import layer_readings
    from engine.lens.divergence import CHUNK, divergences, kept_logits
    from engine.lens.readout import read

    layers = len(picture.readings)
    logits_with = kept_logits(picture)
    logits_without = [kept_logits(reference) for reference in references]
    rows: list[ContrastRow] = []
    for start in range(0, layers, CHUNK):
        if stop():
            raise Cancelled("cancelled")
        some = range(start, min(start + CHUNK, layers))
        plain = logits_with(some)  # [rows, vocabulary], as those below
        reference = mean_reference(*(logits(some) for logits in logits_without))
        apart = divergences(plain, reference)
        numbers = read(contrast(plain, reference, a, b), STORED_TOP).numbers()
        found = layer_readings(some, numbers, picture.text_of, [None] * len(some))
        for row, js, kl in zip(found, apart.js.tolist(), apart.kl.tolist(), strict=True):
            top = tuple(token for token in row.top if token.logit is not None)
            rows.append(ContrastRow(row.layer, top, row.entropy, finite(js), finite(kl)))
    return tuple(rows)


def check_settings(a: float, b: float) -> None:
    """Raise BadInput where a contrast cannot have these settings."""
    if not (math.isfinite(a) and a >= 0):
        raise BadInput(f"the contrast's a is a number from 0 up, not {a:g}")
    if not 0 <= b <= 1:
        raise BadInput(f"the contrast's b is a share from 0 to 1, not {b:g}")


def contrast(
    picture: Tensor, reference: Tensor, a: float = CONTRAST_A, b: float = CONTRAST_B
) -> Tensor:
    """Logits (1 + a) picture - a reference, float32 [..., vocabulary]; softmax gives the row.

    Tokens that the picture's row holds less likely than b times its best are removed: -inf. With
    a = 0 those left are ranked as in the picture's row; with b = 1 its best is left, and what
    ties with it. A token that the reference never offers counts as the least likely that it does.

    Raises BadInput for settings that it cannot have.
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
    """The reference of several counterfactuals together ("both": none and unk): mean logits."""
    import torch

    return torch.stack([each.float().to(references[0].device) for each in references]).mean(0)
