"""The grid: every cell against other ways of computing it."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine import CannotRead, Lens
from engine.anatomy.columns import HeadColumns, WholeColumns
from engine.anatomy.logit_map import LogitMap, tolerance
from engine.anatomy.truncation import truncated_logits
from engine.errors import BadInput
from engine.lens.grid import GridFill
from engine.lens.tally import Reference, tallied
from engine.passes.whole_streams import OVERWRITTEN, WholeStreams
from engine.system.steps import finished
from tests.conftest import hooks_of
from tests.engine.test_families import NOTED, QUICK, REFUSED
from tests.families import FAMILIES


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - REFUSED.keys())
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_cell_is_the_truncated_models(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    grid = lens.grid(tiny.inputs, top=2)
    assert grid.proof.passed and grid.rows == tuple(range(tiny.layers + 1))
    assert hooks_of(tiny.model) == 0
    inputs = lens.on_device(tiny.inputs)
    parts = lens.learn(inputs)
    with torch.no_grad():
        own = tiny.model(**inputs).logits[0].float()
    checked = 0
    for index, row in enumerate(grid.rows):
        if row == tiny.layers:
            truth = own
        else:
            try:
                cut = truncated_logits(lens.model, parts.layers_name, parts.layers, row, inputs)
            except CannotRead:
                continue  # the model does not run with so few layers
            truth = cut[0].float()
        noted = grid.fill.streams.note(row)
        if noted is not None:
            assert name in NOTED
            continue
        checked += 1
        limit = tolerance(parts.dtype, truth)
        compared_with(truth, grid, index, 0.0 if row == tiny.layers else limit)
    assert checked >= 2


def compared_with(truth: Tensor, grid: Any, row: int, limit: float) -> None:
    """A row of a grid against its logits [positions, vocabulary], read in float64."""
    exact = truth.double()
    log_p = exact.log_softmax(-1)
    best = exact.sort(dim=-1, descending=True, stable=True)
    ids = torch.from_numpy(grid.ids[row]).long()
    chosen = exact.gather(-1, ids)
    # Where two logits differ by less than rounding, either may come first.
    assert torch.allclose(chosen, best.values[:, : ids.shape[1]], atol=2 * limit, rtol=0)
    apart = (best.values[:, 0] - best.values[:, 1]) > 2 * limit
    assert torch.equal(ids[apart, 0], best.indices[apart, 0])
    if limit == 0:
        assert torch.equal(ids, best.indices[:, : ids.shape[1]])
    slack = limit + 1e-5
    assert np.allclose(grid.logits[row], best.values[:, 0].numpy(), atol=slack, rtol=0)
    assert np.allclose(grid.lse[row], exact.logsumexp(-1).numpy(), atol=slack, rtol=0)
    terms = torch.where(log_p.exp() == 0, 0.0, log_p.exp() * log_p)
    spread = float(exact.masked_fill(exact < -1e30, 0.0).abs().max()) + 1
    assert np.allclose(
        grid.entropy[row], -terms.sum(-1).numpy(), atol=2 * spread * limit + 1e-4, rtol=0
    )


@pytest.mark.parametrize("family", sorted(QUICK - {"pix2struct"}))
def test_words_are_what_the_whole_vocabulary_says(family: str) -> None:
    tiny = FAMILIES[family]()
    lens = Lens(tiny.model)
    grid = lens.grid(tiny.inputs)
    ids = [3, 7, 3]
    whole = lens.logits(tiny.inputs, list(grid.positions))[:, 0]  # [rows, positions, vocabulary]
    shares = whole.softmax(-1)[..., [3, 7]].sum(-1)
    assert np.allclose(grid.word(ids), shares.numpy(), atol=1e-5)
    with pytest.raises(BadInput, match="no token"):
        grid.word([10**6])


def test_rows_and_positions_may_be_chosen() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    whole = lens.grid(tiny.inputs, top=3)
    last, end = tiny.layers, len(whole.positions) - 1
    some = lens.grid(tiny.inputs, positions=[-1, 0, 2, 2], rows=[1], top=3)
    assert (some.rows, some.positions) == ((1, last), (0, 2, end))
    picked = np.ix_([1, last], [0, 2, end])
    assert np.array_equal(some.ids, whole.ids[picked])
    for name in ("logits", "lse", "entropy", "rms"):
        assert np.allclose(getattr(some, name), getattr(whole, name)[picked], atol=1e-5)
    with pytest.raises(IndexError):
        lens.grid(tiny.inputs, positions=[end + 1])
    for rows in ([last + 1], [-1]):
        with pytest.raises(IndexError):
            lens.grid(tiny.inputs, rows=rows)
    for positions, top in (([], 1), (None, 0), (None, -1)):
        with pytest.raises(ValueError, match="a grid needs"):
            lens.grid(tiny.inputs, positions, top=top)
    two = {key: torch.cat([value, value]) for key, value in tiny.inputs.items()}
    with pytest.raises(ValueError, match="batch of one"):
        lens.grid(two)


def test_the_streams_are_kept_by_reference() -> None:
    """Nothing is copied: a kept row is the tensor that the layer received."""
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    seen: dict[int, int] = {}
    handles = [
        layer.register_forward_pre_hook(
            lambda module, args, kwargs, index=index: seen.update(
                {index: (args[0] if args else kwargs["hidden_states"]).data_ptr()}
            ),
            with_kwargs=True,
        )
        for index, layer in enumerate(lens.learn(tiny.inputs).layers)
    ]
    streams = lens.streams(tiny.inputs)
    for handle in handles:
        handle.remove()
    kept = {row: streams.rows[row].stream.data_ptr() for row in seen}
    assert kept == seen


class InPlace(nn.Module):
    """A layer that adds to its stream in place."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own = own

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Write the layer's result into the tensor that was passed in."""
        output = self.own(hidden_states, *args, **kwargs)
        made = output[0] if isinstance(output, tuple) else output
        hidden_states.copy_(made)
        return (hidden_states, *output[1:]) if isinstance(output, tuple) else hidden_states


def test_a_model_that_writes_in_place_is_copied() -> None:
    tiny = FAMILIES["llama"]()
    expected = Lens(tiny.model).grid(tiny.inputs)
    layers = tiny.model.model.layers
    for index, layer in enumerate(layers):
        layers[index] = InPlace(layer)
    lens = Lens(tiny.model)
    assert lens.learn(tiny.inputs).overwrites
    grid = lens.grid(tiny.inputs)
    for name in ("ids", "logits", "lse", "entropy", "rms"):
        assert np.allclose(getattr(grid, name), getattr(expected, name), atol=1e-5), name


def test_what_was_overwritten_is_not_kept() -> None:
    """Also where the watched pass has not shown it."""
    tiny = FAMILIES["llama"]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    layers = tiny.model.model.layers
    own = layers[1].forward
    layers[1].forward = lambda hidden_states, **kwargs: own(hidden_states.mul_(1.5), **kwargs)
    with pytest.raises(BadInput, match=OVERWRITTEN):
        lens.streams(tiny.inputs)
    del layers[1].forward


def test_more_than_memory_allows_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    monkeypatch.setattr(WholeStreams.__init__, "__defaults__", (True, 4096))
    with pytest.raises(BadInput, match="positions would take"):
        lens.grid(tiny.inputs)
    assert hooks_of(tiny.model) == 0
    assert lens.grid(tiny.inputs, positions=[0]).positions == (0,)


def test_a_failed_proof_is_told() -> None:
    tiny = FAMILIES["llava"]()
    fill = GridFill(Lens(tiny.model).streams(tiny.inputs))
    own = fill.streams.own
    with torch.inference_mode():
        own[2, 5] += 1.0
    fill.whole(range(fill.streams.layers + 1))
    assert fill.proof is not None and not fill.proof.passed
    assert fill.proof.error == pytest.approx(1.0, abs=1e-3)
    with torch.inference_mode():
        own[2, 5] = float("nan")
    again = GridFill(fill.streams)
    again.whole([0])
    assert again.proof is not None and not again.proof.passed


def test_a_number_that_is_none_is_remembered_by_the_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.lens.grid.CELLS", 4)
    tiny = FAMILIES["llava"]()
    fill = GridFill(Lens(tiny.model).streams(tiny.inputs))
    with torch.inference_mode():
        fill.streams.own[1, 3] = float("nan")
    fill.whole([0])
    assert fill.proof is not None and fill.proof.error is None and not fill.proof.passed


def test_a_fill_that_is_given_up_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a row, patient or not; the next one is whole."""
    monkeypatch.setattr("engine.lens.grid.CELLS", 3)
    tiny = FAMILIES["llava"]()
    streams = Lens(tiny.model).streams(tiny.inputs)
    expected = GridFill(streams)
    expected.whole(range(tiny.layers + 1))
    for patient in (True, False):
        fill = GridFill(streams)
        with fill.streams.reading() if not patient else nullcontext():
            steps = fill.fill([0], patient)
            next(steps)
            steps.close()
        fill.whole(range(tiny.layers + 1))
        for row, found in fill.rows.items():
            assert torch.equal(found.lse, expected.rows[row].lse)
            assert torch.equal(found.ids, expected.rows[row].ids)


def test_a_fill_gives_way_and_goes_on() -> None:
    """Between two steps another pass of the same model may run; nothing is read twice."""
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    fill = GridFill(lens.streams(tiny.inputs))
    order = [2, 1, 0, tiny.layers]
    done: list[int] = []
    for _ in fill.fill(order):
        lens.logits(tiny.inputs)
        done += [row for row in fill.rows if row not in done]
    done += [row for row in fill.rows if row not in done]
    assert done[:2] == [2, tiny.layers] and sorted(done) == sorted(order)
    assert list(fill.fill(order)) == []


def test_another_thread_may_not_read_at_the_same_time() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    streams = lens.streams(tiny.inputs)
    went_on = threading.Event()

    def another_pass() -> None:
        lens.logits(tiny.inputs)
        went_on.set()

    with streams.reading():
        other = threading.Thread(target=another_pass)
        other.start()
        assert not went_on.wait(0.2)
    other.join(20)
    assert went_on.is_set()


# Reading cells part by part

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 60))


def made(cells: int, vocabulary: int, seed: int, dtype: torch.dtype, spread: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(cells, vocabulary, generator=generator) * spread).to(dtype)


@settings(max_examples=60, deadline=None)
@given(
    SIZES,
    st.integers(0, 10**6),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from([0.01, 1.0, 30.0]),
    st.integers(1, 5),
    st.integers(1, 40),
)
def test_parts_together_are_the_whole(
    size: tuple[int, int],
    seed: int,
    dtype: torch.dtype,
    spread: float,
    top: int,
    at_once: int,
) -> None:
    """bfloat16 logits have many ties; the lower id is first, also across parts."""
    cells, vocabulary = size
    logits = made(cells, vocabulary, seed, dtype, spread)
    other = made(cells, vocabulary, seed + 1, dtype, spread)
    reference = Reference(WholeColumns(other), other.float().logsumexp(-1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.lens.tally.PART", at_once * cells)
        found = finished(tallied(WholeColumns(logits), cells, top, reference))
    exact = logits.double()
    log_p = exact.log_softmax(-1)
    best = exact.sort(dim=-1, descending=True, stable=True)
    count = min(top, vocabulary)
    assert torch.equal(found.ids, best.indices[:, :count])
    assert torch.equal(found.logits.double(), best.values[:, :count])
    assert torch.allclose(found.lse.double(), exact.logsumexp(-1), atol=2e-5)
    assert torch.allclose(found.entropy.double(), -(log_p.exp() * log_p).sum(-1), atol=2e-4)
    log_q = other.double().log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    assert found.kl is not None and found.difference is not None
    assert torch.allclose(found.kl.double(), kl, atol=1e-3, rtol=1e-4)
    assert torch.allclose(found.difference.double(), (exact - other.double()).abs().amax(-1))


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_ruled_out_and_broken_logits(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(3, 8)
    logits[0, 2:5] = -torch.inf
    logits[1, 6] = torch.finfo(torch.float32).min
    logits[2, 3] = torch.nan
    monkeypatch.setattr("engine.lens.tally.PART", at_once * 3)
    monkeypatch.setattr("engine.lens.tally.WIDEST", at_once)
    found = finished(tallied(WholeColumns(logits), 3, 2))
    exact = logits.double()
    log_p = exact.log_softmax(-1)
    terms = torch.where(log_p.exp() == 0, 0.0, log_p.exp() * log_p)
    assert torch.allclose(found.lse[:2].double(), exact[:2].logsumexp(-1))
    assert torch.allclose(found.entropy[:2].double(), -terms[:2].sum(-1), atol=1e-5)
    assert found.lse[2].isnan() and found.entropy[2].isnan() and found.logits[2, 0].isnan()
    same = Reference(WholeColumns(logits), found.lse)
    assert finished(tallied(WholeColumns(logits), 3, 1, same)).kl is not None
    wider = torch.randn(3, 8)
    ruled_out = finished(
        tallied(WholeColumns(wider), 3, 1, Reference(WholeColumns(logits), found.lse))
    )
    assert ruled_out.kl is not None and torch.isinf(ruled_out.kl[:2]).all()


@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("shifted", [False, True])
def test_columns_of_the_head_are_the_heads(cap: float | None, shifted: bool) -> None:
    head = nn.Linear(6, 12, bias=not shifted)
    logit_map = LogitMap(
        width=11,
        scale=0.5,
        cap=cap,
        shift=torch.randn(11) if shifted else None,
        masked=torch.tensor([0, 4, 9]),
    )
    hidden = torch.randn(5, 6)
    with torch.no_grad():
        whole = logit_map(head(hidden)).clamp_min(torch.finfo(torch.float32).min)
        columns = HeadColumns(hidden, head, logit_map)
        assert columns.vocabulary == 11
        parts = [columns.part(start, min(start + 3, 11)) for start in range(0, 11, 3)]
        assert torch.allclose(torch.cat(parts, -1), whole)
        ids = torch.tensor([9, 2, 4, 2])
        assert torch.allclose(columns.of(ids), whole[:, ids])


def test_a_head_of_another_kind_is_read_whole() -> None:
    """A quantised, parametrised or hooked head has no columns of its own."""
    tiny = FAMILIES["llava"]()
    expected = Lens(tiny.model).grid(tiny.inputs)
    head = tiny.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, args, output: None)
    lens = Lens(tiny.model)
    try:
        assert not lens.learn(tiny.inputs).tail.has_columns
        grid = lens.grid(tiny.inputs)
        assert np.array_equal(grid.ids, expected.ids)
        assert np.allclose(grid.word([5]), expected.word([5]), atol=1e-6)
    finally:
        handle.remove()
