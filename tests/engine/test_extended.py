"""Positions beyond the prompt: the tokens of the newest answer, read by a pass over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor

import samples
from engine.arrays import Array
from engine.asking.asking import Asking
from engine.errors import BadInput
from engine.events import LoadOptions, ModelReady, ReadingMade, RunEnded
from engine.lens.lens import Lens
from engine.methods.answer import AnswerReading, AnswerRequest, answer_tokens
from engine.methods.asked_run import AskedRun
from engine.methods.attention import AttentionReading
from engine.methods.everywhere import Everywhere, last_position, resolved
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.methods.track import TrackReading, TrackRequest
from engine.methods.visit import VisitReading, VisitRequest
from engine.models.loading import LoadedModel
from engine.prompts.extended import extended
from engine.prompts.token_groups import GROUPS
from engine.records import (
    LayerReading,
    OtherPosition,
    PromptToken,
    Question,
    ReadingProof,
    Run,
    Session,
)
from engine.sessions import read_session, write_session
from engine.system.stamps import now
from engine.worker import Worker
from tests.engine.conftest import SHAPE, Ears
from tests.families import FAMILIES, Tiny

IDS = (11, 12, 13)

QUICK = ("mllama", "florence2")
"""A mask of pictures that counts tokens, an encoder-decoder."""
ALL = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in sorted({*FAMILIES} - {"pi0"})
]
ONE_PASS = [
    pytest.param(name, marks=[] if name == "mllama" else [pytest.mark.slow])
    for name in sorted({*FAMILIES} - {"pi0"})
]
NOT_GENERATED = {
    "blip": "it begins anew, with other ids",
    "diffusion_gemma": "it does not decode step by step",
    "dots3_note": "its cached steps differ from the pass in the library itself",
    "glm5_next": "its rows of the prompt vary with what follows, in the plain pass, too",
}
NO_CACHE = ("blip-2-t5", "t5", "udop")
"""The library makes a cache of fewer layers than these tiny decoders have."""
GROWN: dict[str, int | None] = {
    "attention_mask": 1,
    "mm_token_type_ids": 0,
    "token_type_ids": 0,
    "image_embeds_position_mask": 0,
    "cross_attention_mask": None,
    "image_attention_mask": None,
}
"""What belongs to a token of an answer; None is what belongs to the last token."""


def by_hand(name: str, inputs: dict[str, Any], ids: tuple[int, ...] = IDS) -> dict[str, Any]:
    """The inputs with these tokens, every one of them written down."""
    made = dict(inputs)
    decoder = "decoder_input_ids" in inputs
    sequence = "decoder_input_ids" if decoder else "input_ids"
    made[sequence] = torch.tensor([[*inputs[sequence][0].tolist(), *ids]])
    for key, value in GROWN.items():
        if decoder or key not in inputs:
            continue
        last = inputs[key][:, -1:].expand(1, len(ids), *inputs[key].shape[2:])
        if value is not None:
            suffix = name == "paligemma" and key == "token_type_ids"
            last = torch.full_like(last, 1 if suffix else value)
        made[key] = torch.cat([inputs[key], last], dim=1)
    return made


@pytest.mark.parametrize("name", ALL)
def test_what_counts_tokens_grows_and_nothing_else(name: str) -> None:
    tiny = FAMILIES[name]()
    found = extended(tiny.model, tiny.inputs, IDS)
    expected = by_hand(name, tiny.inputs)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, Tensor):
            assert found[key].dtype == value.dtype and torch.equal(found[key], value), key
        else:
            assert found[key] is value
    assert extended(tiny.model, tiny.inputs, ()).keys() == tiny.inputs.keys()


def run_of(tiny: Tiny, length: int, ids: tuple[int, ...]) -> Run:
    """A run over a family's inputs, and an answer to it."""
    token = PromptToken(id=5, text="a", kind="text", part="prompt")
    run = Run(
        id="0" * 16, created=now(), status="cancelled", layers=tiny.layers,
        question=Question("?"), tokens=(token,) * length, position=length - 1, rows=(),
    )  # fmt: skip
    return answer_of(run, ids).merged(run)


def answer_of(run: Run, ids: tuple[int, ...], **changes: Any) -> AnswerReading:
    """An answer with these tokens, whose numbers are of no matter."""
    steps, rows = len(ids), run.layers + 1
    singles = Array.of(np.zeros(steps), "<f4")
    cells = Array.of(np.zeros((steps, rows)), "<f4")
    return structs.replace(
        AnswerReading(
            request=AnswerRequest(max_new_tokens=len(ids)),
            tokens=Array.of(np.array(ids), "<i4"),
            taken=singles,
            probability=singles,
            removed=Array.of(np.zeros(steps), "<i4"),
            ids=Array.of(np.zeros((steps, rows, 3)), "<i4"),
            logits=Array.of(np.zeros((steps, rows, 3)), "<f4"),
            lse=cells,
            entropy=cells,
            rms=cells,
            texts={},
            text="",
            ended=False,
            settings={},
            reason="made by hand",
        ),
        **changes,
    )


def alike(found: tuple[LayerReading, ...], expected: Tensor) -> None:
    """Compare rows with their logits, float32 [rows, vocabulary]."""
    assert len(found) == len(expected)
    for row, logits in zip(found, expected, strict=True):
        most = 1e-5 * max(1.0, float(logits.abs().max()))
        assert row.top[0].logit == pytest.approx(float(logits.max()), abs=most)
        for token in row.top:
            assert token.logit == pytest.approx(float(logits[token.id]), abs=most)
        shares = logits.double().softmax(-1)
        assert row.entropy == pytest.approx(float(-(shares * shares.log()).nansum()), abs=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_a_position_beyond_the_prompt_is_a_pass_over_the_ids_written_down(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    length = lens.streams(tiny.inputs, (-1,)).positions[0] + 1
    run, kept = run_of(tiny, length, IDS), Everywhere("not kept")
    for token in (1, 0):
        position = length + token
        (_, other) = kept.streams(lens, run, tiny.inputs, [position]).at(position)
        whole = by_hand(name, tiny.inputs, IDS[:2])
        alike(other.rows, lens.logits(whole, [position])[:, 0, 0])


@pytest.mark.parametrize("name", ONE_PASS)
def test_one_pass_gives_what_generate_decodes(name: str) -> None:
    if name in NOT_GENERATED:
        pytest.skip(NOT_GENERATED[name])
    tiny = FAMILIES[name]()
    inputs = dict(tiny.inputs)
    if "decoder_input_ids" in inputs:
        config = tiny.model.generation_config
        start = config.decoder_start_token_id
        start = config.bos_token_id if start is None else start
        inputs["decoder_input_ids"] = inputs["decoder_input_ids"].clone()
        inputs["decoder_input_ids"][0, 0] = start
    with torch.no_grad():
        decoded = tiny.model.generate(
            **inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False, num_beams=1,
            suppress_tokens=[90], use_cache=name not in NO_CACHE,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
    ids = decoded.sequences[0, -4:].tolist()
    whole = extended(tiny.model, inputs, ids[:-1])
    found = Lens(tiny.model).logits(whole, [-4, -3, -2, -1])[-1, 0]
    theirs = torch.cat(decoded.logits).float()
    assert float((found - theirs).abs().max()) < 1e-5 * max(1.0, float(theirs.abs().max()))


# Methods on the bundled model


@pytest.fixture
def asked(ran: tuple[Asking, Run]) -> AskedRun:
    made = AskedRun(*ran)
    made.run = answer_of(made.run, (624, 35, 624, 35)).merged(made.run)
    return made


def read(asked: AskedRun, name: str, **settings: Any) -> Any:
    method = method_of(name)
    return asked.read(method, request_of(method, settings))


@pytest.fixture
def passes(asked: AskedRun, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The lengths of the sequences of the passes whose streams are kept."""
    lens, made = asked.subject.loaded.lens, []
    plain = lens.streams

    def counted(inputs: Any, *args: Any, **settings: Any) -> Any:
        made.append(inputs["input_ids"].shape[1])
        return plain(inputs, *args, **settings)

    monkeypatch.setattr(lens, "streams", counted)
    yield made


def test_as_many_tokens_as_asked_for_and_no_pass_twice(asked: AskedRun, passes: list[int]) -> None:
    length = len(asked.run.tokens)
    visit = read(asked, "visit", positions=(length + 1, 3, -1))
    assert [other.position for other in visit.others] == [3, length + 1]
    assert passes == [length + 2]
    read(asked, "visit", positions=(length,))
    read(asked, "track", words="cube", position=length + 1)
    read(asked, "deepen", layer=2, count=20, position=length + 1)
    grid = read(asked, "grid", positions=(0, length, length + 1))
    other = asked.run.others[-1]
    (cube,) = [each for each in other.tracked if each.why == "user"]
    words = read(asked, "words", words=f"#{cube.id}", positions=(length + 1,))
    assert passes == [length + 2]
    assert grid.positions == (0, length, length + 1) and grid.proof.passed
    assert words.proof.passed
    assert other.position == length + 1 and len(other.rows[2].top) == 20
    assert [row.top[0].id for row in other.rows] == grid.ids.values[:, 2, 0].tolist()
    assert cube.probability[-1] == pytest.approx(words.probability.values[0, -1, 0], rel=1e-4)
    read(asked, "visit", positions=(length + 3,))
    assert passes == [length + 2, length + 4]
    asked.run = answer_of(asked.run, (624, 1)).merged(asked.run)
    read(asked, "visit", positions=(length + 1,))
    assert passes == [length + 2, length + 4, length + 2]


def test_a_grid_without_positions_is_of_the_prompt(asked: AskedRun) -> None:
    assert read(asked, "grid").positions == tuple(range(len(asked.run.tokens)))


def test_positions_end_with_the_answer(asked: AskedRun) -> None:
    length = len(asked.run.tokens)
    assert last_position(asked.run) == length + 3
    assert resolved(asked.run, (-1, length + 3)) == (length - 1, length + 3)
    for name in ("visit", "grid"):
        with pytest.raises(BadInput, match=f"they go from 0 to {length + 3}"):
            read(asked, name, positions=(length + 4,))
    for name in ("attention", "knockout"):
        with pytest.raises(BadInput, match="there is no position"):
            read(asked, name, position=length + 4)
    failed = ReadingProof("a sum", 1.0, 0.1, passed=False)
    asked.run = answer_of(asked.run, (624,), proof=failed).merged(asked.run)
    assert answer_tokens(asked.run) == () and last_position(asked.run) == length - 1


def test_attention_from_a_token_of_the_answer(asked: AskedRun, bundled: LoadedModel) -> None:
    length = len(asked.run.tokens)
    found = read(asked, "attention", position=length + 1)
    assert isinstance(found, AttentionReading) and found.position == length + 1
    assert found.proof is not None and found.proof.passed
    whole = by_hand("llava", dict(asked.subject.inputs), (624, 35))
    for mine, its in zip(found.layers, bundled.lens.attention(whole), strict=True):
        assert mine.shares is not None and its.weights is not None
        answered = mine.shares.values[:, GROUPS.index("answer")]
        assert answered == pytest.approx(its.weights[:, length:].sum(-1).numpy(), abs=1e-6)


@pytest.mark.slow
def test_knockout_of_a_token_of_the_answer(asked: AskedRun, bundled: LoadedModel) -> None:
    length = len(asked.run.tokens)
    settings: dict[str, Any] = {"from": f"{length}", "to": "last", "window": 100}
    found = read(asked, "knockout", position=length + 1, **settings)
    assert found.proof.passed and found.reaches == length + 1
    whole = by_hand("llava", dict(asked.subject.inputs), (624, 35))
    logits = bundled.lens.logits(whole)[-1, 0, 0]
    assert found.answer.id == int(logits.argmax())
    whole["attention_mask"] = whole["attention_mask"].clone()
    whole["attention_mask"][0, length] = 0  # then no token sees it, and so the last one does not
    without = bundled.lens.logits(whole)[-1, 0, 0].log_softmax(-1)
    (cell,) = found.cells
    assert cell.log_probability != pytest.approx(found.log_probability)
    assert cell.log_probability == pytest.approx(float(without[found.answer.id]), abs=1e-4)
    later = read(asked, "knockout", **{**settings, "from": f"{length + 2}"})
    assert later.reaches == length + 2


def test_what_belongs_to_another_answer_goes(asked: AskedRun) -> None:
    length = len(asked.run.tokens)
    read(asked, "visit", positions=(3, length, length + 1, length + 2))
    read(asked, "attention", position=length + 1)
    read(asked, "grid", positions=(length + 2,))
    same = answer_of(asked.run, (624, 35, 9)).merged(asked.run)
    assert [each.position for each in same.others] == [3, length, length + 1]
    assert [each.method for each in same.readings] == ["answer", "attention", "answer"]
    another = answer_of(asked.run, (35, 624)).merged(asked.run)
    assert [each.position for each in another.others] == [3]
    assert [each.method for each in another.readings] == ["answer", "answer"]


def test_a_session_has_positions_of_the_answer_and_none_beyond(
    asked: AskedRun, tmp_path: Path
) -> None:
    length = len(asked.run.tokens)
    read(asked, "visit", positions=(length + 1,))
    read(asked, "grid", positions=(2, length + 1))
    read(asked, "attention", position=length + 1)
    file = tmp_path / "session.json"
    write_session(Session(created=now(), saved=now(), runs=(asked.run,)), file)
    (again,) = read_session(file).runs
    assert again == asked.run and again.others[-1].position == length + 1
    beyond = structs.replace(asked.run.others[-1], position=length + 4)
    others = (*asked.run.others[:-1], beyond)
    without = tuple(each for each in asked.run.readings if not isinstance(each, AnswerReading))
    for run in (
        structs.replace(asked.run, others=others),
        structs.replace(asked.run, others=(), readings=without),
    ):
        with pytest.raises(BadInput, match="position"):
            write_session(Session(created=now(), saved=now(), runs=(run,)), file)


@pytest.mark.slow
def test_the_worker_knows_the_answer_and_what_was_visited(worker: Worker, ears: Ears) -> None:
    worker.load(LoadOptions(model=str(samples.MODEL)))
    ears.wait_for(ModelReady)
    run_id = worker.ask(SHAPE)
    length = len(ears.wait_for(RunEnded).run.tokens)
    worker.read(run_id, AnswerRequest(max_new_tokens=2))
    ears.wait_for(ReadingMade)
    worker.read(run_id, VisitRequest(positions=(length,)))
    visited = ears.wait_for(ReadingMade).reading
    assert isinstance(visited, VisitReading)
    assert [type(each) for each in visited.others] == [OtherPosition]
    worker.read(run_id, TrackRequest(ids=(5,), position=length))
    tracked = ears.wait_for(ReadingMade).reading
    assert isinstance(tracked, TrackReading) and tracked.tracked[0].id == 5
