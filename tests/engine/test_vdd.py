"""Decoding with the prior taken off, against its formula on plain passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from engine.anatomy.hooks import hooked
from engine.asking.asking import Asking
from engine.asking.drawing import draw_answers, drawing_answers
from engine.errors import BadInput, Cancelled
from engine.lens.decoding_settings import DecodingSettings
from engine.lens.lens import Lens
from engine.lens.vdd import Vdd, vdd
from engine.methods.asked_run import AskedRun
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.passes.in_step import InStep
from engine.prompts.extended import extended
from engine.records import Question, Run
from tests.families import FAMILIES, Tiny

QUICK = ("qwen2_vl",)
"""Positions that the model counts from what it remembers of the last prompt."""
IN_STEP = ("paligemma", "qwen2_vl")
"""Of these, too, it is checked that they go on from a cache."""
NEEDS_A_PICTURE = ("blip", "blip-2", "idefics", "instructblip", "instructblipvideo", "kosmos-2")
NOT_IN_STEP = {
    "dots3_note": "its cached steps differ from the pass in the library itself",
    "glm5_next": "its rows of the prompt vary with what follows, in the plain pass, too",
    "janus": "its `generate` takes no processors",
}
ALL = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in sorted({*FAMILIES} - {"pi0", *NEEDS_A_PICTURE, *NOT_IN_STEP})
]


def never() -> bool:
    """A generation that goes on to its end."""
    return False


def prior_of(tiny: Tiny, count: int = 6) -> dict[str, Tensor]:
    """A prompt of words alone."""
    words = [token for token in tiny.inputs["input_ids"][0].tolist() if token < 80]
    ids = torch.tensor([words[:count]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Recorded(LogitsProcessor):  # type: ignore[misc]
    """Notes what a processor gets and returns, and lets only plain words be taken."""

    def __init__(self, processor: Vdd) -> None:
        self.processor = processor
        self.got: list[Tensor] = []
        self.returned: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.got.append(scores[0].clone())
        found = self.processor(input_ids, scores)
        self.returned.append(found[0].clone())
        words = torch.full_like(found, -torch.inf)
        words[:, 10:80] = found[:, 10:80].clamp(min=-1e4)
        return words


def decoded(tiny: Tiny, processor: Vdd, tokens: int = 4) -> tuple[Recorded, list[int]]:
    """What `generate` called the processor with, and the tokens that were taken."""
    recorded = Recorded(processor)
    with torch.no_grad():
        found = tiny.model.generate(
            **tiny.inputs, max_new_tokens=tokens, do_sample=False, num_beams=1,
            logits_processor=LogitsProcessorList([recorded]),
        )  # fmt: skip
    assert len(recorded.got) == tokens
    return recorded, found[0, -tokens:].tolist()


def check(
    tiny: Tiny,
    lens: Lens,
    found: tuple[Recorded, list[int]],
    priors: list[Any],
    alpha: float,
    beta: float,
) -> None:
    """Recompute every step's scores from plain passes over everything, without any cache."""
    recorded, ids = found
    for step, returned in enumerate(recorded.returned):
        picture = lens.logits(extended(tiny.model, tiny.inputs, ids[:step]))[-1, 0, 0].double()
        prior = torch.stack(
            [lens.logits(extended(tiny.model, each, ids[:step]))[-1, 0, 0] for each in priors]
        )
        expected = (1 + alpha) * picture - alpha * prior.double().mean(0)
        expected[picture < math.log(beta) + picture.max()] = -math.inf
        close = expected.isfinite()
        assert torch.equal(returned.isfinite(), close)
        most = 2e-5 * max(1.0, float(picture.abs().max()))
        assert torch.allclose(returned[close].double(), expected[close], atol=most)


@pytest.mark.parametrize("name", ALL)
def test_every_step_is_the_formula(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES[name]()
    if "decoder_input_ids" in tiny.inputs:
        pytest.skip("the picture goes into the encoder: there is no such prior")
    plain_passes = 0
    plain = InStep._plain

    def counted(self: InStep, taken: Tensor) -> Tensor:
        nonlocal plain_passes
        plain_passes += 1
        return plain(self, taken)

    monkeypatch.setattr(InStep, "_plain", counted)
    lens, prior = Lens(tiny.model), prior_of(tiny)
    lens.learn(tiny.inputs)  # as what decodes an answer has done
    found = decoded(tiny, vdd(lens, [prior], 1.0, 0.1)(never))
    if name in IN_STEP:
        assert plain_passes == 1  # the one that proves the cache
    check(tiny, lens, found, [prior], 1.0, 0.1)


@pytest.mark.slow
def test_two_priors_are_their_mean() -> None:
    tiny = FAMILIES["llava"]()
    lens, priors = Lens(tiny.model), [prior_of(tiny), prior_of(tiny, 4)]
    found = decoded(tiny, vdd(lens, priors, 0.5, 0.2)(never))
    check(tiny, lens, found, priors, 0.5, 0.2)


def test_nothing_taken_off_is_the_plain_answer_to_the_bit() -> None:
    tiny = FAMILIES["llava"]()
    recorded, _ = decoded(tiny, vdd(Lens(tiny.model), [prior_of(tiny)], 0.0, 0.0)(never))
    for got, returned in zip(recorded.got, recorded.returned, strict=True):
        assert torch.equal(got, returned)


def test_what_the_model_rules_out_stays_ruled_out() -> None:
    class Infinite:
        def logits(self, taken: Tensor) -> Tensor:
            return torch.tensor([[-math.inf, 0.0, 1.0]])

    scores = torch.tensor([[-math.inf, 1.0, 2.0]])
    made = Vdd([Infinite()], 1.0, 0.0)(torch.zeros(1, 4), scores)  # type: ignore[list-item]
    assert made.tolist() == [[-math.inf, 2.0, 3.0]]


def test_a_cache_that_does_not_go_on_exactly_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES["llava"]()
    lens, prior = Lens(tiny.model), prior_of(tiny)
    plain = InStep._next

    def off(self: InStep, newest: Tensor) -> Tensor | None:
        found = plain(self, newest)
        return None if found is None else found + 0.01

    monkeypatch.setattr(InStep, "_next", off)
    check(tiny, lens, decoded(tiny, vdd(lens, [prior])(never)), [prior], 1.0, 0.1)


def test_several_answers_in_step_are_each_its_own() -> None:
    tiny = FAMILIES["qwen2_vl"]()
    lens, prior = Lens(tiny.model), prior_of(tiny)
    both = InStep(tiny.model, lens.on_device(prior), lens.learn(prior), lens.reuse.state)
    taken = torch.tensor([[5, 6, 7], [9, 8, 7]])
    with torch.no_grad():
        for count in range(4):
            found = both.logits(taken[:, :count])
            for row, ids in zip(found, taken[:, :count].tolist(), strict=True):
                expected = lens.logits(extended(tiny.model, prior, ids))[-1, 0, 0]
                assert torch.allclose(row, expected, atol=1e-5)


def test_the_answer_s_own_state_and_rows_are_left_alone() -> None:
    tiny = FAMILIES["qwen2_vl"]()
    lens = Lens(tiny.model)
    (holder,) = [each for each in tiny.model.modules() if "rope_deltas" in vars(each)]
    make = vdd(lens, [prior_of(tiny)], 1.0, 0.0)
    settings = DecodingSettings(max_new_tokens=4)
    answer = lens.start_answer(tiny.inputs, settings, 3, lambda stop: [make(stop)])
    steps = [step for some in answer for step in some]
    assert holder.rope_deltas.unique().tolist() != [0]  # that of the picture's prompt
    ids = [step.token for step in steps]
    for count, step in enumerate(steps):
        expected = lens.logits(extended(tiny.model, tiny.inputs, ids[:count]))[:, 0, 0]
        best = expected.topk(3).values
        assert torch.allclose(step.numbers.logits, best, atol=1e-5)


def test_it_is_cancelled_at_the_next_layer_of_a_prior_s_pass() -> None:
    tiny = FAMILIES["llava"]()
    lens, prior = Lens(tiny.model), prior_of(tiny)
    make = vdd(lens, [prior])
    answer = lens.start_answer(tiny.inputs, DecodingSettings(4), 3, lambda stop: [make(stop)])
    slot, entered = lens.learn(prior).stream_slot, 0

    def enters(module: Any, args: Any, kwargs: Any) -> None:
        nonlocal entered
        if slot.get(args, kwargs).shape[1] == prior["input_ids"].shape[1]:
            entered += 1
            answer._forward.cancelled.set()

    for layer in lens.layers:
        layer.register_forward_pre_hook(enters, with_kwargs=True)
    with pytest.raises(Cancelled):
        list(answer)
    assert entered == 1


def test_draws_are_cancelled_at_the_next_layer_of_a_prior_s_pass(
    opened: Callable[[str], LoadedModel],
) -> None:
    model = opened("llama")
    inputs, prior = ({"input_ids": torch.tensor([[5] * length])} for length in (4, 6))
    make = vdd(model.lens, [prior])
    slot, entered = model.lens.learn(prior).stream_slot, 0

    def enters(module: Any, args: Any, kwargs: Any) -> None:
        nonlocal entered
        entered += slot.get(args, kwargs).shape[1] == 6

    settings = DecodingSettings(3, temperature=3.0)
    drawing = drawing_answers(
        model, inputs, settings, 1,
        stop=lambda: entered > 0, first=lambda stop: [make(stop)],
    )  # fmt: skip
    with hooked(dict.fromkeys(model.lens.layers, enters)), pytest.raises(Cancelled):
        next(drawing)
    assert entered == 1


# The method


@pytest.fixture
def asked(ran: tuple[Asking, Run]) -> AskedRun:
    return AskedRun(*ran)


def read(asked: AskedRun, **settings: Any) -> Any:
    method = method_of("answer")
    return asked.read(method, request_of(method, {"max_new_tokens": 3, **settings}))


def test_the_text_with_and_without(asked: AskedRun, bundled: LoadedModel) -> None:
    found = read(asked, vdd="both", alpha=3.0)
    without = [each.question.counterfactual for each in asked.others]
    assert [each.name for each in without if each is not None] == ["none", "unk"]
    (plain,) = draw_answers(bundled, asked.subject.inputs, DecodingSettings(max_new_tokens=3))
    assert found.plain == plain.text
    assert found.proof.passed
    alpha_0 = read(asked, vdd="none", alpha=0.0, beta=0.0)
    assert alpha_0.tokens.integers == plain.ids and alpha_0.text == alpha_0.plain
    none, unk = (asked.subject.against(name).inputs for name in ("none", "unk"))
    ids = list(found.tokens.integers)
    for step in range(len(ids)):
        picture, one, other = (
            bundled.lens.logits(extended(bundled.model, each, ids[:step]))[-1, 0, 0]
            for each in (asked.subject.inputs, none, unk)
        )
        left = 4 * picture - 3 * (one + other) / 2
        left[picture < math.log(0.1) + picture.max()] = -math.inf
        assert int(left.argmax()) == ids[step]
        assert int(left.isneginf().sum()) == found.removed.values[step]


@pytest.mark.slow
def test_draws_are_made_with_the_prior_taken_off(asked: AskedRun, bundled: LoadedModel) -> None:
    found = read(asked, vdd="none", temperature=3.0, draws=3, seed=7, beta=0.0)
    assert sum(each.count for each in found.draws) == 3
    make = vdd(bundled.lens, [asked.subject.against("none").inputs], 1.0, 0.0)

    def first(stop: Callable[[], bool]) -> list[Vdd]:
        return [make(stop)]

    texts: dict[str, int] = {}
    for seed in range(7, 10):
        settings = DecodingSettings(max_new_tokens=3, temperature=3.0, seed=seed)
        inputs = asked.subject.inputs
        for (one,) in drawing_answers(bundled, inputs, settings, 1, first=first):
            texts[one.text] = texts.get(one.text, 0) + 1
    assert {each.text: each.count for each in found.draws} == texts


def test_a_run_without_a_picture_has_no_prior(opened: Callable[[str], LoadedModel]) -> None:
    asking = Asking(opened("llama"), Question("What?"))
    asked = AskedRun(asking, asking.run())
    with pytest.raises(BadInput, match="no picture"):
        read(asked, vdd="none")
