"""The program itself in odd surroundings: sizes in the environment, dumb terminals, GNU screen, a
working folder that is removed."""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.terminal.pty_app import FAKE, ROOT, PtyApp
from tests.terminal.test_terminal import ENDED, start

LENSCOPE = [sys.executable, "-m", "tui"]
UNUSED = {"XDG_CONFIG_HOME": "/nowhere", "HF_HUB_OFFLINE": "1"}


def saved_session(tmp_path: Path) -> Path:
    """A session of the fixed data."""
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        app.send("s")
        app.wait_for("saved 1 run to lenscope-")
        app.send("q")
        assert app.wait_exit() == 0
    (file,) = tmp_path.glob("lenscope-*.json")
    return file


def opened(session: Path, columns: int = 90, rows: int = 30, **env: str) -> PtyApp:
    return PtyApp(
        [*LENSCOPE, str(session)],
        columns=columns,
        rows=rows,
        env={"XDG_STATE_HOME": str(session.parent / "state"), **UNUSED, **env},
        folder=session.parent,
    )


@pytest.mark.slow
def test_the_terminals_own_size_wins(tmp_path: Path) -> None:
    with opened(saved_session(tmp_path), COLUMNS="160", LINES="45") as app:
        app.wait_for("? help")
        app.settle()
        assert app.text.splitlines()[1].rstrip().endswith("╮")
        assert "quit" in app.text.splitlines()[-1]
        app.resize(70, 20)
        app.wait_for(lambda: "quit" in app.text.splitlines()[-1])
        assert app.text.splitlines()[1].rstrip().endswith("╮")
        app.send("q")
        assert app.wait_exit() == 0


@pytest.mark.slow
def test_a_dumb_terminal_gets_a_line_and_no_sequence(tmp_path: Path) -> None:
    with opened(saved_session(tmp_path), TERM="dumb") as app:
        assert app.wait_exit() == 2
        assert b"\x1b" not in app.output
        assert b"TERM=dumb" in app.output and b"`lenscope run`" in app.output
    with PtyApp(
        [*LENSCOPE, "run", "--prompt", "hi"], env={"TERM": "dumb", **UNUSED}, folder=ROOT
    ) as app:
        assert app.wait_exit(120) == 0
        assert b"\x1b" not in app.output and b"answer" in app.output


@pytest.mark.slow
@pytest.mark.parametrize("leaves", [False, True], ids=["short", "long"])
@pytest.mark.skipif(shutil.which("screen") is None, reason="GNU screen is not installed")
def test_copying_through_gnu_screen(tmp_path: Path, leaves: bool) -> None:
    command = " ".join([*FAKE, "--layers", "40"])
    (tmp_path / "screenrc").write_text("startup_message off\nterm screen-256color\n")
    folder = tmp_path / "sockets"
    folder.mkdir(mode=0o700)
    with PtyApp(
        ["screen", "-c", str(tmp_path / "screenrc"), "sh", "-c", command],
        env={"SCREENDIR": str(folder), "XDG_STATE_HOME": str(tmp_path / "state")},
    ) as app:
        app.wait_for(ENDED)
        app.settle()
        app.send("Y" if leaves else "y")
        app.wait_for("copied")
        app.settle()
        sent = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)\x07", bytes(app.output))
        text = base64.b64decode(sent[-1]).decode()
        assert text.count("\n") >= (40 if leaves else 0) and "cylinder" in text
        app.send("q")


@pytest.mark.slow
def test_the_working_folder_is_removed(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    with PtyApp(
        [*FAKE, "--layers", "10"],
        env={"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(home)},
        folder=work,
    ) as app:
        app.wait_for(ENDED)
        work.rmdir()
        app.send("s")
        app.wait_for("saved 1 run to")
        app.send("x")
        app.wait_for("to this file, in")
        app.send("\r")
        app.wait_for("wrote ~/")
        app.send("o")
        app.wait_for("open a picture")
        app.send("\x1b")
        app.settle()
        app.send("q")
        assert app.wait_exit() == 0
    assert {path.suffix for path in home.iterdir()} == {".csv"}
    assert len([*(tmp_path / "state" / "lenscope" / "sessions").glob("*.json")]) == 1


@pytest.mark.slow
def test_a_search_for_thousands_of_digits(tmp_path: Path) -> None:
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        pasted = "\x1b[200~#" + "9" * 5000 + "\x1b[201~"
        app.send("/")
        app.settle()
        app.send(pasted + "\r")
        app.wait_for("no row shows")
        for opens in ("t", "x", "o", "M"):
            app.send(opens)
            app.settle()
            app.send(pasted)
            app.settle()
            app.send("\r")
            app.settle()
            app.send("\x1b")
            app.settle()
        app.send("q")
        assert app.wait_exit() == 0
        assert b"Traceback" not in app.output


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without an entry")
def test_no_home_and_no_entry(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    session = saved_session(tmp_path)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    variables = ["-u", "HOME", "-u", "XDG_STATE_HOME", "-u", "XDG_CONFIG_HOME"]
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    with PtyApp(["env", *variables, *user, *LENSCOPE, str(session)], folder=ROOT) as app:
        app.wait_for("? help")
        for key in ("o", "\x1b", "x", "\x1b", "?", "\x1b"):
            app.send(key)
            app.settle()
        app.send("q")
        assert app.wait_exit() == 0
        assert b"Traceback" not in app.output
