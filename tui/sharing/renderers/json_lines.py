"""Tables as JSON lines: one object per row."""

from __future__ import annotations

import json

from engine.tables import Table
from tui.sharing.renderers.separated import names, values


def json_lines(table: Table) -> str:
    """Return one line per row: ASCII, values in full precision, null where one is not known."""
    heads = names(table.columns)
    return "".join(
        json.dumps(dict(zip(heads, values(row, table.columns), strict=True)), allow_nan=False)
        + "\n"
        for row in table.rows
    )
