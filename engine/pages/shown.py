"""What a page shows of a run beyond its record: its readings as tables, and how to ask again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.counterfactuals.grammar import label
from engine.methods.registry import is_known, method_of, tables_of
from engine.records import Reading, Request, Run, UnknownReading
from engine.tables import Table


@dataclass(frozen=True)
class Again:
    """How a run can be asked again; empty where it is not known."""

    command: str = ""
    python: str = ""


def shown_of(run: Run, run_ids: Collection[str], again: Again) -> dict[str, Any]:
    """Return what is shown of a run, as JSON values: its readings in the order in which a session
    holds them."""
    kept = [reading for reading in run.readings if reading.worth_keeping]
    return {
        "command": again.command,
        "python": again.python,
        "readings": [_reading(reading, run_ids) for reading in kept],
    }


def entry_of(run: Run) -> dict[str, Any]:
    """Return a run's line in the list of runs."""
    best = run.rows[-1].top[0] if run.status == "done" and run.rows and run.rows[-1].top else None
    instead = run.question.counterfactual
    return {
        "id": run.id,
        "title": run.title,
        "prompt": run.question.prompt,
        "instead": None if instead is None else label(instead),
        "status": run.status,
        "rows": len(run.rows),
        "answer": None if best is None else best.text,
        "probability": None if best is None else best.probability,
    }


def _reading(reading: Reading, run_ids: Collection[str]) -> dict[str, Any]:
    return {
        "title": method_of(reading.method).title if is_known(reading.method) else "",
        "asked": "" if isinstance(reading, UnknownReading) else _asked(reading.request),
        "tables": [_table(table) for table in tables_of(reading, run_ids)],
    }


def _asked(request: Request) -> str:
    """Return the settings of a request that are not its defaults."""
    found = []
    for each in msgspec.structs.fields(request):
        value = getattr(request, each.name)
        default = each.default if each.default is not msgspec.NODEFAULT else None
        if value != default:
            values = value if isinstance(value, tuple) else (value,)
            found.append(f"{each.encode_name} {', '.join(map(_setting, values))}")
    return "; ".join(found)


def _setting(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "notes": list(table.notes),
        "columns": [
            {
                "head": column.head,
                "kind": column.kind,
                "decimals": column.decimals,
                "right": column.is_right,
                "of_a_token": column.is_of_a_token,
            }
            for column in table.columns
        ],
        "rows": table.rows,
    }
