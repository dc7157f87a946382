"""The public API: load, ask, read the run."""

from __future__ import annotations

import pytest

import samples
from engine import BadInput, CannotLoad, Counterfactual, Loaded, load


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(samples.MODEL)


def test_a_question_is_asked_in_one_call(loaded: Loaded) -> None:
    prompt = "Shape of the main object:"
    run = loaded.ask(prompt, image=samples.DEFAULT_PICTURE, top_k=5).run
    assert run.status == "done"
    assert run.proof is not None
    assert run.proof.passed
    assert [row.layer for row in run.rows] == list(range(len(loaded.lens.layers) + 1))
    assert (run.question.prompt, run.question.top_k) == (prompt, 5)
    assert run.question.model == loaded.card
    assert run.rows[-1].top[0].text == " sphere"


def test_fields_of_the_question_are_passed_on(loaded: Loaded) -> None:
    run = loaded.ask(
        "Shape of the main object:",
        image=str(samples.DEFAULT_PICTURE),
        norm=False,
        counterfactual=Counterfactual("black"),
    ).run
    assert not run.question.norm
    assert run.question.counterfactual is not None
    assert run.question.counterfactual.name == "black"
    with pytest.raises(TypeError, match="nonsense"):
        loaded.ask("Shape:", nonsense=1)


def test_what_cannot_be_asked_or_loaded_is_said() -> None:
    with pytest.raises(CannotLoad, match="no such folder"):
        load("./missing")
    with pytest.raises(BadInput, match=r"missing\.png"):
        load(samples.MODEL).ask("Shape:", image="missing.png")
