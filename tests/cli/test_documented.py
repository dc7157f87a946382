"""Every command in README and docs is run, in the order of its page, or has a reason why not."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.methods.registry import method_names, method_of
from engine.methods.requests import parse_read, request_of
from samples.making.clevr import write_clevr
from tests.cli.conftest import Lenscope
from tests.terminal.pty_app import PtyApp
from tui.commands.parsers import COMMANDS, explorer_parser

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STARTS = ("lenscope", "python", "pip", "pipx", "uv", "accelerate", "pytest", "ssh", "cd")
_COMMENT = re.compile(r"\s+#\s.*$")

STANDS_FOR = {
    "M": str(ROOT / "samples" / "model"),
    "Qwen/Qwen2-VL-2B-Instruct": str(ROOT / "samples" / "model"),
    "dog": "red",
    "cat": "blue",
}
"""What the bundled model has instead of a page's models and words."""
ELSEWHERE = {
    "python3 dev.py test": "this is it",
    "python3 dev.py open": "tests/terminal runs what it starts; installing takes minutes",
    "python3 dev.py python": "its module is run under its own name",
    "uv tool install": "tests/test_stranger.py does it in an empty environment",
    "pip install": "the wheel's test installs the package",
}
"""Commands that other tests stand for."""


def commands(page: Path) -> list[str]:
    """The commands of a page, without comments, continued lines joined."""
    lines = []
    for block in blocks(page, ""):
        bare = [_COMMENT.sub("", line).strip() for line in block.replace("\\\n", " ").splitlines()]
        if any(line.startswith(_STARTS) for line in bare):
            lines += [line for line in bare if line]
    return lines


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language, or in none."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for its, text in found if its == language]


def documented() -> Iterator[tuple[str, str]]:
    """Page and command."""
    for page in PAGES:
        for command in commands(page):
            if not command.startswith(tuple(ELSEWHERE)):
                yield page.name, command


def words_of(command: str) -> list[str]:
    """The arguments, with what this machine has instead of a page's models and words."""
    words = shlex.split(command)
    return [
        re.sub(
            r"(?<=[=\",])(dog|cat)\b",
            lambda found: STANDS_FOR[found[0]],
            STANDS_FOR.get(word, word),
        )
        for word in words
    ]


def test_every_page_is_linked_from_the_readme() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    assert not [page.name for page in PAGES[1:] if f"(docs/{page.name}" not in readme]
    assert len(readme.splitlines()) <= 150


@pytest.mark.parametrize(("page", "command"), [*documented()])
def test_every_command_is_understood(page: str, command: str) -> None:
    words = words_of(command)
    if words[0] == "lenscope":
        name, rest = words[1] if len(words) > 1 else "", words[2:]
        options = (
            COMMANDS[name].parser().parse_args(rest)
            if name in COMMANDS
            else (explorer_parser().parse_args(words[1:]))
        )
        for read in getattr(options, "read", None) or ():
            asked, settings = parse_read(read)
            if asked != "list":
                assert asked in method_names()
                request_of(method_of(asked), settings)
    elif words[:2] == ["python", "-m"]:
        assert find_spec(words[2]) is not None
    else:
        raise AssertionError(f"{page}: nothing runs {command!r}")


@pytest.fixture
def desk(lenscope: Lenscope, tmp_path: Path) -> Lenscope:
    """A folder with what the pages speak of: two pictures, a data set, a session, a sweep."""
    work = tmp_path / "work"
    picture = work / "photo.jpg"
    Image.open(ROOT / "samples" / "pictures" / "scene_1.png").convert("RGB").save(picture)
    Image.open(ROOT / "samples" / "pictures" / "scene_2.png").convert("RGB").save(work / "b.png")
    write_clevr(work / "scenes", 2)
    asked = {"image": str(picture), "question": "Is there a cube?", "answer": "yes"}
    (work / "pope.jsonl").write_text(json.dumps(asked) + "\n")
    return lenscope


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_runs(page: Path, desk: Lenscope, tmp_path: Path) -> None:
    """In the order of the page, in one folder, beginning with a session and a sweep."""
    told = [words_of(each) for each in commands(page) if not each.startswith(tuple(ELSEWHERE))]
    if not told:
        return
    read = ["--read", "geometry", "--read", "words:words=sphere"]
    assert desk("run", "--against", "noise", *read, "--json", "session.json").code == 0
    first = next((words for words in told if "found" in words), ["", "sweep"])
    if first[1] != "sweep":
        assert desk("sweep", "--data", "scenes", "--out", "found").code == 0
    for words in told:
        if words[0] == "python":
            continue  # measurements and training, which take minutes to hours
        if len(words) > 1 and words[1] in COMMANDS:
            ended = desk(*words[1:])
            assert ended.code == 0, f"{shlex.join(words)}\n{ended.err}"
        else:
            _explore(words[1:], tmp_path / "work")


def _explore(words: list[str], folder: Path) -> None:
    """Open the explorer, wait for its first frame, and leave it."""
    if "--item" in words:
        line = next((folder / "found").glob("items-*.jsonl")).read_text().splitlines()[0]
        words[words.index("--item") + 1] = json.loads(line)["item"]
    with PtyApp([sys.executable, "-m", "tui", *words], folder=folder) as app:
        app.wait_for("quit", seconds=60)
        app.send("q")
        assert app.process.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_example_runs(page: Path, desk: Lenscope, tmp_path: Path) -> None:
    """One after the other, with what docs/scripts.md begins with."""
    begins = blocks(ROOT / "docs" / "scripts.md", "python")[0]
    told = blocks(page, "python")
    if not told:
        return
    names: dict[str, Any] = {}
    for block in told if begins in told else [begins, *told]:
        code = block.replace('"samples/', f'"{ROOT}/samples/')
        if find_spec("pandas") is None:  # which is no dependency
            code = re.sub(r"^.*\bto_pandas\(.*$", "", code, flags=re.MULTILINE)
        exec(compile(code, page.name, "exec"), names)
