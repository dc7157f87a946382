"""A stranger's path: README's own line installs it into an empty environment; a picture is read,
then one of the stranger's own; what came of it is sent as a page and opened again."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from engine.pages.opening import read_page
from tests.terminal.pty_app import ROOT, PtyApp
from tests.wheel_check import empty_environment, install

ENDED = "top-1 for good"
README = ROOT / "README.md"
MINUTES = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stranger works; nothing of the clone is in it."""
    return tmp_path_factory.mktemp("stranger")


@pytest.fixture(scope="module")
def command(folder: Path) -> Path:
    """The command that README's line installs, from a copy of what a clone holds."""
    python = empty_environment(folder / "tools")
    try:
        install(python, "uv")
    except subprocess.CalledProcessError:
        pytest.skip("the package registry cannot be reached: README's line was not tried")
    clone = folder / "clone"
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={clone}/"], cwd=ROOT, check=True)
    (line,) = [line for line in README.read_text().splitlines() if line.startswith("uv tool ")]
    places = {"UV_TOOL_DIR": "environment", "UV_TOOL_BIN_DIR": "bin"}
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    # Where pip of this machine finds the build of torch that has no CUDA.
    environment |= {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    uv, *arguments = shlex.split(line)
    subprocess.run([python.parent / uv, *arguments], cwd=clone, env=environment, check=True)
    shutil.rmtree(clone)  # what was installed needs none of it
    return folder / "bin" / "lenscope"


@pytest.fixture
def app(folder: Path, command: Path) -> Iterator[PtyApp]:
    """The explorer as the stranger opens it, in a terminal."""
    with opened(folder, command) as app:
        yield app


def opened(folder: Path, *words: str | Path) -> PtyApp:
    """A command in a terminal, which finds nothing of this tree."""
    state = {f"XDG_{each}_HOME": str(folder / each) for each in ("STATE", "CONFIG")}
    return PtyApp([str(word) for word in words], env=state | {"PYTHONPATH": ""}, folder=folder)


@pytest.mark.slow
def test_from_the_readme_to_a_page_that_opens(folder: Path, command: Path, app: PtyApp) -> None:
    scene = Image.open(ROOT / "samples" / "pictures" / "scene_2.png").convert("RGB")
    scene.save(folder / "own.png")
    app.wait_for("lenscope", MINUTES)
    app.wait_for(ENDED, 5 * MINUTES)
    app.send("o")
    app.wait_for("own.png")
    app.send("own.png\r")
    app.wait_for("r asks about this picture")
    app.send("r")
    app.wait_for(lambda: "own.png" in app.text and ENDED in app.text, MINUTES)
    app.send("s")
    app.wait_for("saved 2 runs to lenscope-")
    app.send("q")
    assert app.wait_exit() == 0
    (session,) = folder.glob("lenscope-*.json")
    with opened(folder, command, "share", session.name, "-o", "page.html") as share:
        assert share.wait_exit(MINUTES) == 0
        assert "wrote page.html: 2 runs" in share.text
    first, own = read_page(folder / "page.html").runs
    for run in (first, own):
        assert run.status == "done" and run.proof is not None and run.proof.passed
        assert len(run.rows) == run.layers + 1
    assert own.question.picture is not None and own.question.picture.path == "own.png"
    with opened(folder, command, "page.html") as again:
        again.wait_for("own.png", MINUTES)
        again.wait_for(ENDED)
        again.send("q")
        assert again.wait_exit() == 0
