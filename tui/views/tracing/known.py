"""What is known of one tracing: the recovery of every site, row by row. Without Textual."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from engine.arrays import Array
from engine.errors import LenscopeError
from engine.methods.tracing import Metric, Site, TracingPart, TracingReading, TracingRequest
from engine.records import Reading
from tui.text.numbers import number


@dataclass
class Column:
    """The recovery of one site."""

    site: Site
    values: dict[int, float] = field(default_factory=dict)
    """By row; those that have not been patched are missing."""
    whole: bool = False
    """Whether a reading has it, and not only a part of one."""
    failed: bool = False
    """Whether its proof failed, so that it cannot be trusted."""


def setting_of(request: TracingRequest) -> TracingRequest:
    """Return everything that is asked but the sites and the rows: what columns beside each other
    have in common."""
    return replace(request, sites=(), rows=())


class KnownTracing:
    """Collects the columns of one setting, from several readings where sites were added."""

    def __init__(
        self, setting: TracingRequest, count: int, by_id_only: frozenset[str] = frozenset()
    ) -> None:
        """Collect what is known of a run whose prompt has so many tokens. Readings against the runs
        `by_id_only` are not those of a setting that names a counterfactual, since they are of
        another seed."""
        self.setting = setting
        self._by_id_only = by_id_only
        self.columns: dict[str, Column] = {}
        """By the name of the site, in the order in which they came."""
        self.metric: Metric | None = None
        self.against = ""
        """The id of the corrupt run; empty before it is known."""
        self.notes: tuple[str, ...] = ()
        """Untrusted."""
        self._proof = ""
        self.damage = ""
        """What is wrong with a reading that cannot be shown; untrusted."""
        self._count = count

    def take_all(self, readings: Iterable[Reading]) -> None:
        """Take those of these readings that are tracings of the setting, the newest last."""
        for reading in readings:
            if isinstance(reading, TracingReading) and self._is_of(reading):
                self.take(reading)

    def take(self, reading: TracingReading) -> None:
        """Take a whole reading of the setting."""
        proof = reading.proof
        failed = proof is not None and not proof.passed
        self.against, self.notes = reading.against, reading.notes
        if proof is not None:
            self._proof = f"proof{' failed' if failed else ''} {number(proof.error)}"
        self._add(reading.sites, reading.rows, reading.recovery, whole=True, failed=failed)
        self.metric = reading.metric

    def take_part(self, request: TracingRequest, part: TracingPart) -> None:
        """Take what has been patched so far on a request, if it is of the setting."""
        if setting_of(request) == self.setting:
            self._add(part.sites, part.rows, part.recovery)
            self.metric = part.metric

    @property
    def caption(self) -> str:
        """The proof of the newest reading with its number."""
        if all(column.whole for column in self.columns.values()):
            return self._proof
        return "not proved yet"

    @property
    def failed(self) -> bool:
        """Whether the proof of any column failed."""
        return any(column.failed for column in self.columns.values())

    @property
    def rows(self) -> tuple[int, ...]:
        """All rows that any column has, ascending."""
        return tuple(sorted({row for each in self.columns.values() for row in each.values}))

    def _is_of(self, reading: TracingReading) -> bool:
        mine, its = self.setting, setting_of(reading.request)
        named = mine.against == reading.against or (
            mine.against == its.against and reading.against not in self._by_id_only
        )
        same = self._place(its.position) == self._place(mine.position)
        return named and same and replace(its, against=mine.against, position=mine.position) == mine

    def _place(self, position: int) -> int:
        return position + self._count if position < 0 else position

    def _add(
        self,
        sites: Sequence[Site],
        rows: Sequence[int],
        recovery: Array,
        *,
        whole: bool = False,
        failed: bool = False,
    ) -> None:
        try:
            found = recovery.values
        except LenscopeError as error:
            self.damage = str(error)
            return
        if found.shape != (len(sites), len(rows)):
            self.damage = "the recovery has another shape than its sites and rows"
            return
        for site, line in zip(sites, found.tolist(), strict=True):
            known = self.columns.get(site.name)
            if known is not None and known.whole and not whole:
                continue  # it is being patched once more
            values = {
                row: value
                for row, value in zip(rows, line, strict=True)
                if whole or not math.isnan(value)
            }
            if known is not None and not whole:
                values = {**known.values, **values}
            self.columns[site.name] = Column(site, values, whole, failed)
