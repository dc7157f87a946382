"""Reads VQA (Goyal et al. 2017, arXiv 1612.00837) and sets in its format, such as OK-VQA: a file of
questions, one of answers, and pictures that are known by COCO's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from engine.errors import BadInput
from engine.sweeps.sources.annotations import decoded, places_of
from engine.sweeps.sources.columns import ColumnReader
from engine.sweeps.sources.locating import PictureFiles
from engine.sweeps.sources.row_source import Rows, survey
from engine.sweeps.sources.tasks import Prompt, Source, listed, merged
from engine.system.files import storable


class _Question(Struct):
    image_id: Any
    question_id: Any
    question: str


class _Questions(Struct):
    questions: list[_Question]
    data_subtype: str | None = None


class _Answer(Struct):
    image_id: Any
    question_id: Any
    multiple_choice_answer: Any = None
    answers: Any = None
    question_type: Any = None


class _Answers(Struct):
    annotations: list[_Answer]


def read_vqa(
    folder: Path,
    question_files: Sequence[Path],
    answer_files: Sequence[Path],
    prompts: Sequence[Prompt],
    take_off: bool = True,
) -> Source:
    """The questions in some files about the pictures in a folder, with the answers that other files
    have for them. Raises BadInput, naming what is damaged."""
    answers = [_answers_in(file) for file in answer_files]
    rows: list[tuple[int, dict[str, Any], str]] = []
    notes: dict[str, None] = {}
    for file in question_files:
        found = decoded(file, _Questions)
        split = _folder_name(found.data_subtype)
        located = PictureFiles(
            folder, places_of(folder, file, split, (split, f"images/{split}", "images", "."))
        )
        known = _answers_to(found.questions, answers)
        if not known:
            notes[f"no answers to the questions in {file.name}: no truths are known"] = None
        for number, each in enumerate(found.questions, 1):
            row = {"picture": _picture(folder, located, split, each.image_id)}
            row["question"] = each.question
            answer = known.get(_id(each.question_id))
            if answer is not None:
                if answer.multiple_choice_answer:
                    row["multiple_choice_answer"] = answer.multiple_choice_answer
                row["answers"] = answer.answers
                row["question_type"] = answer.question_type
            rows.append((number, row, f"{file}, question {number}"))

    def all_rows(with_pictures: bool) -> Rows:
        return iter(rows)

    surveyed = survey(
        folder.name, folder, all_rows, _none, prompts, ColumnReader, take_off,
        numbered=False, where=str(folder),
    )  # fmt: skip
    assert surveyed is not None
    return listed(
        "VQA", folder, merged(surveyed.questions.listed()), notes=(*notes, *surveyed.notes)
    )


def _answers_in(file: Path) -> dict[Any, _Answer]:
    return {_id(each.question_id): each for each in decoded(file, _Answers).annotations}


def _answers_to(
    questions: Sequence[_Question], files: Sequence[dict[Any, _Answer]]
) -> dict[Any, _Answer]:
    """The answers of the one file that has most of these questions: ids of other sets may be the
    same by chance. An answer is only that of a question about the same picture."""
    pictures = {_id(each.question_id): _id(each.image_id) for each in questions}
    fitting = [
        {
            number: answer
            for number, answer in answers.items()
            if number in pictures and pictures[number] == _id(answer.image_id)
        }
        for answers in files
    ]
    return max(fitting, key=len, default={})


def _picture(folder: Path, located: PictureFiles, split: str, number: Any) -> str:
    """The picture's name in the folder; where there is none, that of COCO."""
    found = located.file_of_id(number, split)
    if found is not None:
        return storable(found.relative_to(folder))
    text = str(number).strip()
    name = f"COCO_{split}_{int(text):012}.jpg" if text.isdecimal() and len(text) <= 12 else text
    return f"{split}/{name}"


def _folder_name(split: str | None) -> str:
    """The split as a folder's name, and nothing more."""
    name = split or "images"
    return "images" if "/" in name or "\0" in name or name in (".", "..") else name


def _id(value: Any) -> Any:
    text = str(value).strip()
    return int(text) if text.isdecimal() and len(text) < 20 else text


def _none(label: str, number: int) -> bytes:
    raise BadInput(f"{label}#{number}: no picture in this row")
