"""The readout of batches against its definition in float64, and what it asks of a device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import RowStream
from engine.lens import readout
from engine.lens.batched import BatchedPass
from engine.lens.readout import Block, read
from tests.engine.test_readout import best_first
from tests.no_device import Launches

INF, NAN = math.inf, math.nan
TOP = 5


def read_batch(logits: Tensor, followed: Sequence[Tensor], top: int = TOP) -> Block:
    """The readout of `logits` [rows, items, vocabulary]; the last row is the reference."""
    rows, items, vocabulary = logits.shape
    cells, streams = logits.reshape(-1, vocabulary), torch.ones(rows * items, 3, 2)
    log_q = logits[-1].log_softmax(-1)
    return read(cells, top, streams, reference=log_q, spelled=followed)


def compared(logits: Tensor, followed: Sequence[Tensor], top: int = TOP) -> None:
    """What is read of `logits` [rows, items, vocabulary] against its definition."""
    rows, items, _ = logits.shape
    found = read_batch(logits, followed, top).numbers()
    log_p = logits.double().log_softmax(-1)
    for cell in range(rows * items):
        row, item = divmod(cell, items)
        mine, last = log_p[row, item], log_p[-1, item]
        if bool(mine.isnan().any()):
            assert all(bool(each[cell].isnan()) for each in (found.lse, found.entropy, found.kl))
            continue
        p, order = mine.exp(), best_first(logits[row, item])
        assert found.ids[cell].tolist() == order[:top]
        close(found.logits[cell], logits[row, item][order[:top]])
        close(found.probabilities[cell], p[order[:top]])
        close(found.lse[cell], logits[row, item].double().logsumexp(-1))
        close(found.entropy[cell], torch.special.entr(p).sum())
        close(found.rms[cell], torch.tensor(1.0))
        ratios = torch.where(p == 0, 0.0, p * (mine - last))
        close(found.kl[cell], ratios.sum().clamp_min(0.0))
        for column, each in enumerate(followed):
            ids = [token for token in each[item].tolist() if token >= 0]
            best = min(ids, key=order.index) if ids else 0
            close(found.followed_probabilities[cell, column], p[ids].sum())
            close(found.followed_logits[cell, column], logits[row, item, best])
            assert int(found.followed_ranks[cell, column]) == order.index(best) + 1


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.float(), rtol=2e-5, atol=2e-5, equal_nan=True)


def some_followed(items: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """The spellings of a truth, of which some items have fewer, and one token for each item."""
    generator = torch.Generator().manual_seed(items * vocabulary)
    ids = torch.randint(0, vocabulary, (items, 3), generator=generator).sort(-1).values
    ids[::2, 2] = -1
    ids[-1] = -1
    return ids, torch.randint(0, vocabulary, (items, 1), generator=generator)


@pytest.fixture(params=[1, 700, 2**20], ids=["cells alone", "few together", "all together"])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many logits are read at once."""
    monkeypatch.setattr(readout, "TILE", request.param)
    return int(request.param)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("kind", ["plain", "rounded", "ruled out", "by a number", "no number"])
@pytest.mark.parametrize("vocabulary", [1, 2, 33, 257, 1000])
def test_every_number_is_that_of_its_definition(vocabulary: int, kind: str) -> None:
    logits = torch.randn(4, 3, vocabulary, generator=torch.Generator().manual_seed(vocabulary)) * 4
    if kind == "rounded":  # many ties
        logits = (logits / 4).bfloat16().float()
    if kind in ("ruled out", "by a number"):
        logits[..., 1::3] = -INF if kind == "ruled out" else torch.finfo(torch.float32).min
    if kind == "ruled out":
        logits[-1, 0, :1] = -INF if vocabulary > 1 else 0.0  # the others do not rule it out
        logits[0, 1, -2:] = -INF if vocabulary > 2 else 0.0
    if kind == "no number":
        logits[0, 0, -1] = logits[1, 2, 0] = logits[-1, 1, vocabulary // 2] = NAN
    compared(logits, some_followed(3, vocabulary))


VALUES = torch.tensor([-3.0, -0.0, 0.0, 0.5, 1.0, 2.0, 20.0, -INF])


@settings(deadline=None)
@given(st.data())
def test_ties_and_what_is_ruled_out(data: st.DataObject) -> None:
    rows, items = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    vocabulary = data.draw(st.sampled_from([1, 3, 40, 70]))
    count = rows * items * vocabulary
    # In one draw: hypothesis takes half a minute to draw as many values one by one.
    drawn = data.draw(st.binary(min_size=count, max_size=count))
    logits = VALUES[[byte % len(VALUES) for byte in drawn]].view(rows, items, vocabulary)
    ids = st.lists(st.integers(0, vocabulary - 1), min_size=items, max_size=items)
    followed = [torch.tensor(data.draw(ids)).unsqueeze(1) for _ in range(2)]
    compared(logits, followed, data.draw(st.sampled_from([1, 5, 50])))


def test_a_row_that_equals_the_last_one_does_not_diverge() -> None:
    logits = torch.randn(1, 3, 999).repeat(4, 1, 1) * 9
    assert (read_batch(logits, some_followed(3, 999)).numbers().kl == 0).all()


def test_launching_the_numbers_of_a_batch_waits_for_nothing() -> None:
    layers, items, width, vocabulary = 6, 3, 4, 300
    head = torch.randn(width, vocabulary)
    streams = [RowStream(torch.randn(items, width).bfloat16().float()) for _ in range(layers + 1)]
    for row in (2, 4):
        stream = streams[row].stream
        streams[row] = RowStream(stream, (), stream + torch.tensor([[0.0], [1.0], [NAN]]))
    logits = streams[-1].stream @ head
    logits[1, 7] = -INF
    notes = (None, None, "not exact", None, "nor is this", None, None)
    made: Any = SimpleNamespace(
        parts=SimpleNamespace(
            layers=[None] * layers,
            dtype=torch.float32,
            notes=notes,
            tail=SimpleNamespace(method="tail"),
        ),
        evaluating=nullcontext,
        project=lambda rows, norm=True: torch.cat([row.stream for row in rows]) @ head,
    )
    made.parts.unchanged = partial(ModelParts.unchanged, made.parts)
    passed = BatchedPass(made)
    passed._streams, passed._model_logits = streams, logits
    with Launches() as launches:
        numbers = passed.numbers(((5, 2), (), (0,)), TOP, unnormed=True)
    assert not launches.waits
    # All rows with the norm, and all without it, at once.
    assert len(launches.names) < 500
    exact = (None,) * (layers + 1)
    assert numbers.items().notes == (exact, notes, notes)
    with Launches() as launches:
        numbers.items()
    assert "_local_scalar_dense.default" not in launches.waits  # lists are made of whole columns


def test_launches_do_not_grow_with_the_cells_of_a_tile() -> None:
    counts = []
    for rows in (2, 40):
        with Launches() as launches:
            read_batch(torch.randn(rows, 3, 1000), some_followed(3, 1000))
        assert not launches.waits
        counts.append(len(launches.names))
    assert counts[0] == counts[1] < 200
