"""The registry of methods. A new method is a module in this package and a line here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, Final

from engine.errors import BadInput
from engine.methods.method import Method
from engine.records import Reading, Request
from engine.tables import Table

_HOMES: Final = {
    "answer": "engine.methods.answer:Answer",
    "attention": "engine.methods.attention:Attention",
    "contrast": "engine.methods.contrast:Contrast",
    "debias": "engine.methods.debias:Debias",
    "deepen": "engine.methods.deepen:Deepen",
    "geometry": "engine.methods.geometry:Geometry",
    "grid": "engine.methods.grid:Grid",
    "knockout": "engine.methods.knockout:Knockout",
    "neurons": "engine.methods.neurons:Neurons",
    "parts": "engine.methods.parts:Parts",
    "saliency": "engine.methods.saliency:Saliency",
    "seen": "engine.methods.seen:Seen",
    "tracing": "engine.methods.tracing:Tracing",
    "track": "engine.methods.track:Track",
    "visit": "engine.methods.visit:Visit",
    "words": "engine.methods.words:Words",
}
"""Name -> "module:class", which is imported when it is first used."""


def method_names() -> tuple[str, ...]:
    """The names of all methods, sorted."""
    return tuple(sorted(_HOMES))


@cache
def method_of(name: str) -> Method[Any, Any]:
    """The method of this name. Raises BadInput, which lists all methods, for an unknown name."""
    if name not in _HOMES:
        raise BadInput(f"there is no method {name!r}; the methods are {', '.join(method_names())}")
    module, _, kind = _HOMES[name].partition(":")
    made: Method[Any, Any] = getattr(import_module(module), kind)()
    return made


def method_for(request: Request) -> Method[Any, Any]:
    """The method that answers this type of request. Raises ValueError if there is none."""
    for name in _HOMES:
        if method_of(name).request is type(request):
            return method_of(name)
    raise ValueError(f"no method answers {type(request).__name__}")


def is_known(name: str) -> bool:
    """Whether this version has a method of that name."""
    return name in _HOMES


def tables_of(reading: Reading, run_ids: Collection[str] | None = None) -> tuple[Table, ...]:
    """Return what a reading found as tables; none for a method that this version does not have.

    With `run_ids`, the ids of the runs in the session, the last table notes which runs that the
    reading refers to are gone.
    """
    if not is_known(reading.method):
        return ()
    tables: tuple[Table, ...] = method_of(reading.method).tables(reading)
    gone = [] if run_ids is None else [run for run in reading.refers_to if run not in run_ids]
    if not gone or not tables:
        return tables
    *others, last = tables
    note = f"No longer in this session: run {', '.join(gone)}, with which this was compared."
    return (*others, replace(last, notes=(*last.notes, note)))
