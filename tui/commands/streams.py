"""The standard streams of the process: closed ones made safe, and failures of the output told
from every other error of the system."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

_MODES = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
"""How /dev/null takes the place of a closed descriptor. Reading from a closed stdin and writing to
a closed stdout then fail as they would have; messages to a closed stderr go nowhere."""


class OutputFailed(OSError):
    """stdout cannot be written."""


def guard_streams() -> None:
    """Make the standard streams safe, before anything else opens a file.

    A descriptor that the shell has closed (`<&-`, `>&-`, `2>&-`) would be given to the next file
    that is opened, and what is printed would be written into that file. From now on a failing
    stdout raises OutputFailed, and a failing stderr drops its messages: they are no data, and
    nobody is left to be told.
    """
    for descriptor, mode in _MODES.items():
        _fill(descriptor, mode)
    if sys.stdin is None:
        sys.stdin = sys.__stdin__ = os.fdopen(0, "r", closefd=False)  # type: ignore[misc]
    sys.stdout = _guarded(sys.stdout, Output(1, "w", closefd=False))
    sys.stderr = _guarded(sys.stderr, _Messages(2, "w", closefd=False))
    # Libraries look at these without asking whether they are there.
    for name in ("stdout", "stderr"):
        if getattr(sys, f"__{name}__") is None:
            setattr(sys, f"__{name}__", getattr(sys, name))


def silence(stream: TextIO) -> None:
    """Lead a stream nowhere: Python would complain again when it flushes it at the end."""
    with contextlib.suppress(OSError, ValueError):  # it may have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fill(descriptor: int, mode: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _guarded(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    """A text stream with the encoding of `stream` that writes to `raw`."""
    like: Any = stream if isinstance(stream, io.TextIOWrapper) else None
    if like is not None:
        with contextlib.suppress(OSError):
            like.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding if like else None,
        errors=like.errors if like else "backslashreplace",
        line_buffering=like.line_buffering or like.write_through if like else raw.isatty(),
    )


class _Patient(io.FileIO):
    """Waits where the descriptor does not block: what started us may have set that for itself."""

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        while written is None:
            select.select([], [self.fileno()], [], 1.0)
            written = super().write(data)
        return written


class Output(_Patient):
    """Says that it was the output that failed."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            closed = error.errno == errno.EBADF
            words = "stdout is closed" if closed else error.strerror
            raise OutputFailed(error.errno, words) from None


class _Messages(_Patient):
    """Drops what cannot be written."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))
