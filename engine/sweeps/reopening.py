"""Makes a run of one item of a sweep, so that it opens like any other run, without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import UNSET, structs

from engine.errors import BadInput
from engine.pictures.opening import MAX_BYTES, picture_from
from engine.records import (
    AnswerReading,
    LayerReading,
    Made,
    Picture,
    Question,
    Run,
    Token,
    Tracked,
)
from engine.sweeps.checking import Damaged, check_item
from engine.sweeps.decoding import item_of
from engine.sweeps.names import unquoted
from engine.sweeps.records import Sweep, SweepData, SweepItem, SweepRow
from engine.sweeps.sources.embedded import KINDS, embedded_picture
from engine.sweeps.store import ITEMS, decoded_lines, read_sweep
from engine.system.files import read_file, storable, user_path


def find_item(folder: str | Path, item: str) -> SweepItem:
    """The item with this id. Raises BadInput where there is none."""
    path = user_path(folder)
    wanted = f'"{item}"'.encode("utf-8", "replace")
    for file in sorted(path.glob(ITEMS)):
        # The id comes first in a line.
        for found in decoded_lines(file, item_of, "an item", wanted):
            if found.item == item:
                return found
    raise BadInput(f"{folder}: no item {item!r}; `lenscope {folder}` lists them")


def read_item(folder: str | Path, item: str) -> tuple[Sweep, SweepItem]:
    """A sweep and its item with this id. Raises BadInput where there is none, or none that this
    sweep can have written."""
    sweep, found = read_sweep(user_path(folder)), find_item(folder, item)
    try:
        check_item(sweep, found)
    except Damaged as error:
        raise BadInput(f"{storable(folder)}: {error}") from None
    return sweep, found


def open_item(folder: str | Path, item: str, norm: bool = True) -> Run:
    """An item as a run; see `read_item` and `opened`."""
    return opened(*read_item(folder, item), norm)


def opened(sweep: Sweep, found: SweepItem, norm: bool = True) -> Run:
    """An item as a run, with a preview of its picture where the data embeds it. Raises BadInput
    where it has no rows without the norm."""
    run = as_run(sweep, found, norm)
    picture = _with_preview(sweep, found)
    if picture is None:
        return run
    return structs.replace(run, question=structs.replace(run.question, picture=picture))


def _with_preview(sweep: Sweep, item: SweepItem) -> Picture | None:
    """The record, with a preview, of a picture that cannot be opened by the name in a session: one
    that the data embeds, or whose name is not UTF-8. None for others, and where it is gone or has
    changed."""
    try:
        data = _content(sweep, item)
        if data is None:
            return None
        record = picture_from(data, _picture_path(sweep, item)).record
    except (BadInput, ImportError):
        return None
    return record if item.picture is not None and record.sha256 == item.picture.sha256 else None


def _content(sweep: Sweep, item: SweepItem) -> bytes | None:
    if item.picture is None:
        return None
    if sweep.data.kind in KINDS:
        held = embedded_picture(Path(sweep.data.path), item.picture.path)
        if held is not None:
            return held
    name = unquoted(item.picture.path, item.picture.quoted)
    if name == item.picture.path:
        return None
    return read_file(_data_folder(sweep.data) / name, "picture", MAX_BYTES)


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
            counterfactual=None if item.counterfactual is UNSET else item.counterfactual,
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
        made=Made() if item.made is UNSET else item.made,
    )


def _picture_path(sweep: Sweep, item: SweepItem) -> str:
    """The path of the picture, whether or not it is still there."""
    assert item.picture is not None
    name: str | Path = item.picture.path
    if sweep.data.kind in KINDS and item.picture.path.startswith("~"):
        with suppress(OSError):  # a table may name it so
            name = user_path(name)
    return str(_data_folder(sweep.data) / name)


def _data_folder(data: SweepData) -> Path:
    if data.folder:
        return Path(data.folder)
    path = Path(data.path)
    # Tables may be a file or a folder of shards; pictures are named relative to the folder.
    return path.parent if data.kind in KINDS and not path.is_dir() else path


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
    stored = [{token.id: (rank, token) for rank, token in _ranked(row)} for row in rows]
    for leader in reversed(leaders.values()):
        if answer is None or leader.id != answer.id:
            places = [row.get(leader.id, (None, None)) for row in stored]
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


def _ranked(row: SweepRow) -> list[tuple[int, Token]]:
    """The stored tokens and their ranks, the best last."""
    return [*enumerate(row.top, 1)][::-1]
