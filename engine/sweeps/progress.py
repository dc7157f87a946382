"""How far a sweep has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import Remedy

NOTE_REMEDIES = {"rounding": Remedy.ONE_AT_A_TIME}
"""What can be done about what a note says, by the note's topic."""


@dataclass
class Progress:
    """Counts of one shard, changed in place while it runs."""

    total: int
    """Questions that were still to be asked when the sweep began."""
    done: int = 0
    """Items that were stored."""
    failed: int = 0
    duplicates: int = 0
    """Questions about a picture that was already asked about under another name: stored once."""
    batch_size: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    """What was found out, by topic: `batches`, `beginnings`, `norm`, `padding`, `pictures`,
    `rounding`, `sharing`."""
