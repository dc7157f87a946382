"""`lenscope run --read`: what methods find, printed and in the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.methods.contrast import ContrastReading
from engine.methods.registry import method_names
from engine.sessions import read_session
from tests.cli.conftest import Lenscope

SHAPE = ("run", "--prompt", "Shape of the main object:")


def test_a_reading_is_printed_below_the_run(lenscope: Lenscope) -> None:
    ended = lenscope(*SHAPE, "--read", "contrast:a=0.5", "--read", "deepen:layer=3,count=4")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    start = lines.index("contrast with none, a=0.5, b=0.1")
    assert lines[start + 1].split() == ["layer", "contrast", "p", "entropy", "JS", "KL"]
    assert [int(line.split()[0]) for line in lines[start + 2 : start + 13]] == list(range(11))
    assert "sphere" in lines[start + 12]
    assert lines[-7:-5] == ["", "row 3"]
    assert [line.split()[0] for line in lines[-5:]] == ["rank", "1", "2", "3", "4"]


def test_it_is_in_the_session_with_the_run_it_needs(lenscope: Lenscope, tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    ended = lenscope(
        *SHAPE, "--against", "black", "--read", 'contrast:against="none,black"', "--json", file
    )
    assert (ended.code, ended.out) == (0, "")
    session = read_session(file)
    picture, *others = session.runs
    names = [run.question.counterfactual.name for run in others if run.question.counterfactual]
    assert names == ["black", "none"]
    assert len(session.comparisons) == 2
    (reading,) = picture.readings
    assert isinstance(reading, ContrastReading)
    assert reading.references == (others[1].id, others[0].id)
    assert all(run.readings == () for run in others)


def test_the_list_says_what_can_be_read_here(lenscope: Lenscope) -> None:
    ended = lenscope("run", "--read", "list")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.out.splitlines()] == list(method_names())
    assert "not here" not in ended.out
    without = lenscope("run", "--no-image", "--read", "list")
    assert without.code == 0
    assert "seen       not here: this run has no picture" in without.out


def test_the_others_are_done_where_one_cannot(lenscope: Lenscope, tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    ended = lenscope(
        *("run", "--no-image", "--read", "seen", "--read", "deepen:layer=2,count=40"),
        *("--read", "contrast", "--json", file),
    )
    assert ended.code == 3
    talk = ended.err.splitlines()
    assert "lenscope: seen: this run has no picture" in talk
    assert any(line.startswith("lenscope: contrast: this run has no picture") for line in talk)
    assert len(read_session(file).runs[0].rows[2].top) == 40


def test_a_request_that_cannot_be_answered_is_bad_input(lenscope: Lenscope) -> None:
    ended = lenscope("run", "--read", "deepen:layer=99")
    assert ended.code == 2
    assert "deepen: there is no row 99" in ended.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "there is no method"),
        ("deepen", "layer= is missing"),
        ("contrast:x=1", "no 'x'"),
    ],
)
def test_bad_usage_is_seen_before_a_model_is_loaded(
    lenscope: Lenscope, text: str, words: str
) -> None:
    ended = lenscope("run", "--model", "./missing", "--read", text)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert words in line
