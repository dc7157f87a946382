"""What a pass launches on an accelerator, and where it waits: counted on devices that stand for one
(tests/no_device.py)."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from engine import Lens
from engine.anatomy.explicit import ExplicitTail
from engine.anatomy.hooks import answering, hooked
from engine.errors import CannotRead
from engine.lens.group_readout import GroupGraphs
from engine.lens.pace import MAX_WAIT, Pace
from engine.lens.row_reader import Wanted
from engine.lens.streaming import StreamedPass
from tests.families import FAMILIES, Tiny
from tests.families.parts import text_inputs
from tests.no_device import FakeSideStream, without_device

TIMEOUT = 20.0


def llama(layers: int = 12, **settings: Any) -> Tiny:
    """With eager attention: transformers' other masks wait for a device once a pass."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
        **settings,
    )
    inputs = text_inputs()
    return Tiny(LlamaForCausalLM(config).eval(), inputs, layers)


def learned(tiny: Tiny) -> Lens:
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    return lens


def run(lens: Lens, inputs: dict[str, Any], **settings: Any) -> StreamedPass:
    streamed = lens.start(inputs, **settings)
    for _ in streamed:
        pass
    graphs_are_made(lens)
    return streamed


def graphs_are_made(lens: Lens) -> None:
    """Graphs are made after a pass, in the model's thread."""
    from engine.passes.thread import submit

    done = threading.Event()
    submit(lens.model, done.set)
    assert done.wait(TIMEOUT)


def test_a_pass_waits_for_nothing_and_launches_a_few_kernels_a_group() -> None:
    """On a device where every wait raises; the readout of a group is one replay."""
    tiny = llama()
    lens, side = learned(tiny), FakeSideStream()
    with without_device(lens, side):
        run(lens, tiny.inputs, wanted=[Wanted(track=(5, 7))])
        plain = side.launches[:]
        assert side.captures == 1  # twelve layers: four groups of three rows
        side.launches.clear()
        side.threads.clear()
        streamed = run(lens, tiny.inputs, wanted=[Wanted(track=(5, 7))])
    assert streamed.results[0].proof.passed
    assert len(streamed.results[0].rows) == 13
    *groups, end = side.launches
    assert len(groups) == 4 and side.replays == 4 + 1  # one when it was proved
    assert [len(each.kernels) for each in groups] == [3] * 4, groups[0].kernels
    assert all(len(each.kernels) <= 70 for each in plain[:4]), plain[0].kernels
    assert len(end.kernels) <= 130, end.kernels
    assert len(set(side.threads)) == 1 and side.threads[0] != threading.get_ident()


@pytest.mark.parametrize("everywhere", [False, True])
def test_kept_streams_wait_for_nothing_in_the_pass(everywhere: bool) -> None:
    tiny = llama()
    lens, side = learned(tiny), FakeSideStream()
    with without_device(lens, side):
        streamed = run(lens, tiny.inputs, everywhere=everywhere)
    assert (streamed._forward.whole is not None) == everywhere
    assert streamed.results[0].proof.passed


def test_a_wait_would_be_noticed() -> None:
    """The test above can fail."""
    tiny = llama()
    lens = learned(tiny)
    with without_device(lens, FakeSideStream()):
        wanted = Wanted(on_logits=lambda rows, logits, project: logits.tolist() or None)  # type: ignore[arg-type, return-value]
        with pytest.raises(RuntimeError, match="meta tensor"):
            run(lens, tiny.inputs, wanted=[wanted])


def numbers(streamed: StreamedPass) -> list[Any]:
    (result,) = streamed.results
    return [result.rows, result.tracked, result.proof]


@pytest.mark.parametrize(
    "name", ["llama", "qwen2_vl", *(pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES)]
)
def test_graphs_give_the_same_numbers_to_the_bit(name: str) -> None:
    tiny = FAMILIES[name]()
    plain = Lens(tiny.model)
    expected = numbers(run(plain, tiny.inputs, wanted=[Wanted(track=(3,))]))
    lens, side = Lens(tiny.model), FakeSideStream()
    lens._side = side
    first = numbers(run(lens, tiny.inputs, wanted=[Wanted(track=(3,))]))
    again = run(lens, tiny.inputs, wanted=[Wanted(track=(3,))])
    assert first == numbers(again) == expected
    if side.captures:
        groups = len(again._items[0].groups)
        assert side.replays == groups + side.captures
        kept = again.keep()
        assert by_token(kept.track([3])) == by_token(
            tuple(each for each in again.results[0].tracked if each.id == 3)
        )
    else:
        tail = lens.model_parts.tail
        assert not isinstance(tail, ExplicitTail) or tail.companion_slots or name != "llama"


def by_token(tracked: Any) -> list[Any]:
    return [(each.id, each.probability, each.logit, each.rank) for each in tracked]


def with_graphs(tiny: Tiny, **settings: Any) -> tuple[Lens, FakeSideStream]:
    lens, side = learned(tiny), FakeSideStream(**settings)
    lens._side = side
    run(lens, tiny.inputs)
    return lens, side


def graphs_of(lens: Lens) -> GroupGraphs:
    (graphs,) = lens._graphs.values()
    return graphs


def test_graphs_that_compute_something_else_are_not_used() -> None:
    tiny = llama()
    lens, side = with_graphs(tiny, disturbed=True)
    assert side.captures == 1 and not graphs_of(lens).are_possible
    run(lens, tiny.inputs)
    assert side.captures == side.replays == 1


def test_a_tail_that_cannot_be_captured_is_launched_plainly() -> None:
    class Fails(FakeSideStream):
        def capture(self, function: Callable[[], Any]) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

    tiny = llama()
    lens = learned(tiny)
    lens._side = Fails()
    run(lens, tiny.inputs)
    assert not graphs_of(lens).are_possible
    assert run(lens, tiny.inputs).results[0].proof.passed


def test_weights_that_move_are_captured_again() -> None:
    """A graph reads from where the weights were."""
    tiny = llama()
    lens, side = with_graphs(tiny)
    head: nn.Module = tiny.model.lm_head
    with torch.no_grad():
        head.weight = nn.Parameter(head.weight * 2)  # type: ignore[arg-type, operator]
    moved = run(lens, tiny.inputs)
    # A replay for each time that a graph was proved.
    assert moved.results[0].proof.passed and side.captures == side.replays == 2
    assert run(lens, tiny.inputs).results[0].proof.passed
    assert side.replays == 2 + 4


@pytest.mark.parametrize("how", ["before", "after", "instead"])
def test_hooks_of_others_on_the_tail_are_called(how: str) -> None:
    tiny = llama()
    lens, side = with_graphs(tiny)
    calls: list[int] = []
    norm = tiny.model.model.norm
    own = norm.forward

    def note(*_: Any) -> None:
        calls.append(1)

    def instead(*args: Any) -> Any:
        note()
        return own(*args)

    ways = {
        "before": hooked(before={norm: note}),
        "after": hooked(after={norm: note}),
        "instead": answering({norm: instead}),
    }
    with ways[how]:
        for _ in range(3):
            calls.clear()
            run(lens, tiny.inputs)
            assert len(calls) == 4 + 1 + 1  # four groups, the proof, and the model's own call
    assert side.captures == side.replays == 1  # which proved it
    run(lens, tiny.inputs)
    assert run(lens, tiny.inputs).results[0].proof.passed and side.replays > 4


def test_graphs_are_freed_with_their_lens() -> None:
    tiny = llama()
    lens, _ = with_graphs(tiny)
    graphs = weakref.ref(graphs_of(lens))
    for top_k in range(1, 9):
        run(lens, tiny.inputs, top_k=top_k)
    gc.collect()
    assert graphs() is None  # of another number of top tokens than the last four
    last = weakref.ref(next(reversed(lens._graphs.values())))
    del lens
    gc.collect()
    assert last() is None


@pytest.mark.parametrize("fault", ["ignores", "shifts", "raises"])
def test_a_model_that_keeps_other_logits_is_run_again_without(fault: str) -> None:
    tiny = llama()
    expected = numbers(run(learned(tiny), tiny.inputs, everywhere=True))
    own, calls = tiny.model.forward, []

    def forward(*args: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        calls.append(logits_to_keep)
        if fault == "raises" and isinstance(logits_to_keep, torch.Tensor):
            raise TypeError("an int was expected")
        if fault == "shifts" and isinstance(logits_to_keep, torch.Tensor):
            return own(*args, logits_to_keep=logits_to_keep - 1, **kwargs)
        return own(*args, **kwargs)

    tiny.model.forward = forward
    lens = learned(tiny)
    calls.clear()
    assert numbers(run(lens, tiny.inputs)) == expected
    assert len(calls) == 2
    assert numbers(run(lens, tiny.inputs)) == expected
    assert len(calls) == 3  # and is not asked again


def test_memory_that_runs_out_is_not_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the model, nor in what is read at its end; the next run is as before."""
    tiny = llama()
    lens, calls = learned(tiny), []
    own = tiny.model.model.forward

    def count(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return own(*args, **kwargs)

    tiny.model.model.forward = count

    def runs_out(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    for place in ("errors_and_limits", "read"):
        with monkeypatch.context() as patch:
            patch.setattr(f"engine.lens.row_reader.{place}", runs_out)
            with pytest.raises(torch.OutOfMemoryError):
                run(lens, tiny.inputs)
    tiny.model.model.embed_tokens.forward = runs_out
    with pytest.raises(torch.OutOfMemoryError):
        run(lens, tiny.inputs)
    del tiny.model.model.embed_tokens.forward
    assert len(calls) == 3 and lens._logits_to_keep_agree == {}
    assert run(lens, tiny.inputs).results[0].proof.passed


def test_rows_that_the_reader_launches_are_there_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reader takes rows that have waited too long, and is then held up while the pass ends."""
    monkeypatch.setattr("engine.lens.streaming.MAX_WAIT", 0.01)
    tiny = llama()
    lens = learned(tiny)
    before = numbers(run(lens, tiny.inputs))
    launch = StreamedPass._launch_now

    def late(streamed: StreamedPass, waiting: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.2)
        launch(streamed, waiting)

    monkeypatch.setattr(StreamedPass, "_launch_now", late)
    layer = tiny.model.model.layers[5]
    own = layer.forward

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.1)
        return own(*args, **kwargs)

    layer.forward = slow
    assert [row.top[0].id for row in numbers(run(lens, tiny.inputs))[0]] == [
        row.top[0].id for row in before[0]
    ]


def test_a_proof_that_fails_both_ways_fails() -> None:
    tiny = llama()
    lens = learned(tiny)
    assert isinstance(lens.model_parts.tail, ExplicitTail)
    object.__setattr__(lens.model_parts.tail, "scale", 2.0)
    with pytest.raises(CannotRead, match="proof failed"):
        list(lens.stream(tiny.inputs))


def test_a_model_that_keeps_tensors_of_a_pass_can_still_be_trained() -> None:
    """A cache that is made in inference mode could not be part of an autograd graph."""

    class Caches(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.cache: torch.Tensor | None = None

        def forward(self, hidden: torch.Tensor) -> Any:
            self.cache = torch.ones(32) if self.cache is None else self.cache
            return self.inner(hidden) * self.cache

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of luck")

    tiny = llama()
    caches = tiny.model.model.norm = Caches(tiny.model.model.norm)
    lens = learned(tiny)
    streamed = run(lens, tiny.inputs, everywhere=True)
    kept, everywhere = streamed.keep(), streamed.keep_everywhere()
    assert not isinstance(everywhere, str)

    def fails() -> None:
        tiny.model.lm_head.forward = fail
        with pytest.raises(RuntimeError, match="out of luck"):
            run(lens, tiny.inputs)
        del tiny.model.lm_head.forward

    for read in (
        lambda: run(lens, tiny.inputs),
        lambda: run(lens, tiny.inputs, everywhere=True),
        lambda: lens.grid(tiny.inputs),
        lambda: kept.track([1]),
        lambda: everywhere.at(0),
        fails,
    ):
        caches.cache = None
        read()
        graphs_are_made(lens)
        assert caches.cache is not None and not caches.cache.is_inference()
        tiny.model(**tiny.inputs).logits.sum().backward()


def test_groups_are_as_large_as_the_last_pass_allows() -> None:
    pace = Pace()
    assert [pace.rows(layers, 500) for layers in (2, 4, 28, 32)] == [1, 1, 7, 8]
    pace.passed(32, 500, 99.0)  # it also loads kernels
    assert pace.rows(32, 500) == 8
    pace.passed(32, 500, 32 * MAX_WAIT / 4)
    assert pace.rows(32, 500) == 4
    assert pace.rows(32, 1000) == 2
    assert pace.rows(32, 10**6) == 1
    assert pace.rows(32, 50) == 8
    assert Pace(3).rows(32, 500) == 3
