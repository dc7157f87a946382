"""Annotations as tools write them: the tools agree on little but the names of the fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.sweeps.sources.clevr import ASKED
from engine.sweeps.sources.coco import MAIN_ANIMAL, MAIN_OBJECT, _area, _Instance
from engine.sweeps.sources.locating import PictureFiles
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.presence import only_present
from engine.sweeps.sources.tasks import Task
from tests.sweeps.builders import WHAT, asked, clevr, picture, thing

DOG = (Task(MAIN_OBJECT, "object", "dog"), Task(MAIN_ANIMAL, "animal", "dog"))
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 18, "area": 100.0, "iscrowd": 0,
              "bbox": [10, 10, 50, 20]}  # fmt: skip
CATEGORY = {"id": 18, "name": "dog", "supercategory": "animal"}


def annotated(
    folder: Path,
    file: str = "annotations/instances_default.json",
    at: str = "images/a.png",
    encoding: str = "utf-8",
    category: dict[str, Any] | None = None,
    image: dict[str, Any] | None = None,
    without: str = "",
    **changes: Any,
) -> Path:
    """A picture of a dog with one annotation, in COCO's format."""
    annotation = {**ANNOTATION, **changes}
    annotation.pop(without, None)
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6, **(image or {})}],
        "annotations": [annotation],
        "categories": [{**CATEGORY, **(category or {})}],
    }
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(whole).encode(encoding))
    picture(folder / at)
    return folder


# COCO


@pytest.mark.parametrize(
    "changes",
    [
        {"without": "area"}, {"area": None}, {"area": [100.0]}, {"area": float("nan")},
        {"area": float("inf")}, {"area": "100"}, {"area": "large"}, {"area": -1}, {"area": {}},
        {"without": "bbox"}, {"without": "iscrowd"}, {"iscrowd": False}, {"iscrowd": None},
        {"iscrowd": "0"}, {"image_id": 1.0, "category_id": 18.0}, {"image_id": "1"},
        {"category_id": "18", "image": {"id": "1"}}, {"image": {"id": 1.0}},
        {"encoding": "utf-8-sig"}, {"encoding": "utf-16"},
        {"image": {"file_name": "/home/annotator/project/images/a.png"}},
        {"image": {"file_name": "C:\\project\\images\\a.png"}},
        {"image": {"file_name": "images\\a.png"}},
        {"image": {"file_name": "../upload/7/a.png"}},
        {"image": {"file_name": "https://example.org/files/a.png?key=1"}},
        {"image": {"file_name": "images/a.png"}}, {"image": {"file_name": "./a.png"}},
        {"file": "labels.json"}, {"file": "labels.json", "at": "data/a.png"},
        {"file": "_annotations.coco.json", "at": "a.png"},
        {"file": "train/_annotations.coco.json", "at": "train/a.png"},
        {"file": "coco_data/coco_annotations.json", "at": "coco_data/images/a.png",
         "image": {"file_name": "images/a.png"}},
        {"file": "result.json"}, {"file": "annotations/train.json", "at": "train/a.png"},
        {"at": "images/default/a.png"}, {"at": "default/a.png"},
        {"category": {"supercategory": "Animal"}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_dog_is_a_dog_whichever_tool_wrote_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    source = open_source(annotated(tmp_path, **changes))
    assert source.kind == "COCO"
    assert [*asked(source).values()] == [DOG]
    assert only_present(source).notes == ()


@pytest.mark.parametrize("above", [None, "none", "", 5, "absent"])
def test_a_category_without_a_name_above_it_is_no_animal(tmp_path: Path, above: Any) -> None:
    source = open_source(annotated(tmp_path, category={"supercategory": above}))
    (tasks,) = asked(source).values()
    assert [task.truth for task in tasks] == ["dog", "none"]
    assert any("no category is told to be an animal" in note for note in source.notes)


def test_annotations_named_themselves(tmp_path: Path) -> None:
    annotated(tmp_path)
    source = open_source(tmp_path / "annotations" / "instances_default.json")
    assert asked(source) == {"images/a.png": DOG}
    with pytest.raises(BadInput, match="no questions to ask"):
        open_source(tmp_path / "annotations" / "instances_default.json", own_questions=True)


def test_splits_of_equal_names_are_told_apart(tmp_path: Path) -> None:
    for split, name in (("train", "dog"), ("valid", "cat")):
        annotated(
            tmp_path, f"{split}/_annotations.coco.json", f"{split}/a.png", category={"name": name}
        )
    found = asked(open_source(tmp_path))
    assert {path: tasks[0].truth for path, tasks in found.items()} == {
        "train/a.png": "dog",
        "valid/a.png": "cat",
    }


def test_instances_without_a_size_have_no_largest(tmp_path: Path) -> None:
    annotated(tmp_path)
    file = tmp_path / "annotations" / "instances_default.json"
    whole = json.loads(file.read_text())
    whole["categories"].append({"id": 3, "name": "car", "supercategory": "vehicle"})
    unsized = {"id": 2, "image_id": 1, "category_id": 3, "area": None, "segmentation": "abc"}
    whole["annotations"].append(unsized)
    file.write_text(json.dumps(whole))
    source = open_source(tmp_path)
    (tasks,) = asked(source).values()
    assert [task.truth for task in tasks] == [None, None]
    assert any("neither area nor box" in note for note in source.notes)
    unsized["category_id"] = 18  # whichever is the largest, it is a dog
    file.write_text(json.dumps(whole))
    assert [*asked(open_source(tmp_path)).values()] == [DOG]


def test_panoptic_annotations(tmp_path: Path) -> None:
    segments = [{"id": 1, "category_id": 18, "area": 5, "iscrowd": 0, "bbox": [0, 0, 1, 1]}]
    annotated(tmp_path, "panoptic_val.json", "val/a.png", segments_info=segments,
              without="category_id")  # fmt: skip
    assert asked(open_source(tmp_path)) == {"val/a.png": DOG}


def test_a_list_of_pictures_has_no_truths(tmp_path: Path) -> None:
    """That of a test split has categories, and its annotations are kept secret."""
    annotated(tmp_path, "annotations/image_info_test.json", "test/a.png")
    file = tmp_path / "annotations" / "image_info_test.json"
    whole = json.loads(file.read_text())
    del whole["annotations"]
    file.write_text(json.dumps(whole))
    with pytest.raises(BadInput, match="prompts for"):
        open_source(tmp_path)
    (tasks,) = asked(open_source(tmp_path, [WHAT])).values()
    assert tasks == (Task(WHAT.text, WHAT.group),)


def test_a_picture_without_a_name_is_left_out_and_said(tmp_path: Path) -> None:
    annotated(tmp_path, image={"file_name": None})
    with pytest.raises(BadInput, match="none of its images has a `file_name`"):
        open_source(tmp_path)
    file = tmp_path / "annotations" / "instances_default.json"
    whole = json.loads(file.read_text())
    whole["images"].append({"id": 2, "file_name": "a.png"})
    file.write_text(json.dumps(whole))
    source = open_source(tmp_path)
    assert source.picture_count == 1
    assert any("1 picture without a usable file name" in note for note in source.notes)


def test_other_json_beside_pictures_is_no_annotation(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name, text in {
        "settings.json": '{"images": 3}', "a.json": '{"shapes": [], "imagePath": "a.png"}',
        "list.json": "[1, 2]", "damaged.json": '{"images": [', "empty.json": "",
        "questions.json": '{"questions": [{"text": "What?"}]}',
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    source = open_source(tmp_path, [WHAT])
    assert (source.kind, source.picture_count) == ("folder", 1)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.one_of(st.integers(-9, 9), st.none(), st.text(max_size=3)), max_size=5),
)  # fmt: skip


@settings(max_examples=40)
@given(area=VALUES, box=VALUES)
def test_an_area_is_a_finite_number_or_unknown(area: Any, box: Any) -> None:
    found = _area(_Instance(area=area, bbox=box))
    assert found is None or 0 <= found < float("inf")


@settings(max_examples=40)
@given(st.text(max_size=30) | st.text("./\\:aC", max_size=12))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    folder = Path("/nowhere/data")
    found = PictureFiles(folder, ["images"]).file(name)
    assert found is None or (found.is_relative_to(folder / "images") and ".." not in found.parts)


# CLEVR


def asked_of(folder: Path, answer: str | None = "yellow", split: str = "val") -> Path:
    """Questions about two pictures, as CLEVR publishes them."""
    asked = []
    for index in range(2):
        name = f"CLEVR_{split}_{index:06}.png"
        picture(folder / "images" / split / name)
        asked.append({"image_filename": name, "question": "What color is it?",
                      "question_family_index": 0, "split": split})  # fmt: skip
        if answer is not None:
            asked[-1]["answer"] = answer
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    file = folder / "questions" / f"CLEVR_{split}_questions.json"
    file.write_text(json.dumps({"questions": asked}))
    return folder


@pytest.mark.parametrize("answer", ["yellow", None])
def test_without_scenes_its_own_questions_are_asked(tmp_path: Path, answer: str | None) -> None:
    """The published test split has no scenes, and no answers either."""
    asked_of(tmp_path, answer, "test")
    expected = (Task("What color is it?", "family 0", answer),)
    source = open_source(tmp_path)
    assert [*asked(source).values()] == [expected] * 2
    assert any("no scenes" in note for note in source.notes)
    assert [*asked(open_source(tmp_path, own_questions=True)).values()] == [expected] * 2
    file = tmp_path / "questions" / "CLEVR_test_questions.json"
    assert [*asked(open_source(file)).values()] == [expected] * 2
    # Other prompts are asked about all pictures, as about those of any folder.
    assert open_source(tmp_path, [WHAT]).kind == "folder"


def test_one_split_without_its_pictures(tmp_path: Path) -> None:
    clevr(tmp_path, [(f"CLEVR_val_{index:06}.png", [thing("red", "large", 5.0)])
                     for index in range(3)])  # fmt: skip
    scenes = [{"image_filename": f"CLEVR_train_{index:06}.png", "objects": []}
              for index in range(50)]  # fmt: skip
    (tmp_path / "scenes" / "CLEVR_train_scenes.json").write_text(json.dumps({"scenes": scenes}))
    source = open_source(tmp_path)
    present = only_present(source)
    assert (source.picture_count, present.pictures, present.items) == (53, 3, 12)
    assert [each.path for each in present.source.pictures] == [
        f"images/val/CLEVR_val_{index:06}.png" for index in range(3)
    ]
    (note,) = present.notes
    assert "50 of 53 pictures are not there" in note and "images/train/CLEVR_train_000000" in note
    assert present.source.digest == source.digest  # so that it resumes once more are there


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("above", [True, False])
def test_the_folder_that_the_generator_writes(tmp_path: Path, whole: bool, above: bool) -> None:
    output = tmp_path / "output"
    scenes = []
    for index in range(3):
        name = f"CLEVR_new_{index:06}"
        picture(output / "images" / f"{name}.png")
        scene = {"split": "new", "image_index": index, "image_filename": f"{name}.png",
                 "objects": [thing("red", "large", 5.0)], "relationships": {},
                 "directions": {}}  # fmt: skip
        (output / "scenes").mkdir(exist_ok=True)
        (output / "scenes" / f"{name}.json").write_text(json.dumps(scene))
        scenes.append(scene)
    if whole:
        (output / "CLEVR_scenes.json").write_text(json.dumps({"info": {}, "scenes": scenes}))
    source = open_source(tmp_path if above else output)
    assert (source.kind, source.picture_count, source.item_count) == ("CLEVR", 3, 12)
    tasks = next(iter(source.pictures)).tasks
    assert [(task.prompt, task.truth) for task in tasks] == [
        (ASKED["color"], "red"), (ASKED["shape"], "cube"), (ASKED["material"], "rubber"),
        (ASKED["number"], "one"),
    ]  # fmt: skip
    assert only_present(source).notes == ()
    if whole:
        assert open_source(output / "CLEVR_scenes.json").item_count == 12


# VQA


def vqa(folder: Path) -> Path:
    """Two questions about one picture in VQA's format, and answers to them."""
    asked = [
        {"image_id": 42, "question": "Is it a dog?", "question_id": 420},
        {"image_id": 42, "question": "How many?", "question_id": 421},
    ]
    answers = [
        {"image_id": 42, "question_id": 421, "multiple_choice_answer": "2",
         "question_type": "how many", "answers": [{"answer": "2"}, {"answer": "3"}]},
        {"image_id": 42, "question_id": 420, "question_type": "is it",
         "answers": [{"answer": "no"}, {"answer": "yes"}, {"answer": "yes"}]},
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "v2_OpenEnded_questions.json").write_text(
        json.dumps({"data_type": "mscoco", "data_subtype": "val2014", "questions": asked})
    )
    (folder / "v2_annotations.json").write_text(
        json.dumps({"data_type": "mscoco", "data_subtype": "val2014", "annotations": answers})
    )
    picture(folder / "val2014" / "COCO_val2014_000000000042.jpg")
    return folder


@pytest.mark.parametrize("file", ["", "v2_OpenEnded_questions.json"])
def test_vqa(tmp_path: Path, file: str) -> None:
    source = open_source(vqa(tmp_path) / file)
    assert asked(source) == {
        "val2014/COCO_val2014_000000000042.jpg": (
            Task("Is it a dog?", "is it", "yes"),
            Task("How many?", "how many", "2"),
        )
    }
    assert any("most frequent" in note for note in source.notes)


def test_what_ten_people_answered_is_kept(tmp_path: Path) -> None:
    """Beside the truth that VQA makes of it, or that is found here."""
    file = vqa(tmp_path) / "v2_annotations.json"
    mine = json.loads(file.read_text())
    people = [{"answer": "2", "answer_id": n} for n in range(7)] + [{"answer": "two"}] * 3
    for number, known in enumerate(({}, {"multiple_choice_answer": None})):
        mine["annotations"][number] |= {"answers": people, **known}
    file.write_text(json.dumps(mine))
    (tasks,) = asked(open_source(tmp_path)).values()
    given = ("2",) * 7 + ("two",) * 3
    assert [(task.truth, task.given) for task in tasks] == [("2", given), ("2", given)]
    (tasks,) = asked(open_source(tmp_path, [WHAT])).values()
    assert [(task.truth, task.given) for task in tasks] == [(None, ())]


def test_answers_of_another_set_are_none_of_these(tmp_path: Path) -> None:
    """Ids of other sets can be the same: only those about the same picture count."""
    vqa(tmp_path)
    file = tmp_path / "v2_annotations.json"
    mine = json.loads(file.read_text())
    other = {"annotations": [{**each, "image_id": 7, "multiple_choice_answer": "wrong"}
                             for each in mine["annotations"]]}  # fmt: skip
    (tmp_path / "a_annotations.json").write_text(json.dumps(other))
    (tasks,) = asked(open_source(tmp_path)).values()
    assert [task.truth for task in tasks] == ["yes", "2"]
    file.unlink()
    source = open_source(tmp_path)
    (tasks,) = asked(source).values()
    assert [task.truth for task in tasks] == [None, None]
    assert any("no answers to the questions" in note for note in source.notes)


def test_vqa_with_other_prompts_has_no_truths(tmp_path: Path) -> None:
    source = open_source(vqa(tmp_path), [WHAT])
    (tasks,) = asked(source).values()
    assert tasks == (Task(WHAT.text, WHAT.group, None),)
    assert any("not used as truths" in note for note in source.notes)


def test_vqa_without_its_picture_is_refused(tmp_path: Path) -> None:
    vqa(tmp_path)
    (tmp_path / "val2014" / "COCO_val2014_000000000042.jpg").unlink()
    with pytest.raises(BadInput, match=r"COCO_val2014_000000000042.jpg"):
        only_present(open_source(tmp_path))
