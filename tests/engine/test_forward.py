"""A pass that is watched, edited and differentiated, against plain torch on the same model."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from engine import Lens
from engine.anatomy.attention_calls import AttentionCall, wrapping_attention
from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import RowStream
from engine.errors import Cancelled, CannotRead
from engine.passes.edits import Attached, AttentionEdit, AttentionWatch, Edit, Watch
from engine.passes.forward import Forward
from tests.conftest import hooks_of
from tests.families import FAMILIES, Tiny
from tests.families.llava import llava
from tests.families.parts import text_inputs
from tests.families.text import llama

OWN_LOOKUP = AttentionInterface.__dict__["get_interface"]
FEW = {"llava", "qwen2_vl", "t5", "idefics", "inkling2", "gemma3n_text", "blip-2", "glm5_next"}
"""A plain tail, one of a picture's own positions, an encoder-decoder, layers that a pass skips, a
tail with companions, a replay, a model inside a model, several residual streams."""


@dataclasses.dataclass
class Passed:
    """The results of one pass."""

    model_logits: Tensor
    rows: list[Tensor]
    logits: list[Tensor]


def learned(tiny: Tiny) -> tuple[Lens, ModelParts]:
    lens = Lens(tiny.model)
    return lens, lens.learn(tiny.inputs)


def passed(
    tiny: Tiny,
    attached: Sequence[Attached] = (),
    positions: Sequence[int] = (-1,),
    gradients: bool = False,
    on_row: Callable[[int], None] = lambda row: None,
) -> Passed:
    lens, parts = learned(tiny)
    forward = Forward(tiny.model, parts, lens.on_device(tiny.inputs), positions)
    found = Passed(torch.empty(0), [], [])

    def keep(row: int, read: RowStream) -> None:
        found.rows.append(read.stream)
        found.logits.append(forward.project([read]))
        on_row(row)

    found.model_logits = forward.run(keep, attached=attached, gradients=gradients)
    return found


def nothing_is_left(model: nn.Module) -> bool:
    patched = [module for module in model.modules() if "forward" in module.__dict__]
    return (
        hooks_of(model) == 0
        and not patched
        and AttentionInterface.__dict__["get_interface"] is OWN_LOOKUP
        and "get_interface" not in ALL_ATTENTION_FUNCTIONS.__dict__
    )


def equal(one: Passed, other: Passed) -> bool:
    pairs = [
        (one.model_logits, other.model_logits),
        *zip(one.rows + one.logits, other.rows + other.logits, strict=False),
    ]
    return len(one.rows) == len(other.rows) and all(torch.equal(*pair) for pair in pairs)


def same(value: Tensor) -> Tensor:
    return value


def identities(parts: ModelParts) -> list[Attached]:
    """Watchers and editors of every layer, of modules inside it, and of all attention calls, that
    give back what they were given."""
    modules = [
        module
        for layer in parts.layers
        for module in (layer, *(child for child in layer.children() if list(child.children())))
    ]
    return [
        *(Edit(layer, same, "input") for layer in parts.layers),
        *(Edit(layer, same) for layer in parts.layers),
        *(Watch(module, lambda value: None) for module in modules),
        AttentionEdit(before=lambda call: call, after=lambda call, output: output),
        AttentionWatch(lambda call, output, weights: None),
    ]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FEW else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - {"pi0"})  # it has no vocabulary
    ],
)
def test_strength_zero_changes_nothing_to_the_bit(name: str) -> None:
    tiny = FAMILIES[name]()
    _, parts = learned(tiny)
    plain = passed(tiny)
    assert equal(plain, passed(tiny))
    assert equal(plain, passed(tiny, identities(parts)))
    assert nothing_is_left(tiny.model)


def test_watchers_see_inputs_and_outputs_where_they_are() -> None:
    tiny = llava()
    layers = list(tiny.model.model.language_model.layers)
    seen: dict[str, list[Tensor]] = {"in": [], "out": [], "mlp": [], "norm": []}
    norm = tiny.model.model.language_model.norm
    passed(
        tiny,
        [
            *(Watch(layer, seen["in"].append, "input") for layer in layers),
            *(Watch(layer, seen["out"].append) for layer in layers),
            Watch(layers[2].mlp, seen["mlp"].append),
            Watch(norm, seen["norm"].append),  # the lens itself calls it once a row
        ],
    )
    kept: list[Tensor] = []
    handle = layers[2].mlp.register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.no_grad():
        output = tiny.model(**tiny.inputs, output_hidden_states=True)
    handle.remove()
    states = output.hidden_states
    assert len(seen["in"]) == len(seen["out"]) == tiny.layers
    for row, (entered, left) in enumerate(zip(seen["in"], seen["out"], strict=True)):
        assert torch.equal(entered, states[row])
        if row < tiny.layers - 1:
            assert torch.equal(left, states[row + 1])
    assert torch.equal(seen["mlp"][0], kept[0])
    assert len(seen["norm"]) == 1 and torch.equal(seen["norm"][0], states[-1])


@pytest.mark.parametrize("where", ["input", "output"])
@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "gemma3"])
def test_an_edit_gives_what_a_plain_hook_gives(name: str, where: Any) -> None:
    tiny = FAMILIES[name]()
    _, parts = learned(tiny)
    layer, number = parts.layers[2], 2
    torch.manual_seed(1)
    shift = torch.randn(parts.stream_shape[-1])

    def moved(stream: Tensor) -> Tensor:
        return stream + shift

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return (
            ((moved(args[0]), *args[1:]), kwargs)
            if args
            else (
                args,
                {**kwargs, "hidden_states": moved(kwargs["hidden_states"])},
            )
        )

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        return moved(output) if isinstance(output, Tensor) else (moved(output[0]), *output[1:])

    found = passed(tiny, [Edit(layer, moved, where)])
    handle = (
        layer.register_forward_pre_hook(before, with_kwargs=True)
        if where == "input"
        else layer.register_forward_hook(after)
    )
    with torch.no_grad():
        expected = tiny.model(**tiny.inputs, use_cache=False).logits[:, -1]
    handle.remove()
    plain = passed(tiny)
    assert torch.equal(found.model_logits, expected.float())
    assert not torch.allclose(found.model_logits, plain.model_logits, atol=1e-3)
    # The row that enters an edited layer is what the layer gets; earlier rows are as they were.
    edited = number if where == "input" else number + 1
    for row in range(tiny.layers + 1):
        assert torch.equal(found.rows[row], plain.rows[row]) == (row < edited)
    assert torch.equal(found.rows[edited], moved(plain.rows[edited]))
    torch.testing.assert_close(found.logits[-1], found.model_logits, atol=2e-5, rtol=1e-5)
    assert nothing_is_left(tiny.model)


def test_a_replay_reads_the_rows_of_an_edited_pass() -> None:
    tiny = FAMILIES["gemma3n_text"]()
    _, parts = learned(tiny)
    assert parts.tail.replays
    found = passed(tiny, [Edit(parts.layers[1], lambda stream: stream * 1.25)])
    assert not torch.allclose(found.model_logits, passed(tiny).model_logits, atol=1e-3)
    torch.testing.assert_close(found.logits[-1], found.model_logits, atol=2e-5, rtol=1e-5)


def test_editors_act_in_their_order_and_watchers_look_on_where_they_stand() -> None:
    tiny = llama()
    layer = tiny.model.model.layers[1]
    seen: list[Tensor] = []
    found = passed(
        tiny,
        [
            Watch(layer, seen.append),
            Edit(layer, lambda stream: stream * 2),
            Watch(layer, seen.append),
            Edit(layer, lambda stream: stream + 1),
            Watch(layer, seen.append),
        ],
    )
    assert torch.equal(seen[1], seen[0] * 2)
    assert torch.equal(seen[2], seen[1] + 1)
    assert torch.equal(found.rows[2], seen[2][:, -1])


def test_an_output_that_is_a_tuple_or_a_mapping_keeps_the_rest() -> None:
    tiny = llama()
    attention = tiny.model.model.layers[1].self_attn
    kept: list[Any] = []
    handle = attention.register_forward_hook(lambda module, args, output: kept.append(output))
    plain = passed(tiny)
    assert isinstance(kept[0], tuple)
    handle.remove()
    found = passed(tiny, [Edit(attention, torch.zeros_like)])
    assert torch.equal(found.rows[1], plain.rows[1])
    assert not torch.equal(found.rows[2], plain.rows[2])
    whole = passed(tiny, [Edit(tiny.model.model, lambda hidden: hidden * 0)])
    assert torch.equal(whole.model_logits, torch.zeros_like(whole.model_logits))
    assert torch.equal(whole.rows[-1], plain.rows[-1])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda stream: stream[:, :1], r"LlamaDecoderLayer returned \[1, 1, 32\] torch.float32"),
        (lambda stream: stream.half(), "torch.float16, not"),
        (lambda stream: None, "returned NoneType"),
    ],
)
def test_an_edit_that_returns_something_else_is_refused(
    function: Callable[[Tensor], Any], said: str
) -> None:
    tiny = llama()
    with pytest.raises(ValueError, match=said):
        passed(tiny, [Edit(tiny.model.model.layers[1], function)])
    with pytest.raises(ValueError, match="LlamaAttention returned"):
        passed(tiny, [AttentionEdit(after=lambda call, output: output[:, :1])])
    with pytest.raises(CannotRead, match="Embedding is called without a floating-point"):
        passed(tiny, [Edit(tiny.model.model.embed_tokens, same, "input")])
    assert nothing_is_left(tiny.model)


@pytest.mark.parametrize("name", ["llava", "gemma3", "t5"])
def test_attention_calls_of_the_pass(name: str) -> None:
    tiny = FAMILIES[name]()
    _, parts = learned(tiny)
    calls: list[tuple[AttentionCall, Tensor, Tensor | None]] = []
    plain = passed(tiny)
    found = passed(tiny, [AttentionWatch(lambda *call: calls.append(call))])
    assert equal(plain, found)
    inside = {module for layer in parts.layers for module in layer.modules()}
    of_layers = [each for each in calls if each[0].module in inside]
    per_layer = 2 if name == "t5" else 1  # of the decoder itself, and of what it was given
    assert len(of_layers) == per_layer * tiny.layers
    assert len(calls) > len(of_layers)  # of a tower, or of an encoder
    for call, output, _ in of_layers:
        batch, heads, queries, _ = call.query.shape
        keys = call.key.shape[2]
        assert output.shape == (batch, queries, heads, call.value.shape[-1])
        assert heads % call.key.shape[1] == 0
        if call.mask is not None and call.mask.dtype == torch.bool:
            ruled_out = torch.zeros(call.mask.shape).masked_fill(~call.mask, torch.finfo().min)
            call = dataclasses.replace(call, mask=ruled_out)
        again, weights = call.run(call.eager)
        # Without a mask only the kernel knows what is ruled out: nothing for the last query.
        assert torch.allclose(again[:, -1], output[:, -1], atol=1e-5)
        assert weights is not None and weights.shape == (batch, heads, queries, keys)
    only = of_layers[-1][0].module
    calls.clear()
    passed(tiny, [AttentionWatch(lambda *call: calls.append(call), module=only)])
    assert [each[0].module for each in calls] == [only]
    assert nothing_is_left(tiny.model)


def test_a_family_that_calls_softmax_itself_yields_no_attention_calls() -> None:
    calls: list[Any] = []
    tiny = FAMILIES["git"]()
    _, parts = learned(tiny)
    inside = {module for layer in parts.layers for module in layer.modules()}
    passed(tiny, [AttentionWatch(lambda call, *_: calls.append(call.module))])
    assert not inside & set(calls)


def test_attention_that_is_edited() -> None:
    """A key that is masked out of every layer, against a model that is given that mask; an output
    that is put in, against the module's own projection of it."""
    tiny = llama()
    length = tiny.inputs["input_ids"].shape[1]

    def blind(call: AttentionCall) -> AttentionCall:
        assert call.query.shape[2] == length
        ahead = torch.ones(length, length, dtype=torch.bool).tril()
        ahead[-1, 2] = False
        mask = torch.zeros(1, 1, length, length).masked_fill(~ahead, torch.finfo().min)
        return dataclasses.replace(call, mask=mask)

    found = passed(tiny, [AttentionEdit(before=blind)])
    plain = passed(tiny)
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    seen[-1, 2] = False
    with torch.no_grad():
        expected = tiny.model(
            input_ids=tiny.inputs["input_ids"],
            attention_mask=torch.zeros(1, 1, length, length).masked_fill(~seen, torch.finfo().min),
        ).logits[:, -1]
    torch.testing.assert_close(found.model_logits, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found.model_logits, plain.model_logits, atol=1e-3)

    attention = tiny.model.model.layers[1].self_attn
    outputs: list[Tensor] = []
    passed(
        tiny,
        [
            AttentionEdit(after=lambda call, output: torch.ones_like(output), module=attention),
            Watch(attention, outputs.append),
        ],
    )
    with torch.no_grad():
        projected = attention.o_proj(torch.ones(1, length, attention.o_proj.in_features))
    torch.testing.assert_close(outputs[0], projected)


def test_attention_is_wrapped_in_the_passing_thread_only() -> None:
    """Two passes in two threads that overlap, the one that began first ending first."""
    began, ended = threading.Event(), threading.Event()
    counts: dict[str, int] = {"first": 0, "second": 0}
    models = {name: llama() for name in counts}
    for tiny in models.values():
        learned(tiny)
    trouble: list[BaseException] = []

    def first() -> None:
        try:
            passed(
                models["first"], [AttentionWatch(lambda *_: counted("first"))], on_row=second_is_in
            )
        except BaseException as error:
            trouble.append(error)
        finally:
            ended.set()

    def second_is_in(row: int) -> None:
        if row == 1:
            assert began.wait(20)

    def counted(name: str) -> None:
        counts[name] += 1

    def first_is_out(row: int) -> None:
        if row == 0:
            began.set()
        if row == 1:
            assert ended.wait(20)

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    passed(models["second"], [AttentionWatch(lambda *_: counted("second"))], on_row=first_is_out)
    thread.join(20)
    assert not trouble
    assert counts == {name: tiny.layers for name, tiny in models.items()}
    assert nothing_is_left(models["first"].model) and nothing_is_left(models["second"].model)
    with wrapping_attention(lambda kernel, eager: kernel):
        assert AttentionInterface.__dict__["get_interface"] is not OWN_LOOKUP
    assert nothing_is_left(models["first"].model)


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "t5", "inkling2", "gemma3n_text"])
def test_many_positions_at_once_are_those_one_by_one(name: str) -> None:
    tiny = FAMILIES[name]()
    ids = tiny.inputs.get("decoder_input_ids", tiny.inputs["input_ids"])
    every = list(range(ids.shape[1]))
    together = passed(tiny, positions=every)
    for position in every:
        alone = passed(tiny, positions=[position])
        assert torch.equal(together.model_logits[position], alone.model_logits[0])
        for row in range(tiny.layers + 1):
            assert torch.equal(together.rows[row][position], alone.rows[row][0])
            torch.testing.assert_close(
                together.logits[row][position], alone.logits[row][0], atol=2e-5, rtol=1e-5
            )


@pytest.mark.parametrize("name", ["llava", "t5", "gemma3n_text"])
@pytest.mark.parametrize("inference", [False, True])
def test_gradients_are_those_of_a_plain_call(name: str, inference: bool) -> None:
    tiny = FAMILIES[name]()
    model = tiny.model
    lens, parts = learned(tiny)
    frozen = next(iter(parts.layers[0].parameters()))
    frozen.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    parameters = [each for each in parts.layers[1].parameters() if each.requires_grad]

    logits = model(**lens.on_device(tiny.inputs)).logits[:, -1].float()
    wanted = torch.autograd.grad(logits[0, 7], parameters, allow_unused=True)

    with torch.inference_mode(inference):
        found = passed(tiny, gradients=True)
        assert torch.is_inference_mode_enabled() == inference
    assert torch.equal(found.model_logits, logits)
    own = torch.autograd.grad(
        found.model_logits[0, 7], parameters, retain_graph=True, allow_unused=True
    )
    read = torch.autograd.grad(
        found.logits[-1][0, 7], parameters, retain_graph=True, allow_unused=True
    )
    assert any(each is not None and bool(each.any()) for each in wanted)
    for each, plain, through in zip(own, wanted, read, strict=True):
        assert (each is None) == (plain is None)
        if each is not None:
            torch.testing.assert_close(each, plain)
            torch.testing.assert_close(through, plain, atol=1e-5, rtol=1e-4)
    # The row between two layers carries its graph as well.
    (through,) = torch.autograd.grad(found.logits[2].sum(), parameters[:1], retain_graph=True)
    assert bool(through.any())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not passed(tiny).model_logits.requires_grad
    assert torch.is_grad_enabled()


def test_the_gradient_of_a_row_with_respect_to_an_edit() -> None:
    """The gradient of the answer by one layer's stream, against finite differences."""
    tiny = llama()
    layer = tiny.model.model.layers[1]
    shift = torch.zeros(32, requires_grad=True)
    found = passed(tiny, [Edit(layer, lambda stream: stream + shift)], gradients=True)
    (slope,) = torch.autograd.grad(found.model_logits[0, 5], [shift])
    step = torch.zeros(32)
    step[3] = 1e-2
    ahead, behind = (
        passed(tiny, [Edit(layer, partial(torch.add, by))]).model_logits[0, 5]
        for by in (step, -step)
    )
    assert float(slope[3]) == pytest.approx(float(ahead - behind) / 2e-2, rel=1e-2, abs=1e-4)


def broken(*_: Any) -> Any:
    raise RuntimeError("CUDA error: something broke")


@pytest.mark.parametrize(
    "attached",
    [
        lambda layer: Watch(layer, broken),
        lambda layer: Edit(layer, broken, "input"),
        lambda layer: AttentionWatch(broken),
        lambda layer: AttentionEdit(before=broken),
        lambda layer: AttentionEdit(after=broken),
    ],
)
@pytest.mark.parametrize("gradients", [False, True])
def test_after_an_error_nothing_is_left(
    attached: Callable[[nn.Module], Attached], gradients: bool
) -> None:
    tiny = llama()
    tiny.model.train()
    layer = tiny.model.model.layers[2]
    plain = passed(tiny)
    with pytest.raises(RuntimeError, match="something broke"):
        passed(tiny, [Edit(layer, same), attached(layer)], gradients=gradients)
    assert nothing_is_left(tiny.model)
    assert tiny.model.training and torch.is_grad_enabled()
    assert equal(plain, passed(tiny))


def test_after_a_cancelled_pass_nothing_is_left() -> None:
    tiny = llama()
    lens, parts = learned(tiny)
    forward = Forward(tiny.model, parts, lens.on_device(tiny.inputs), [-1])
    rows: list[int] = []

    def cancel(row: int, read: RowStream) -> None:
        rows.append(row)
        if row == 2:
            forward.cancelled.set()

    with pytest.raises(Cancelled):
        forward.run(cancel, attached=identities(parts))
    assert rows == [0, 1, 2]
    assert nothing_is_left(tiny.model)


def test_kinds_of_inputs_that_take_turns_keep_each_its_own_proof() -> None:
    """With a picture and without one, each pass is proved by the parts that it went through, though
    the other kind was learned or read between its start and its end."""
    tiny = llava()
    lens = Lens(tiny.model)
    kinds = {"picture": tiny.inputs, "words": text_inputs()}
    parts = {name: lens.learn(inputs) for name, inputs in kinds.items()}
    assert parts["picture"] is not parts["words"]
    assert lens.model_parts is parts["picture"]
    # Told apart by a tolerance that only one of them has.
    object.__setattr__(parts["words"], "dtype", torch.bfloat16)
    for first, second in (("picture", "words"), ("words", "picture")):
        begun = {name: lens.start(kinds[name]) for name in (first, second)}
        rows = {name: iter(begun[name]) for name in (first, second)}
        for name in (first, second):
            next(rows[name])
        for name in (second, first):
            for _ in rows[name]:
                pass
        limits = {name: begun[name].results[0].proof.tolerance for name in begun}
        assert limits["words"] >= 2**-7 and limits["picture"] < 2**-10
    batches = {
        name: lens.read_batch(lens.collated([inputs, inputs]), [(), ()], 5, unnormed=False)
        for name, inputs in kinds.items()
    }
    limits = {name: batch.items().proofs[0].tolerance for name, batch in batches.items()}
    assert limits["words"] >= 2**-7 and limits["picture"] < 2**-10
    lens.learn(kinds["words"])
    assert lens.model_parts is parts["picture"]
