"""Post-hoc debiasing of a list of answers, as in the released code of VDD (arXiv 2403.05262): the
probability of each answer is divided by its probability without the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from engine.errors import BadInput
from engine.methods.method import Method, Stop, Subject
from engine.methods.without_picture import (
    FROM_TWO_PROVED_RUNS,
    no_picture_to_replace,
    references_of,
    rows_together,
)
from engine.records import NonNegative, Number, Reading, Request, RunId, Short
from engine.tables import Column, Table

if TYPE_CHECKING:
    from torch import Tensor


class DebiasRequest(Request, frozen=True):
    """Which answers to debias, and against which runs."""

    answers: tuple[Short, ...]
    """At least two answers."""
    against: tuple[str, ...] = ("none",)
    """The runs without the picture, by id or by counterfactual; shares of several are summed."""


class Debiased(Struct, frozen=True):
    """One answer of a list in one row."""

    answer: str
    ids: tuple[int, ...]
    """The first token of each of its spellings."""
    probability: float
    """Sum over its spellings, out of the whole vocabulary."""
    plain: float
    """Its share of the summed probabilities of the listed answers."""
    prior: float
    """The same share without the picture."""
    debiased: float
    """The debiased share; all answers sum to 1."""
    shared_with: tuple[str, ...]
    """Other answers of the list that begin with one of the same tokens: the figures cannot tell
    them apart."""


class DebiasedAnswer(Struct, frozen=True):
    """One answer of a list through all rows, a figure for each of rows 0..L."""

    text: Short
    ids: tuple[NonNegative, ...]
    """The first token of each of its spellings."""
    before: tuple[Number, ...]
    """Its share of the summed probabilities of the listed answers."""
    after: tuple[Number, ...]
    """The debiased share; all answers sum to 1."""
    probability: tuple[Number, ...]
    """Sum over its spellings, out of the whole vocabulary."""
    prior: tuple[Number, ...]
    """The share `before`, without the picture."""
    shared_with: tuple[str, ...] = ()
    """Other answers of the list that begin with one of the same tokens: the figures cannot tell
    them apart."""


class DebiasReading(Reading, frozen=True, kw_only=True, tag="debias"):
    """A list of answers, debiased by their probabilities without the picture."""

    request: DebiasRequest
    answers: tuple[DebiasedAnswer, ...]
    references: tuple[RunId, ...]

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """The runs without the picture."""
        return self.references

    def fulfils(self, request: Request) -> bool:
        """Whether it has these answers, and was read against the runs that are asked for."""
        return (
            isinstance(request, DebiasRequest)
            and request.answers == self.request.answers
            and request.against in (self.request.against, self.references)
        )


class Debias(Method[DebiasRequest, DebiasReading]):
    """Divides the probabilities of answers by those without the picture."""

    name: ClassVar[str] = "debias"
    title: ClassVar[str] = "Answers of a list, less the language model's prior (debias)"
    request = DebiasRequest
    reading = DebiasReading

    def supports(self, subject: Subject) -> str | None:
        """A reason if the run has no picture that could be replaced."""
        return no_picture_to_replace(subject)

    def needs(self, request: DebiasRequest) -> tuple[str, ...]:
        """The counterfactuals that give the prior."""
        return request.against

    def read(self, subject: Subject, request: DebiasRequest, stop: Stop) -> Iterator[DebiasReading]:
        """Read the answers from the kept streams, without a new pass."""
        from engine.prompts.spellings import speller_of

        kept = subject.kept
        speller = speller_of(subject.loaded.model, subject.loaded.processor)
        answers = parse_answers(",".join(request.answers))
        ids = answer_ids(answers, lambda answer: speller.spelled(answer).ids)
        others = references_of(subject, request.against, "debiasing")
        rows = [
            debiased_answers(ids, *logits)
            for _, plain, without in rows_together(kept, [other.kept for other in others], stop)
            for logits in zip(plain, *without, strict=True)
        ]
        yield DebiasReading(
            request=request,
            reason=FROM_TWO_PROVED_RUNS,
            answers=tuple(
                DebiasedAnswer(
                    text=answer,
                    ids=ids[answer],
                    before=tuple(row[index].plain for row in rows),
                    after=tuple(row[index].debiased for row in rows),
                    probability=tuple(row[index].probability for row in rows),
                    prior=tuple(row[index].prior for row in rows),
                    shared_with=rows[-1][index].shared_with,
                )
                for index, answer in enumerate(answers)
            ),
            references=tuple(other.run.id for other in others),
        )

    def tables(self, reading: DebiasReading) -> tuple[Table, ...]:
        """One line per answer: its figures in the last row."""
        columns = (
            Column("answer", "token"),
            Column("probability", "share", "p"),
            Column("before", "share", "share"),
            Column("prior", "share"),
            Column("after", "share", "debiased"),
            Column("begins_like", "text", "begins like"),
        )
        rows = tuple(
            (
                each.text,
                each.probability[-1],
                each.before[-1],
                each.prior[-1],
                each.after[-1],
                ", ".join(each.shared_with),
            )
            for each in reading.answers
        )
        title = f"answers, debiased by {' and '.join(reading.request.against)} (last row)"
        return (Table(title, columns, rows),)


EPSILON = 1e-4
"""Added to the prior before dividing, as in the released code."""
IdsOf = Callable[[str], tuple[int, ...]]
"""f(answer) -> the first token id of each of its spellings."""


def parse_answers(text: str) -> tuple[str, ...]:
    """The distinct answers of a comma-separated list. Raises BadInput for fewer than two."""
    answers = tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    if len(answers) < 2:
        raise BadInput('a list of answers needs at least two: "yes, no"')
    return answers


def answer_ids(answers: Sequence[str], ids_of: IdsOf) -> dict[str, tuple[int, ...]]:
    """The ids of every answer. Raises BadInput for an answer that begins with no known token."""
    found = {answer: tuple(dict.fromkeys(ids_of(answer))) for answer in answers}
    for answer, ids in found.items():
        if not ids:
            raise BadInput(f"no token of this model begins the answer {answer!r}")
    return found


def debias(probabilities: Sequence[float], prior: Sequence[float]) -> tuple[float, ...]:
    """p' = W p / sum(W p) with W = diag(1 / (prior + 1e-4)); p and prior are normalised first."""
    pairs = zip(normalised(probabilities), normalised(prior), strict=True)
    return normalised([share / (before + EPSILON) for share, before in pairs])


def normalised(values: Sequence[float]) -> tuple[float, ...]:
    """The values divided by their sum; zeros if the sum is 0."""
    total = sum(values)
    return tuple(value / total if total else 0.0 for value in values)


def debiased_answers(
    answers: Mapping[str, tuple[int, ...]], picture: Tensor, *references: Tensor
) -> tuple[Debiased, ...]:
    """Debias answers (answer -> token ids) in one row.

    `picture` and each of `references` are the row's logits [vocabulary] with and without the
    picture; the shares of several references are summed. The probabilities of an answer's spellings
    are summed too, while the released code takes its first spelling among the ten most probable
    tokens. Raises ValueError without a reference.
    """
    if not references:
        raise ValueError("without a reference there is no prior")
    whole = _shares(answers, picture)
    plain = normalised(whole)
    columns = zip(*(normalised(_shares(answers, each)) for each in references), strict=True)
    prior = normalised([sum(column) for column in columns])
    return tuple(
        Debiased(
            answer=answer,
            ids=ids,
            probability=whole[index],
            plain=plain[index],
            prior=prior[index],
            debiased=after,
            shared_with=tuple(
                other
                for other, others in answers.items()
                if other != answer and not set(ids).isdisjoint(others)
            ),
        )
        for index, ((answer, ids), after) in enumerate(
            zip(answers.items(), debias(plain, prior), strict=True)
        )
    )


def _shares(answers: Mapping[str, tuple[int, ...]], logits: Tensor) -> list[float]:
    probabilities = logits.float().softmax(-1)
    return [float(probabilities[list(ids)].sum()) for ids in answers.values()]
