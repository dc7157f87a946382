"""Numbers of a row against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.lens.readout import answer_readings, kl_divergence, ranks, readings, top_ids

LOGITS = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=40)
"""Few values, so that ties are common."""


@given(LOGITS, st.integers(1, 50))
def test_top_ids_are_sorted_with_ties_to_the_lower_id(values: list[float], count: int) -> None:
    expected = sorted(range(len(values)), key=lambda token: (-values[token], token))
    assert top_ids(torch.tensor(values), count).tolist() == expected[:count]


@given(LOGITS)
def test_rank_one_is_the_best_and_ties_go_to_the_lower_id(values: list[float]) -> None:
    order = sorted(range(len(values)), key=lambda token: (-values[token], token))
    found = ranks(torch.tensor([values]), torch.arange(len(values)))[0].tolist()
    assert found == [order.index(token) + 1 for token in range(len(values))]


def test_kl_is_the_closed_form() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.25, 0.5])
    expected = float((p * (p / q).log()).sum())
    found = kl_divergence(p.log().unsqueeze(0), q.log())
    assert float(found) == pytest.approx(expected, abs=1e-6)
    assert float(kl_divergence(q.log().unsqueeze(0), q.log())) == 0.0


def test_a_token_that_is_ruled_out_does_not_spoil_the_numbers() -> None:
    logits = torch.tensor([[1.0, -math.inf, 0.0]])
    (row,) = readings([0], torch.ones(1, 4), logits, 3, str, [None])
    assert row.top[2].id == 1 and row.top[2].logit is None and row.top[2].probability == 0.0
    share = math.e / (math.e + 1)
    assert row.entropy == pytest.approx(
        -share * math.log(share) - (1 - share) * math.log(1 - share), abs=1e-6
    )
    assert float(kl_divergence(logits, logits[0])) == 0.0


def test_uniform_logits_have_the_entropy_of_the_vocabulary() -> None:
    (row,) = readings([0], torch.full((1, 2, 8), 3.0), torch.zeros(1, 1000), 2, str, ["why"])
    assert row.entropy == pytest.approx(math.log(1000), abs=1e-4)
    assert [token.id for token in row.top] == [0, 1]
    assert row.rms == 3.0
    assert row.approximate == "why"


def test_half_precision_is_summed_in_float32() -> None:
    stream = torch.full((1, 4096), 300.0, dtype=torch.float16)
    (row,) = readings([0], stream, torch.zeros(1, 4), 1, str, [None])
    assert row.rms == pytest.approx(300.0)


def test_a_row_that_is_not_a_number_shows_nothing() -> None:
    logits = torch.tensor([[math.nan, 1.0]])
    (row,) = readings([0], torch.full((1, 2), math.inf), logits, 2, str, [None])
    assert row.top == () and row.entropy is None and row.rms is None
    assert answer_readings(logits, 1) == [None]
