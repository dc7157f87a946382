"""Which pictures of some data are there: found and said before a model is loaded, so that nobody
waits for questions that cannot be asked."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import BadInput
from engine.sweeps.sources.tasks import PictureTasks, Source
from engine.sweeps.words import counted

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)

_Key = tuple[str, Path | None]


@dataclass(frozen=True)
class Presence:
    """The pictures of some data that are there, and what is said about the others."""

    source: Source
    """The data without what is missing. Its counts and its digest are those of all of it, so that a
    sweep can be resumed once more pictures are there."""
    pictures: int
    items: int
    notes: tuple[str, ...]
    """A line for each reason why pictures are missing."""


def only_present(source: Source) -> Presence:
    """The data without pictures that are not there. Raises BadInput where none is."""
    missing: set[_Key] = set()
    reasons: dict[str, tuple[int, str]] = {}
    pictures = items = 0
    for picture in source.listing:
        reason = reason_missing(picture)
        if not reason:
            pictures += 1
            items += len(picture.tasks)
            continue
        missing.add(_key(picture))
        count, first = reasons.get(reason, (0, ""))
        reasons[reason] = count + 1, first or str(picture.file or picture.path)
    notes = tuple(
        _note(reason, count, first, source.picture_count)
        for reason, (count, first) in reasons.items()
    )
    if not pictures:
        raise BadInput(f"{source.path}: {_none(reasons, source.picture_count)}")
    if not missing:
        return Presence(source, pictures, items, ())
    quickly = None if source.quickly is None else _Without(source.quickly, missing)
    present = replace(source, pictures=_Without(source.pictures, missing), quickly=quickly)
    return Presence(present, pictures, items, notes)


def reason_missing(picture: PictureTasks) -> str:
    """Why a picture is not there, in words; empty where it is, or where reading it will tell."""
    if picture.read is not None:
        return ""
    if picture.file is None:
        return picture.missing or "no picture"
    try:
        picture.file.stat()
    except OSError as error:
        return "not there" if error.errno in NOT_THERE else ""
    except ValueError:
        return "not there"
    return ""


def _key(picture: PictureTasks) -> _Key:
    """What tells a picture from others: names that are not UTF-8 may look alike."""
    return picture.path, picture.file


class _Without:
    """Pictures, without some of them."""

    def __init__(self, pictures: Iterable[PictureTasks], missing: set[_Key]) -> None:
        self._pictures = pictures
        self._missing = missing

    def __iter__(self) -> Iterator[PictureTasks]:
        return (each for each in self._pictures if _key(each) not in self._missing)


def _note(reason: str, count: int, first: str, total: int) -> str:
    if reason == "not there":
        are = "is" if count == 1 else "are"
        return f"{count:,} of {counted(total, 'picture')} {are} not there (first: {first})"
    return f"{count:,} of {counted(total, 'picture')}: {reason} (first: {first})"


def _none(reasons: dict[str, tuple[int, str]], total: int) -> str:
    """The words for data of which no picture can be asked about."""
    if not total:
        return "no pictures in it"
    (reason, (_, first)), *others = reasons.items()
    pictures = f"none of its {total:,} pictures" if total > 1 else "its one picture"
    if reason == "not there" and not others:
        are = "is there" if total > 1 else "is not there"
        return f"{pictures} {are} (first: {first}): put them there, or correct their names"
    more = "; others for other reasons" if others else ""
    can = "can" if total > 1 else "cannot"
    return f"{pictures} {can} be asked about: {reason} (first: {first}){more}"
