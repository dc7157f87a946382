"""Tracebacks of explorers that ended on an error of their own: kept in a file, for a report."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

from engine.errors import typed_line
from tui.disk.paths import crashes_folder, own_folder, stamp

_MOST_FRAMES: Final = 40
_MOST_CHARACTERS: Final = 2**16
_MOST_FILES: Final = 10


def describe_crash(error: BaseException) -> str:
    """Return what happened, and where, as one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f", line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
    return f"{typed_line(error)}{place}"


def keep_traceback(error: BaseException) -> Path | None:
    """Write the traceback, without the values of variables, to a file of the state folder; return
    its path, or None where it cannot be written."""
    try:
        folder = own_folder(crashes_folder())
        for old in sorted(folder.glob("*.txt"))[: -_MOST_FILES + 1]:
            old.unlink(missing_ok=True)
        path = folder / f"{stamp()}-{os.getpid()}.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(_report(error))
    except OSError:
        return None
    return path


def _report(error: BaseException) -> str:
    lines = traceback.format_exception(error, limit=-_MOST_FRAMES)
    names = ("lenscope", "textual", "msgspec")
    versions = [f"python {platform.python_version()}", sys.platform]
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return f"{', '.join(versions)}\n\n{''.join(lines)[-_MOST_CHARACTERS:]}"
