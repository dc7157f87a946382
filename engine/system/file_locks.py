"""Locks on open files, on file systems that have them and on those that do not."""

from __future__ import annotations

import errno
import fcntl

_NO_LOCKS = frozenset(
    # EINVAL: some file systems in user space; the operations asked for here are all valid.
    {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
)


def lock(handle: int, *, wait: bool) -> bool:
    """Take the exclusive lock of an open file; it ends when the file is closed.

    Returns False where the file system has no locks (Lustre without `flock`, some NFS). Raises
    BlockingIOError where another process has the lock and `wait` is off, OSError for other faults.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def unlock(handle: int) -> None:
    """Give the lock back, also where another process inherited a copy of the file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
