"""Names of exported files, and writing them."""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import BadInput
from engine.system.files import reason_of, storable, write_file

_LONGEST_STEM = 40


def suggested_stem(name: str) -> str:
    """Return a file name for a run, without extension, made of the words of its name."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "-".join(words)[:_LONGEST_STEM].strip("-") or "run"


def write_text(path: Path, text: str) -> None:
    """Write a file atomically, so that it is never half written. Raises BadInput."""
    try:
        write_file(path, text.encode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{storable(path)}: cannot be written ({reason_of(error)})") from None
