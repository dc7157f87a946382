"""Positions and the grid in a real (pseudo-)terminal: what is shown, and what a step sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.sessions import read_session
from tests.terminal.pty_app import FAKE, PtyApp

ENDED = "top-1 for good"
MOST_BYTES = 400
"""Of a step of the cursor in the grid, before the table follows."""
SIZES = [
    pytest.param((80, 24), marks=pytest.mark.slow),
    (120, 40),
    pytest.param((200, 60), marks=pytest.mark.slow),
]


def start(tmp_path: Path, size: tuple[int, int], *options: str) -> PtyApp:
    return PtyApp(
        [*FAKE, "--layers", "32", "--chat", "576", *options],
        columns=size[0],
        rows=size[1],
        env={"XDG_STATE_HOME": str(tmp_path / "state")},
        folder=tmp_path,
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_step_in_the_grid_sends_little(size: tuple[int, int], tmp_path: Path) -> None:
    with start(tmp_path, size) as app:
        app.wait_for(ENDED)
        app.wait_for("▸(␣The)")
        app.send("2")
        app.wait_for("grid, probability of the best token, in eighths")
        app.settle()
        app.send("g")  # from the top, so that nothing scrolls
        app.settle()
        for key in "hhhljk":
            before = app.count
            app.send(key)
            app.wait_for(lambda before=before: app.count > before)  # type: ignore[misc]
            app.settle(0.04)  # the table follows after a tenth of a second
            assert app.count - before < MOST_BYTES, bytes(app.output[before:])
            app.settle()
        app.wait_for("at position 585 (0-587)")
        before = app.count
        app.settle(0.5)
        assert app.count == before
        app.send("\x11")
        assert app.wait_exit() == 0
    (kept,) = (tmp_path / "state" / "lenscope" / "sessions").glob("*.json")
    session = read_session(kept)
    assert session.view["place"] == 585
    assert {585} <= {other.position for other in session.runs[0].others}
    assert [reading.method for reading in session.runs[0].readings] == ["grid"]


@pytest.mark.slow
def test_ascii_stays_ascii(tmp_path: Path) -> None:
    with start(tmp_path, (120, 40), "--ascii") as app:
        app.wait_for(ENDED)
        app.wait_for("[576 patches]")
        app.send("2")
        app.wait_for("grid, probability")
        app.send("hhhhhhhj")
        app.wait_for("[1/576]")
        app.settle()
        assert app.text.isascii()
        app.send("\x11")
        assert app.wait_exit() == 0
