"""Saliency: derivatives against finite differences in float64, a linear model whose maps are known,
completeness, what occlusion and the curves replace; what is left after passes with gradients; the
method's readings on the bundled model; every family."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import samples
from engine.asking.asking import Asking
from engine.errors import BadInput, Cancelled, CannotRead
from engine.events import LoadOptions, ModelReady, ReadingMade, RunEnded, Trouble
from engine.lens.lens import Lens
from engine.lens.picture_patches import token_relation
from engine.lens.repeated import NO_GRADIENT, RepeatedPasses
from engine.lens.saliency_attention import OTHER_KEYS, OWN_CODE, attention_slopes, with_weights
from engine.lens.saliency_curves import CellCurves, at_random, most_salient_first
from engine.lens.saliency_leaves import Leaf, Slope, Target, pixel_leaf, row_leaf
from engine.lens.saliency_proof import disagreement
from engine.lens.saliency_ways import evenly, integrated, occluded, smoothed, times_input
from engine.methods.asked_run import AskedRun
from engine.methods.method import carry_out
from engine.methods.registry import method_of, tables_of
from engine.methods.requests import request_of
from engine.methods.saliency import SaliencyPart, SaliencyReading, SaliencyRequest
from engine.methods.saliency_places import INSTEAD, NO_PICTURE
from engine.models.loading import LoadedModel
from engine.passes.choices import Choices
from engine.passes.row_values import RowValues
from engine.records import Picture, Question
from engine.system.steps import finished
from engine.worker import Worker
from tests.conftest import hooks_of, tensors
from tests.engine.conftest import Ears
from tests.families import FAMILIES, Tiny
from tests.families.llava import llava

Copied = Callable[[str], Path]


def never() -> bool:
    return False


def passes_over(tiny: Tiny, stop: Callable[[], bool] = never) -> RepeatedPasses:
    return RepeatedPasses(Lens(tiny.model), tiny.inputs, (-1,), stop)


def at_pixels(tiny: Tiny, target: Target, stand_in: bool = False) -> Leaf:
    passes = passes_over(tiny)
    passes.run()
    relation = token_relation(Lens(tiny.model), tiny.inputs)
    assert relation.numbers is not None
    pixels = tiny.inputs[relation.name]
    mean = {relation.name: pixels.mean().expand_as(pixels).clone()} if stand_in else None
    return pixel_leaf(passes, target, {relation.name: relation.numbers}, mean)


STEP = 1e-3
"""Norms round to float32 also in a model of float64: a shorter step would show little else."""


def slope_along(value: Callable[[float], float], step: float) -> float:
    """The derivative at 0, from five points."""
    near, far = (value(by) - value(-by) for by in (step, 2 * step))
    return (8 * near - far) / (12 * step)


def in_float64(tiny: Tiny) -> Tiny:
    """With larger weights, too, so that the picture counts."""
    with torch.no_grad():
        for parameter in tiny.model.parameters():
            if parameter.ndim > 1:
                parameter *= 4
    doubled = {
        name: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in tiny.inputs.items()
    }
    return Tiny(tiny.model.double(), doubled, tiny.layers)


# The derivatives, against the model itself


def log_probability(tiny: Tiny, inputs: dict[str, Any], token: int) -> float:
    with torch.no_grad():
        return float(tiny.model(**inputs).logits[0, -1].double().log_softmax(-1)[token])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_slopes_at_the_pixels_are_those_of_finite_differences(name: str) -> None:
    tiny = in_float64(FAMILIES[name]())
    token = 7
    leaf = at_pixels(tiny, Target((token,)))
    (slope,), (pixels,) = leaf.slope(leaf.start).by, leaf.start
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        direction = torch.randn(pixels.shape, generator=generator, dtype=torch.float64)

        def moved(by: float, direction: Tensor = direction) -> float:
            there = {leaf.names[0]: pixels + by * direction}
            return log_probability(tiny, {**tiny.inputs, **there}, token)

        wanted = slope_along(moved, 5 * STEP)
        size = float(slope.norm())  # of a direction that happens to change nothing
        found = float((slope * direction).sum())
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-3 * size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
@pytest.mark.parametrize("row", [0, 2])
def test_slopes_at_a_row_are_those_of_finite_differences(name: str, row: int) -> None:
    tiny = in_float64(FAMILIES[name]())
    target = Target((7, 11))
    passes = passes_over(tiny)
    leaf = row_leaf(passes, target, row, ())
    ((slope,), (stream,)) = leaf.slope(leaf.start).by, leaf.start
    layer = passes.parts.layers[row]
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        direction = torch.randn(stream.shape, generator=generator, dtype=torch.float64)

        def moved(by: float, direction: Tensor = direction) -> float:
            def shifted(module: Any, args: Any, kwargs: Any) -> Any:
                slot = passes.parts.stream_slot
                return slot.put(args, kwargs, slot.get(args, kwargs) + by * direction)

            handle = layer.register_forward_pre_hook(shifted, with_kwargs=True)
            with torch.no_grad():
                logits = tiny.model(**tiny.inputs).logits[0, -1]
            handle.remove()
            return float(logits[7] - logits[11])

        wanted = slope_along(moved, STEP * float(stream.square().mean().sqrt()))
        size = float(slope.norm())
        assert float((slope * direction).sum()) == pytest.approx(wanted, rel=1e-3, abs=1e-3 * size)


@pytest.mark.slow
def test_one_backward_pass_gives_every_row() -> None:
    tiny = llava()
    target = Target((7,))
    passes = passes_over(tiny)
    first = row_leaf(passes, target, 0, ())
    together = first.slope(first.start, range(tiny.layers + 1)).rows
    pixels = at_pixels(tiny, target)
    through = pixels.slope(pixels.start, range(tiny.layers + 1)).rows
    for row in range(tiny.layers + 1):
        leaf = row_leaf(passes, target, row, ())
        alone = times_input(leaf, leaf.slope(leaf.start))[:-1].float()
        assert together[row] == pytest.approx(alone, abs=1e-5)
        assert through[row] == pytest.approx(alone, abs=1e-5)
    # Behind the last row there is a norm that knows no scale: Euler's theorem.
    assert float(together[tiny.layers].abs().max()) < 1e-3
    assert float(together[2].abs().max()) > 3e-3


class Mixing(nn.Module):
    """A layer that adds to each position a sum over those before it."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.mix = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
        self.mix.weight.data = weights

    def forward(self, hidden_states: Tensor) -> Tensor:
        added: Tensor = self.mix(hidden_states.transpose(1, 2)).transpose(1, 2)
        return hidden_states + added


class Linear(nn.Module):
    """A model whose logits are linear in every row."""

    def __init__(self, layers: int = 3, length: int = 6, width: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.config: Any = SimpleNamespace()
        self.config.get_text_config = lambda decoder=True: self.config
        self.embed = nn.Embedding(20, width)
        mixed = torch.randn(layers, length, length, generator=generator).tril() * 0.3
        self.layers = nn.ModuleList(Mixing(each) for each in mixed)
        self.lm_head = nn.Linear(width, 20, bias=False)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        return SimpleNamespace(logits=self.lm_head(hidden))


def linear() -> Tiny:
    torch.manual_seed(0)
    ids = torch.tensor([[1, 5, 6, 7, 8, 9]])
    return Tiny(Linear().eval(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, 3)


@pytest.mark.parametrize(
    "row", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (0, 3))]
)
def test_in_a_linear_model_every_way_gives_what_is_known(row: int) -> None:
    tiny = linear()
    model: Any = tiny.model
    passes = passes_over(tiny)
    leaf = row_leaf(passes, Target((3, 4)), row, (1, 2))
    rest = torch.eye(6)
    for layer in model.layers[row:]:
        rest = (torch.eye(6) + layer.mix.weight.detach()) @ rest
    direction = (model.lm_head.weight[3] - model.lm_head.weight[4]).detach()
    stream = leaf.start[0]
    shares = rest[-1] * (stream @ direction)  # of every position
    slope = leaf.slope(leaf.start)
    assert slope.value == pytest.approx(float(shares.sum()), abs=1e-5)
    assert times_input(leaf, slope)[:-1] == pytest.approx(shares.double(), abs=1e-5)
    start = (torch.zeros_like(stream),)
    *_, found = integrated(leaf, start, slope.value - leaf.value(start), 2, 2)
    assert found.sums[:-1] == pytest.approx(shares.double(), abs=1e-5)
    assert found.completeness is not None and found.completeness < 1e-4
    mean = stream[[1, 2]].mean(0)
    blocks = [[0], [1, 2], [3], [4], [5]]
    *_, found = occluded(leaf, blocks, slope.value, Lens(model))
    for block in blocks:
        fall = sum(float(rest[-1, each] * ((stream[each] - mean) @ direction)) for each in block)
        assert found.sums[block] == pytest.approx([fall] * len(block), abs=1e-5)
    assert disagreement(leaf.start, slope, leaf.value, leaf.target, torch.float32) < 0.5
    # The mean over noisy inputs of a constant slope times them.
    *_, found = smoothed(leaf, 25, 0)
    spread = 0.15 * (stream.amax(0) - stream.amin(0))
    deviation = (rest[-1].abs() * (spread * direction).norm()).max() / 5
    assert found.sums[:-1] == pytest.approx(shares.double(), abs=5 * float(deviation))


def test_products_in_half_precision_are_summed_exactly() -> None:
    tiny = llava()
    tiny.model.bfloat16()
    tiny.inputs["pixel_values"] = tiny.inputs["pixel_values"].bfloat16()
    leaf = row_leaf(passes_over(tiny), Target((7,)), 1, ())
    slope = leaf.slope(leaf.start)
    exact = times_input(leaf, slope)[:-1]
    assert exact.any() and torch.allclose(slope.rows[1], exact, rtol=1e-9, atol=0)


def test_a_wrong_slope_fails_its_proof() -> None:
    tiny = llava()
    leaf = at_pixels(tiny, Target((7,)))
    slope = leaf.slope(leaf.start)
    dtype = torch.float32
    assert disagreement(leaf.start, slope, leaf.value, leaf.target, dtype) <= 1.0
    half = slope.by[0].clone()
    half[..., :6, :] = 0.0  # the graph has lost half of the picture
    for wrong in (slope.by[0] * 1.2, -slope.by[0], half, torch.zeros_like(half)):
        by = type(slope)(slope.value, slope.logits, (wrong,), {})
        assert disagreement(leaf.start, by, leaf.value, leaf.target, dtype) > 1.0


def test_a_wrong_slope_fails_where_the_model_rules_tokens_out() -> None:
    tiny = FAMILIES["chameleon"]()
    passes = passes_over(tiny)
    clean = passes.run()
    assert float(clean.abs().max()) > 1e30
    leaf = row_leaf(passes, Target((int(clean[0].argmax()),)), 0, ())
    slope = leaf.slope(leaf.start)
    dtype = torch.float32
    assert disagreement(leaf.start, slope, leaf.value, leaf.target, dtype) <= 1.0
    for wrong in (slope.by[0] * 1.2, -slope.by[0], torch.zeros_like(slope.by[0])):
        by = type(slope)(slope.value, slope.logits, (wrong,), {})
        assert disagreement(leaf.start, by, leaf.value, leaf.target, dtype) > 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3_vl_moe", "aria", "deepseek_ocr2", "qwen3_5_moe"])
def test_a_slope_is_that_with_the_experts_as_they_are_chosen(name: str) -> None:
    """Where an expert is exchanged within a step, the target jumps, and a shorter step sees that
    the more; with the experts held, it comes ever nearer to the slope."""
    tiny = FAMILIES[name]()
    passes = passes_over(tiny)
    target = Target((int(passes.run()[0].argmax()),))
    leaf = row_leaf(passes, target, 0, ())
    slope = leaf.slope(leaf.start)
    generator = torch.Generator().manual_seed(0)
    (stream,) = leaf.start
    direction = torch.randint(0, 2, stream.shape, generator=generator) * 2.0 - 1.0
    size = float(stream.square().mean().sqrt())
    said = float((slope.by[0] * direction).sum())

    def error(value: Callable[[tuple[Tensor, ...]], float], step: float) -> float:
        moved = [value((stream + sign * step * size * direction,)) for sign in (1, -1)]
        return abs((moved[0] - moved[1]) / (2 * step * size) / said - 1.0)

    choices = Choices()
    held = leaf.held(choices)
    assert torch.equal(leaf.logits(leaf.start, choices), leaf.logits(leaf.start))
    assert choices.flipped == 0
    errors = [error(held, step) for step in (0.003, 0.001, 0.0003)]
    assert choices.flipped > 0 and error(leaf.value, 0.001) > 2 * errors[1]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.002
    for wrong in (slope.by[0] * 1.2, -slope.by[0]):
        by = Slope(slope.value, slope.logits, (wrong,), {})
        assert disagreement(leaf.start, by, held, target, torch.float32) > 1.0


# Integrated gradients, SmoothGrad, occlusion and the curves


@pytest.mark.slow
def test_integrated_gradients_are_complete() -> None:
    tiny = llava()
    leaf = at_pixels(tiny, Target((7,)), stand_in=True)
    assert leaf.stand_in is not None
    risen = leaf.value(leaf.start) - leaf.value(leaf.stand_in)
    parts = [*integrated(leaf, leaf.stand_in, risen, 32, 32)]
    assert parts[-1].completeness is not None and parts[-1].completeness < 0.01
    assert float(parts[-1].sums.sum()) == pytest.approx(risen, rel=0.01)
    assert all(each.completeness is None for each in parts[:-1])
    assert [each.done for each in parts] == [*range(2, 33, 2)]


@pytest.mark.slow
def test_steps_are_doubled_while_they_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = llava()
    leaf = at_pixels(tiny, Target((7,)), stand_in=True)
    assert leaf.stand_in is not None
    away = leaf.value(leaf.start) - leaf.value(leaf.stand_in) + 100.0  # never reached
    told = [*integrated(leaf, leaf.stand_in, away, 1, 100)]
    assert told[-1].before + told[-1].done == 1 + 2 + 4 + 8
    asked = [each.done for each in told]
    assert asked == [1, 1, 2, 1, 2, 3, 4, *range(1, 9)]
    assert [each.done for each in integrated(leaf, leaf.stand_in, away, 1, 2)] == [1, 1, 2]


@pytest.mark.slow
def test_noise_is_the_same_for_a_seed() -> None:
    leaf = at_pixels(llava(), Target((7,)))
    first, again, other = ([*smoothed(leaf, 3, seed)][-1].sums for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.slow
def test_occlusion_is_the_fall_when_a_cell_is_the_mean() -> None:
    tiny = llava()
    leaf = at_pixels(tiny, Target((7,)), stand_in=True)
    blocks = [[1], [2, 3], *([each] for each in range(4, 10))]
    value = leaf.value(leaf.start)
    *parts, found = occluded(leaf, blocks, value, Lens(tiny.model))
    assert parts[0].done == 1 and bool(parts[0].sums.isnan().any())
    pixels, mean = tiny.inputs["pixel_values"], tiny.inputs["pixel_values"].mean()
    for tokens in blocks:
        other = pixels.clone()
        for token in tokens:
            row, column = divmod(token - 1, 3)
            other[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = mean
        left = log_probability(tiny, {**tiny.inputs, "pixel_values": other}, 7)
        assert found.sums[tokens] == pytest.approx([value - left] * len(tokens), abs=1e-5)
    assert torch.equal(leaf.replaced([], leaf.stand_in or (), leaf.start)[0], leaf.start[0])
    assert torch.equal(leaf.logits(leaf.start), leaf.passes.run())


def test_cells_are_taken_in_an_order_that_fills_the_picture() -> None:
    assert evenly(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    for count in range(1, 40):
        assert sorted(evenly(count)) == [*range(count)]
    assert evenly(0) == []


@pytest.mark.slow
def test_curves_delete_and_insert_the_first_cells() -> None:
    tiny = llava()
    leaf = at_pixels(tiny, Target((7,)), stand_in=True)
    assert leaf.stand_in is not None
    cells = [*range(1, 10)]
    order = most_salient_first(torch.tensor([0.1, math.nan, 3, -1, 0.1, 2, 0, 0, 0]))
    assert order == [2, 5, 0, 4, 6, 7, 8, 3, 1]
    found = CellCurves(leaf, cells, Lens(tiny.model)).along(order)
    whole, mean = (math.exp(leaf.value(each)) for each in (leaf.start, leaf.stand_in))
    assert found.deleted[[0, -1]].tolist() == pytest.approx([whole, mean], rel=1e-4)
    assert found.inserted[[0, -1]].tolist() == pytest.approx([mean, whole], rel=1e-4)
    third = math.exp(leaf.value(leaf.replaced([3, 6, 1], leaf.stand_in, leaf.start)))
    assert float(found.deleted[3]) == pytest.approx(third, rel=1e-4)
    kept = [cells[each] for each in order[3:]]
    third = math.exp(leaf.value(leaf.replaced(kept, leaf.stand_in, leaf.start)))
    assert float(found.inserted[3]) == pytest.approx(third, rel=1e-4)
    assert found.deletion == pytest.approx(np.trapezoid(found.deleted, found.fractions))
    assert sorted(at_random(9, 0)) == [*range(9)] and at_random(9, 0) != at_random(9, 1)


def test_attention_is_weighed_by_its_own_derivative() -> None:
    """Against autograd on the eager attention's own weights."""
    tiny = llava()
    lens = Lens(tiny.model)
    passes = RepeatedPasses(lens, tiny.inputs, (-1,), never)
    target = Target((7,))
    seen = finished(lens.read_attention(tiny.inputs, -1))
    found = attention_slopes(passes, target, seen)
    tiny.model.set_attn_implementation("eager")
    output = tiny.model(**tiny.inputs, output_attentions=True)
    for each in output.attentions:
        each.retain_grad()
    output.logits[0, -1].log_softmax(-1)[7].backward()
    wanted = torch.zeros(len(found.together), dtype=torch.float64)
    for weights, by, own in zip(found.weights, found.by, output.attentions, strict=True):
        assert weights == pytest.approx(own[0, :, -1].detach(), abs=1e-5)
        assert by == pytest.approx(own.grad[0, :, -1], abs=1e-4)
        wanted += (own.grad * own.detach())[0, :, -1].clamp_min(0).sum(0)
    assert found.together == pytest.approx(wanted, abs=1e-5)
    assert found.without == ()


# What is left after passes with gradients


def left(model: nn.Module) -> tuple[int, list[bool], bool]:
    flags = [each.requires_grad for each in model.parameters()]
    return hooks_of(model), flags, all(each.grad is None for each in model.parameters())


@pytest.mark.slow
def test_parameters_and_modules_are_as_they_were() -> None:
    tiny = llava()
    next(iter(tiny.model.parameters())).requires_grad_(False)
    tiny.model.train()
    before = left(tiny.model)
    leaf = at_pixels(tiny, Target((7,)))
    assert not tiny.inputs["pixel_values"].requires_grad
    with torch.inference_mode():
        slope = leaf.slope(leaf.start, range(3))
    assert left(tiny.model) == before
    assert tiny.model.training and torch.is_grad_enabled()
    assert not any(each.requires_grad for each in (*slope.by, *slope.rows.values()))
    assert torch.equal(leaf.logits(leaf.start), slope.logits)
    # A plain pass can still be trained.
    assert tiny.model(**tiny.inputs).logits.requires_grad


def test_what_a_pass_leaves_on_a_module_holds_no_graph() -> None:
    tiny = llava()
    leaf = row_leaf(passes_over(tiny), Target((7,)), 1, ())
    layer = leaf.passes.parts.layers[3]
    own = layer.forward

    def remembering(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        layer.last = output if isinstance(output, Tensor) else output[0]
        return output

    layer.forward = remembering
    leaf.slope(leaf.start)
    assert isinstance(layer.last, Tensor) and layer.last.grad_fn is None


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_pass_is_cancelled_within_a_layer(way: str) -> None:
    tiny = llava()
    asked = [False]
    passes = passes_over(tiny, lambda: asked[0])
    target = Target((7,))
    leaf = row_leaf(passes, target, 0, ())
    before = left(tiny.model)
    entered: list[int] = []

    class Slow(torch.autograd.Function):
        """Is at work until it has been asked to stop, forwards or backwards."""

        @staticmethod
        def forward(ctx: Any, value: Tensor) -> Tensor:
            wait_if("forward")
            return value.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            wait_if("backward")
            return gradients[0]

    def wait_if(now: str) -> None:
        entered.append(len(entered))
        if now == way:
            asked[0] = True
            while not forward_of_the_pass.cancelled.is_set():
                pass

    forward_of_the_pass = passes.forward()
    editor = RowValues(forward_of_the_pass, {}, [0], gradients=True)

    class Slowing:
        def attached(self, active: Any) -> Any:
            from engine.anatomy.hooks import changing

            def slowed(module: Any, args: Any, kwargs: Any) -> Any:
                slot = passes.parts.stream_slot
                return slot.put(args, kwargs, Slow.apply(slot.get(args, kwargs)))

            return changing(passes.parts.layers[3], slowed)

    with pytest.raises(Cancelled):
        passes.differentiate(
            forward_of_the_pass, [editor, Slowing()], target, lambda: [editor.rows[0]]
        )
    assert len(entered) == (1 if way == "forward" else 2)
    assert left(tiny.model) == before
    asked[0] = False
    assert leaf.slope(leaf.start).by[0].any()


def test_after_an_error_in_a_backward_pass_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = llava()
    leaf = at_pixels(tiny, Target((7,)))
    before = left(tiny.model)

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr(torch.autograd, "grad", broken)
        with pytest.raises(torch.OutOfMemoryError):
            leaf.slope(leaf.start)
    assert left(tiny.model) == before
    assert leaf.slope(leaf.start).by[0].any()


@pytest.mark.slow
def test_a_model_without_gradients_is_refused() -> None:
    tiny = llava()
    own = tiny.model.model.language_model.forward
    tiny.model.model.language_model.forward = torch.no_grad()(own)
    leaf = at_pixels(llava(), Target((7,)))
    with pytest.raises(CannotRead, match=NO_GRADIENT):
        row = row_leaf(passes_over(tiny), Target((7,)), 0, ())
        row.slope(row.start)
    assert leaf.slope(leaf.start).by[0].any()


@pytest.mark.slow
def test_memory_is_flat_over_a_hundred_slopes() -> None:
    tiny = llava()
    pixels = at_pixels(tiny, Target((7,)))
    row = row_leaf(passes_over(tiny), Target((7,)), 0, ())
    counts = []
    for number in range(100):
        pixels.slope(pixels.start)
        row.slope(row.start, range(4))
        if number in (9, 99):
            counts.append(tensors())
    assert counts[1] <= counts[0] + 2


# The method


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    picture = Picture(path=str(samples.DEFAULT_PICTURE))
    asking = Asking(bundled, Question("Shape of the main object:", picture=picture))
    return AskedRun(asking, asking.run())


def read(asked: AskedRun, **settings: Any) -> SaliencyReading:
    method = method_of("saliency")
    reading = asked.read(method, request_of(method, settings))
    assert isinstance(reading, SaliencyReading)
    assert reading.proof is not None and reading.proof.passed
    assert reading.misfit(asked.run) is None
    return reading


def test_a_map_of_the_pixels(asked: AskedRun) -> None:
    reading = read(asked, matrix="true")
    best, second = asked.run.rows[-1].top[:2]
    assert [each.id for each in reading.of] == [best.id, second.id]
    assert best.logit is not None and second.logit is not None
    assert reading.value == pytest.approx(best.logit - second.logit, abs=1e-4)
    assert reading.cells.shape == (64,) and reading.positions is None
    assert reading.grid is not None
    assert reading.grid.values.tolist() == [[0, *divmod(cell, 8)] for cell in range(64)]
    assert reading.matrix is not None
    assert reading.matrix.shape == (asked.run.layers + 1, len(asked.run.tokens))
    row = read(asked, row="0", matrix="true")
    assert row.matrix is not None and row.positions is not None
    assert row.matrix.values == pytest.approx(reading.matrix.values, abs=1e-6)
    assert row.positions.values == pytest.approx(row.matrix.values[0], abs=1e-7)
    assert row.map.values == pytest.approx(row.positions.values[[*row.cells.integers]])
    titles = [table.title for table in tables_of(row)]
    assert titles[0].startswith("gradient x input of the logit of")
    assert titles[1:] == [
        f"the 20 largest of {len(asked.run.tokens)} positions",
        "gradient x input, row by row",
        "measures",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"row": 0}, {"row": 4}])
def test_a_matrix_with_a_wrong_row_fails_its_proof(
    asked: AskedRun, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int]
) -> None:
    own = Leaf.slope

    def wrong(leaf: Leaf, *args: Any, **kwargs: Any) -> Slope:
        slope = own(leaf, *args, **kwargs)
        return replace(slope, of_rows={row: by * (row == 0) for row, by in slope.of_rows.items()})

    monkeypatch.setattr(Leaf, "slope", wrong)
    method = method_of("saliency")
    request = request_of(method, {"matrix": True, **settings})
    *_, reading = carry_out(method, asked.subject, request, never)
    assert isinstance(reading, SaliencyReading) and reading.proof is not None
    assert not reading.proof.passed and reading.proof.what.endswith("by rows 0 and 5, likewise")


def test_one_word_is_explained_by_its_log_probability(asked: AskedRun) -> None:
    best = asked.run.rows[-1].top[0]
    reading = read(asked, of=best.text.strip(), row="4")
    assert [each.id for each in reading.of] == [best.id]
    assert reading.value == pytest.approx(math.log(best.probability), abs=1e-4)
    assert "of the log-probability of" in tables_of(reading)[0].title


@pytest.mark.slow
def test_the_difference_of_two_words_is_explained(asked: AskedRun) -> None:
    reading = read(asked, of="cube,sphere", row="4")
    assert [each.text.strip().lower() for each in reading.of] == ["cube", "sphere"]
    logits = [each.logit for each in reading.of]
    assert None not in logits
    assert reading.value == pytest.approx(logits[0] - logits[1], abs=1e-4)  # type: ignore[operator]
    assert "minus that of" in tables_of(reading)[0].title


@pytest.mark.slow
def test_parts_come_before_the_reading(asked: AskedRun) -> None:
    method = method_of("saliency")
    request = request_of(method, {"way": "occlusion", "block": 4, "row": 0})
    *parts, reading = carry_out(method, asked.subject, request, never)
    assert isinstance(reading, SaliencyReading)
    others = len(asked.run.tokens) - 64
    assert {each.orders for each in parts if isinstance(each, SaliencyPart)} == {4 + others}
    (first, *_) = (each for each in parts if isinstance(each, SaliencyPart))
    assert 0 < np.isnan(first.map.values).sum() < 64
    grid = reading.map.values.reshape(8, 8)
    assert (grid[:4, :4] == grid[0, 0]).all() and (grid[4:, 4:] == grid[7, 7]).all()
    assert reading.baseline is not None and reading.steps == 4 + others


@pytest.mark.slow
def test_a_path_and_its_measures(asked: AskedRun) -> None:
    reading = read(asked, way="ig", row="0", steps="8", compare="true")
    assert reading.completeness is not None and reading.completeness <= 0.05
    assert reading.baseline is not None and reading.value is not None
    risen = reading.value - reading.baseline
    assert float(reading.map.values.sum()) == pytest.approx(risen, rel=0.06)
    curves = reading.curves
    assert curves is not None and curves.insertion is not None
    assert curves.random_insertion is not None and curves.insertion > curves.random_insertion
    whole = 1 / (1 + math.exp(-reading.value))
    assert float(curves.inserted.values[-1]) == pytest.approx(whole, rel=1e-3)
    assert float(curves.inserted.values[0]) == float(curves.deleted.values[-1])
    (measures,) = [each for each in tables_of(reading) if each.title == "measures"]
    assert ("insertion", curves.insertion) in measures.rows


@pytest.mark.slow
def test_attention_has_a_map_and_every_position(asked: AskedRun) -> None:
    reading = read(asked, way="attention")
    assert reading.positions is not None
    assert bool((reading.positions.values >= 0).all()) and reading.map.values.max() > 0
    assert not reading.notes


@pytest.mark.slow
def test_a_token_of_the_answer_is_explained(bundled: LoadedModel) -> None:
    picture = Picture(path=str(samples.DEFAULT_PICTURE))
    asking = Asking(bundled, Question("Shape of the main object:", picture=picture))
    run = AskedRun(asking, asking.run())
    answer = method_of("answer")
    run.read(answer, request_of(answer, {"max_new_tokens": 2}))
    count = len(run.run.tokens)
    reading = read(run, position=count, row=2)
    assert reading.position == reading.reaches == count
    assert reading.positions is not None and reading.positions.shape == (count,)
    assert any("tokens of the answer" in note for note in reading.notes)


def test_requests_that_cannot_be_answered(asked: AskedRun) -> None:
    for settings, message in (
        ({"row": 30}, "no row 30"),
        ({"position": 1000}, "no position 1000"),
        ({"of": ("",)}, "no token of this model"),
    ):
        with pytest.raises(BadInput, match=message):
            read(asked, **settings)


@pytest.mark.slow
def test_a_run_without_a_picture_is_read_at_its_rows(
    opened: Callable[[str], LoadedModel],
) -> None:
    asking = Asking(opened("llama"), Question("What?"))
    run = AskedRun(asking, asking.run())
    with pytest.raises(CannotRead, match=f"{NO_PICTURE}: {INSTEAD}"):
        read(run)
    reading = read(run, way="ig", row="1", steps="4", compare="true")
    assert read(run, row="0").map.shape == (0,)
    assert reading.map.shape == (0,) and reading.grid is None and reading.curves is None
    assert any("was not measured" in note for note in reading.notes)
    assert read(run, way="attention").positions is not None


@pytest.mark.slow
def test_memory_that_runs_out_in_a_backward_pass_is_said_and_the_app_lives(
    worker: Worker, ears: Ears, saved: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.load(LoadOptions(str(saved("llama"))))
    ears.wait_for(ModelReady)
    run_id = worker.ask(Question(prompt="What?"))
    ears.wait_for(RunEnded)
    own = torch.autograd.grad

    def full(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch.autograd, "grad", full)
    request_id = worker.read(run_id, SaliencyRequest(row=0))
    trouble = ears.wait_for(Trouble)
    assert trouble.request_id == request_id and trouble.error.startswith("memory ran out")
    monkeypatch.setattr(torch.autograd, "grad", own)
    worker.read(run_id, SaliencyRequest(row=0))
    assert ears.wait_for(ReadingMade).reading.method == "saliency"


# Every family

QUICK = {"llava", "gemma2"}
"""A plain decoder with a picture; a soft-cap."""
NO_ATTENTION = {
    "blip": OWN_CODE,
    "diffusion_gemma": OTHER_KEYS,
    "git": OWN_CODE,
    "t5gemma2": OTHER_KEYS,
    "vision-encoder-decoder": OWN_CODE,
}
"""Families whose attention among the tokens cannot be differentiated, and why."""

every_family = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - {"pi0"})
    ],
)


@every_family
def test_slopes_agree_with_finite_differences_in_every_family(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    passes = RepeatedPasses(lens, tiny.inputs, (-1,), never)
    before = left(tiny.model)
    clean = passes.run()
    target = Target((int(clean[0].argmax()),))
    dtype, choices = passes.parts.dtype, Choices()
    leaf = row_leaf(passes, target, 0, ())
    assert torch.equal(leaf.logits(leaf.start), clean)
    slope = leaf.slope(leaf.start, range(tiny.layers + 1), [tiny.layers // 2])
    assert torch.allclose(slope.logits, clean, atol=1e-5)
    assert disagreement(leaf.start, slope, leaf.held(choices), target, dtype) <= 1.0
    assert {*slope.rows} == {*range(tiny.layers + 1)}
    middle = row_leaf(passes, target, tiny.layers // 2, ())
    of_row = Slope(slope.value, slope.logits, (slope.of_rows[tiny.layers // 2],), {})
    assert disagreement(middle.start, of_row, middle.held(choices), target, dtype) <= 1.0
    relation = token_relation(lens, tiny.inputs)
    if relation.numbers is not None:
        pixels = pixel_leaf(passes, target, {relation.name: relation.numbers}, None)
        assert torch.equal(pixels.logits(pixels.start), clean)
        slope = pixels.slope(pixels.start)
        owned = tuple(each >= 0 for each in pixels.owners)
        value = pixels.held(choices)
        assert disagreement(pixels.start, slope, value, target, dtype, owned) <= 1.0
    seen = finished(lens.read_attention(tiny.inputs, -1))
    if name in NO_ATTENTION:
        with pytest.raises(CannotRead, match=NO_ATTENTION[name]):
            attention_slopes(passes, target, seen)
    else:
        found = attention_slopes(passes, target, seen)
        value = with_weights(passes, target, found, choices)
        assert disagreement(found.weights, found.clean, value, target, dtype) <= 1.0
    assert left(tiny.model) == before
