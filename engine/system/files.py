"""Files that the user names: whatever goes wrong with one is one clear line."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.errors import BadInput

GIT_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the file begins that Git leaves in place of one that was not downloaded."""


def user_path(name: str | Path) -> Path:
    """The path that the user's name for it means, `~` expanded. Raises OSError where that fails."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # the home folder of a user that does not exist
        raise OSError(str(error)) from None


def reason_of(error: Exception) -> str:
    """Why a file operation failed, in a few words."""
    return getattr(error, "strerror", None) or str(error)


def storable(name: str | Path) -> str:
    """A path as text that JSON can hold: bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def read_file(name: str | Path, what: str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; `what` names its kind in messages.

    Raises BadInput, naming the file and what is wrong with it.
    """
    shown = storable(name)
    try:
        file = user_path(name)
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadInput(f"{shown}: a folder, not a {what}")
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{shown}: not a regular file")
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError:
        raise BadInput(f"{shown}: {_missing(name, what)}") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{shown}: the {what} cannot be read ({reason_of(error)})") from None
    if len(data) > limit:
        size = max(status.st_size, len(data))
        raise BadInput(f"{shown}: {size:,} bytes; the limit for a {what} is {limit:,}")
    return data


def _missing(name: str | Path, what: str) -> str:
    """What to say of a file that is not there."""
    try:
        target = storable(user_path(name).readlink())
    except OSError:
        return f"no such {what}"
    if "/annex/objects/" in target:
        return f"its content is not here: git annex get fetches the {what}"
    return f"a link to {target}, where there is no such {what}"


@contextlib.contextmanager
def replacing(name: str | Path) -> Iterator[BinaryIO]:
    """Write a regular file atomically: what is written here replaces the file once all of it is
    written, and keeps the old file's permissions.

    Raises OSError or ValueError where that fails; the old file then stays as it was.
    """
    temporary: Path | None = None
    try:
        try:
            # A rename over a symbolic link would replace the link, not the file that it names.
            file = user_path(name).resolve()
        except RuntimeError as error:  # a symbolic link to itself
            raise OSError(str(error)) from None
        mode = _mode_of(file)
        temporary = file.with_name(f".lenscope-{secrets.token_hex(6)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_file(name: str | Path, data: bytes) -> None:
    """Write a regular file atomically, as `replacing` does. Raises what that raises."""
    with replacing(name) as stream:
        stream.write(data)


def _mode_of(file: Path) -> int | None:
    """The permissions of the file that will be replaced, None where there is none yet."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    return stat.S_IMODE(status.st_mode)
