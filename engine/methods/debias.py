"""Post-hoc debias of a list of answers, as in the released code of VDD: each answer's probability
is divided by what it has without the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from engine.errors import BadInput
from engine.records import Debiased

EPSILON = 1e-4
IdsOf = Callable[[str], tuple[int, ...]]
"""From an answer to the ids of its spellings: the first token of each."""


def parse_answers(text: str) -> tuple[str, ...]:
    """A comma-separated list, each answer once. Raises BadInput for fewer than two."""
    answers = tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    if len(answers) < 2:
        raise BadInput('a list of answers has at least two: "yes, no"')
    return answers


def answer_ids(answers: Sequence[str], ids_of: IdsOf) -> dict[str, tuple[int, ...]]:
    """The ids of every answer. Raises BadInput for one that the tokenizer knows no token of."""
    found = {answer: tuple(dict.fromkeys(ids_of(answer))) for answer in answers}
    for answer, ids in found.items():
        if not ids:
            raise BadInput(f"no token of this model begins the answer {answer!r}")
    return found


def debias(probabilities: Sequence[float], prior: Sequence[float]) -> tuple[float, ...]:
    """p' = W p / sum(W p) with W = diag(1 / (prior + 1e-4)), both normalised over the list."""
    pairs = zip(normalised(probabilities), normalised(prior), strict=True)
    return normalised([share / (before + EPSILON) for share, before in pairs])


def normalised(values: Sequence[float]) -> tuple[float, ...]:
    """Divided by their sum; zeros where that is 0."""
    total = sum(values)
    return tuple(value / total if total else 0.0 for value in values)


def debiased_answers(
    answers: Mapping[str, tuple[int, ...]], picture: Tensor, *references: Tensor
) -> tuple[Debiased, ...]:
    """The answers in their order, from the logits [vocabulary] of one row with the picture and
    without it; of several references the shares are added up.

    The probabilities of an answer's spellings are added up: the released code takes the first
    spelling among the ten likeliest tokens.
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
