"""Numbers that can be trusted, from models in every dtype; and random small models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Lens
from engine.lens.check import check_rows
from engine.prompts.token_texts import remember_tokenizer
from tests.families.llava import llava
from tests.families.parts import VOCABULARY
from tests.families.qwen import qwen2_vl
from tests.families.text import gemma2, llama

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def in_dtype(tiny: Any, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    inputs = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in tiny.inputs.items()
    }
    return tiny.model.to(dtype), inputs


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("build", [llama, gemma2, llava, qwen2_vl])
def test_probabilities_are_a_float32_softmax_over_the_whole_vocabulary(
    build: Any, dtype: torch.dtype
) -> None:
    model, inputs = in_dtype(build(), dtype)
    lens = Lens(model)
    rows = lens.logits(inputs)[:, 0, 0]
    assert rows.dtype == torch.float32
    for reading, row in zip(lens.stream(inputs, top_k=VOCABULARY), rows, strict=True):
        shares = [token.probability for token in reading.top]
        assert len(shares) == VOCABULARY
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
        exact = row.double().softmax(-1)
        for token in reading.top:
            assert token.probability == pytest.approx(float(exact[token.id]), abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ties_go_to_the_lower_id_and_twins_stay_two(dtype: torch.dtype) -> None:
    """Three ids with one and the same direction in the head tie exactly in every row."""
    model, inputs = in_dtype(llama(), dtype)
    with torch.no_grad():
        model.lm_head.weight[70] = model.lm_head.weight[20]
        model.lm_head.weight[41] = model.lm_head.weight[20]
    for reading in Lens(model).stream(inputs, top_k=VOCABULARY):
        ids = [token.id for token in reading.top]
        assert sorted(ids) == list(range(VOCABULARY))
        place = ids.index(20)
        assert ids[place : place + 3] == [20, 41, 70]
        logits = [token.logit for token in reading.top if token.logit is not None]
        assert logits == sorted(logits, reverse=True)


def test_two_tokens_of_one_text_stay_two() -> None:
    class OneText:
        """Every id decodes to the same text."""

        added_tokens_decoder: dict[int, str] = {}  # noqa: RUF012

        def convert_ids_to_tokens(self, token: int) -> str:
            return "red"

        def encode(self, text: str, **_: Any) -> list[int]:
            return []

        def decode(self, ids: list[int], **_: Any) -> str:
            return "red" * len(ids)

    tiny = llama()
    remember_tokenizer(tiny.model, OneText())
    for reading in Lens(tiny.model).stream(tiny.inputs, top_k=3):
        assert [token.text for token in reading.top] == ["red"] * 3
        assert len({token.id for token in reading.top}) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("build", [llama, gemma2, llava, qwen2_vl])
def test_rows_in_half_precision_are_the_truncated_models(build: Any, dtype: torch.dtype) -> None:
    model, inputs = in_dtype(build(), dtype)
    lens = Lens(model)
    assert all(check.right for check in check_rows(lens, inputs))
    assert lens.model_parts.dtype == dtype


# Random small models

QUICK = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SIZES: dict[str, Any] = {
    "layers": st.integers(1, 7),
    "hidden": st.sampled_from([32, 64, 96]),
    "seed": st.integers(0, 9),
}


def exact(tiny: Any) -> None:
    lens = Lens(tiny.model)
    checks = list(check_rows(lens, tiny.inputs))
    assert len(checks) == tiny.layers + 1
    assert all(check.right and check.note is None for check in checks)
    assert [row.layer for row in lens.stream(tiny.inputs)] == list(range(tiny.layers + 1))


LLAVA = st.builds(llava, patches=st.integers(1, 5), **SIZES)
QWEN = st.builds(
    qwen2_vl, rows=st.sampled_from([2, 4, 8]), columns=st.sampled_from([2, 6, 10]), **SIZES
)


@QUICK
@given(LLAVA)
def test_llavas_of_any_size(tiny: Any) -> None:
    exact(tiny)


@QUICK
@given(QWEN)
def test_qwens_of_any_size(tiny: Any) -> None:
    exact(tiny)


@pytest.mark.slow
@MANY
@given(LLAVA | QWEN)
def test_many_random_models(tiny: Any) -> None:
    exact(tiny)
