"""What terminals paste when a file is dropped on them: its path, quoted in one of many ways."""

from __future__ import annotations

import shlex
from urllib.parse import unquote, urlsplit


def pasted_path(text: str) -> str:
    """Return the path in a pasted or dropped text: without quotes, escapes or `file://`; of several
    the first."""
    line = text.strip().partition("\n")[0].strip()
    if line.startswith("file://"):
        return unquote(urlsplit(line).path)
    if line[:1] in ("'", '"') or "\\" in line:
        try:
            words = shlex.split(line)
        except ValueError:
            return line
        return words[0] if words else ""
    return line
