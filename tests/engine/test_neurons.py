"""Units of the MLPs: they sum to what their MLP adds, family by family; against the formula on a
tiny Llama and a tiny mixture; what setting one to zero does; the method's readings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softmax
from transformers.pytorch_utils import Conv1D

import samples
from engine.anatomy.frozen_norm import FrozenNorm
from engine.anatomy.hooks import answering
from engine.asking.asking import Asking
from engine.errors import BadInput, Cancelled, CannotRead
from engine.lens.lens import Lens
from engine.lens.neurons import (
    ROUNDS,
    FoundUnits,
    LayerShares,
    UnitAblations,
    UnitPlace,
    largest,
    read_units,
)
from engine.lens.reading_parts import NOT_A_SUM, NOT_HERE
from engine.lens.repeated import RepeatedPasses
from engine.lens.unit_groups import CHANGED, NO_MLP, NO_UNITS, Route
from engine.methods.asked_run import AskedRun
from engine.methods.method import carry_out
from engine.methods.neurons import NeuronsPart, NeuronsReading
from engine.methods.registry import method_of, tables_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.passes.edits import Edit
from engine.passes.layer_watches import MLP
from engine.records import Picture, Question
from tests.conftest import hooks_of
from tests.engine.test_attention import in_dtype
from tests.engine.test_parts import NO_SUMS, NOT_READ, ONE_PART, caught
from tests.families import FAMILIES, Tiny
from tests.families.text import llama, qwen3_moe

QUICK = {"gemma2", "aria"}
"""Norms after blocks; a mixture with a shared expert."""
MIXTURES = {
    "aria": 4,
    "deepseek_ocr2": 3,
    "diffusion_gemma": 4,
    "dots3_note": 3,
    "ernie4_5_vl_moe": 3,
    "gemma4": 4,
    "glm4v_moe": 3,
    "kimi_k25": 3,
    "llama4": 2,
    "minimax_m3_vl": 3,
    "mistral4": 3,
    "mistral_large4": 5,
    "nemotron_h_omni": 2,
    "qwen3_5_moe": 4,
    "qwen3_moe": 4,
    "qwen3_omni_moe_thinker": 5,
    "qwen3_vl_moe": 5,
    "step3p7": 3,
    "unlimited_ocr": 3,
}
"""Families with experts, and in how many layers."""
WITHOUT = {
    "inkling_mm_model": (4, CHANGED),  # a convolution over the positions follows
    "nemotron_h_omni": (3, NO_MLP),  # state space or attention alone
}
"""Families with layers that have no units, but for those that are no sum, and why."""
BIASED = {"blip-2", "cosmos3_edge", "fuyu", "kosmos-2", "kosmos-2.5", "pp_formulanet"}
"""Families whose MLPs end with a bias, which is none of the units."""

every_family = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - NOT_READ.keys() - ONE_PART.keys())
    ],
)


def units_of(tiny: Tiny, **settings: Any) -> FoundUnits:
    return read_units(Lens(tiny.model), tiny.inputs, **settings)


def total(layer: LayerShares) -> float:
    return sum(float(each.shares.sum()) for each in layer.groups)


@every_family
def test_units_sum_to_what_their_mlp_adds(name: str) -> None:
    tiny = FAMILIES[name]()
    found = units_of(tiny)
    assert hooks_of(tiny.model) == 0
    layers = [*found.shares([3, 5])]
    assert [each.layer for each in layers] == [*range(tiny.layers)]
    assert found.tolerance == 1e-5
    without = [each for each in layers if each.error is None]
    assert all(not each.groups and each.reason for each in without)
    no_sums = [each for each in without if each.reason == NOT_A_SUM]
    assert len(no_sums) == NO_SUMS.get(name, 0)
    others = [each.reason for each in without if each not in no_sums]
    count, reason = WITHOUT.get(name, (0, ""))
    assert others == [reason] * count
    mixed = [each for each in layers if each.experts]
    assert len(mixed) == MIXTURES.get(name, 0)
    shares = found.parts.shares([3, 5])
    for layer in layers:
        if layer.error is None:
            continue
        assert layer.error <= 1e-5
        assert layer.reason is None  # all experts have units
        chosen = {expert.output.index for expert, _ in layer.experts}
        assert {e.group.expert for e in layer.groups} - {None} == chosen
        # What the parts of the logit say of the same MLP, by code of their own.
        names = {MLP, "mixer", "post_feedforward_layernorm", "per_layer_projection"}
        places = [
            place
            for place, part in enumerate(found.parts.parts)
            if part.layer == layer.layer and part.name in names
        ]
        part = float((shares[0] - shares[1])[places].sum())
        if name not in BIASED:
            assert total(layer) == pytest.approx(part, abs=1e-5)
        for expert, share in layer.experts:
            own = [e.shares for e in layer.groups if e.group.expert == expert.output.index]
            assert share == pytest.approx(sum(float(e.sum()) for e in own), abs=1e-5)


def test_most_families_have_units_in_every_layer() -> None:
    """Each family is held to these tables by the test above."""
    read = FAMILIES.keys() - NOT_READ.keys() - ONE_PART.keys()
    assert MIXTURES.keys() | NO_SUMS.keys() | WITHOUT.keys() | BIASED <= read
    assert len(read - NO_SUMS.keys() - WITHOUT.keys()) >= 89


# Against the formula


def test_a_tiny_llama_has_the_numbers_of_the_formula() -> None:
    """share_i = a_i * (u_w - u_v) . (gain * W[:, i]), with a_i = silu(gate_i) * up_i."""
    tiny = llama(3)
    model = tiny.model
    mlps = {str(index): layer.mlp for index, layer in enumerate(model.model.layers)}
    with torch.no_grad(), caught({"last": model.model.norm, **mlps}, "input") as entered:
        model(**tiny.inputs)
    last = entered["last"][-1]
    scale = (last.square().mean() + model.model.norm.variance_epsilon).sqrt()
    unembedding = model.model.norm.weight.double() * model.lm_head.weight.double() / scale
    found = units_of(tiny)
    for layer in found.shares([7, 9]):
        mlp = mlps[str(layer.layer)]
        x = entered[str(layer.layer)][-1]
        a = silu(mlp.gate_proj.weight.double() @ x) * (mlp.up_proj.weight.double() @ x)
        columns = mlp.down_proj.weight.double()  # [width, units]
        (of,) = layer.groups
        assert (of.group.module, of.group.expert) == (MLP, None)
        assert torch.allclose(of.group.activations, a, atol=1e-6)
        expected = a * ((unembedding[7] - unembedding[9]) @ columns)
        assert torch.allclose(of.shares, expected, atol=1e-6)
        vectors = found.vectors([UnitPlace(of.group, 5)])
        added = found.head.directions(range(99)) @ vectors[0].double()
        assert torch.allclose(added, unembedding @ (a[5] * columns[:, 5]), atol=1e-6)
    every = torch.cat([each.shares for layer in found.shares([7]) for each in layer.groups])
    best = largest([*found.shares([7])], 10)
    assert [share for _, share in best] == [
        float(every[place]) for place in every.abs().argsort(descending=True)[:10]
    ]
    (only,) = units_of(tiny, layer=1).shares([7])
    assert only.layer == 1
    assert torch.equal(only.groups[0].shares, every[64:128])


@pytest.mark.parametrize(
    "products",
    [
        "eager",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("grouped_mm", "batched_mm")),
    ],
)
def test_a_tiny_mixture_has_the_numbers_of_the_formula(products: str) -> None:
    tiny = qwen3_moe(3)
    model = tiny.model
    model.set_experts_implementation(products)
    model.requires_grad_(False)
    mlps = {str(index): layer.mlp for index, layer in enumerate(model.model.layers)}
    with torch.no_grad(), caught({"last": model.model.norm, **mlps}, "input") as entered:
        model(**tiny.inputs)
    last = entered["last"][-1]
    scale = (last.square().mean() + model.model.norm.variance_epsilon).sqrt()
    direction = model.model.norm.weight.double() * model.lm_head.weight[7].double() / scale
    for layer in units_of(tiny).shares([7]):
        mlp, x = mlps[str(layer.layer)], entered[str(layer.layer)][-1]
        chance, chosen = softmax(mlp.gate.weight.double() @ x, -1).topk(2)
        chance = chance / chance.sum() if mlp.gate.norm_topk_prob else chance
        assert [expert.output.index for expert, _ in layer.experts] == chosen.tolist()
        for place, (expert, share) in enumerate(layer.experts):
            of = layer.groups[place]
            assert (of.group.module, of.group.expert) == ("experts", expert.output.index)
            assert expert.output.weight == pytest.approx(float(chance[place]), abs=1e-6)
            gate, up = (mlp.experts.gate_up_proj[chosen[place]].double() @ x).chunk(2)
            a = silu(gate) * up
            columns = mlp.experts.down_proj[chosen[place]].double()  # [width, units]
            expected = chance[place] * a * (direction @ columns)
            assert torch.allclose(of.group.activations, a, atol=1e-6)
            assert torch.allclose(of.shares, expected, atol=1e-6)
            assert share == pytest.approx(float(expected.sum()), abs=1e-6)


@pytest.mark.slow
def test_a_bias_is_no_unit() -> None:
    tiny = FAMILIES["kosmos-2"]()
    layers = tiny.model.text_model.model.layers
    with torch.no_grad():
        for layer in layers:
            layer.ffn.fc2.bias.normal_(generator=torch.Generator().manual_seed(3))
    found = units_of(tiny)
    frozen = found.parts.frozen
    assert frozen is not None
    for layer in found.shares([3]):
        assert layer.error is not None and layer.error <= 1e-5
        bias = layers[layer.layer].ffn.fc2.bias.detach().double()
        of_bias = float(found.head.directions([3])[0] @ frozen(bias[None])[0])
        place = found.parts.names.index(f"layer {layer.layer}: MLP")
        part = float(found.parts.shares([3])[0, place])
        assert total(layer) + of_bias == pytest.approx(part, abs=1e-5)


def test_a_direction_goes_back_along_a_route() -> None:
    noise = torch.randn(4, 24, generator=torch.Generator().manual_seed(0)).double()
    route = Route((FrozenNorm("layer", noise[0], noise[1]), 0.8, FrozenNorm("rms", *noise[:2])))
    vector, direction = noise[2], noise[3]
    assert float(route(vector[None])[0] @ direction) == pytest.approx(
        float(vector @ route.transposed(direction))
    )
    nothing = torch.zeros(24).double()
    assert torch.allclose(
        route.with_bias(vector) - route.with_bias(nothing), route(vector[None])[0]
    )


# Linear layers of other kinds


@pytest.mark.slow
def test_layers_that_are_known_by_what_they_do_give_the_same_shares() -> None:
    tiny = llama(3)
    plain = [layer.groups[0].shares for layer in units_of(tiny).shares([3, 5])]
    layers = tiny.model.model.layers
    handle = layers[0].mlp.down_proj.register_forward_pre_hook(lambda module, args: None)
    transposed = Conv1D(32, 64)
    wrapped = _Adapted(layers[2].mlp.down_proj)
    with torch.no_grad():
        transposed.weight.copy_(layers[1].mlp.down_proj.weight.T)
        transposed.bias.zero_()
    tiny.model.requires_grad_(False)
    layers[1].mlp.down_proj, layers[2].mlp.down_proj = transposed, wrapped
    again = [*units_of(tiny).shares([3, 5])]
    handle.remove()
    for layer, before in zip(again, plain, strict=True):
        assert layer.reason is None and layer.error is not None and layer.error <= 1e-5
        assert torch.allclose(layer.groups[0].shares, before, atol=1e-6)
    with torch.no_grad():
        wrapped.up.weight.normal_(generator=torch.Generator().manual_seed(1))
    (_, _, adapted) = units_of(tiny).shares([3, 5])
    assert adapted.error is not None and adapted.error <= 1e-5
    (of,) = adapted.groups
    assert (of.group.module, len(of.shares)) == (MLP, 64)
    columns = wrapped.base.weight + 3.0 * wrapped.up.weight @ wrapped.down.weight
    norm, head = tiny.model.model.norm, tiny.model.lm_head.weight
    towards = norm.weight * (head[3] - head[5])
    ratio = of.shares.float() / (of.group.activations.float() * (towards @ columns))
    assert torch.allclose(ratio, ratio[:1].expand(64), rtol=1e-3)  # 1 / rms of the stream


class _Adapted(nn.Module):
    """A linear layer and two small ones beside it, as adapters have them."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(64, 2, bias=False), nn.Linear(2, 32, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        made: Tensor = self.base(hidden) + 3.0 * self.up(self.down(hidden))
        return made


class _Rounding(nn.Module):
    """A linear layer that rounds what enters it, as 8-bit quantisation does."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.weight = base.weight

    def forward(self, hidden: Tensor) -> Tensor:
        scale = hidden.abs().amax(-1, keepdim=True).clamp_min(1e-9) / 7.0
        return (hidden / scale).round() * scale @ self.weight.T


def test_a_layer_that_rounds_is_refused_with_the_reason() -> None:
    tiny = llama(3)
    for layer in tiny.model.model.layers[:2]:
        layer.mlp.down_proj = _Rounding(layer.mlp.down_proj)
    first, second, third = units_of(tiny).shares([3, 5])
    for each in (first, second):
        assert (each.reason, each.error, each.groups) == (ROUNDS, None, ())
    assert third.error is not None and third.error <= 1e-5


class _Listed(nn.Module):
    """A mixture with a module for each expert, which gets only the tokens that are for it."""

    def __init__(self, chosen: int) -> None:
        super().__init__()
        self.gate = nn.Linear(32, 6, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 16), nn.GELU(), nn.Linear(16, 32)) for _ in range(6)
        )
        self.chosen = chosen

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, 32)
        weights, index = softmax(self.gate(rows), -1).topk(self.chosen)
        made = torch.zeros_like(rows)
        for place, expert in enumerate(self.experts):
            token, which = torch.where(index == place)
            if len(token):
                made[token] += weights[token, which, None] * expert(rows[token])
        return made.reshape(hidden.shape)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [2, 5])
def test_experts_that_are_modules_are_found_by_what_enters_them(chosen: int) -> None:
    tiny = llama(3)
    torch.manual_seed(0)
    mixtures = [_Listed(chosen) for _ in range(3)]
    for layer, mixture in zip(tiny.model.model.layers, mixtures, strict=True):
        layer.mlp = mixture
    with torch.no_grad(), caught({str(i): m for i, m in enumerate(mixtures)}, "input") as entered:
        tiny.model(**tiny.inputs)
    found, ablations, passes = ablated(tiny)
    for layer, mixture in zip(found.shares([3, 5]), mixtures, strict=True):
        assert layer.error is not None and layer.error <= 1e-5
        x = entered[str(layer.layer)][-1].float()
        weights, index = softmax(mixture.gate(x), -1).topk(chosen)
        known = {expert.output.index: expert.output.weight for expert, _ in layer.experts}
        assert known == pytest.approx(
            dict(zip(index.tolist(), weights.tolist(), strict=True)), abs=1e-5
        )
        for each in layer.groups:
            assert each.group.module == "experts" and each.group.expert in known
    unit = next(u for u, _ in largest([*found.shares([3, 5])], 99) if u.group.layer == 2)
    _falls_by_its_share(tiny, found, ablations, unit)
    assert hooks_of(tiny.model) == 0
    del passes


# Setting units to zero


def ablated(
    tiny: Tiny, count: int = 99, position: int = -1
) -> tuple[FoundUnits, UnitAblations, RepeatedPasses]:
    lens = Lens(tiny.model)
    passes = RepeatedPasses(lens, tiny.inputs, [position], lambda: False)
    found = read_units(lens, tiny.inputs, position, passes=passes)
    units = [unit for unit, _ in largest([*found.shares([3, 5])], count)]
    return found, UnitAblations(passes, found, units), passes


def _falls_by_its_share(
    tiny: Tiny, found: FoundUnits, ablations: UnitAblations, unit: UnitPlace
) -> None:
    """With the norm frozen, without a unit of the last layer every logit falls by its share."""
    norm = tiny.model.model.norm
    share = found.head.directions(range(99)) @ found.vectors([unit])[0].double()
    with caught({"last": norm}, "input") as entered, torch.no_grad():
        tiny.model(**tiny.inputs)
    last = entered["last"][-1]
    gain = norm.weight.double() / (last.square().mean() + norm.variance_epsilon).sqrt()
    with answering({norm: lambda hidden: hidden * gain.float().detach()}):
        frozen = ablations.without(unit).double()
    moved = found.parts.own.double() - frozen
    assert float(share.abs().max()) > 1e-3
    assert torch.allclose(moved, share, atol=1e-5)


@pytest.mark.parametrize("build", [llama, pytest.param(qwen3_moe, marks=pytest.mark.slow)])
def test_without_a_unit_of_the_last_layer_the_logit_falls_by_its_share_if_the_norm_is_frozen(
    build: Callable[[int], Tiny],
) -> None:
    tiny = build(3)
    with torch.no_grad():
        mlp = tiny.model.model.layers[2].mlp
        weight = mlp.experts.down_proj if build is qwen3_moe else mlp.down_proj.weight
        weight *= 30.0
    found, ablations, _ = ablated(tiny)
    assert ablations.gap == 0.0
    unit = next(u for u, _ in largest([*found.shares([3, 5])], 99) if u.group.layer == 2)
    _falls_by_its_share(tiny, found, ablations, unit)
    share = found.head.directions(range(99)) @ found.vectors([unit])[0].double()
    moved = found.parts.own.double() - ablations.without(unit).double()
    assert float((moved - share).abs().max()) > 1e-3  # the norm has other statistics then


def test_a_unit_is_zero_at_the_position_alone() -> None:
    tiny = llama(3)
    found, ablations, _ = ablated(tiny, 400, position=4)
    unit = next(u for u, _ in largest([*found.shares([3, 5])], 400) if u.group.layer == 0)

    def silent(module: nn.Module, args: Any) -> Any:
        hidden = args[0].clone()
        hidden[0, 4, unit.index] = 0.0
        return (hidden,)

    handle = tiny.model.model.layers[0].mlp.down_proj.register_forward_pre_hook(silent)
    with torch.no_grad():
        expected = tiny.model(**tiny.inputs).logits[0, 4]
    handle.remove()
    assert torch.allclose(ablations.without(unit), expected, atol=1e-6)
    assert not torch.allclose(found.parts.own, expected, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "qwen3_moe" else pytest.mark.slow)
        for name in sorted({"gemma2", *MIXTURES})
    ],
)
def test_units_times_1_change_no_bit(name: str) -> None:
    tiny = FAMILIES[name]()
    found, ablations, passes = ablated(tiny, 200)
    assert ablations.gap == 0.0
    plain = passes.run()[0]
    assert torch.equal(plain, found.parts.logits)
    every = [unit for unit, _ in largest([*found.shares([3, 5])], 200)]
    assert torch.equal(ablations.run(every, 1.0, []), plain)
    assert not torch.equal(ablations.run(every, 0.0, []), plain)
    assert torch.equal(passes.run()[0], plain)
    assert hooks_of(tiny.model) == 0


@pytest.mark.slow
def test_hooks_are_gone_after_an_error_and_after_a_cancel() -> None:
    tiny = qwen3_moe(3)
    lens = Lens(tiny.model)
    plain = [*read_units(lens, tiny.inputs).shares([3])]
    found, ablations, passes = ablated(tiny, 3)

    def fail(value: Tensor) -> Tensor:
        raise RuntimeError("broken")

    forward = passes.forward()
    unit = largest([*found.shares([3, 5])], 1)[0][0]
    editor = ablations.editor(forward, unit, 0.0)
    with pytest.raises(RuntimeError, match="broken"):
        passes.run([editor, Edit(lens.layers[-1], fail)], forward)
    assert hooks_of(tiny.model) == 0
    entered, asked = threading.Event(), threading.Event()

    def hold(*call: Any) -> None:
        entered.set()
        assert asked.wait(60)
        time.sleep(0.1)  # whoever has asked cancels now

    def stop() -> bool:
        if entered.is_set():
            asked.set()
        return entered.is_set()

    handle = lens.layers[1].register_forward_hook(hold)
    with pytest.raises(Cancelled):
        read_units(lens, tiny.inputs, stop=stop)
    handle.remove()
    assert hooks_of(tiny.model) == 0
    with pytest.raises(Cancelled):
        [*found.shares([3], lambda: True)]
    again = [*read_units(lens, tiny.inputs).shares([3])]
    for before, after in zip(plain, again, strict=True):
        for one, other in zip(before.groups, after.groups, strict=True):
            assert torch.equal(one.shares, other.shares)


# What is no sum


@pytest.mark.slow
def test_a_layer_that_adds_something_else_at_this_position_has_no_units() -> None:
    tiny = llama(3)
    lens = Lens(tiny.model)
    assert all(each.reason is None for each in read_units(lens, tiny.inputs).shares([3]))
    added = torch.randn(32, generator=torch.Generator().manual_seed(1))
    handle = lens.layers[1].register_forward_hook(lambda module, args, output: output + added)
    found = read_units(lens, tiny.inputs)
    handle.remove()
    assert [each.reason for each in found.shares([3])] == [None, NOT_HERE, None]


@pytest.mark.slow
def test_experts_that_are_no_sum_of_units_are_one_part_each() -> None:
    tiny = qwen3_moe(3)
    for layer in tiny.model.model.layers[1:]:
        _after_products(layer.mlp.experts)
    first, *others = units_of(tiny).shares([3, 5])
    assert first.reason is None
    for layer in others:
        assert layer.reason == NO_UNITS
        assert layer.error is not None and layer.error <= 1e-5
        assert len(layer.experts) == 2 and not layer.groups


def _after_products(experts: Any) -> None:
    """Let a module of experts do something more with what each of them gives."""
    plain = type(experts).forward

    def forward(hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        made = torch.zeros_like(hidden)
        for place in range(index.shape[-1]):
            one = index[:, place : place + 1]
            alone = plain(experts, hidden, one, torch.ones_like(weights[:, :1]))
            made += weights[:, place : place + 1] * torch.tanh(300.0 * alone)
        return made

    experts.forward = forward


@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("build", [llama, pytest.param(qwen3_moe, marks=pytest.mark.slow)])
def test_in_half_precision_they_sum_within_its_rounding(
    build: Callable[[int], Tiny], dtype: torch.dtype
) -> None:
    tiny = in_dtype(build(3), dtype)
    found = units_of(tiny)
    for layer in found.shares([3, 5]):
        assert layer.reason is None
        assert layer.error is not None and 0.0 < layer.error <= found.tolerance


# The method


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    picture = Picture(path=str(samples.DEFAULT_PICTURE))
    asking = Asking(bundled, Question("Shape of the main object:", picture=picture))
    return AskedRun(asking, asking.run())


def read(asked: AskedRun, **settings: Any) -> NeuronsReading:
    method = method_of("neurons")
    reading = asked.read(method, request_of(method, settings))
    assert isinstance(reading, NeuronsReading)
    assert reading.proof is not None and reading.proof.passed
    return reading


def sizes(shares: Sequence[float | None]) -> list[float]:
    return [abs(each or 0.0) for each in shares]


def test_by_default_it_is_the_answer_minus_the_runner_up(asked: AskedRun) -> None:
    reading = read(asked)
    top = asked.run.rows[-1].top
    assert [each.id for each in reading.of] == [top[0].id, top[1].id]
    assert top[0].logit is not None and top[1].logit is not None
    assert reading.value == pytest.approx(top[0].logit - top[1].logit, abs=1e-4)
    assert len(reading.units) == 20
    order = sizes([each.share for each in reading.units])
    assert order == sorted(order, reverse=True)
    assert all(len(each.promotes) == len(each.suppresses) == 5 for each in reading.units)
    parts = asked.read(method_of("parts"), request_of(method_of("parts"), {}))
    mlps = {each.layer: each.share for each in parts.parts if each.name == MLP}  # type: ignore[attr-defined]
    for layer in reading.layers:
        assert (layer.units, layer.reason) == (256, None)
        assert layer.share == pytest.approx(mlps[layer.layer], abs=1e-4)
        assert (layer.positive or 0.0) + (layer.negative or 0.0) == pytest.approx(
            layer.share, abs=1e-5
        )
    only = read(asked, layer=8, top=3, of="sphere")
    assert [each.layer for each in only.layers] == [8]
    assert {each.layer for each in only.units} == {8}
    assert [table.title for table in tables_of(only)] == [
        f"units of the logit of {only.of[0].text!r}, at position {only.position}",
        "all units of each layer",
    ]


def test_the_first_units_are_set_to_zero(asked: AskedRun) -> None:
    method = method_of("neurons")
    request = request_of(method, {"ablate": 2, "top": 4})
    *grown, reading = carry_out(method, asked.subject, request, lambda: False)
    assert isinstance(reading, NeuronsReading)
    parts = [each for each in grown if isinstance(each, NeuronsPart)]
    assert [(each.done, each.orders) for each in parts] == [(0, 2), (1, 2), (2, 2)]
    effects = [each.effect for each in reading.units]
    assert effects[0] is not None and effects[1] is not None and effects[2:] == [None, None]
    assert effects[:2] != pytest.approx([each.share for each in reading.units[:2]], abs=1e-2)


def test_words_are_both_ends_of_what_an_active_unit_adds(asked: AskedRun) -> None:
    reading = read(asked)
    for unit in reading.units:
        amounts = [each.logit or 0.0 for each in (*unit.promotes, *reversed(unit.suppresses))]
        assert amounts == sorted(amounts, reverse=True)
        assert amounts[0] > 0.0 > amounts[-1]


@pytest.mark.slow
def test_units_of_a_token_of_the_answer(asked: AskedRun) -> None:
    answer = method_of("answer")
    asked.read(answer, request_of(answer, {"max_new_tokens": 3}))
    first = len(asked.run.tokens)
    reading = read(asked, position=first)
    assert (reading.position, reading.reaches) == (first, first)
    assert reading.misfit(asked.run) is None
    assert reading.value is not None and reading.value >= 0.0
    parts = asked.read(method_of("parts"), request_of(method_of("parts"), {"position": first}))
    assert reading.of == parts.of  # type: ignore[attr-defined]


def test_requests_that_cannot_be_answered(asked: AskedRun) -> None:
    for settings, message in (
        ({"layer": 30}, "no layer 30"),
        ({"position": 1000}, "no position 1000"),
        ({"of": ("",)}, "no token of this model"),
    ):
        with pytest.raises(BadInput, match=message):
            read(asked, **settings)


@pytest.mark.slow
def test_a_model_without_units_is_refused_with_the_reason(
    opened: Callable[[str], LoadedModel],
) -> None:
    loaded = opened("llama")
    asking = Asking(loaded, Question("What?"))
    run = AskedRun(asking, asking.run())
    assert read(run, of=("#3", "#4"), position=0).position == 0
    layers: Any = loaded.lens.layers
    plain = [layer.mlp.down_proj for layer in layers]
    for layer in layers:
        layer.mlp.down_proj = _Rounding(layer.mlp.down_proj)
    try:
        with pytest.raises(CannotRead, match=f"no units that can be told apart: {ROUNDS}"):
            read(run)
    finally:
        for layer, module in zip(layers, plain, strict=True):
            layer.mlp.down_proj = module


def test_a_mixture_tells_its_experts() -> None:
    """In a session's record, with the router's weight and the units that each has."""
    tiny = qwen3_moe(3)
    layers = [*units_of(tiny).shares([3])]
    from engine.methods.neurons import _experts, _layer

    experts = [each for layer in layers for each in _experts(layer)]
    assert len(experts) == 6
    assert all(each.weight is not None and 0.0 < each.weight < 1.0 for each in experts)
    assert [_layer(layer).units for layer in layers] == [32, 32, 32]
