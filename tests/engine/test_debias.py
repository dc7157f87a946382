"""Post-hoc debias against the released code's formula in float64, and whose tokens are counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.methods.debias import (
    answer_ids,
    debias,
    debiased_answers,
    normalised,
    parse_answers,
)
from engine.models.loading import LoadedModel
from engine.prompts.spellings import spelled
from engine.prompts.token_texts import texts_for
from samples.making.scenes import COLORS

SHARES = st.lists(
    st.tuples(st.floats(1e-6, 1), st.floats(0, 1)).filter(lambda pair: pair[1] != 5e-324),
    min_size=2,
    max_size=8,
)
IDS = {"yes": (1, 2), "no": (3,), "maybe": (5, 4)}


def published(p: list[float], prior: list[float]) -> list[float]:
    """As in eval_pope_calibrate.py: W = inv(diag(p_cf + 1e-4)); p' = W p / sum."""
    before = np.array(prior) / np.sum(prior) if np.sum(prior) else np.zeros(len(prior))
    weights = np.linalg.inv(np.diag(before + 1e-4))
    after = weights @ (np.array(p) / np.sum(p))
    shares: list[float] = (after / after.sum()).tolist()
    return shares


@given(SHARES)
def test_the_published_formula(pairs: list[tuple[float, float]]) -> None:
    p, prior = (list(column) for column in zip(*pairs, strict=True))
    found = debias(p, prior)
    assert found == pytest.approx(published(p, prior), rel=1e-9)
    assert sum(found) == pytest.approx(1)


def test_an_answer_that_is_all_prior_loses() -> None:
    assert debias([0.6, 0.4], [0.9, 0.1])[0] < 0.5
    assert debias([0.6, 0.4], [0.5, 0.5]) == pytest.approx((0.6, 0.4))
    assert debias([1.0, 0.0], [0.0, 1.0]) == (1.0, 0.0)


def test_answers_without_any_probability() -> None:
    assert debias([0.3, 0.7], [0.0, 0.0]) == pytest.approx((0.3, 0.7))
    assert debias([0.0, 0.0], [0.5, 0.5]) == (0.0, 0.0)
    assert normalised([]) == ()


def test_spellings_are_added_up() -> None:
    picture = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.05, 0.25]).log()
    reference = torch.tensor([0.1, 0.1, 0.1, 0.5, 0.1, 0.1]).log()
    found = debiased_answers(IDS, picture, reference)
    whole, before = [0.3, 0.3, 0.3], [0.2, 0.5, 0.2]
    assert [each.answer for each in found] == list(IDS)
    assert [each.ids for each in found] == list(IDS.values())
    assert [each.probability for each in found] == pytest.approx(whole, rel=1e-5)
    assert [each.plain for each in found] == pytest.approx([1 / 3] * 3, rel=1e-5)
    assert [each.prior for each in found] == pytest.approx([2 / 9, 5 / 9, 2 / 9], rel=1e-5)
    wanted = published(whole, before)
    assert [each.debiased for each in found] == pytest.approx(wanted, rel=1e-4)


def test_both_references_are_added_and_then_normalised() -> None:
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(3))
    found = debiased_answers(IDS, *rows)
    shares = [[float(row.softmax(-1)[list(ids)].sum()) for ids in IDS.values()] for row in rows]
    none, unk = (np.array(each) / np.sum(each) for each in shares[1:])
    assert [each.prior for each in found] == pytest.approx(((none + unk) / 2).tolist(), rel=1e-5)
    wanted = published(shares[0], (none + unk).tolist())
    assert [each.debiased for each in found] == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(ValueError, match="reference"):
        debiased_answers(IDS, rows[0])


def test_a_shared_first_token_is_told() -> None:
    ids = {"blue": (1, 2), "black": (2, 3), "red": (4,)}
    found = debiased_answers(ids, torch.zeros(6), torch.zeros(6))
    assert [each.shared_with for each in found] == [("black",), ("blue",), ()]


def test_lists_of_answers() -> None:
    assert parse_answers(" yes, no ,yes,") == ("yes", "no")
    for text in ("", "yes", "yes,yes", ","):
        with pytest.raises(BadInput, match="at least two"):
            parse_answers(text)
    assert answer_ids(("a", "b"), {"a": (3, 3, 1), "b": (2,)}.__getitem__) == {
        "a": (3, 1),
        "b": (2,),
    }
    with pytest.raises(BadInput, match="'b'"):
        answer_ids(("a", "b"), {"a": (3,), "b": ()}.__getitem__)


def test_the_eight_colours_of_the_bundled_model(bundled: LoadedModel) -> None:
    tokenizer = bundled.processor.tokenizer
    text_of = texts_for(bundled.model)
    spell = spelled(tokenizer, text_of, len(tokenizer))
    assert not any(spell(color).several_tokens for color in COLORS)
    ids = answer_ids(tuple(COLORS), lambda color: spell(color).ids)
    for color, tokens in ids.items():
        forms = [form for word in (color, color.title()) for form in (f" {word}", word)]
        assert sorted(text_of(token) for token in tokens) == sorted(forms)
    found = debiased_answers(ids, torch.zeros(len(tokenizer)), torch.zeros(len(tokenizer)))
    assert all(not each.shared_with for each in found)


def test_a_number_is_no_id_of_a_token(bundled: LoadedModel) -> None:
    tokenizer = bundled.processor.tokenizer
    spell = spelled(tokenizer, texts_for(bundled.model), len(tokenizer))
    texts = [texts_for(bundled.model)(token) for token in spell("2").ids]
    assert texts and set(texts) <= {"2", " 2"}
