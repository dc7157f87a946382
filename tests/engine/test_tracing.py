"""Causal tracing: what is put into a pass, on models of every family and one with a known path;
the method, on the bundled model, against patches by hooks that share no code with it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

import samples
from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput, Cancelled, CannotRead
from engine.lens import tracing
from engine.lens.lens import Lens
from engine.lens.tracing import NO_FEATURES, NOWHERE, Tracings, What, Where
from engine.methods.asked_run import AskedRun
from engine.methods.method import carry_out
from engine.methods.registry import method_of, tables_of
from engine.methods.requests import request_of
from engine.methods.tracing import (
    NO_TOKENS,
    PAST_THE_STREAM,
    STREAM_ONLY,
    TracingPart,
    TracingReading,
    TracingRequest,
    coarse_to_fine,
)
from engine.models.loading import LoadedModel
from engine.passes import layer_watches, row_patches
from engine.records import Picture, Question
from tests.conftest import hooks_of
from tests.engine.test_knockout import subject_of
from tests.families import FAMILIES, Tiny
from tests.families.gemma import gemma4_unified
from tests.families.llava import llava
from tests.families.parts import IMAGE_ID

QUICK = {"llava", "qwen3_vl"}
"""A plain decoder; features added to the stream between layers."""
FEATURES = {
    "blip", "blip-2-t5", "cohere_compass", "cosmos3_omni", "florence2", "gemma3n", "gemma3n_text",
    "gemma4", "granite4_vision", "granite_docling", "idefics", "mllama", "pix2struct",
    "pp_formulanet", "qwen3_omni_moe_thinker", "qwen3_vl", "qwen3_vl_moe", "t5gemma2", "udop",
    "vision-encoder-decoder", "vision-encoder-decoder-bert",
}  # fmt: skip
"""Families in which what differs between two pictures reaches the layers otherwise than at row 0,
too, or only so."""
PAST_IT = {"gemma3n", "gemma4", "gemma4_unified", "glm5_next", "mistral_large4"}
"""Families with later layers that use what earlier ones have left beside the stream."""
REFUSED = {"diffusion_gemma", "inkling2"}
"""Families whose layers use more than what they are given: they look at the outputs of all earlier
blocks, or run twice in a pass."""


def every_family(*quick: str) -> pytest.MarkDecorator:
    """Every family that has a vocabulary; all but those that are named are slow."""
    names = sorted(FAMILIES.keys() - {"pi0"})
    marked = [pytest.param(each, marks=() if each in quick else pytest.mark.slow) for each in names]
    return pytest.mark.parametrize("name", marked)


def with_another_picture(tiny: Tiny) -> dict[str, Any]:
    """The inputs with other pixels; where a family has no picture, with another first token."""
    generator = torch.Generator().manual_seed(5)
    made = dict(tiny.inputs)
    for name, value in tiny.inputs.items():
        is_of_numbers = isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2
        if is_of_numbers and name != "bbox":
            # The first two columns of a flattened patch say where it lies.
            made[name] = value.clone()
            made[name][..., 2:] = torch.randn(value[..., 2:].shape, generator=generator)
    if all(made[name] is value for name, value in tiny.inputs.items()):
        name = "decoder_input_ids" if "decoder_input_ids" in made else "input_ids"
        made[name] = made[name].clone()
        made[name][0, 0] = (made[name][0, 0] + 3) % IMAGE_ID
    return made


def one(passes: Tracings, row: int, where: Where) -> Tensor:
    (logits,) = passes.patched(row, [where])
    return logits[0]


def nothing_is_left(model: nn.Module) -> bool:
    patched = [module for module in model.modules() if "forward" in module.__dict__]
    return hooks_of(model) == 0 and not patched


# Every family


@every_family(*QUICK)
def test_everything_is_the_other_pass_and_nothing_is_the_own(name: str) -> None:
    tiny = FAMILIES[name]()
    lens, other = Lens(tiny.model), with_another_picture(tiny)
    if name in REFUSED:
        with pytest.raises(CannotRead, match="use more than what they are seen to be given"):
            Tracings(lens, other, tiny.inputs, -1, [])
        assert nothing_is_left(tiny.model)
        return
    passes = Tracings(lens, other, tiny.inputs, -1, [])
    with torch.no_grad():
        clean, corrupt = (
            tiny.model(**lens.on_device(each)).logits[0, -1].float()
            for each in (tiny.inputs, other)
        )
    apart = float((clean - corrupt).abs().max())
    assert apart > 1e-4
    assert torch.allclose(passes.source, clean, atol=1e-5)
    assert torch.allclose(passes.into, corrupt, atol=1e-5)
    assert (passes.no_features is None) == (name in FEATURES)

    def missed(row: int, where: Where) -> float:
        return float((one(passes, row, where) - passes.source).abs().max()) / apart

    everywhere = (*range(passes.length),)
    last = passes.rows[-1]
    assert missed(last, Where(everywhere)) == 0.0
    differ = (passes._own.rows[0][0] != passes._kept.rows[0][0]).flatten(1).any(1)
    pictured = tuple(differ.nonzero().flatten().tolist())
    named = "decoder_input_ids" if "decoder_input_ids" in tiny.inputs else "input_ids"
    ids = tiny.inputs[named][0]
    if len(ids) == passes.length and bool((ids == IMAGE_ID).any()):
        assert {*pictured} <= {*(ids == IMAGE_ID).nonzero().flatten().tolist()}
    alone, together = missed(0, Where(pictured)), missed(0, Where(pictured, features=True))
    assert together < 1e-6
    assert (alone > 1e-6) == (name in FEATURES)
    if name in FEATURES:
        with_them = {row: missed(row, Where(everywhere, True)) for row in passes.rows}
        assert name in PAST_IT or max(with_them.values()) < 1e-6
        added = passes._features.added
        for row in range(max(added, default=0) + 1, last + 1 if added else 0):
            assert missed(row, Where(everywhere)) < 1e-6  # nothing is added any more
    for row in (0, passes.layers // 2, last):
        assert one(passes, row, NOWHERE).equal(passes.into)
    assert passes.looks_past_the_stream == (name in PAST_IT)
    proof = passes.prove()
    assert proof.passed and proof.nothing == 0.0
    assert proof.row == (0 if name in PAST_IT else passes.layers // 2)
    assert nothing_is_left(tiny.model)


def test_what_only_the_last_layers_share_is_told() -> None:
    tiny = gemma4_unified(8)  # the last two take the keys of earlier ones, after the middle
    other = with_another_picture(tiny)
    passes = Tracings(Lens(tiny.model), other, tiny.inputs, -1, [])
    everywhere = Where((*range(passes.length),), True)
    patched = {row: one(passes, row, everywhere) for row in passes.rows}
    missed = [row for row, each in patched.items() if not torch.allclose(each, passes.source)]
    assert missed == [5, 6, 7]
    proof = passes.prove()
    assert proof.passed and proof.row == 4 and passes.looks_past_the_stream


@pytest.mark.slow
def test_mlps_are_what_acts_on_each_position_alone() -> None:
    tiny = FAMILIES["qwen3_5"]()
    args = Lens(tiny.model), with_another_picture(tiny), tiny.inputs, -1, [Where((2, 3))]
    mlps = Tracings(*args, "mlp")
    names = [type(term.origin).__name__ for of in mlps._sums if of for term in of.terms]
    assert len(names) == tiny.layers and {name[-3:] for name in names} == {"MLP"}


@every_family()
def test_a_passs_own_values_change_no_bit(name: str) -> None:
    if name in REFUSED:
        pytest.skip("refused above")
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    passes = Tracings(lens, tiny.inputs, tiny.inputs, -1, [])
    for row in passes.rows:
        assert one(passes, row, Where((*range(passes.length),), True)).equal(passes.into)
    kinds: tuple[What, ...] = ("attention", "mlp")
    for what in kinds:
        try:
            passes = Tracings(lens, tiny.inputs, tiny.inputs, -1, [], what, window=2)
        except CannotRead as error:
            assert str(error) == tracing.NO_SUCH_PART
            continue
        for row in passes.rows:
            assert one(passes, row, Where((*range(passes.length),))).equal(passes.into)


@every_family("llava")
def test_a_pass_that_begins_at_a_row_is_the_whole_one(name: str) -> None:
    if name in REFUSED:
        pytest.skip("refused above")
    tiny = FAMILIES[name]()
    passes = Tracings(Lens(tiny.model), with_another_picture(tiny), tiny.inputs, -1, [])
    rows = [row for row in passes.rows if passes._may_start(row)]
    assert rows == [*passes.rows][1:] or name in PAST_IT
    where = Where(tuple(range(0, passes.length, 2)), bool(passes._features))
    for row in rows:
        begun = one(passes, row, where)
        whole = passes._run(row, [passes._patch(where, passes._kept)])[0]
        assert begun.equal(whole)


# One model with a known path


def copying() -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
    """A Llama of two layers: the first adds nothing; the second's attention looks at all positions
    alike and adds the mean of what stands there. Two inputs that differ in their first token."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    first, second = model.model.layers
    with torch.no_grad():
        for layer in (first, second):
            layer.mlp.down_proj.weight.zero_()
            layer.self_attn.q_proj.weight.zero_()
        first.self_attn.o_proj.weight.zero_()
        second.self_attn.v_proj.weight.copy_(torch.eye(16))
        second.self_attn.o_proj.weight.copy_(torch.eye(16))
    mask = torch.ones(1, 5, dtype=torch.int64)
    clean, corrupt = (
        {"input_ids": torch.tensor([[i, 4, 5, 6, 7]]), "attention_mask": mask} for i in (2, 3)
    )
    return model, clean, corrupt


def test_a_known_path_is_found() -> None:
    model, clean, corrupt = copying()
    lens = Lens(model)
    passes = Tracings(lens, corrupt, clean, -1, [])

    def is_clean(row: int, *positions: int) -> bool | None:
        found = one(passes, row, Where(positions))
        return True if found.equal(passes.source) else False if found.equal(passes.into) else None

    assert not passes.source.equal(passes.into)
    assert [is_clean(row, 0) for row in (0, 1, 2)] == [True, True, False]
    assert [is_clean(row, 4) for row in (0, 1, 2)] == [False, False, True]
    assert [is_clean(row, 1, 2, 3) for row in (0, 1, 2)] == [False, False, False]
    assert passes.no_features == NO_FEATURES
    attention = Tracings(lens, corrupt, clean, -1, [], "attention")
    assert [*attention.rows] == [0, 1]
    # The first layer adds nothing, of which no part can be told.
    assert one(attention, 1, Where((4,))).equal(attention.source)
    assert one(attention, 1, Where((0, 1, 2, 3))).equal(attention.into)
    mlp = FAMILIES["llama"]()
    parts = Tracings(Lens(mlp.model), with_another_picture(mlp), mlp.inputs, -1, [], "mlp", 2)
    assert [*parts.rows] == [*range(parts.layers - 1)]


@pytest.mark.slow
def test_a_model_without_such_a_part_is_refused() -> None:
    tiny = FAMILIES["bart"]()  # its stream is normed after every addition
    with pytest.raises(CannotRead, match="no layer of this model adds"):
        Tracings(Lens(tiny.model), with_another_picture(tiny), tiny.inputs, -1, [], "mlp")
    assert nothing_is_left(tiny.model)


# How passes are run


@pytest.mark.slow
def test_several_sites_in_one_pass_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES["qwen3_vl"]()
    lens, other = Lens(tiny.model), with_another_picture(tiny)
    apart = Tracings(lens, other, tiny.inputs, -1, [])
    assert apart.most_at_once == 1
    sites = [Where((1, 2, 3)), Where((4,)), Where((), True), Where((5, 6)), NOWHERE]
    monkeypatch.setattr(tracing, "batches_pay", lambda device: True)
    together = Tracings(lens, other, tiny.inputs, -1, [])
    assert together.most_at_once > 4
    for row in (0, 3, together.layers):
        groups = [*together.patched(row, sites)]
        assert [len(group) for group in groups] == [2, 1, 2]  # features by themselves
        singles = torch.cat([*apart.patched(row, sites)])
        assert torch.allclose(torch.cat(groups), singles, atol=1e-5)
    some = sites[:2]
    parts = Tracings(lens, other, tiny.inputs, -1, [], "attention", 2)
    (both,) = parts.patched(1, some)
    for logits, where in zip(both, some, strict=True):
        assert torch.allclose(logits, one(parts, 1, where), atol=1e-5)
    monkeypatch.setattr(lens.batches, "refusal", lambda *_: "no")
    refused = Tracings(lens, other, tiny.inputs, -1, [])
    assert refused.most_at_once == 1


@pytest.mark.slow
def test_rows_that_do_not_fit_are_kept_at_the_sites_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = llava()
    lens, other = Lens(tiny.model), with_another_picture(tiny)
    whole = Tracings(lens, other, tiny.inputs, -1, [])
    row_bytes = whole._own.rows[0][0].nbytes
    sites = [Where((2, 3)), Where((5,))]
    monkeypatch.setattr(row_patches, "MOST_BYTES", 5 * row_bytes)
    some = Tracings(lens, other, tiny.inputs, -1, sites)
    assert whole._own.positions is None and some._own.positions is not None
    assert {*map(len, (each[0] for each in some._kept.rows.values()))} == {3, whole.length}
    assert whole._later == (4, 5)
    for row in whole.rows:
        assert not some._may_start(row)
        for where in sites:
            assert one(some, row, where).equal(one(whole, row, where))
    assert some.prove().passed
    monkeypatch.setattr(row_patches, "MOST_BYTES", row_bytes)
    with pytest.raises(BadInput, match="positions would take"):
        Tracings(lens, other, tiny.inputs, -1, sites)
    assert nothing_is_left(tiny.model)


@pytest.mark.slow
def test_terms_that_do_not_fit_are_kept_at_the_sites_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = llava()
    lens, other = Lens(tiny.model), with_another_picture(tiny)
    sites = [Where((2, 3)), Where((5,))]
    whole = Tracings(lens, other, tiny.inputs, -1, sites, "attention", 2)
    of_terms = sum(each.nbytes for each in whole._terms.values())
    monkeypatch.setattr(layer_watches, "MOST_BYTES", of_terms - 1)
    some = Tracings(lens, other, tiny.inputs, -1, sites, "attention", 2)
    assert {*map(len, some._terms.values())} == {3}
    for where in sites:
        assert one(some, 2, where).equal(one(whole, 2, where))
    assert some.prove().passed
    monkeypatch.setattr(layer_watches, "MOST_BYTES", of_terms // whole.length)
    with pytest.raises(BadInput, match="positions would take"):
        Tracings(lens, other, tiny.inputs, -1, sites, "attention", 2)
    assert nothing_is_left(tiny.model)


@pytest.mark.slow
def test_the_vision_tower_runs_once() -> None:
    tiny = llava()
    lens = Lens(tiny.model)
    lens.supports_logits_to_keep(tiny.inputs)
    tower = tiny.model.model.vision_tower
    inner = next(module for module in tower.modules() if isinstance(module, nn.Conv2d))
    calls: list[int] = []
    inner.register_forward_hook(lambda *_: calls.append(1))
    passes = Tracings(lens, with_another_picture(tiny), tiny.inputs, -1, [])
    for row in passes.rows:
        one(passes, row, Where((3,)))
    passes.prove()
    assert len(calls) == 2  # of each of the two pictures


def test_layers_before_the_row_do_not_run() -> None:
    tiny = llava()
    passes = Tracings(Lens(tiny.model), with_another_picture(tiny), tiny.inputs, -1, [])
    assert passes._may_start(4)
    ran: list[int] = []
    for index, layer in enumerate(passes._passes.parts.layers):
        mlp: Any = layer.mlp
        mlp.register_forward_hook(lambda *_, index=index: ran.append(index))
    one(passes, 4, Where((3,)))
    assert ran == [4, 5]


@contextmanager
def failing(module: nn.Module, error: BaseException) -> Iterator[None]:
    def fail(*_: Any) -> None:
        raise error

    handle = module.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.slow
def test_memory_that_runs_out_is_passed_on() -> None:
    tiny = llava()
    passes = Tracings(Lens(tiny.model), with_another_picture(tiny), tiny.inputs, -1, [])
    layer: Any = passes._passes.parts.layers[5]
    out = torch.OutOfMemoryError("out of memory")
    with failing(layer.mlp, out), pytest.raises(torch.OutOfMemoryError):
        one(passes, 2, Where((3,)))
    assert nothing_is_left(tiny.model)
    assert passes._may_start(2)  # memory is no reason against it
    with failing(layer.mlp, RuntimeError("a state is missing")):
        assert not passes._may_start(1)
    assert not passes._may_start(2)
    assert nothing_is_left(tiny.model)
    assert passes.prove().passed


def test_a_pass_is_cancelled_within_one_layer() -> None:
    tiny = llava()
    stopping, asked = threading.Event(), threading.Event()

    def stop() -> bool:
        if stopping.is_set():
            asked.set()
        return stopping.is_set()

    other = with_another_picture(tiny)
    passes = Tracings(Lens(tiny.model), other, tiny.inputs, -1, [], stop=stop)
    assert passes._may_start(1)
    entered: list[int] = []

    def slow(index: int) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            entered.append(index)
            if index == 2:
                stopping.set()
                assert asked.wait(60)  # by the thread that waits for the pass

        return enter

    for index, layer in enumerate(passes._passes.parts.layers):
        attention: Any = layer.self_attn
        attention.register_forward_pre_hook(slow(index))
    with pytest.raises(Cancelled):
        one(passes, 1, Where((3,)))
    assert entered in ([1, 2], [1, 2, 3])  # it is told a moment after it was asked for
    assert nothing_is_left(tiny.model)
    entered.clear()
    with pytest.raises(Cancelled):
        one(passes, 1, Where((3,)))
    assert not entered


# The method


SCENES = [str(samples.MODEL.parent / "pictures" / f"scene_{number}.png") for number in (1, 2)]
COLOUR = Question("Color of the main object:", picture=Picture(path=SCENES[0]))
OTHER = f"other={SCENES[1]}"


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    asking = Asking(bundled, COLOUR)
    asked = AskedRun(asking, asking.run())
    asked.ask_against(parse_against(OTHER))
    return asked


def read(run: AskedRun, **settings: Any) -> TracingReading:
    method = method_of("tracing")
    reading = run.read(method, request_of(method, {"against": OTHER, **settings}))
    assert isinstance(reading, TracingReading)
    assert reading.proof is not None and reading.proof.passed
    return reading


@pytest.fixture(scope="module")
def traced(asked: AskedRun) -> TracingReading:
    """Every row, three sites."""
    return read(asked)


def patched_by_hooks(run: AskedRun, into: Any, source: Any, row: int, places: list[int]) -> Tensor:
    """Logits of the last position, where row `row` of a pass over `source` stands at `places`."""
    model = run.subject.loaded.model
    layer = model.model.language_model.layers[row]
    seen: list[Tensor] = []

    def look(module: Any, args: Any) -> None:
        seen.append(args[0].clone())

    def put(module: Any, args: Any) -> Any:
        made = args[0].clone()
        made[0, places] = seen[0][0, places]
        return (made, *args[1:])

    logits = torch.empty(0)
    for inputs, hook in ((source, look), (into, put)):
        handle = layer.register_forward_pre_hook(hook)
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1].double()
        handle.remove()
    return logits


def test_the_numbers_are_those_of_patches_by_hooks(asked: AskedRun, traced: TracingReading) -> None:
    there = traced
    back = read(asked, direction="break", sites="picture,last", rows="3,6")
    assert [site.name for site in there.sites] == ["picture", "question", "last"]
    assert there.rows == (*range(11),)
    clean, corrupt = asked.subject.inputs, asked.subject.against(OTHER).inputs
    with torch.no_grad():
        own, its = (
            asked.subject.loaded.model(**each).logits[0, -1].double() for each in (clean, corrupt)
        )
    w, v = int(own.argmax()), int(its.argmax())
    assert [token.id for token in there.metric.of] == [w, v]
    assert [token.text for token in there.metric.of] == [" yellow", " blue"]
    values = [float(each[w] - each[v]) for each in (own, its)]
    for reading in (there, back):
        assert [reading.metric.clean, reading.metric.corrupt] == pytest.approx(values, abs=1e-4)
    assert there.metric.of[0].probability == pytest.approx(float(own.softmax(-1)[w]), rel=1e-5)
    span = values[0] - values[1]
    for number, site in enumerate((0, 2)):
        places = [*there.sites[site].positions]
        assert there.sites[site] == back.sites[number]
        for column, row in enumerate(back.rows):
            put = patched_by_hooks(asked, corrupt, clean, row, places)
            expected = (float(put[w] - put[v]) - values[1]) / span
            assert there.recovery.values[site, row] == pytest.approx(expected, abs=1e-5)
            put = patched_by_hooks(asked, clean, corrupt, row, places)
            expected = (values[0] - float(put[w] - put[v])) / span
            assert back.recovery.values[number, column] == pytest.approx(expected, abs=1e-5)
            assert (
                abs(there.recovery.values[site, row] - back.recovery.values[number, column]) > 0.01
            )


@pytest.mark.slow
def test_the_last_position_reads_the_picture_in_the_middle(
    asked: AskedRun, traced: TracingReading
) -> None:
    """Picture and last position together bring back about all of it, at every row."""
    picture, question, last = traced.recovery.values
    assert picture[0] == pytest.approx(1.0, abs=1e-5)
    assert last[0] == question[0] == picture[10] == question[10] == 0.0
    assert last[10] == pytest.approx(1.0, abs=1e-5)
    assert np.abs(question).max() < 0.05
    assert np.abs(picture + last - 1.0).max() < 0.12
    assert picture[4] > 0.8 > 0.3 > picture[7]
    everything = read(asked, sites="all,picture,-1,0-76", rows="0,5,10").recovery.values
    assert everything[0] == pytest.approx([1.0] * 3, abs=1e-5)
    assert (everything[1] == picture[[0, 5, 10]]).all()
    assert (everything[2] == last[[0, 5, 10]]).all()
    assert (everything[3] == everything[0]).all()


@pytest.mark.slow
def test_attention_and_mlps_are_put_in_windows_of_layers(asked: AskedRun) -> None:
    whole = read(asked, what="attention", window=10, sites="last,picture,all")
    assert whole.rows == (0,)
    # The last token is the same in both runs, so its attention decides everything there.
    assert whole.recovery.values[[0, 2], 0] == pytest.approx([1.0, 1.0], abs=1e-4)
    assert abs(whole.recovery.values[1, 0]) < 0.1
    some = read(asked, what="attention", window=3, sites="last", rows="1,4,7")
    assert int(some.recovery.values[0].argmax()) == 1
    (table,) = tables_of(some)
    assert [row[0] for row in table.rows] == ["1-3", "4-6", "7-9"]
    mlp = read(asked, what="mlp", sites="last,features", rows="3,8")
    assert mlp.sites[1].reason == STREAM_ONLY
    assert np.isnan(mlp.recovery.values[1]).all()
    assert mlp.recovery.values[0, 1] > 0.3 > abs(mlp.recovery.values[0, 0])


@pytest.mark.slow
def test_an_attention_is_the_one_that_hooks_put(asked: AskedRun) -> None:
    """The outputs of the modules themselves, put by hooks."""
    reading = read(asked, what="attention", window=2, sites="last", rows="5")
    model = asked.subject.loaded.model
    layers = model.model.language_model.layers[5:7]
    kept: list[Tensor] = []

    def look(module: Any, args: Any, output: Any) -> None:
        kept.append(output[0].clone())

    def put(module: Any, args: Any, output: Any) -> Any:
        made = output[0].clone()
        made[0, -1] = kept.pop(0)[0, -1]
        return (made, *output[1:])

    logits = torch.empty(0)
    for inputs, hook in (
        (asked.subject.inputs, look),
        (asked.subject.against(OTHER).inputs, put),
    ):
        handles = [layer.self_attn.register_forward_hook(hook) for layer in layers]
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1].double()
        for handle in handles:
            handle.remove()
    w, v = (token.id for token in reading.metric.of)
    clean, corrupt = reading.metric.clean, reading.metric.corrupt
    assert clean is not None and corrupt is not None
    expected = (float(logits[w] - logits[v]) - corrupt) / (clean - corrupt)
    assert reading.recovery.values[0, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_parts_come_coarse_to_fine(asked: AskedRun) -> None:
    asked.ask_against(asked.needed(method_of("tracing"), TracingRequest(against=OTHER)))
    request = TracingRequest(against=OTHER, sites=("last", "marks-less", "3,5-6"))
    with pytest.raises(BadInput, match="sites=marks-less: write picture, question"):
        list(carry_out(method_of("tracing"), asked.subject, request, lambda: False))
    request = structs.replace(request, sites=("last", "3,5-6"))
    *parts, reading = carry_out(method_of("tracing"), asked.subject, request, lambda: False)
    assert isinstance(reading, TracingReading)
    assert [site.positions for site in reading.sites] == [(76,), (3, 5, 6)]
    known = []
    for number, part in enumerate(parts, 1):
        assert isinstance(part, TracingPart)
        assert (part.done, part.orders) == (number, 22)
        assert (part.sites, part.rows, part.metric) == (reading.sites, reading.rows, reading.metric)
        found = ~np.isnan(part.recovery.values)
        assert int(found.sum()) == number
        assert (part.recovery.values[found] == reading.recovery.values[found]).all()
        if number % 2 == 0:
            known.append([row for row in range(11) if found[:, row].all()])
    assert known[:5] == [[0], [0, 10], [0, 5, 10], [0, 2, 5, 10], [0, 2, 5, 7, 10]]
    for count in range(1, 40):
        assert sorted(coarse_to_fine(count)) == [*range(count)]


@pytest.mark.slow
def test_words_are_compared_if_they_are_named(asked: AskedRun) -> None:
    one_word = read(asked, of="blue", sites="picture", rows="6")
    assert [token.text for token in one_word.metric.of] == [" blue"]
    assert one_word.metric.clean is not None and one_word.metric.corrupt is not None
    assert one_word.metric.clean < one_word.metric.corrupt <= 0.0
    two = read(asked, of="red,green", sites="picture", rows="6")
    assert [token.text for token in two.metric.of] == [" red", " green"]
    same = read(asked, against="blur", sites="picture", rows="6")  # both say yellow
    assert [token.text for token in same.metric.of] == [" yellow"]
    assert same.metric.clean == pytest.approx(math.log(same.metric.of[0].probability), abs=1e-6)
    (table,) = tables_of(two)
    assert [column.name for column in table.columns] == ["row", "picture"]
    assert "the logit of ' red' minus that of ' green' at position 76" in table.notes[0]
    (table,) = tables_of(one_word)
    assert table.notes[0].startswith("The metric is the log-probability of ' blue'")
    assert one_word.against in table.notes[0]
    with pytest.raises(BadInput, match="no token of this model is"):
        read(asked, of=("x" * 5000,))


@pytest.mark.slow
def test_what_can_not_be_traced_is_refused_with_the_reason(asked: AskedRun) -> None:
    for settings, said in (
        ({"against": "none"}, r"the other run has 1\d tokens and this one 77"),
        ({"against": "unk-all"}, "the other run has .* at position .* and this one"),
        ({"against": "0" * 16}, "no longer kept"),
        ({"rows": "11"}, "there is no row 11: they go from 0 to 10"),
        ({"what": "mlp", "window": 3, "rows": "8"}, "there is no row 8: they go from 0 to 7"),
        ({"what": "mlp", "window": 11}, "the model has 10 layers"),
        ({"window": 2}, "the stream is patched at one row at a time"),
        ({"position": 77}, "there is no position 77"),
        ({"sites": "77"}, "there is no position 77"),
        ({"sites": "here"}, "sites=here: write"),
        ({"sites": "features"}, "nothing to patch: features: nothing of the picture reaches"),
        ({"of": "yellow", "against": "noise"}, "' yellow' is nearly the same in both runs"),
    ):
        with pytest.raises(BadInput, match=said):
            read(asked, **settings)
    small = Asking(
        asked.subject.loaded, structs.replace(COLOUR, prompt="Shape of the main object:")
    )
    other = AskedRun(small, small.run())
    subject = replace(asked.subject, others={other.run.id: other.subject})
    request = TracingRequest(against=other.run.id)
    assert method_of("tracing").needs(request) == ()
    with pytest.raises(BadInput, match="and this one 'Color': values can"):
        list(carry_out(method_of("tracing"), subject, request, lambda: False))
    without = Asking(asked.subject.loaded, Question("Color of a banana:"))
    with pytest.raises(CannotRead, match="no picture"):
        read(AskedRun(without, without.run()))


def test_another_grid_is_another_place(asked: AskedRun) -> None:
    own = asked.subject
    other = own.against(OTHER)
    pixels = other.inputs["pixel_values"]
    mask = other.inputs["attention_mask"].clone()
    mask[0, 0] = 0
    for name, value in (
        ("pixel_values", pixels[..., :-1]),
        ("attention_mask", mask),
        ("image_sizes", torch.tensor([[1, 2]])),
    ):
        changed = replace(other, inputs={**other.inputs, name: value})
        subject = replace(own, others={other.run.id: changed})
        request = TracingRequest(against=other.run.id)
        with pytest.raises(BadInput, match=f"{name} differs"):
            list(carry_out(method_of("tracing"), subject, request, lambda: False))


@pytest.mark.slow
def test_one_reading_however_the_other_run_is_named(asked: AskedRun) -> None:
    first = read(asked, rows="0")
    request = structs.replace(first.request, against=first.against)
    assert first.fulfils(request)
    assert not first.fulfils(structs.replace(request, rows=(1,)))
    assert not first.fulfils(structs.replace(request, against="0" * 16))
    again = read(asked, rows="0", against=first.against)
    assert (again.recovery, again.metric) == (first.recovery, first.metric)
    assert first.replaces(again) and again.replaces(first)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "has_features", "notes"),
    [("qwen3_vl", True, ()), ("gemma4_unified", False, (PAST_THE_STREAM,))],
)
def test_features_are_a_site_of_models_that_have_them(
    name: str, has_features: bool, notes: tuple[str, ...]
) -> None:
    tiny = FAMILIES[name]()
    clean, corrupt = (
        subject_of(replace(tiny, inputs=inputs))
        for inputs in (tiny.inputs, with_another_picture(tiny))
    )
    question = Question("?", picture=Picture(path="photo.png"))
    subject = replace(
        clean,
        run=structs.replace(clean.run, question=question),
        others={corrupt.run.id: corrupt},
    )
    request = TracingRequest(against=corrupt.run.id)
    *_, reading = carry_out(method_of("tracing"), subject, request, lambda: False)
    assert isinstance(reading, TracingReading)
    names = ["picture", "question", "last", *["features"][:has_features]]
    assert [site.name for site in reading.sites] == names
    assert np.isfinite(reading.recovery.values).all()
    assert reading.notes == notes
    assert reading.proof is not None and reading.proof.passed
    request = structs.replace(request, sites=("features", "last"), rows=(0, tiny.layers))
    *_, named = carry_out(method_of("tracing"), subject, request, lambda: False)
    assert isinstance(named, TracingReading)
    assert [site.reason for site in named.sites] == [None if has_features else NO_FEATURES, None]
    features, last = named.recovery.values
    (table,) = tables_of(named)
    if has_features:
        assert abs(features[0]) > 1e-3 and features[1] == 0.0
    else:
        assert np.isnan(features).all()
        assert table.rows[0][1] is None and f"features: {NO_FEATURES}." in table.notes
        assert PAST_THE_STREAM in table.notes
    assert table.rows[1][2] == pytest.approx(1.0, abs=1e-5) == last[1]


def test_a_run_without_such_tokens_has_a_reason(asked: AskedRun) -> None:
    tokens = tuple(structs.replace(token, part="template") for token in asked.run.tokens)
    other = asked.subject.against(OTHER)
    subject = replace(
        asked.subject,
        run=structs.replace(asked.run, tokens=tokens),
        others={other.run.id: other},
    )
    request = TracingRequest(against=other.run.id, sites=("question", "last"), rows=(0, 10))
    *_, reading = carry_out(method_of("tracing"), subject, request, lambda: False)
    assert isinstance(reading, TracingReading)
    assert [site.reason for site in reading.sites] == [NO_TOKENS, None]
    assert np.isnan(reading.recovery.values[0]).all()
