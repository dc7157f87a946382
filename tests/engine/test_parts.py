"""Parts of a logit: they sum to it, over heads and over sources too, family by family; against
TransformerLens's formula on a tiny Llama; what taking a part out does; the method's readings."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import samples
from engine.anatomy.frozen_norm import freeze
from engine.anatomy.hooks import answering
from engine.anatomy.layer_sums import fitted, sparse_sum
from engine.asking.asking import Asking
from engine.errors import BadInput, Cancelled, CannotRead
from engine.lens import ablation, reading_parts
from engine.lens.lens import Lens
from engine.lens.logit_parts import LogitParts
from engine.lens.part_ablation import PartAblations, can_be_taken_out
from engine.lens.reading_parts import (
    HEADS_CHANGED,
    NO_NORM,
    NOT_A_SUM,
    NOT_HERE,
    ROUNDING,
    read_parts,
)
from engine.lens.repeated import RepeatedPasses
from engine.methods.answer import AnswerReading
from engine.methods.asked_run import AskedRun
from engine.methods.method import carry_out
from engine.methods.parts import PartShare, PartsPart, PartsReading, PartsRequest, part_name
from engine.methods.registry import method_of, tables_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.passes.edits import Edit
from engine.passes.part_edits import Scaled
from engine.records import Picture, Question, Reading
from tests.conftest import hooks_of
from tests.engine.test_attention import in_dtype
from tests.families import FAMILIES, Tiny
from tests.families.text import llama

QUICK = {"llava", "gemma2"}
"""A plain decoder; norms after blocks and a soft-cap."""
ONE_PART = {
    "blip": NO_NORM,
    "vision-encoder-decoder-bert": NO_NORM,
    "qwen4_exp": NO_NORM,
    "gemma3n": "running the model itself",
    "gemma3n_text": "running the model itself",
    "glm5_next": "3 residual streams",
    "inkling2": "more than the residual stream",
}
"""Families whose tail is no norm that can be frozen, and what is said of it."""
NO_SUMS = {
    "bart": 4,
    "evolla": 2,
    "florence2": 4,
    "git": 4,
    "mllama": 2,
    "muse_spark": 4,
    "vision-encoder-decoder": 4,
}
"""Families with layers that are one part each, and how many: the stream is normed after each
addition, or passes through an adapter or gates."""
NO_HEADS = {"inkling_mm_model": HEADS_CHANGED}
"""Families whose attention is one part: a convolution follows it."""
NOT_READ = {"pi0": "it has no vocabulary"}

every_family = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - NOT_READ.keys())
    ],
)


def own_head_output(tiny: Tiny, lens: Lens) -> Tensor:
    """What the model's head returns at the last position, seen by a hook of one's own, with the
    bias that some models add to it themselves."""
    seen: list[Tensor] = []
    opened = lens.model_parts.tail.opened()
    assert not isinstance(opened, str)
    # A copy: some models write into it.
    handle = opened.head.register_forward_hook(
        lambda module, args, output: seen.append(output.clone())
    )
    with torch.no_grad():
        logits = tiny.model(**tiny.inputs).logits
    handle.remove()
    own = seen[-1].reshape(-1, seen[-1].shape[-1])[-1, : logits.shape[-1]]
    return own if opened.logit_map.shift is None else own + opened.logit_map.shift


def worst(found: LogitParts, own: Tensor) -> float:
    """By how much the shares miss any logit, relative where it is above 1."""
    sums = found.shares(range(len(own))).sum(-1)
    errors = (sums - own.double()).abs() / own.double().abs().clamp_min(1.0)
    return float(errors.max())


@every_family
def test_parts_heads_and_sources_sum_to_the_logits(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    plain = lens.parts(tiny.inputs)
    assert len({*plain.names}) == len(plain.names)
    if name in ONE_PART:
        (reason,) = plain.reasons.values()
        assert ONE_PART[name] in reason
        assert len(plain.parts) == 1
        with torch.no_grad():
            logits = tiny.model(**tiny.inputs).logits[0, -1]
        assert torch.allclose(plain.share(3), plain.own[3])
        assert torch.allclose(plain.logits, logits.float(), atol=1e-5)
        return
    own = own_head_output(tiny, lens)
    assert plain.error <= plain.tolerance == 1e-5
    assert worst(plain, own) <= 1e-5
    assert (plain.names[0], plain.names[-1]) == ("embedding", "bias")
    wholes = [part for part in plain.parts if part.reason is not None]
    assert len(wholes) == NO_SUMS.get(name, 0)
    assert {part.reason for part in wholes} <= {NOT_A_SUM}
    ran = {
        part.layer for part in plain.parts if part.layer is not None and "added" not in part.name
    }
    assert len(ran) == tiny.layers

    every = lens.parts(tiny.inputs, heads=True)
    assert every.error <= 1e-5
    assert worst(every, own) <= 1e-5
    attentions = [part for part in plain.parts if part.term is not None and part.term.attends]
    heads = [part for part in every.parts if part.head is not None]
    if name in NO_HEADS:
        assert NO_HEADS[name] in every.reasons.values()
        assert not heads
    else:
        assert {(part.layer, part.name) for part in heads} == {
            (part.layer, part.name) for part in attentions
        }
    # The heads of each attention, and what comes from none of them, add up to it.
    tokens = range(0, len(own), 7)
    together = every.together()
    assert together.names == plain.names
    assert torch.allclose(together.shares(tokens), plain.shares(tokens), atol=1e-5)

    for part in heads[-1:]:
        assert part.layer is not None and part.head is not None
        _sources_sum(tiny, lens, every, part.layer, part.head, tokens)
    assert hooks_of(tiny.model) == 0


def _sources_sum(
    tiny: Tiny, lens: Lens, every: LogitParts, layer: int, head: int, tokens: Sequence[int]
) -> None:
    try:
        found = read_parts(lens, tiny.inputs, source=(layer, head))
    except CannotRead as error:
        assert reading_parts.NO_SOURCES in str(error)
        assert type(tiny.model).__name__.startswith("Kosmos2")  # norms the heads together
        return
    sent, whole = found.sent(tokens)
    index = next(
        place for place, part in enumerate(every.parts) if (part.layer, part.head) == (layer, head)
    )
    assert torch.allclose(whole, every.shares(tokens)[:, index], atol=1e-6)
    assert torch.allclose(sent.sum(-1), whole, atol=1e-5)
    assert found.sources is not None
    assert len(found.sources.vectors) == sent.shape[1]


def test_most_families_are_sums_by_layer_and_by_head() -> None:
    """Each family is held to these tables by the test above."""
    read = FAMILIES.keys() - NOT_READ.keys()
    by_layer = read - ONE_PART.keys() - NO_SUMS.keys()
    assert ONE_PART.keys() | NO_SUMS.keys() | NO_HEADS.keys() <= read
    assert len(by_layer) >= 87
    assert len(by_layer - NO_HEADS.keys()) >= 86


# Against other computations


@contextmanager
def caught(modules: dict[str, nn.Module], where: str = "output") -> Any:
    """The last output (or first argument) of some modules, [positions, width], float64."""
    seen: dict[str, Tensor] = {}
    handles = []
    for name, module in modules.items():

        def look(module: Any, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            value = args[0] if where == "input" else output
            seen[name] = (value[0] if isinstance(value, tuple) else value)[0].double()

        handles.append(module.register_forward_hook(look, with_kwargs=True))
    yield seen
    for handle in handles:
        handle.remove()


def test_a_tiny_llama_has_the_numbers_of_transformer_lens() -> None:
    """Its `logit_attrs`: components / ln_scale @ (w_norm * W_U), and by head z @ W_O."""
    tiny = llama(3)
    model = tiny.model
    model.set_attn_implementation("eager")
    modules = {"embed": model.model.embed_tokens}
    for index, layer in enumerate(model.model.layers):
        modules |= {f"attn{index}": layer.self_attn, f"mlp{index}": layer.mlp}
    projections = {
        str(index): layer.self_attn.o_proj for index, layer in enumerate(model.model.layers)
    }
    values = {str(index): layer.self_attn.v_proj for index, layer in enumerate(model.model.layers)}
    with (
        torch.no_grad(),
        caught(modules) as seen,
        caught({"last": model.model.norm, **projections}, "input") as entered,
        caught(values) as value,
    ):
        output = model(**tiny.inputs, output_attentions=True)
    last = entered["last"][-1]
    scale = (last.square().mean() + model.model.norm.variance_epsilon).sqrt()
    unembedding = model.model.norm.weight.double() * model.lm_head.weight.double()  # [vocab, width]

    def attribution(component: Tensor) -> Tensor:
        shares: Tensor = unembedding @ (component / scale)
        return shares

    lens = Lens(model)
    found = lens.parts(tiny.inputs)
    expected = {"embedding": seen["embed"][-1]}
    for index in range(3):
        expected[f"layer {index}: attention"] = seen[f"attn{index}"][-1]
        expected[f"layer {index}: MLP"] = seen[f"mlp{index}"][-1]
    shares = found.shares(range(99))
    assert found.names == (*expected, "bias")
    for place, component in enumerate(expected.values()):
        assert torch.allclose(shares[:, place], attribution(component), atol=1e-6)
    assert not shares[:, -1].any()
    assert found.norm == "rms"

    every = lens.parts(tiny.inputs, heads=True)
    shares = every.shares(range(99))
    for index, layer in enumerate(model.model.layers):
        z = entered[str(index)][-1].reshape(4, 8)  # [heads, width of a head]
        w_o = layer.self_attn.o_proj.weight.double().T.reshape(4, 8, 32)
        for head in range(4):
            place = every.names.index(f"layer {index}: attention, head {head}")
            assert torch.allclose(shares[:, place], attribution(z[head] @ w_o[head]), atol=1e-6)
    pattern = output.attentions[1][0, 3, -1].double()  # [keys], of layer 1, head 3
    v = value["1"].reshape(-1, 2, 8)[:, 1]  # heads 2 and 3 share key/value head 1
    w_o = model.model.layers[1].self_attn.o_proj.weight.double().T.reshape(4, 8, 32)[3]
    sent, _ = read_parts(lens, tiny.inputs, source=(1, 3)).sent(range(99))
    for key in range(len(pattern)):
        assert torch.allclose(sent[:, key], attribution(pattern[key] * v[key] @ w_o), atol=1e-6)


def ablations(
    tiny: Tiny, heads: bool = False, position: int = -1
) -> tuple[LogitParts, PartAblations, RepeatedPasses]:
    lens = Lens(tiny.model)
    passes = RepeatedPasses(lens, tiny.inputs, [position], lambda: False)
    found = read_parts(lens, tiny.inputs, position, heads, passes=passes)
    chosen = [part for part in found.parts if can_be_taken_out(part)]
    return found, PartAblations(passes, found, chosen), passes


def test_taking_out_the_last_part_changes_the_logit_by_its_share_if_the_norm_is_frozen() -> None:
    tiny = llama(3)
    with torch.no_grad():
        tiny.model.model.layers[2].mlp.down_proj.weight *= 30.0
    found, taken_out, _ = ablations(tiny)
    place = found.names.index("layer 2: MLP")
    share = found.shares(range(99))[:, place]
    moved = found.own.double() - taken_out.without(found.parts[place]).double()
    assert float((moved - share).abs().max()) > 1e-2  # the norm has other statistics then
    norm = tiny.model.model.norm
    with caught({"last": norm}, "input") as entered, torch.no_grad():
        tiny.model(**tiny.inputs)
    last = entered["last"][-1]
    gain = norm.weight.double() / (last.square().mean() + norm.variance_epsilon).sqrt()
    with answering({norm: lambda hidden: hidden * gain.float().detach()}):
        frozen = taken_out.without(found.parts[place]).double()
    assert torch.allclose(found.own.double() - frozen, share, atol=1e-5)


def test_a_part_and_a_head_that_are_taken_out_are_zero_at_the_position() -> None:
    tiny = llama(3)
    position = 4
    found, taken_out, _ = ablations(tiny, heads=True, position=position)
    with torch.no_grad():
        clean = tiny.model(**tiny.inputs).logits[0]
    assert torch.allclose(found.own, clean[position], atol=1e-6)

    def silent(module: nn.Module, where: str, columns: slice) -> Tensor:
        def hook(module: Any, args: Any, output: Any = None) -> Any:
            value = (args[0] if output is None else output).clone()
            value[0, position, columns] = 0.0
            return (value,) if output is None else value

        register = (
            module.register_forward_pre_hook if where == "input" else module.register_forward_hook
        )
        handle = register(hook)
        with torch.no_grad():
            logits: Tensor = tiny.model(**tiny.inputs).logits[0, position]
        handle.remove()
        return logits

    layer = tiny.model.model.layers[1]
    mlp = found.parts[found.names.index("layer 1: MLP")]
    assert torch.allclose(
        taken_out.without(mlp), silent(layer.mlp, "output", slice(None)), atol=1e-6
    )
    head = found.parts[found.names.index("layer 1: attention, head 2")]
    projection = layer.self_attn.o_proj
    assert torch.allclose(
        taken_out.without(head), silent(projection, "input", slice(16, 24)), atol=1e-6
    )
    assert hooks_of(tiny.model) == 0


@pytest.mark.slow
def test_a_layer_that_is_one_part_is_taken_out_whole() -> None:
    tiny = FAMILIES["bart"]()
    found, taken_out, _ = ablations(tiny)
    last = found.parts[-2]
    assert (last.name, last.reason) == ("whole layer", NOT_A_SUM)
    share = found.shares(range(99))[:, -2]
    # Nothing follows the last layer but the head, so here the effect is the share.
    moved = found.own.double() - taken_out.without(last).double()
    assert torch.allclose(moved, share, atol=1e-5)


@pytest.mark.parametrize("name", ["gemma2", pytest.param("bart", marks=pytest.mark.slow)])
def test_a_part_times_1_changes_no_bit(name: str) -> None:
    tiny = FAMILIES[name]()
    found, taken_out, passes = ablations(tiny, heads=True)
    assert taken_out.gap == 0.0
    plain = passes.run()[0]
    assert torch.equal(plain, found.logits)
    every = [part for part in found.parts if can_be_taken_out(part)]
    assert torch.equal(taken_out.run(every, 1.0, []), plain)
    assert not torch.equal(taken_out.run(every, 0.0, []), plain)
    assert torch.equal(passes.run()[0], plain)
    assert hooks_of(tiny.model) == 0


def test_what_can_not_be_taken_out_is_refused() -> None:
    found, _, passes = ablations(llama(2))
    with pytest.raises(ValueError, match="embedding is the output of no module"):
        PartAblations(passes, found, [found.parts[0]])


def test_hooks_are_gone_after_an_error_and_after_a_cancel() -> None:
    tiny = llama(3)
    lens = Lens(tiny.model)
    passes = RepeatedPasses(lens, tiny.inputs, [-1], lambda: False)
    found = read_parts(lens, tiny.inputs, heads=True, passes=passes)

    def fail(value: Tensor) -> Tensor:
        raise RuntimeError("broken")

    forward = passes.forward()
    editor = Scaled(forward, 1, tiny.model.lm_head)
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
        read_parts(lens, tiny.inputs, heads=True, stop=stop)
    handle.remove()
    assert hooks_of(tiny.model) == 0
    again = read_parts(lens, tiny.inputs, heads=True)
    assert torch.equal(again.vectors, found.vectors)


# What is no sum, what is added between layers, what is rounded


def test_a_layer_that_adds_something_else_at_this_position_is_one_part() -> None:
    tiny = llama(3)
    lens = Lens(tiny.model)
    assert not lens.parts(tiny.inputs).reasons
    added = torch.randn(32, generator=torch.Generator().manual_seed(1))
    handle = lens.layers[1].register_forward_hook(lambda module, args, output: output + added)
    found = lens.parts(tiny.inputs)
    handle.remove()
    assert found.reasons == {"layer 1: whole layer": NOT_HERE}
    assert found.error <= 1e-5


def test_a_layer_that_scales_its_stream_scales_what_came_before() -> None:
    tiny = llama(3)
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    handle = lens.layers[1].register_forward_hook(lambda module, args, output: 0.75 * output)
    found = lens.parts(tiny.inputs, heads=True)
    handle.remove()
    assert not found.reasons
    assert sum(part.head is not None for part in found.parts) == 12
    assert found.error <= 1e-5


def test_features_added_between_layers_are_a_part() -> None:
    tiny = FAMILIES["qwen3_vl"]()
    lens = Lens(tiny.model)
    picture = int((tiny.inputs["input_ids"][0] == tiny.model.config.image_token_id).nonzero()[0])
    found = lens.parts(tiny.inputs, position=picture)
    names = [part.name for part in found.parts if part.name.startswith("added")]
    assert names and names[0] == "added before row 1"
    assert found.error <= 1e-5
    assert not any("added" in name for name in lens.parts(tiny.inputs).names)  # only at pictures


@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.slow)]
)
def test_in_half_precision_rounding_is_a_part(dtype: torch.dtype) -> None:
    tiny = in_dtype(llama(3), dtype)
    found = Lens(tiny.model).parts(tiny.inputs)
    assert [part.name for part in found.parts][-2] == ROUNDING
    assert len(found.parts) == 9
    assert 0.0 < found.error <= found.tolerance


def test_no_batches_and_no_positions_that_are_not_there() -> None:
    tiny = llama(2)
    lens = Lens(tiny.model)
    with pytest.raises(ValueError, match="a batch of one"):
        lens.parts({name: value.repeat(2, 1) for name, value in tiny.inputs.items()})
    with pytest.raises(IndexError):
        lens.parts(tiny.inputs, position=7)
    with pytest.raises(IndexError, match="0 to 98"):
        lens.parts(tiny.inputs).share(99)
    with pytest.raises(BadInput, match="no layer 2"):
        read_parts(lens, tiny.inputs, source=(2, 0))
    with pytest.raises(BadInput, match="no head 4"):
        read_parts(lens, tiny.inputs, source=(1, 4))


def test_a_head_that_is_known_by_what_it_does_gives_the_same_shares() -> None:
    tiny = llama(2)
    lens = Lens(tiny.model)
    found = lens.parts(tiny.inputs)
    shares = found.shares([3, 50])
    handle = tiny.model.lm_head.register_forward_pre_hook(lambda module, args: None)
    assert torch.allclose(found.shares([3, 50]), shares, atol=1e-6)
    handle.remove()


def test_words_are_both_ends_of_what_a_part_adds() -> None:
    found = Lens((tiny := llama(2)).model).parts(tiny.inputs)
    shares = found.shares(range(99))
    for place, (promotes, suppresses) in zip((1, 2), found.words([1, 2], 5), strict=True):
        added = shares[:, place] - shares[:, place].mean()
        order = added.argsort(descending=True).tolist()
        assert promotes.ids == tuple(order[:5])
        assert suppresses.ids == tuple(order[::-1][:5])
        assert promotes.amounts == pytest.approx(added[order[:5]].tolist(), abs=1e-5)
        assert suppresses.amounts == pytest.approx(added[order[::-1][:5]].tolist(), abs=1e-5)


# Sums, and norms


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_fewest_outputs_that_sum_to_the_change_are_found() -> None:
    outputs = noise(8, 6, 32)
    stream = 10.0 * noise(6, 32, seed=1)
    change = 0.8 * outputs[5] + 0.8 * outputs[2]
    # One that is the sum of two others, and one that is there twice, lead nowhere else.
    every = [*outputs, outputs[5] + outputs[1], outputs[2].clone()]
    found = fitted(stream, stream + change, every, torch.float32)
    assert found is not None
    kept, fit = found
    assert (kept, fit.factors) == (1.0, (0.8, 0.8))
    assert fit.terms in ((2, 5), (5, 9))
    scaled = fitted(stream, 0.5 * stream + outputs[3], every, torch.float32)
    assert scaled is not None
    assert (scaled[0], scaled[1].terms, scaled[1].factors) == (0.5, (3,), (1.0,))
    assert fitted(stream, stream + noise(6, 32, seed=2), every, torch.float32) is None
    assert fitted(stream, stream * noise(32, seed=3), every, torch.float32) is None
    assert fitted(stream, stream + change, [], torch.float32) is None
    assert fitted(stream, outputs[4], [*every, outputs[4]], torch.float32) is None


def test_a_small_part_is_found_beside_huge_channels_in_half_precision() -> None:
    outputs = noise(5, 16, 64)
    stream = noise(16, 64, seed=1)
    stream[0, 3] = 3000.0  # a massive activation
    stream = stream.bfloat16()
    large, small = outputs[1].bfloat16(), (0.05 * outputs[4]).bfloat16()
    after = (stream + large) + small
    candidates = [each.bfloat16().double() for each in outputs[:4]] + [small.double()]
    found = fitted(stream.double(), after.double(), candidates, torch.bfloat16)
    assert found is not None
    assert (found[1].terms, found[1].factors) == ((1, 4), (1.0, 1.0))


def test_a_sum_of_four_is_none() -> None:
    outputs = noise(6, 500)
    assert sparse_sum(outputs[:4].sum(0), outputs, 1e-6) is None
    found = sparse_sum(outputs[:3].sum(0), outputs, 1e-6)
    assert found is not None and found.terms == (0, 1, 2)


@pytest.mark.parametrize("kind", ["rms", "layer", "none"])
def test_a_norm_is_known_by_what_it_does(kind: str) -> None:
    width = 24
    modules = {
        "rms": nn.RMSNorm(width, eps=1e-6),
        "layer": nn.LayerNorm(width),
        "none": nn.Identity(),
    }
    module = modules[kind]
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(noise(width, seed=seed + 5))
    vector = noise(width).float() + 0.5
    vector[3] = 0.0
    with torch.no_grad():
        frozen = freeze(module, vector)
        own = module(vector).double()
    assert frozen is not None and frozen.kind == kind
    parts = noise(4, width, seed=9)
    parts[3] = vector.double() - parts[:3].sum(0)
    assert torch.allclose(frozen(parts).sum(0) + frozen.bias, own, atol=1e-5)


def test_what_is_no_norm_is_not_frozen() -> None:
    vector = noise(24).float()
    with torch.no_grad():
        assert freeze(nn.GELU(), vector) is None
        assert freeze(nn.Sequential(nn.Linear(24, 24), nn.LayerNorm(24)), vector) is None
        assert freeze(nn.Linear(24, 8), vector) is None


# The method


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    picture = Picture(path=str(samples.DEFAULT_PICTURE))
    asking = Asking(bundled, Question("Shape of the main object:", picture=picture))
    return AskedRun(asking, asking.run())


def read(asked: AskedRun, **settings: Any) -> PartsReading:
    method = method_of("parts")
    reading = asked.read(method, request_of(method, settings))
    assert isinstance(reading, PartsReading)
    assert reading.proof is not None and reading.proof.passed
    assert reading.error == reading.proof.error
    return reading


def total(parts: Sequence[PartShare]) -> float:
    return math.fsum(each.share or 0.0 for each in parts)


def test_by_default_it_is_the_answer_minus_the_runner_up(asked: AskedRun) -> None:
    reading = read(asked)
    top = asked.run.rows[-1].top
    assert [each.id for each in reading.of] == [top[0].id, top[1].id]
    assert reading.of[0].probability == pytest.approx(top[0].probability, abs=1e-5)
    assert top[0].logit is not None and top[1].logit is not None
    assert reading.value == pytest.approx(top[0].logit - top[1].logit, abs=1e-4)
    assert total(reading.parts) == pytest.approx(reading.value, abs=1e-4)
    assert [each.name for each in reading.parts] == [
        "embedding",
        *("attention", "MLP") * asked.run.layers,
        "bias",
    ]
    assert all(each.effect is None for each in reading.parts)
    best = max(reading.parts, key=lambda each: each.share or 0.0)
    assert len(best.promotes) == len(best.suppresses) == 5
    assert not reading.heads and reading.sent is None
    assert not reading.parts[-1].promotes  # its bias is nothing


def test_heads_and_the_sources_of_one_sum_to_their_shares(asked: AskedRun) -> None:
    reading = read(asked, heads="true", layer="5", head="2", of="sphere")
    assert len(reading.of) == 1
    for layer in range(asked.run.layers):
        (attention,) = [e for e in reading.parts if (e.layer, e.name) == (layer, "attention")]
        of_layer = [each for each in reading.heads if each.layer == layer]
        assert total(of_layer) == pytest.approx(attention.share, abs=1e-4)
    (head,) = [each for each in reading.heads if (each.layer, each.head) == (5, 2)]
    assert len(head.promotes) == 5  # a reading of one part has its words alone
    assert not any(e.promotes for e in (*reading.parts, *reading.heads) if e is not head)
    assert reading.sent is not None
    assert reading.sent.share == pytest.approx(head.share, abs=1e-5)
    assert reading.sent.shares.shape == (len(asked.run.tokens),)
    assert float(reading.sent.shares.values.sum()) == pytest.approx(head.share, abs=1e-4)
    assert read(asked, layer=5, head=2, of=("sphere",)).sent == reading.sent
    assert [table.title for table in tables_of(reading)][1:] == [
        "the 20 largest of 40 heads",
        "what layer 5, head 2 was sent from each position",
    ]


@pytest.mark.slow
def test_what_the_picture_adds_is_the_difference_of_two_runs(asked: AskedRun) -> None:
    reading = read(asked, against="none")
    (other,) = [run for run in asked.others if run.id == reading.against]
    assert reading.refers_to == (other.id,)
    answer = reading.of[0].id
    mine, its = (
        next(each for each in tables if each.id == answer).logit[-1]
        for tables in (asked.run.tracked, _tracked(asked, other.id, answer))
    )
    assert mine is not None and its is not None
    assert reading.value == pytest.approx(mine - its, abs=1e-4)
    assert total(reading.parts) == pytest.approx(reading.value, abs=1e-4)
    again = read(asked, against=other.id)
    assert again.parts == reading.parts
    assert len([each for each in asked.run.readings if each.replaces(again)]) == 1


def _tracked(asked: AskedRun, run_id: str, token: int) -> Any:
    return asked.subject.against(run_id).kept.track([token])


@pytest.mark.slow
def test_the_largest_parts_and_heads_are_taken_out(asked: AskedRun) -> None:
    method = method_of("parts")
    request = request_of(method, {"heads": True, "ablate": 3})
    *grown, reading = carry_out(method, asked.subject, request, lambda: False)
    assert isinstance(reading, PartsReading)
    parts = [each for each in grown if isinstance(each, PartsPart)]
    assert [(each.done, each.orders) for each in parts] == [(done, 6) for done in range(7)]
    for shown in (reading.parts, reading.heads):
        taken = [each for each in shown if each.effect is not None]
        assert len(taken) == 3
        least = min(abs(each.share or 0.0) for each in taken)
        others = [e for e in shown if e.effect is None and e.name in ("attention", "MLP")]
        assert all(abs(each.share or 0.0) <= least for each in others)
    effects = [each.effect for each in reading.parts if each.effect is not None]
    shares = [each.share for each in reading.parts if each.effect is not None]
    assert effects != pytest.approx(shares, abs=1e-2)  # self-repair, and the norm


@pytest.mark.slow
def test_one_part_is_taken_out_by_its_name(asked: AskedRun) -> None:
    largest = read(asked, heads=True, ablate=1)
    for named, shown, key in (
        ("3.attention", "parts", (3, None)),
        ("3.1", "heads", (3, 1)),
    ):
        one = read(asked, heads=True, without=named)
        (taken,) = [e for e in getattr(one, shown) if e.effect is not None]
        assert (taken.layer, taken.head) == key
        assert [e for e in (*one.parts, *one.heads) if e.suppresses] == [taken]
        (table,) = [t for t in tables_of(one)[:1] if any(c.title == "taken out" for c in t.columns)]
        assert len(table.rows) == len(one.parts)
    (best,) = [each for each in largest.parts if each.effect is not None]
    again = read(asked, without=part_name(best))
    assert [each.effect for each in again.parts if each.effect is not None] == [best.effect]


@pytest.mark.slow
def test_parts_of_a_token_of_the_answer(asked: AskedRun) -> None:
    answer = method_of("answer")
    written = asked.read(answer, request_of(answer, {"max_new_tokens": 2}))
    assert isinstance(written, AnswerReading)
    first = len(asked.run.tokens)
    reading = read(asked, position=first, layer=5, head=2)
    assert (reading.position, reading.reaches) == (first, first)
    assert reading.misfit(asked.run) is None
    assert reading.of[0].id == written.tokens.values[1]  # the token after it, which is the answer's
    assert total(reading.parts) == pytest.approx(reading.value, abs=1e-4)
    assert reading.sent is not None and reading.sent.shares.shape == (first + 1,)
    without = read(asked, position=first, against="none")
    assert without.of == reading.of[:1]
    assert total(without.parts) == pytest.approx(without.value, abs=1e-4)


@pytest.mark.slow
def test_requests_that_cannot_be_answered(asked: AskedRun) -> None:
    for settings, message in (
        ({"layer": 3}, "both its layer and its head"),
        ({"layer": 30, "head": 0}, "no layer 30"),
        ({"layer": 3, "head": 9}, "no head 9"),
        ({"position": 1000}, "no position 1000"),
        ({"of": ("",)}, "no token of this model"),
        ({"against": "none", "position": 5}, "other tokens"),
        ({"without": "3.1"}, "no part that can be taken out is called '3.1'"),
        ({"without": "None.embedding"}, "no part that can be taken out"),
    ):
        with pytest.raises(BadInput, match=message):
            read(asked, **settings)


def test_a_model_that_is_one_part_is_refused_with_the_reason(
    opened: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Asking(opened("llama"), Question("What?"))
    run = AskedRun(asking, asking.run())
    monkeypatch.setattr(reading_parts, "freeze", lambda norm, at: None)
    with pytest.raises(CannotRead, match=f"no sum of parts: {NO_NORM}"):
        read(run)


def test_a_run_without_a_picture_has_parts_but_nothing_to_subtract(
    opened: Callable[[str], LoadedModel],
) -> None:
    asking = Asking(opened("llama"), Question("What?"))
    run = AskedRun(asking, asking.run())
    reading = read(run, position=0, of=("#3", "#4"))
    assert reading.position == 0
    assert isinstance(reading.request, PartsRequest)
    with pytest.raises(BadInput, match="no picture"):
        read(run, against="none")


@pytest.mark.parametrize("name", ["parts", pytest.param("neurons", marks=pytest.mark.slow)])
def test_an_effect_that_the_editor_alone_has_is_not_proved(
    asked: AskedRun, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    method = method_of(name)
    for gap in (0.0, 1e-9):
        monkeypatch.setattr(ablation, "difference", lambda *_, gap=gap: gap)
        request = request_of(method, {"ablate": 1})
        *_, reading = carry_out(method, asked.subject, request, lambda: False)
        assert isinstance(reading, Reading) and reading.proof is not None
        assert reading.proof.passed is (gap == 0.0) and "taken out" in reading.proof.what
