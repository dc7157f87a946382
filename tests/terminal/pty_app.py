"""A program in a pseudo-terminal: what it writes, what its screen shows, how it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyte

from tests.terminal.seen import Seen, seen_of

ROOT = Path(__file__).resolve().parents[2]
FAKE = [sys.executable, "-m", "tests.terminal.fake_entry"]


class PtyApp:
    """Runs a command in a pty of its own session, so that a hang-up is a real one."""

    def __init__(
        self,
        command: list[str],
        *,
        columns: int = 120,
        rows: int = 40,
        env: dict[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self.output = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        """When something arrived, in seconds of the monotonic clock, and `count` then."""
        self.first_paint: float | None = None
        self.last_output = 0.0
        self.stuck = False
        """Set it, and nothing is read any more: the line has dropped without a hang-up."""
        self._paused = False
        self.master, slave = pty.openpty()
        self._set_size(columns, rows)
        whole_env = {
            **{key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON},
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=whole_env,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> PtyApp:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    def send(self, keys: str) -> None:
        """Type."""
        os.write(self.master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as a terminal does."""
        with self._lock:
            self.screen.resize(rows, columns)
        self._set_size(columns, rows)
        os.kill(self.process.pid, signal.SIGWINCH)

    def pause(self) -> None:
        """Read nothing until `go_on`."""
        self._paused = True

    def go_on(self) -> None:
        """Read again."""
        self._paused = False

    def hang_up(self) -> None:
        """Close the terminal; the program gets SIGHUP."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    @property
    def text(self) -> str:
        """What the screen shows."""
        with self._lock:
            return "\n".join(self.screen.display)

    def cells(self) -> list[list[Seen]]:
        """What the screen shows, with colours."""
        with self._lock:
            screen = self.screen
            return [
                [seen_of(screen.buffer[y][x]) for x in range(screen.columns)]
                for y in range(screen.lines)
            ]

    @property
    def count(self) -> int:
        """Bytes written so far."""
        return len(self.output)

    def wait_for(self, what: str | Callable[[], object], seconds: float = 30) -> None:
        """Wait until the screen shows a text, or a condition holds."""
        holds = (lambda: what in self.text) if isinstance(what, str) else what
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what!r}; the screen:\n{self.text}")
            time.sleep(0.01)

    def settle(self, quiet: float = 0.4, seconds: float = 20) -> None:
        """Wait until nothing has been written for a while."""
        start = time.monotonic()
        end = start + seconds
        while time.monotonic() - max(self.last_output, start) < quiet and time.monotonic() < end:
            time.sleep(0.01)

    def wait_exit(self, seconds: float = 20) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(2)
        return code

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        master = self.master
        while not self.stuck:
            if self._paused:
                time.sleep(0.01)
                continue
            try:
                ready, _, _ = select.select([master], [], [], 0.2)
                data = os.read(master, 65536) if ready else None
            except (OSError, ValueError):
                return
            if data is None:
                if self.master < 0:
                    return
                continue
            if not data:
                return
            now = time.monotonic()
            with self._lock:
                self.output += data
                self.arrivals.append((now, len(self.output)))
                self.last_output = now
                self._stream.feed(data)
            if self.first_paint is None and "lenscope" in self.text:
                self.first_paint = now - self.started


_NOT_PASSED_ON = frozenset(
    {"COLUMNS", "LINES", "NO_COLOR", "SSH_CONNECTION", "TEXTUAL_COLOR_SYSTEM", "TMUX"}
)


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
