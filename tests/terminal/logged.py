"""Runs a program of the explorer and writes down what its thread does, frame by frame.

    python -m tests.terminal.logged LOG MODULE [ARGUMENT ...]

A line of LOG is `KIND SECONDS BUSY BYTES`: the monotonic clock, which all processes share, and the
processor time of the app's thread. The kinds are "key" (an action begins), "draw" (a frame was
composed) and "write" (bytes were handed to the terminal). With LENSCOPE_PROFILE=FILE the app's
thread is profiled, for pstats.
"""

from __future__ import annotations

import cProfile
import functools
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tui.app import Explorer
from tui.terminal.driver import TerminalDriver
from tui.terminal.terminal_app import TerminalApp


class Line(NamedTuple):
    """One line of the log."""

    kind: str
    seconds: float
    busy: float
    bytes: int


def read_log(path: Path) -> list[Line]:
    """Return the lines of a log, in order."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [Line(kind, float(at), float(busy), int(size)) for kind, at, busy, size in lines]


def _log_into(path: Path) -> None:
    stream = path.open("a", buffering=1)

    def note(kind: str, size: int = 0) -> None:
        stream.write(f"{kind} {time.monotonic():.6f} {time.thread_time():.6f} {size}\n")

    _precede(Explorer, "do", lambda *_: note("key"))
    _precede(TerminalApp, "_display", lambda *_: note("draw"))
    _precede(TerminalDriver, "write", lambda _, data: note("write", len(data.encode())))


def _precede(owner: type[Any], name: str, what: Callable[..., None]) -> None:
    """Call `what` with the same arguments before each call of a method."""
    method = getattr(owner, name)

    @functools.wraps(method)  # Textual looks at the signature of an action
    def both(*given: Any) -> Any:
        what(*given)
        return method(*given)

    names = [known for known, value in vars(owner).items() if value is method]
    for known in {name, *names}:  # `Explorer.do` has three names
        setattr(owner, known, both)


def main() -> None:
    log, module, *rest = sys.argv[1:]
    _log_into(Path(log))
    sys.argv[1:] = rest
    profile = os.environ.get("LENSCOPE_PROFILE")
    profiler = cProfile.Profile() if profile else None
    if profiler is not None:
        profiler.enable()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        if profiler is not None and profile:
            profiler.disable()
            profiler.dump_stats(profile)


if __name__ == "__main__":
    main()
