"""A saliency reading as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.tables import Cell, Column, Table

if TYPE_CHECKING:
    from engine.methods.saliency import SaliencyReading, Way

PRINTED: Final = 20
"""How many cells, and how many positions, a printed table shows."""
NAMES: Final[dict[Way, str]] = {
    "gradient": "gradient x input",
    "ig": "integrated gradients",
    "smoothgrad": "SmoothGrad",
    "attention": "gradient x attention",
    "occlusion": "occlusion",
}
FORMULAS: Final[dict[Way, str]] = {
    "gradient": "sum over x of x * d target / d x.",
    "ig": "sum over x of (x - x0) * the mean of d target / d x on the line from x0 to x.",
    "smoothgrad": (
        "sum over x of the mean of (x + noise) * d target / d x, with noise of 0.15 of the range."
    ),
    "attention": "sum over layers and heads of the positive part of a * d target / d a.",
    "occlusion": "the target less what it is without the cell or position.",
}


def tables(reading: SaliencyReading) -> tuple[Table, ...]:
    """The largest cells and positions, every row's largest position, and the measures."""
    found = [_cells(reading)]
    if reading.positions is not None:
        found.append(_positions(reading))
    if reading.matrix is not None:
        found.append(_rows(reading))
    found.append(_measures(reading))
    return tuple(found)


def _target(reading: SaliencyReading) -> str:
    words = [repr(each.text) for each in reading.of]
    if len(words) == 1:
        return f"the log-probability of {words[0]}"
    return f"the logit of {words[0]} minus that of {words[1]}"


def _by_what(reading: SaliencyReading) -> str:
    if reading.request.way == "attention":
        return "attention weights"
    row = reading.request.row
    return "pixels" if row is None else f"row {row}"


def _cells(reading: SaliencyReading) -> Table:
    cells, sizes = reading.cells.integers, reading.map.values.tolist()
    places = None if reading.grid is None else reading.grid.values.tolist()
    order = _largest(sizes)
    columns = [Column("position", "count"), Column("saliency", "number")]
    if places is not None:
        columns[1:1] = [Column(name, "count") for name in ("tile", "row", "column")]
    rows = tuple(
        (cells[place], *(places[place] if places is not None else ()), _number(sizes[place]))
        for place in order
    )
    way = reading.request.way
    title = (
        f"{NAMES[way]} of {_target(reading)} at position {reading.position}, by {_by_what(reading)}"
    )
    notes = (f"{FORMULAS[way]} The {len(rows)} largest of {len(cells)} cells of the picture.",)
    return Table(title, tuple(columns), rows, notes)


def _positions(reading: SaliencyReading) -> Table:
    assert reading.positions is not None
    sizes = reading.positions.values.tolist()
    rows = tuple((place, _number(sizes[place])) for place in _largest(sizes))
    columns = (Column("position", "count"), Column("saliency", "number"))
    return Table(f"the {len(rows)} largest of {len(sizes)} positions", columns, rows)


def _rows(reading: SaliencyReading) -> Table:
    assert reading.matrix is not None
    cells = [*reading.cells.integers]
    columns = (
        Column("row", "count"),
        Column("position", "count", "largest position"),
        Column("saliency", "number"),
        Column("picture", "number", "sum over the picture"),
    )
    rows: list[tuple[Cell, ...]] = []
    for row, sizes in enumerate(reading.matrix.values.tolist()):
        place = next(iter(_largest(sizes)), None)
        size = None if place is None else _number(sizes[place])
        rows.append((row, place, size, _number(sum(sizes[cell] for cell in cells))))
    return Table("gradient x input, row by row", columns, tuple(rows))


def _measures(reading: SaliencyReading) -> Table:
    rows: list[tuple[Cell, ...]] = [("target", reading.value)]
    if reading.baseline is not None:
        rows.append(("target of what stands in", reading.baseline))
    if reading.completeness is not None:
        rows.append(("completeness error", reading.completeness))
    rows.append(("passes", float(reading.steps)))
    if reading.curves is not None:
        rows += [
            ("insertion", reading.curves.insertion),
            ("insertion in a random order", reading.curves.random_insertion),
            ("deletion", reading.curves.deletion),
            ("deletion in a random order", reading.curves.random_deletion),
        ]
    columns = (Column("measure"), Column("value", "number"))
    return Table("measures", columns, tuple(rows), reading.notes)


def _largest(sizes: list[float]) -> list[int]:
    """The places of the largest numbers by magnitude."""
    known = [place for place, size in enumerate(sizes) if size == size]
    return sorted(known, key=lambda place: -abs(sizes[place]))[:PRINTED]


def _number(size: float) -> float | None:
    return None if size != size else size
