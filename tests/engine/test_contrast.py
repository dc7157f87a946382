"""Contrast rows against VDD's formula in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import samples
from engine.asking.asking import Asking
from engine.errors import BadInput, Cancelled
from engine.lens.divergence import kept_logits
from engine.methods.asked_run import AskedRun
from engine.methods.contrast import (
    Contrast,
    ContrastReading,
    ContrastRequest,
    contrast,
    contrast_rows,
    mean_reference,
)
from engine.models.loading import LoadedModel
from engine.records import Picture, Question

ROW = st.lists(
    st.tuples(st.floats(-50, 50, width=32), st.floats(-50, 50, width=32)), min_size=1, max_size=9
)


def rows(seed: int, count: int = 3, vocabulary: int = 300) -> torch.Tensor:
    return torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(seed)) * 4


def published(picture: torch.Tensor, reference: torch.Tensor, a: float, b: float) -> Any:
    """As in vcd_sample.py: cutoff = log(b) + max; diffs.masked_fill(z < cutoff, -inf)."""
    z, other = picture.double().numpy(), reference.double().numpy()
    with np.errstate(divide="ignore"):
        cutoff = np.log(b) + z.max(-1, keepdims=True)
    return np.where(z < cutoff, -math.inf, (1 + a) * z - a * other)


@pytest.mark.parametrize("a", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("b", [0.0, 0.1, 0.2, 1.0])
def test_the_published_formula(a: float, b: float) -> None:
    picture, reference = rows(0), rows(1)
    found = contrast(picture, reference, a, b)
    assert found.dtype == torch.float32
    wanted = published(picture, reference, a, b)
    assert found.numpy() == pytest.approx(wanted, rel=1e-5, abs=1e-4)
    shares = np.exp(wanted - wanted.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    assert found.softmax(-1).numpy() == pytest.approx(shares, rel=1e-4, abs=1e-6)


@given(ROW, st.sampled_from([0.001, 0.1, 0.2, 0.9]))
def test_a_0_gives_the_pictures_ranking(pairs: list[tuple[float, float]], b: float) -> None:
    picture, reference = torch.tensor(pairs).T
    found = contrast(picture, reference, a=0.0, b=b)
    kept = found > -math.inf
    assert bool(kept[picture.argmax()])
    assert torch.equal(found[kept], picture[kept])
    worst = picture[kept].min()
    assert bool((picture[~kept] < worst).all())


@given(ROW)
def test_b_1_leaves_the_best_and_its_ties(pairs: list[tuple[float, float]]) -> None:
    picture, reference = torch.tensor(pairs).T
    found = contrast(picture, reference, b=1.0)
    assert torch.equal(found > -math.inf, picture == picture.max())


def test_b_1_leaves_one_token() -> None:
    found = contrast(torch.tensor([3.0, 5.0, 4.9]), torch.tensor([0.0, 9.0, -9.0]), b=1.0)
    assert found.softmax(-1).tolist() == [0.0, 1.0, 0.0]


def test_the_picture_wins_over_the_prior() -> None:
    """The prior's answer leads with the picture too, but the picture favours another answer."""
    picture, reference = torch.tensor([3.0, 2.9, -9.0]), torch.tensor([4.0, 0.0, -30.0])
    found = contrast(picture, reference)
    assert int(picture.argmax()) == 0
    assert int(found.argmax()) == 1
    assert float(found[2]) == -math.inf  # however little the reference thought of it


def test_masked_tokens_stay_out_and_make_no_infinity() -> None:
    inf = math.inf
    picture = torch.tensor([-inf, 2.0, 1.0, 0.0])
    reference = torch.tensor([-inf, 1.0, -inf, -3.0])
    for a in (0.0, 1.0):
        for b in (0.0, 0.1):
            found = contrast(picture, reference, a, b)
            assert float(found[0]) == -inf
            assert bool(found[1:].isfinite().all())
            assert bool(found.softmax(-1).isfinite().all())
    assert float(contrast(picture, reference, 1.0, 0.0)[2]) == 2 * 1.0 - -3.0


def test_rows_of_low_precision_are_worked_out_in_float32() -> None:
    picture, reference = rows(0).bfloat16(), rows(1).bfloat16()
    for a in (1.0, 0.7):  # twice a number is exact in any precision
        found = contrast(picture, reference, a)
        assert torch.equal(found, contrast(picture.float(), reference.float(), a))
    mean = mean_reference(picture, reference)
    assert torch.equal(mean, mean_reference(picture.float(), reference.float()))


def test_both_is_the_mean_of_logits() -> None:
    none, unk = rows(1), rows(2)
    assert torch.allclose(mean_reference(none, unk), (none + unk) / 2)
    assert torch.equal(mean_reference(none), none)


@pytest.mark.parametrize(
    ("a", "b"), [(-0.1, 0.1), (math.nan, 0.1), (math.inf, 0.1), (1, -0.1), (1, 1.1), (1, math.nan)]
)
def test_settings_that_cannot_be(a: float, b: float) -> None:
    with pytest.raises(BadInput, match="contrast"):
        contrast(rows(0), rows(1), a, b)


def test_settings_at_their_bounds() -> None:
    for a, b in ((0.0, 0.0), (0.0, 1.0), (100.0, 0.5)):
        assert bool(contrast(rows(0), rows(1), a, b).isfinite().any(-1).all())


def test_what_the_reference_rules_out_counts_as_its_lowest_in_that_row() -> None:
    picture = torch.zeros(2, 3)
    reference = torch.tensor([[1.0, -math.inf, -5.0], [-math.inf, 2.0, 7.0]])
    assert contrast(picture, reference, 1.0, 0.0).tolist() == [[-1.0, 5.0, 5.0], [-2.0, -2.0, -7.0]]


def asked(bundled: LoadedModel) -> AskedRun:
    asking = Asking(
        bundled, Question("Colour:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))
    )
    return AskedRun(asking, asking.run())


def test_a_reading_is_the_published_formula_in_every_row(bundled: LoadedModel) -> None:
    run = asked(bundled)
    request = ContrastRequest(("none", "black"), a=0.7, b=0.01)
    reading = run.read(Contrast(), request)
    assert isinstance(reading, ContrastReading)
    ids = tuple(other.id for other in run.others)
    assert (reading.against, reading.references, reading.refers_to) == (ids[0], ids, ids)
    assert len(set(ids)) == 2

    count = len(run.run.rows)
    subjects = [run.subject, *(run.subject.against(name) for name in request.against)]
    picture, none, black = (kept_logits(each.kept)(range(count)).double() for each in subjects)
    reference = (none + black) / 2
    logits = published(picture, reference, request.a, request.b)
    shares = torch.tensor(logits).softmax(-1)
    p, q = picture.softmax(-1), reference.softmax(-1)
    kl = (p * (p / q).log()).sum(-1)
    mean = (p + q) / 2
    js = ((p * (p / mean).log()).sum(-1) + (q * (q / mean).log()).sum(-1)) / 2
    entropy = torch.special.entr(shares).sum(-1)
    assert [row.layer for row in reading.rows] == list(range(count))
    # Plain numbers: records leave the worker, tensors do not.
    assert {type(value) for row in reading.rows for value in (row.js, row.kl)} == {float}
    for layer, row in enumerate(reading.rows):
        assert row.kl == pytest.approx(float(kl[layer]), rel=1e-3, abs=1e-5)
        assert row.js == pytest.approx(float(js[layer]), rel=1e-3, abs=1e-5)
        assert row.entropy == pytest.approx(float(entropy[layer]), rel=1e-3, abs=1e-4)
        assert len(row.top) == min(10, int(np.isfinite(logits[layer]).sum()))
        for token, best in zip(row.top, -np.sort(-logits[layer]), strict=False):
            assert token.logit == pytest.approx(best, abs=1e-3)
            assert token.logit == pytest.approx(logits[layer][token.id], abs=1e-3)
            assert token.probability == pytest.approx(float(shares[layer, token.id]), abs=1e-4)
    assert {len(row.top) for row in reading.rows} != {10}  # b has removed something

    (table,) = Contrast().tables(reading)
    assert [(column.name, column.kind, column.head) for column in table.columns] == [
        ("layer", "count", "layer"), ("token", "token", "contrast"), ("probability", "share", "p"),
        ("entropy", "number", "entropy"), ("js", "number", "JS"), ("kl", "number", "KL"),
    ]  # fmt: skip
    for line, row in zip(table.rows, reading.rows, strict=True):
        best = row.top[0]
        assert line == (row.layer, best.text, best.probability, row.entropy, row.js, row.kl)
    assert "none and black, a=0.7, b=0.01" in table.title
    nothing = structs.replace(reading.rows[0], top=(), entropy=None)
    (table,) = Contrast().tables(structs.replace(reading, rows=(nothing,)))
    assert table.rows == ((0, None, None, None, nothing.js, nothing.kl),)


def test_a_reading_answers_only_what_was_asked(bundled: LoadedModel) -> None:
    run = asked(bundled)
    reading = run.read(Contrast(), ContrastRequest(("none",), 0.5, 0.2))
    (other,) = run.others
    for against in ("none", other.id):
        assert reading.fulfils(ContrastRequest((against,), 0.5, 0.2))
        assert not reading.fulfils(ContrastRequest((against,), 0.6, 0.2))
        assert not reading.fulfils(ContrastRequest((against,), 0.5, 0.3))
    assert not reading.fulfils(ContrastRequest(("black",), 0.5, 0.2))
    assert run.read(Contrast(), ContrastRequest(("none",), 2.0, 0.2)).request != reading.request
    with pytest.raises(BadInput, match="must be a share from 0 to 1, not 2"):
        run.read(Contrast(), ContrastRequest(("none",), 0.5, 2.0))


def test_rows_can_be_cancelled(bundled: LoadedModel) -> None:
    run = asked(bundled)
    run.read(Contrast(), ContrastRequest())
    kept, (other,) = run.subject.kept, run.others
    assert kept is not None
    assert len(contrast_rows(kept, [kept], 1.0, 0.1)) == len(run.run.rows)
    with pytest.raises(Cancelled):
        contrast_rows(kept, [kept], 1.0, 0.1, lambda: True)
    with pytest.raises(Cancelled):
        list(Contrast().read(run.subject, ContrastRequest((other.id,)), lambda: True))
