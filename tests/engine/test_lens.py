"""The lens against its definitions: the model's own logits, the truncated model, streaming."""

from __future__ import annotations

import copy
import gc
import threading
import time
from typing import Any

import pytest
import torch
from torch import nn

from engine import CannotRead, Lens
from engine.anatomy.explicit import ExplicitTail
from engine.errors import Cancelled
from engine.records import LayerReading
from tests.families import FAMILIES, Tiny
from tests.families.gemma import gemma3n_text
from tests.families.llava import llava
from tests.families.parts import text_inputs
from tests.families.text import llama

TIMEOUT = 20.0


@pytest.fixture(params=["gemma2", "llama", "llava", "qwen2_vl"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return FAMILIES[request.param]()


def hooks_of(model: nn.Module) -> int:
    """The engine's hooks; transformers leaves its own capturing hooks on some vision towers."""
    return sum(
        hook.__module__.startswith("engine")
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for hook in hooks.values()
    )


def truncated_logits(tiny: Tiny, lens: Lens, rows: int) -> torch.Tensor:
    """Logits of the same model cut down to its first `rows` layers."""
    model = copy.deepcopy(tiny.model)
    *path, name = lens.model_parts.layers_name.split(".")
    owner: Any = model
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, getattr(owner, name)[:rows])
    owner.config.num_hidden_layers = rows
    with torch.no_grad():
        return model(**tiny.inputs, use_cache=False).logits  # type: ignore[no-any-return]


def test_last_row_is_the_models_own(tiny: Tiny) -> None:
    with torch.no_grad():
        own = tiny.model(**tiny.inputs).logits
    rows = Lens(tiny.model).logits(tiny.inputs, [0, 2, -1])
    assert rows.shape == (tiny.layers + 1, 1, 3, own.shape[-1])
    assert rows.dtype == torch.float32 and rows.device.type == "cpu"
    assert torch.equal(rows[-1], own[:, [0, 2, own.shape[1] - 1]].float())


def test_every_row_is_the_truncated_model(tiny: Tiny) -> None:
    lens = Lens(tiny.model)
    length = tiny.inputs["input_ids"].shape[1]
    rows = lens.logits(tiny.inputs, list(range(length)))
    for row in range(tiny.layers + 1):
        expected = truncated_logits(tiny, lens, row)
        torch.testing.assert_close(rows[row], expected, atol=2e-5, rtol=1e-5)


def test_a_stream_that_plain_code_folds_is_replayed_through_the_model() -> None:
    """Row i against the model whose layers from i on pass the stream through unchanged."""
    tiny = gemma3n_text()
    lens = learned(tiny)
    assert lens.method == "replay"
    length = tiny.inputs["input_ids"].shape[1]
    rows = lens.logits(tiny.inputs, list(range(length)))
    layers = list(lens.layers)
    for row in reversed(range(tiny.layers)):
        layers[row].forward = lambda hidden, *_, **__: hidden  # type: ignore[method-assign]
        with torch.no_grad():
            expected = tiny.model(**tiny.inputs, use_cache=False).logits
        torch.testing.assert_close(rows[row], expected, atol=2e-5, rtol=1e-5)


def test_norm_off_is_refused_where_the_tail_cannot_be_taken_apart() -> None:
    tiny = gemma3n_text()
    with pytest.raises(CannotRead, match="norm off"):
        Lens(tiny.model).logits(tiny.inputs, norm=False)


def test_norm_off_is_refused_where_several_streams_are_brought_together() -> None:
    tiny = FAMILIES["glm5_next"]()
    with pytest.raises(CannotRead, match="norm off: the model merges 3 residual streams"):
        Lens(tiny.model).logits(tiny.inputs, norm=False)


def test_stream_gives_the_same_numbers_as_logits(tiny: Tiny) -> None:
    lens = Lens(tiny.model)
    rows = lens.logits(tiny.inputs, [-2])[:, 0, 0]
    readings = list(lens.stream(tiny.inputs, position=-2, top_k=5))
    assert [reading.layer for reading in readings] == list(range(tiny.layers + 1))
    for reading, logits in zip(readings, rows, strict=True):
        shares = logits.softmax(-1)
        best = shares.topk(5)
        assert [token.id for token in reading.top] == best.indices.tolist()
        assert [token.probability for token in reading.top] == pytest.approx(
            best.values.tolist(), abs=1e-6
        )
        assert reading.entropy == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-4)


def test_rms_is_of_the_stream_before_the_tail() -> None:
    tiny = llama()
    seen: list[float] = []

    def keep(module: nn.Module, args: Any, kwargs: Any) -> None:
        stream = args[0] if args else kwargs["hidden_states"]
        seen.append(float(stream[0, -1].pow(2).mean().sqrt()))

    handles = [
        module.register_forward_pre_hook(keep, with_kwargs=True)
        for module in [*tiny.model.model.layers, tiny.model.model.norm]
    ]
    with torch.no_grad():
        tiny.model(**tiny.inputs)
    for handle in handles:
        handle.remove()
    readings = list(Lens(tiny.model).stream(tiny.inputs))
    assert [reading.rms for reading in readings] == pytest.approx(seen, rel=1e-5)


class BlockingLayer:
    """Makes one layer wait inside its forward until it is released."""

    def __init__(self, layer: nn.Module) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.calls = 0
        self._own = layer.forward
        self.armed = True
        layer.forward = self._forward  # type: ignore[method-assign]

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.armed:
            self.entered.set()
            assert self.go_on.wait(TIMEOUT)
        return self._own(*args, **kwargs)


def learned(tiny: Tiny) -> Lens:
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    return lens


@pytest.mark.parametrize("blocked", [1, 3, 5])
def test_rows_arrive_while_a_later_layer_blocks(blocked: int) -> None:
    tiny = llava(layers=6)
    lens = learned(tiny)
    layer = BlockingLayer(lens.layers[blocked])
    stream = lens.stream(tiny.inputs)
    early = [next(stream) for _ in range(blocked + 1)]
    assert [reading.layer for reading in early] == list(range(blocked + 1))
    assert layer.entered.wait(TIMEOUT) and not layer.go_on.is_set()
    layer.go_on.set()
    assert [reading.layer for reading in stream] == list(range(blocked + 1, 7))
    assert hooks_of(tiny.model) == 0


def test_closing_ends_the_pass_within_one_layer() -> None:
    tiny = llama(layers=6)
    lens = learned(tiny)
    layer = BlockingLayer(lens.layers[2])
    later = BlockingLayer(lens.layers[3])
    later.armed = False
    stream = lens.stream(tiny.inputs)
    assert next(stream).layer == 0
    assert layer.entered.wait(TIMEOUT)
    threading.Timer(0.2, layer.go_on.set).start()
    stream.close()  # type: ignore[attr-defined]
    assert layer.calls == 1 and later.calls == 0
    assert hooks_of(tiny.model) == 0


def test_cancelling_from_another_thread_raises_cancelled() -> None:
    tiny = llama(layers=6)
    lens = learned(tiny)
    layer = BlockingLayer(lens.layers[2])
    started = lens.start(tiny.inputs)
    rows: list[LayerReading] = []

    def read() -> None:
        with pytest.raises(Cancelled):
            for (group,) in started:
                rows.extend(group)
        cancelled.set()

    cancelled = threading.Event()
    threading.Thread(target=read, daemon=True).start()
    assert layer.entered.wait(TIMEOUT)
    started.cancel()
    layer.go_on.set()
    assert cancelled.wait(TIMEOUT)
    assert hooks_of(tiny.model) == 0


def test_an_error_in_a_layer_reaches_the_caller_and_leaves_no_hooks() -> None:
    tiny = llama()
    lens = learned(tiny)

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: something broke")

    lens.layers[3].forward = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="something broke"):
        list(lens.stream(tiny.inputs))
    with pytest.raises(RuntimeError, match="something broke"):
        lens.logits(tiny.inputs)
    assert hooks_of(tiny.model) == 0


def test_a_second_caller_waits_for_the_first() -> None:
    tiny = llama()
    lens = learned(tiny)
    other = Lens(tiny.model)
    other.learn(tiny.inputs)
    layer = BlockingLayer(lens.layers[1])
    first = lens.stream(tiny.inputs)
    assert next(first).layer == 0
    assert layer.entered.wait(TIMEOUT)
    layer.armed = False
    done = threading.Event()

    def second() -> None:
        list(other.stream(tiny.inputs))
        done.set()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    assert not done.wait(0.2)
    assert layer.calls == 1
    layer.go_on.set()
    list(first)
    assert done.wait(TIMEOUT)


def test_a_hundred_runs_leave_memory_where_it_was() -> None:
    tiny = llama(layers=3)
    lens = learned(tiny)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())

    for _ in range(3):
        list(lens.stream(tiny.inputs))
    before, threads = tensors(), threading.active_count()
    for _ in range(100):
        list(lens.stream(tiny.inputs))
    # While another thread of this process collects garbage, a call that asks for it does nothing.
    end = time.monotonic() + 15
    while tensors() > before + 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert threading.active_count() <= threads
    assert hooks_of(tiny.model) == 0


def test_a_disturbed_norm_in_the_lens_only_is_refused() -> None:
    tiny = llama()
    lens = learned(tiny)
    assert isinstance(lens.model_parts.tail, ExplicitTail)
    step = lens.model_parts.tail.steps[0]
    disturbed = copy.deepcopy(step.module)
    with torch.no_grad():
        disturbed.weight[3] += 0.5  # type: ignore[index, operator]
    object.__setattr__(step, "module", disturbed)
    stream = lens.stream(tiny.inputs)
    with pytest.raises(CannotRead, match="proof failed"):
        list(stream)
    with pytest.raises(CannotRead, match="proof failed"):
        lens.logits(tiny.inputs)
    started = lens.start(tiny.inputs)
    list(started)
    assert not started.results[0].proof.passed


def padded(side: str) -> dict[str, torch.Tensor]:
    short, long = [1, 5, 6, 7], [1, 8, 9, 10, 11, 12]
    blank = [0, 0]
    ids = [blank + short if side == "left" else short + blank, long]
    mask = [[0, 0, 1, 1, 1, 1] if side == "left" else [1, 1, 1, 1, 0, 0], [1] * 6]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def test_minus_one_is_the_same_token_under_left_and_right_padding() -> None:
    model = llama().model
    lens = Lens(model)
    alone = lens.logits({"input_ids": torch.tensor([[1, 5, 6, 7]])}, [-1, -4])
    for side in ("left", "right"):
        rows = lens.logits(padded(side), [-1, -4])
        torch.testing.assert_close(rows[:, :1], alone, atol=2e-5, rtol=1e-5)


def test_a_lens_that_learns_on_a_padded_batch_is_the_same() -> None:
    model = llama().model
    torch.testing.assert_close(
        Lens(model).logits(padded("left"), [-1]),
        learned(Tiny(model, text_inputs(), 5)).logits(padded("right"), [-1]),
        atol=2e-5,
        rtol=1e-5,
    )


def test_positions_per_item() -> None:
    lens = Lens(llama().model)
    inputs = padded("right")
    rows = lens.logits(inputs, torch.tensor([[0, 3], [5, -1]]))
    every = lens.logits(inputs, [0, 1, 2, 3, 4, 5])
    assert torch.equal(rows[-1, 0], every[-1, 0, [0, 3]])
    assert torch.equal(rows[-1, 1], every[-1, 1, [5, 5]])


@pytest.mark.parametrize("position", [7, -8, 1000])
def test_a_position_out_of_range_is_an_index_error(position: int) -> None:
    tiny = llama()
    lens = Lens(tiny.model)
    with pytest.raises(IndexError, match=str(position)):
        lens.logits(tiny.inputs, [position])
    with pytest.raises(IndexError, match=str(position)):
        list(lens.stream(tiny.inputs, position=position))
    assert hooks_of(tiny.model) == 0


def test_stream_refuses_a_batch() -> None:
    with pytest.raises(ValueError, match="batch of one"):
        list(Lens(llama().model).stream(padded("left")))


def test_norm_off_skips_the_norm_in_all_rows_but_the_last() -> None:
    tiny = llama()
    lens = Lens(tiny.model)
    normed, plain = lens.logits(tiny.inputs), lens.logits(tiny.inputs, norm=False)
    assert torch.equal(normed[-1], plain[-1])
    with torch.no_grad():
        states = tiny.model(**tiny.inputs, output_hidden_states=True).hidden_states
        expected = tiny.model.lm_head(states[2][:, -1:])
    torch.testing.assert_close(plain[2], expected)
    assert not torch.allclose(normed[2], plain[2], atol=1e-2)


def test_training_flags_and_gradients_are_left_alone() -> None:
    tiny = llama()
    tiny.model.train()
    tiny.model.model.norm.eval()
    Lens(tiny.model).logits(tiny.inputs)
    assert tiny.model.training and not tiny.model.model.norm.training
    assert torch.is_grad_enabled()


def test_a_model_without_a_vocabulary_head_is_refused() -> None:
    with pytest.raises(CannotRead, match="not one per token of its vocabulary"):
        Lens(llama().model.model).logits(text_inputs())


def test_projections_stay_small() -> None:
    """No tensor of [layers, positions, vocabulary] is made while streaming."""
    tiny = llama(layers=12)
    lens = learned(tiny)
    assert isinstance(lens.model_parts.tail, ExplicitTail)
    sizes: list[int] = []
    own = lens.model_parts.tail.head.forward

    def count(hidden: torch.Tensor) -> Any:
        sizes.append(hidden[..., 0].numel())
        return own(hidden)

    lens.model_parts.tail.head.forward = count  # type: ignore[method-assign]
    list(lens.stream(tiny.inputs))
    assert max(sizes) == 3
    sizes.clear()
    for _ in lens.start(tiny.inputs, everywhere=True):
        pass
    length = tiny.inputs["input_ids"].shape[1]
    assert sorted(sizes)[-1] == length and sorted(sizes)[-2] == 3
