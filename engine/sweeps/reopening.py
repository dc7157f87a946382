"""Makes a run of one item of a sweep, so that it opens like any other run, without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import structs

from engine.errors import BadInput
from engine.pictures.opening import picture_from
from engine.records import (
    AnswerReading,
    LayerReading,
    Picture,
    Question,
    Run,
    Token,
    Tracked,
)
from engine.sweeps.records import Sweep, SweepItem, SweepRow
from engine.sweeps.sources.embedded import KINDS, embedded_picture
from engine.sweeps.store import ITEMS, decoded_lines, read_sweep
from engine.system.files import user_path

_ITEM = msgspec.json.Decoder(SweepItem)


def find_item(folder: str | Path, item: str) -> SweepItem:
    """The item with this id. Raises BadInput where there is none."""
    path = user_path(folder)
    wanted = f'"{item}"'.encode("utf-8", "replace")
    for file in sorted(path.glob(ITEMS)):
        # The id comes first in a line.
        for found in decoded_lines(file, _ITEM, "an item", wanted):
            if found.item == item:
                return found
    raise BadInput(f"{folder}: no item {item!r}; `lenscope {folder}` lists them")


def open_item(folder: str | Path, item: str, norm: bool = True) -> Run:
    """An item as a run, with a preview of its picture where the data embeds it.

    Raises BadInput where there is no such item, or no rows without the norm.
    """
    sweep, found = read_sweep(user_path(folder)), find_item(folder, item)
    run = as_run(sweep, found, norm)
    picture = _embedded(sweep, found)
    if picture is None:
        return run
    return structs.replace(run, question=structs.replace(run.question, picture=picture))


def _embedded(sweep: Sweep, item: SweepItem) -> Picture | None:
    """The record, with a preview, of a picture that is embedded in the data. None where it is gone
    or has changed."""
    file = Path(sweep.data.path)
    if item.picture is None or sweep.data.kind not in KINDS:
        return None
    try:
        data = embedded_picture(file, item.picture.path)
        if data is None:
            return None
        record = picture_from(data, _picture_path(sweep, item)).record
    except (BadInput, ImportError):
        return None
    return record if record.sha256 == item.picture.sha256 else None


def as_run(sweep: Sweep, item: SweepItem, norm: bool = True) -> Run:
    """An item as a run: its rows hold the tokens that the sweep stored; the prompt's tokens are not
    known. With `norm` off, the run has another id."""
    rows = item.rows
    if not norm:
        if item.rows_unnormed is None:
            raise BadInput(f"item {item.item} has no rows without the final norm")
        rows = (*item.rows_unnormed, item.rows[-1])
    last = rows[-1] if rows else None
    answer = last.top[0] if last is not None and last.top else None
    return Run(
        id=item.item if norm else hashlib.sha256(item.item.encode()).hexdigest()[:16],
        created=sweep.created,
        status="done",
        layers=sweep.layers,
        question=Question(
            prompt=item.prompt,
            picture=None
            if item.picture is None
            else Picture(path=_picture_path(sweep, item), sha256=item.picture.sha256),
            chat=sweep.question.chat,
            system=sweep.question.system,
            prefix=sweep.question.prefix,
            norm=norm,
            model=sweep.model,
        ),
        tokens=(),
        position=0,
        rows=tuple(_reading(row) for row in rows),
        tracked=_tracked(rows, answer),
        proof=item.proof,
        seconds=item.seconds,
        versions=sweep.versions,
        title=None if item.truth is None else f"{item.prompt} it is {item.truth}",
    )


def _picture_path(sweep: Sweep, item: SweepItem) -> str:
    """The path of the picture at the time when it was asked about."""
    assert item.picture is not None
    data = Path(sweep.data.path)
    return str((data if data.is_dir() else data.parent) / item.picture.path)


def _reading(row: SweepRow) -> LayerReading:
    final = row.final
    return LayerReading(
        layer=row.layer,
        top=row.top,
        entropy=row.entropy,
        rms=row.rms,
        answer=None if final is None else AnswerReading(final.probability, None, final.rank),
        kl_to_last=row.kl_to_last,
        approximate=row.approximate,
    )


def _tracked(rows: Sequence[SweepRow], answer: Token | None) -> tuple[Tracked, ...]:
    """The answer in all rows, and every top-1 token in the rows whose stored tokens include it."""
    found: list[Tracked] = []
    if answer is not None:
        found.append(
            Tracked(
                answer.id,
                answer.text,
                "answer",
                tuple(row.final.probability if row.final else None for row in rows),
                (None,) * len(rows),
                tuple(row.final.rank if row.final else None for row in rows),
            )
        )
    leaders = {row.top[0].id: row.top[0] for row in reversed(rows) if row.top}
    for leader in reversed(leaders.values()):
        if answer is None or leader.id != answer.id:
            places = [
                next(
                    ((rank, each) for rank, each in enumerate(row.top, 1) if each.id == leader.id),
                    (None, None),
                )
                for row in rows
            ]
            found.append(
                Tracked(
                    leader.id,
                    leader.text,
                    "top-1",
                    tuple(each.probability if each else None for _, each in places),
                    tuple(each.logit if each else None for _, each in places),
                    tuple(rank for rank, _ in places),
                )
            )
    return tuple(found)
