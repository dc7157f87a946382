"""Every family of tests/families: proved, every row the truncated model's or saying that it is not,
streamed in order, cancelled within a layer, and left without hooks."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from engine import CannotRead, Lens
from engine.lens.check import check_rows
from tests.conftest import hooks_of
from tests.families import FAMILIES, Tiny

REFUSED = {"pi0": "not one per token"}
"""Families without a vocabulary head -> the reason that the error gives."""

NOTED: dict[str, str] = {
    "granite4_vision": "before layer",
    "idefics": "before layer",
}
"""Families with rows that are not the truncated model's -> what the notes of those rows say."""

TIMEOUT = 20.0


QUICK = {
    "llava", "qwen2_vl", "gemma3", "blip-2-t5", "mllama", "inkling2", "pix2struct", "idefics",
    "granite4_vision", "glm5_next", "blip",
}  # fmt: skip
"""Families that differ in kind: a plain one, positions in three axes, a soft-cap, an encoder and a
decoder, cross-attention, companions of the stream, a replay, rows with notes, several streams, a
tail that is given the positions of the logits alone."""


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - REFUSED.keys())
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny(name: str) -> Tiny:
    return FAMILIES[name]()


def test_proof_oracle_streaming_and_cancel(name: str, tiny: Tiny) -> None:
    lens = Lens(tiny.model)
    checks = list(check_rows(lens, tiny.inputs))
    assert len(checks) == tiny.layers + 1
    assert lens.model_parts.proof.passed
    for check in checks:
        note = check.note
        if name not in NOTED:
            assert check.right and note is None, check
        elif note is not None:
            assert NOTED[name] in note
        else:
            assert check.right, check
    assert any(check.note for check in checks) == (name in NOTED)

    with torch.no_grad():
        own = tiny.model(**tiny.inputs).logits
    rows = lens.logits(tiny.inputs, [-1])[:, 0, 0]
    assert torch.equal(rows[-1], own[0, -1].float())

    readings = list(lens.stream(tiny.inputs, top_k=4))
    assert [reading.layer for reading in readings] == list(range(tiny.layers + 1))
    for reading, row in zip(readings, rows, strict=True):
        shares = row.softmax(-1)
        for token in reading.top:
            assert token.probability == pytest.approx(float(shares[token.id]), abs=1e-5)
        assert reading.top[0].probability == pytest.approx(float(shares.max()), abs=1e-5)
    assert hooks_of(tiny.model) == 0

    _closing_ends_the_pass(tiny, lens)
    assert hooks_of(tiny.model) == 0


def _closing_ends_the_pass(tiny: Tiny, lens: Lens) -> None:
    """The second layer that runs is held until the stream has been closed; the third never runs."""
    ran: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    def watched(index: int, own: Any) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            ran.append(index)
            if len(ran) == 2:
                entered.set()
                assert go_on.wait(TIMEOUT)
            return own(*args, **kwargs)

        return forward

    for index, layer in enumerate(lens.layers):
        layer.forward = watched(index, layer.forward)  # type: ignore[method-assign]
    stream = lens.stream(tiny.inputs)
    try:
        assert next(stream).layer == 0
        assert entered.wait(TIMEOUT)
        threading.Timer(0.05, go_on.set).start()
        stream.close()  # type: ignore[attr-defined]
    finally:
        go_on.set()
        for layer in lens.layers:
            del layer.forward
    assert len(ran) == 2


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() & REFUSED.keys()))
def test_a_family_without_a_vocabulary_head_is_refused_by_name(family: str) -> None:
    tiny = FAMILIES[family]()
    with pytest.raises(CannotRead, match=REFUSED[family]) as caught:
        Lens(tiny.model).logits(tiny.inputs)
    assert type(tiny.model).__name__ in str(caught.value)
    assert hooks_of(tiny.model) == 0
