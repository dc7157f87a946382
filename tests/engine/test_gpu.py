"""The same numbers on a GPU as on a CPU, in every way in which they are read: `pytest -m gpu`."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import Lens
from engine.anatomy.logit_map import tolerance
from engine.errors import Cancelled
from engine.lens.row_reader import Wanted
from engine.lens.streaming import StreamedPass
from engine.records import LayerReading
from engine.system.memory import is_out_of_memory
from tests.engine.test_launching import graphs_are_made
from tests.engine.test_launching import llama as llama_on_cpu
from tests.families import FAMILIES, Tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
ROUNDING = 2e-4
"""By how much float32 probabilities may differ: a GPU sums in other orders than a CPU."""
REFUSED = ("pi0",)
TRACKED = 3


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """No TF32: float32 products are float32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(params=sorted(FAMILIES.keys() - set(REFUSED)))
def both(request: pytest.FixtureRequest) -> tuple[Tiny, Tiny]:
    """A tiny model on the CPU, and the same on the GPU."""
    tiny: Tiny = FAMILIES[request.param]()
    model = copy.deepcopy(tiny.model).cuda()
    inputs = {
        key: value.cuda() if isinstance(value, Tensor) else value
        for key, value in tiny.inputs.items()
    }
    return tiny, Tiny(model, inputs, tiny.layers)


def run(lens: Lens, inputs: dict[str, Any], **settings: Any) -> StreamedPass:
    streamed = lens.start(inputs, wanted=[Wanted(track=(TRACKED,))], **settings)
    for _ in streamed:
        pass
    (result,) = streamed.results
    assert result.proof.passed, result.proof
    return streamed


def alike(found: tuple[LayerReading, ...], expected: tuple[LayerReading, ...]) -> None:
    """Ids are equal where the logits differ by more than rounding."""
    assert len(found) == len(expected)
    for mine, other in zip(found, expected, strict=True):
        for one, two in zip(mine.top, other.top, strict=True):
            assert one.probability == pytest.approx(two.probability, abs=ROUNDING)
        gaps = [
            (one.logit or 0) - (two.logit or 0)
            for one, two in zip(other.top, other.top[1:], strict=False)
        ]
        first = next((i for i, gap in enumerate(gaps) if gap < ROUNDING), len(gaps))
        assert [t.id for t in mine.top[:first]] == [t.id for t in other.top[:first]]
        for name in ("entropy", "rms", "kl_to_last"):
            assert getattr(mine, name) == pytest.approx(getattr(other, name), rel=1e-3, abs=1e-3)


def test_every_way_gives_the_numbers_of_the_cpu(both: tuple[Tiny, Tiny]) -> None:
    """Streamed plainly, from graphs, with all positions kept, as a grid, and in a batch of one."""
    tiny, moved = both
    (reference,) = run(Lens(tiny.model), tiny.inputs).results
    lens = Lens(moved.model)
    plain = run(lens, moved.inputs)
    graphs_are_made(lens)
    graphed = run(lens, moved.inputs, everywhere=True)
    for streamed in (plain, graphed):
        alike(streamed.results[0].rows, reference.rows)
    kept = graphed.keep().track([TRACKED])
    mine = next(each for each in graphed.results[0].tracked if each.id == TRACKED)
    assert kept[0].probability == pytest.approx(mine.probability, abs=1e-6)
    streams = graphed.keep_everywhere()
    if isinstance(streams, str) or lens.model_parts.tail.replays:
        return
    grid = lens.grid(moved.inputs, top=5)
    place = grid.positions.index(plain.results[0].position)
    for row, reading in enumerate(reference.rows):
        assert grid.probability[row, place] == pytest.approx(
            reading.top[0].probability, abs=ROUNDING
        )
    numbers = lens.read_batch(moved.inputs, [[TRACKED]], 5, unnormed=False).items()
    for row, reading in enumerate(reference.rows):
        assert float(numbers.rows.top_probabilities[0, row, 0]) == pytest.approx(
            reading.top[0].probability, abs=ROUNDING
        )


def llama(dtype: torch.dtype = torch.float32, layers: int = 12) -> Tiny:
    tiny = llama_on_cpu(layers)
    inputs = {key: value.cuda() for key, value in tiny.inputs.items()}
    return Tiny(tiny.model.to("cuda", dtype), inputs, tiny.layers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_graphs_are_used_and_equal_plain_launches_to_the_bit(dtype: torch.dtype) -> None:
    tiny = llama(dtype)
    lens = Lens(tiny.model)
    first = run(lens, tiny.inputs).results[0]
    graphs_are_made(lens)
    (graphs,) = lens._graphs.values()
    assert graphs.are_possible and sorted(graphs._graphs) == [3]
    second = run(lens, tiny.inputs).results[0]
    assert first.rows == second.rows and first.tracked == second.tracked


def test_the_thread_of_a_pass_waits_for_nothing() -> None:
    """torch itself raises where the device would be waited for."""
    tiny = llama()
    lens = Lens(tiny.model)
    run(lens, tiny.inputs)
    graphs_are_made(lens)
    streamed = lens.start(tiny.inputs, everywhere=True)
    inner, found = streamed._run, []

    def run_strictly() -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            inner()
        finally:
            torch.cuda.set_sync_debug_mode("default")
            found.append(streamed._error)

    streamed._run = run_strictly  # type: ignore[method-assign]
    for _ in streamed:
        pass
    assert found == [None]


def test_a_hundred_runs_leave_device_memory_where_it_was() -> None:
    tiny = llama()
    lens = Lens(tiny.model)
    for _ in range(3):
        run(lens, tiny.inputs, everywhere=True)
    graphs_are_made(lens)
    gc.collect()
    before = torch.cuda.memory_allocated()
    for _ in range(100):
        run(lens, tiny.inputs, everywhere=True)
    graphs_are_made(lens)
    gc.collect()
    assert torch.cuda.memory_allocated() <= before


def test_graphs_give_their_memory_back_with_the_model() -> None:
    gc.collect()
    before = torch.cuda.memory_allocated()
    tiny = llama()
    lens = Lens(tiny.model)
    run(lens, tiny.inputs)
    graphs_are_made(lens)
    del tiny, lens
    gc.collect()
    assert torch.cuda.memory_allocated() <= before + 2**16


def test_cancelled_passes_and_errors_leave_the_next_pass_right() -> None:
    tiny = llama()
    lens = Lens(tiny.model)
    expected = run(lens, tiny.inputs).results[0].rows
    for _ in range(20):
        streamed = lens.start(tiny.inputs)
        groups = iter(streamed)
        next(groups)
        streamed.cancel()
        with pytest.raises(Cancelled):
            list(groups)
        streamed.close()
        assert run(lens, tiny.inputs).results[0].rows == expected


def test_memory_that_runs_out_in_a_group_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = llama()
    lens = Lens(tiny.model)
    run(lens, tiny.inputs)

    def too_much(*_: Any, **__: Any) -> Any:
        return torch.empty(2**45, dtype=torch.uint8, device="cuda")

    monkeypatch.setattr("engine.lens.group_readout.read", too_much)
    lens._graphs.clear()
    with pytest.raises(Exception) as caught:
        run(lens, tiny.inputs)
    assert is_out_of_memory(caught.value)
    monkeypatch.undo()
    assert run(lens, tiny.inputs)


def test_two_explorers_share_one_gpu() -> None:
    """Two processes run passes at the same time."""
    code = (
        "from tests.engine.test_gpu import llama, run, Lens\n"
        "tiny = llama(); lens = Lens(tiny.model)\n"
        "rows = [run(lens, tiny.inputs).results[0].rows for _ in range(50)]\n"
        "assert all(each == rows[0] for each in rows)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], env={**os.environ}) for _ in range(2)]
    assert [each.wait(300) for each in both] == [0, 0]


def test_bfloat16_is_within_the_tolerance_of_its_proof() -> None:
    tiny = llama(torch.bfloat16)
    proof = run(Lens(tiny.model), tiny.inputs).results[0].proof
    assert proof.max_abs_difference is not None
    assert proof.max_abs_difference <= tolerance(torch.bfloat16, torch.ones(1)) * 100
