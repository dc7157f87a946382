"""Recognises the kind of data at a path, and opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import BadInput
from engine.sweeps.sources import clevr, coco
from engine.sweeps.sources.folders import read_folder
from engine.sweeps.sources.tables import read_table
from engine.sweeps.sources.tasks import Prompt, Source
from engine.system.files import reason_of, user_path

TABLES = (".csv", ".jsonl")
ARROWS = (".parquet", ".arrow")
KINDS = f"a folder, or a {', '.join((*TABLES, *ARROWS))} file"


def open_source(
    name: str | Path,
    prompts: Sequence[Prompt] = (),
    main: clevr.Main = "largest",
    own_questions: bool = False,
) -> Source:
    """The questions of some data: a CLEVR or COCO folder, any other folder of pictures, or a CSV,
    JSONL, Parquet or Arrow file.

    `prompts` are for data without questions of its own, or replace those that are derived.
    `main` and `own_questions` apply to CLEVR. Raises BadInput, naming what cannot be used.
    """
    try:
        path = user_path(name)
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:
        raise BadInput(f"{name}: cannot be opened ({reason_of(error)})") from None
    if is_folder:
        found = _of_folder(path, prompts, main, own_questions)
        if found is not None:
            return found
    if own_questions:
        raise BadInput(f"{name}: only a CLEVR folder has questions of its own to ask")
    if is_folder:
        return read_folder(path, prompts)
    if not is_file:
        raise BadInput(f"{name}: no such data: {KINDS}")
    if path.suffix.lower() in TABLES:
        return read_table(path, prompts)
    if path.suffix.lower() in ARROWS:
        from engine.sweeps.sources.arrow import read_arrow

        return read_arrow(path, prompts)
    raise BadInput(
        f"{name}: not data to sweep: a folder, or a {', '.join((*TABLES, *ARROWS))} file"
    )


def _of_folder(
    path: Path, prompts: Sequence[Prompt], main: clevr.Main, own_questions: bool
) -> Source | None:
    if clevr.scene_files(path) or own_questions:
        return clevr.read_clevr(path, prompts, main, own_questions)
    if coco.annotation_files(path):
        return coco.read_coco(path, prompts)
    return None
