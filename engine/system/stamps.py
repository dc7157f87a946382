"""Times and ids in the form in which records hold them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> str:
    """The current time: RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_run_id() -> str:
    """A random id of 16 hexadecimal digits."""
    return secrets.token_hex(8)
