"""What `--against` accepts, and its errors for what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.counterfactuals.grammar import MEANINGS, label, parse_against, written
from engine.errors import BadInput
from engine.records import Counterfactual


def test_every_name() -> None:
    asked = "none,unk,unk-all,noise,noise-pure,zero,one,black,white,blur,mean-patch,other=b.png"
    found = parse_against(asked, seed=7)
    assert [each.name for each in found] == list(MEANINGS)
    assert {each.name: each.parameters for each in found if each.parameters} == {
        "noise": {"step": 500},
        "other": {"file": "b.png"},
    }
    assert {each.name for each in found if each.seed is not None} == {"noise", "noise-pure"}
    assert {each.seed for each in found} == {7, None}
    for meaning in MEANINGS.values():
        assert meaning and "\n" not in meaning


def test_values() -> None:
    assert parse_against("noise=0, noise=999,blur=2.5") == (
        Counterfactual("noise", {"step": 0}, 0),
        Counterfactual("noise", {"step": 999}, 0),
        Counterfactual("blur", {"radius": 2.5}),
    )
    assert parse_against("other=a folder/b=c.png") == (
        Counterfactual("other", {"file": "a folder/b=c.png"}),
    )


def test_several_lists_and_each_once() -> None:
    found = parse_against(["none, black", "other=a.png", "other=b.png,,", "black", "noise=500"])
    assert [label(each) for each in found] == [
        "none",
        "black",
        "other=a.png",
        "other=b.png",
        "noise=500",
    ]
    assert parse_against("noise,noise=500") == parse_against("noise")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "no counterfactual is named"),
        (" , ,", "no counterfactual is named"),
        ([], "no counterfactual is named"),
        ("none,blak", "'blak' (did you mean black?)"),
        ("Black", "did you mean black?"),
        ("noise_pure", "did you mean noise-pure?"),
        ("xyzzy", "there are none, unk, unk-all, noise[=STEP, 500], noise-pure"),
        ("black=3", "black takes no value"),
        ("none=", "none takes no value"),
        ("other", "other=FILE"),
        ("other=", "other=FILE"),
        ("noise=", "lacks its value"),
        ("noise=1000", "0 to 999"),
        ("noise=-1", "0 to 999"),
        ("noise=5.5", "0 to 999"),
        ("noise=٣", "0 to 999"),
        ("noise=" + "9" * 5000, "0 to 999"),
        ("blur=0", "above 0"),
        ("blur=-2", "above 0"),
        ("blur=nan", "above 0"),
        ("blur=inf", "above 0"),
        ("blur=1e9", "at most 1000"),
        ("blur=wide", "above 0"),
        ("other=a,file.png", "cannot hold a comma"),
    ],
)
def test_what_is_refused(given: str | list[str], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_against(given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hostile_name_is_told_escaped() -> None:
    with pytest.raises(BadInput) as caught:
        parse_against("\x1b]0;owned\x07")
    assert "\x1b" not in str(caught.value)


def test_labels_say_what_must_be_said() -> None:
    assert label(Counterfactual("blur", {"radius": 7.0})) == "blur=7"
    assert label(Counterfactual("other", {"file": "/a/b/c.png"})) == "other=c.png"
    assert label(Counterfactual("gray", {"color": 3})) == "gray"
    assert label(Counterfactual("noise")) == "noise"
    assert label(Counterfactual("unk", {"note": "pad token"})) == "unk (pad token)"
    assert label(Counterfactual("noise", {"step": 9}, seed=0)) == "noise=9"
    assert label(Counterfactual("noise", {"step": 9}, seed=7)) == "noise=9, seed 7"


@pytest.mark.parametrize("radius", ["3", "3.0", "0.1", "1e-5", "1.2345671", "1.2345672", "1000"])
def test_two_values_are_never_written_alike(radius: str) -> None:
    (made,) = parse_against(f"blur={radius}")
    shown = written(made)
    assert shown == label(made) and shown is not None
    assert parse_against(shown) == (made,)
    assert shown in ("blur=3", "blur=0.1", "blur=1e-05", "blur=1000", f"blur={radius}")


@pytest.mark.parametrize("value", [None, "9", [1], {"a": 1}, True, 10**400, -1, 1e300])
@pytest.mark.parametrize(
    ("name", "key"), [("noise", "step"), ("blur", "radius"), ("other", "file")]
)
def test_a_damaged_session_s_parameters_still_have_a_heading(
    name: str, key: str, value: object
) -> None:
    assert label(Counterfactual(name, {key: value, "note": value})).startswith(name)


def test_the_grammar_needs_no_torch() -> None:
    script = "import sys, engine.counterfactuals.grammar; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
