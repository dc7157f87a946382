"""What sweeps can read of every question besides its rows, by the names of methods.

What is read by depth, as curves over layers or rows, is a module in `engine.sweeps.depth`, a record
in `engine.sweeps.records` and a line here.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.sweeps.depth.depth_read import DepthRead

ATTENTION: Final = "attention"
ANSWER: Final = "answer"
_BY_DEPTH: Final = {
    "parts": "engine.sweeps.depth.parts:Parts",
    "tracing": "engine.sweeps.depth.tracing:Tracing",
}
"""Name -> "module:class", which is imported when it is first used."""
READS: Final = (ATTENTION, ANSWER, *_BY_DEPTH)


@cache
def depth_read(name: str) -> DepthRead:
    """What reads this by depth."""
    module, _, kind = _BY_DEPTH[name].partition(":")
    made: DepthRead = getattr(import_module(module), kind)()
    return made


def by_depth(names: Collection[str] = READS) -> tuple[DepthRead, ...]:
    """Those of some readings that are by depth."""
    return tuple(depth_read(name) for name in _BY_DEPTH if name in names)
