"""Textual's driver with a terminal of its own: what other code writes to the standard streams
does not reach the screen."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any, Final

from textual.drivers.linux_driver import LinuxDriver

_KEPT_BYTES: Final = 65536


class TerminalDriver(LinuxDriver):
    """Writes to a descriptor that only it knows.

    Libraries, C code and child processes may write to descriptors 1 and 2 at any time. On the
    terminal that would stay in the middle of the screen, since unchanged cells are not written
    again. While the application runs, both lead into a file, which `foreign_lines` reads.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._streams = _Streams()
        self._file = self._streams.terminal
        self.terminal = self._file.fileno()
        """The descriptor of the terminal."""

    @property
    def foreign_lines(self) -> list[str]:
        """The last lines that other code has written to the standard streams."""
        return self._streams.lines()

    def start_application_mode(self) -> None:
        """Take the standard streams, too."""
        super().start_application_mode()
        self._streams.take()

    def stop_application_mode(self) -> None:
        """Give the standard streams back, too."""
        self._streams.give_back()
        super().stop_application_mode()

    def _get_terminal_size(self) -> tuple[int, int]:
        # Textual asks the standard output, which is a file meanwhile.
        try:
            columns, lines = os.get_terminal_size(self.terminal)
        except OSError:
            return super()._get_terminal_size()
        return columns or 80, lines or 25


class _Streams:
    """The standard streams, of which those that are the terminal lead into a file meanwhile."""

    def __init__(self) -> None:
        stderr = sys.__stderr__
        assert stderr is not None, "the explorer runs in a terminal"
        self.terminal = os.fdopen(os.dup(stderr.fileno()), "w", encoding="utf-8")
        self._kept: dict[int, int] = {}
        # Not a pipe: code that holds the GIL while it writes would wait for its reader for ever.
        self._foreign = tempfile.TemporaryFile()  # noqa: SIM115

    def take(self) -> None:
        if self._kept:
            return
        for stream in (1, 2):
            if os.isatty(stream):
                self._kept[stream] = os.dup(stream)
                os.dup2(self._foreign.fileno(), stream)

    def give_back(self) -> None:
        for stream, kept in self._kept.items():
            os.dup2(kept, stream)
            os.close(kept)
        self._kept.clear()

    def lines(self) -> list[str]:
        end = self._foreign.seek(0, os.SEEK_END)
        self._foreign.seek(max(end - _KEPT_BYTES, 0))
        return self._foreign.read().decode("utf-8", "replace").splitlines()
