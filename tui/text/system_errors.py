"""An error of the operating system as one line."""

from __future__ import annotations

import errno
import os

from engine.errors import one_line
from engine.system.files import storable
from engine.system.working_folder import working_folder_is_gone


def system_error_line(error: OSError) -> str:
    """Return what failed and why: the files that the error names, else what kind of error it is."""
    names = [_shown(name) for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or one_line(error)
    if names:
        return f"{' and '.join(names)}: {reason}"
    if error.errno == errno.ENOENT and working_folder_is_gone():
        return "the working folder has been removed; change to one that exists, and try again"
    kind = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"the system refused something: {reason} ({kind})"


def _shown(name: object) -> str:
    if isinstance(name, int):
        return f"file descriptor {name}"
    if isinstance(name, str | bytes | os.PathLike):
        return storable(os.fsdecode(name))
    return str(name)
