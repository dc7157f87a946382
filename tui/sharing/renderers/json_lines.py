"""Tables as JSON lines: an object a row."""

from __future__ import annotations

import json

from engine.tables import Table
from tui.sharing.renderers.separated import names, values


def json_lines(table: Table) -> str:
    """Return a line a row: ASCII, values in full, null where one is not known."""
    heads = names(table.columns)
    return "".join(
        json.dumps(dict(zip(heads, values(row, table.columns), strict=True)), allow_nan=False)
        + "\n"
        for row in table.rows
    )
