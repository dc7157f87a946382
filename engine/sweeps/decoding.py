"""From a line of the results to its item, whichever readings later versions have added."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.sweeps.reads import READS
from engine.sweeps.records import SweepItem

_ITEMS = msgspec.json.Decoder(SweepItem)


def item_of(line: bytes) -> SweepItem:
    """The item of one line, without the readings of methods that this version does not have: lines
    are never rewritten, so the file keeps these. Raises what `msgspec` does for anything else."""
    try:
        return _ITEMS.decode(line)
    except msgspec.ValidationError:
        raw = msgspec.json.decode(line)
        readings = raw.get("readings") if isinstance(raw, dict) else None
        if not isinstance(readings, list):
            raise
        known = [each for each in readings if not _is_unknown(each)]
        if len(known) == len(readings):
            raise
        return msgspec.convert(raw | {"readings": known}, SweepItem)


def _is_unknown(reading: Any) -> bool:
    method = reading.get("method") if isinstance(reading, dict) else None
    return isinstance(method, str) and method not in READS
