"""Draws a figure of a run into a file: which there are, and what each needs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.counterfactuals.grammar import label
from engine.errors import BadInput
from engine.records import Comparison, Run, Session
from engine.system.files import reason_of, storable, write_file
from tui.sharing.figures.style import DPI, styled
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILMS: Final = ("film", "map-film")
STILL_ENDINGS: Final = (".pdf", ".svg", ".png")
FILM_ENDINGS: Final = (".gif", ".png")


@dataclass(frozen=True)
class FigureOrder:
    """A figure that is asked for."""

    name: str = "plot"
    """One of `tui.sharing.formats.FIGURES`."""
    columns: int = 1
    """As wide as one column of a page, or two."""
    of: str = ""
    """Of a map: a word, "attention" or "saliency"; the newest if empty."""
    row: int | None = None
    """Of a map: the row (of attention: the layer); that with the highest number if None."""
    position: int | None = None
    """Of everything but maps: at which of the run's positions; at its own if None."""


def draw_figure(session: Session, run: Run, order: FigureOrder, path: Path) -> None:
    """Draw a figure of a run of a session into a file, whose ending says in which format.

    Raises BadInput without matplotlib, for an ending that does not fit, if the run has nothing to
    draw, and if the file cannot be written.
    """
    endings = FILM_ENDINGS if order.name in FILMS else STILL_ENDINGS
    ending = path.suffix.lower()
    if ending not in endings:
        raise BadInput(f"{storable(path)}: a {order.name} is written as {', '.join(endings)}")
    _check(run, "this run")
    with ExitStack() as around:
        around.enter_context(styled())
        if order.name in FILMS:
            from tui.sharing.figures.film import write_film

            write_film(_frames(run, order), path)
            return
        drawn = _still(session, run, order)
        buffer = io.BytesIO()
        # Without a date, so that the same run gives the same file.
        dateless = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(ending, {})
        drawn.savefig(buffer, format=ending[1:], dpi=DPI, metadata=dateless)
    try:
        write_file(path, buffer.getvalue())
    except (OSError, ValueError) as error:
        raise BadInput(f"{storable(path)}: cannot be written ({reason_of(error)})") from None


def _check(run: Run, named: str) -> None:
    """Raise BadInput for a run that cannot be drawn."""
    if run.proof is not None and not run.proof.passed:
        raise BadInput(f"{named} failed its proof: no figure is drawn of it")
    if not run.rows:
        raise BadInput(f"{named} has no rows")


def _view(run: Run, order: FigureOrder, named: str = "this run") -> RunView:
    """A run at the position that is to be drawn. Raises BadInput if it was not read there."""
    own = RunView.of(run)
    view = own if order.position is None else own.at(order.position)
    if view is None or not view.rows:
        raise BadInput(f"{named} was not read at position {order.position}")
    return view


def _still(session: Session, run: Run, order: FigureOrder) -> Figure:
    from tui.sharing.figures import comparison, rows, trajectories

    if order.name == "map":
        return next(_maps(run, order, every_row=False))
    view = _view(run, order)
    if order.name == "plot":
        return trajectories.draw(view, order.columns)
    if order.name == "table":
        return rows.draw(view, order.columns)
    with_it, compared = _compared_with(session, run, view.run.position)
    _check(with_it, "the run that it is compared with")
    other = _view(with_it, order, "the run that it is compared with")
    return comparison.draw(view, other, _names(view, other), compared, order.columns)


def _names(view: RunView, other: RunView) -> tuple[str, str]:
    """What two runs are called side by side: by what was shown, if they ask the same."""
    both = (view, other)
    if view.run.question.prompt == other.run.question.prompt:
        shown = [each.run.question.counterfactual for each in both]
        first, second = ("picture" if each is None else label(each) for each in shown)
    else:
        first, second = (each.name for each in both)
    return (first, second) if first != second else (f"{first} (1)", f"{second} (2)")


def _frames(run: Run, order: FigureOrder) -> Iterator[Figure]:
    from tui.sharing.figures import rows

    if order.name == "map-film":
        yield from _maps(run, order, every_row=True)
        return
    view = _view(run, order)
    for until in range(1, len(view.rows)):
        yield rows.draw(view, order.columns, until)
    yield rows.draw(view, order.columns)


def _maps(run: Run, order: FigureOrder, every_row: bool) -> Iterator[Figure]:
    from tui.sharing.figures import patch_map
    from tui.sharing.figures.mapped import mapped, patches_of

    picture = run.question.picture
    if picture is None:
        raise BadInput("this run has no picture")
    patches = patches_of(run)
    found = mapped(run, patches, order.of)
    row = found.best_row if order.row is None else order.row
    if row not in found.map.rows:
        raise BadInput(f"the map of {found.what!r} has no row {row}")
    shown = patch_map.picture_of(picture.preview)
    size = (picture.width, picture.height)
    scale = found.map.scale(log=False)
    for each in found.map.rows if every_row else (row,):
        yield patch_map.draw(
            shown, size, patches, found.map.row(each), scale, found.label(each), order.columns,
        )  # fmt: skip


def _compared_with(session: Session, run: Run, position: int) -> tuple[Run, Comparison | None]:
    """The run that this one was last compared with, else the one before it; and the divergence at
    a position, if it was read there."""
    runs = {each.id: each for each in session.runs}
    known = [
        each
        for each in reversed(session.comparisons)
        if each.of == run.id and each.against in runs and each.rows
    ]
    if known:
        # First what was compared at this position: of equals, the newest.
        best = min(known, key=lambda each: each.position != position)
        return runs[best.against], best if best.position == position else None
    ids = [*runs]
    place = ids.index(run.id) if run.id in ids else 0
    if len(ids) < 2:
        raise BadInput("there is no other run to compare this one with")
    return runs[ids[place - 1 if place else 1]], None
