"""Tables as spreadsheets, benchmarks and training sets have them: one meaning, many spellings."""

from __future__ import annotations

import base64
import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadInput, Remedy
from engine.sweeps.sources.columns import ANSWER, PICTURE, PROMPT, ColumnReader
from engine.sweeps.sources.conversations import first_exchange
from engine.sweeps.sources.embedded import embedded_picture
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.placeholders import Placeholders
from engine.sweeps.sources.presence import only_present
from engine.sweeps.sources.row_tasks import RowTasks
from engine.sweeps.sources.tasks import NO_GROUP, Prompt, Source, Task
from tests.sweeps.builders import WHAT, asked, picture

COLOR = "Color of the main object:"
SHAPE = Prompt("Shape of the main object:", "Shape of the main object")
YELLOW = (Task(COLOR, NO_GROUP, "yellow"),)
ROW = {"picture": "a.png", "prompt": COLOR, "answer": "yellow"}
HEAD, LINE = ("picture", "prompt", "answer"), ("a.png", COLOR, "yellow")


def delimited(mark: str, *, end: str = "\n", before: str = "") -> str:
    return before + "".join(mark.join(each) + end for each in (HEAD, LINE))


def opened(folder: Path, name: str, content: str | bytes, *prompts: Prompt) -> Source:
    """A table beside one picture."""
    picture(folder / "a.png")
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return open_source(folder / name, prompts)


def said(source: Source) -> str:
    return " | ".join(source.notes)


# One table, however it is written


PLAIN = delimited(",")
SPELLINGS: dict[str, tuple[str, str | bytes]] = {
    "semicolons": ("t.csv", delimited(";")),
    "tabs in a CSV": ("t.csv", delimited("\t")),
    "tabs": ("t.tsv", delimited("\t")),
    "commas in a TSV": ("t.tsv", PLAIN),
    "bars": ("t.csv", delimited("|")),
    "spaces after commas": ("t.csv", delimited(", ")),
    "a separator line": ("t.csv", delimited(";", before="sep=;\r\n", end="\r\n")),
    "line ends of Windows": ("t.csv", delimited(",", end="\r\n")),
    "line ends of old Macs": ("t.csv", delimited(",", end="\r")),
    "UTF-16": ("t.csv", PLAIN.encode("utf-16")),
    "UTF-16, big-endian": ("t.csv", codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be")),
    "UTF-16 without a mark": ("t.csv", PLAIN.encode("utf-16-le")),
    "Unicode text of Excel": ("t.txt", delimited("\t").encode("utf-16")),
    "UTF-32": ("t.csv", PLAIN.encode("utf-32")),
    "a byte order mark": ("t.csv", PLAIN.encode("utf-8-sig")),
    "capitals": ("t.csv", PLAIN.replace(",".join(HEAD), "Picture,PROMPT,Answer")),
    "spaces around names": ("t.csv", PLAIN.replace(",".join(HEAD), " picture , prompt,answer ")),
    "an empty last line": ("t.csv", PLAIN + ",,\n"),
    "blank lines": ("t.csv", PLAIN + "\n \n"),
    "commas at the ends": ("t.csv", PLAIN.replace("\n", ",\n")),
    "more commas at the end of a line": ("t.csv", PLAIN[:-1] + ",,,\n"),
    "no line end": ("t.csv", PLAIN[:-1]),
    "quotes": ("t.csv", '"picture","prompt","answer"\n"a.png","' + COLOR + '","yellow"\n'),
    "no suffix": ("table", PLAIN),
    "JSON lines": ("t.jsonl", json.dumps(ROW) + "\n"),
    "JSON lines with a mark": ("t.jsonl", json.dumps(ROW).encode("utf-8-sig") + b"\n"),
    "JSON lines in UTF-16": ("t.jsonl", json.dumps(ROW).encode("utf-16")),
    "JSON lines with commas": ("t.jsonl", f"{json.dumps(ROW)},\n{json.dumps(ROW)}\n"),
    "JSON lines called JSON": ("t.json", f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n"),
    "one JSON line called JSON": ("t.json", json.dumps(ROW)),
    "an array": ("t.json", json.dumps([ROW])),
    "an array called JSON lines": ("t.jsonl", json.dumps([ROW], indent=1)),
    "an array with a comma too many": ("t.json", f"[{json.dumps(ROW)},\n]"),
    "an array with NaN": ("t.json", json.dumps([{**ROW, "score": float("nan")}])),
    "an object with rows": ("t.json", json.dumps({"version": 1, "data": [ROW]})),
    "rows by their ids": ("t.json", json.dumps({"7": ROW, "8": ROW})),
    "objects in several lines": ("t.json", "\n".join([json.dumps(ROW, indent=2)] * 2)),
    "objects in several lines called lines": ("t.jsonl", json.dumps(ROW, indent=2)),
    "a table by columns": ("t.json", json.dumps({key: {"0": ROW[key]} for key in ROW})),
    "a table by lists": ("t.json", json.dumps({key: [ROW[key]] for key in ROW})),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_one_table_in_many_spellings(tmp_path: Path, name: str) -> None:
    source = opened(tmp_path, *SPELLINGS[name])
    assert asked(source) == {"a.png": YELLOW}
    assert only_present(source).notes == ()
    assert said(source) in ("", "columns not read: 'score'")


def test_what_is_not_unicode_is_taken_for_excels(tmp_path: Path) -> None:
    text = "picture;prompt;answer\na.png;Welche Farbe hat die Tür?;grün\n"
    source = opened(tmp_path, "t.csv", text.encode("cp1252"))
    assert asked(source) == {"a.png": (Task("Welche Farbe hat die Tür?", NO_GROUP, "grün"),)}
    assert "Windows-1252" in said(source)


def test_strings_in_json_keep_their_commas_and_nan(tmp_path: Path) -> None:
    row = {**ROW, "prompt": 'Is "NaN, ]" or -Infinity,} written?', "score": float("nan")}
    (tasks,) = asked(opened(tmp_path, "t.json", f"[{json.dumps(row)},]")).values()
    assert tasks[0].prompt == row["prompt"]


# Columns


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize(
    ("names", "spelled"),
    [
        (("image", "question", "answer"), ("Image", "Question", "Answer")),
        (("image", "text", "label"), ("IMAGE", "text ", " Label")),
        (("img", "query", "truth"), ("img", "query", "Truth")),
        (("file_name", "prompt", "gt_answer"), ("file-name", "Prompt", "GT Answer")),
        (("image_path", "instruction", "response"), ("imagePath", "instruction", "response")),
        (("filename", "question", "ground_truth"), ("FileName", "question", "groundTruth")),
    ],
)
def test_the_same_names_everywhere(
    tmp_path: Path, ending: str, names: tuple[str, ...], spelled: tuple[str, ...]
) -> None:
    for header in (names, spelled):
        if ending in ("csv", "tsv"):
            mark = "," if ending == "csv" else "\t"
            text = "".join(mark.join(each) + "\n" for each in (header, LINE))
        else:
            row = dict(zip(header, LINE, strict=True))
            text = json.dumps([row] if ending == "json" else row)
        assert asked(opened(tmp_path, f"t.{ending}", text)) == {"a.png": YELLOW}


def test_what_is_read_and_what_is_not_is_said(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "a.png", "text": "Is there a cube?", "label": "yes"}
    source = opened(tmp_path, "pope.jsonl", json.dumps(row))
    assert asked(source) == {"a.png": (Task("Is there a cube?", NO_GROUP, "yes"),)}
    assert "'image' as picture, 'text' as prompt, 'label' as answer" in said(source)
    assert "columns not read: 'question_id'" in said(source)


def test_very_many_columns_are_not_all_named(tmp_path: Path) -> None:
    row = {**ROW, **{f"{number}" * 50: 1 for number in range(10, 99)}}
    source = opened(tmp_path, "t.jsonl", json.dumps(row))
    assert "and 77 more" in said(source) and len(said(source)) < 1000


def test_names_have_one_meaning() -> None:
    named = [*PICTURE, *PROMPT, *ANSWER]
    plain = [name.replace("_", "") for name in named]
    assert len(set(plain)) == len(plain)


def test_the_question_has_its_own_answer_column(tmp_path: Path) -> None:
    """A label of the picture is not the answer to a question that has no answer."""
    row = {"image": "a.png", "question": "Where?", "answer": None, "label": "cat"}
    assert asked(opened(tmp_path, "t.jsonl", json.dumps(row))) == {"a.png": (Task("Where?"),)}


@pytest.mark.parametrize(
    ("row", "truth"),
    [
        ({"choices": ["red", "blue"], "answer": 1}, "blue"),
        ({"choices": ["red", "blue"], "answer": "B"}, "blue"),
        ({"options": "['red', 'blue']", "answer": "(a)"}, "red"),
        ({"A": "red", "B": "blue", "answer": "B"}, "blue"),
        ({"A": "red", "B": "blue", "answer": "blue"}, "blue"),
        ({"A": "red", "B": "blue", "answer": "D"}, None),
        ({"choices": ["2", "1"], "answer": "1"}, "1"),
        ({"choices": ["red"], "answer": 7}, None),
        ({"options": "[[[", "answer": "A"}, "A"),
        ({"answer": "B"}, "B"),
        ({"answers": ["red", "blue", "blue"]}, "blue"),
        ({"answers": [{"answer": "red", "answer_confidence": "yes"}]}, "red"),
        ({"answers": []}, None),
        ({"answer": {"text": "red"}}, "red"),
        ({"answers": {"text": ["red", "blue", "blue"], "answer_start": [1, 2, 3]}}, "blue"),
        ({"answers": {"text": []}}, None),
        ({"answers": {"start": 1}}, None),
        ({"answer": [1, 2]}, "1"),
        ({"answer": True}, None),
        ({"label": 3}, "3"),
        ({"answer": float("nan")}, None),
    ],
)
def test_what_an_answer_is(tmp_path: Path, row: dict[str, Any], truth: str | None) -> None:
    row = {"image": "a.png", "question": "Which?", **row}
    (tasks,) = asked(opened(tmp_path, "t.jsonl", json.dumps(row))).values()
    assert tasks == (Task("Which?", NO_GROUP, truth),)


@pytest.mark.parametrize(
    ("answers", "given"),
    [
        (["yes"] * 8 + ["no", "maybe"], ("yes",) * 8 + ("no", "maybe")),
        ([{"answer": "yes", "answer_confidence": "no"}] * 10, ("yes",) * 10),
        (["yes"] * 3, ()),  # other spellings of one answer, perhaps
        (["yes"] * 9 + [""], ()),
        ("yes", ()),
        (None, ()),
    ],
)
def test_what_ten_people_answered(tmp_path: Path, answers: Any, given: tuple[str, ...]) -> None:
    row = {"image": "a.png", "question": "Is it?", "multiple_choice_answer": "yes",
           "answers": answers}  # fmt: skip
    source = opened(tmp_path, "t.jsonl", json.dumps(row))
    ((task,),) = asked(source).values()
    assert (task.truth, task.given) == ("yes", given)
    assert "not read" not in said(source)
    replaced = opened(tmp_path, "t.jsonl", json.dumps(row), Prompt("Else?"), Prompt("Is it?"))
    (tasks,) = asked(replaced).values()
    assert [(task.truth, task.given) for task in tasks] == [(None, ()), ("yes", given)]


@pytest.mark.parametrize("key", ["from", "role"])
def test_conversations(tmp_path: Path, key: str) -> None:
    said_by = {"from": ("human", "gpt", "value"), "role": ("user", "assistant", "content")}
    human, model, value = said_by[key]
    turns = [
        {key: "system", value: "Be brief."},
        {key: human, value: "<image>\nWhat is it?"},
        {key: model, value: "A dog."},
        {key: human, value: "And where?"},
        {key: model, value: "In a car."},
    ]
    column = "conversations" if key == "from" else "messages"
    row = {"id": "1", "image": "a.png", column: turns}
    source = opened(tmp_path, "t.json", json.dumps([row, {"id": "2", column: turns}]))
    assert asked(source)["a.png"] == (Task("What is it?", NO_GROUP, "A dog."),)
    assert "only the first question is asked; 2 later" in said(source)
    (note,) = only_present(source).notes
    assert "1 of 2 pictures: no picture in the row" in note


def test_parts_of_a_message_and_pictures_in_lists(tmp_path: Path) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    row = {"messages": [{"role": "user", "content": content}], "images": ["a.png"]}
    assert asked(opened(tmp_path, "t.jsonl", json.dumps(row))) == {"a.png": (Task("What is it?"),)}


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.text(max_size=4) | st.integers(),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(st.sampled_from(["from", "value", "role", "content", "user"]), each)
        ),
        max_leaves=8,
    )
)
def test_any_conversation_is_understood_or_passed_over(value: Any) -> None:
    found = first_exchange(value)
    assert found is None or isinstance(found.question, str)


# Truths belong to their questions


@pytest.mark.parametrize("name", ["question.csv", "space.csv", "conversation.json"])
def test_an_answer_is_no_truth_for_another_question(tmp_path: Path, name: str) -> None:
    text = {
        "question.csv": "image,question,answer\na.png,What is behind it?,a cube\n",
        "space.csv": delimited(", "),
        "conversation.json": json.dumps([{"image": "a.png", "conversations": [
            {"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello!"}]}]),
    }[name]  # fmt: skip
    source = opened(tmp_path, name, text, SHAPE)
    assert asked(source) == {"a.png": (Task(SHAPE.text, SHAPE.group, None),)}
    assert "not used as truths" in said(source)


def test_an_answer_is_the_truth_where_the_question_is_the_same(tmp_path: Path) -> None:
    text = (
        f"image,question,answer\na.png,{SHAPE.text},cube\na.png,{COLOR},red\nb.png,{COLOR},blue\n"
    )
    source = opened(tmp_path, "t.csv", text, SHAPE)
    assert asked(source) == {
        "a.png": (Task(SHAPE.text, SHAPE.group, "cube"),),
        "b.png": (Task(SHAPE.text, SHAPE.group, None),),
    }
    assert "only where the question is the same" in said(source)


def test_prompts_fill_the_gaps_of_a_table_that_has_some(tmp_path: Path) -> None:
    text = f"image,question,answer\na.png,{COLOR},red\nb.png,,cube\n"
    source = opened(tmp_path, "t.csv", text, SHAPE)
    assert asked(source) == {
        "a.png": (Task(COLOR, NO_GROUP, "red"),),
        "b.png": (Task(SHAPE.text, SHAPE.group, "cube"),),
    }
    assert "1 row with a question of its own" in said(source)
    assert f"('answer') are taken for those to '{SHAPE.text}'" in said(source)


def test_a_column_that_seems_to_have_the_questions_has_the_answers(tmp_path: Path) -> None:
    text = "image,Frage,answer\na.png,Was liegt dahinter?,ein Würfel\n"
    source = opened(tmp_path, "t.csv", text, SHAPE)
    assert asked(source) == {"a.png": (Task(SHAPE.text, SHAPE.group, None),)}
    assert "seem to belong to the questions in 'Frage'" in said(source)
    with pytest.raises(BadInput, match="no prompt") as refused:
        open_source(tmp_path / "t.csv")
    assert refused.value.remedies == (Remedy.NAME_PROMPTS,)


CELLS = st.text(max_size=8) | st.integers() | st.none() | st.floats() | st.booleans()


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["image", "prompt", "answer", "x"]), CELLS), max_size=4
    ),
    prompts=st.lists(st.sampled_from(["What?", "a"]), max_size=2, unique=True),
)
def test_a_truth_is_always_that_of_its_question(
    rows: list[dict[str, Any]], prompts: list[str]
) -> None:
    columns = ColumnReader()
    tasks = RowTasks(tuple(map(Prompt, prompts)), Placeholders())
    read = []
    for number, values in enumerate(rows):
        try:
            read.append(columns.row(number, values, f"row {number}"))
        except BadInput:
            return
    for row in read:
        tasks.see(row)
    for row in read:
        try:
            found = tasks.tasks_of(row)
        except BadInput:
            continue
        assert found
        for task in found:
            if task.truth is not None and row.prompt:
                assert task.prompt.split() == row.prompt.split() and task.truth == row.answer


# Placeholders


@pytest.mark.parametrize(
    ("prompt", "bare"),
    [
        ("<image>\nWhat?", "What?"), ("What?\n<image>", "What?"), ("<image> What?", "What?"),
        (" <Image>What?", "What?"), ("<|image_1|>\nWhat?", "What?"), ("<image 1>What?", "What?"),
        ("<|vision_start|><|image_pad|><|vision_end|>What?", "What?"), ("[IMG]What?", "What?"),
        ("What is <image> here?", "What is <image> here?"), ("<image>", "<image>"),
        ("<image><image>Which?", "<image><image>Which?"), ("What <b> is?", "What <b> is?"),
        ("What?", "What?"), ("  What?", "  What?"),
    ],
)  # fmt: skip
def test_a_placeholder_where_the_picture_goes_anyway(
    tmp_path: Path, prompt: str, bare: str
) -> None:
    row = {"image": "a.png", "prompt": prompt}
    source = opened(tmp_path, "t.jsonl", "\n".join([json.dumps(row)] * 2))
    assert asked(source) == {"a.png": (Task(bare),)}
    assert said(source).count("is taken off") == (prompt != bare)
    assert ("in its middle" in said(source)) == (prompt == bare and "image>" in prompt)
    raw = open_source(tmp_path / "t.jsonl", take_off=False)  # there it says where the picture goes
    assert asked(raw) == {"a.png": (Task(prompt),)} and said(raw) == ""


def test_a_placeholder_in_the_prompts_of_the_command_line(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    source = open_source(tmp_path, [Prompt("<image>\nWhat?", "What")])
    assert asked(source) == {"a.png": (Task("What?", "What"),)}
    assert "taken off" in said(source)


@settings(max_examples=40)
@given(st.text(alphabet="<image>|_1 \n?a", max_size=60))
def test_taking_off_only_shortens(prompt: str) -> None:
    bare = Placeholders().without(prompt)
    assert bare in prompt and (bare.strip() or bare == prompt)


# Pictures


def test_pictures_in_a_table(tmp_path: Path) -> None:
    data = picture(tmp_path / "a.png").read_bytes()
    text = base64.b64encode(data).decode()
    rows = [
        {"image": text, "prompt": "0?"},
        {"image": f"data:image/png;base64,{text}", "prompt": "1?"},
        {"image": {"bytes": text, "path": None}, "prompt": "2?"},
        {"image": [text], "prompt": "3?"},
        {"image": "a.png", "prompt": "4?"},
        {"image": f"file://{tmp_path}/a.png", "prompt": "5?"},
        {"image": {"path": "a.png"}, "prompt": "6?"},
        {"image": "{'bytes': None, 'path': 'a.png'}", "prompt": "7?"},
        {"image": "['a.png']", "prompt": "8?"},
    ]
    source = opened(tmp_path, "t.jsonl", "\n".join(map(json.dumps, rows)))
    for listing in (source.pictures, source.listing):
        found = list(listing)
        assert [each.tasks for each in found] == [(Task(f"{index}?"),) for index in range(9)]
        assert [each.read() for each in found if each.read is not None] == [data] * 4
        assert [each.file for each in found if each.file is not None] == [tmp_path / "a.png"] * 5
    assert only_present(source).pictures == 9
    assert embedded_picture(tmp_path / "t.jsonl", "t.jsonl#1") == data
    assert embedded_picture(tmp_path / "t.jsonl", "t.jsonl#5") is None


def test_pictures_in_a_tsv_as_benchmarks_have_them(tmp_path: Path) -> None:
    data = picture(tmp_path / "b.png").read_bytes()
    text = base64.b64encode(data + b"\0" * 200_000).decode()  # more than csv's own limit
    content = f"index\timage\tquestion\tA\tB\tanswer\n0\t{text}\tWhich?\tred\tblue\tB\n"
    source = opened(tmp_path, "t.tsv", content)
    (found,) = source.pictures
    assert found.path == "t.tsv#2" and found.tasks == (Task("Which?", NO_GROUP, "blue"),)
    assert found.read is not None and found.read().startswith(data)


@pytest.mark.parametrize("place", ["images", "val2014", "img"])
def test_pictures_in_a_folder_beside_the_table(tmp_path: Path, place: str) -> None:
    picture(tmp_path / place / "COCO_val2014_000000000042.jpg")
    for name in ("COCO_val2014_000000000042.jpg", "C:\\data\\COCO_val2014_000000000042.jpg"):
        row = {"image": name, "question": "What?"}
        source = opened(tmp_path, "t.jsonl", json.dumps(row))
        (found,) = source.pictures
        assert found.path == f"{place}/COCO_val2014_000000000042.jpg"
        assert only_present(source).notes == ()


def test_pictures_known_by_a_number(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "2354786.jpg")
    whole = {"07": {"imageId": "2354786", "question": "Is it?", "answer": "no", "types": {}}}
    source = opened(tmp_path, "gqa.json", json.dumps(whole))
    assert asked(source) == {"images/2354786.jpg": (Task("Is it?", NO_GROUP, "no"),)}


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("https://example.org/a.png", "an address, which is not opened: download"),
        ("s3://bucket/a.png", "an address"),
        (["a.png", "b.png"], "several pictures in one row"),
        ([[[0, 1], [2, 3]]], "arrays of numbers"),
        ({"width": 3}, "records without bytes or path"),
        ("gone.png", "is not there"),
        ("x" * 9000, "no file names, nor base64"),
        (True, "truth values"),
        (0.5, "numbers"),
    ],
)
def test_a_cell_that_is_no_picture_is_named(tmp_path: Path, cell: Any, says: str) -> None:
    bad = {"image": cell, "prompt": "What?"}
    source = opened(tmp_path, "t.jsonl", json.dumps(bad))
    with pytest.raises(BadInput, match=says):
        only_present(source)
    good = {"image": "a.png", "prompt": "What?"}
    source = opened(tmp_path, "t.jsonl", f"{json.dumps(bad)}\n{json.dumps(good)}\n")
    present = only_present(source)
    assert [each.path for each in present.source.pictures] == ["a.png"]
    assert says in present.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv.gz", b"\x1f\x8b\x08", "gunzip"),
        ("t.xlsx", b"PK\x03\x04", "save the sheet as CSV"),
        ("t.csv", b"PK\x03\x04", "save the sheet as CSV"),
        ("t.parquet", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("t.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("t.npy", b"\x93NUMPY", "NumPy"),
        ("t.pkl", b"\x80\x04\x95", "pickle"),
        ("t.json", b"\x89PNG\r\n\x1a\n", "a picture, not data"),
        ("t.tar", b"a.png".ljust(257, b"\0") + b"ustar", "tar archive"),
        ("t.json", b'{"images": ', "not JSON"),
        ("t.json", b'{"a": 1}', "no column `picture`"),
        ("t.json", b'[{"a": 1}]', "no column `picture`; it has 'a'"),
        ("t.json", b'{"picture": "a.png"}\n[1]\n', "line 2: not a JSON object"),
        ("t.json", b"[]", "no lines"),
        ("t.csv", b"picture,prompt\n\x81,x\n", "save it as UTF-8"),
        ("t.csv", b"picture;prompt\na.png;x;y\n", "line 2: more values than columns"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        opened(tmp_path, name, content)
    assert says in str(refused.value) and "\n" not in str(refused.value)


@settings(max_examples=40)
@given(st.binary(max_size=300), st.sampled_from(["t.csv", "t.json", "t.jsonl", "t", "t.arrow"]))
def test_any_bytes_are_a_table_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / name).write_bytes(data)
    try:
        only_present(open_source(folder / name, [WHAT]))
    except BadInput as error:
        assert str(error)
