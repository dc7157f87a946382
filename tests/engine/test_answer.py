"""The lens along an answer: against `generate` with the same settings, and against plain passes."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.arrays import Array
from engine.asking import drawing
from engine.asking.asking import Asking
from engine.asking.drawing import draw_answers
from engine.errors import Cancelled, CannotRead
from engine.lens.answer import AnswerStep
from engine.lens.decoding import Drawing, own_settings
from engine.lens.decoding_settings import DecodingSettings, decoding_settings
from engine.lens.lens import Lens
from engine.methods.answer import Answer, AnswerPart, AnswerReading, AnswerRequest
from engine.methods.answer_steps import StepsFound
from engine.methods.asked_run import AskedRun
from engine.methods.method import carry_out
from engine.models.loading import LoadedModel
from engine.passes.stepping import Stepping
from engine.records import Picture, Question
from samples import DEFAULT_PICTURE
from tests.families import FAMILIES, Tiny

STEPS = 5
SAMPLED: dict[str, Any] = {
    "temperature": 2.5,
    "top_k": 60,
    "top_p": 0.9,
    "min_p": 0.001,
    "repetition_penalty": 1.2,
}


def families(*quick: str) -> pytest.MarkDecorator:
    """Parametrizes a test with families, of which these are quick."""
    return pytest.mark.parametrize(
        "family",
        [
            pytest.param(name, marks=[] if name in quick else [pytest.mark.slow])
            for name in ("llama", "llava", "qwen2_vl", "paligemma", "t5", "lfm2_vl")
        ],
    )


def tiny(family: str) -> Tiny:
    """A tiny model of the family, and inputs that `generate` continues as they are."""
    # The library's caches for T5 have as many layers as the encoder.
    made = FAMILIES[family](layers=2) if family in ("t5", "udop") else FAMILIES[family]()
    config = made.model.generation_config
    if "decoder_input_ids" in made.inputs:
        begin = getattr(config, "decoder_start_token_id", None)
        made.inputs["decoder_input_ids"][:, 0] = config.bos_token_id if begin is None else begin
    return made


def generated(model: Any, inputs: Mapping[str, Any], **settings: Any) -> tuple[list[int], Tensor]:
    """The tokens that `generate` takes and the model's logits of each step, with these settings
    and, where the library has no value that changes nothing, with nothing of the checkpoint's."""
    own = model.generation_config
    ids = {name: getattr(own, name, None) for name in ("bos_token_id", "eos_token_id")}
    ids |= {name: getattr(own, name, None) for name in ("pad_token_id", "decoder_start_token_id")}
    model.generation_config = GenerationConfig(**ids)
    try:
        found = model.generate(
            **inputs, return_dict_in_generate=True, output_logits=True, **settings
        )
    finally:
        model.generation_config = own
    tokens = found.sequences[0, -len(found.logits) :].tolist()
    return tokens, torch.cat([each.float() for each in found.logits])


def extended(
    inputs: Mapping[str, Any], tokens: list[int], prefix_sees_itself: bool
) -> dict[str, Any]:
    """The inputs of a plain pass over the question and these tokens, written by hand."""
    key = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    grown = {**inputs, key: torch.cat([inputs[key], torch.tensor([tokens])], 1)}
    own_mask = "decoder_attention_mask" if key == "decoder_input_ids" else "attention_mask"
    values = {
        own_mask: 1,
        "mm_token_type_ids": 0,
        "image_embeds_position_mask": 0,
        # 0 is plain text; PaliGemma's prompt, whose tokens see each other, needs the other one.
        "token_type_ids": int(prefix_sees_itself),
    }
    for name, value in values.items():
        if name in inputs:
            more = torch.full((1, len(tokens)), value, dtype=inputs[name].dtype)
            grown[name] = torch.cat([inputs[name], more], 1)
    for name in ("cross_attention_mask", "image_attention_mask"):
        if name in inputs:
            last = inputs[name][:, -1:]
            grown[name] = torch.cat([inputs[name], *[last] * len(tokens)], 1)
    return grown


def check_rows(
    lens: Lens, inputs: Mapping[str, Any], steps: list[AnswerStep], limit: float
) -> None:
    """Every row of every step is that of one plain pass over the question and the answer."""
    tokens = [step.token for step in steps]
    prefix_sees_itself = lens.model.config.model_type == "paligemma"
    grown = extended(inputs, tokens[:-1], prefix_sees_itself)
    logits = lens.logits(grown, positions=range(-len(tokens), 0))[:, 0]
    size = float(logits[logits.abs() < 1e30].abs().max())
    for place, step in enumerate(steps):
        expected = logits[:, place]
        found = expected.gather(1, step.numbers.ids.long())
        assert torch.allclose(step.numbers.logits, found, rtol=0, atol=limit * size)
        assert torch.allclose(step.numbers.lse, expected.logsumexp(-1), rtol=0, atol=limit * size)
        assert torch.allclose(step.logits, expected[-1], rtol=0, atol=limit * size)
        # No token outside the best ones is better than the last of them.
        kth = expected.topk(found.shape[1]).values[:, -1]
        assert torch.all(found.min(-1).values >= kth - 2 * limit * size)


@families("llava", "t5")
def test_it_is_what_generate_gives_and_what_plain_passes_read(family: str) -> None:
    made = tiny(family)
    lens = Lens(made.model)
    steps = list(lens.answer(made.inputs, max_new_tokens=STEPS))
    tokens, logits = generated(
        made.model, made.inputs, max_new_tokens=STEPS, do_sample=False, num_beams=1
    )
    assert [step.token for step in steps] == tokens
    assert torch.allclose(torch.stack([step.logits for step in steps]), logits, 0, 1e-5)
    assert all(step.proof.passed and step.taken == 1.0 and step.removed == 0 for step in steps)
    assert all(step.after == ((step.token, 1.0),) for step in steps)
    for step, own in zip(steps, logits.softmax(-1), strict=True):
        assert step.probability == pytest.approx(float(own[step.token]), rel=1e-5)
        last = step.rows[-1]
        assert [row.layer for row in step.rows] == list(range(made.layers + 1))[: len(step.rows)]
        assert last.top[0].id == step.token
        assert last.answer is not None and last.answer.rank == 1
        assert last.kl_to_last == 0.0
        assert step.rows[0].kl_to_last == pytest.approx(float(step.numbers.kl[0]), rel=1e-6)
    check_rows(lens, made.inputs, steps, 2e-6)
    assert not left_on(lens)


@families("llava")
def test_it_draws_what_generate_draws(family: str) -> None:
    made = tiny(family)
    before = torch.random.get_rng_state()
    steps = list(Lens(made.model).answer(made.inputs, max_new_tokens=STEPS, seed=7, **SAMPLED))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    tokens, logits = generated(
        made.model, made.inputs, max_new_tokens=STEPS, do_sample=True, num_beams=1, **SAMPLED
    )
    assert [step.token for step in steps] == tokens
    begin = made.inputs.get("decoder_input_ids", made.inputs["input_ids"])
    for place, step in enumerate(steps):
        before_it = torch.cat([begin, torch.tensor([tokens[:place]], dtype=torch.long)], 1)
        scores = warped(before_it, logits[place : place + 1])
        assert step.taken == pytest.approx(float(scores.softmax(-1)[0, step.token]), rel=1e-4)
        assert step.removed == int(scores.isneginf().sum())
        assert 0 < step.removed < scores.shape[-1]
        best = scores.softmax(-1)[0].topk(3)
        left = [pair for pair in zip(*map(Tensor.tolist, best[::-1]), strict=True) if pair[1] > 0]
        assert [token for token, _ in step.after] == [token for token, _ in left]
        assert [share for _, share in step.after] == pytest.approx([each[1] for each in left], 1e-4)


def warped(ids: Tensor, scores: Tensor) -> Tensor:
    """The scores after the sampled settings, in the library's order."""
    steps = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(SAMPLED["repetition_penalty"]),
            TemperatureLogitsWarper(SAMPLED["temperature"]),
            TopKLogitsWarper(SAMPLED["top_k"]),
            TopPLogitsWarper(SAMPLED["top_p"]),
            MinPLogitsWarper(SAMPLED["min_p"]),
        ]
    )
    found: Tensor = steps(ids, scores.clone())
    return found


def test_a_temperature_towards_zero_is_greedy() -> None:
    made = tiny("llama")
    lens = Lens(made.model)
    greedy = [step.token for step in lens.answer(made.inputs, max_new_tokens=STEPS)]
    for temperature in (1e-3, 1e-30):
        cold = list(lens.answer(made.inputs, STEPS, temperature=temperature, seed=3))
        assert [step.token for step in cold] == greedy
    assert all(step.taken == 1.0 for step in cold)


OWN: dict[str, Any] = {
    "do_sample": True,
    "temperature": 0.01,
    "top_k": 1,
    "top_p": 0.001,
    "repetition_penalty": 1.7,
    "no_repeat_ngram_size": 2,
    "min_length": 40,
    "forced_eos_token_id": 2,
}


def test_a_checkpoint_with_settings_of_its_own_changes_nothing() -> None:
    made = tiny("llava")
    lens = Lens(made.model)
    expected = [step.token for step in lens.answer(made.inputs, STEPS)]
    sampled = [step.token for step in lens.answer(made.inputs, STEPS, seed=2, **SAMPLED)]
    own = made.model.generation_config
    own.update(**OWN, suppress_tokens=[expected[0]], bad_words_ids=[[expected[1]]])
    described = own.to_dict()
    assert [step.token for step in lens.answer(made.inputs, STEPS)] == expected
    assert [step.token for step in lens.answer(made.inputs, STEPS, seed=2, **SAMPLED)] == sampled
    assert made.model.generation_config is own
    assert own.to_dict() == described
    said = own_settings(made.model, DecodingSettings())
    assert "temperature 0.01" in said.left_out
    assert "top_k 1" in said.left_out
    assert f"suppress_tokens [{expected[0]}]" in said.left_out
    assert len(said.left_out) == len(OWN) + 2
    assert said.kept == (f"eos_token_id {own.eos_token_id}",)


def test_it_says_what_the_library_would_have_used() -> None:
    made = tiny("llama")
    assert own_settings(made.model, DecodingSettings()).left_out == ()
    sampling = DecodingSettings(temperature=1.0)
    assert own_settings(made.model, sampling).left_out == ("top_k 50, the library's own",)


def test_an_encoder_decoder_begins_with_the_token_that_says_its_language() -> None:
    made = tiny("bart")
    made.model.generation_config.forced_bos_token_id = 11
    made.inputs["decoder_input_ids"] = made.inputs["decoder_input_ids"][:, :1]
    steps = list(Lens(made.model).answer(made.inputs, 2))
    assert steps[0].token == 11
    assert steps[0].removed == len(steps[0].logits) - 1
    assert steps[0].rows[-1].top[0].id != 11
    assert "forced_bos_token_id 11" in own_settings(made.model, DecodingSettings()).kept


def test_it_ends_at_any_of_the_end_tokens() -> None:
    made = tiny("llama")
    lens = Lens(made.model)
    free = lens.start_answer(made.inputs, DecodingSettings(STEPS))
    tokens = [step.token for steps in free for step in steps]
    assert not free.ended
    end = next(each for each in tokens[1:] if each != tokens[0])
    made.model.generation_config.eos_token_id = [98, end]
    ending = lens.start_answer(made.inputs, DecodingSettings(STEPS))
    found = [step.token for steps in ending for step in steps]
    assert found == tokens[: tokens.index(end) + 1]
    assert ending.ended


def left_on(lens: Lens) -> list[str]:
    """The modules on which something of a generation is left. (transformers itself puts hooks on
    the layers of some vision towers, and leaves them there.)"""
    watched = {*lens.layers, lens.model_parts.tail.entry.module}
    return [
        name
        for name, module in lens.model.named_modules()
        if {"forward", "_get_logits_processor"} & vars(module).keys()
        or (module in watched and (module._forward_hooks or module._forward_pre_hooks))
    ]


def test_nothing_is_left_when_it_is_closed_early() -> None:
    made = tiny("llava")
    own = made.model.generation_config
    lens = Lens(made.model)
    steps = lens.answer(made.inputs, max_new_tokens=500)
    assert isinstance(steps, Iterator)
    next(steps)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert not left_on(lens)
    assert made.model.generation_config is own
    assert len(list(lens.answer(made.inputs, 2))) == 2


def test_it_is_cancelled_at_the_next_layer() -> None:
    made = tiny("llama")
    lens = Lens(made.model)
    decoded = lens.start_answer(made.inputs, DecodingSettings(500))
    entered: list[int] = []

    def enters(index: int) -> Any:
        def hook(*_: Any) -> None:
            entered.append(index)
            if len(entered) == 2 * made.layers + 2:  # in the third pass
                decoded._forward.cancelled.set()

        return hook

    handles = [
        layer.register_forward_pre_hook(enters(index)) for index, layer in enumerate(lens.layers)
    ]
    with pytest.raises(Cancelled):
        list(decoded)
    for handle in handles:
        handle.remove()
    assert len(entered) <= 2 * made.layers + 3
    assert not left_on(lens)


def test_nothing_is_left_when_the_model_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny("llama")
    lens, own = Lens(made.model), made.model.generation_config
    lens.learn(made.inputs)
    calls = 0

    def fails(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("broken")

    handle = lens.layers[2].register_forward_pre_hook(fails)
    steps: list[AnswerStep] = []
    with pytest.raises(RuntimeError, match="broken"):
        steps.extend(lens.answer(made.inputs, STEPS))
    handle.remove()
    assert len(steps) == 2
    assert made.model.generation_config is own
    assert not left_on(lens)


def test_steps_come_while_later_ones_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny("llama")
    lens = Lens(made.model)
    may_go_on = threading.Event()
    draw = Drawing.__call__

    def waits(self: Any, ids: Tensor, scores: Tensor) -> Tensor:
        if ids.shape[1] > made.inputs["input_ids"].shape[1]:
            assert may_go_on.wait(60)
        return draw(self, ids, scores)

    monkeypatch.setattr(Drawing, "__call__", waits)
    steps = lens.answer(made.inputs, 3)
    assert next(steps).proof.passed
    may_go_on.set()
    assert len(list(steps)) == 2


def test_a_proof_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny("llama")
    project = Stepping.project

    def wrong(self: Any, rows: Any, norm: bool = True) -> Tensor:
        return project(self, rows, norm) + 1.0

    monkeypatch.setattr(Stepping, "project", wrong)
    with pytest.raises(CannotRead, match="differs"):
        list(Lens(made.model).answer(made.inputs, 2))


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -1.0}, {"top_p": 5.0}, {"top_k": 0}, {"top_k": 2.5}, {"max_new_tokens": 0}],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        decoding_settings(settings)


def test_settings_are_checked_before_anything_is_decoded() -> None:
    made = tiny("llama")
    lens = Lens(made.model)
    with pytest.raises(ValueError, match="top_p"):
        next(iter(lens.answer(made.inputs, 2, top_p=5.0)))
    with pytest.raises(TypeError, match="typical_p"):
        next(iter(lens.answer(made.inputs, 2, typical_p=0.5)))
    assert len(list(lens.answer(made.inputs, 2, repetition_penalty=2))) == 2


def test_norm_off_leaves_the_norm_out_of_all_rows_but_the_last() -> None:
    made = tiny("llava")
    lens = Lens(made.model)
    steps = list(lens.answer(made.inputs, 3, norm=False))
    grown = extended(made.inputs, [step.token for step in steps[:-1]], False)
    plain = lens.logits(grown, positions=range(-3, 0), norm=False)[:, 0]
    normed = lens.logits(grown, positions=range(-3, 0))[:, 0]
    for place, step in enumerate(steps):
        found = step.numbers.logits
        assert torch.allclose(found, plain[:, place].topk(3).values, atol=1e-5)
        assert not torch.allclose(found[:-1], normed[:-1, place].topk(3).values, atol=1e-2)
        assert step.proof.passed


def test_norm_off_is_refused_where_the_norm_cannot_be_left_out() -> None:
    made = FAMILIES["glm5_next"]()
    with pytest.raises(CannotRead, match="norm off"):
        list(Lens(made.model).answer(made.inputs, 2, norm=False))


def test_what_begins_with_other_tokens_is_refused() -> None:
    made = FAMILIES["blip"]()
    lens = Lens(made.model)
    with pytest.raises(CannotRead, match="other tokens than the question's"):
        list(lens.answer(made.inputs, 2))
    assert not left_on(lens)


@pytest.mark.slow
def test_what_decodes_in_its_own_way_is_refused() -> None:
    made = FAMILIES["diffusion_gemma"]()
    with pytest.raises(CannotRead, match="in a way of its own"):
        list(Lens(made.model).answer(made.inputs, 2))


# Draws


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    picture = Picture(path=str(DEFAULT_PICTURE))
    asking = Asking(bundled, Question("Shape of the main object:", picture=picture))
    return AskedRun(asking, asking.run())


DRAWN = 600


def test_drawn_tokens_follow_the_warped_probabilities(
    opened: Callable[[str], LoadedModel],
) -> None:
    model = opened("llama")
    inputs = {"input_ids": torch.tensor([[1, 5, 6, 7]]), "attention_mask": torch.ones(1, 4).long()}
    settings = DecodingSettings(1, temperature=2.0, top_k=12, seed=11)
    counts = Counter(each.ids[0] for each in draw_answers(model, inputs, settings, DRAWN))
    best = model.lens.logits(inputs)[-1, 0, 0].topk(12)
    shares = (best.values / 2.0).softmax(-1).tolist()
    expected = dict(zip(best.indices.tolist(), shares, strict=True))
    assert set(counts) <= set(expected)
    assert min(expected.values()) * DRAWN > 5
    chi_square = sum(
        (counts[token] - DRAWN * share) ** 2 / (DRAWN * share) for token, share in expected.items()
    )
    assert chi_square < 31.26  # the 0.1 % point with 11 degrees of freedom


def test_many_draws_are_the_single_ones(
    bundled: LoadedModel, asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DecodingSettings(4, temperature=3.0, seed=5)
    inputs = asked.subject.inputs
    alone = [
        draw_answers(bundled, inputs, structs.replace(settings, seed=5 + place))[0]
        for place in range(5)
    ]
    assert len({each.ids for each in alone}) == 5
    assert {len(each.ids) for each in alone} != {4}  # some end early
    before = torch.random.get_rng_state()
    told: list[int] = []
    monkeypatch.setattr(drawing, "MOST_TOGETHER", 3)
    assert list(draw_answers(bundled, inputs, settings, 5, drawn=told.append)) == alone
    assert told == [3, 5]
    assert torch.equal(torch.random.get_rng_state(), before)
    with_rows = list(bundled.lens.answer(inputs, 4, temperature=3.0, seed=6))
    assert tuple(step.token for step in with_rows) == alone[1].ids
    penalised = structs.replace(settings, repetition_penalty=0.2, max_new_tokens=3)
    single = [
        draw_answers(bundled, inputs, structs.replace(penalised, seed=5 + place))[0]
        for place in range(2)
    ]
    assert list(draw_answers(bundled, inputs, penalised, 2)) == single
    assert [each.ids for each in single] != [each.ids[:3] for each in alone[:2]]


def test_fewer_draws_of_a_longer_prompt_fit(
    opened: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings = opened("llama"), DecodingSettings(1, temperature=1.0)
    monkeypatch.setattr(drawing, "free_memory", lambda device: 400_000)

    def first_batch(length: int) -> int:
        told: list[int] = []
        inputs = {"input_ids": torch.full((1, length), 5)}
        draw_answers(model, inputs, settings, 20, drawn=told.append)
        return told[0]

    model.lens.learn({"input_ids": torch.full((1, 12), 5)})
    short, long = first_batch(3), first_batch(60)
    assert 1 <= long < short / 3


def test_draws_share_one_pass_over_the_question(bundled: LoadedModel, asked: AskedRun) -> None:
    inputs, length = asked.subject.inputs, len(asked.run.tokens)
    settings = DecodingSettings(3, temperature=8.0)
    draw_answers(bundled, inputs, settings, 2)  # which proves that they can
    shapes: list[tuple[int, ...]] = []
    slot = bundled.lens.model_parts.stream_slot

    def enters(module: Any, args: Any, kwargs: Any) -> None:
        shapes.append(tuple(slot.get(args, kwargs).shape[:2]))

    handle = bundled.lens.layers[0].register_forward_pre_hook(enters, with_kwargs=True)
    draw_answers(bundled, inputs, settings, 5)
    handle.remove()
    assert shapes[0] == (1, length)
    assert set(shapes[1:]) == {(5, 1)}
    assert not left_on(bundled.lens)


def test_draws_of_a_model_whose_cache_cannot_be_repeated_are_made_one_by_one(
    bundled: LoadedModel, asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, settings = asked.subject.inputs, DecodingSettings(2, temperature=8.0)
    expected = draw_answers(bundled, inputs, settings, 2)
    monkeypatch.setattr(drawing, "_sharing", {})
    monkeypatch.setattr("transformers.DynamicCache.reorder_cache", lambda *_: None)
    assert draw_answers(bundled, inputs, settings, 2) == expected


def test_drawing_is_cancelled_within_a_token(bundled: LoadedModel, asked: AskedRun) -> None:
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 3

    with pytest.raises(Cancelled):
        draw_answers(
            bundled, asked.subject.inputs, DecodingSettings(500, temperature=50.0), 1, stop
        )
    assert calls == 3
    assert not left_on(bundled.lens)


# The method


def read(asked: AskedRun, **settings: Any) -> tuple[list[AnswerPart], AnswerReading]:
    """The parts, and the reading."""
    found = list(carry_out(Answer(), asked.subject, AnswerRequest(**settings), lambda: False))
    parts, reading = found[:-1], found[-1]
    assert isinstance(reading, AnswerReading)
    assert all(isinstance(each, AnswerPart) for each in parts)
    return [each for each in parts if isinstance(each, AnswerPart)], reading


def test_the_first_step_is_the_run_and_the_parts_are_the_whole(asked: AskedRun) -> None:
    parts, reading = read(asked, max_new_tokens=6, temperature=8.0, seed=1)
    steps = len(reading.tokens.integers)
    assert parts[0].first == 0
    for name in ("tokens", "taken", "probability", "removed", "ids", "logits", "lse", "entropy"):
        joined = [value for part in parts for value in getattr(part, name).values.tolist()]
        assert joined == getattr(reading, name).values.tolist()
    assert parts[-1].text == reading.text
    run = asked.run
    assert reading.lse.shape == (steps, run.layers + 1)
    for row in run.rows:
        best = reading.ids.values[0, row.layer].tolist()
        assert best == [token.id for token in row.top[:3]]
        assert reading.entropy.values[0, row.layer] == pytest.approx(row.entropy, abs=1e-4)
        assert reading.rms.values[0, row.layer] == pytest.approx(row.rms, rel=1e-5)
    assert reading.proof is not None and reading.proof.passed
    assert reading.settings["temperature"] == 8.0
    assert reading.settings["do_sample"] is True
    assert reading.ended is (reading.tokens.integers[-1] == 1)


def test_the_logits_of_the_steps_are_let_go(bundled: LoadedModel, asked: AskedRun) -> None:
    found = StepsFound(bundled, 2)
    steps = list(bundled.lens.answer(asked.subject.inputs, 2))
    logits = [weakref.ref(step.logits) for step in steps]
    found.add(steps, asked.subject)
    steps.clear()
    assert len(found) == 2 and [each() for each in logits] == [None] * 2


def test_an_answer_is_read_with_the_norm_of_its_run(bundled: LoadedModel) -> None:
    picture = Picture(path=str(DEFAULT_PICTURE))
    asking = Asking(bundled, Question("Shape of the main object:", picture=picture, norm=False))
    asked = AskedRun(asking, asking.run())
    _, reading = read(asked, max_new_tokens=2)
    assert reading.proof is not None and reading.proof.passed
    for row in asked.run.rows:
        assert reading.entropy.values[0, row.layer] == pytest.approx(row.entropy, abs=1e-4)
        found = reading.logits.values[0, row.layer].tolist()
        assert found == pytest.approx([token.logit for token in row.top[:3]], abs=1e-4)


def test_the_tally_counts_every_draw(bundled: LoadedModel, asked: AskedRun) -> None:
    parts, reading = read(asked, max_new_tokens=2, temperature=6.0, draws=12, seed=3)
    settings = reading.request.settings
    expected = Counter(
        each.text for each in draw_answers(bundled, asked.subject.inputs, settings, 12)
    )
    assert {each.text: each.count for each in reading.draws} == expected
    counts = [each.count for each in reading.draws]
    assert counts == sorted(counts, reverse=True)
    assert parts[-1].drawn == 11
    _, greedy = read(asked, max_new_tokens=2, draws=5)
    assert [(each.text, each.count) for each in greedy.draws] == [(greedy.text, 5)]


def test_an_answer_that_is_stopped_keeps_what_has_been_drawn(
    bundled: LoadedModel, asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that belongs to it beside; its request is that of as many draws."""
    monkeypatch.setattr(drawing, "MOST_TOGETHER", 2)
    request = AnswerRequest(max_new_tokens=2, temperature=6.0, draws=12, seed=3, attention=True)
    stopped = threading.Event()
    reading: object = None
    for reading in Answer().read(asked.subject, request, stopped.is_set):
        if isinstance(reading, AnswerPart) and reading.drawn == 4:
            stopped.set()
    assert isinstance(reading, AnswerReading)
    assert reading.request == structs.replace(request, draws=5)
    assert not reading.fulfils(request)
    drawn = draw_answers(bundled, asked.subject.inputs, request.settings, 5)
    expected = Counter(each.text for each in drawn)
    assert {each.text: each.count for each in reading.draws} == expected
    assert reading.picture is not None and reading.proof is not None
    # Before the answer is whole there is nothing to keep.
    with pytest.raises(Cancelled):
        list(Answer().read(asked.subject, request, lambda: True))


def test_a_token_that_was_never_the_best_has_no_formation_row(asked: AskedRun) -> None:
    _, greedy = read(asked, max_new_tokens=2)
    assert greedy.formation[0] == asked.run.formation
    assert greedy.formation[1] is not None
    first, second = greedy.tokens.integers
    other = structs.replace(greedy, tokens=Array.of(np.array([first, second + 1]), "<i4"))
    assert other.formation == (asked.run.formation, None)


def test_parts_say_that_the_model_has_ended_the_answer(
    bundled: LoadedModel, asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, greedy = read(asked, max_new_tokens=2)
    config, end = bundled.model.generation_config, greedy.tokens.integers[-1]
    monkeypatch.setattr(config, "eos_token_id", end)
    # At 0.01 the first answer is the greedy one, and others are drawn after it.
    parts, reading = read(asked, max_new_tokens=8, temperature=0.01, draws=3)
    assert reading.ended
    drawing = [part for part in parts if part.drawn]
    assert drawing
    assert all(part.ended for part in drawing)
    steps = [part.first + len(part.tokens.integers) for part in parts if part.ended]
    assert {*steps} == {len(reading.tokens.integers)}
    cut_off, _ = read(asked, max_new_tokens=1, temperature=0.01, draws=3)
    assert not any(part.ended for part in cut_off)


def test_tables_say_all_that_matters(asked: AskedRun) -> None:
    _, reading = read(asked, max_new_tokens=3, temperature=6.0, top_k=12, draws=3)
    tokens, tally, settings = Answer().tables(reading)
    assert len(tokens.rows) == len(reading.tokens.integers)
    assert [row[2] for row in tokens.rows] == list(reading.formation)
    assert sum(int(str(row[1])) for row in tally.rows) == 3
    assert ("temperature", "6") in settings.rows
    assert settings.rows[-1] == ("draws", "3")
    more = {"vdd": "both", "repetition_penalty": 1.0000001, "attention": True, "against": "unk"}
    request = structs.replace(reading.request, draws=1, **more)
    penalty = {"repetition_penalty": 1.0000001}
    asked_for = structs.replace(reading, request=request, settings=reading.settings | penalty)
    *_, settings = Answer().tables(asked_for)
    assert settings.rows[-6:] == (
        ("seed", "0"), ("vdd", "both"), ("alpha", "1"), ("beta", "0.1"),
        ("attention", "true"), ("against", "unk"),
    )  # fmt: skip
    assert ("repetition_penalty", "1.0000001") in settings.rows
    assert any("eos_token_id 1" in note for note in settings.notes)


def test_an_answer_with_more_along_it_is_the_same_answer(asked: AskedRun) -> None:
    _, reading = read(asked, max_new_tokens=2)
    plain = reading.request
    request = structs.replace(plain, attention=True, against="none")
    more = structs.replace(reading, request=request)
    assert all(
        more.fulfils(each) for each in (plain, request, structs.replace(plain, against="none"))
    )
    assert not reading.fulfils(request)
    assert not more.fulfils(structs.replace(plain, against="unk"))
    assert not more.fulfils(structs.replace(request, max_new_tokens=3))


def test_what_does_not_fit_is_refused(asked: AskedRun) -> None:
    _, reading = read(asked, max_new_tokens=2)
    assert reading.misfit(asked.run) is None
    assert "rows beyond" in str(reading.misfit(structs.replace(asked.run, layers=3)))
    short = structs.replace(reading, request=AnswerRequest(max_new_tokens=1))
    assert "were asked for" in str(short.misfit(asked.run))
    with pytest.raises(ValueError, match="taken is"):
        structs.replace(reading, taken=reading.lse)


# All families

REFUSED = {
    "blip": "other tokens than the question's",
    "blip-2-t5": "`generate` does not take these inputs",  # a cache for the encoder's few layers
    "diffusion_gemma": "in a way of its own",
    "pi0": "has no `generate`",
}
"""Why the answers of these cannot be read."""
CACHE_DIFFERS = {"dots3_note", "glm5_next", "unlimited_ocr"}
"""Whose cached steps differ from a plain pass over all tokens, in the library itself."""


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family(family: str) -> None:
    if family in REFUSED:
        made = FAMILIES[family]()
        lens = Lens(made.model)
        with pytest.raises(CannotRead, match=REFUSED[family]):
            list(lens.answer(made.inputs, STEPS))
        return
    made = tiny(family)
    lens = Lens(made.model)
    steps = list(lens.answer(made.inputs, STEPS))
    assert all(step.proof.passed for step in steps)
    tokens, logits = generated(
        made.model, made.inputs, max_new_tokens=STEPS, do_sample=False, num_beams=1
    )
    assert [step.token for step in steps] == tokens
    size = float(logits[logits.abs() < 1e30].abs().max())
    # Evolla and pix2struct run the whole sequence again each time, and may round otherwise.
    assert torch.allclose(torch.stack([step.logits for step in steps]), logits, 0, 1e-6 * size)
    answer = [step.token for step in steps[:-1]]
    image = getattr(made.model.config, "image_token_id", None)
    if family not in CACHE_DIFFERS and image not in answer:
        check_rows(lens, made.inputs, steps, 1e-5)
    assert not left_on(lens)
