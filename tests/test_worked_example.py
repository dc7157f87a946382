"""CONTRIBUTING's worked example, followed to the letter in a copy of the tree: one module, one
view, a line in each of two registries, and the method is everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"```python\n# (?P<file>[\w./]+)(?:, after: (?P<anchor>[^\n]*))?\n(?P<code>.*?)```", re.S
)

EXPLORER = """
import asyncio
from engine.events import LoadOptions
from engine.methods.cosine import CosineReading, CosineRequest
from engine.records import Question
from tests.tui.fakes import FakeWorker
from tui.actions.registry import ACTIONS
from tui.app import Explorer
from tui.startup import Startup


class Worker(FakeWorker):
    def _reading(self, run_id, request):
        rows = tuple(row / self.layers for row in range(self.layers + 1))
        return CosineReading(request=request, rows=rows)


async def main():
    startup = Startup(
        options=LoadOptions("samples/model"),
        question=Question("Shape:"),
        no_picture=True,
        worker=Worker,
        remember=False,
        autosave=False,
    )
    app = Explorer(startup)

    def text():
        lines = app.screen._compositor.render_strips(app.size)
        return "\\n".join("".join(segment.text for segment in line) for line in lines)

    async with app.run_test(size=(120, 40)) as pilot:
        async def shows(*words):
            for _ in range(500):
                if all(word in text() for word in words):
                    return
                await asyncio.sleep(0.02)
            raise AssertionError(text())

        await shows("cylinder")
        await pilot.press("f9")
        await shows("cosine with the last row", "0.500", "1.000")
        await pilot.press("f9")
        await pilot.pause()
        assert "0.500" not in text()
        await pilot.press("question_mark", "slash", *"how near", "enter")
        await shows("How near rows point to the last")
        await pilot.press("escape")
        await pilot.press("ctrl+p", *"near")
        await shows("commands", "How near rows point to the last")
        await pilot.press("escape")
    assert "cosine" in {action.id for action in ACTIONS}


asyncio.run(main())
print("shown")
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git knows of this tree, as one commit, with what Python has compiled of it."""
    copy = tmp_path_factory.mktemp("example") / "tree"
    names = _git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").split("\n")
    for name in filter(None, names):
        source, target = ROOT / name, copy / name
        if not source.is_file():
            continue
        _copy(source, target, link=name.startswith("samples/"))
        compiled = Path(cache_from_source(name))
        if (ROOT / compiled).is_file():  # it is valid for a source of the same time and size
            _copy(ROOT / compiled, copy / compiled)
    _git(copy, "init", "-q")
    _git(copy, "add", "-A")
    _git(copy, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "before")
    return copy


@pytest.fixture(scope="module")
def example(tree: Path) -> Path:
    """The same with the worked example in it."""
    blocks = list(BLOCK.finditer((ROOT / "CONTRIBUTING.md").read_text()))
    assert len(blocks) == 4
    for block in blocks:
        file = tree / block["file"]
        if block["anchor"] is None:
            assert not file.exists()
            file.write_text(block["code"])
            continue
        lines = file.read_text().splitlines(keepends=True)
        place = lines.index(block["anchor"] + "\n")
        file.write_text("".join([*lines[: place + 1], block["code"], *lines[place + 1 :]]))
    return tree


def test_it_is_one_module_one_view_and_two_lines(example: Path) -> None:
    assert _git(example, "status", "--porcelain", "-uall").splitlines() == [
        " M engine/methods/registry.py",
        " M tui/views/registry.py",
        "?? engine/methods/cosine.py",
        "?? tui/views/cosine.py",
    ]
    changed = _git(example, "diff", "--numstat").splitlines()
    assert [line.split("\t")[:2] for line in changed] == [["1", "0"], ["1", "0"]]


def test_it_is_clean(example: Path) -> None:
    files = ["engine/methods/cosine.py", "tui/views/cosine.py"]
    for check in (["check"], ["format", "--check"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *check, *files, "engine/methods/registry.py"],
            cwd=example,
            check=True,
        )


@pytest.fixture(scope="module")
def printed(example: Path) -> str:
    """What three commands print, in one process that loads torch once; the last writes s.json."""
    code = (
        "from tui.cli import main\n"
        "run = ['run', '--no-image', '--read', 'cosine']\n"
        "assert main(['run', '--read', 'list']) == 0\n"
        "assert main([*run, '--read', 'cosine:layer=0']) == 0\n"
        "assert main([*run, '--json', 's.json']) == 0"
    )
    return _python(example, "-c", code)


def test_it_is_listed_printed_and_saved(example: Path, printed: str) -> None:
    assert "cosine     How near each row points to the last (cosine) (layer=)" in printed
    assert printed.count("cosine with the last row") == 2
    assert "proof    passed: a row's cosine with itself is 1" in printed
    (run,) = json.loads((example / "s.json").read_text())["runs"]
    (reading,) = run["readings"]
    assert (reading["method"], reading["request"]) == ("cosine", {"layer": -1})
    assert len(reading["rows"]) == run["layers"] + 1
    assert reading["rows"][-1] == pytest.approx(1)


def test_the_session_reopens_with_it_and_without_the_method(example: Path, printed: str) -> None:
    assert printed
    again = (
        "from engine.sessions import read_session, write_session\n"
        "session = read_session('s.json')\n"
        "print([type(each).__name__ for each in session.runs[0].readings])\n"
        "write_session(session, 'again.json')"
    )
    assert _python(example, "-c", again).strip() == "['CosineReading']"
    with_method = json.loads((example / "again.json").read_text())
    registry = example / "engine/methods/registry.py"
    whole = registry.read_text()
    registry.write_text(whole.replace('    "cosine": "engine.methods.cosine:Cosine",\n', ""))
    try:
        assert _python(example, "-c", again).strip() == "['UnknownReading']"
    finally:
        registry.write_text(whole)
    assert json.loads((example / "again.json").read_text()) == with_method


def test_every_copy_format_has_it(example: Path) -> None:
    code = (
        "from engine.methods.cosine import CosineReading, CosineRequest\n"
        "from tui.sharing.copying import reading_text\n"
        "from tui.sharing.formats import COPY_FORMATS\n"
        "reading = CosineReading(request=CosineRequest(), rows=(0.125, None, 1.0))\n"
        "for style in COPY_FORMATS:\n"
        "    assert '0.125' in reading_text(reading, style), style"
    )
    _python(example, "-c", code)


def test_the_explorer_shows_it(example: Path) -> None:
    assert _python(example, "-c", EXPLORER).strip() == "shown"


def _copy(source: Path, target: Path, link: bool = False) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def _python(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "XDG_CONFIG_HOME": str(folder / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
