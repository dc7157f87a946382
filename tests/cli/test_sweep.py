"""`lenscope sweep`, `lenscope report` and a sweep's folder, in this process."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET, structs
from PIL import Image

import samples
from engine.sweeps.export import answer_rows
from engine.sweeps.records import DecodedAnswer, DecodedAnswers, SettingAnswers
from engine.sweeps.reopening import open_item
from engine.sweeps.settings import decoding_of, names_of
from engine.sweeps.store import SWEEP, read_failures, read_items, read_sweep
from samples.making.clevr import write_clevr
from tests.cli.conftest import Ended, Lenscope

Saved = Callable[[str], Path]


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of the bundled model over a few scenes; not to be changed."""
    from tui.cli import main

    folder = tmp_path_factory.mktemp("swept")
    write_clevr(folder / "data", 12)
    assert main(["sweep", "--data", str(folder / "data"), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def answered(swept: Path, tmp_path: Path) -> Path:
    """The same sweep with made-up whole answers: greedily what is true, and drawn yes and no."""
    folder = shutil.copytree(swept, tmp_path / "answered")
    decoding = decoding_of({"draws": "2"}, ["temperature=1"])
    record = structs.replace(read_sweep(folder), reads=("answer",), decoding=decoding)
    (folder / SWEEP).write_bytes(msgspec.json.encode(record))
    (file,) = folder.glob("items-*.jsonl")
    items = []
    for item in read_items(folder):
        assert item.truth is not None
        settings = tuple(
            SettingAnswers(name, tuple(DecodedAnswer(text, 1, True, text) for text in texts))
            for name, texts in zip(names_of(decoding), [(item.truth,), ("yes", "no")], strict=True)
        )
        items.append(structs.replace(item, readings=(DecodedAnswers(settings),)))
    file.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in items))
    return folder


def last_line(ended: Ended) -> str:
    *_, line = ended.err.splitlines()
    assert line.startswith("lenscope: ") and line.isprintable() and "Traceback" not in ended.err
    return line


def test_a_sweep_and_its_report(lenscope: Lenscope, swept: Path) -> None:
    assert len(list(read_items(swept))) == 48
    sweep = read_sweep(swept)
    assert sweep.data.kind == "CLEVR" and sweep.layers == 10
    assert len(sweep.prompts) == 4
    ended = lenscope("report", swept, "--samples", 50)
    assert ended.code == 0 and ended.err == ""
    assert "\x1b" not in ended.out
    text = " ".join(ended.out.split())
    for words in ("48 items about 12 pictures", "formation", "due to the missing norm", "Latin"):
        assert words in text
    assert ended.out.count("all groups") > 5


def test_the_last_row_is_as_right_as_the_model_card_says(lenscope: Lenscope, swept: Path) -> None:
    """Of the card's 1,000 scenes these are the first; the whole of them is the slow test."""
    ended = lenscope("report", swept, "--samples", 10, "--export", "csv", "--out", "r")
    assert ended.code == 0
    lines = Path("r/numbers.csv").read_text().splitlines()
    last = {line.split(",")[1]: line for line in lines if ",accuracy,True,10," in line}
    right = {group: float(line.split(",")[5]) for group, line in last.items()}
    assert set(right) == {"color", "shape", "material", "number", "all groups"}
    assert min(right.values()) >= 0.9


@pytest.mark.slow
def test_a_thousand_scenes_are_as_right_as_the_model_card_says(
    lenscope: Lenscope, tmp_path: Path
) -> None:
    write_clevr(tmp_path / "data", 1000)
    assert lenscope("sweep", "--data", tmp_path / "data", "--out", "out").code == 0
    assert lenscope("report", "out", "--export", "csv", "--samples", 100).code == 0
    lines = Path("out/report/numbers.csv").read_text().splitlines()
    last = [line.split(",") for line in lines if ",accuracy,True,10," in line]
    right = {cells[1]: float(cells[5]) for cells in last}
    card = json.loads((samples.MODEL / "evaluation.json").read_text())
    for group, measured in card["attributes"].items():
        assert right[group] == pytest.approx(measured["accuracy"], abs=0.0015), group


def test_everything_is_written(lenscope: Lenscope, swept: Path, answered: Path) -> None:
    from pyarrow import parquet

    ended = lenscope(
        "report", answered, "--out", "r", "--figures", "png", "--export", "parquet", "--samples", 50
    )
    assert ended.code == 0, ended.err
    names = {path.name for path in Path("r").iterdir()}
    drawn = ("accuracy", "settings", "formation", "certainty", "last-step", "confusion", "scripts")
    figures = {f"{name}.png" for name in drawn}
    assert names == {
        "report.md", "numbers.parquet", "items.parquet", "answers.parquet", *figures,
    }  # fmt: skip
    for figure in figures:
        with Image.open(Path("r") / figure) as image:
            assert image.width > 300
    exported = [*answer_rows(read_items(answered))]
    assert len(exported) == 48 * 3
    assert parquet.read_table("r/answers.parquet").to_pylist() == exported
    text = Path("r/report.md").read_text()
    assert text.startswith("# What ") and "![accuracy](accuracy.png)" in text
    once, again = (lenscope("report", swept, "--out", out, "--samples", 50) for out in "st")
    assert once.out == again.out and once.code == 0  # the same seed gives the same intervals
    assert Path("s/accuracy.svg").read_bytes() == Path("t/accuracy.svg").read_bytes()


def test_a_sweep_with_something_else_instead_of_the_picture(
    lenscope: Lenscope, tmp_path: Path
) -> None:
    write_clevr(tmp_path / "data", 2)
    command = ("sweep", "--data", tmp_path / "data", "--out", "out", "--read", "attention")
    ended = lenscope(*command, "--against", "none,noise=999", "--limit", 1)
    assert ended.code == 0, ended.err
    assert "instead of the picture: none, noise=999" in ended.err
    assert "asked 12 now; out holds 4 items, 8 more with something else" in ended.err
    ended = lenscope(*command, "--against", "noise=999,none", "--seed", 1)
    assert "asked 16 now; out holds 8 items, 20 more" in ended.err  # another seed, other noise
    assert [each.seed for each in read_sweep(Path("out")).against] == [None, 0, 1]
    ended = lenscope("report", "out", "--samples", 20, "--export", "csv")
    assert ended.code == 0, ended.err
    assert "8 items about 2 pictures" in " ".join(ended.out.split())
    assert "What it says without the picture" in ended.out
    assert "noise=999 (seed 1)" in ended.out and "the picture" in ended.out
    assert "Where it looks, by depth" in ended.out and "sinks taken out" in ended.out
    assert "attention.csv" in ended.err and Path("out/report/looks.svg").is_file()
    with Path("out/report/attention.csv").open(newline="") as stream:
        shares = [line for line in csv.DictReader(stream) if line["tokens"] == "picture"]
    assert len(shares) == 28 * 10
    assert {float(line["share"]) for line in shares if line["against"] == "none"} == {0.0}
    assert "counterfactuals.csv" in ended.err and Path("out/report/instead.svg").is_file()
    assert "![instead](instead.svg)" in Path("out/report/report.md").read_text()
    for name, count in (("items", 8), ("counterfactuals", 20)):
        with Path(f"out/report/{name}.csv").open(newline="") as stream:
            assert len({line["item"] for line in csv.DictReader(stream)}) == count
    item = next(item for item in read_items(Path("out")) if item.instead == "none")
    assert "needs a terminal" in last_line(lenscope("out", "--item", item.item))


def test_two_results_against_each_other(lenscope: Lenscope, swept: Path) -> None:
    ended = lenscope("report", swept, "--against", swept, "--samples", 50)
    assert ended.code == 0
    assert "12 pictures are in both" in ended.out
    assert "+0.0% [+0.0%, +0.0%]" in ended.out


def test_the_same_command_goes_on(lenscope: Lenscope, tmp_path: Path) -> None:
    write_clevr(tmp_path / "data", 3)
    command = ("sweep", "--data", tmp_path / "data", "--out", "out")
    assert lenscope(*command, "--limit", 1, "--prompts", "clevr").code == 0
    ended = lenscope(*command)
    assert ended.code == 0 and "asked 8 now; out holds 12 items" in ended.err
    assert "every question has been asked" in lenscope(*command).err
    refused = lenscope(*command, "--prefix", "It is")
    assert refused.code == 2
    assert "another prefix: it was none, and is It is" in last_line(refused)
    assert "proved" not in refused.err  # no model has been loaded for it
    refused = lenscope(*command, "--main", "nearest")
    assert refused.code == 2 and "--out" in last_line(refused)


def test_the_same_model_spelled_otherwise(lenscope: Lenscope, tmp_path: Path) -> None:
    write_clevr(tmp_path / "data", 2)
    Path("m1").symlink_to(samples.MODEL)
    command = ("sweep", "--data", tmp_path / "data", "--out", "out")
    assert lenscope(*command, "--model", "m1", "--limit", 1).code == 0
    Path("m1").rename("moved")
    ended = lenscope(*command, "--model", f"{Path('moved').absolute()}/")
    assert ended.code == 0 and "asked 4 now; out holds 8 items" in ended.err
    assert read_sweep(Path("out")).model.name == "m1"


def test_names_that_only_look_alike_are_all_asked(lenscope: Lenscope) -> None:
    """Of some file systems' names JSON can hold only a likeness."""
    Path("data").mkdir()
    for number, name in enumerate((b"\xff.png", b"\xfe.png", b"\xfd.png", "\ufffd.png".encode())):
        file = Path("data", os.fsdecode(name))
        Image.new("RGB", (30, 20), (50 * number, 0, 200)).save(file)
    Path("p.txt").write_text("Color of the main object:")
    command = ("sweep", "--data", "data", "--prompts", "p.txt", "--out", "out")
    assert "asked 2 now" in lenscope(*command, "--limit", 2).err
    ended = lenscope(*command)
    assert ended.code == 0 and "asked 2 now; out holds 4 items" in ended.err
    assert "every question has been asked" in lenscope(*command).err
    for item in read_items(Path("out")):
        picture = open_item("out", item.item).question.picture
        assert picture is not None and item.picture is not None
        # Those that a session cannot name bring their preview.
        assert (picture.preview is None) == (item.picture.quoted is UNSET)
    Path("data", os.fsdecode(b"\xff.png")).write_bytes(b"\x89PNG\r\n\x1a\n")
    out = ("--out", "other")
    assert "1 failed" in lenscope(*command[:-2], *out).err
    (failure,) = read_failures(Path("other"))
    assert failure.quoted == "%FF.png" and failure.picture == "\ufffd.png"
    assert "every question has been asked" in lenscope(*command[:-2], *out).err


@pytest.mark.parametrize("raw", [False, True])
def test_exported_texts_are_no_formulas(lenscope: Lenscope, swept: Path, raw: bool) -> None:
    shutil.copytree(swept, "out")
    (file,) = Path("out").glob("items-*.jsonl")
    text = file.read_text().replace('"group":"shape"', '"group":"=1+1"')
    file.write_text(text.replace('"truth":"cube"', '"truth":"@SUM(1)"'))
    flags = ("--raw-cells",) if raw else ()
    ended = lenscope("report", "out", "--export", "csv", "--figures", "none", "--samples", 10,
                     *flags)  # fmt: skip
    assert ended.code == 0, ended.err
    seen = set()
    for name in ("numbers.csv", "items.csv"):
        with Path("out/report", name).open(newline="") as stream:
            for cell in (cell for line in csv.reader(stream) for cell in line if cell):
                if cell[0] in "=+@" or "SUM" in cell:
                    seen.add(cell)
                elif cell[0] == "-":
                    assert raw or float(cell) < 0  # a number stays one
    assert ("=1+1" in seen) is raw and ("@SUM(1)" in seen) is raw


def test_what_a_killed_report_has_left_is_taken_away(lenscope: Lenscope, swept: Path) -> None:
    shutil.copytree(swept, "out")
    stale = Path("out/report/.lenscope-0123456789ab.tmp")
    stale.parent.mkdir()
    stale.touch()
    assert lenscope("report", "out", "--write", "--figures", "none", "--samples", 10).code == 0
    assert not stale.exists()


def test_what_launchers_leave_behind(lenscope: Lenscope, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clevr(Path("data"), 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    ended = lenscope("sweep", "--data", "data", "--out", "out")
    assert ended.code == 2 and "env -u WORLD_SIZE" in last_line(ended)
    assert not Path("out").exists()


def test_a_folder_with_prompts_from_a_file(
    lenscope: Lenscope, saved: Saved, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (30, 20), "blue").save(tmp_path / "data" / "a.png")
    Path("p.txt").write_text("Colour?\n\nWhat shape is it, please?\nColour?\n")
    model = saved("qwen2_vl")
    ended = lenscope("sweep", "--model", model, "--data", tmp_path / "data", "--prompts", "p.txt",
                     "--out", "out")  # fmt: skip
    assert ended.code == 0, ended.err
    items = list(read_items(Path("out")))
    assert [item.group for item in items] == ["Colour", "What shape is it, please"]
    shown = lenscope("report", "out", "--samples", 20)
    assert shown.code == 0 and "no truths are known" in shown.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "nowhere"), "no such data"),
        (("--data", "empty"), "no pictures"),
        (("--data", "pictures"), "--prompts"),
        (("--data", "empty", "--prompts", "clevr"), "no pictures"),
        (("--data", "pictures", "--prompts", "nowhere"), "neither a set of presets (clevr, coco)"),
        (("--data", "pictures", "--prompts", "blank.txt"), "no prompts"),
        (("--data", "pictures", "--prompts", "questions"), "no CLEVR_"),
        (("--data", "pictures", "--prompts", "clevr", "--shard", "3/2"), "I/N"),
        (("--data", "pictures", "--prompts", "clevr", "--batch-size", "0"), "from 1 up"),
        (("--data", "pictures", "--prompts", "clevr", "--against", "grey"), "no counterfactual"),
        (("--data", "pictures", "--prompts", "clevr", "--read", "grid"), "a sweep reads attention"),
        (("--data", "pictures", "--prompts", "clevr", "--read", "attention:layer=1"), "attention;"),
        (("--data", "pictures", "--settings", "temperature=1"), "add --read answer"),
        (("--data", "pictures", "--read", "answer", "--settings", "heat=1"), "name is temperature"),
        (("--data", "pictures", "--read", "answer:vdd=unk"), "they take max_new_tokens="),
        (("--data", "pictures", "--prompts", "clevr", "--against", "other=no"), "no such picture"),
        (("--data", "pictures", "--prompts", "clevr", "--model", "nowhere"), "nowhere"),
    ],
)
def test_refusals(lenscope: Lenscope, arguments: tuple[str, ...], says: str) -> None:
    Path("empty").mkdir()
    Path("pictures").mkdir()
    Image.new("RGB", (9, 9)).save("pictures/a.png")
    Path("blank.txt").write_text("\n\n")
    ended = lenscope("sweep", *arguments, "--out", "out")
    assert ended.code in (2, 3)
    assert says in ended.err
    assert ended.out == "" and "Traceback" not in ended.err


def test_whole_answers_with_settings(lenscope: Lenscope) -> None:
    write_clevr(Path("data"), 1)  # nothing is in the first scene
    (picture,) = Path("data").glob("images/*/*.png")
    asked = {"image": str(picture.absolute()), "question": "Color of the main object:"}
    Path("q.jsonl").write_text(json.dumps({**asked, "answer": "none"}) + "\n")
    given = ("sweep", "--data", "q.jsonl", "--out", "out", "--read", "answer:max_new_tokens=3")
    ended = lenscope(*given, "--settings", "temperature=0|0.5", "--settings", "top_k=1")
    assert ended.code == 0
    assert (
        "greedy, then with temperature=0.5; temperature=1,top_k=1, of up to 3 tokens" in ended.err
    )
    ended = lenscope("report", "out", "--samples", 20, "--export", "csv", "--figures", "none")
    assert ended.code == 0 and "How often whole answers are right" in ended.out
    with Path("out/report/answers.csv").open(newline="") as stream:
        lines = [*csv.DictReader(stream)]
    assert [line["setting"] for line in lines] == [
        "greedy", "temperature=0.5", "temperature=1,top_k=1",
    ]  # fmt: skip
    greedy, _, best = lines  # drawn from one token: the best one
    assert greedy["text"] == best["text"] and greedy["right"] == "True"
    ended = lenscope(*given)
    assert ended.code == 2 and "another set of decoding settings" in last_line(ended)


def test_a_model_without_pictures(lenscope: Lenscope, saved: Saved) -> None:
    Path("pictures").mkdir()
    Image.new("RGB", (9, 9)).save("pictures/a.png")
    ended = lenscope("sweep", "--model", saved("llama"), "--data", "pictures", "--prompts", "clevr",
                     "--out", "out")  # fmt: skip
    assert ended.code == 2 and "takes no pictures" in last_line(ended)


def test_an_out_that_cannot_be(lenscope: Lenscope) -> None:
    Path("pictures").mkdir()
    Image.new("RGB", (9, 9)).save("pictures/a.png")
    Path("file").write_text("x")
    ended = lenscope("sweep", "--data", "pictures", "--prompts", "clevr", "--out", "file")
    assert ended.code == 2 and "cannot be written to" in last_line(ended)


@pytest.mark.parametrize(
    "content", ["", "{}", "[" * 9999, '{"format": "lenscope-session", "version": 1}', "\xff"]
)
def test_a_folder_that_is_no_sweep(lenscope: Lenscope, content: str) -> None:
    assert "no such sweep" in last_line(lenscope("report", "nowhere"))
    Path("out").mkdir()
    Path("out/sweep.json").write_text(content, encoding="latin-1")
    for command in (("report", "out"), ("out",), ("out", "--item", "0" * 16)):
        ended = lenscope(*command)
        assert ended.code == 2 and "not a sweep" in last_line(ended)


def test_results_of_a_newer_version(lenscope: Lenscope, swept: Path) -> None:
    shutil.copytree(swept, "out")
    sweep = json.loads(Path("out/sweep.json").read_text())
    Path("out/sweep.json").write_text(json.dumps(sweep | {"version": 9}))
    ended = lenscope("report", "out")
    assert ended.code == 2 and "newer Lenscope" in last_line(ended)


def test_hostile_names_reach_nothing_raw(lenscope: Lenscope, swept: Path) -> None:
    shutil.copytree(swept, "out")
    (file,) = Path("out").glob("items-*.jsonl")
    evil = "\\u001b]0;PWNED\\u0007[red]|<b>\\u202e$x$"
    text = file.read_text().replace('"group":"shape"', f'"group":"{evil}"')
    file.write_text(text.replace('"truth":"cube"', f'"truth":"{evil}"'))
    ended = lenscope("report", "out", "--out", "r", "--samples", 20)
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out and "\u202e" not in ended.out and "[red]" in ended.out
    markdown = Path("r/report.md").read_text()
    assert "\x1b" not in markdown and "<b>" not in markdown.replace("\\<b\\>", "")
    assert len({line.count(" | ") for line in markdown.split("\n\n")[4].splitlines()}) == 1


def test_item_needs_a_sweep(lenscope: Lenscope, swept: Path) -> None:
    ended = lenscope("--item", "0" * 16)
    assert ended.code == 2 and "lenscope DIR --item ID" in last_line(ended)
    ended = lenscope(swept, "--item", "0" * 16)
    assert ended.code == 2 and "no item" in last_line(ended)
    item = next(iter(read_items(swept)))
    assert "needs a terminal" in last_line(lenscope(swept, "--item", item.item))


def test_a_report_needs_no_torch(swept: Path) -> None:
    code = (
        "import sys; from tui.cli import main\n"
        f"assert main(['report', {str(swept)!r}, '--samples', '20']) == 0\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
