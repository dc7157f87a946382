"""Attention of any kernel: against the model's own eager attention, family by family."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from engine.anatomy import attention_calls, attention_rows
from engine.anatomy.attention_calls import AttentionCall
from engine.anatomy.attention_rows import AttentionRow
from engine.anatomy.sinks import massive, places
from engine.errors import Cancelled
from engine.lens.attention import NONE_HERE, AttentionFound, why_nothing_is_read
from engine.lens.lens import Lens
from engine.lens.localising_heads import CellGrid, localising_heads
from engine.passes import attention_taps, edits
from engine.passes.edits import AttentionWatch
from engine.passes.forward import Forward
from engine.prompts.token_groups import GROUPS, KeyGroups
from engine.system.steps import finished
from tests.families import FAMILIES, Tiny

QUICK = ("llava", "gemma3", "florence2", "mllama", "blip", "qwen3_5")
"""A plain decoder, soft-cap and sliding windows, an encoder-decoder, cross-attention on vision
states, own softmax, layers without attention."""
NOT_READ = {"pi0": "it has no vocabulary"}
PROOF_ALONE = {"unlimited_ocr": "its eager function does not repeat key/value heads, and fails"}
"""Families whose eager attention cannot serve as the oracle, and why."""
NOT_RETURNED = {"idefics": "states"}
"""Families whose output lacks some attention."""

ALL = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in sorted({*FAMILIES} - {*NOT_READ})
]


def read(tiny: Tiny, position: int = -1, **options: Any) -> AttentionFound:
    return finished(Lens(tiny.model).read_attention(tiny.inputs, position, **options))


def in_dtype(tiny: Tiny, dtype: torch.dtype) -> Tiny:
    """The same model, converted in place, and its inputs."""
    tiny.model.to(dtype)
    inputs = {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in tiny.inputs.items()
    }
    return replace(tiny, inputs=inputs)


def attentions_in(output: Any, length: int) -> Iterator[Tensor]:
    """The attention weights in a model's output, [heads, length, keys], but for encoders'."""
    items = output.items() if hasattr(output, "items") else []
    for name, value in items:
        if "attentions" in name and not name.startswith(("encoder", "vision", "image", "audio")):
            for layer in value if isinstance(value, (tuple, list)) else ():
                if isinstance(layer, Tensor) and layer.ndim == 4 and layer.shape[2] == length:
                    yield layer[0]
        elif "language" in name or "text" in name or "decoder" in name:
            yield from attentions_in(value, length)


@contextmanager
def weights_before_dropout(tiny: Tiny, length: int) -> Iterator[list[Tensor]]:
    """Notes what the dropout of attention gets, in a model that returns no attention."""
    noted: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args[0].ndim == 4 and args[0].shape[2] == length:
            noted.append(args[0][0])

    dropouts = [each for each in tiny.model.modules() if isinstance(each, nn.Dropout)]
    handles = [each.register_forward_pre_hook(note) for each in dropouts]
    yield noted
    for handle in handles:
        handle.remove()


def theirs(tiny: Tiny, length: int) -> list[Tensor]:
    """The weights of every attention of the eager model, [heads, length, keys]."""
    tiny.model.set_attn_implementation("eager")
    with torch.no_grad(), weights_before_dropout(tiny, length) as noted:
        output = tiny.model(**tiny.inputs, output_attentions=True)
    found = [*attentions_in(output, length)]
    own = [each for each in found if each.shape[2] == length]
    others = [each for each in found if each.shape[2] != length]
    if own and len(own) == len(others):
        # A model that looks at its tokens and at an encoder's states at once returns them apart.
        found += [torch.cat(both, dim=-1) for both in zip(own, others, strict=True)]
    return found or noted


@pytest.mark.parametrize("name", ALL)
def test_every_weight_is_that_of_the_eager_model(name: str) -> None:
    tiny = FAMILIES[name]()
    found = read(tiny)
    have = [each for each in found.layers if each.weights is not None]
    assert have
    assert {each.reason for each in found.layers if each.weights is None} <= {NONE_HERE}
    for each in have:
        assert each.weights is not None and each.sink is not None
        assert each.proof is not None and each.proof.passed
        total = each.weights.sum(-1) + each.sink
        assert torch.allclose(total, torch.ones_like(total), atol=1e-4)
    if name in PROOF_ALONE:
        return
    eager = [each[:, found.position] for each in theirs(tiny, found.position + 1)]
    for each in have:
        weights = each.weights
        assert weights is not None
        apart = [
            (float((weights - other).abs().max()), other)
            for other in eager
            if other.shape == weights.shape
        ]
        if not apart:
            assert NOT_RETURNED.get(name) == each.keys
            continue
        # Taken out once it has been found: no weights may stand for two layers.
        distance, nearest = min(apart, key=lambda pair: pair[0])
        assert distance < 2e-5
        eager = [other for other in eager if other is not nearest]


def test_a_shuffled_value_fails_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    real = attention_rows.as_row

    def shuffled(weights: Tensor, value: Tensor, *rest: Any) -> AttentionRow:
        return real(weights, value.flip(2), *rest)

    monkeypatch.setattr(attention_rows, "as_row", shuffled)
    found = read(FAMILIES["llava"]())
    assert all(each.weights is None for each in found.layers)
    assert all(each.proof is not None and not each.proof.passed for each in found.layers)
    assert all("not the kernel's" in (each.reason or "") for each in found.layers)


def test_what_went_wrong_is_said_and_not_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer of a hybrid has no attention, which is no reason why others are not read."""
    real = attention_rows.as_row

    def shuffled(weights: Tensor, value: Tensor, *rest: Any) -> AttentionRow:
        return real(weights, value.flip(2), *rest)

    monkeypatch.setattr(attention_rows, "as_row", shuffled)
    layers = read(FAMILIES["qwen3_5"]()).layers
    assert layers[0].reason == NONE_HERE and all(each.weights is None for each in layers)
    assert "not the kernel's" in why_nothing_is_read(layers)
    without_a_proof = replace(layers[-1], reason="it cannot be computed", proof=None)
    assert why_nothing_is_read([*layers[:1], without_a_proof]).endswith("it cannot be computed")
    assert why_nothing_is_read([without_a_proof, *layers]) == why_nothing_is_read(layers)
    assert why_nothing_is_read(layers[:1]).endswith(NONE_HERE)


def test_a_wrong_route_is_replaced_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eager function that is not what the kernel computes is noticed, and not tried again."""
    real, asked = attention_calls.AttentionCall, []

    def wrong(module: nn.Module, query: Tensor, key: Tensor, *rest: Any, **kwargs: Any) -> Any:
        asked.append(module)
        shape = (*query.shape[:3], key.shape[2])
        return None, torch.full(shape, 1.0 / key.shape[2])

    monkeypatch.setattr(edits, "AttentionCall", lambda *given: replace(real(*given), eager=wrong))
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    found = finished(lens.read_attention(tiny.inputs))
    tries = len(asked)
    assert all(each.weights is not None for each in found.layers)
    assert tries == 2 * len(found.layers)  # in float32, and as it is
    again = finished(lens.read_attention(tiny.inputs))
    assert len(asked) == tries
    monkeypatch.undo()
    plain = read(tiny)
    for each in (found, again):
        for ours, right in zip(each.layers, plain.layers, strict=True):
            assert ours.weights is not None and right.weights is not None
            assert torch.allclose(ours.weights, right.weights, atol=1e-6)


@pytest.mark.parametrize("name", ["llava", "gemma3", "muse_spark"])
def test_contributions_add_up_to_the_attention_block(name: str) -> None:
    tiny = FAMILIES[name]()
    layers = range(tiny.layers)
    found = read(tiny, projected=layers)
    for each in found.layers:
        sent = each.contribution
        assert sent is not None and sent.proof.passed and each.weights is not None
        assert sent.heads.shape == each.weights.shape
        # A token that is not looked at sends nothing; the sum is at most what its parts are.
        assert bool((sent.heads[each.weights == 0] == 0).all())
        assert bool((sent.together <= sent.heads.sum(0) + 1e-5).all())


def test_what_arrives_is_what_the_projection_makes_of_one_value() -> None:
    tiny = FAMILIES["llava"]()
    found = read(tiny, projected=[2])
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    attention: Any = lens.layers[2].self_attn
    calls: list[tuple[AttentionCall, Tensor]] = []
    watch = AttentionWatch(lambda call, output, _: calls.append((call, output)))
    forward = Forward(tiny.model, lens.model_parts, lens.on_device(tiny.inputs), [-1])
    forward.run(lambda row, read: None, attached=[watch])
    call = next(call for call, _ in calls if call.module is attention)
    each = found.layers[2]
    assert each.weights is not None and each.contribution is not None
    heads, keys = each.weights.shape
    width = call.value.shape[-1]
    for head, key in ((0, 0), (1, keys - 1), (heads - 1, 3)):
        value = torch.zeros(heads * width)
        shared = head * call.value.shape[1] // heads
        value[head * width : (head + 1) * width] = call.value[0, shared, key]
        with torch.no_grad():
            sent = each.weights[head, key] * (attention.o_proj(value) - attention.o_proj(value * 0))
        assert float(each.contribution.heads[head, key]) == pytest.approx(
            float(sent.norm()), rel=1e-4
        )


def test_other_positions_and_left_padding() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    plain = finished(lens.read_attention(tiny.inputs, 5))
    assert plain.position == 5
    for each in plain.layers:
        assert each.weights is not None
        assert bool((each.weights[:, 6:] == 0).all())
    padded = dict(tiny.inputs)
    pad = 3
    for name, value in tiny.inputs.items():
        if isinstance(value, Tensor) and value.ndim == 2 and not value.is_floating_point():
            padded[name] = torch.nn.functional.pad(value, (pad, 0))
    found = finished(lens.read_attention(padded, 5 + pad))
    for ours, right in zip(found.layers, plain.layers, strict=True):
        assert ours.weights is not None and right.weights is not None
        assert bool((ours.weights[:, :pad] == 0).all())
        assert torch.allclose(ours.weights[:, pad:], right.weights, atol=2e-6)
        assert ours.reach == pad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_window_is_said_and_what_lies_before_it_has_no_weight(dtype: torch.dtype) -> None:
    tiny = in_dtype(FAMILIES["gemma3"](), dtype)
    tiny.model.config.get_text_config().sliding_window = 4
    for module in tiny.model.modules():
        if getattr(module, "sliding_window", None):
            module.sliding_window = 4
    found = read(tiny)
    reaches = {each.reach for each in found.layers}
    assert reaches == {0, found.position - 3}
    for each in found.layers:
        assert each.weights is not None
        assert bool((each.weights[:, : each.reach] == 0).all())
        assert bool((each.weights[:, each.reach] > 0).all())


def test_learned_sinks_are_what_is_short_of_one() -> None:
    found = read(FAMILIES["inkling2"]())
    assert any(float(each.sink.max()) > 0.05 for each in found.layers if each.sink is not None)
    plain = read(FAMILIES["llava"]())
    assert all(float(each.sink.max()) == 0.0 for each in plain.layers if each.sink is not None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    tiny = FAMILIES["qwen2_vl"]()
    exact = read(tiny)
    found = read(in_dtype(tiny, dtype))
    for ours, right in zip(found.layers, exact.layers, strict=True):
        assert ours.weights is not None and right.weights is not None
        assert float((ours.weights - right.weights).abs().max()) < 0.05


def test_massive_activations_are_found_in_the_same_pass() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    assert finished(lens.read_attention(tiny.inputs)).sinks == ()
    embed = tiny.model.get_input_embeddings()
    # A channel that 20 rms need has to be one of more than 400.
    assert embed.weight.shape[1] < 400
    stream = torch.randn(1, 6, 1000)
    stream[0, 0, 7] = 900.0
    stream[0, 4, 7] = -700.0
    stream[0, 5, 8] = 900.0  # not a channel of the first token
    assert places(massive(stream[0])) == (0, 4)


def hooks_of(tiny: Tiny) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in tiny.model.modules()]


@pytest.mark.parametrize("how", ["raises", "cancelled", "closed"])
def test_the_interface_is_restored(how: str) -> None:
    before = AttentionInterface.get_interface
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    hooks = hooks_of(tiny)
    if how == "raises":

        def broken(*_: Any) -> None:
            raise RuntimeError("broken")

        handle = lens.layers[2].register_forward_pre_hook(broken)
        with pytest.raises(RuntimeError, match="broken"):
            finished(lens.read_attention(tiny.inputs))
        handle.remove()
    elif how == "cancelled":
        with pytest.raises(Cancelled):
            finished(lens.read_attention(tiny.inputs, stop=lambda: True))
    else:
        handle = lens.layers[3].register_forward_pre_hook(lambda *_: time.sleep(0.3))
        steps = lens.read_attention(tiny.inputs)
        parts = next(steps)  # while the pass runs
        assert parts[0].layer == 0 and parts[-1].layer < 3
        assert AttentionInterface.get_interface is not before
        steps.close()
        handle.remove()
    assert AttentionInterface.get_interface is before
    assert hooks_of(tiny) == hooks


def test_another_model_in_another_thread_is_not_watched() -> None:
    tiny, other = FAMILIES["llava"](), FAMILIES["qwen2_vl"]()
    with torch.no_grad():
        alone = other.model(**other.inputs).logits
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    started, over = threading.Event(), threading.Event()
    results: list[Tensor] = []

    def beside() -> None:
        started.wait(30)
        with torch.no_grad():
            results.append(other.model(**other.inputs).logits)
        over.set()

    def wait(*_: Any) -> None:
        started.set()
        assert over.wait(30)

    thread = threading.Thread(target=beside)
    thread.start()
    handle = lens.layers[1].register_forward_pre_hook(wait)
    found = finished(lens.read_attention(tiny.inputs))
    handle.remove()
    thread.join(30)
    assert len(found.layers) == tiny.layers
    assert torch.equal(results[0], alone)
    plain = read(tiny)
    for ours, right in zip(found.layers, plain.layers, strict=True):
        assert ours.weights is not None and right.weights is not None
        assert torch.equal(ours.weights, right.weights)


def test_a_batch_is_refused_and_positions_out_of_range_are() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    with pytest.raises(IndexError):
        lens.attention(tiny.inputs, 10_000)
    twice = {name: torch.cat([value, value]) for name, value in tiny.inputs.items()}
    with pytest.raises(ValueError, match="batch of one"):
        lens.attention(twice)


def test_regions_and_their_entropy() -> None:
    """Three cells in a corner and one apart: two regions, whose weight is shared 3 to 1."""
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    grid = CellGrid(torch.zeros(20), rows.flatten(), columns.flatten())
    one, two, nothing = torch.zeros(3, 20)
    one[[0, 1, 6]] = 0.3  # 6 touches 1, and 0 diagonally
    two[[0, 1, 6]] = 0.2
    two[19] = 0.2
    nothing += 0.001
    found = localising_heads([(4, torch.stack([nothing, two, one]))], grid, 3)
    assert [(each.layer, each.head) for each in found] == [(4, 2), (4, 1)]
    assert found[0].entropy == 0.0 and found[0].share == pytest.approx(0.9)
    parts = (0.75, 0.25)
    assert found[1].entropy == pytest.approx(-sum(p * math.log(p) for p in parts), abs=1e-6)
    unknown = torch.full((20,), -1)
    assert localising_heads([(4, one[None])], CellGrid(unknown, unknown, unknown)) == ()


def test_a_shuffled_value_fails_the_proof_of_contributions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = attention_rows.row_of

    def shuffled(*given: Any) -> AttentionRow:
        row = real(*given)
        assert row.value is not None
        return replace(row, value=row.value.flip(2))

    monkeypatch.setattr(attention_taps, "row_of", shuffled)
    found = read(FAMILIES["llava"](), projected=range(6))
    sent = [each.contribution for each in found.layers if each.contribution is not None]
    assert len(sent) == len(found.layers)
    assert not any(each.proof.passed for each in sent)


def test_an_adapter_on_the_projection_is_part_of_it() -> None:
    """The last matrix that is called there is one of the adapter's; what is made of it counts."""
    peft = pytest.importorskip("peft")
    tiny = FAMILIES["llava"]()
    plain = read(tiny, projected=[2]).layers[2].contribution
    config = peft.LoraConfig(target_modules=r".*language_model.*o_proj", r=2)
    adapted = peft.get_peft_model(tiny.model, config).base_model.model
    again = finished(Lens(adapted).read_attention(tiny.inputs, projected=[2]))
    sent = again.layers[2].contribution
    assert plain is not None and sent is not None and sent.proof.passed and not sent.gated
    assert torch.allclose(sent.heads, plain.heads, rtol=1e-4, atol=1e-6)


def test_what_changes_the_heads_outputs_is_told() -> None:
    gated = read(FAMILIES["muse_spark"](), projected=[0]).layers[0].contribution
    assert gated is not None and gated.gated and gated.proof.passed
    normed = read(FAMILIES["kosmos-2"](), projected=[0]).layers[0].contribution
    assert normed is not None and normed.passes_through == "LayerNorm"
    assert not normed.proof.passed


def test_a_hybrid_on_the_eager_kernel_has_each_layer_once() -> None:
    tiny = FAMILIES["qwen3_5"]()
    usual = read(tiny)
    tiny.model.set_attn_implementation("eager")
    lens = Lens(tiny.model)
    found = finished(lens.read_attention(tiny.inputs))
    assert [each.layer for each in found.layers] == [*range(tiny.layers)]
    assert not any(each.watches_softmax for each in lens._attention._routes.values())
    for ours, right in zip(found.layers, usual.layers, strict=True):
        assert (ours.weights is None) == (right.weights is None)
        if ours.weights is not None and right.weights is not None:
            assert torch.allclose(ours.weights, right.weights, atol=1e-5)


def test_a_model_that_calls_torchs_attention_itself() -> None:
    tiny = FAMILIES["llava"]()
    usual = read(tiny)
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)

    def own(module: Any) -> Any:
        def forward(
            hidden_states: Tensor, position_embeddings: Any, attention_mask: Any, **_: Any
        ) -> tuple[Tensor, None]:
            shape = (*hidden_states.shape[:-1], -1, module.head_dim)
            q, k, v = (
                each(hidden_states).view(shape).transpose(1, 2)
                for each in (module.q_proj, module.k_proj, module.v_proj)
            )
            q, k = apply_rotary_pos_emb(q, k, *position_embeddings)
            groups = module.num_key_value_groups
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
            out = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=attention_mask, is_causal=attention_mask is None
            )
            return module.o_proj(out.transpose(1, 2).reshape(*hidden_states.shape[:-1], -1)), None

        return forward

    for layer in lens.layers:
        attention: Any = layer.self_attn
        attention.forward = own(attention)
    found = finished(lens.read_attention(tiny.inputs))
    for ours, right in zip(found.layers, usual.layers, strict=True):
        assert ours.weights is not None and right.weights is not None
        assert torch.allclose(ours.weights, right.weights, atol=1e-5)


def test_what_is_returned_can_be_worked_with() -> None:
    for each in Lens((tiny := FAMILIES["llava"]()).model).attention(tiny.inputs):
        assert each.weights is not None
        each.weights[:, 0] = 0.0
        assert not each.weights.is_inference()


def test_memory_that_runs_out_is_not_answered_by_a_larger_pass() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    passes = []

    def out_of_memory(*_: Any) -> None:
        passes.append(1)
        raise torch.OutOfMemoryError("out of memory")

    handle = lens.layers[2].register_forward_pre_hook(out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        lens.attention(tiny.inputs)
    handle.remove()
    assert len(passes) == 1
    assert lens._logits_to_keep_agree == {}


def test_cross_attention_on_more_states_than_tokens_is_on_the_picture() -> None:
    tiny = FAMILIES["mllama"]()
    found = read(tiny)
    kinds = [each.keys for each in found.layers]
    assert kinds == ["tokens", "states", "tokens", "tokens", "states", "tokens"]
    of_picture = KeyGroups(bytes(6), None).of_states(20)
    assert {*of_picture} == {GROUPS.index("picture")}
    assert {each.keys for each in read(FAMILIES["t5gemma2"]()).layers} == {"both"}
