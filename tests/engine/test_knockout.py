"""Attention knockout: the masks, against a softmax of one's own; the passes, against eager
attention and models that are given the mask; the method, on the bundled model and on hybrids."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

import samples
from engine import Lens
from engine.anatomy.attention_calls import AttentionCall
from engine.anatomy.watching import logits_in
from engine.asking.asking import Asking
from engine.errors import BadInput, Cancelled, CannotRead
from engine.lens import knockout as passes_of
from engine.lens.knockout import Knockouts
from engine.methods.asked_run import AskedRun
from engine.methods.knockout import (
    ELSEWHERE,
    NO_ATTENTION,
    NOT_ALL,
    OUT_OF_REACH,
    PLACEHOLDER,
    Knockout,
    KnockoutCell,
    KnockoutPart,
    KnockoutReading,
    KnockoutRequest,
    named_pairs,
    windows,
    windows_in_order,
)
from engine.methods.method import Subject, carry_out, read_whole
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.passes import knockout as masks
from engine.passes.edits import Attached, AttentionWatch
from engine.passes.forward import LOGITS_TO_KEEP, Forward
from engine.passes.knockout import Pairs, without
from engine.passes.own_keys import KeyWatch, OwnKeys, noise, own_keys
from engine.passes.vision_reuse import VisionCache
from engine.prompts.token_groups import picture_cells
from engine.records import Picture, PromptToken, Proof, Question, Run
from engine.system.stamps import new_run_id, now
from tests.conftest import hooks_of
from tests.families import FAMILIES, Tiny
from tests.families.llava import llava
from tests.families.parts import IMAGE_ID
from tests.families.text import llama

OWN_LOOKUP = AttentionInterface.__dict__["get_interface"]
REFUSED = {"blip", "git", "vision-encoder-decoder"}
"""They call softmax in their own code."""
QUICK = {"llava", "qwen2_5_vl", "gemma2", "t5gemma2", "minimax_m3_vl"}
"""No mask; sliding windows; additive masks and a soft-cap; keys of an encoder beside the own; a
mask for each head."""

every_family = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - REFUSED - {"pi0"})
    ],
)


# The masks


def eager(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **_: Any) -> Any:
    scores = query @ key.mT
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return (weights @ value).transpose(1, 2), weights


def call_of(
    mask: Any, kernel: Any = sdpa_attention_forward, length: int = 5, extra: int = 0, **kwargs: Any
) -> AttentionCall:
    torch.manual_seed(0)
    query = torch.randn(1, 2, length, 4)
    key, value = torch.randn(2, 1, 2, length + extra, 4)
    module = nn.Identity()
    module.is_causal = kwargs.pop("module_is_causal", True)
    return AttentionCall(module, query, key, value, mask, (), kwargs, kernel, eager)


def expected(call: AttentionCall, allowed: list[list[bool]], bias: Tensor | None = None) -> Tensor:
    """The output [1, queries, heads, width] of attention on the keys that are allowed, summed one
    by one; `bias` is [1, heads, queries, keys]."""
    _, heads, queries, width = call.query.shape
    out = torch.zeros(1, queries, heads, width, dtype=torch.float64)
    scale = 1.0 if call.kernel is eager else width**-0.5
    for head, query in itertools.product(range(heads), range(queries)):
        keys = [key for key, one in enumerate(allowed[query]) if one]
        scores = [
            float(call.query[0, head, query].double() @ call.key[0, head, key].double()) * scale
            + (0.0 if bias is None else float(bias[0, head, query, key]))
            for key in keys
        ]
        total = sum(map(math.exp, scores))
        for key, score in zip(keys, scores, strict=True):
            out[0, query, head] += math.exp(score) / total * call.value[0, head, key].double()
    return out


def seen(length: int, forbidden: Sequence[tuple[int, int]] = (), keys: int = 0) -> list[list[bool]]:
    """What a causal model may look at, but for these pairs (query, key)."""
    return [
        [key <= query and (query, key) not in forbidden for key in range(keys or length)]
        for query in range(length)
    ]


def assert_output(call: AttentionCall, allowed: list[list[bool]], **more: Any) -> None:
    output, _ = call.run()
    assert not output.isnan().any()
    torch.testing.assert_close(output.double(), expected(call, allowed, **more), atol=2e-6, rtol=0)


CAUSAL = torch.tensor(seen(5))[None, None]
LOWEST = torch.finfo(torch.float32).min
PAIRS = Pairs(sources=(0, 2), targets=(2, 4))
PAIRED = [(2, 0), (4, 0), (4, 2)]


def additive(lowest: float) -> Tensor:
    return torch.zeros(CAUSAL.shape).masked_fill(~CAUSAL, lowest)


@pytest.mark.parametrize(
    ("mask", "kernel"),
    [
        (None, sdpa_attention_forward),
        (CAUSAL, sdpa_attention_forward),
        (CAUSAL.expand(1, 2, 5, 5), sdpa_attention_forward),
        (additive(LOWEST), sdpa_attention_forward),
        (additive(-math.inf), sdpa_attention_forward),
        (additive(-1e9), sdpa_attention_forward),
        (additive(LOWEST), eager),
    ],
)
def test_forbidden_pairs_have_no_part_in_the_softmax(mask: Any, kernel: Any) -> None:
    call = call_of(mask, kernel)
    made = without(call, PAIRS.matrix(5), 0)
    assert made is not None
    changed, blocked = made
    assert sorted({(q, k) for _, _, q, k in blocked.nonzero().tolist()}) == PAIRED
    assert_output(changed, seen(5, PAIRED))
    if isinstance(mask, Tensor):
        assert changed.mask.dtype == mask.dtype
        assert torch.equal(call.mask, mask)  # the model uses its own for other layers
    if isinstance(mask, Tensor) and mask.is_floating_point():
        assert (changed.mask[blocked] == mask[0, 0, 0, 4].clamp_max(LOWEST)).all()


def test_without_a_mask_the_kernel_decides_what_is_seen() -> None:
    """A causal call without one sees nothing ahead; others, and eager attention, everything."""
    everything = [[(q, k) not in PAIRED for k in range(5)] for q in range(5)]
    for call, allowed in (
        (call_of(None, is_causal=True, module_is_causal=False), seen(5, PAIRED)),
        (call_of(None, is_causal=False), [[*row] for row in everything]),
        (call_of(None, module_is_causal=False), [[*row] for row in everything]),
        (call_of(None, eager), [[*row] for row in everything]),
    ):
        made = without(call, Pairs((0, 2), (4,)).matrix(5) | PAIRS.matrix(5), 0)
        assert made is not None
        assert_output(made[0], allowed)


def test_a_single_query_without_a_mask_sees_everything() -> None:
    call = call_of(None, length=1, extra=2)
    made = without(call, torch.ones(1, 1, dtype=torch.bool), 1)
    assert made is not None
    assert_output(made[0], [[True, False, True]])


def test_keys_of_others_come_first() -> None:
    """Two keys that are not the sequence's own stand before them, and are not forbidden."""
    allowed = [[True, True, *row] for row in seen(5)]
    call = call_of(torch.tensor(allowed)[None, None], extra=2)
    made = without(call, PAIRS.matrix(5), 2)
    assert made is not None
    assert_output(made[0], [[True, True, *row] for row in seen(5, PAIRED)])
    hidden = torch.tensor([[False, False, *row] for row in seen(5)])[None, None]
    made = without(call_of(hidden, extra=2), torch.ones(5, 5, dtype=torch.bool), 2)
    assert made is not None
    itself = [[key == query + 2 for key in range(7)] for query in range(5)]
    assert_output(made[0], itself)


def test_heads_with_masks_of_their_own_keep_their_differences() -> None:
    biases = torch.randn(1, 2, 5, 5).masked_fill(~CAUSAL, LOWEST)
    call = call_of(biases)
    made = without(call, PAIRS.matrix(5), 0)
    assert made is not None
    assert_output(made[0], seen(5, PAIRED), bias=biases)
    sparse = CAUSAL.repeat(1, 2, 1, 1)
    sparse[0, 1, 4, 2] = False  # in one head it could not be looked at anyway
    made = without(call_of(sparse), PAIRS.matrix(5), 0)
    assert made is not None
    assert made[1][0, :, 4, 2].tolist() == [True, False]


def test_nothing_that_is_forbidden_was_allowed() -> None:
    """Then the call is made as it is, to the bit: also by a kernel that takes no mask at all."""
    for mask in (None, CAUSAL, additive(LOWEST), additive(-math.inf)):
        for pairs in (Pairs((), ()), Pairs((3, 4), (1, 2)), Pairs((2,), (2,))):
            assert without(call_of(mask), pairs.matrix(5), 0) is None
    window = CAUSAL & ~CAUSAL.tril(-2)  # the token itself and the one before
    assert without(call_of(window), Pairs((0, 1), (4,)).matrix(5), 0) is None


def test_a_sliding_window_stays_as_it_is() -> None:
    window = CAUSAL & ~CAUSAL.tril(-2)
    made = without(call_of(window), Pairs((0, 1, 3), (4,)).matrix(5), 0)
    assert made is not None
    assert made[1].nonzero().tolist() == [[0, 0, 4, 3]]
    changed = window.clone()
    changed[..., 4, 3] = False
    assert torch.equal(made[0].mask, changed)


@pytest.mark.parametrize("lowest", [None, LOWEST, -math.inf])
def test_a_query_keeps_itself_if_nothing_else_is_left(lowest: float | None) -> None:
    """Also where its own key had been masked; and a query of padding, which sees nothing, is left
    as it was."""
    allowed = CAUSAL.clone()
    allowed[..., 3, 3] = False  # sees only what comes before
    allowed[..., 1, :] = False  # padding
    mask = allowed
    if lowest is not None:
        mask = torch.zeros(CAUSAL.shape).masked_fill(~allowed, lowest)
    forbidden = torch.ones(5, 5, dtype=torch.bool)  # even itself
    made = without(call_of(mask), forbidden, 0)
    assert made is not None
    changed = made[0].mask
    if lowest is not None:
        changed = changed > -1e4
    only_itself = torch.eye(5, dtype=torch.bool)[None, None].clone()
    only_itself[..., 1, 1] = False
    assert torch.equal(changed, only_itself)
    assert not made[1][..., 3, 3] and not made[1][..., 1, :].any()
    output, _ = made[0].run()
    rows = [0, 2, 3, 4]
    values = made[0].value.transpose(1, 2)
    torch.testing.assert_close(output[:, rows], values[:, rows], atol=1e-6, rtol=0)


def test_masks_that_hold_no_pairs_are_refused_by_name() -> None:
    forbidden = PAIRS.matrix(5)

    def flash_attention_forward(*_: Any, **__: Any) -> Any:
        raise AssertionError

    for call, said in (
        (call_of(SimpleNamespace()), "Identity masks with a SimpleNamespace"),
        (call_of(torch.ones(1, 5)), r"Identity takes a mask \[1, 5\] of torch.float32"),
        (call_of(torch.ones(1, 1, 5, 5, dtype=torch.int64)), "of torch.int64"),
        (call_of(torch.ones(1, 1, 5, 9)), r"\[1, 1, 5, 9\]"),
        (call_of(None, flash_attention_forward), "Identity runs flash_attention_forward"),
    ):
        with pytest.raises(CannotRead, match=said):
            without(call, forbidden, 0)
    for first, length in ((1, 5), (0, 6)):
        with pytest.raises(CannotRead, match="5 queries and 5 keys"):
            without(call_of(None), Pairs((), ()).matrix(length), first)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_weight_that_is_not_zero_is_noticed(heads: int) -> None:
    """A pair that slips through the mask moves the target's output: also where only one of the
    heads could have looked there at all."""
    mask = CAUSAL.repeat(1, heads, 1, 1)
    mask[0, 1:, 4, 2] = False
    call = call_of(mask)
    editor = masks.Knockout(Pairs((2,), (4,)).matrix(5), {call.module: 0})
    changed = editor._before(call)
    output, _ = changed.run()
    assert editor._after(changed, output) is output
    assert (editor.edited, editor.leak) == (1, 0.0)
    output, _ = call.run()  # with that pair
    editor._blocked = call, mask & ~changed.mask
    editor._after(call, output)
    assert editor.leak > 1e3


@pytest.mark.parametrize("when", [0, 1])
def test_an_output_that_is_not_a_number_proves_nothing(when: int) -> None:
    editor = masks.Knockout(Pairs((2,), (4,)).matrix(5), {})
    for number in range(2):
        call = call_of(CAUSAL)
        editor._own = {call.module: 0}
        changed = editor._before(call)
        output, _ = changed.run()
        if number == when:
            output[0, 4, 1, 0] = math.nan
        editor._after(changed, output)
    assert (editor.edited, editor.leak) == (2, math.inf)


# The passes


class Passes:
    """Passes of a tiny model that are edited without `Knockouts`."""

    def __init__(self, tiny: Tiny) -> None:
        self.model, self.lens = tiny.model, Lens(tiny.model)
        self.parts, self._inputs = self.lens.learn(tiny.inputs), self.lens.on_device(tiny.inputs)
        self.length = 0
        plain, noisy = KeyWatch(self.parts.layers), KeyWatch(self.parts.layers)
        self.run(plain)
        self.run(*noise(self.parts.layers), noisy)
        self.own = own_keys(plain, noisy, self.length)

    def run(self, *attached: Attached) -> Tensor:
        """The logits at the last position."""
        forward = Forward(self.model, self.parts, self._inputs, [-1])
        logits = forward.run(lambda row, read: None, attached=attached)
        self.length = forward.length
        return logits

    def knocked(self, pairs: Pairs) -> tuple[Tensor, list[tuple[nn.Module, Tensor | None]]]:
        """The same with pairs forbidden in all layers, and the weights of every attention call."""
        editor = masks.Knockout(pairs.matrix(self.length), self.own.first)
        calls: list[tuple[nn.Module, Tensor | None]] = []
        watch = AttentionWatch(lambda call, _, weights: calls.append((call.module, weights)))
        logits = self.run(editor, watch)
        assert editor.leak == 0.0
        return logits, calls


@every_family
def test_nothing_forbidden_changes_nothing_to_the_bit(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    found = Knockouts(lens, tiny.inputs, [-1])
    assert found.gap == 0.0
    assert found._passes.vision is not None and found._passes.vision.hits
    inputs = lens.on_device(tiny.inputs)
    if lens.supports_logits_to_keep(tiny.inputs):
        inputs[LOGITS_TO_KEEP] = torch.tensor([found.length - 1])
    with torch.no_grad():
        whole = tiny.model(**inputs)
    assert torch.equal(found.clean, logits_in(whole)[:, -1].float())
    assert found.clean.isfinite().any()
    assert nothing_is_left(tiny.model)


@every_family
def test_forbidden_pairs_have_no_weight_in_eager_attention(name: str) -> None:
    """The model's own eager attention, with the same pairs forbidden, gives the same logits as its
    own kernel; and the weights that it returns are exactly 0 there, at no other allowed place."""
    results = []
    broken = name == "unlimited_ocr"  # its eager attention, in transformers
    for implementation in ("its own",) if broken else ("its own", "eager"):
        tiny = FAMILIES[name]()
        if implementation == "eager":
            tiny.model.set_attn_implementation(implementation)
        passes = Passes(tiny)
        length, own = passes.length, passes.own.first
        pairs = Pairs(tuple(range(1, length - 2)), (length - 2, length - 1))
        plain, before = passes.knocked(Pairs((), ()))
        logits, calls = passes.knocked(pairs)
        assert not torch.equal(logits, plain)
        results.append(logits)
        read = [
            (own[module], weights, plainly)
            for (module, weights), (_, plainly) in zip(calls, before, strict=True)
            if weights is not None and plainly is not None and module in own
        ]
        assert read or implementation != "eager"
        for number, (first, weights, plainly) in enumerate(read):
            forbidden = torch.zeros(plainly.shape[-2:], dtype=torch.bool)
            for target, source in itertools.product(pairs.targets, pairs.sources):
                forbidden[target, first + source] = target != source
            assert not weights[..., forbidden].any()
            assert weights.sum(-1).gt(0.01).all()
            if number == 0:  # later layers may choose other keys by what they now hold
                others = (plainly != 0) & ~forbidden
                assert torch.equal(weights != 0, others)
    torch.testing.assert_close(results[0], results[-1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_a_model_that_is_given_the_mask(name: str) -> None:
    pairs = Pairs((1, 2, 3), (4, 6))
    tiny = FAMILIES[name]()
    passes = Passes(tiny)
    found, _ = passes.knocked(pairs)
    length = tiny.inputs["input_ids"].shape[1]
    other = FAMILIES[name]()
    other.model.set_attn_implementation("eager")
    allowed = torch.tensor(seen(length, [*itertools.product((4, 6), (1, 2, 3))]))
    mask = torch.zeros(1, 1, length, length).masked_fill(~allowed, LOWEST)
    with torch.no_grad():
        given = other.model(input_ids=tiny.inputs["input_ids"], attention_mask=mask).logits
    torch.testing.assert_close(found, given[:, -1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, passes.run(), atol=1e-3)


def test_only_the_layers_of_the_window_are_edited() -> None:
    """Rows up to the window are those of the clean pass; the layer in it changes its targets only,
    as attention over the same values shows."""
    tiny = llava()
    found = Knockouts(Lens(tiny.model), tiny.inputs, [-1])
    rows: list[Tensor] = []

    def kept(stream: Tensor) -> None:
        rows.append(stream)

    handles = [
        layer.register_forward_hook(lambda module, args, output: kept(output))
        for layer in found.layers
    ]
    source, target = 2, found.length - 3
    clean = found.knocked(Pairs((), ()), range(6))
    forbidden = found.knocked(Pairs((source,), (target,)), range(3, 5))
    for handle in handles:
        handle.remove()
    assert (clean.edited, forbidden.edited) == (0, 2)
    before, after = rows[:6], rows[6:]
    for layer in range(6):
        same = [
            bool((a == b).all()) for a, b in zip(before[layer][0], after[layer][0], strict=True)
        ]
        assert all(same[:target])
        assert same[target] == (layer < 3)
        if layer == 3:  # written with a mask, the others differ by rounding at most
            rest = [place for place in range(found.length) if place != target]
            torch.testing.assert_close(before[layer][0, rest], after[layer][0, rest])


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_attention_in_the_models_own_code_is_refused_by_name(name: str) -> None:
    tiny = FAMILIES[name]()
    with pytest.raises(CannotRead, match=f"{type(tiny.model).__name__} has no attention among"):
        Knockouts(Lens(tiny.model), tiny.inputs, [-1])
    assert nothing_is_left(tiny.model)


@pytest.mark.parametrize(
    ("name", "firsts", "elsewhere"),
    [
        ("llava", {0}, False),
        ("pp_formulanet", {0}, True),  # as many keys of the encoder as of its own
        ("t5gemma2", {0}, True),  # both in one call
        pytest.param("diffusion_gemma", {3, 10}, True, marks=pytest.mark.slow),  # the prompt first
        pytest.param("mllama", {0}, True, marks=pytest.mark.slow),
    ],
)
def test_keys_of_anything_else_are_told_apart(name: str, firsts: set[int], elsewhere: bool) -> None:
    tiny = FAMILIES[name]()
    own = Passes(tiny).own
    assert {*own.first.values()} == firsts
    assert own.elsewhere == elsewhere
    found = Knockouts(Lens(tiny.model), tiny.inputs, [-1])
    edited = found.knocked(Pairs((0,), (found.length - 1,)), range(len(found.layers))).edited
    assert edited == sum(found.attending) == len(own.first)


def test_keys_that_are_not_the_tokens_are_refused() -> None:
    module = nn.Identity()

    def watch(*calls: list[float]) -> KeyWatch:
        made = KeyWatch([])
        made.numbers = {module: [torch.tensor(call) for call in calls]}
        return made

    one = watch([1.0, 2.0, 3.0])
    assert own_keys(one, watch([1.0, 2.5, 3.5]), 2) == OwnKeys({module: 1}, elsewhere=True)
    assert own_keys(one, watch([1.5, 2.5, 3.5]), 3) == OwnKeys({module: 0}, elsewhere=False)
    assert own_keys(one, one, 3) == OwnKeys({}, elsewhere=True)
    for other in (
        watch([1.5, 2.0, 3.5]),  # with a gap
        watch([1.0, 2.0, 3.5]),  # fewer than tokens
        watch([1.5, 2.5, 3.5]),  # more
        watch([1.0, 2.5]),
        watch([1.0, 2.5, 3.5], [1.0, 2.5, 3.5]),
    ):
        with pytest.raises(CannotRead, match="the keys of Identity are not one for each of the 2"):
            own_keys(one, other, 2)
    both = watch([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    with pytest.raises(CannotRead, match="not one for each"):  # own keys once, an encoder's then
        own_keys(both, watch([1.0, 2.5, 3.5], [1.0, 2.0, 3.0]), 2)


def test_the_vision_tower_runs_once_and_where_a_model_attends_is_remembered() -> None:
    tiny = llava()
    lens = Lens(tiny.model)
    lens.supports_logits_to_keep(tiny.inputs)
    seen_by: list[str] = []
    vision = tiny.model.model.vision_tower
    inner = next(module for module in vision.modules() if isinstance(module, nn.Conv2d))
    inner.register_forward_hook(lambda *_: seen_by.append("vision"))
    tiny.model.model.language_model.norm.register_forward_hook(lambda *_: seen_by.append("pass"))
    found = Knockouts(lens, tiny.inputs, [-1])
    found.knocked(Pairs((0,), (3,)), range(2))
    assert seen_by.count("vision") == 1
    assert seen_by.count("pass") == 5  # plain, two that look for keys, clean, and this
    Knockouts(lens, tiny.inputs, [-1])
    assert seen_by.count("vision") == 2
    assert seen_by.count("pass") == 7


def test_the_head_is_applied_to_the_positions_alone_where_that_is_proved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = llava()
    lens = Lens(tiny.model)
    lens.supports_logits_to_keep(tiny.inputs)
    lengths: list[int] = []
    tiny.model.lm_head.register_forward_hook(
        lambda module, args, output: lengths.append(output.shape[1])
    )

    def passed() -> tuple[Tensor, Tensor]:
        found = Knockouts(lens, tiny.inputs, [-1, 3, -1])
        assert found.gap == 0.0
        return found.clean, found.knocked(Pairs((0,), (3,)), range(6)).logits

    few = passed()
    assert len(lengths) == 5 and {*lengths} == {2}
    lengths.clear()
    monkeypatch.setattr(Lens, "supports_logits_to_keep", lambda *_: False)
    every = passed()
    assert {*lengths} == {tiny.inputs["input_ids"].shape[1]}
    torch.testing.assert_close(few, every, atol=1e-5, rtol=1e-5)
    for clean, knocked in (few, every):
        assert torch.equal(clean[0], clean[2]) and not torch.allclose(clean[0], clean[1])
        assert not torch.allclose(clean[1], knocked[1])


def test_a_vision_pass_that_cannot_be_used_again_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = llava()
    right = Knockouts(Lens(tiny.model), tiny.inputs, [-1])
    own = VisionCache._answering

    def wrong(self: VisionCache, module: Any, fresh: Any) -> Callable[..., Any]:
        answer = own(self, module, fresh)

        def answered(*args: Any, **kwargs: Any) -> Any:
            hits = self.hits
            output = answer(*args, **kwargs)
            if self.hits == hits or not isinstance(output, Tensor):
                return output
            return output * 1.01

        return answered

    monkeypatch.setattr(VisionCache, "_answering", wrong)
    found = Knockouts(Lens(tiny.model), tiny.inputs, [-1])
    assert found._passes.vision is None
    assert found.gap == 0.0
    assert torch.equal(found.clean, right.clean)


def nothing_is_left(model: nn.Module) -> bool:
    patched = [module for module in model.modules() if "forward" in module.__dict__]
    own_lookup = AttentionInterface.__dict__["get_interface"] is OWN_LOOKUP
    return hooks_of(model) == 0 and not patched and own_lookup


def test_a_pass_is_cancelled_within_one_layer() -> None:
    tiny = llava()
    stopping = threading.Event()
    asked = threading.Event()

    def stop() -> bool:
        if stopping.is_set():
            asked.set()
        return stopping.is_set()

    found = Knockouts(Lens(tiny.model), tiny.inputs, [-1], stop)
    entered: list[int] = []

    def slow(index: int) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            entered.append(index)
            if index == 2:
                stopping.set()
                assert asked.wait(60)  # by the thread that waits for the pass

        return enter

    for index, layer in enumerate(found.layers):
        attention: Any = layer.self_attn
        attention.register_forward_pre_hook(slow(index))
    with pytest.raises(Cancelled):
        found.knocked(Pairs((0,), (3,)), range(6))
    assert entered in ([0, 1, 2], [0, 1, 2, 3])  # it is told a moment after it was asked for
    assert nothing_is_left(tiny.model)
    entered.clear()
    with pytest.raises(Cancelled):
        found.knocked(Pairs((0,), (3,)), range(6))
    assert not entered


def test_finding_out_which_logits_can_be_kept_is_cancelled_within_one_layer() -> None:
    tiny = llava()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    entered: list[int] = []
    for index, layer in enumerate(lens.layers):
        layer.register_forward_hook(lambda *_, index=index: entered.append(index))
    after = 0

    def stop() -> bool:
        return len(entered) >= after

    for after in (2, 8):  # in the first pass, in the second
        entered.clear()
        with pytest.raises(Cancelled):
            Knockouts(lens, tiny.inputs, [-1], stop)
        assert len(entered) in (after, after + 1)  # it is told when the next layer is entered
        assert nothing_is_left(tiny.model)
    assert lens.supports_logits_to_keep(tiny.inputs)


def test_a_refusal_in_the_middle_of_a_pass_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = llama()
    found = Knockouts(Lens(tiny.model), tiny.inputs, [-1])

    def refuse(*_: Any) -> Any:
        raise CannotRead("no")

    monkeypatch.setattr(masks, "without", refuse)
    with pytest.raises(CannotRead, match="no"):
        found.knocked(Pairs((0,), (3,)), range(2))
    assert nothing_is_left(tiny.model)


# The method


COLOUR = Question("Color of the main object:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    asking = Asking(bundled, COLOUR)
    return AskedRun(asking, asking.run())


def read(run: AskedRun, **settings: Any) -> KnockoutReading:
    reading = run.read(Knockout(), request_of(Knockout(), settings))
    assert isinstance(reading, KnockoutReading)
    return reading


def cell_of(reading: KnockoutReading, source: str, target: str, layers: Any) -> KnockoutCell:
    (found,) = [
        each
        for each in reading.cells
        if (each.source, each.target, each.layers) == (source, target, layers)
    ]
    return found


def test_the_colour_cannot_be_told_without_looking_at_the_picture(asked: AskedRun) -> None:
    """It is read in layers 4 to 7, by the last position itself; which question was asked in the
    first layers. The numbers are those of logits that are read here once more."""
    reading = read(asked, window=4)
    assert reading.proof is not None and reading.proof.passed
    assert reading.answer.text == " yellow"
    whole = [(0, 9), (0, 3), (4, 7), (8, 9)]
    assert [each.layers for each in reading.cells] == whole * 4
    pairs = [(each.source, each.target) for each in reading.cells[::4]]
    assert pairs == [
        ("picture", "last"), ("picture", "question"), ("question", "last"), ("first", "all")
    ]  # fmt: skip
    taken = {layers: cell_of(reading, "picture", "last", layers).answer for layers in whole}
    assert [each is not None and each.text == " yellow" for each in taken.values()] == [
        False, True, False, True
    ]  # fmt: skip
    effects = {
        layers: reading.effect(cell_of(reading, "picture", "last", layers)) for layers in whole
    }
    assert min((4, 7), (0, 3), (8, 9), key=lambda layers: effects[layers] or 0.0) == (4, 7)
    early = cell_of(reading, "question", "last", (0, 3)).answer
    assert early is not None and early.text in (" sphere", " cube", " cylinder")

    passes = Knockouts(asked.subject.loaded.lens, asked.subject.inputs, [asked.run.position])
    tokens = asked.run.tokens
    pictured = tuple(place for place, token in enumerate(tokens) if token.kind == "image")
    found = passes.knocked(Pairs(pictured, (len(tokens) - 1,)), range(4, 8)).logits[0]
    shares = found.double().softmax(-1)
    cell = cell_of(reading, "picture", "last", (4, 7))
    assert cell.answer is not None and cell.log_probability is not None
    assert cell.answer.id == int(shares.argmax())
    assert cell.answer.probability == pytest.approx(float(shares.max()), rel=1e-5)
    assert cell.answer.logit == float(found.max())
    assert cell.log_probability == pytest.approx(math.log(shares[reading.answer.id]), abs=1e-5)
    clean = asked.run.rows[-1].top[0]
    assert (reading.answer.id, reading.answer.text) == (clean.id, clean.text)
    assert reading.log_probability == pytest.approx(math.log(clean.probability), abs=1e-6)
    effect = reading.effect(cell)
    assert effect == cell.log_probability - (reading.log_probability or 0.0)


def test_cells_come_coarse_to_fine(asked: AskedRun) -> None:
    request = request_of(Knockout(), {"from": "picture,first", "to": "last", "window": 2})
    *parts, reading = carry_out(Knockout(), asked.subject, request, lambda: False)
    assert isinstance(reading, KnockoutReading)
    assert all(isinstance(part, KnockoutPart) for part in parts)
    cells = [cell for part in parts if isinstance(part, KnockoutPart) for cell in part.cells]
    order = [(0, 9), (0, 1), (8, 9), (4, 5), (2, 3), (6, 7)]
    assert [cell.layers for cell in cells[::2]] == order
    assert [cell.layers for cell in cells[1::2]] == order
    assert {cell.source for cell in cells[::2]} == {"picture"}
    assert sorted(cells, key=repr) == sorted(reading.cells, key=repr)
    for number, part in enumerate(parts, 1):
        assert isinstance(part, KnockoutPart)
        assert (part.done, part.of) == (number, 12)
        assert (part.position, part.answer) == (reading.position, reading.answer)
        assert part.log_probability == reading.log_probability


def test_windows_tile_the_layers_and_halve_the_gaps() -> None:
    assert windows(10, 4) == (range(10), range(4), range(4, 8), range(8, 10))
    assert windows(4, 4) == (range(4),)
    assert windows(1, 1) == (range(1),)
    whole, *order = windows_in_order(32, 4)
    assert whole == range(32)
    assert [each.start for each in order] == [0, 16, 8, 24, 4, 12, 20, 28]
    for layers, window in itertools.product(range(1, 40), range(1, 12)):
        in_order = windows_in_order(layers, min(window, layers))
        assert in_order[0] == range(layers)
        assert sorted(map(repr, in_order)) == sorted(
            map(repr, windows(layers, min(window, layers)))
        )
        if len(in_order) > 1:
            covered = [layer for each in in_order[1:] for layer in each]
            assert sorted(covered) == [*range(layers)]


def test_the_default_window_is_four_layers_of_a_small_model(asked: AskedRun) -> None:
    settings = {"from": "first", "to": "last"}
    reading = read(asked, **settings)
    assert (reading.window, len(reading.cells)) == (4, 4)
    for window in (10, 100):
        reading = read(asked, **settings, window=window)
        assert (reading.window, len(reading.cells)) == (10, 1)
    tiny = llama(layers=41)
    deep = read_whole(Knockout(), subject_of(tiny), request_of(Knockout(), settings))
    assert isinstance(deep, KnockoutReading)
    assert deep.window == 5
    assert [cell.layers for cell in deep.cells][-2:] == [(35, 39), (40, 40)]


def tokens_of(*kinds: str) -> tuple[PromptToken, ...]:
    """Tokens by letter: template, a patch of the picture, a mark beside it, question."""
    parts = {"t": "template", "p": "picture", "m": "picture", "q": "prompt"}
    return tuple(
        PromptToken(0, "", "image" if kind == "p" else "text", parts[kind])  # type: ignore[arg-type]
        for kind in kinds
    )


def run_of(tokens: tuple[PromptToken, ...], **changes: Any) -> Run:
    made = Run(
        id=new_run_id(),
        created=now(),
        status="done",
        layers=4,
        question=Question("?"),
        tokens=tokens,
        position=len(tokens) - 1,
        rows=(),
    )
    return structs.replace(made, **changes)


def pairs_of(
    run: Run, position: int, sources: Sequence[str] = (), targets: Sequence[str] = ()
) -> tuple[dict[str, tuple[tuple[int, ...], tuple[int, ...]]], list[str]]:
    request = KnockoutRequest(sources=tuple(sources), targets=tuple(targets))
    found, notes = named_pairs(run, request, position)
    return {f"{each.source}>{each.target}": (each.sources, each.targets) for each in found}, notes


def test_what_the_names_stand_for() -> None:
    run = run_of(tokens_of(*"ttppqqqt"))
    assert pairs_of(run, 7) == (
        {
            "picture>last": ((2, 3), (7,)),
            "picture>question": ((2, 3), (4, 5, 6)),
            "question>last": ((4, 5, 6), (7,)),
            "first>all": ((0,), (0, 1, 2, 3, 4, 5, 6, 7)),
        },
        [],
    )
    marked = run_of(tokens_of(*"tmppmpmqt"))
    found, _ = pairs_of(marked, 8, ["picture", "marks"])
    assert found == {"picture>last": ((2, 3, 5), (8,)), "marks>last": ((1, 4, 6), (8,))}
    assert found["picture>last"][0] == picture_cells(marked.tokens)  # where attention has its maps
    found, _ = pairs_of(run, 5, ["question", "3", "first", "4-6"], ["last", "all", "-1"])
    assert found == {
        "question>last": ((4, 6), (5,)),
        "question>all": ((4, 6), (0, 1, 2, 3, 4, 5)),
        "question>-1": ((4, 6), (7,)),
        "first>last": ((0,), (5,)),
        "first>all": ((0,), (0, 1, 2, 3, 4, 5)),
        "first>-1": ((0,), (7,)),
        "3,4-6>last": ((3, 4, 5, 6), (5,)),
        "3,4-6>all": ((3, 4, 5, 6), (0, 1, 2, 3, 4, 5)),
        "3,4-6>-1": ((3, 4, 5, 6), (7,)),
    }
    assert list(pairs_of(run, 7, ["all"])[0]) == ["all>last"]
    assert list(pairs_of(run, 7, (), ["question"])[0]) == [
        "picture>question", "question>question"
    ]  # fmt: skip


def test_groups_without_tokens_are_left_out_with_a_note() -> None:
    run = run_of(tokens_of(*"tqqq"))  # its last token is part of the question
    found, notes = pairs_of(run, 3)
    assert list(found) == ["question>last", "first>all"]
    assert found["question>last"] == ((1, 2), (3,))
    assert notes == ["left out, for want of such tokens: picture -> last, picture -> question"]
    with pytest.raises(BadInput, match="this run has no tokens for picture -> last"):
        pairs_of(run, 3, ["picture"], ["last"])
    with pytest.raises(BadInput, match="no tokens for 3 -> last"):  # it may look at itself
        pairs_of(run, 3, ["3"], ["last"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"from": "picutre"}, "from=picutre: write picture, marks, question, first, last, all, or"),
        ({"to": "3-"}, "to=3-: write picture"),
        ({"from": "400"}, "there is no position 400"),
        ({"from": "3-400"}, "there is no position 400"),
        ({"from": "3-999999999"}, "there is no position 999999999"),
        ({"from": "-400"}, "there is no position -400"),
        ({"position": "400"}, "there is no position 400"),
        ({"window": "-1"}, "window=: "),
        ({"from": "9-7"}, "no tokens for 9-7 -> last"),
    ],
)
def test_requests_that_cannot_be_answered(
    asked: AskedRun, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read(asked, **settings)
    assert said in str(caught.value)


def test_another_position_has_its_own_answer(asked: AskedRun) -> None:
    position = asked.run.position - 3
    reading = read(asked, position=position, window=10, **{"from": "picture", "to": "last"})
    assert reading.position == position
    with torch.no_grad():
        lens = asked.subject.loaded.lens
        logits = lens.model(**lens.on_device(asked.subject.inputs)).logits[0, position]
    assert reading.answer.id == int(logits.argmax())
    assert reading.answer.logit == pytest.approx(float(logits.max()), rel=1e-5)
    assert reading.log_probability == pytest.approx(
        float(logits.double().log_softmax(-1).max()), abs=1e-5
    )
    assert reading.proof is not None and reading.proof.passed


def test_a_proof_that_fails_is_told(asked: AskedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"from": "first", "to": "last", "window": 10}
    passed = read(asked, **settings).proof
    assert passed is not None and passed.passed and passed.error is not None
    assert asked.run.proof is not None
    assert passed.error <= passed.tolerance == 2 * asked.run.proof.tolerance

    def verdict() -> tuple[bool, float | None]:
        proof = read_whole(Knockout(), subject, request_of(Knockout(), settings)).proof
        assert proof is not None
        return proof.passed, proof.error

    subject = asked.subject
    top = asked.run.rows[-1].top
    wrong = structs.replace(top[0], probability=top[0].probability * 0.99)
    rows = (*asked.run.rows[:-1], structs.replace(asked.run.rows[-1], top=(wrong, *top[1:])))
    subject = dataclasses.replace(subject, run=structs.replace(asked.run, rows=rows))
    passes_it, error = verdict()
    assert not passes_it
    assert error == pytest.approx(-math.log(0.99), rel=1e-3)
    subject = asked.subject
    with monkeypatch.context() as patch:
        patch.setattr(masks.Knockout, "leak", 1e-9)
        assert verdict()[0] is False
        patch.setattr(masks.Knockout, "leak", math.inf)
        assert verdict() == (False, None)
    made = Knockouts.__init__

    def with_gap(self: Knockouts, *args: Any) -> None:
        made(self, *args)
        self.gap = math.inf

    with monkeypatch.context() as patch:
        patch.setattr(Knockouts, "__init__", with_gap)
        assert verdict() == (False, None)


def subject_of(tiny: Tiny) -> Subject:
    """A run of a tiny model; all of its tokens but the first, and the picture's, are the
    question's."""
    lens = Lens(tiny.model)
    rows = tuple(lens.stream(tiny.inputs))
    ids = tiny.inputs.get("decoder_input_ids", tiny.inputs["input_ids"])
    run = run_of(
        tokens_of("t", *("p" if each == IMAGE_ID else "q" for each in ids[0, 1:].tolist())),
        layers=tiny.layers,
        rows=rows,
        proof=Proof(0.0, 1e-4, passed=True, method="tail"),
    )
    loaded: Any = SimpleNamespace(lens=lens, model=tiny.model)
    return Subject(loaded, run, tiny.inputs)


def test_layers_without_attention_have_a_reason_and_no_number() -> None:
    subject = subject_of(FAMILIES["qwen3_5"]())  # layers 0 and 2 are recurrent
    settings = {"from": "first", "to": "last", "window": 1}
    reading = read_whole(Knockout(), subject, request_of(Knockout(), settings))
    assert isinstance(reading, KnockoutReading)
    assert [cell.layers for cell in reading.cells] == [(0, 3), (0, 0), (1, 1), (2, 2), (3, 3)]
    for cell in reading.cells:
        attends = cell.layers not in ((0, 0), (2, 2))
        assert (cell.reason is None, cell.answer is not None) == (attends, attends)
        assert (cell.log_probability is not None, reading.effect(cell) is not None) == (
            attends, attends
        )  # fmt: skip
    assert reading.cells[1].reason == NO_ATTENTION
    assert reading.notes == (NOT_ALL.format(layers="0, 2"),)
    assert reading.proof is not None and reading.proof.passed
    wide = read_whole(Knockout(), subject, request_of(Knockout(), {**settings, "window": 2}))
    assert isinstance(wide, KnockoutReading)
    assert all(cell.reason is None for cell in wide.cells)
    effects, cells = Knockout().tables(reading)
    assert effects.rows[1][1] is None and isinstance(effects.rows[2][1], float)
    assert cells.rows[1][3:] == (None, None, None, NO_ATTENTION)
    assert reading.notes[0] in effects.notes


def test_what_is_out_of_a_windows_reach_has_a_reason() -> None:
    subject = subject_of(FAMILIES["qwen2_5_vl"]())  # layers 2 and 3 see four tokens
    reading = read_whole(
        Knockout(), subject, request_of(Knockout(), {"from": "0-3", "to": "last", "window": "1"})
    )
    assert isinstance(reading, KnockoutReading)
    reasons = {cell.layers: cell.reason for cell in reading.cells}
    assert reasons == {
        (0, 3): None, (0, 0): None, (1, 1): None, (2, 2): OUT_OF_REACH, (3, 3): OUT_OF_REACH
    }  # fmt: skip


def test_cross_attention_is_left_alone_and_said() -> None:
    reading = read_whole(Knockout(), subject_of(FAMILIES["bart"]()), KnockoutRequest())
    assert isinstance(reading, KnockoutReading)
    assert reading.notes == (
        "left out, for want of such tokens: picture -> last, picture -> question",
        ELSEWHERE,
    )


def test_a_placeholder_of_a_picture_that_cross_attention_looks_at_has_no_number() -> None:
    """Without its one token the picture is seen as before."""
    reading = read_whole(Knockout(), subject_of(FAMILIES["mllama"]()), KnockoutRequest())
    assert isinstance(reading, KnockoutReading)
    assert ELSEWHERE in reading.notes
    pictured = [cell for cell in reading.cells if cell.source == "picture"]
    assert len(pictured) == 2 * len(windows(6, 4))  # to the last position, and to the question
    for cell in pictured:
        assert (cell.log_probability, cell.answer, cell.reason) == (None, None, PLACEHOLDER)
    others = [cell for cell in reading.cells if cell.source != "picture"]
    assert others and all(cell.reason is None for cell in others)
    to_it = request_of(Knockout(), {"from": "first", "to": "picture", "window": 6})
    reading = read_whole(Knockout(), subject_of(FAMILIES["mllama"]()), to_it)
    assert isinstance(reading, KnockoutReading)
    assert [cell.reason for cell in reading.cells] == [PLACEHOLDER]


def test_the_only_token_of_a_picture_counts_where_nothing_else_carries_it() -> None:
    subject = subject_of(llava())
    place = next(i for i, token in enumerate(subject.run.tokens) if token.kind == "image")
    tokens = tuple(
        token if i == place or token.kind != "image" else structs.replace(token, kind="text")
        for i, token in enumerate(subject.run.tokens)
    )
    subject = dataclasses.replace(subject, run=structs.replace(subject.run, tokens=tokens))
    request = request_of(Knockout(), {"from": "picture", "to": "last", "window": 6})
    reading = read_whole(Knockout(), subject, request)
    assert isinstance(reading, KnockoutReading)
    (cell,) = reading.cells
    assert cell.reason is None and reading.effect(cell) is not None


def test_a_single_token_has_nothing_to_look_at(asked: AskedRun) -> None:
    assert Knockout().supports(asked.subject) is None
    alone = structs.replace(asked.run, tokens=asked.run.tokens[:1])
    reason = Knockout().supports(dataclasses.replace(asked.subject, run=alone))
    assert reason is not None and "single token" in reason


def test_a_reading_of_another_run_does_not_fit(asked: AskedRun) -> None:
    reading = read(asked, window=10, **{"from": "first", "to": "last"})
    assert reading.misfit(asked.run) is None
    shorter = structs.replace(asked.run, layers=9)
    assert reading.misfit(shorter) == "layers beyond 9"
    few = structs.replace(asked.run, tokens=asked.run.tokens[: reading.position])
    assert reading.misfit(few) == f"position {reading.position} of {reading.position} tokens"
    (cell,) = reading.cells
    with pytest.raises(ValueError, match="ends before it begins"):
        structs.replace(reading, cells=(structs.replace(cell, layers=(3, 2)),))


def test_logits_that_are_not_numbers_have_a_reason(
    asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Knockouts.knocked

    def broken(self: Knockouts, pairs: Pairs, layers: range) -> passes_of.Knocked:
        found = own(self, pairs, layers)
        if not pairs.sources or len(layers) != 10:
            return found
        return found._replace(logits=found.logits * math.nan, leak=math.inf)

    monkeypatch.setattr(Knockouts, "knocked", broken)
    reading = read(asked, window=5, **{"from": "first", "to": "last"})
    cell, *others = reading.cells
    assert (cell.log_probability, cell.answer) == (None, None)
    assert cell.reason == "the logits of this pass are not all numbers"
    assert len(others) == 2 and all(each.reason is None for each in others)
    assert reading.proof is not None and reading.proof.passed  # of the numbers that there are


def test_a_run_of_other_tokens_is_refused(asked: AskedRun) -> None:
    length = len(asked.run.tokens)
    run = structs.replace(asked.run, tokens=asked.run.tokens[1:])
    subject = dataclasses.replace(asked.subject, run=run)
    with pytest.raises(CannotRead, match=f"{length} positions, and the run has {length - 1} "):
        read_whole(Knockout(), subject, KnockoutRequest())


def test_a_model_that_was_refused_is_not_offered_again() -> None:
    tiny = FAMILIES["git"]()
    subject = subject_of(tiny)
    assert Knockout().supports(subject) is None  # that takes passes to find out
    with pytest.raises(CannotRead) as caught:
        Knockouts(subject.loaded.lens, tiny.inputs, [-1])
    assert Knockout().supports(subject) == str(caught.value)
    counted: list[int] = []
    tiny.model.register_forward_hook(lambda *_: counted.append(1))
    with pytest.raises(CannotRead, match="knockout: GitForCausalLM has no attention among"):
        read_whole(Knockout(), subject, KnockoutRequest())
    assert not counted
    other = subject_of(llava())
    read_whole(Knockout(), other, request_of(Knockout(), {"from": "first", "window": 6}))
    assert Knockout().supports(other) is None


def test_where_a_model_attends_is_forgotten_with_it() -> None:
    tiny = llama()
    found = Knockouts(Lens(tiny.model), tiny.inputs, [-1])
    model = weakref.ref(tiny.model)
    assert tiny.model in passes_of._remembered
    del tiny, found
    gc.collect()
    assert model() is None


def test_it_stops_between_two_passes(asked: AskedRun) -> None:
    stopped = False
    found: Iterator[Any] = carry_out(Knockout(), asked.subject, KnockoutRequest(), lambda: stopped)
    assert isinstance(next(found), KnockoutPart)
    stopped = True
    with pytest.raises(Cancelled):
        next(found)
    assert nothing_is_left(asked.subject.loaded.model)


def test_the_tables_have_every_cell(asked: AskedRun) -> None:
    reading = read(asked, window=5)
    effects, cells = Knockout().tables(reading)
    assert effects.heads == (
        "layers", "picture -> last", "picture -> question", "question -> last", "first -> all"
    )  # fmt: skip
    assert [row[0] for row in effects.rows] == ["0-9", "0-4", "5-9"]
    for column, (source, target) in enumerate(
        [("picture", "last"), ("picture", "question"), ("question", "last"), ("first", "all")], 1
    ):
        for row, layers in zip(effects.rows, [(0, 9), (0, 4), (5, 9)], strict=True):
            assert row[column] == reading.effect(cell_of(reading, source, target, layers))
    assert [row[:3] for row in cells.rows[:3]] == [
        ("picture", "last", "0-9"), ("picture", "last", "0-4"), ("picture", "last", "5-9")
    ]  # fmt: skip
    assert len(cells.rows) == len(reading.cells) == 12
    for row, cell in zip(cells.rows, reading.cells, strict=True):
        assert cell.answer is not None
        assert row[3:6] == (reading.effect(cell), cell.answer.text, cell.answer.probability)
