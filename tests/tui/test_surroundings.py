"""What the environment says about the terminal."""

from __future__ import annotations

import base64
import io
import os
import pty
import re
import sys

import pytest

from tui.sharing.clipboard import through_screen
from tui.terminal import surroundings


class Terminal(io.StringIO):
    """A stream that is a terminal of 90 by 30 cells, or that knows no size."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


@pytest.mark.parametrize(("lines", "columns", "kept"), [(30, 90, False), (0, 0, True)])
def test_the_terminals_own_size_wins(
    monkeypatch: pytest.MonkeyPatch, lines: int, columns: int, kept: bool
) -> None:
    master, slave = pty.openpty()
    import termios

    try:
        termios.tcsetwinsize(slave, (lines, columns))
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setenv("LINES", "45")
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, Terminal(slave))
        surroundings.prefer_the_terminals_size()
        assert ("COLUMNS" in os.environ, "LINES" in os.environ) == (kept, kept)
    finally:
        os.close(master)
        os.close(slave)


def test_without_a_terminal_they_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    surroundings.prefer_the_terminals_size()
    assert os.environ["COLUMNS"] == "160"


@pytest.mark.parametrize(
    ("term", "dumb"),
    [("dumb", True), ("DUMB", True), ("dumb-emacs-ansi", True), ("emacs", True)]
    + [(term, False) for term in ("xterm-256color", "eterm-color", "vt100", "screen", "")],
)
def test_dumb_terminals(monkeypatch: pytest.MonkeyPatch, term: str, dumb: bool) -> None:
    monkeypatch.setenv("TERM", term)
    assert surroundings.is_dumb() is dumb
    monkeypatch.delenv("TERM")
    assert not surroundings.is_dumb()


@pytest.mark.parametrize("length", [0, 1, 500, 4000])
def test_screen_gets_short_strings_that_make_one_sequence(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.delenv("STY", raising=False)
    assert through_screen("text") is None
    monkeypatch.setenv("STY", "1.pts-0.host")
    wrapped = through_screen("ü" * length) or ""
    pieces = re.findall(r"\x1bP(.*?)\x1b\\", wrapped, re.DOTALL)
    assert "".join(f"\x1bP{piece}\x1b\\" for piece in pieces) == wrapped
    assert all(len(piece) < 764 and "\x1b\\" not in piece for piece in pieces)
    head, copied = "".join(pieces).removesuffix("\a").rsplit(";", 1)
    assert head == "\x1b]52;c" and base64.b64decode(copied).decode() == "ü" * length
