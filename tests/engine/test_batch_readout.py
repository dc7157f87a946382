"""The readout of batches against the one that it stands for, and what it asks of a device."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.anatomy.tail import RowStream
from engine.lens import batch_readout
from engine.lens.batch_readout import BatchReference, best_ids, read_batch
from engine.lens.batched import BatchedPass
from engine.lens.readout import read, top_ids

INF, NAN = math.inf, math.nan
TOP = 5


def compared(logits: Tensor, followed: Sequence[Tensor], top: int = TOP) -> None:
    """Both readouts of `logits` [rows, items, vocabulary]; the last row is the reference."""
    rows, items, vocabulary = logits.shape
    cells = logits.reshape(-1, vocabulary)
    streams = torch.randn(rows * items, 3, 2)
    log_q = logits[-1].log_softmax(-1)
    repeated = [each.repeat(rows, 1) for each in followed]
    wanted = read(cells, top, streams, repeated, log_q).numbers()
    found = read_batch(cells, top, streams, BatchReference(log_q, tuple(followed))).numbers()
    known = ~wanted.lse.isnan()
    assert torch.equal(found.ids[known], wanted.ids[known])
    assert torch.equal(found.followed_ranks[known], wanted.followed_ranks[known])
    for name, mine, other in zip(wanted._fields, found, wanted, strict=True):
        if name not in ("ids", "followed_ranks"):
            if name in ("logits", "probabilities"):
                mine, other = mine[known], other[known]
            close = torch.isclose(mine, other, rtol=1e-5, atol=1e-6, equal_nan=True)
            assert close.all(), (name, mine[~close], other[~close])


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
    monkeypatch.setattr(batch_readout, "TILE", request.param)
    return int(request.param)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("kind", ["plain", "rounded", "ruled out", "by a number", "no number"])
@pytest.mark.parametrize("vocabulary", [1, 2, 5, 31, 32, 33, 257, 1000, 4096, 5001])
def test_it_reads_what_the_plain_readout_reads(vocabulary: int, kind: str) -> None:
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


values = st.sampled_from([-3.0, -0.0, 0.0, 0.5, 1.0, 2.0, 20.0, -INF])


@given(st.data())
def test_it_reads_ties_and_what_is_ruled_out_as_the_plain_readout_does(data: st.DataObject) -> None:
    rows, items = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    vocabulary = data.draw(st.sampled_from([1, 3, 40, 70]))
    cells = st.lists(values, min_size=vocabulary, max_size=vocabulary)
    drawn = data.draw(st.lists(cells, min_size=rows * items, max_size=rows * items))
    logits = torch.tensor(drawn).view(rows, items, vocabulary)
    ids = st.lists(st.integers(0, vocabulary - 1), min_size=items, max_size=items)
    followed = [torch.tensor(data.draw(ids)).unsqueeze(1) for _ in range(2)]
    compared(logits, followed, data.draw(st.sampled_from([1, 5, 50])))


@given(st.lists(st.lists(values, min_size=70, max_size=70), min_size=1, max_size=3))
def test_the_best_of_equal_logits_are_the_lower_ids(drawn: list[list[float]]) -> None:
    logits = torch.tensor(drawn)
    for count in (1, 4, 70, 100):
        for row, found in zip(logits, best_ids(logits, count), strict=True):
            assert found.tolist() == top_ids(row, count).tolist()


def test_a_row_that_equals_the_last_one_does_not_diverge() -> None:
    logits = torch.randn(1, 3, 999).repeat(4, 1, 1) * 9
    reference = BatchReference(logits[-1].log_softmax(-1), some_followed(3, 999))
    found = read_batch(logits.view(-1, 999), TOP, torch.ones(12, 2), reference).numbers()
    assert (found.kl == 0).all()


WAITS = (
    "_local_scalar_dense", "nonzero", "nonzero_numpy", "equal", "is_nonzero", "masked_select",
    "_unique", "_unique2", "unique_dim", "unique_consecutive", "item",
)  # fmt: skip
"""Operations whose result, or its size, has to be known before the next one can be launched."""


class Launches(TorchDispatchMode):
    """Counts operations; a device would be waited for in some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    def waits(self) -> dict[str, int]:
        return {name: self.counts[name] for name in WAITS if self.counts[name]}


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
    passed = BatchedPass(made)
    passed._streams, passed._model_logits = streams, logits
    with Launches() as launches:
        numbers = passed.numbers(((5, 2), (), (0,)), TOP, unnormed=True)
    assert not launches.waits()
    # All rows with the norm, and all without it, at once.
    assert sum(launches.counts.values()) < 500
    exact = (None,) * (layers + 1)
    assert numbers.items().notes == (exact, notes, notes)
    with Launches() as launches:
        numbers.items()
    assert launches.counts["_local_scalar_dense"] == 0  # lists are made of whole columns


def test_launches_do_not_grow_with_the_cells_of_a_tile() -> None:
    counts = []
    for rows in (2, 40):
        logits = torch.randn(rows * 3, 1000)
        reference = BatchReference(logits[-3:].log_softmax(-1), some_followed(3, 1000))
        with Launches() as launches:
            read_batch(logits, TOP, torch.randn(rows * 3, 4), reference)
        assert not launches.waits()
        counts.append(sum(launches.counts.values()))
    assert counts[0] == counts[1] < 200
