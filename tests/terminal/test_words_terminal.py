"""The picture under a map of words in a real (pseudo-)terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.pages.palette import FRAME
from tests.terminal.pty_app import ROOT, PtyApp
from tests.terminal.test_terminal import assert_clean

SIZES = [(80, 24), (120, 40), (200, 60)]
FRAMED = "{:02x}{:02x}{:02x}".format(*FRAME)


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_what_is_sent_is_what_is_to_be_seen(tmp_path: Path, columns: int, rows: int) -> None:
    command = [sys.executable, "-m", "tests.terminal.measure_words", "--explore", "--layers", "10"]
    env = {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    with PtyApp(command, columns=columns, rows=rows, env=env, folder=ROOT) as app:
        app.wait_for("top-1 for good")
        app.send("3")
        app.wait_for("internal confidence")
        app.wait_for("x 154")
        app.settle(0.3)
        for keys in ("jj", "n", "\x1b[C\x1b[B", "X", "G", "f", "%", "k"):
            app.send(keys)
        app.wait_for("row 9 of 10")
        app.settle(0.3)
        patched = app.cells()
        assert any(FRAMED in (fg, bg) for line in patched for _, fg, bg, _ in line)
        app.send("\x0c")  # redraws every cell
        app.settle(0.3)
        assert app.cells() == patched
        app.send("q")
        app.wait_for(lambda: "internal confidence" not in app.text)
        app.send("\x11")
        assert app.wait_exit() == 0
        assert_clean(app)
