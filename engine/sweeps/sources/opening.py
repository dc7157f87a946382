"""Recognises the kind of data at a path, by what is in it, and opens it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from engine.errors import BadInput
from engine.sweeps.sources import clevr, coco
from engine.sweeps.sources.annotations import Kind, annotations_in, json_files, kind_of
from engine.sweeps.sources.arrow import read_arrow, read_shards
from engine.sweeps.sources.columns import ColumnReader
from engine.sweeps.sources.contents import beginning_of, is_arrow, is_parquet, other_kind
from engine.sweeps.sources.folders import has_pictures, read_folder
from engine.sweeps.sources.placeholders import Placeholders
from engine.sweeps.sources.shards import saved_by_datasets, shards_in
from engine.sweeps.sources.tables import read_table
from engine.sweeps.sources.tasks import Prompt, Source
from engine.sweeps.sources.text_rows import text_table
from engine.sweeps.sources.vqa import read_vqa
from engine.system.files import reason_of, user_path

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
ARROWS = (".parquet", ".arrow", ".feather")
KINDS = "a folder of pictures, of COCO, CLEVR or VQA, or a CSV, TSV, JSON, Parquet or Arrow file"
MOST_TABLES = 16
"""Tables of a folder that are opened to see which of them name pictures."""


def open_source(
    name: str | Path,
    prompts: Sequence[Prompt] = (),
    main: clevr.Main = "largest",
    own_questions: bool = False,
    take_off: bool = True,
) -> Source:
    """The questions of some data: a CLEVR, COCO or VQA folder, one with tables or shards, any other
    folder of pictures, or a file that is a table or has annotations.

    `prompts` are for data without questions of its own, or replace those that it has.
    `own_questions` asks for the data's own; `main` applies to CLEVR. With `take_off`, a picture's
    placeholder is taken off the beginning or end of questions. Raises BadInput, naming what cannot
    be used.
    """
    try:
        path = user_path(name)
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:
        raise BadInput(f"{name}: cannot be opened ({reason_of(error)})") from None
    opening = _Opening(tuple(prompts), main, own_questions, take_off)
    if is_folder:
        return opening.folder(path)
    if is_file:
        return opening.file(path)
    raise BadInput(f"{name}: no such data: {KINDS}")


class _Opening:
    """How some data is to be opened."""

    def __init__(
        self, prompts: tuple[Prompt, ...], main: clevr.Main, own: bool, take_off: bool
    ) -> None:
        self._given = prompts
        self._main = main
        self._own = own
        self._take_off = take_off
        self._placeholders = Placeholders(take_off)
        self._prompts = tuple(
            Prompt(self._placeholders.without(prompt.text), prompt.group) for prompt in prompts
        )

    def folder(self, path: Path) -> Source:
        """Open a folder. Raises BadInput."""
        saved = saved_by_datasets(path)
        if saved is not None:
            return read_shards(path, saved.files, self._given, self._take_off, saved.notes)
        annotated = self._annotated(path)
        if annotated is not None:
            return annotated
        # A folder of pictures may have tables, too: they are its questions unless others are named.
        if not self._prompts or not has_pictures(path):
            found = self._tables(path)
            if found is not None:
                return found
        if self._own:
            clevr.own_question_files(path)  # which says that there are none
        return self._said(read_folder(path, self._prompts))

    def file(self, path: Path) -> Source:
        """Open a file. Raises BadInput."""
        beginning, suffix = beginning_of(path), path.suffix.lower()
        if is_parquet(beginning) or is_arrow(beginning) or suffix in ARROWS:
            other = other_kind(beginning)
            if other is not None:
                raise BadInput(f"{path}: {other}")
            return read_arrow(path, self._given, self._take_off)
        other = other_kind(beginning)
        if other is not None:
            raise BadInput(f"{path}: {other}")
        text = beginning.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")
        if text[:1] == b"{" and suffix not in TABLES:
            kind = kind_of(path)
            if kind is not None:
                found = self._of_kinds(_folder_of(path), {kind: [path]})
                if found is not None:
                    return found
                raise BadInput(f"{path}: {kind} annotations, which have no questions to ask")
        if suffix not in TABLES and text[:1] not in (b"{", b"[") and not _names_pictures(path):
            raise BadInput(f"{path}: not data to sweep: {KINDS}")
        return read_table(path, self._given, self._take_off)

    def _annotated(self, path: Path) -> Source | None:
        """A folder with annotations; None where there are none that say what to ask."""
        scenes, questions = clevr.scene_files(path), clevr.question_files(path)
        if scenes and not self._own:
            return self._clevr(path, scenes)
        if questions and (self._own or not self._prompts):
            return self._of_kinds(path, {"CLEVR questions": questions})
        published = coco.annotation_files(path)
        if published and not self._own:
            return self._said(coco.read_coco(path, published, self._prompts))
        return self._of_kinds(path, annotations_in(path))

    def _of_kinds(self, path: Path, kinds: dict[Kind, list[Path]]) -> Source | None:
        """Read annotations whose kinds are known, with the pictures of a folder."""
        scenes, questions = clevr.scenes_of(path, kinds), kinds.get("CLEVR questions")
        if scenes and not self._own:
            return self._clevr(path, scenes)
        if questions and (self._own or not self._prompts):
            notes = () if self._own else ("no scenes in it: asked by its own questions",)
            return clevr.read_questions(path, questions, notes)
        if "VQA questions" in kinds:
            answers = kinds.get("VQA answers") or annotations_in(path).get("VQA answers", [])
            return read_vqa(path, kinds["VQA questions"], answers, self._given, self._take_off)
        if "COCO" in kinds and not self._own:
            return self._said(coco.read_coco(path, kinds["COCO"], self._prompts))
        return None

    def _clevr(self, path: Path, scenes: Sequence[Path]) -> Source:
        return self._said(clevr.read_clevr(path, scenes, self._prompts, self._main))

    def _tables(self, path: Path) -> Source | None:
        """A folder with shards, or with one table of pictures; None where there is neither."""
        shards = shards_in(path)
        if shards is not None:
            return read_shards(path, shards.files, self._given, self._take_off, shards.notes)
        tables = _tables_in(path) or [
            table for each in _folders_in(path) for table in _tables_in(each)
        ]
        if len(tables) > 1:
            names = ", ".join(repr(table.relative_to(path).as_posix()) for table in tables[:5])
            raise BadInput(f"{path}: several tables in it ({names}): name one of them")
        return read_table(tables[0], self._given, self._take_off) if tables else None

    def _said(self, source: Source) -> Source:
        """The data, with what is said about the prompts."""
        return dataclasses.replace(source, notes=(*source.notes, *self._placeholders.notes()))


def _folder_of(file: Path) -> Path:
    """The folder of the data that an annotation file belongs to."""
    usual = ("annotations", "scenes", "questions", "labels")
    return file.parent.parent if file.absolute().parent.name in usual else file.parent


def _tables_in(folder: Path) -> list[Path]:
    """The files directly in a folder that are tables of pictures."""
    names = (*TABLES, ".txt")
    with os.scandir(folder) as listed:
        tables = sorted(each.name for each in listed if each.name.lower().endswith(names))
    candidates = [*(folder / name for name in tables), *json_files(folder, deepest=0)]
    return [
        file
        for file in candidates[:MOST_TABLES]
        if not file.name.startswith(".") and file.is_file() and _names_pictures(file)
    ]


def _folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder: each split of a data set may have its table beside it."""
    with os.scandir(folder) as listed:
        found = sorted(
            each.name for each in listed if each.is_dir() and not each.name.startswith(".")
        )
    return [folder / name for name in found[:MOST_TABLES]]


def _names_pictures(file: Path) -> bool:
    """Whether a file is a table with a column of pictures."""
    columns = ColumnReader()
    try:
        if other_kind(beginning_of(file)) is not None:
            return False
        table = text_table(file, columns.has_picture)
        if table.names:
            return columns.has_picture(table.names)
        return any(columns.has_picture([*values]) for _, values, _ in table.rows())
    except BadInput:
        return False
