"""Which process writes a journal, and whether it still runs.

A lock says so wherever files can be locked. Some drives cannot (Lustre without `flock`, some NFS
homes): there the process is looked for, by its id and by when it was started.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from errno import EACCES, EAGAIN, EWOULDBLOCK
from pathlib import Path
from time import time
from typing import Final

import msgspec
from msgspec import Struct

OTHER_MACHINE_SECONDS: Final = 7 * 24 * 3600.0
"""After so long without a change, a journal of a process on another machine, about which nothing
can be found out, counts as left behind."""
_HELD: Final = frozenset({EACCES, EAGAIN, EWOULDBLOCK})
_MOST_BYTES: Final = 4096


class Owner(Struct, frozen=True):
    """A process."""

    pid: int
    started: str
    """When, as the kernel counts it; process ids are used again."""
    host: str
    boot: str = ""
    """Which start of the machine it belongs to."""


def take_lock(path: Path) -> int:
    """Create a lock that says who holds it; return its descriptor.

    Raises OSError, FileExistsError among others, where it cannot be created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # a full disk: it still is a lock
        os.write(descriptor, msgspec.json.encode(_this_process()))
    with suppress(OSError):  # a drive without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def is_held(lock: Path, *, pid: int | None = None, changed: float = 0.0) -> bool:
    """Return whether the process that created a lock still runs.

    The rest counts where the drive has no locks: `pid` if the lock does not say who holds it, and
    when what it protects was `changed` last if that was on another machine.
    """
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # another user's
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD or _owner_runs(descriptor, pid, changed)
    finally:
        os.close(descriptor)
    return False


def _owner_runs(descriptor: int, pid: int | None, changed: float) -> bool:
    try:
        owner = msgspec.json.decode(os.pread(descriptor, _MOST_BYTES, 0), type=Owner)
    except (OSError, msgspec.DecodeError):
        return pid is None or _exists(pid)
    here = _this_process()
    if owner.host != here.host:
        return time() - changed < OTHER_MACHINE_SECONDS
    if owner.boot != here.boot:  # the machine has been started again
        return False
    return _exists(owner.pid) and _started(owner.pid) == owner.started


def _this_process() -> Owner:
    pid = os.getpid()
    return Owner(pid, _started(pid), socket.gethostname(), _boot())


def _started(pid: int) -> str:
    """Return when a process was started, or nothing where the system does not tell."""
    with suppress(OSError, IndexError):
        # The second field, the program's name, may hold anything but is the last in brackets.
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return stat.rpartition(b")")[2].split()[19].decode()
    return ""


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True
