"""Parquet and Arrow as `datasets` writes them: pictures, names, base64, lists; in any files."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadInput
from engine.sweeps.preparing import decoded
from engine.sweeps.sources.embedded import embedded_picture
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.presence import only_present
from engine.sweeps.sources.tasks import NO_GROUP, Source, Task
from tests.sweeps.builders import WHAT, asked, picture

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402


def pictures(folder: Path, count: int = 3) -> list[Path]:
    return [picture(folder / "pictures" / f"{index}.png", index * 20) for index in range(count)]


def table(cells: Sequence[Any], name: str = "image", kind: Any = None, **columns: Any) -> Any:
    """A table of questions that say their number."""
    numbers = range(len(cells))
    return pyarrow.table(
        {
            name: pyarrow.array(cells, kind),
            "question": [f"{number}?" for number in numbers],
            "answer": [str(number) for number in numbers],
            **columns,
        }
    )


def written(file: Path, content: Any, **settings: Any) -> Path:
    """Write a table, as Parquet or as an Arrow stream."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        parquet.write_table(content, file, **settings)
    else:
        with (
            pyarrow.OSFile(str(file), "wb") as sink,
            pyarrow.ipc.new_stream(sink, content.schema) as writer,
        ):
            writer.write_table(content)
    return file


def saved(folder: Path, content: Any, parts: int = 1, **state: Any) -> Path:
    """What `save_to_disk` writes."""
    names = [f"data-{index:05}-of-{parts:05}.arrow" for index in range(parts)]
    size = -(-content.num_rows // parts)
    for index, name in enumerate(names):
        written(folder / name, content.slice(index * size, size))
    files = [{"filename": name} for name in names]
    (folder / "state.json").write_text(json.dumps({"_data_files": files, **state}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def embedded(files: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"bytes": file.read_bytes(), "path": file.name} for file in files]


def contents(source: Source) -> list[str]:
    """The digests of the pictures, each read in both ways."""
    found = [decoded(each).sha256 for each in source.pictures]
    assert [decoded(each).sha256 for each in source.listing] == found
    return found


def same(source: Source, files: Sequence[Path]) -> bool:
    """Whether a source has these pictures, with a question each, and says nothing is missing."""
    wanted = [decoded(each).sha256 for each in open_source(files[0].parent, [WHAT]).pictures]
    assert only_present(source).notes == ()
    tasks = [(Task(f"{number}?", NO_GROUP, str(number)),) for number in range(len(files))]
    assert [*asked(source).values()] == tasks
    assert [each.tasks for each in source.listing] == tasks
    return contents(source) == wanted


COLUMNS = [
    "bytes", "records", "records without a path", "records with absolute paths",
    "records with names", "absolute names", "names", "addresses of files", "base64",
    "data addresses", "lists of records", "lists of bytes", "lists of names", "large bytes",
]  # fmt: skip


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", COLUMNS)
def test_what_a_picture_column_may_hold(tmp_path: Path, kind: str, ending: str) -> None:
    files = pictures(tmp_path)
    data = [file.read_bytes() for file in files]
    texts = [base64.b64encode(each).decode() for each in data]
    cells: dict[str, list[Any]] = {
        "bytes": data,
        "large bytes": data,
        "records": embedded(files),
        "records without a path": [{"bytes": each} for each in data],
        "records with absolute paths": [{"bytes": None, "path": str(file)} for file in files],
        "records with names": [{"bytes": None, "path": f"pictures/{file.name}"} for file in files],
        "absolute names": [str(file) for file in files],
        "names": [f"pictures/{file.name}" for file in files],
        "addresses of files": [file.as_uri() for file in files],
        "base64": texts,
        "data addresses": [f"data:image/png;base64,{text}" for text in texts],
        "lists of records": [[each] for each in embedded(files)],
        "lists of bytes": [[each] for each in data],
        "lists of names": [[str(file)] for file in files],
    }
    large = pyarrow.large_binary() if kind == "large bytes" else None
    if kind.startswith("records with "):
        large = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    name = "images" if kind.startswith("lists") else "image"
    path = written(tmp_path / f"t.{ending}", table(cells[kind], name, large))
    source = open_source(path)
    assert same(source, files)
    for number, each in enumerate(source.pictures):
        assert embedded_picture(path, each.path) == data[number]


def test_a_column_of_pictures_under_another_name(tmp_path: Path) -> None:
    files = pictures(tmp_path)
    source = open_source(written(tmp_path / "t.parquet", table(embedded(files), "scan")))
    assert same(source, files)
    assert "'scan' as picture" in " ".join(source.notes)
    two = table(embedded(files), "scan", mask=embedded(files))
    with pytest.raises(BadInput, match="it has 'scan', 'question', 'answer', 'mask'"):
        open_source(written(tmp_path / "two.parquet", two))


def test_a_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    files = pictures(tmp_path)
    for name, ending in (("a.parquet", "b"), ("a.arrow", "b.parquet"), ("a.parquet", "b.arrow")):
        written(tmp_path / name, table(embedded(files))).rename(tmp_path / ending)
        assert same(open_source(tmp_path / ending), files)


def test_pictures_that_are_files_read_where_they_lie_or_beside(tmp_path: Path) -> None:
    (file,) = pictures(tmp_path, 1)
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    paths = [str(file), "/nowhere/else/0.png", "/nowhere/gone.png"]
    cells = [{"bytes": None, "path": path} for path in paths]
    data = file.parent / "t.parquet"
    source = open_source(written(data, table(cells, kind=kind)))
    assert [each.file for each in source.pictures] == [file, file, Path("/nowhere/gone.png")]
    present = only_present(source)
    assert present.pictures == 2
    assert "1 of 3 pictures is not there (first: /nowhere/gone.png)" in present.notes[0]
    only = table(cells[2:], kind=kind)
    with pytest.raises(BadInput, match=r"its one picture is not there .first: /nowhere/gone.png"):
        only_present(open_source(written(data, only)))


@pytest.mark.parametrize(
    ("cells", "kind", "says"),
    [
        ([None, None], "binary", "no picture in the row"),
        ([[b"x", b"y"]], None, "several pictures in one row"),
        ([[[1, 2], [3, 4]]], None, "arrays of numbers"),
        ([[]], "list", "no picture in the row"),
        (["https://example.org/a.png"], None, "an address"),
        ([0.5], None, "numbers"),
        ([True], None, "truth values"),
    ],
)
def test_a_column_without_pictures_says_what_it_holds(
    tmp_path: Path, cells: list[Any], kind: str | None, says: str
) -> None:
    kinds = {"binary": pyarrow.binary(), "list": pyarrow.list_(pyarrow.binary())}
    content = table(cells, "image", kinds[kind] if kind else None)
    for ending in ("parquet", "arrow"):
        source = open_source(written(tmp_path / f"t.{ending}", content))
        with pytest.raises(BadInput, match=says):
            only_present(source)


def test_empty_cells_among_pictures(tmp_path: Path) -> None:
    files = pictures(tmp_path)
    cells = [*embedded(files), None, {"bytes": None, "path": None}]
    for ending in ("parquet", "arrow"):
        present = only_present(open_source(written(tmp_path / f"t.{ending}", table(cells))))
        assert (
            present.pictures == 3 and "2 of 5 pictures: no picture in the row" in (present.notes[0])
        )
        assert len(contents(present.source)) == 3


def test_pixels_are_not_decoded_to_be_listed(tmp_path: Path) -> None:
    import numpy as np

    rows = np.zeros((40, 64, 64), dtype=np.uint8).tolist()
    source = open_source(written(tmp_path / "t.parquet", table(rows)))
    with pytest.raises(BadInput, match=r"none of its 40 pictures .* arrays of numbers"):
        only_present(source)


# Several files


@pytest.mark.parametrize("parts", [1, 3])
def test_what_save_to_disk_writes(tmp_path: Path, parts: int) -> None:
    files = pictures(tmp_path)
    folder = saved(tmp_path / "saved", table(embedded(files)), parts)
    written(folder / "cache-0123456789abcdef.arrow", table(embedded(files)))  # what `map` leaves
    source = open_source(folder)
    assert len(contents(source)) == 3 and source.notes == ()
    names = [each.path for each in source.pictures]
    assert names[0] == f"data-00000-of-{parts:05}.arrow#0"
    assert embedded_picture(folder, names[2]) == files[2].read_bytes()
    for name in ("data-00000-of-00009.arrow#0", "../saved/state.json#0", "/etc/passwd#0", "#0"):
        assert embedded_picture(folder, name) is None


def test_splits_are_all_asked_and_named(tmp_path: Path) -> None:
    files = pictures(tmp_path)
    folder = tmp_path / "saved"
    for split in ("train", "test"):
        saved(folder / split, table(embedded(files)))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    source = open_source(folder)
    assert source.picture_count == 6
    assert "'train', 'test'" in " ".join(source.notes)
    assert same(open_source(folder / "test"), files)


def test_a_saved_data_set_that_is_damaged(tmp_path: Path) -> None:
    files = pictures(tmp_path)
    folder = saved(tmp_path / "saved", table(embedded(files)), 3)
    (folder / "data-00001-of-00003.arrow").unlink()
    source = open_source(folder)
    assert source.picture_count == 2
    assert any("1 of its 3 files is not there" in note for note in source.notes)
    for state, says in (
        ({"_data_files": [{"filename": "../../x.arrow"}]}, "not inside the folder"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "none of its files is there"),
        ({"_data_files": 3}, "not as `datasets` writes it"),
        ({"_data_files": [{"filename": "data-00000-of-00003.arrow"}],
          "_indices_data_files": [{"filename": "indices.arrow"}]}, "flatten_indices"),
    ):  # fmt: skip
        (folder / "state.json").write_text(json.dumps(state))
        with pytest.raises(BadInput, match=says):
            open_source(folder)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["..", "a"]}))
    with pytest.raises(BadInput, match=r"names the split '..', which is not in the folder"):
        open_source(folder)


def test_a_folder_of_shards(tmp_path: Path) -> None:
    files = pictures(tmp_path)
    content = table(embedded(files))
    folder = tmp_path / "set"
    for index in range(3):
        name = f"train-{index:05}-of-00003.parquet"
        written(folder / "data" / name, content.slice(index, 1))
    (folder / "README.md").write_text("# A set")
    source = open_source(folder)
    assert [each.path for each in source.pictures] == [
        f"data/train-{index:05}-of-00003.parquet#0" for index in range(3)
    ]
    assert len(contents(source)) == 3 and source.notes == ()
    assert open_source(folder).digest == source.digest
    (folder / "data" / "train-00001-of-00003.parquet").unlink()
    again = open_source(folder)
    assert again.digest != source.digest
    assert any("train-00001-of-00003.parquet" in note for note in again.notes)
    (folder / "data" / "train-00001-of-00003.parquet").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"
    )
    with pytest.raises(BadInput, match="git lfs pull"):
        open_source(folder)


def test_an_empty_shard_among_others(tmp_path: Path) -> None:
    files = pictures(tmp_path)
    content = table(embedded(files))
    written(tmp_path / "set" / "a.parquet", content.slice(0, 0))
    written(tmp_path / "set" / "b.parquet", content)
    assert len(contents(open_source(tmp_path / "set"))) == 3
    with pytest.raises(BadInput, match="no rows"):
        open_source(tmp_path / "set" / "a.parquet")


def test_a_folder_of_pictures_with_a_table_of_questions(tmp_path: Path) -> None:
    """As `datasets` reads a folder of pictures; other prompts are asked about all of them."""
    files = pictures(tmp_path)
    (tmp_path / "pictures" / "metadata.csv").write_text("file_name,question\n0.png,What?\n")
    assert asked(open_source(tmp_path / "pictures")) == {"0.png": (Task("What?"),)}
    assert open_source(tmp_path / "pictures", [WHAT]).picture_count == len(files)
    assert asked(open_source(tmp_path)) == {"0.png": (Task("What?"),)}  # a split's folder
    (tmp_path / "pictures" / "more.csv").write_text("file_name,question\n0.png,What?\n")
    with pytest.raises(BadInput, match=r"several tables in it .'metadata.csv', 'more.csv'.: name"):
        open_source(tmp_path / "pictures")


def test_labels_of_an_arrow_file_are_answers_by_name(tmp_path: Path) -> None:
    info = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    content = pyarrow.table({"image": [b"x", b"y"], "label": [1, 0]}).replace_schema_metadata(
        {"huggingface": json.dumps(info)}
    )
    source = open_source(written(tmp_path / "t.arrow", content), [WHAT])
    truths = [task.truth for tasks in asked(source).values() for task in tasks]
    assert truths == ["dog", "cat"]
    assert any("('label') are taken for those to 'What is it?'" in note for note in source.notes)


@pytest.mark.parametrize("info", [b"[", b"[]", b'{"info": {"features": 3}}', b"\xff", b"[" * 9999])
def test_metadata_that_is_none(tmp_path: Path, info: bytes) -> None:
    content = pyarrow.table({"image": [b"x"], "label": [1]})
    content = content.replace_schema_metadata({"huggingface": info})
    source = open_source(written(tmp_path / "t.parquet", content), [WHAT])
    assert [*asked(source).values()] == [(Task(WHAT.text, WHAT.group, "1"),)]


@pytest.mark.slow
def test_the_library_itself(tmp_path: Path) -> None:
    """What `datasets` writes in all its ways reads as what went in."""
    datasets = pytest.importorskip("datasets")
    files = pictures(tmp_path)
    made = datasets.Dataset.from_dict(
        {"image": [str(file) for file in files],
         "question": [f"{number}?" for number in range(3)],
         "answer": [str(number) for number in range(3)]}
    ).cast_column("image", datasets.Image())  # fmt: skip
    made.save_to_disk(tmp_path / "saved")
    made.save_to_disk(tmp_path / "parts", num_shards=3)
    made.to_parquet(tmp_path / "t.parquet")
    made.cast_column("image", datasets.Image(decode=False)).to_parquet(tmp_path / "plain.parquet")
    made.select([0, 1, 2]).save_to_disk(tmp_path / "selected")
    for name in ("saved", "parts", "t.parquet", "plain.parquet", "selected"):
        source = open_source(tmp_path / name)
        assert len(contents(source)) == 3, name
        tasks = [(Task(f"{number}?", NO_GROUP, str(number)),) for number in range(3)]
        assert [*asked(source).values()] == tasks
    both = datasets.DatasetDict({"train": made, "test": made.select([2])})
    both.save_to_disk(tmp_path / "both")
    assert open_source(tmp_path / "both").picture_count == 4
    labelled = made.add_column("label", [1, 0, 1]).remove_columns(["question", "answer"])
    labelled = labelled.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    labelled.save_to_disk(tmp_path / "labelled")
    found = asked(open_source(tmp_path / "labelled", [WHAT]))
    assert [task.truth for tasks in found.values() for task in tasks] == ["dog", "cat", "dog"]
