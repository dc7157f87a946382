"""What the explorer remembers from one start to the next: theme, columns, recent pictures and
models.

It is one file in the state folder. Nothing in it is essential: a damaged file is ignored.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine.system.files import storable, write_file
from tui.disk.paths import own_folder, state_folder

_MOST_PICTURES = 20
_MOST_MODELS = 10
_MOST_BYTES = 2**20
_MOST_CHARACTERS = 4096

Text = Annotated[str, Meta(max_length=_MOST_CHARACTERS)]


class Memory(Struct, frozen=True, omit_defaults=True):
    """The contents of the file."""

    version: int = 1
    theme: Text | None = None
    columns: tuple[Text, ...] | None = None
    plot: Text | None = None
    copy_format: Text | None = None
    pictures: tuple[Text, ...] = ()
    """Absolute paths, newest first."""
    models: tuple[Text, ...] = ()
    """Hub ids and folders, newest first."""


Change = Callable[[Memory], Memory]


class Remembered:
    """Reads the file once, and writes each change at once, merged with what other explorers have
    written."""

    def __init__(self, memory: Memory | None = None, *, writes: bool = False) -> None:
        """Without `writes` nothing goes to the disk."""
        self._memory = memory or Memory()
        self._writes = writes
        self._changes: queue.Queue[Change] = queue.Queue()
        self._writer: threading.Thread | None = None

    @classmethod
    def load(cls) -> Remembered:
        """Return what has been remembered; changes to it are written to the disk,
        if the user has a home."""
        try:
            file = _file()
        except FileNotFoundError:  # no home is known
            return cls()
        return cls(_read(file), writes=True)

    @property
    def theme(self) -> str | None:
        """The theme that was chosen last."""
        return self._memory.theme

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns that were chosen last."""
        return self._memory.columns

    @property
    def plot(self) -> str | None:
        """The name of the measure that was plotted last."""
        return self._memory.plot

    @property
    def copy_format(self) -> str | None:
        """The format that was last used for copying."""
        return self._memory.copy_format

    @property
    def pictures(self) -> tuple[str, ...]:
        """Recent pictures, the newest first."""
        return self._memory.pictures

    @property
    def models(self) -> tuple[str, ...]:
        """Recent models, the newest first."""
        return self._memory.models

    def note(
        self,
        *,
        theme: str | None = None,
        columns: tuple[str, ...] | None = None,
        plot: str | None = None,
        copy_format: str | None = None,
    ) -> None:
        """Remember the choices that are not None."""

        def change(memory: Memory) -> Memory:
            return replace(
                memory,
                theme=theme or memory.theme,
                columns=memory.columns if columns is None else columns,
                plot=plot or memory.plot,
                copy_format=copy_format or memory.copy_format,
            )

        self._change(change)

    def note_picture(self, path: str) -> None:
        """Remember a picture that was opened."""
        whole = _absolute(path)
        if _can_be_kept(whole):
            self._change(lambda memory: _with_picture(memory, whole))

    def note_model(self, name: str) -> None:
        """Remember a model that was loaded."""
        known = _absolute(name) if _is_folder(name) else name
        if _can_be_kept(known):
            self._change(lambda memory: _with_model(memory, known))

    def settle(self, seconds: float) -> bool:
        """Wait at most `seconds` until everything is on the disk; return whether it is."""
        end = monotonic() + seconds
        while self._changes.unfinished_tasks:
            if monotonic() > end:
                return False
            sleep(0.005)
        return True

    def _change(self, change: Change) -> None:
        self._memory = change(self._memory)
        if self._writes:
            self._changes.put(change)
            if self._writer is None:
                # This must not run in the app's thread: a home on a network drive may be slow.
                self._writer = threading.Thread(target=self._write_all, daemon=True)
                self._writer.start()

    def _write_all(self) -> None:
        while True:
            _write(self._changes.get())
            self._changes.task_done()


def _with_picture(memory: Memory, path: str) -> Memory:
    return replace(memory, pictures=_first(path, memory.pictures, _MOST_PICTURES))


def _with_model(memory: Memory, name: str) -> Memory:
    return replace(memory, models=_first(name, memory.models, _MOST_MODELS))


def _absolute(path: str) -> str:
    try:
        return str(Path(path).absolute())
    except OSError:  # the working directory has been removed
        return path


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def _can_be_kept(text: str) -> bool:
    """Return whether a name can be written as UTF-8: file names need not be, but JSON is."""
    return len(text) <= _MOST_CHARACTERS and storable(text) == text


def _first(new: str, known: tuple[str, ...], most: int) -> tuple[str, ...]:
    return (new, *(old for old in known if old != new))[:most]


def _file() -> Path:
    return state_folder() / "remembered.json"


def _read(file: Path) -> Memory:
    try:
        with file.open("rb") as stream:
            memory = msgspec.json.decode(stream.read(_MOST_BYTES), type=Memory)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        return Memory()
    return memory if memory.version == 1 else Memory()


def _write(change: Change) -> None:
    """Read, change and write the file under a lock, so that no explorer overwrites another's
    changes."""
    with contextlib.suppress(OSError), _locked():
        write_file(_file(), msgspec.json.encode(change(_read(_file()))))


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    folder = own_folder(state_folder())
    descriptor = os.open(folder / "remembered.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
