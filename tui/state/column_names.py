"""The columns that the table can have beside its tokens."""

from __future__ import annotations

from typing import Final

COLUMN_NAMES: Final = {
    "entropy": "entropy of the row, in nats",
    "rms": "size of the residual stream before the norm",
    "kl": "KL of the row to the last row, in nats",
    "answer": "probability and rank of the answer",
    "tracked": "probability and rank of the token tracked last",
}
"""Name -> meaning, in the order of the columns."""
