"""Times and ids as records hold them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> str:
    """The time: RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_run_id() -> str:
    """16 hex digits."""
    return secrets.token_hex(8)
