"""Names of pictures that are addresses: those of this machine's files are followed, the others are
never opened."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from engine.errors import BadInput
from engine.system.files import storable

_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]+://|data:|file:/|blob:)", re.IGNORECASE)
_SHOWN = 60
_HERE = frozenset({"", "localhost", "127.0.0.1", "[::1]"})


def local_path(name: str | Path) -> str | Path:
    """The path of a picture's file: the name itself, or what a file:// address stands for.

    Raises BadInput for any other address, since nothing is ever downloaded.
    """
    if not isinstance(name, str) or not _ADDRESS.match(name) or os.path.lexists(name):
        return name
    shown = storable(name) if len(name) <= _SHOWN else f"{storable(name[:_SHOWN])}..."
    scheme = name.split(":", 1)[0].lower()
    if scheme == "data":
        raise BadInput(
            f"{shown}: addresses are not opened; write the picture that it holds to a file first"
        )
    if scheme != "file":
        raise BadInput(f"{shown}: addresses are not opened; download it first")
    try:
        parts = urlsplit(name)
    except ValueError:
        raise BadInput(f"{shown}: not a valid address") from None
    if parts.netloc.lower() not in _HERE:
        raise BadInput(f"{shown}: a file of another machine ({parts.netloc}); copy it here first")
    # A question mark or a hash that is not encoded belongs to the name, as everywhere on a disk.
    rest = name.split(":", 1)[1]
    path = rest.removeprefix("//")[len(parts.netloc) :] if rest.startswith("//") else rest
    return os.fsdecode(unquote_to_bytes(path))
