"""Annotation files of published data and of annotation tools: of which kind one is, its records."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from engine.errors import BadInput
from engine.sweeps.sources.json_text import ERRORS, decode, json_of, keys_of

MOST_LOOKED_AT: Final = 200
"""JSON files below a folder that are opened to see what they are."""
MOST_IN_A_FOLDER: Final = 32
LARGEST_UNNAMED: Final = 2**30
"""Bytes of a file that is opened to see what it is, though its name says nothing."""
DEEPEST: Final = 3
"""How many folders down annotations are looked for."""

Kind = Literal["COCO", "CLEVR scenes", "CLEVR scene", "CLEVR questions", "VQA questions",
               "VQA answers"]  # fmt: skip
Decoded = TypeVar("Decoded")


def decoded(file: Path, kind: type[Decoded]) -> Decoded:
    """Decode a JSON file into records of this kind. Raises BadInput, saying what is wrong."""
    data = json_of(file, "annotation file")
    try:
        return decode(data, kind)
    except ERRORS as error:
        raise BadInput(f"{file}: not the expected annotations ({error})") from None


def kind_of(file: Path) -> Kind | None:
    """Which annotations a JSON file holds, by what is in it; None for all others.

    Raises BadInput where it cannot be read.
    """
    data = json_of(file, "annotation file")
    keys = keys_of(data)
    if "scenes" in keys:
        return "CLEVR scenes"
    if {"image_filename", "objects"} <= keys:
        return "CLEVR scene"
    if "images" in keys and {"annotations", "categories"} & keys:
        return "COCO"
    if "questions" in keys:
        first = _first_of(data, "questions")
        if "image_filename" in first:
            return "CLEVR questions"
        return "VQA questions" if {"question", "question_id", "image_id"} <= first else None
    if "annotations" in keys and {"question_id", "image_id"} <= _first_of(data, "annotations"):
        return "VQA answers"
    return None


def annotations_in(folder: Path) -> dict[Kind, list[Path]]:
    """The annotation files below a folder, by what they hold. What is no annotation file, or cannot
    be read, is passed over: a folder of pictures may have any other files in it."""
    found: dict[Kind, list[Path]] = {}
    for file in islice(json_files(folder), MOST_LOOKED_AT):
        try:
            kind = kind_of(file) if file.stat().st_size <= LARGEST_UNNAMED else None
        except (BadInput, OSError):
            continue
        if kind is not None:
            found.setdefault(kind, []).append(file)
    return found


def json_files(folder: Path, deepest: int = DEEPEST) -> Iterator[Path]:
    """The JSON files at most `deepest` folders below a folder, sorted, without hidden ones; of a
    folder with one for every picture, the first few."""
    try:
        with os.scandir(folder) as listed:
            entries = sorted(
                (each for each in listed if not each.name.startswith(".")),
                key=lambda each: each.name,
            )
        files = [each for each in entries if each.name.lower().endswith(".json")]
        yield from (Path(each) for each in files[:MOST_IN_A_FOLDER] if each.is_file())
        if deepest:
            for each in entries:
                if each.is_dir(follow_symlinks=False):
                    yield from json_files(Path(each), deepest - 1)
    except OSError:
        return


def places_of(folder: Path, file: Path, split: str, first: Sequence[str]) -> list[str]:
    """Where the pictures of an annotation file may be, inside the folder: in `first`, where
    published data has them, or where tools put them, beside the file or above it."""
    own = file.parent.relative_to(folder).as_posix()
    beside = [
        place
        for base in dict.fromkeys((own, posixpath.dirname(own)))
        for place in (
            posixpath.join(base, "images", split),
            posixpath.join(base, "images"),
            posixpath.join(base, "data"),
            posixpath.join(base, split),
            base,
        )
    ]
    usual = [*first, "data", posixpath.join("data", split), split]
    # In a folder of its own, a file's pictures are beside it, whatever has the same name elsewhere.
    named = own in (".", "annotations", "scenes", "questions")
    return [each or "." for each in (usual + beside if named else beside + usual)]


def _first_of(data: bytes, name: str) -> frozenset[str]:
    """The keys of the first record in a list of a JSON object."""
    try:
        rows = msgspec.json.decode(
            decode(data, dict[str, msgspec.Raw])[name], type=list[msgspec.Raw]
        )
        return keys_of(bytes(rows[0])) if rows else frozenset()
    except ERRORS:
        return frozenset()
