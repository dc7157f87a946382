"""`lenscope run --against`: counterfactuals without the explorer."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.sessions import read_session
from tests.cli.conftest import Lenscope


def test_each_is_a_run_of_its_own_with_a_comparison(lenscope: Lenscope, tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    ended = lenscope(
        "run", "--prompt", "Shape of the main object:", "--against", "none,noise=999",
        "--against", "black", "--seed", "7", "--json", file,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    session = read_session(file)
    picture, *others = session.runs
    assert [run.question.counterfactual.name for run in others if run.question.counterfactual] == [
        "none", "noise", "black",
    ]  # fmt: skip
    noise = others[1].question.counterfactual
    assert noise is not None
    assert (noise.parameters["step"], noise.seed) == (999, 7)
    assert [comparison.against for comparison in session.comparisons] == [r.id for r in others]
    assert {comparison.of for comparison in session.comparisons} == {picture.id}
    assert all(len(c.rows) == picture.layers + 1 for c in session.comparisons)


def test_the_table_has_a_line_for_each(lenscope: Lenscope) -> None:
    ended = lenscope("run", "--prompt", "Shape of the main object:", "--against", "none,black")
    assert ended.code == 0
    *_, picture, none, black = ended.out.rstrip().splitlines()
    assert picture.startswith("the picture") and "sphere" in picture
    assert none.startswith("none") and "cube" in none
    assert black.startswith("black") and "none" in black
    assert black.split()[-1].isdecimal()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--against", "nne"), "there is no counterfactual 'nne' (did you mean none?)"),
        (("--against", "other"), "other needs a second picture"),
        (("--against", "other=nowhere.png"), "nowhere.png: no such picture"),
        (("--against", "noise=1000"), "from 0 to 999"),
        (("--against", "none", "--no-image"), "--no-image leaves it out"),
    ],
)
def test_bad_input_is_one_line(lenscope: Lenscope, arguments: tuple[str, ...], words: str) -> None:
    ended = lenscope("run", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err.splitlines()[-1]


def test_a_model_without_pictures_says_so(lenscope: Lenscope, saved: object) -> None:
    ended = lenscope("run", "--model", saved("llama"), "--against", "none")  # type: ignore[operator]
    assert ended.code == 2
    assert "takes no pictures" in ended.err.splitlines()[-1]
