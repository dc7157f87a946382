"""The command and the Python that ask the same again: they are run, and answer the same."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image

import samples
from engine.counterfactuals.grammar import parse_against
from engine.events import LoadOptions
from engine.records import Counterfactual, ModelCard, Picture, Question, Run
from engine.sessions import read_session
from tests.tui.dialog_stage import HOSTILE, make_view
from tui.cli import main
from tui.commands.parsers import run_parser
from tui.sharing.reproduce import as_command, as_python

ROOT = Path(__file__).parents[2]
Asked = Callable[[str], tuple[LoadOptions, Question]]

CARD = ModelCard("org/model", "c0ffee", "SomeModel", "bfloat16", "cuda:0")


def run_of(prompt: str = "Shape:", card: ModelCard | None = CARD, **question: Any) -> Run:
    run = make_view(prompt=prompt, **question).run
    return replace(run, question=replace(run.question, model=card))


def words_of(command: str) -> list[str]:
    """What a shell makes of the line."""
    script = f"lenscope() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What `lenscope run` makes of a line."""

    def ask(command: str) -> tuple[LoadOptions, Question]:
        heard: list[tuple[LoadOptions, Question]] = []

        def run(options: LoadOptions, question: Question, **_: object) -> int:
            heard.append((options, question))
            return 0

        monkeypatch.setattr("tui.commands.run.run_headless", run)
        assert main(words_of(command)) == 0
        return heard[0]

    return ask


# What the line says


def test_only_what_differs_is_said() -> None:
    run = run_of(card=replace(CARD, revision=None, dtype="int8"))
    command = "lenscope run --model org/model --no-image --prompt Shape:"
    assert as_command(run, None) == command
    assert as_command(run, LoadOptions("org/model")) == command


def test_every_setting_is_said(asked: Asked, tmp_path: Path) -> None:
    picture = tmp_path / "it's a picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    run = run_of(
        "What's this?",
        picture=Picture(path=str(picture)),
        chat=False,
        system="Be brief.",
        prefix=" It's",
        norm=False,
        top_k=7,
    )
    options = LoadOptions(
        "org/model",
        dtype="bfloat16",
        quantize="4bit",
        device_map="auto",
        revision="main",
        cache_dir="/a b",
        trust_remote_code=True,
        allow_pickle=True,
    )
    told, question = asked(as_command(run, options))
    assert told == replace(options, revision="c0ffee")  # the commit, not the branch
    assert question.picture is not None
    assert question.picture.path == str(picture)
    assert replace(question, picture=run.question.picture) == replace(
        run.question, model=None, text=""
    )
    assert asked(as_command(run, LoadOptions("org/model", device="cuda:1")))[0].device == "cuda:1"


def test_another_model_is_loaded_as_the_record_says(asked: Asked) -> None:
    """The options are those of the model that is loaded now."""
    told, _ = asked(as_command(run_of(), LoadOptions("org/later", device="cuda:1")))
    assert told == LoadOptions("org/model", revision="c0ffee", dtype="bfloat16")


def test_an_adapter_is_said_of_any_run_that_had_one(asked: Asked, tmp_path: Path) -> None:
    folder = tmp_path / "an adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").touch()
    run = run_of(card=replace(CARD, adapter=str(folder)))
    for options in (None, LoadOptions("org/model"), LoadOptions("org/later")):
        assert asked(as_command(run, options))[0].adapter == str(folder)
    assert f"adapter={str(folder)!r}" in as_python(run, None)
    without = LoadOptions("org/model", adapter=str(folder))
    assert asked(as_command(run_of(), without))[0].adapter is None
    left_out = LoadOptions("org/model", no_adapter=True)
    assert asked(as_command(run_of(), left_out))[0].no_adapter


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
    | st.sampled_from([HOSTILE, "--json", "-", "$(touch x)", "`x`", "!!", "a'b\"c\\", "\\x41\x01"])
)
def test_the_shell_reads_back_any_prompt(prompt: str) -> None:
    command = as_command(run_of(prompt, prefix=prompt), None)
    assert command.isprintable()
    parsed = run_parser().parse_args(words_of(command)[1:])
    assert (parsed.prompt, parsed.prefix) == (prompt, prompt)


def test_a_plain_line_is_plain() -> None:
    command = as_command(run_of("What's that, then?"), None)
    assert shlex.split(command)[-5:] == [
        "What's that, then?", "--dtype", "bfloat16", "--revision", "c0ffee"
    ]  # fmt: skip


@pytest.mark.parametrize("write", [as_command, as_python])
def test_what_cannot_be_asked_again_is_said(write: Callable[..., str]) -> None:
    mapped = LoadOptions("org/model", device_map={"": 0})
    for run, options, words in (
        (run_of(counterfactual=Counterfactual(f"gray {HOSTILE}")), None, "instead of the picture"),
        (run_of(card=None), None, "which model"),
        (run_of(), mapped, "device map"),
    ):
        text = write(run, options).rstrip("\n")
        assert text.startswith("# ")
        assert words in text
        assert text.isprintable()


@given(st.text(max_size=20))
def test_the_python_is_python(text: str) -> None:
    run = run_of(text, prefix=text, system=text, picture=Picture(path=text))
    code = as_python(run, LoadOptions("org/model", cache_dir=text))
    compile(code, "copied", "exec")
    assert all(line.isprintable() for line in code.splitlines())


def test_a_counterfactual_is_asked_for_again(asked: Asked, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    for text, seed in (("noise=999", 7), ("blur=2.5", 0), ("none", 0), (f"other={picture}", 0)):
        (counterfactual,) = parse_against(text, seed)
        run = run_of(picture=Picture(path=str(picture)), counterfactual=counterfactual)
        parsed = run_parser().parse_args(words_of(as_command(run, None))[1:])
        assert parse_against(parsed.against, parsed.seed) == (counterfactual,)
    no_command = run_of(counterfactual=Counterfactual("other", {"file": "a,b.png"}))
    assert as_command(no_command, None).startswith("# ")


# What comes of it


def answer_of(command: str, folder: Path) -> Run:
    words = [sys.executable, "-m", "tui", *words_of(command)]
    done = subprocess.run(
        [*words, "--json", str(folder / "again.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return read_session(folder / "again.json").runs[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {
            "picture": Picture(path=str(samples.DEFAULT_PICTURE)),
            "counterfactual": Counterfactual("noise", {"step": 900}, seed=3),
        },
        {"picture": Picture(path=str(samples.DEFAULT_PICTURE))},
        {"chat": False, "norm": False, "prefix": " a", "top_k": 5},
    ],
    ids=["counterfactual", "picture", "raw"],
)
def test_the_command_and_the_python_answer_the_same(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    card = ModelCard("samples/model", None, "LlavaForConditionalGeneration", "float32", "cpu")
    options = LoadOptions("samples/model", device="cpu", dtype="float32")
    run = run_of("Shape of the main object:", card, **settings)
    first = answer_of(as_command(run, options), tmp_path)
    again = answer_of(as_command(first, options), tmp_path)
    assert again.rows == first.rows
    done = subprocess.run(
        [sys.executable, "-c", as_python(first, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == first.layers + 1
    for line, row in zip(lines, first.rows, strict=True):
        layer, rest = line.split(" ", 1)
        assert int(layer) == row.layer
        top = [(token.text, token.probability) for token in row.top[: first.question.top_k]]
        assert rest == f"{top} {row.entropy}"
