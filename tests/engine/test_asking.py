"""One question put to one model: the finished run, and how it ends when something goes wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from engine.asking.asking import STORED_TOP, Asking
from engine.errors import BadInput, CannotRead
from engine.lens import row_reader
from engine.models.loading import LoadedModel
from engine.records import LayerReading, Picture, Proof, Question, Run, Session
from engine.sessions import read_session, to_json, write_session
from engine.system.stamps import now
from tests.conftest import hooks_of
from tui.text.remedies import with_flags

Opened = Callable[[str], LoadedModel]


def ask(loaded: LoadedModel, prompt: str = "What?", **settings: Any) -> Run:
    return Asking(loaded, Question(prompt=prompt, **settings)).run()


@pytest.fixture
def picture(red_picture: Path) -> Picture:
    return Picture(str(red_picture))


def test_a_run_of_the_bundled_model_is_complete(bundled: LoadedModel, picture: Picture) -> None:
    run = ask(bundled, "Color of the main object:", picture=picture)
    assert run.status == "done"
    assert run.error is None
    assert run.layers == len(bundled.lens.layers)
    assert [row.layer for row in run.rows] == list(range(run.layers + 1))
    assert run.position == len(run.tokens) - 1
    assert run.proof is not None
    assert run.proof.passed
    assert run.proof.max_abs_difference is not None
    assert run.proof.max_abs_difference <= run.proof.tolerance
    assert run.question.model == bundled.card
    assert run.question.text.count("<image>") == 1
    assert run.question.picture is not None
    assert run.question.picture.width == 40
    assert run.question.picture.preview
    assert {"lenscope", "torch", "transformers"} <= set(run.versions)
    assert all(seconds >= 0 for seconds in run.seconds.values())


def test_every_row_is_complete(bundled: LoadedModel, picture: Picture) -> None:
    run = ask(bundled, "Shape of the main object:", picture=picture)
    answer = run.rows[-1].top[0]
    for row in run.rows:
        shares = [token.probability for token in row.top]
        assert len(row.top) == STORED_TOP
        assert shares == sorted(shares, reverse=True)
        assert len({token.id for token in row.top}) == len(row.top)
        assert row.entropy is not None
        assert 0 <= row.entropy <= math.log(1e6)
        assert row.rms is not None
        assert row.rms > 0
        assert row.answer is not None
        assert (row.answer.rank == 1) == (row.top[0].id == answer.id)
        assert row.kl_to_last is not None
        assert row.kl_to_last >= 0
        assert row.approximate is None
    assert run.rows[-1].kl_to_last == 0
    assert run.rows[-1].answer is not None
    assert run.rows[-1].answer.probability == pytest.approx(answer.probability)


def test_the_answer_and_every_top_token_are_tracked(bundled: LoadedModel) -> None:
    run = ask(bundled)
    tracked = {item.id: item for item in run.tracked}
    assert len(tracked) == len(run.tracked)
    assert [item.why for item in run.tracked].count("answer") == 1
    assert tracked[run.rows[-1].top[0].id].why == "answer"
    for row in run.rows:
        item = tracked[row.top[0].id]
        assert item.rank[row.layer] == 1
        assert item.probability[row.layer] == pytest.approx(row.top[0].probability)
        assert item.text == row.top[0].text
    for item in run.tracked:
        assert len(item.probability) == len(item.logit) == len(item.rank) == run.layers + 1


def test_a_run_survives_its_file(bundled: LoadedModel, picture: Picture, tmp_path: Path) -> None:
    run = ask(bundled, picture=picture, prefix=" \x1b[31m\u202e")
    path = tmp_path / "session.json"
    write_session(Session(created=now(), saved=now(), runs=(run,)), path)
    assert read_session(path).runs == (run,)
    (stored,) = json.loads(path.read_text())["runs"]
    assert all("approximate" not in row for row in stored["rows"])
    assert stored["others"] == []


def test_more_tokens_than_ten_are_stored_when_more_are_shown(opened: Opened) -> None:
    run = ask(opened("llama"), top_k=40)
    assert {len(row.top) for row in run.rows} == {40}


def test_no_more_tokens_than_the_vocabulary_has(opened: Opened) -> None:
    run = ask(opened("llama"), top_k=1000)
    assert {len(row.top) for row in run.rows} == {320}
    for row in run.rows:
        assert sum(token.probability for token in row.top) == pytest.approx(1, abs=1e-5)


def test_ids_without_a_token_have_an_empty_text(opened: Opened) -> None:
    run = ask(opened("llama"), top_k=1000)
    texts = {token.id: token.text for token in run.rows[0].top}
    assert texts[319] == ""
    assert texts[0] == "<s>"


def test_the_callers_hear_of_the_run_in_order(opened: Opened) -> None:
    heard: list[Any] = []
    asking = Asking(opened("llama"), Question(prompt="What?"), "0123456789abcdef")
    run = asking.run(started=heard.append, read=heard.append)
    first, *groups = heard
    assert isinstance(first, Run)
    assert first.id == run.id == "0123456789abcdef"
    assert first.rows == ()
    assert first.tokens == run.tokens
    assert [row.layer for group in groups for row in group] == list(range(run.layers + 1))
    assert len(groups) > 1


def test_times_are_rfc_3339_in_utc() -> None:
    from datetime import UTC, datetime

    text = now()
    assert text.endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()) < 60


def test_the_same_question_has_the_same_rows(opened: Opened, picture: Picture) -> None:
    first, second = (ask(opened("qwen2_vl"), picture=picture) for _ in range(2))
    assert first.rows == second.rows
    assert first.id != second.id


def test_norm_off_changes_all_rows_but_the_last(opened: Opened) -> None:
    on, off = (ask(opened("llama"), norm=norm) for norm in (True, False))
    assert off.status == "done"
    assert off.rows[-1] == structs.replace(on.rows[-1])
    for with_norm, without in zip(on.rows[:-1], off.rows[:-1], strict=True):
        assert with_norm.top != without.top
        assert with_norm.rms == without.rms


def test_a_model_without_a_template_is_recorded_as_asked_raw(opened: Opened) -> None:
    assert ask(opened("llama")).question.chat is False
    assert ask(opened("llava")).question.chat is True


# What goes wrong


def test_a_picture_that_has_gone(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such picture"):
        ask(opened("llava"), picture=Picture(str(tmp_path / "gone.png")))


def break_layer(loaded: LoadedModel, error: BaseException) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return loaded.lens.layers[2].register_forward_pre_hook(fail)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("two\nlines"), "two lines"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "16-bit dtype"),
        (MemoryError(), "16-bit dtype"),
        (KeyError("x"), "failed"),
    ],
    ids=repr,
)
def test_an_error_in_the_pass_ends_the_run_as_failed(
    opened: Opened, error: Exception, words: str
) -> None:
    loaded = opened("llama")
    handle = break_layer(loaded, error)
    asking = Asking(loaded, Question(prompt="What?"))
    try:
        run = asking.run()
    finally:
        handle.remove()
    assert run.status == "failed"
    assert run.error is not None
    assert words in with_flags(run.error, asking.remedies)
    assert "\n" not in run.error
    assert run.proof is None
    assert [row.layer for row in run.rows] == list(range(len(run.rows)))
    assert hooks_of(loaded.model) == 0
    assert ask(loaded).status == "done"


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), KeyboardInterrupt()])
def test_an_error_of_the_listeners_is_theirs(opened: Opened, error: BaseException) -> None:
    """A closed pipe or ctrl+c is not a failure of the pass: the error is raised unchanged."""
    loaded = opened("llama")

    def listen(rows: Sequence[LayerReading]) -> None:
        raise error

    with pytest.raises(type(error)):
        Asking(loaded, Question(prompt="What?")).run(read=listen)
    assert hooks_of(loaded.model) == 0
    assert ask(loaded).status == "done"


def test_a_failed_proof_fails_the_run(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = opened("llama")
    refused = Proof(0.5, 1e-5, False, "tail")
    monkeypatch.setattr(row_reader, "as_proof", lambda *_: refused)
    run = ask(loaded)
    assert run.status == "failed"
    assert run.proof == refused
    assert run.error is not None
    assert "0.5" in run.error


def test_norm_off_is_refused_where_it_has_no_meaning(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = opened("llama")
    tail = loaded.lens.model_parts.tail
    assert tail is not None

    def refuse() -> None:
        raise CannotRead("norm off: no norm")

    monkeypatch.setattr(type(tail), "refuse_norm_off", lambda self: refuse())
    with pytest.raises(CannotRead, match="norm off"):
        ask(loaded, norm=False)
    assert ask(loaded).status == "done"


def test_cancelled_before_it_began(opened: Opened) -> None:
    loaded = opened("llama")
    asking = Asking(loaded, Question(prompt="What?"))
    asking.cancel()
    run = asking.run()
    assert (run.status, run.rows, run.proof) == ("cancelled", (), None)
    assert ask(loaded).status == "done"


def test_cancelled_on_the_way(opened: Opened, tmp_path: Path) -> None:
    loaded = opened("llama")
    asking = Asking(loaded, Question(prompt="What?"))
    handle = loaded.lens.layers[2].register_forward_pre_hook(lambda *_: asking.cancel())
    try:
        run = asking.run()
    finally:
        handle.remove()
    assert run.status == "cancelled"
    assert 0 < len(run.rows) < run.layers + 1
    assert run.proof is None
    assert hooks_of(loaded.model) == 0
    path = tmp_path / "session.json"
    write_session(Session(created=now(), saved=now(), runs=(run,)), path)
    assert read_session(path).runs == (run,)


def test_runs_leave_no_hooks(opened: Opened) -> None:
    loaded = opened("llava")
    for _ in range(20):
        ask(loaded)
    assert hooks_of(loaded.model) == 0


def test_the_json_of_a_run_is_plain(opened: Opened) -> None:
    text = to_json(Session(created=now(), saved=now(), runs=(ask(opened("llama")),)))
    assert text.isascii()
    assert "NaN" not in text
