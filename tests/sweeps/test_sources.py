"""Data in the formats in which it is published, and in those in which it is not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInput, Remedy
from engine.sweeps.sources.clevr import ASKED, RULES, _Thing, main_object
from engine.sweeps.sources.coco import MAIN_ANIMAL, MAIN_OBJECT
from engine.sweeps.sources.embedded import embedded_picture
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import NO_GROUP, Prompt, Task, shard_of
from tests.sweeps.builders import WHAT, asked, clevr, picture, thing
from tui.text.remedies import error_line

# Folders


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "deep/a.JPG", "ünïcode 猫.webp"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(tmp_path, [WHAT])
    assert asked(source) == {
        name: (Task("What is it?", "thing"),) for name in ("b.png", "deep/a.JPG", "ünïcode 猫.webp")
    }
    assert open_source(tmp_path, [WHAT]).digest == source.digest
    picture(tmp_path / "c.png")
    assert open_source(tmp_path, [WHAT]).digest != source.digest


def test_a_folder_needs_prompts_and_pictures(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no pictures"):
        open_source(tmp_path, [WHAT])
    picture(tmp_path / "a.png")
    with pytest.raises(BadInput, match="prompts for") as refused:
        open_source(tmp_path)
    assert refused.value.remedies == (Remedy.NAME_PROMPTS,)
    with pytest.raises(BadInput, match="no such data"):
        open_source(tmp_path / "nowhere", [WHAT])
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(BadInput, match="not data to sweep"):
        open_source(tmp_path / "a.xyz", [WHAT])
    with pytest.raises(BadInput, match="no CLEVR_"):
        open_source(tmp_path, own_questions=True)
    with pytest.raises(BadInput, match="not data to sweep"):
        open_source(tmp_path / "a.xyz", own_questions=True)


def test_shards_part_the_pictures(tmp_path: Path) -> None:
    for index in range(7):
        picture(tmp_path / f"{index}.png")
    pictures = list(open_source(tmp_path, [WHAT]).pictures)
    parts = [list(shard_of(pictures, index, 3)) for index in range(3)]
    assert [len(part) for part in parts] == [3, 2, 2]
    assert sorted(each.path for part in parts for each in part) == [p.path for p in pictures]


# CLEVR


def test_clevr_truths(tmp_path: Path) -> None:
    near_small, far_large = thing("red", "small", 5.0), thing("blue", "large", 9.0, "sphere")
    clevr(tmp_path, [("a.png", [near_small, far_large]), ("b.png", []), ("c.png", [near_small])])
    source = open_source(tmp_path)
    assert source.rule == RULES["largest"]
    found = asked(source)
    assert [task.prompt for task in found["images/val/a.png"]] == list(ASKED.values())
    assert [(task.group, task.truth) for task in found["images/val/a.png"]] == [
        ("color", "blue"), ("shape", "sphere"), ("material", "rubber"), ("number", "two"),
    ]  # fmt: skip
    assert {task.truth for task in found["images/val/b.png"]} == {"none", "zero"}
    assert found["images/val/c.png"][0].truth == "red"
    nearest = asked(open_source(tmp_path, main="nearest"))
    assert nearest["images/val/a.png"][0].truth == "red"
    only = asked(open_source(tmp_path, [Prompt(ASKED["shape"]), WHAT]))
    assert only["images/val/a.png"] == (
        Task(ASKED["shape"], "shape", "sphere"),
        Task("What is it?", "thing", None),
    )


@given(st.lists(st.tuples(st.sampled_from(["large", "small"]), st.floats(0, 99)), max_size=6))
def test_the_main_object(sizes: list[tuple[str, float]]) -> None:
    things = [_Thing("c", "s", "m", size, (0, 0, depth)) for size, depth in sizes]
    nearest, largest = main_object(things, "nearest"), main_object(things, "largest")
    assert (nearest is None) == (not things) == (largest is None)
    if nearest is not None and largest is not None:
        assert nearest.pixel_coords[2] == min(depth for _, depth in sizes)
        assert largest.size == ("large" if any(s == "large" for s, _ in sizes) else "small")
        assert all(
            largest.pixel_coords[2] <= depth for size, depth in sizes if size == largest.size
        )


def test_clevr_questions(tmp_path: Path) -> None:
    clevr(tmp_path, [("a.png", []), ("b.png", [])])
    questions = [
        {"image_filename": "a.png", "question": "Is there a cube?", "answer": "no",
         "question_family_index": 3, "program": []},
        {"image_filename": "a.png", "question": "How many?", "answer": "0"},
        {"image_filename": "b.png", "question": "Is there a cube?", "answer": "no"},
    ]  # fmt: skip
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "CLEVR_val_questions.json").write_text(
        json.dumps({"questions": questions})
    )
    found = asked(open_source(tmp_path, own_questions=True))
    assert found["images/val/a.png"] == (
        Task("Is there a cube?", "family 3", "no"),
        Task("How many?", NO_GROUP, "0"),
    )
    assert len(found["images/val/b.png"]) == 1


# COCO


def coco(folder: Path, name: str = "cat.jpg", kind: str = "instances") -> Path:
    instances: dict[str, Any] = {
        "info": {}, "licenses": [],
        "images": [
            {"id": 7, "file_name": name, "width": 8, "height": 6},
            {"id": 8, "file_name": "empty.jpg", "width": 8, "height": 6},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 62, "area": 900.5, "bbox": [0, 0, 1, 1],
             "iscrowd": 0, "segmentation": []},
            {"id": 2, "image_id": 7, "category_id": 17, "area": 20, "bbox": [], "iscrowd": 0},
            {"id": 3, "image_id": 7, "category_id": 18, "area": 10, "bbox": [], "iscrowd": 0},
            {"id": 4, "image_id": 7, "category_id": 18, "area": 5000, "bbox": [], "iscrowd": 1},
        ],
        "categories": [
            {"id": 62, "name": "chair", "supercategory": "furniture"},
            {"id": 17, "name": "cat", "supercategory": "animal"},
            {"id": 18, "name": "dog", "supercategory": "animal"},
        ],
    }  # fmt: skip
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    if kind == "captions":
        instances["annotations"] = [{"id": 1, "image_id": 7, "caption": "A cat on a chair."}]
        del instances["categories"]
    (folder / "annotations" / f"{kind}_val2017.json").write_text(json.dumps(instances))
    if "/" not in name:
        picture(folder / "val2017" / name)
    picture(folder / "val2017" / "empty.jpg")
    return folder


def test_coco_truths(tmp_path: Path) -> None:
    found = asked(open_source(coco(tmp_path)))
    assert found == {
        "val2017/cat.jpg": (
            Task(MAIN_OBJECT, "object", "chair"), Task(MAIN_ANIMAL, "animal", "cat"),
        ),
        "val2017/empty.jpg": (Task(MAIN_ANIMAL, "animal", "none"),),
    }  # fmt: skip
    some = asked(open_source(tmp_path, [Prompt("Place:", "Place"), Prompt(MAIN_OBJECT, "x")]))
    assert some["val2017/cat.jpg"] == (
        Task("Place:", "Place"),
        Task(MAIN_OBJECT, "object", "chair"),
    )


def test_coco_captions_alone_need_prompts(tmp_path: Path) -> None:
    coco(tmp_path, kind="captions")
    with pytest.raises(BadInput, match="prompts for") as refused:
        open_source(tmp_path)
    assert refused.value.remedies == (Remedy.NAME_PROMPTS,)
    assert len(asked(open_source(tmp_path, [WHAT]))) == 2


# Tables


def write_csv(path: Path, *lines: Sequence[str]) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def test_a_csv(tmp_path: Path) -> None:
    inside, outside = picture(tmp_path / "data" / "a.png"), picture(tmp_path / "b.png")
    table = write_csv(
        tmp_path / "data" / "q.csv",
        ["picture", "prompt", "answer", "group", "remark"],
        ["a.png", "Colour?", "rot, “wine”", "farbe", "ignored"],
        [str(outside), "Colour?", "", "", ""],
        ["a.png", "Shape?", "cube", "", ""],
    )
    source = open_source(table)
    assert asked(source) == {
        "a.png": (Task("Colour?", "farbe", "rot, “wine”"), Task("Shape?", NO_GROUP, "cube")),
        str(outside): (Task("Colour?"),),
    }
    files = {each.path: each.file for each in source.pictures}
    assert files["a.png"] == inside and files[str(outside)] == outside


def test_a_jsonl_with_prompts_of_the_command_line(tmp_path: Path) -> None:
    table = tmp_path / "q.jsonl"
    rows: list[dict[str, Any]] = [
        {"picture": "a.png", "answer": 3, "group": "n"},
        {"picture": "b.png", "prompt": "Own?"},
        {"picture": "c.png", "answer": "two"},
    ]
    table.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    found = asked(open_source(table, [Prompt("How many?", "How many")]))
    assert found == {
        "a.png": (Task("How many?", "n", "3"),),
        "b.png": (Task("Own?"),),
        "c.png": (Task("How many?", "How many", "two"),),
    }
    with pytest.raises(BadInput, match="line 1: this answer belongs to one of 2 prompts"):
        open_source(table, [Prompt("How many?"), Prompt("Which?")])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("q.csv", "scan,prompt\na.png,x\n", "no column `picture`; it has 'scan', 'prompt'"),
        ("q.csv", "", "no column `picture`; it has none"),
        ("q.csv", "picture,prompt\n", "no lines"),
        ("q.csv", "picture,prompt\n,x\n", "line 2: no picture"),
        ("q.csv", "picture,prompt\na.png,x,y\n", "line 2: more values than columns"),
        ("q.csv", "picture,prompt\na.png,\n", "--prompts"),
        ("q.csv", 'picture,prompt\na.png,"x\n', "not CSV"),
        ("q.csv", b"picture,prompt\n\xff\x81,x\n", "cannot be read"),
        ("q.jsonl", '{"picture": "a.png", "prompt": "x"}\n{"picture": \n', "line 2: not a JSON"),
        ("q.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("q.jsonl", '{"scan": "a.png"}\n', "no column `picture`"),
        ("q.csv", "picture,prompt\na.png,x\nb.png,\n", "line 3: no prompt"),
        ("q.jsonl", '{"picture": "a.png", "prompt": ["x"]}\n', "prompt is not text"),
        ("q.jsonl", '{"picture": "a.png", "prompt": "x", "a": ' + "[" * 5000 + "\n", "line 1"),
        ("q.parquet", b"PAR1nonsense", "cannot be read"),
        ("q.arrow", b"\0" * 64, "cannot be read"),
    ],
)
def test_wrong_tables(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as refused:
        open_source(tmp_path / name)
    assert says in error_line(refused.value)
    assert "\n" not in str(refused.value)


# Annotations that lie


@pytest.mark.parametrize(
    "name",
    ["../../secret.png", "/etc/passwd", "a/../../../b.png", "", "x\0y.png", "..", "a" * 5000],
)
def test_annotations_stay_inside(tmp_path: Path, name: str) -> None:
    """Whatever an annotation names, no file outside its folder is opened, and the rest is asked."""
    secret = picture(tmp_path / "secret.png")
    folder, other = clevr(tmp_path / "data", [("a.png", []), ("b.png", [])]), tmp_path / "coco"
    file = folder / "scenes" / "CLEVR_val_scenes.json"
    file.write_text(file.read_text().replace("a.png", json.dumps(name)[1:-1]))
    coco(other, name="x/y.jpg")
    file = other / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace("x/y.jpg", json.dumps(name)[1:-1]))
    for source, known in (
        (open_source(folder), "images/val/b.png"),
        (open_source(other), "val2017/empty.jpg"),
    ):
        found = {each.path: each.file for each in source.pictures}
        files = [file for file in found.values() if file is not None]
        assert found[known] in files and len(files) == len(found)
        assert all(file.is_relative_to(Path(source.path)) for file in files)
        assert all(".." not in file.parts for file in files)
        assert secret not in [file.resolve() for file in files if len(file.name) < 255]
        if "\0" in name or name in ("", ".."):
            assert len(found) == 1 and "left out" in " ".join(source.notes)


def test_links_of_the_users_are_followed(tmp_path: Path) -> None:
    clevr(tmp_path / "real", [("a.png", [])])
    (tmp_path / "data" / "scenes").mkdir(parents=True)
    scenes = "scenes/CLEVR_val_scenes.json"
    (tmp_path / "data" / scenes).write_text((tmp_path / "real" / scenes).read_text())
    (tmp_path / "data" / "images").symlink_to(tmp_path / "real" / "images")
    assert next(iter(open_source(tmp_path / "data").pictures)).file is not None


@pytest.mark.parametrize(
    "content", ["{}", '{"scenes": 3}', "{", "[" * 9000, '{"scenes": [{}]}', ""]
)
def test_damaged_annotations(tmp_path: Path, content: str) -> None:
    (tmp_path / "CLEVR_val_scenes.json").write_text(content)
    with pytest.raises(BadInput, match="not the expected annotations"):
        open_source(tmp_path)


# Arrow


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrow file"])
def test_embedded_pictures(tmp_path: Path, kind: str) -> None:
    import pyarrow
    from pyarrow import parquet

    data = [picture(tmp_path / f"{index}.png", index).read_bytes() for index in range(40)]
    table = pyarrow.table(
        {
            "image": [{"bytes": each, "path": "x.png"} for each in data],
            "question": [f"Number {index}?" for index in range(40)],
            "answer": [str(index) for index in range(40)],
            "width": list(range(40)),
        }
    )
    path = tmp_path / f"data.{kind.split(' ')[0]}"
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=7)
    elif kind == "arrow":
        with (
            pyarrow.OSFile(str(path), "wb") as sink,
            pyarrow.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(table, max_chunksize=9)
    else:
        with (
            pyarrow.OSFile(str(path), "wb") as sink,
            pyarrow.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
    source = open_source(path)
    assert (source.picture_count, source.item_count) == (40, 40)
    for _ in range(2):  # again and again
        for index, each in enumerate(source.pictures):
            assert each.read is not None and each.read() == data[index]
            assert each.tasks == (Task(f"Number {index}?", NO_GROUP, str(index)),)
    for index, each in enumerate(source.pictures):
        assert embedded_picture(path, each.path) == data[index]
    for name in (f"{path.name}#40", f"{path.name}#", f"{path.name}#-1", "other#3", "a.png"):
        assert embedded_picture(path, name) is None


def test_class_labels_are_answers_by_name(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    info = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pyarrow.table({"image": [b"x", b"y"], "label": [1, 0]}).replace_schema_metadata(
        {"huggingface": json.dumps(info)}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    found = asked(open_source(tmp_path / "a.parquet", [WHAT]))
    assert [task.truth for tasks in found.values() for task in tasks] == ["dog", "cat"]
    source = open_source(tmp_path / "a.parquet", [WHAT])
    assert [each.tasks for each in source.listing] == [each.tasks for each in source.pictures]


def test_arrow_without_an_image_or_a_prompt(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="no image column"):
        open_source(tmp_path / "a.parquet", [WHAT])
    parquet.write_table(pyarrow.table({"image": [b"no picture"]}), tmp_path / "b.parquet")
    with pytest.raises(BadInput, match="prompts for") as refused:
        open_source(tmp_path / "b.parquet")
    assert refused.value.remedies == (Remedy.NAME_PROMPTS,)
    assert open_source(tmp_path / "b.parquet", [WHAT]).item_count == 1
