"""KL and Jensen-Shannon against their formulas in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine import Lens
from engine.anatomy.tail import RowStream
from engine.lens.divergence import (
    CHUNK,
    StreamingDivergence,
    compare_passes,
    divergences,
    kept_logits,
    kept_logits_through,
    picture_layer,
)
from engine.lens.kept import KeptStream
from engine.lens.readout import LN_2
from tests.families import FAMILIES, Tiny

Floats = NDArray[np.float64]
VOCABULARY = 700
LOGIT = st.one_of(st.floats(-60, 60, width=32), st.just(-math.inf))


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    total: Floats = shifted / shifted.sum(-1, keepdims=True)
    return total


def kl(p: Floats, q: Floats) -> Floats:
    """By the definition; tokens that p rules out contribute nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms: Floats = np.where(p > 0, p * np.log(p / q), 0.0).sum(-1)
    return terms


def expected(p_logits: torch.Tensor, q_logits: torch.Tensor) -> tuple[Floats, Floats]:
    p, q = softmax(p_logits.double().numpy()), softmax(q_logits.double().numpy())
    mean = (p + q) / 2
    return kl(p, q), (kl(p, mean) + kl(q, mean)) / 2


def random_logits(rows: int, scale: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, VOCABULARY, generator=generator) * scale


@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0, 20.0])
def test_random_rows(scale: float) -> None:
    p, q = random_logits(2 * CHUNK + 3, scale, 0), random_logits(2 * CHUNK + 3, scale, 1)
    found = divergences(p, q)
    wanted = expected(p, q)
    assert found.kl.numpy() == pytest.approx(wanted[0], rel=1e-5, abs=1e-6)
    assert found.js.numpy() == pytest.approx(wanted[1], rel=1e-5, abs=1e-6)


@given(st.lists(st.tuples(LOGIT, LOGIT), min_size=1, max_size=12))
def test_whatever_rows(pairs: list[tuple[float, float]]) -> None:
    rows = torch.tensor(pairs).T
    p, q = rows[:1].contiguous(), rows[1:].contiguous()
    found = divergences(p, q)
    if not bool(rows.isfinite().any(-1).all()):  # all tokens masked: no distribution
        assert bool(found.js.isnan())
        return
    wanted = expected(p, q)
    # What float32 cannot hold (below 1e-38 or so) is 0 there.
    if math.isfinite(float(wanted[0][0])) and math.isfinite(float(found.kl)):
        assert float(found.kl) == pytest.approx(float(wanted[0][0]), rel=1e-4, abs=2e-6)
    assert float(found.js) == pytest.approx(float(wanted[1][0]), rel=1e-4, abs=2e-6)
    assert 0 <= float(found.js) <= LN_2 + 1e-7
    assert float(found.kl) >= 0


def test_the_same_rows_are_not_apart_at_all() -> None:
    for scale in (0.0, 1.0, 30.0):
        p = random_logits(3, scale, 5)
        p[:, :7] = -math.inf
        found = divergences(p, p.clone())
        assert found.kl.tolist() == [0.0] * 3
        assert found.js.tolist() == [0.0] * 3
    shifted = divergences(random_logits(3, 3.0, 5), random_logits(3, 3.0, 5) + 4)
    assert float(shifted.js.max()) < 1e-6


def test_nearly_the_same_rows() -> None:
    p = random_logits(4, 3.0, 5)
    q = p + random_logits(4, 1e-3, 6)
    found, wanted = divergences(p, q), expected(p, q)
    assert found.js.numpy() == pytest.approx(wanted[1], abs=2e-7)
    assert bool((found.js >= 0).all()) and bool((found.kl >= 0).all())


def test_rounding_leaves_no_divergence_that_cannot_be() -> None:
    """Neither below 0, of rows that are nearly the same, nor above ln 2, of rows wholly apart."""
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(2000, 2, generator=generator) * 3
    near = divergences(p, p + torch.randn(2000, 2, generator=generator) * 1e-3)
    assert float(near.js.min()) >= 0 and float(near.kl.min()) >= 0
    p, q = torch.randn(2, 500, 40, generator=generator)
    p[:, :20], q[:, 20:] = -200.0, -200.0
    apart = divergences(p, q)
    assert float(apart.js.max()) <= float(torch.tensor(LN_2))
    assert float(apart.js.min()) == pytest.approx(LN_2, abs=1e-6)


def test_tokens_that_only_one_of_them_gives() -> None:
    inf = math.inf
    p, q = torch.tensor([[0.0, 0.0, -inf]]), torch.tensor([[0.0, -inf, 0.0]])
    found = divergences(p, q)
    assert found.kl.item() == inf
    assert found.js.item() == pytest.approx(LN_2 / 2, abs=1e-7)
    (row,) = StreamingDivergence(lambda rows: p).feed([4], q)
    assert (row.layer, row.kl) == (4, None)
    apart = divergences(torch.tensor([[0.0, -inf]]), torch.tensor([[-inf, 0.0]]))
    assert apart.js.item() == pytest.approx(LN_2, abs=1e-7)


def test_rows_that_are_not_numbers() -> None:
    p = torch.tensor([[0.0, math.nan], [0.0, 1.0]])
    found = compare_passes(
        [0, 1], lambda rows: p[list(rows)], lambda rows: torch.zeros(len(rows), 2)
    )
    assert (found[0].kl, found[0].js) == (None, None)
    assert found[1].js is not None and found[1].js > 0


def test_rows_of_low_precision_are_compared_in_float32() -> None:
    p, q = random_logits(3, 3.0, 0).bfloat16(), random_logits(3, 3.0, 1).bfloat16()
    found, wanted = divergences(p, q), divergences(p.float(), q.float())
    assert torch.equal(found.kl, wanted.kl) and torch.equal(found.js, wanted.js)


def test_rows_of_other_vocabularies_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        divergences(torch.zeros(2, 3), torch.zeros(2, 4))


def test_rows_as_they_come_are_those_of_two_whole_passes() -> None:
    count = 2 * CHUNK + 5
    p, q = random_logits(count, 2.0, 0), random_logits(count, 2.0, 1)
    most = 0

    def picture(rows: object) -> torch.Tensor:
        nonlocal most
        chosen = p[list(rows)]  # type: ignore[call-overload]
        most = max(most, len(chosen))
        return chosen

    asked: list[int] = []

    def other(rows: Sequence[int]) -> torch.Tensor:
        asked.extend(rows)
        return q[list(rows)]

    streamed = StreamingDivergence(picture)
    groups = [range(CHUNK + 2, count), [0], range(1, CHUNK + 2)]
    for group in groups:
        told = streamed.feed(list(group), q[list(group)])
        assert [row.layer for row in told] == list(group)
    assert [row.layer for row in streamed.rows] == list(range(count))
    assert streamed.rows == compare_passes(range(count), picture, other)
    assert asked == list(range(count))  # each once
    # Plain numbers: records leave the worker, tensors do not.
    assert {type(value) for row in streamed.rows for value in (row.kl, row.js)} == {float}
    assert [row.js for row in streamed.rows] == pytest.approx(divergences(p, q).js.tolist())
    assert most <= CHUNK


def ended(lens: Lens, inputs: dict[str, Any]) -> KeptStream:
    streamed = lens.start(inputs)
    for _ in streamed:
        pass
    return streamed.keep()


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "gemma3n"])
def test_what_two_passes_have_left_behind(name: str) -> None:
    tiny: Tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    other = {**tiny.inputs, "input_ids": tiny.inputs["input_ids"].clone()}
    other["input_ids"][0, -2:] = torch.tensor([11, 12])
    rows = [lens.logits(inputs)[:, 0, 0] for inputs in (tiny.inputs, other)]
    kept = [ended(lens, inputs) for inputs in (tiny.inputs, other)]
    found = compare_passes(range(tiny.layers + 1), kept_logits(kept[0]), kept_logits(kept[1]))
    wanted = divergences(*rows)
    assert [row.layer for row in found] == list(range(tiny.layers + 1))
    assert [row.js for row in found] == pytest.approx(wanted.js.tolist(), abs=1e-6)
    assert [row.kl for row in found] == pytest.approx(wanted.kl.tolist(), abs=1e-6)
    assert found[-1].js is not None and found[-1].js > 1e-4
    last = tiny.layers
    assert torch.allclose(
        kept_logits(kept[0])([last, 1, last]), rows[0][[last, 1, last]], atol=1e-4
    )


def test_the_last_row_is_the_models_own() -> None:
    tiny = FAMILIES["llava"]()
    kept = ended(Lens(tiny.model), tiny.inputs)
    projected: list[int] = []

    def project(streams: Sequence[RowStream]) -> torch.Tensor:
        projected.append(len(streams))
        return kept.project(streams)

    last = tiny.layers
    with torch.no_grad():
        found = kept_logits_through(kept, project)([last, 0, last])
        assert projected == [1]
        assert torch.equal(kept_logits_through(kept, project)([last]), kept.model_logits)
    assert projected == [1]
    assert torch.equal(found[0], kept.model_logits[0]) and torch.equal(found[2], found[0])


@pytest.mark.parametrize(
    ("js", "layer"),
    [
        ([0.0, 0.05, 0.2, 0.05, 0.3, 0.4], 4),
        ([0.2, 0.3], 0),
        ([0.0, 0.3, 0.1], None),
        ([0.0, 0.0], None),
        ([], None),
        ([0.5, None, 0.5], 2),
        ([0.5, None], None),
        ([0.5, math.nan, 0.5], 2),
    ],
)
def test_the_pictures_layer(js: list[float | None], layer: int | None) -> None:
    assert picture_layer(js) == layer


def test_the_threshold_is_a_setting() -> None:
    assert picture_layer([0.0, 0.2, 0.4], 0.3) == 2
    assert picture_layer([0.0, 0.2, 0.4], 0.0) == 1
