"""The picture's share and its effect along an answer, against eager attention and full softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from engine.anatomy import attention_rows
from engine.asking.asking import Asking
from engine.errors import BadInput, Cancelled
from engine.lens import divergence_along as along
from engine.lens.divergence_along import Asked, divergence_along
from engine.lens.lens import Lens
from engine.lens.picture_share import NO_CELLS, PLACEHOLDER, picture_shares
from engine.methods.asked_run import AskedRun
from engine.methods.method import carry_out
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.passes import attention_taps
from engine.prompts.extended import extended
from engine.prompts.token_groups import picture_cells
from engine.records import Question, Run
from tests.families import FAMILIES, Tiny
from tests.families.parts import IMAGE_ID

IDS = (11, 12, 13)
QUICK = ("git", "mllama")
"""Own softmax, and features in front of the tokens; cross-attention."""
NOT_READ = {
    "diffusion_gemma": "something else side by side",
    "mllama": PLACEHOLDER,
    "t5gemma2": "something else side by side",
}
ALL = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in sorted({*FAMILIES} - {"pi0"})
]


def cells_of(tiny: Tiny) -> list[int]:
    decoder = "decoder_input_ids" in tiny.inputs
    ids = tiny.inputs["decoder_input_ids" if decoder else "input_ids"][0].tolist()
    return [place for place, token in enumerate(ids) if token == IMAGE_ID] or [1, 2]


def test_the_share_is_that_of_eager_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_taps, "AT_ONCE", 3)
    tiny = FAMILIES["llava"]()
    inputs, cells = extended(tiny.model, tiny.inputs, IDS), cells_of(tiny)
    length = inputs["input_ids"].shape[1]
    places = [*range(length - 4, length)]
    found = picture_shares(Lens(tiny.model), inputs, places, cells)
    tiny.model.set_attn_implementation("eager")
    with torch.no_grad():
        theirs = tiny.model(**inputs, output_attentions=True).attentions
    every = torch.stack([layer[0] for layer in theirs])  # [layers, heads, queries, keys]
    expected = every[:, :, places][..., cells].sum(-1).mean((0, 1))
    assert found.reason is None and found.shares is not None
    assert torch.allclose(found.shares, expected, atol=1e-6)
    assert float(expected.max() - expected.min()) > 1e-3


@pytest.mark.parametrize("name", ALL)
def test_the_share_of_several_positions_is_that_of_each(name: str) -> None:
    tiny = FAMILIES[name]()
    lens, cells = Lens(tiny.model), cells_of(tiny)
    inputs = extended(tiny.model, tiny.inputs, IDS)
    last = lens.streams(inputs, (-1,)).positions[0]
    places = [last - 2, last - 1, last]
    found = picture_shares(lens, inputs, places, cells)
    if name in NOT_READ:
        assert found.shares is None and NOT_READ[name] in str(found.reason)
        return
    assert found.shares is not None
    for share, place in zip(found.shares.tolist(), places, strict=True):
        weights = [
            each.weights
            for each in lens.attention(inputs, place)
            if each.weights is not None and each.keys == "tokens"
        ]
        expected = torch.cat(weights)[:, cells].sum(-1).mean()
        assert share == pytest.approx(float(expected), abs=1e-6)


def test_a_layer_whose_weights_are_not_proved_gives_no_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = FAMILIES["llava"]()
    inputs = extended(tiny.model, tiny.inputs, IDS)
    plain = attention_rows.as_row

    def off(weights: Any, *others: Any) -> Any:
        return plain(weights * 0.9, *others)

    monkeypatch.setattr(attention_rows, "as_row", off)
    found = picture_shares(Lens(tiny.model), inputs, (-2, -1), cells_of(tiny))
    assert found.shares is None and "are not the kernel's" in str(found.reason)


def test_without_cells_there_is_no_pass() -> None:
    tiny = FAMILIES["llama"]()
    assert picture_shares(Lens(tiny.model), {}, (-1,), ()) == (None, NO_CELLS)


def test_the_divergence_is_that_of_a_full_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES["qwen2_vl"]()
    lens = Lens(tiny.model)
    other = {"input_ids": tiny.inputs["input_ids"][:, -3:]}
    asked = [
        Asked(tiny.inputs, tiny.inputs["input_ids"].shape[1] - 1),
        Asked(other, 2),
    ]
    found = divergence_along(lens, asked[0], asked[1], IDS)
    monkeypatch.setattr(along, "MOST_BYTES", 800)  # two steps of 99 tokens
    in_pieces = divergence_along(lens, asked[0], asked[1], IDS)
    assert found.shape == (3,) and torch.allclose(found, in_pieces, atol=1e-6)
    for step, js in enumerate(found.tolist()):
        p, q = (
            lens.logits(extended(tiny.model, each.inputs, IDS[:step]))[-1, 0, 0].double()
            for each in asked
        )
        p, q = p.softmax(-1), q.softmax(-1)
        middle = (p + q) / 2
        expected = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
        assert js == pytest.approx(float(expected), rel=1e-4)


# The method


@pytest.fixture
def asked(ran: tuple[Asking, Run]) -> AskedRun:
    return AskedRun(*ran)


def test_the_answer_has_both(asked: AskedRun, bundled: LoadedModel) -> None:
    method = method_of("answer")
    settings = {"max_new_tokens": 4, "attention": True, "against": "black"}
    reading: Any = asked.read(method, request_of(method, settings))
    ids, run = list(reading.tokens.integers), asked.run
    assert reading.picture_reason is None and len(ids) > 1
    cells = [*picture_cells(run.tokens)]
    for step in range(len(ids)):
        inputs = extended(bundled.model, asked.subject.inputs, ids[:step])
        weights = [each.weights for each in bundled.lens.attention(inputs)]
        share = torch.stack([each[:, cells].sum(-1) for each in weights if each is not None])
        assert reading.picture.values[step] == pytest.approx(float(share.mean()), abs=1e-6)
    # Step 0 is where the run and the one without the picture are compared.
    assert reading.js.values[0] == pytest.approx(asked.comparisons[0].rows[-1].js, rel=1e-3)
    assert np.isfinite(reading.js.values).all()


def test_it_is_cancelled_within_its_passes(asked: AskedRun) -> None:
    method = method_of("answer")
    request = request_of(method, {"max_new_tokens": 4, "attention": True})
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return told

    told = False
    with pytest.raises(Cancelled):
        for _ in carry_out(method, asked.subject, request, stop):
            told = True


def test_a_run_without_a_picture_has_neither(opened: Callable[[str], LoadedModel]) -> None:
    asking = Asking(opened("llama"), Question("What?"))
    asked = AskedRun(asking, asking.run())
    method = method_of("answer")
    found: Any = asked.read(method, request_of(method, {"max_new_tokens": 2, "attention": True}))
    assert found.picture is None and found.picture_reason == NO_CELLS
    with pytest.raises(BadInput, match="no picture"):
        asked.read(method, request_of(method, {"against": "none"}))
