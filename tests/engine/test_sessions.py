"""Session files: the JSON contract, atomic writing, and refusing damaged files."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from engine import sessions
from engine.errors import BadInput
from engine.records import (
    AnswerReading,
    Comparison,
    ComparisonRow,
    Counterfactual,
    LayerReading,
    ModelCard,
    OtherPosition,
    Picture,
    PromptToken,
    Proof,
    Question,
    Run,
    Session,
    Token,
    Tracked,
)
from engine.sessions import MAX_BYTES, read_session, to_json, write_session
from tests.atomic import assert_replaced_whole

RUN_ID = "0123456789abcdef"
TIME = "2026-11-22T03:00:00.000Z"
FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make_row(layer: int, approximate: str | None = None) -> LayerReading:
    return LayerReading(
        layer=layer,
        top=(Token(7, " gold", 0.5, 1.25), Token(8, "\\xE4", 0.25, -math.inf)),
        entropy=1.5,
        rms=0.25,
        answer=AnswerReading(0.5, 1.25, 1),
        kl_to_last=0.125,
        approximate=approximate,
    )


def make_run(**changes: Any) -> Run:
    run = Run(
        id=RUN_ID,
        created=TIME,
        status="done",
        layers=2,
        question=Question(
            prompt="What?",
            picture=Picture("a.png", "0" * 64, 4, 3, "QUJD"),
            system="Be brief.",
            prefix="It is",
            counterfactual=Counterfactual("blank", {"color": [127, 127, 127]}, 3),
            text="USER: <image>\nWhat? ASSISTANT:It is",
            model=ModelCard("m", None, "LlavaForConditionalGeneration", "float32", "cpu"),
        ),
        tokens=(
            PromptToken(0, "<s>", "special", "template"),
            PromptToken(4, "<image>", "image", "picture"),
            PromptToken(9, "\x1b[31m\u202e\n", "text", "prompt"),
        ),
        position=2,
        rows=(make_row(0), make_row(1, "packed"), make_row(2)),
        tracked=(Tracked(7, " gold", "answer", (0.5,) * 3, (1.25,) * 3, (1, 2, 1)),),
        proof=Proof(0.0, 1e-5, True, "tail"),
        seconds={"pass": 0.5},
        versions={"torch": "2.13.0"},
    )
    return structs.replace(run, **changes)


def nested(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def make_session(*runs: Run, **changes: Any) -> Session:
    return structs.replace(Session(created=TIME, saved=TIME, runs=runs), **changes)


SESSION = make_session(
    make_run(others=(OtherPosition(1, (make_row(0),)),)),
    comparisons=(Comparison(RUN_ID, "runs", RUN_ID, RUN_ID, 2, (ComparisonRow(0, 0.5, 0.25),)),),
    view={"row": 2},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.json"


def refusal(path: Path) -> str:
    """The one line with which the file is refused; it names the file, which stays as it is."""
    before = path.read_bytes()
    with pytest.raises(BadInput) as caught:
        read_session(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert path.read_bytes() == before
    return line


def plain(session: Session = SESSION) -> Any:
    return json.loads(to_json(session))


def refused_with(path: Path, change: Any) -> str:
    """Refusal of the session's JSON after `change` has damaged it."""
    content = plain()
    change(content)
    path.write_text(json.dumps(content))
    return refusal(path)


# The contract


def test_what_is_written_is_read_back(path: Path) -> None:
    write_session(SESSION, path)
    first = read_session(path)
    write_session(first, path)
    assert read_session(path) == first
    assert first.runs[0].tokens == SESSION.runs[0].tokens
    assert first.runs[0].rows[1].approximate == "packed"
    assert first.view == {"row": 2}


def test_the_formation_row_is_stored_and_found_in_files_that_lack_it(path: Path) -> None:
    run = make_run(formation=1)
    write_session(structs.replace(SESSION, runs=(run,)), path)
    assert read_session(path).runs[0].formation == 1
    older = json.loads(path.read_text())
    del older["runs"][0]["formation"]
    path.write_text(json.dumps(older))
    assert read_session(path).runs[0].formation == 0  # the same token is top-1 in every row
    older["runs"][0]["status"] = "cancelled"
    path.write_text(json.dumps(older))
    assert read_session(path).runs[0].formation is None
    older["runs"][0]["formation"] = len(run.rows)
    path.write_text(json.dumps(older))
    with pytest.raises(BadInput, match=f"its formation row is {len(run.rows)}"):
        read_session(path)


def test_the_names_are_those_of_the_format(path: Path) -> None:
    content = plain()
    assert list(content)[:2] == ["format", "version"]
    assert set(content) == {
        "format",
        "version",
        "created",
        "saved",
        "runs",
        "comparisons",
        "view",
    }
    assert (content["format"], content["version"]) == ("lenscope-session", 1)
    (run,) = content["runs"]
    assert set(run) == {
        "id",
        "title",
        "tags",
        "note",
        "created",
        "status",
        "formation",
        "error",
        "layers",
        "question",
        "tokens",
        "position",
        "rows",
        "tracked",
        "others",
        "proof",
        "seconds",
        "versions",
        "processed",
        "made",
        "readings",
    }
    question = run["question"]
    assert set(question) == {
        "model",
        "picture",
        "prompt",
        "chat",
        "system",
        "prefix",
        "text",
        "counterfactual",
        "top_k",
        "norm",
    }
    assert set(question["model"]) == {
        *("name", "revision", "class", "dtype", "device", "notes", "adapter", "weights"),
    }
    assert set(question["picture"]) == {
        *("path", "sha256", "width", "height", "preview", "note"),
    }
    assert set(question["counterfactual"]) == {"name", "parameters", "seed"}
    assert set(run["tokens"][0]) == {"id", "text", "kind", "part"}
    row = run["rows"][0]
    assert set(row) == {"layer", "top", "entropy", "rms", "answer", "kl_to_last"}
    assert set(run["rows"][1]) == set(row) | {"approximate"}
    assert set(row["top"][0]) == {"id", "text", "probability", "logit"}
    assert set(row["answer"]) == {"probability", "logit", "rank"}
    tracked = {"id", "text", "why", "probability", "logit", "rank"}
    assert set(run["tracked"][0]) == tracked
    assert set(run["others"][0]) == {"position", "rows", "tracked"}
    assert set(run["proof"]) == {"max_abs_difference", "tolerance", "passed", "method"}
    (comparison,) = content["comparisons"]
    assert set(comparison) == {
        "id", "kind", "of", "against", "position", "rows", "threshold", "layer", "unavailable",
    }  # fmt: skip
    assert set(comparison["rows"][0]) >= {"layer", "kl", "js"}


def test_absent_things_are_null_and_lists_are_lists() -> None:
    bare = make_run(
        question=Question(prompt="What?"),
        status="cancelled",
        rows=(),
        tracked=(),
        proof=None,
        error=None,
    )
    (run,) = plain(make_session(bare))["runs"]
    assert run["proof"] is None
    assert run["title"] is None
    assert run["others"] == []
    assert run["question"]["prefix"] == ""
    for name in ("model", "picture", "system", "counterfactual"):
        assert run["question"][name] is None


def test_the_file_is_ascii_without_control_characters(path: Path) -> None:
    write_session(SESSION, path)
    data = path.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in data)
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_null(path: Path, number: float) -> None:
    row = structs.replace(make_row(0), entropy=number, rms=number, kl_to_last=number)
    run = make_run(
        rows=(row, *make_run().rows[1:]),
        proof=Proof(number, 1e-5, False, "tail"),
        status="failed",
    )
    write_session(make_session(run, view={"zoom": number}), path)
    text = path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    found = read_session(path)
    assert found.runs[0].rows[0].entropy is None
    assert found.runs[0].rows[0].top[1].logit is None
    assert found.runs[0].proof is not None
    assert found.runs[0].proof.max_abs_difference is None
    assert found.view == {"zoom": None}


def test_nothing_stored_is_rounded(path: Path) -> None:
    share = 0.1 + 0.2
    row = structs.replace(make_row(0), top=(Token(1, "a", share, -1e-17),), entropy=2**-40)
    write_session(make_session(make_run(rows=(row, *make_run().rows[1:]))), path)
    found = read_session(path).runs[0].rows[0]
    assert (found.top[0].probability, found.top[0].logit) == (share, -1e-17)
    assert found.entropy == 2**-40


def test_previews_can_be_left_out(path: Path) -> None:
    write_session(SESSION, path, previews=False)
    picture = read_session(path).runs[0].question.picture
    assert picture is not None
    assert picture.preview is None
    assert picture.sha256 == "0" * 64
    given = SESSION.runs[0].question.picture
    assert given is not None
    assert given.preview == "QUJD"


def test_fields_of_a_later_writer_are_ignored(path: Path) -> None:
    content = plain()
    content["later"] = {"anything": [1, None]}
    content["runs"][0]["later"] = 1
    content["runs"][0]["rows"][0]["later"] = "x"
    path.write_text(json.dumps(content))
    assert read_session(path).runs[0].id == RUN_ID


def test_a_path_that_is_no_utf8_survives(path: Path) -> None:
    question = structs.replace(make_run().question, picture=Picture("caf\udce9.png"))
    write_session(make_session(make_run(question=question)), path)
    picture = read_session(path).runs[0].question.picture
    assert picture is not None
    assert picture.path.startswith("caf")


# Damage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"42",
        b'"lenscope-session"',
        b"\xff\xfe\x00",
        b'{"format": "lenscope-sweep", "version": 1}',
        b'{"format": ["lenscope-session"], "version": 1}',
        b'{"version": 1, "runs": []}',
        b'{"format": "lenscope-session", "version": 1}',
        b'{"format": "lenscope-session", "created": "a", "saved": "b", "runs": [NaN]}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"\x1b[31m\n\x07",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_files_that_are_no_session(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    refusal(path)


def test_a_truncated_session_at_every_length(path: Path) -> None:
    data = to_json(SESSION).encode()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        refusal(path)


def test_a_newer_version_is_named(path: Path) -> None:
    line = refused_with(path, lambda content: content.update(version=2))
    assert "newer" in line
    assert "2" in line


@pytest.mark.parametrize("version", [None, "1", 0, -1, True, 1.5, [], 10**400])
def test_a_version_that_is_none(path: Path, version: Any) -> None:
    refused_with(path, lambda content: content.update(version=version))


def test_a_session_says_its_version(path: Path) -> None:
    refused_with(path, lambda content: content.pop("version"))


def test_a_huge_file_is_refused_unread(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(to_json(SESSION).encode())
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(BadInput, match="the limit"):
        read_session(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("runs",), {}),
        (("runs",), [None]),
        (("runs", 0, "id"), "xyz"),
        (("runs", 0, "id"), "0123456789ABCDEF"),
        (("runs", 0, "status"), "finished"),
        (("runs", 0, "layers"), -1),
        (("runs", 0, "layers"), 3),
        (("runs", 0, "layers"), 1),
        (("runs", 0, "position"), 3),
        (("runs", 0, "position"), -1),
        (("runs", 0, "tokens"), [{"id": 1}]),
        (("runs", 0, "tokens"), []),
        (("runs", 0, "tokens", 0, "kind"), "picture"),
        (("runs", 0, "tokens", 0, "part"), "body"),
        (("runs", 0, "tokens", 0, "id"), "1"),
        (("runs", 0, "rows", 0, "layer"), 1),
        (("runs", 0, "rows", 0, "top"), None),
        (("runs", 0, "rows", 0, "top", 0, "probability"), "0.5"),
        (("runs", 0, "rows", 0, "top", 0, "probability"), 1.5),
        (("runs", 0, "rows", 0, "top", 0, "probability"), -0.1),
        (("runs", 0, "rows", 0, "top", 0, "text"), None),
        (("runs", 0, "rows", 0, "entropy"), "1"),
        (("runs", 0, "rows", 0, "answer", "rank"), 0),
        (("runs", 0, "rows"), []),
        (("runs", 0, "tracked", 0, "probability"), [0.5]),
        (("runs", 0, "tracked", 0, "why"), "because"),
        (("runs", 0, "proof"), {}),
        (("runs", 0, "proof", "passed"), "yes"),
        (("runs", 0, "proof"), None),
        (("runs", 0, "question", "prompt"), 5),
        (("runs", 0, "question", "chat"), 1),
        (("runs", 0, "question", "top_k"), 0),
        (("runs", 0, "question", "picture", "sha256"), "zz"),
        (("runs", 0, "question", "picture", "width"), 2.5),
        (("runs", 0, "seconds"), {"pass": "long"}),
        (("runs", 0, "others", 0, "position"), 99),
        (("runs", 0, "question", "counterfactual", "parameters", "deep"), nested(200)),
        (("comparisons", 0, "of"), "fedcba9876543210"),
        (("comparisons", 0, "kind"), "other"),
        (("view",), []),
        (("created",), None),
    ],
)
def test_wrong_values_are_refused(path: Path, place: tuple[Any, ...], value: Any) -> None:
    def damage(content: Any) -> None:
        *way, last = place
        for step in way:
            content = content[step]
        content[last] = value

    refused_with(path, damage)


def test_two_runs_of_one_id_are_refused(path: Path) -> None:
    refused_with(path, lambda content: content["runs"].append(content["runs"][0]))


def test_the_last_of_two_equal_keys_counts_and_is_checked(path: Path) -> None:
    text = to_json(SESSION)
    path.write_text(text[:-1] + ', "view": 5}')
    refusal(path)
    path.write_text(text[:-1] + ', "view": {"row": 0}}')
    assert read_session(path).view == {"row": 0}


def test_a_missing_session(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such session"):
        read_session(tmp_path / "missing.json")


@pytest.mark.parametrize("name", ["a\0b.json", "x" * 5000, "~no-such-user-here/x.json"])
def test_impossible_paths_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        read_session(name)
    with pytest.raises(BadInput):
        write_session(SESSION, name)


def test_a_folder_is_no_session(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a folder"):
        read_session(tmp_path)


def test_an_endless_device_is_not_read() -> None:
    """In a child process with little memory: it must not try to read all of /dev/zero."""
    import subprocess
    import sys

    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))\n"
        "from engine.errors import BadInput\n"
        "from engine.sessions import read_session\n"
        "try: read_session('/dev/zero')\n"
        "except BadInput: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "refused\n", done.stderr[-500:]


@FUZZ
@given(data=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(data)
    with pytest.raises(BadInput):
        read_session(path)


@FUZZ
@given(
    place=st.integers(0, 10**6),
    insert=st.binary(max_size=4),
    cut=st.integers(0, 8),
)
def test_a_session_with_changed_bytes(tmp_path: Path, place: int, insert: bytes, cut: int) -> None:
    data = to_json(SESSION).encode()
    place %= len(data)
    path = tmp_path / "changed.json"
    path.write_bytes(data[:place] + insert + data[place + cut :])
    try:
        session = read_session(path)
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        write_session(session, path)
        assert read_session(path) == session


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


def _places(content: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way] if way else []
    inner: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        inner = list(content.items())
    elif isinstance(content, list):
        inner = list(enumerate(content))
    for key, value in inner:
        found += _places(value, (*way, key))
    return found


@FUZZ
@given(place=st.sampled_from(_places(plain())), value=ANY_JSON)
def test_a_session_with_any_value_anywhere(
    tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    content = plain()
    holder = content
    *way, last = place
    for step in way:
        holder = holder[step]
    holder[last] = value
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    try:
        session = read_session(path)
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        write_session(session, path)
        assert read_session(path) == session


def test_what_can_be_read_can_be_written(path: Path) -> None:
    """Deep nesting is refused in both directions, or in none."""
    for depth in (50, 300, 450, 600, 800, 950):
        text = to_json(make_session(make_run()))
        path.write_text(text[:-1] + ', "view": {"a": ' + "[" * depth + "]" * depth + "}}")
        try:
            session = read_session(path)
        except BadInput:
            continue
        write_session(session, path)


# Writing


def test_a_session_is_replaced_as_a_whole(path: Path) -> None:
    write_session(SESSION, path)
    assert_replaced_whole(path, lambda: write_session(make_session(), path))
    assert read_session(path) == make_session()


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_session(SESSION, path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="No space left on device") as caught:
        write_session(make_session(), path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_an_interrupted_write_leaves_no_litter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_session(SESSION, path)
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be saved"):
        write_session(SESSION, tmp_path / "missing" / "session.json")


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be saved"):
        write_session(SESSION, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["", "/"])
def test_no_file_name_at_all(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="cannot be saved"):
        write_session(SESSION, target)


def test_a_read_only_folder(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(BadInput, match="cannot be saved"):
            write_session(SESSION, tmp_path / "session.json")
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_of_the_kernels_cannot_be_written_to() -> None:
    with pytest.raises(BadInput, match="cannot be saved"):
        write_session(SESSION, "/proc/session.json")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    link = tmp_path / "link.json"
    link.symlink_to(real.name)
    write_session(SESSION, link)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert read_session(real).runs[0].id == RUN_ID


def test_a_link_to_itself(tmp_path: Path) -> None:
    link = tmp_path / "loop.json"
    link.symlink_to(link)
    with pytest.raises(BadInput):
        write_session(SESSION, link)
    with pytest.raises(BadInput):
        read_session(link)
    assert link.is_symlink()


def test_a_fifo_is_never_replaced(tmp_path: Path) -> None:
    """Nor a device: a rename over /dev/null would break the machine."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        try:
            write_session(make_session(), fifo)
        except BadInput:
            pass
        else:
            assert os.read(reader, 100).startswith(b'{"format"')
        assert stat.S_ISFIFO(fifo.stat().st_mode)
    finally:
        os.close(reader)


def test_a_private_file_stays_private(path: Path) -> None:
    path.touch()
    path.chmod(0o600)
    write_session(SESSION, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_file_obeys_the_umask(path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_session(SESSION, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_longest_file_name_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / ("s" * 250 + ".json")
    write_session(SESSION, path)
    assert read_session(path).runs[0].id == RUN_ID


# Sizes


@pytest.mark.slow
def test_a_session_over_64_mib_is_written_and_read(path: Path) -> None:
    rows = tuple(make_row(layer) for layer in range(400))
    runs = tuple(
        make_run(id=f"{number:016x}", layers=399, rows=rows, tracked=()) for number in range(700)
    )
    write_session(make_session(*runs), path)
    assert path.stat().st_size > 64 * 2**20
    assert len(read_session(path).runs) == len(runs)


def test_nothing_is_written_that_would_be_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_session(SESSION, path)
    before = path.read_bytes()
    size = len(before)
    for name, limit in (("MAX_BYTES", size - 2), ("MAX_STORED_RUN_BYTES", 500)):
        with monkeypatch.context() as patch:
            patch.setattr(sessions, name, limit)
            with pytest.raises(BadInput, match="the limit"):
                write_session(SESSION, path)
            with pytest.raises(BadInput, match="the limit"):
                read_session(path)
    damaged = make_session(make_run(layers=7))
    with pytest.raises(BadInput, match="done but has 3 of 8 rows"):
        write_session(damaged, path)
    assert path.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "MAX_BYTES", size)
        write_session(SESSION, path)
        read_session(path)


def test_runs_of_earlier_versions_may_be_larger_than_what_is_added_now(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_RUN_BYTES", 500)
    write_session(SESSION, path)
    read_session(path)
    with pytest.raises(BadInput, match="the limit of a run is 500"):
        sessions.check_can_be_kept(make_run())


def test_what_can_be_kept_is_measured_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(title="\u202e" * 1000)  # three bytes of UTF-8, six characters of the file
    size = len(sessions.run_to_json(run))
    assert sessions.run_size(run) <= size <= 6 * sessions.run_size(run)
    monkeypatch.setattr(sessions, "MAX_RUN_BYTES", size)
    sessions.check_can_be_kept(run)
    monkeypatch.setattr(sessions, "MAX_RUN_BYTES", size - 1)
    with pytest.raises(BadInput):
        sessions.check_can_be_kept(run)
    monkeypatch.undo()
    with pytest.raises(BadInput, match="could not be read again"):
        sessions.check_can_be_kept(make_run(layers=7))


def test_a_cause_is_short_however_long_the_value(path: Path) -> None:
    line = refused_with(path, lambda content: content["runs"][0].update(status="x" * 10**6))
    assert len(line) < 1000
