"""What `lenscope sweep` says about its data, and refuses, before a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import CannotLoad
from engine.sweeps.store import read_failures, read_items
from tests.cli.conftest import Ended, Lenscope
from tests.sweeps.builders import clevr, picture, thing

Sweep = Callable[..., Ended]
COLOR = "Color of the main object:"


@pytest.fixture
def before_loading(lenscope: Lenscope, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Sweep until the model would be loaded, which ends with code 3."""

    def refuse(*_: object) -> None:
        raise CannotLoad("no model is loaded in this test")

    monkeypatch.setattr("engine.models.loading.load_with", refuse)
    return lambda data, *more: lenscope("sweep", "--data", data, "--out", "out", *more)


def scenes(folder: Path, there: int, missing: int) -> Path:
    """CLEVR scenes of two splits, of which the first has no pictures."""
    clevr(folder, [(f"CLEVR_val_{index:06}.png", [thing("red", "large", 5.0)])
                   for index in range(there)])  # fmt: skip
    train = [{"image_filename": f"CLEVR_train_{index:06}.png", "objects": []}
             for index in range(missing)]  # fmt: skip
    file = folder / "scenes" / "CLEVR_train_scenes.json"
    file.write_text(json.dumps({"scenes": train}))
    return folder


def test_what_is_missing_is_said_first(before_loading: Sweep, tmp_path: Path) -> None:
    ended = before_loading(scenes(tmp_path / "data", 3, 50), "--limit", 2)
    assert ended.code == 3
    data = tmp_path / "data"
    assert ended.err.splitlines() == [
        f"lenscope: CLEVR {data}: 212 questions about 53 pictures",
        "lenscope: 50 of 53 pictures are not there "
        f"(first: {data}/images/train/CLEVR_train_000000.png)",
        "lenscope: asked about: 12 questions about 3 pictures, the first 2 of them",
        "lenscope: no model is loaded in this test",
    ]
    assert not Path("out").exists()


def test_data_without_a_picture_is_refused(before_loading: Sweep, tmp_path: Path) -> None:
    ended = before_loading(scenes(tmp_path / "data", 0, 5))
    assert ended.code == 2
    assert ended.err == (
        f"lenscope: {tmp_path}/data: none of its 5 pictures is there (first: {tmp_path}/data/"
        "images/train/CLEVR_train_000000.png): put them there, or correct their names\n"
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_addresses_are_refused(before_loading: Sweep, tmp_path: Path, kind: str) -> None:
    address = "https://example.org/a.png"
    file = tmp_path / f"t.{kind}"
    if kind == "csv":
        file.write_text(f"picture,prompt\n{address},What?\n")
    elif kind == "jsonl":
        file.write_text(json.dumps({"picture": address, "prompt": "What?"}))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        table = pytest.importorskip("pyarrow").table({"image": [address], "prompt": ["What?"]})
        parquet.write_table(table, file)
    ended = before_loading(file)
    assert ended.code == 2 and "an address, which is not opened: download" in ended.err
    assert ended.err.count("\n") == 1


def test_what_a_folder_leaves_out_is_counted(before_loading: Sweep, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("scene.png", "._scene.png", ".thumbnails/a.png", ".ipynb_checkpoints/b.png",
                 "__MACOSX/scene.png", "deep/.trash/c.png", "deep/d.jpg"):  # fmt: skip
        picture(data / name)
    picture(data / "e.png").rename(data / "e")  # what a file is does not depend on its name
    for name in ("IMG_1.HEIC", "IMG_2.heic", "b.jxl", "c.svg", "notes.txt", ".DS_Store", "README"):
        (data / name).write_bytes(b"?")
    ended = before_loading(data, "--prompts", "clevr")
    _, *notes, last = ended.err.splitlines()
    assert "12 questions about 3 pictures" in ended.err and "no model" in last
    assert [note.removeprefix("lenscope: ") for note in notes] == [
        "4 pictures left out, of kinds that are not opened here: 2 .heic, 1 .jxl, 1 .svg; "
        "convert them to PNG or JPEG",
        "2 other files left out: 1 without a suffix, 1 .txt",
        "6 hidden files or folders left out",
    ]


def test_a_folder_of_pictures_that_are_not_opened(before_loading: Sweep, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "IMG_1.HEIC").write_bytes(b"?")
    ended = before_loading(tmp_path / "data", "--prompts", "clevr")
    assert ended.code == 2 and "no pictures in it" in ended.err and "1 .heic" in ended.err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_prompts_in_the_encodings_of_editors(
    before_loading: Sweep, tmp_path: Path, encoding: str
) -> None:
    picture(tmp_path / "data" / "a.png")
    Path("p.txt").write_bytes("<image>\nFarbe der Tür:\n".encode(encoding))
    Path("data.csv").write_text(f"image,question,answer\n{tmp_path}/data/a.png,Farbe der Tür:,x\n")
    ended = before_loading("data.csv", "--prompts", "p.txt")
    assert ended.code == 3 and "answers are used only where the question is the same" in ended.err


def test_raw_prompts_keep_their_placeholder(before_loading: Sweep, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"image": "a.png", "prompt": "<image>\nWhat?"}))
    assert "taken off" in before_loading(file).err
    assert "taken off" not in before_loading(file, "--raw").err


@pytest.mark.slow
def test_what_is_there_is_asked_and_the_rest_when_it_comes(
    lenscope: Lenscope, tmp_path: Path
) -> None:
    """Pictures that are not there are no failures: they are asked about once they have come."""
    data = scenes(tmp_path / "data", 2, 3)
    command = ("sweep", "--data", data, "--prompts", "shape.txt", "--out", "out")
    Path("shape.txt").write_text("Shape of the main object:\n")
    ended = lenscope(*command)
    assert ended.code == 0, ended.err
    assert "3 of 5 pictures are not there" in ended.err and "asked 1 now" in ended.err
    assert {item.truth for item in read_items(Path("out"))} == {"cube"}
    # Of two equal pictures one question is the other's.
    assert [failure.error[:11] for failure in read_failures(Path("out"))] == ["the same as"]
    picture(data / "images" / "train" / "CLEVR_train_000001.png", 7)
    ended = lenscope(*command)
    assert "2 of 5 pictures are not there" in ended.err and "asked 1 now" in ended.err
    assert {item.truth for item in read_items(Path("out"))} == {"cube", "none"}


@pytest.mark.slow
def test_placeholders_and_other_questions_are_asked_in_full(
    lenscope: Lenscope, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    row = {"image": "a.png", "prompt": f"<image>\n{COLOR}", "answer": "yellow"}
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    assert lenscope("sweep", "--data", tmp_path / "t.jsonl", "--out", "out").code == 0
    (item,) = read_items(Path("out"))
    assert (item.prompt, item.truth) == (COLOR, "yellow") and read_failures(Path("out")) == []
    Path("shape.txt").write_text("Shape of the main object:\n")
    ended = lenscope(
        "sweep", "--data", tmp_path / "t.jsonl", "--prompts", "shape.txt", "--out", "other"
    )
    assert ended.code == 0 and "not used as truths" in ended.err
    (item,) = read_items(Path("other"))
    assert (item.prompt, item.truth) == ("Shape of the main object:", None)
