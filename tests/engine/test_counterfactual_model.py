"""The bundled model without its picture: the planted prior, and rows that part where it is read."""

from __future__ import annotations

import pytest

from engine.models.loading import LoadedModel
from samples.making.questions import ATTRIBUTES, PRIOR
from tests.counterfactuals import (
    OTHER,
    WITH_PICTURE,
    Answers,
    Table,
    answers,
    distance_from_prior,
)

HONEST = {"color": "none", "shape": "none", "material": "none", "number": "zero"}
"""The answers for a picture without objects."""
FROZEN_LAYERS = 4
"""The lower layers of the bundled model learned from text only."""


def wrong(entry: Answers) -> float:
    return 1 - sum(entry.right) / len(entry.right)


def check_picture_and_prior(loaded: LoadedModel, table: Table) -> None:
    """With the picture the answer is right; without it, it is the prior, for every picture."""
    for attribute in ATTRIBUTES:
        found = table[attribute]
        assert wrong(found[WITH_PICTURE]) <= 0.05, attribute
        none = found["none"]
        likeliest = max(PRIOR[attribute], key=PRIOR[attribute].__getitem__)
        assert set(none.words) == {likeliest}
        for shares in none.shares:
            assert distance_from_prior(loaded, attribute, shares) < 0.1, attribute
            assert float((shares - none.shares[0]).abs().max()) < 1e-5
        assert distance_from_prior(loaded, attribute, found[WITH_PICTURE].shares[0]) > 0.2
        assert set(found["black"].words) == {HONEST[attribute]}


def check_divergence(table: Table) -> None:
    """The same token enters at the last position; the picture counts from the middle on."""
    for attribute in ATTRIBUTES:
        for label, entry in table[attribute].items():
            assert max(entry.first_js) < 1e-6, (attribute, label)
        assert set(table[attribute][WITH_PICTURE].layers) == {None}
        layers = table[attribute]["none"].layers
        assert None not in layers
        above = [layer for layer in layers if layer is not None and layer > FROZEN_LAYERS]
        assert len(above) > 0.1 * len(layers), attribute


def test_half_a_dozen_scenes(bundled: LoadedModel) -> None:
    table = answers(bundled, 6, "none,black")
    check_picture_and_prior(bundled, table)
    check_divergence(table)


@pytest.mark.slow
def test_two_hundred_scenes(bundled: LoadedModel) -> None:
    table = answers(bundled, 200)
    check_picture_and_prior(bundled, table)
    check_divergence(table)
    for attribute in ATTRIBUTES:
        found = table[attribute]
        for label in ("unk", "unk-all"):
            for shares in found[label].shares:
                assert distance_from_prior(bundled, attribute, shares) < 0.1, (attribute, label)
        for label in ("noise=999", "noise-pure", "zero", "one", "white"):
            said = found[label].words.count(HONEST[attribute]) / len(found[label].words)
            assert said > 0.9, (attribute, label)
        # At step 500 most of the picture is still there.
        assert wrong(found["noise=500"]) < wrong(found["none"]), attribute
        assert wrong(found[OTHER]) > 0.4, attribute
