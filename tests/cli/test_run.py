"""`lenscope run` in this process: exit codes, stdout for data, stderr for talk."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import engine.models.loading
from engine.lens import row_reader
from engine.passes.forward import Forward
from engine.records import Proof, Session
from engine.sessions import read_session
from tests.cli.conftest import Ended, Lenscope
from tui.commands.streams import Output

Saved = Callable[[str], Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(saved: Saved) -> Path:
    """A tiny LLaVA."""
    return saved("llava")


def one_line(ended: Ended) -> str:
    """What a refusal says: nothing on stdout, one safe line last on stderr."""
    assert ended.out == ""
    *_, line = ended.err.splitlines()
    assert line.startswith("lenscope: ")
    assert "Traceback" not in ended.err
    assert line.isprintable()
    return line


def session_of(text: str, folder: Path) -> Session:
    path = folder / "printed.json"
    path.write_text(text)
    return read_session(path)


# What works


def test_the_table(lenscope: Lenscope, model: Path, red_picture: Path) -> None:
    ended = lenscope("run", "--model", model, "--image", red_picture, "--prompt", "What?")
    assert ended.code == 0
    lines = ended.out.splitlines()
    rows = [line for line in lines if line[:5].strip().isdigit()]
    assert [int(line[:5]) for line in rows] == [0, 1, 2, 3, 4]
    assert len({len(line) for line in rows}) == 1
    assert "\x1b" not in ended.out
    assert "\r" not in ended.out
    for word in ("picture", "40x24", "What?", "answer", "proof", "passed"):
        assert word in ended.out
    assert "LlavaForConditionalGeneration" in ended.err
    assert "LlavaForConditionalGeneration" not in ended.out


@pytest.mark.parametrize("top_k", [1, 3, 10, 40])
def test_the_table_has_as_many_tokens_as_asked_for(
    lenscope: Lenscope, model: Path, top_k: int
) -> None:
    ended = lenscope("run", "--model", model, "--no-image", "--top-k", str(top_k))
    assert ended.code == 0
    (head,) = (line for line in ended.out.splitlines() if line.startswith("layer"))
    assert head.count("top-") == top_k


def test_json_on_stdout(lenscope: Lenscope, model: Path, red_picture: Path, tmp_path: Path) -> None:
    ended = lenscope("run", "--model", model, "--image", red_picture, "--json", "-")
    assert ended.code == 0
    assert ended.out.count("\n") == 1
    assert ended.out.isascii()
    assert ended.err
    content = json.loads(ended.out)
    assert list(content)[:2] == ["format", "version"]
    assert content["comparisons"] == []
    session = session_of(ended.out, tmp_path)
    (run,) = session.runs
    assert run.status == "done"
    assert run.proof is not None
    assert run.proof.passed
    assert run.question.picture is not None
    assert run.question.picture.path == str(red_picture)
    assert run.question.picture.preview


def test_json_in_a_file(lenscope: Lenscope, model: Path, red_picture: Path) -> None:
    arguments = ("run", "--model", model, "--image", red_picture, "--json", "out.json")
    ended = lenscope(*arguments, "--no-preview")
    assert (ended.code, ended.out) == (0, "")
    assert "out.json" in ended.err
    (run,) = read_session("out.json").runs
    assert run.question.picture is not None
    assert run.question.picture.preview is None
    assert lenscope(*arguments).code == 0
    assert read_session("out.json").runs[0].id != run.id
    assert [path.name for path in Path.cwd().iterdir()] == ["out.json"]


def test_every_setting_reaches_the_record(lenscope: Lenscope, model: Path, tmp_path: Path) -> None:
    ended = lenscope(
        *("run", "--model", model, "--no-image", "--prompt", "What?", "--system", "Be brief."),
        *("--prefix", " It", "--top-k", "12", "--no-norm", "--dtype", "float32"),
        *("--device", "cpu", "--json", "-"),
    )
    question = session_of(ended.out, tmp_path).runs[0].question
    assert question.text == "Be brief.\nUSER:What? ASSISTANT: It"
    assert (question.prompt, question.system, question.prefix) == ("What?", "Be brief.", " It")
    assert (question.top_k, question.norm, question.chat) == (12, False, True)
    assert question.picture is None
    assert question.model is not None
    assert (question.model.device, question.model.dtype) == ("cpu", "float32")


def test_raw(lenscope: Lenscope, model: Path, red_picture: Path, tmp_path: Path) -> None:
    arguments = ("run", "--model", model, "--image", red_picture, "--raw", "--json", "-")
    for prompt, text in (("What?", "<image>What?"), ("See <image>!", "See <image>!")):
        ended = lenscope(*arguments, "--prompt", prompt)
        question = session_of(ended.out, tmp_path).runs[0].question
        assert (question.text, question.chat) == (text, False)


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    """A picture of floats, which has to be scaled to be shown."""
    path = tmp_path / "scaled.tif"
    Image.linear_gradient("L").resize((40, 24)).convert("F").save(path)
    return path


def test_how_a_picture_had_to_be_shown_is_said(
    lenscope: Lenscope, model: Path, scaled: Path, tmp_path: Path
) -> None:
    said = "shown black to white"
    assert said in lenscope("run", "--model", model, "--image", scaled).out
    ended = lenscope("run", "--model", model, "--image", scaled.as_uri(), "--json", "-")
    assert said in ended.err
    (run,) = session_of(ended.out, tmp_path).runs
    assert run.question.picture is not None
    assert said in str(run.question.picture.note)
    assert run.question.picture.path == str(scaled)


def test_an_address_is_refused_before_the_model_is_loaded(lenscope: Lenscope) -> None:
    ended = lenscope("run", "--model", "samples/model", "--image", "https://example.org/a.png")
    assert ended.code == 2
    assert "addresses are not opened; download it first" in ended.err


def test_norm_off_is_said(lenscope: Lenscope, model: Path) -> None:
    ended = lenscope("run", "--model", model, "--no-image", "--no-norm")
    assert ended.code == 0
    assert "own, with its norm" in ended.out


def test_a_model_without_pictures_or_a_template(lenscope: Lenscope, saved: Saved) -> None:
    ended = lenscope("run", "--model", saved("llama"), "--prompt", "What?")
    assert ended.code == 0
    assert "raw" in ended.err
    assert "picture" not in ended.out


def test_without_an_image_the_bundled_picture_is_asked_about(
    lenscope: Lenscope, model: Path, red_picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samples.DEFAULT_PICTURE", red_picture)
    assert str(red_picture) in lenscope("run", "--model", model).out
    assert str(red_picture) not in lenscope("run", "--model", model, "--no-image").out


def test_the_bundled_model_is_the_default(
    lenscope: Lenscope, red_picture: Path, tmp_path: Path
) -> None:
    ended = lenscope("run", "--image", red_picture, "--json", "-")
    (run,) = session_of(ended.out, tmp_path).runs
    assert run.layers >= 8
    assert run.proof is not None
    assert run.proof.passed


def test_hostile_text_never_reaches_the_terminal_raw(
    lenscope: Lenscope, model: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "\x1b[31m\u202e[red].png"
    Image.new("RGB", (8, 8)).save(picture)
    prompt = "\x1b]0;x\x07 [/red] \u202e \r\n\t \U0001f469\u200d\U0001f680"
    ended = lenscope("run", "--model", model, "--image", picture, "--prompt", prompt)
    assert ended.code == 0
    for line in (ended.out + ended.err).split("\n"):
        assert line.isprintable(), line
        assert "\u202e" not in line
    assert "[/red]" in ended.out


def test_a_terminal_without_unicode(
    lenscope: Lenscope, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    ended = lenscope("run", "--model", model, "--no-image", "--prompt", "日本 é")
    assert ended.code == 0
    sys.stdout.flush()
    assert buffer.getvalue().isascii()
    assert b"proof" in buffer.getvalue()


# Exit code 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--top-k", "0"),
        ("run", "--top-k", "1001"),
        ("run", "--top-k", "three"),
        ("run", "--json"),
        ("run", "--js", "-"),
        ("run", "--no-such-option"),
        ("run", "--image", "a.png", "--no-image"),
        ("run", "positional"),
        ("run", "--quantize", "2bit"),
        ("run", "--dtype", "banana"),
        ("run", "--dtype", "int8"),
        ("--no-such-option",),
        ("--image", "a.png", "--no-image"),
    ],
    ids=" ".join,
)
def test_bad_usage(lenscope: Lenscope, arguments: tuple[str, ...]) -> None:
    ended = lenscope(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"--prompt": ""}, "empty"),
        ({"--prompt": " \n"}, "empty"),
        ({"--prompt": "word " * 20_000}, "512"),
        ({"--prompt": "a <image> b"}, "--raw"),
        ({"--prompt": "a </s> b"}, "</s>"),
        ({"--system": "<image>"}, "--raw"),
        ({"--prefix": "</s>"}, "--raw"),
        ({"--prompt": "\udcff"}, "Unicode"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_prompts_that_cannot_be_asked(
    lenscope: Lenscope, model: Path, settings: dict[str, str], words: str
) -> None:
    pairs = [text for pair in settings.items() for text in pair]
    ended = lenscope("run", "--model", model, "--no-image", *pairs)
    assert ended.code == 2
    assert words in one_line(ended)


def test_more_placeholders_than_pictures(
    lenscope: Lenscope, model: Path, red_picture: Path
) -> None:
    arguments = ("run", "--model", model, "--raw", "--prompt")
    ended = lenscope(*arguments, "<image> a", "--no-image")
    assert ended.code == 2
    assert "<image>" in one_line(ended)
    ended = lenscope(*arguments, "<image><image>", "--image", red_picture)
    assert ended.code == 2
    assert "<image>" in one_line(ended)


def test_a_picture_for_a_model_that_takes_none(
    lenscope: Lenscope, saved: Saved, red_picture: Path
) -> None:
    ended = lenscope("run", "--model", saved("llama"), "--image", red_picture)
    assert ended.code == 2
    assert "--no-image" in one_line(ended)


def test_pictures_that_are_none(
    lenscope: Lenscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before a model is loaded."""
    monkeypatch.delattr(engine.models.loading, "load_with")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    os.mkfifo(tmp_path / "fifo.png")
    for name in ("missing.png", "empty.png", "text.png", "fifo.png", ""):
        ended = lenscope("run", "--image", tmp_path / name)
        assert ended.code == 2
        assert str(tmp_path) in one_line(ended)
    assert lenscope("run", "--image", "~no-such-user-here/x.png").code == 2


def test_sessions_that_are_none(lenscope: Lenscope, tmp_path: Path) -> None:
    (tmp_path / "newer.json").write_text('{"format": "lenscope-session", "version": 9}')
    (tmp_path / "damaged.json").write_text("{")
    for name, words in (("newer", "newer"), ("damaged", "damaged"), ("missing", "no such")):
        ended = lenscope(tmp_path / f"{name}.json")
        assert ended.code == 2
        assert words in one_line(ended)


def test_the_explorer_needs_a_terminal(lenscope: Lenscope) -> None:
    ended = lenscope()
    assert ended.code == 2
    assert "lenscope run" in one_line(ended)


# Exit code 3


def test_models_that_cannot_be_used(
    lenscope: Lenscope, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.json").write_text("{")
    for name in ("missing", "empty", "config"):
        for arguments in (("run", "--model"), ("--model",)):
            ended = lenscope(*arguments, tmp_path / name)
            assert ended.code == 3
            assert str(tmp_path / name) in one_line(ended)
    ended = lenscope("run", "--model", model, "--device", "cuda:99", "--no-image")
    assert ended.code == 3
    assert "cuda:99" in one_line(ended)


def test_a_model_without_a_vocabulary_head(lenscope: Lenscope, tmp_path: Path) -> None:
    from tests.engine.test_loading import save_clip

    save_clip(tmp_path)
    ended = lenscope("run", "--model", tmp_path, "--no-image")
    assert ended.code == 3
    assert "head" in one_line(ended)


def test_a_damaged_chat_template(lenscope: Lenscope, copied: Callable[[str], Path]) -> None:
    folder = copied("llava")
    (folder / "chat_template.jinja").write_text("{% if %}")
    ended = lenscope("run", "--model", folder, "--no-image")
    assert ended.code == 3
    one_line(ended)


def test_a_failed_proof(lenscope: Lenscope, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Proof(0.5, 1e-5, False, "tail")
    monkeypatch.setattr(row_reader, "as_proof", lambda *_: refused)
    for more in ((), ("--json", "out.json")):
        ended = lenscope("run", "--model", model, "--no-image", *more)
        assert ended.code == 3
        assert "proof failed" in ended.err
        assert "passed" not in ended.out
    ended = lenscope("run", "--model", model, "--no-image", "--json", "-")
    assert (ended.code, ended.out) == (3, "")
    assert list(Path.cwd().iterdir()) == []


# Exit code 1


def test_outputs_that_cannot_be_written(
    lenscope: Lenscope, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen before the model is loaded where it can be seen."""
    with monkeypatch.context() as patch:
        patch.delattr(engine.models.loading, "load_with")
        for path in (tmp_path, tmp_path / "missing" / "out.json", "~no-such-user-here/out.json"):
            ended = lenscope("run", "--model", model, "--no-image", "--json", path)
            assert ended.code == 1
            one_line(ended)
    ended = lenscope("run", "--model", model, "--no-image", "--json", "/proc/lenscope.json")
    assert ended.code == 1
    one_line(ended)


def test_a_full_disk_behind_stdout(
    lenscope: Lenscope, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more in (("--json", "-"), ()):
        raw = Output(os.open("/dev/full", os.O_WRONLY), "w")
        with io.TextIOWrapper(io.BufferedWriter(raw)) as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            ended = lenscope("run", "--model", model, "--no-image", *more)
            patch.undo()
            assert ended.code == 1
            assert "the output cannot be written (No space left on device)" in ended.err
            os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError()], ids=repr)
def test_a_pass_that_fails(
    lenscope: Lenscope, model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run = Forward.run

    def fail(forward: Forward, *args: Any) -> Any:
        if threading.current_thread().name == "passes":  # not in the pass that learns the model
            raise error
        return run(forward, *args)

    monkeypatch.setattr(Forward, "run", fail)
    ended = lenscope("run", "--model", model, "--no-image", "--json", "-")
    assert ended.code == 1
    one_line(ended)


# 130, and closed pipes


def test_ctrl_c(lenscope: Lenscope, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    for place, name in ((engine.models.loading, "load_with"), (Forward, "run")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, interrupt)
            ended = lenscope("run", "--model", model, "--no-image", "--json", "out.json")
        assert ended.code == 130
        assert "Traceback" not in ended.err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("more", "writes"), [((), 0), ((), 1), ((), 7), ((), 14), (("--json", "-"), 0)]
)
def test_a_closed_pipe_ends_quietly(
    lenscope: Lenscope,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    writes: int,
) -> None:
    """The reader takes some lines and leaves, as `head` does: ahead of or between the rows."""
    reader, writer = os.pipe()

    class Pipe(io.TextIOWrapper):
        written = 0

        def write(self, text: str) -> int:
            if self.written == writes:
                os.close(reader)
            self.written += 1
            return super().write(text)

    with Pipe(io.BufferedWriter(Output(writer, "w")), encoding="utf-8") as pipe:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", pipe)
            ended = lenscope("run", "--model", model, "--no-image", *more)
        assert pipe.written > writes
        # So that what is still in the buffer can be thrown away.
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe.fileno())
    assert ended.code == 0
    assert "roken pipe" not in ended.err
