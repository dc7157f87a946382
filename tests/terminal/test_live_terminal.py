"""Typing in live mode on a real (pseudo-)terminal while passes run."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from engine.sessions import read_session
from tests.terminal.pty_app import FAKE, ROOT, PtyApp

ENDED = "top-1 for good"
TOGGLE = "\x14"
MOST_BYTES = 100
"""Of a letter, before anything that follows from it."""


def kept(tmp_path: Path) -> list[str]:
    """The prompts of the runs in the journal."""
    (journal,) = (tmp_path / "state" / "lenscope" / "sessions").glob("*.json")
    return [run.question.prompt for run in read_session(journal).runs]


@pytest.mark.slow
def test_letters_come_up_while_rows_stream_in(tmp_path: Path) -> None:
    with PtyApp(
        [*FAKE, "--layers", "30", "--row-seconds", "0.02"],
        env={"XDG_STATE_HOME": str(tmp_path / "state")},
        folder=tmp_path,
    ) as app:
        app.wait_for(ENDED)
        app.send("e" + TOGGLE)
        app.wait_for("2/4, live")
        app.settle()
        before = app.count
        app.send("x")
        app.wait_for("object:x")
        assert app.count - before < MOST_BYTES, bytes(app.output[before:])
        app.wait_for("of: ")
        app.wait_for("from ")  # the first rows of the new text are there
        app.send("yz")
        app.wait_for("object:xyz")
        app.wait_for(lambda: "not kept" in app.text and "of: " not in app.text)
        app.send("\r")
        app.wait_for("kept as run 2")
        app.send("\x11")
        assert app.wait_exit() == 0
    assert kept(tmp_path) == ["Shape of the main object:", "Shape of the main object:xyz"]


@pytest.mark.slow
def test_typing_over_a_picture_on_the_bundled_model(tmp_path: Path) -> None:
    model = str(ROOT / "samples" / "model")
    with PtyApp(
        [sys.executable, "-m", "tui", "--model", model, "--prompt", "Color"],
        env={"XDG_STATE_HOME": str(tmp_path / "state"), "LENSCOPE_LIVE": "on"},
        folder=tmp_path,
    ) as app:
        app.wait_for(ENDED, 120)
        app.send("e")
        app.wait_for("live")
        words = " of the main object:"
        for letter in words:
            app.send(letter)
            time.sleep(0.2)  # passes begin, and are cancelled
        app.wait_for("Color" + words)
        app.wait_for(lambda: "not kept" in app.text and "of: " not in app.text, 60)
        app.wait_for("yellow")
        app.send("\r")
        app.wait_for("kept as run 2")
        app.send("\x11")
        assert app.wait_exit() == 0
    assert kept(tmp_path) == ["Color", "Color of the main object:"]
