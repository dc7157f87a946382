"""What the methods share that read a run against the same question without its picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.errors import BadInput, Cancelled
from engine.methods.method import Stop, Subject

if TYPE_CHECKING:
    from torch import Tensor

    from engine.lens.kept import KeptStream

FROM_TWO_PROVED_RUNS = "computed from the rows of runs that are each proved"


def no_picture_to_replace(subject: Subject) -> str | None:
    """The reason why a run has no picture that could be replaced; None if it has one."""
    question = subject.run.question
    if question.picture is None:
        return "this run has no picture that could be replaced"
    if question.counterfactual is not None:
        return "this run is itself a counterfactual: read this from the run with the picture"
    return None


def references_of(subject: Subject, against: Sequence[str], what: str) -> list[Subject]:
    """The kept runs without the picture, by id or by counterfactual.

    Raises BadInput, which begins with `what`, if none is asked for, and what `Subject.against`
    raises.
    """
    if not against:
        raise BadInput(f"{what} needs a run without the picture")
    return [subject.against(reference) for reference in against]


def rows_together(
    picture: KeptStream, references: Sequence[KeptStream], stop: Stop
) -> Iterator[tuple[range, Tensor, list[Tensor]]]:
    """Yield some of the rows 0..L at a time: their numbers, and their logits [rows, vocabulary]
    with the picture and in each of the references.

    Raises Cancelled soon after `stop()` is true.
    """
    from engine.lens.divergence import CHUNK, kept_logits

    layers = len(picture.readings)
    logits_with = kept_logits(picture)
    logits_without = [kept_logits(reference) for reference in references]
    for start in range(0, layers, CHUNK):
        if stop():
            raise Cancelled("cancelled")
        some = range(start, min(start + CHUNK, layers))
        yield some, logits_with(some), [logits(some) for logits in logits_without]
