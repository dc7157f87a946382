"""What every method must do: run, be cancelled, refuse, survive a session, be printed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import structs

import samples
from engine import Loaded, load
from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput, Cancelled, CannotRead
from engine.events import (
    LoadOptions,
    ModelReady,
    ReadingDropped,
    ReadingGrew,
    ReadingMade,
    RunEnded,
    Trouble,
)
from engine.methods import registry
from engine.methods.asked_run import AskedRun
from engine.methods.contrast import ContrastReading
from engine.methods.method import Method, Stop, Subject, carry_out
from engine.methods.registry import method_names, method_of, tables_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.pages.opening import read_page
from engine.pages.page import write_page
from engine.records import (
    Part,
    Picture,
    Question,
    Reading,
    ReadingProof,
    Request,
    Run,
    Session,
    UnknownReading,
)
from engine.sessions import read_session, write_session
from engine.system.stamps import now
from engine.tables import Column, Table
from engine.worker import Worker
from tests.engine.conftest import Ears
from tui.sharing.copying import reading_text, table_row_text
from tui.sharing.formats import COPY_FORMATS

QUESTION = Question("Shape of the main object:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))
SETTINGS: dict[str, dict[str, Any]] = {
    "debias": {"answers": "cube,sphere,cylinder"},
    "deepen": {"layer": 3, "count": 12},
    "neurons": {"ablate": "1", "top": "5"},
    "parts": {"heads": "true", "ablate": "1", "layer": "1", "head": "0"},
    "track": {"words": "cube"},
    "visit": {"positions": "3,-5"},
    "words": {"words": "cube,sphere"},
}
"""Settings that a method requires, or by which it finds all that it can; the other methods need
none."""

OTHER_RUNS = {
    "answer": "against",
    "contrast": "references",
    "debias": "references",
    "parts": "against",
    "tracing": "against",
}
"""Where the readings of methods that compare with other runs have the ids of these."""
KNOWS_MORE = {("answer", "attention"), ("answer", "against"), ("grid", "kl")}
"""Settings with which a reading tells all that one without them tells."""
NOT_ASKED = {("grid", "first")}
"""Settings that are no part of what is asked for."""

every_method = pytest.mark.parametrize("name", method_names())


@pytest.fixture(scope="module")
def bundled_door() -> Loaded:
    return load(samples.MODEL)


@pytest.fixture
def asked(bundled_door: Loaded) -> AskedRun:
    asking = Asking(bundled_door, QUESTION)
    return AskedRun(asking, asking.run())


def request_for(name: str) -> Request:
    return request_of(method_of(name), SETTINGS.get(name, {}))


@every_method
def test_it_reads_on_the_bundled_model(name: str, asked: AskedRun) -> None:
    method, request = method_of(name), request_for(name)
    reading = asked.read(method, request)
    assert isinstance(reading, method.reading)
    assert (reading.method, reading.request) == (name, request)
    assert reading.seconds > 0
    assert reading.proof is None or reading.proof.passed
    assert reading.proof is not None or reading.reason or not reading.stored
    assert tables_of(reading)
    assert (reading in asked.run.readings) is reading.stored
    again = asked.read(method, request)
    assert structs.replace(again, seconds=0.0) == structs.replace(reading, seconds=0.0)
    assert len([each for each in asked.run.readings if each.method == name]) == reading.stored
    assert {each.id for each in asked.others} >= set(reading.refers_to)
    if reading.stored:
        check_what_is_kept(structs.replace(asked.run, readings=()), reading)


def check_what_is_kept(run: Run, reading: Reading) -> None:
    """Two readings of which any setting differs are both kept, unless one tells all that the other
    tells."""
    name, request = reading.method, reading.request
    for field in request.__struct_fields__:
        if field == "against" and reading.refers_to:
            continue  # which other run it is counts, and not how it is named
        changed = {field: other_than(getattr(request, field))}
        other = structs.replace(reading, request=structs.replace(request, **changed))
        once = reading.replaces(other), other.replaces(reading)
        expected = False, False
        if (name, field) in NOT_ASKED:
            continue
        if (name, field) in KNOWS_MORE:
            assert not getattr(request, field)
            expected = False, True
        assert once == expected, field
        assert kept(run, reading, other) == ([other] if expected[1] else [reading, other])
        assert kept(run, other, reading) == [other, reading]
    assert ("against" in request.__struct_fields__) == (name in OTHER_RUNS)
    if name in OTHER_RUNS:
        check_what_is_kept_against_other_runs(run, reading, OTHER_RUNS[name])


def check_what_is_kept_against_other_runs(run: Run, reading: Reading, ids: str) -> None:
    """A counterfactual's name may mean runs with several seeds."""
    several = isinstance(getattr(reading, ids), tuple)

    def against(run_id: str, named: str) -> Reading:
        values: list[Any] = [(each,) if several else each for each in (run_id, named)]
        request = structs.replace(reading.request, against=values[1])
        return structs.replace(reading, request=request, **{ids: values[0]})

    one, other = (against(each * 16, "noise-pure") for each in "12")
    assert kept(run, one, other) == [one, other]
    by_id = against("1" * 16, "1" * 16)
    assert kept(run, one, other, by_id) == [other, by_id]
    assert kept(run, by_id, one) == [one]


def other_than(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return 1 if value is None else (*value, 3)


def kept(run: Run, *readings: Reading) -> list[Reading]:
    """What a run has of these readings, which come one after the other."""
    for reading in readings:
        run = reading.merged(run)
    return [*run.readings]


def test_readings_against_two_seeds_are_both_kept(asked: AskedRun) -> None:
    method = method_of("contrast")
    request = request_of(method, {"against": "noise-pure"})
    one = asked.read(method, request)
    asked.ask_against(parse_against("noise-pure", seed=1))
    other = asked.read(method, request)
    assert isinstance(one, ContrastReading) and isinstance(other, ContrastReading)
    assert one.request == other.request and one.rows != other.rows
    assert asked.run.readings == (one, other)
    assert asked.read(method, structs.replace(request, against=one.refers_to)).rows == one.rows  # type: ignore[attr-defined]
    assert [each.refers_to for each in asked.run.readings] == [other.refers_to, one.refers_to]


@every_method
def test_it_can_be_cancelled(name: str, asked: AskedRun) -> None:
    method, request = method_of(name), request_for(name)
    asked.ask_against(asked.needed(method, request))
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return True

    # A method without a loop has nothing to cancel; those that have one look at `stop`.
    if name == "seen":
        assert list(carry_out(method, asked.subject, request, stop))
        return
    with pytest.raises(Cancelled):
        list(carry_out(method, asked.subject, request, stop))
    assert calls == 1


@every_method
def test_it_refuses_what_it_does_not_suit(name: str, opened: Callable[[str], LoadedModel]) -> None:
    """With a text-only model, methods about a picture give a reason; the others work."""
    asking = Asking(opened("llama"), Question("What?"))
    asked = AskedRun(asking, asking.run())
    method = method_of(name)
    settings = SETTINGS.get(name, {})
    if name == "track":
        settings = {"ids": (3,)}
    if name == "words":
        settings = {"words": ("#3",)}
    if name == "visit":
        settings = {"positions": (0,)}
    if name == "saliency":
        settings = {"row": 0}
    reason = method.supports(asked.subject)
    if reason is None:
        assert asked.read(method, request_of(method, settings)).method == name
        return
    assert "\n" not in reason
    with pytest.raises(CannotRead) as caught:
        asked.read(method, request_of(method, settings))
    assert str(caught.value) == f"{name}: {reason}"
    assert asked.others == []


@every_method
def test_it_survives_a_session(name: str, asked: AskedRun, tmp_path: Path) -> None:
    reading = asked.read(method_of(name), request_for(name))
    file = tmp_path / "session.json"
    session = Session(
        created=now(),
        saved=now(),
        runs=(asked.run, *asked.others),
        comparisons=tuple(asked.comparisons),
    )
    write_session(session, file)
    again = read_session(file)
    assert again.runs[0] == asked.run
    stored = [each for each in again.runs[0].readings if each.method == name]
    assert stored == ([reading] if reading.stored else [])
    content = json.loads(file.read_text())["runs"][0]["readings"]
    for written in content:
        assert list(written)[:2] == ["method", "request"]
    write_session(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()
    write_page(session, tmp_path / "page.html")
    assert structs.replace(read_page(tmp_path / "page.html"), saved=again.saved) == again


@every_method
@pytest.mark.parametrize("style", COPY_FORMATS)
def test_it_prints_in_every_format(name: str, style: str, asked: AskedRun) -> None:
    reading = asked.read(method_of(name), request_for(name))
    text = reading_text(reading, style)
    assert text.endswith("\n")
    assert text.isprintable() is False and "\x1b" not in text
    ascii_only = reading_text(reading, style, ascii_only=True)
    assert ascii_only.isascii() or style in ("csv", "tsv")  # these hold tokens as they are
    for table in tables_of(reading):
        assert table_row_text(table, 0, style)
        with pytest.raises(IndexError):
            table_row_text(table, len(table.rows), style)
    if style == "json":
        assert json.loads(text)["method"] == name


def test_methods_are_known_without_torch() -> None:
    code = (
        "from engine.methods.registry import method_names, method_of\n"
        "for name in method_names():\n"
        "    method = method_of(name)\n"
        "    assert (method.name, method.reading.__struct_config__.tag) == (name, name)\n"
        "    assert method.title and method.request.__doc__ and method.reading.__doc__\n"
        "import sys\n"
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_that_a_reading_refers_to_is_found_by_name_or_id(asked: AskedRun) -> None:
    contrast = method_of("contrast")
    asked.read(contrast, request_of(contrast, {"against": "black"}))
    (other,) = asked.others
    for reference in ("black", other.id):
        assert asked.subject.against(reference).run is other
    with pytest.raises(BadInput, match="no kept run with white"):
        asked.subject.against("white")
    with pytest.raises(BadInput, match="no longer kept"):
        asked.subject.against("0" * 16)


def test_one_reading_however_its_run_is_named(asked: AskedRun) -> None:
    for name in ("contrast", "debias"):
        method, request = method_of(name), request_for(name)
        first = asked.read(method, request)
        by_id = structs.replace(request, against=first.refers_to)
        assert first.fulfils(by_id)
        assert not first.fulfils(structs.replace(request, against=("black",)))
        again = asked.read(method, by_id)
        assert [each for each in asked.run.readings if each.method == name] == [again]
        assert again.fulfils(request) is False  # it does not know the name, but is the same
        assert first.replaces(again) and again.replaces(first)


def test_a_run_that_is_gone_is_said(asked: AskedRun) -> None:
    contrast = method_of("contrast")
    reading = asked.read(contrast, request_of(contrast, {}))
    here = [asked.run.id, *(run.id for run in asked.others)]
    assert tables_of(reading, here) == tables_of(reading)
    (table,) = tables_of(reading, [asked.run.id])
    assert asked.others[0].id in table.notes[-1]


# What the session does with readings


def test_a_method_that_this_version_does_not_have_is_kept(tmp_path: Path, asked: AskedRun) -> None:
    file = tmp_path / "session.json"
    write_session(Session(created=now(), saved=now(), runs=(asked.run,)), file)
    content = json.loads(file.read_text())
    foreign = {"method": "later", "request": {"x": [1]}, "deep": {"a": [None, "\u202e", 1.5]}}
    content["runs"][0]["readings"] = [foreign]
    file.write_text(json.dumps(content))
    session = read_session(file)
    (reading,) = session.runs[0].readings
    assert isinstance(reading, UnknownReading)
    assert (reading.method, tables_of(reading)) == ("later", ())
    assert reading_text(reading, "csv") == ""
    write_session(session, file)
    assert json.loads(file.read_text())["runs"][0]["readings"] == [foreign]


@pytest.mark.parametrize(
    "damage",
    [
        "text",
        [3],
        [{}],
        [{"method": 3}],
        [{"method": "contrast"}],
        [{"method": "contrast", "request": {}, "rows": 3}],
        [{"method": "debias", "request": {"answers": ["a", "b"]}, "answers": [{"text": 1}]}],
    ],
)
def test_a_damaged_reading_is_one_line(tmp_path: Path, asked: AskedRun, damage: Any) -> None:
    file = tmp_path / "session.json"
    write_session(Session(created=now(), saved=now(), runs=(asked.run,)), file)
    content = json.loads(file.read_text())
    content["runs"][0]["readings"] = damage
    file.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="damaged session file"):
        read_session(file)


def test_what_fails_its_proof_is_never_saved(tmp_path: Path, asked: AskedRun) -> None:
    contrast = method_of("contrast")
    asked.read(contrast, request_of(contrast, {}))
    (reading,) = asked.run.readings
    failed = structs.replace(reading, proof=ReadingProof("a sum", 1.0, 0.1, passed=False))
    run = structs.replace(asked.run, readings=(failed,))
    write_session(Session(created=now(), saved=now(), runs=(run,)), tmp_path / "x.json")
    assert read_session(tmp_path / "x.json").runs[0].readings == ()


# The worker: parts, the background, and its end


class CountRequest(Request, frozen=True):
    """How far to count."""

    to: int = 3


class CountPart(Part, frozen=True):
    """The number reached so far."""

    number: int


class CountReading(Reading, frozen=True, kw_only=True, tag="count"):
    """The number that was reached."""

    request: CountRequest
    number: int


class Count(Method[CountRequest, CountReading]):
    """Counts slowly, in the background."""

    name: ClassVar[str] = "count"
    title: ClassVar[str] = "A number"
    request = CountRequest
    reading = CountReading
    background: ClassVar[bool] = True

    def read(
        self, subject: Subject, request: CountRequest, stop: Stop
    ) -> Iterator[CountPart | CountReading]:
        """Count."""
        for number in range(request.to):
            if stop():
                raise Cancelled("cancelled")
            time.sleep(0.005)
            yield CountPart(number)
        yield CountReading(request=request, number=request.to)

    def tables(self, reading: CountReading) -> tuple[Table, ...]:
        """The number."""
        return (Table("count", (Column("number", "count"),), ((reading.number,),)),)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    homes = {**registry._HOMES, "count": f"{__name__}:Count"}
    monkeypatch.setattr(registry, "_HOMES", homes)


@pytest.fixture
def ready(worker: Worker, ears: Ears, counting: None) -> Worker:
    worker.load(LoadOptions(model=str(samples.MODEL)))
    ears.wait_for(ModelReady)
    return worker


def test_parts_are_told_before_the_reading(ready: Worker, ears: Ears) -> None:
    run_id = ready.ask(QUESTION)
    request_id = ready.read(run_id, CountRequest(3))
    assert [ears.wait_for(ReadingGrew).part for _ in range(3)] == [CountPart(n) for n in range(3)]
    made = ears.wait_for(ReadingMade)
    assert (made.run_id, made.request_id) == (run_id, request_id)
    assert isinstance(made.reading, CountReading)
    assert made.reading.number == 3


def test_the_background_gives_way_to_the_foreground(ready: Worker, ears: Ears) -> None:
    run_id = ready.ask(QUESTION)
    ears.wait_for(RunEnded)
    ready.read(run_id, CountRequest(10_000))
    ears.wait_for(ReadingGrew)
    began = time.monotonic()
    track = method_of("track")
    ready.read(run_id, request_of(track, {"ids": (3,)}))
    made = ears.wait_for(ReadingMade)
    assert made.reading.method == "track"
    assert time.monotonic() - began < 20  # not 50 s of counting
    ears.wait_for(ReadingGrew)  # and goes on afterwards
    ready.cancel()
    assert ears.wait_for(ReadingDropped).run_id == run_id


def test_a_new_run_cancels_the_background(ready: Worker, ears: Ears) -> None:
    run_id = ready.ask(QUESTION)
    request_id = ready.read(run_id, CountRequest(10_000))
    ears.wait_for(ReadingGrew)
    second = ready.ask(QUESTION)
    ended, dropped = None, None
    while ended is None or dropped is None:
        event = ears.wait_for(RunEnded, ReadingDropped)
        if isinstance(event, RunEnded):
            ended = event.run.id if event.run.id == second else None
        elif isinstance(event, ReadingDropped):
            dropped = event.request_id
    assert (ended, dropped) == (second, request_id)


def test_one_reading_is_cancelled_alone(ready: Worker, ears: Ears) -> None:
    run_id = ready.ask(QUESTION)
    first = ready.read(run_id, CountRequest(10_000))
    ears.wait_for(ReadingGrew)
    second = ready.read(run_id, CountRequest(1))
    ready.cancel_reading(first)
    ready.cancel_reading("0" * 16)  # nobody knows it
    assert ears.wait_for(ReadingDropped).request_id == first
    assert ears.wait_for(ReadingMade).request_id == second


def test_a_reading_of_a_run_that_is_gone_is_trouble(ready: Worker, ears: Ears) -> None:
    request_id = ready.read("0" * 16, CountRequest(1))
    trouble = ears.wait_for(Trouble)
    assert (trouble.run_id, trouble.request_id) == ("0" * 16, request_id)
