"""Pages: one file that holds its session, runs one script of ours, and takes nothing for markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from engine.errors import BadInput
from engine.pages import citing
from engine.pages.notebooks import run_html
from engine.pages.opening import is_page, open_session, read_page
from engine.pages.packing import element, elements_in, packed, unpacked
from engine.pages.page import About, page_pieces, policy, script, write_page
from engine.pages.shown import Again
from engine.records import (
    Comparison,
    ComparisonRow,
    Counterfactual,
    ModelCard,
    OtherPosition,
    Picture,
    PromptToken,
    Reading,
    Request,
    Run,
    Session,
    Token,
    Tracked,
    UnknownReading,
)
from engine.sessions import MAX_STORED_RUN_BYTES, to_json, write_session
from tests.engine.llava_sized import llava_sized
from tests.engine.test_sessions import RUN_ID, make_row, make_run, make_session

ROOT = Path(__file__).parents[2]
OTHER_ID = "fedcba9876543210"
BREAKOUTS = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "\" onload='x' style=\"",
    "</title></noscript><iframe src=https://example.org>",
    "&lt;b&gt;&#0;\u2028\u2029\u202e\x00\x1b",
    "\ud800",
)
HOSTILE = st.one_of(st.sampled_from(BREAKOUTS), st.text(max_size=40)).filter(bool)


def session_of(text: str) -> Session:
    """A session in which every text that a stranger can choose is this one."""
    key = text.encode("utf-8", "replace").decode()  # what JSON can hold as a name
    token = Token(7, text, 0.5, 1.25)
    rows = tuple(
        structs.replace(make_row(layer), top=(token, token), approximate=text) for layer in range(3)
    )
    run = make_run(
        rows=rows,
        tokens=tuple(PromptToken(each, text, "text", "prompt") for each in range(3)),
        tracked=(Tracked(7, text, "answer", (0.5,) * 3, (1.25,) * 3, (1, 1, 1)),),
        others=(OtherPosition(1, rows),),
        title=text,
        versions={key: text},
        readings=(UnknownReading(request=Request(), raw={"method": f"? {key}", "request": {}}),),
    )
    question = structs.replace(
        run.question,
        prompt=text,
        text=text,
        prefix=text,
        system=text,
        picture=Picture(text, "0" * 64, 4, 3, "QUJD", text),
        counterfactual=Counterfactual("blank", {key: text}, 3),
        model=ModelCard(text, text, text, text, text, (text,), text),
    )
    run = structs.replace(run, question=question)
    comparison = Comparison(RUN_ID, "runs", RUN_ID, RUN_ID, 2, (), unavailable=text)
    return make_session(run, comparisons=(comparison,), view={key: text})


def page_of(session: Session, text: str = "") -> str:
    return "".join(page_pieces(session, About(((text, text),), lambda run: Again(text, text))))


class Elements(HTMLParser):
    """What a browser would take for markup, and what is in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.inside: dict[str, list[str]] = {}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))
        self._open = tag
        self.inside.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open][-1] += data

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", ()))

    def handle_pi(self, data: str) -> None:
        self.tags.append(("instruction", ()))


PLAIN = Elements(page_of(session_of("plain"), "plain"))


@settings(max_examples=30, deadline=None)
@given(HOSTILE)
def test_no_text_of_a_session_becomes_markup(text: str) -> None:
    page = page_of(session_of(text), text)
    found = Elements(page)
    assert found.tags == PLAIN.tags
    assert found.inside["style"] == PLAIN.inside["style"]
    # The script is the same; what differs lies in elements that no browser runs.
    assert found.inside["script"][-1] == PLAIN.inside["script"][-1] == script()
    for data in found.inside["script"][:-1]:
        assert not set(data) & set("<>&\u2028\u2029")
        json.loads(data)


@settings(max_examples=30, deadline=None)
@given(HOSTILE)
def test_a_page_gives_its_session_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    session = session_of(text)
    path = tmp_path_factory.mktemp("page") / "page.html"
    size = write_page(session, path)
    assert size == path.stat().st_size
    write_session(session, path.with_suffix(".json"))
    assert is_page(path) and not is_page(path.with_suffix(".json"))
    assert open_session(path) == open_session(path.with_suffix(".json"))


def test_every_run_and_comparison_comes_back(tmp_path: Path) -> None:
    run = make_run(others=(OtherPosition(1, (make_row(0),)),), status="done", formation=0)
    failed = make_run(
        id=OTHER_ID, status="failed", error="it failed", rows=(), tracked=(), proof=None
    )
    rows = (ComparisonRow(0, 0.5, None),)
    session = make_session(
        run, failed, comparisons=(Comparison(RUN_ID, "runs", RUN_ID, OTHER_ID, 2, rows),)
    )
    write_page(session, tmp_path / "page.html")
    assert read_page(tmp_path / "page.html") == _as_stored(session, tmp_path)


def _as_stored(session: Session, folder: Path) -> Session:
    write_session(session, folder / "session.json")
    return open_session(folder / "session.json")


def test_previews_can_be_left_out(tmp_path: Path) -> None:
    write_page(make_session(make_run()), tmp_path / "page.html", previews=False)
    (run,) = read_page(tmp_path / "page.html").runs
    assert run.question.picture is not None and run.question.picture.preview is None


def test_the_policy_allows_our_script_and_style_and_nothing_else() -> None:
    found = Elements(page_of(make_session(make_run())))
    (meta,) = [
        dict(attributes)
        for tag, attributes in found.tags
        if tag == "meta" and ("http-equiv", "Content-Security-Policy") in attributes
    ]
    assert meta["content"] == policy()
    rules = dict(rule.strip().split(" ", 1) for rule in policy().split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'sha256-{_digest(found.inside['script'][-1])}'",
        "style-src": f"'sha256-{_digest(found.inside['style'][0])}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_nothing_in_a_page_is_elsewhere() -> None:
    """No address but the name of SVG; no attribute that loads, styles or handles."""
    page = page_of(make_session(make_run()))
    assert set(re.findall(r"[a-z]+://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}
    for tag, attributes in Elements(page).tags:
        for name, value in attributes:
            assert name not in {"src", "srcset", "style", "action", "data"}, (tag, name)
            assert not name.startswith("on"), (tag, name)
            assert name != "href" or value == "data:,", (tag, value)
    banned = ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "import(")
    assert not [each for each in banned if each in script()]
    assert "</script" not in script() and "<!--" not in script()


def llava_run() -> Run:
    """With a preview as large as they are."""
    top = tuple(Token(each, " token", 0.1, 1.5) for each in range(10))
    row = structs.replace(make_row(0), top=top)
    run = llava_sized(make_run(), row, make_run().tracked[0])
    preview = base64.b64encode(bytes(range(256)) * 300).decode()
    picture = Picture("a.png", "0" * 64, 336, 336, preview)
    return structs.replace(run, question=structs.replace(run.question, picture=picture))


def test_a_page_of_llava_is_below_a_megabyte_and_a_half(tmp_path: Path) -> None:
    session = make_session(llava_run())
    assert len(to_json(session)) > 800_000
    assert write_page(session, tmp_path / "page.html") < 1_500_000
    assert read_page(tmp_path / "page.html") == session


def test_two_hundred_runs_lie_in_elements_of_their_own(tmp_path: Path) -> None:
    """So that a browser unpacks only what is looked at."""
    session = make_session(*(make_run(id=f"{each:016x}") for each in range(200)))
    write_page(session, tmp_path / "page.html")
    found = elements_in((tmp_path / "page.html").read_bytes())
    assert len(found) == 2 * 200 + 1
    assert b"USER:" not in found["lenscope-page"]
    assert read_page(tmp_path / "page.html") == _as_stored(session, tmp_path)


def test_the_newest_run_about_the_picture_is_shown_first() -> None:
    own = make_run(question=structs.replace(make_run().question, counterfactual=None))
    for runs, first in (((own, make_run(id=OTHER_ID)), 0), ((make_run(),), 0), ((), 0)):
        page = page_of(make_session(*runs)).encode()
        assert json.loads(elements_in(page)["lenscope-page"])["first"] == first
    own_later = structs.replace(own, id=OTHER_ID)
    page = page_of(make_session(make_run(), own_later)).encode()
    assert json.loads(elements_in(page)["lenscope-page"])["first"] == 1


def changed(page: bytes, **changes: Any) -> bytes:
    """A page in whose head some values are others."""
    content = json.loads(elements_in(page)["lenscope-page"])
    return _with(page, "lenscope-page", {**content, **changes})


def _with(page: bytes, name: str, value: Any) -> bytes:
    text = element(name, value).strip().encode()
    old = re.compile(rb'<script type="application/json" id="%s">[^<]*</script>' % name.encode())
    assert len(old.findall(page)) == 1
    return old.sub(lambda _: text, page)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda page: b"<!DOCTYPE html><p>Hello", "not one that Lenscope has written"),
        (lambda page: b"<", "not one that Lenscope has written"),
        (lambda page: changed(page, format="other"), "not one that Lenscope has written"),
        (lambda page: changed(page, version=2), "written by a newer Lenscope"),
        (lambda page: changed(page, version=0), "damaged page"),
        (lambda page: changed(page, runs=[{"bytes": 10}]), "run 1: it does not hold the 10 bytes"),
        (lambda page: changed(page, runs=[{"bytes": 10**6}]), "does not hold the 1,000,000 bytes"),
        (lambda page: changed(page, runs=[{"bytes": MAX_STORED_RUN_BYTES + 1}]), "damaged page"),
        (lambda page: changed(page, runs=[{"bytes": MAX_STORED_RUN_BYTES}] * 17), "more than"),
        (lambda page: changed(page, runs=[{"bytes": 1}] * 2), "run 1"),
        (lambda page: changed(page, session={"format": "x"}), "not a Lenscope session"),
        (lambda page: changed(page, session=[]), "damaged page"),
        (lambda page: page.replace(b"lenscope-run-0", b"lenscope-gone-0"), "run 1 is missing"),
        (lambda page: _with(page, "lenscope-run-0", "H4sI"), "run 1"),
        (lambda page: _with(page, "lenscope-run-0", "not base64!"), "run 1"),
        (lambda page: _with(page, "lenscope-run-0", 5), "run 1"),
        (lambda page: page.replace(b'id="lenscope-page">{', b'id="lenscope-page">'), "damaged"),
        (lambda page: page[: page.index(b'id="lenscope-page">') + 40], "not one that"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_page_gets_one_line(damage: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(make_session(make_run()), path)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(BadInput) as caught:
        open_session(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and words in line and "\n" not in line, line
    assert path.read_bytes() == before


def test_a_page_that_a_browser_has_saved_again_is_read(tmp_path: Path) -> None:
    """With its attributes in another order, and drawn elements around them."""
    path = tmp_path / "page.html"
    session = make_session(make_run())
    write_page(session, path)
    page = path.read_bytes().replace(b'type="application/json" id=', b'data-x="" id=')
    path.write_bytes(b"\xef\xbb\xbf\n" + page.replace(b'<main id="page">', b'<main id="page"><p>'))
    assert open_session(path) == _as_stored(session, tmp_path)


def test_no_more_is_inflated_than_is_named() -> None:
    bomb = base64.b64encode(gzip.compress(bytes(10**7))).decode()
    with pytest.raises(ValueError, match="100 bytes"):
        unpacked(bomb, 100)
    assert unpacked(packed(b"abc"), 3) == b"abc"
    for text in ("", "####", packed(b"abc")[:-8]):
        with pytest.raises(ValueError):
            unpacked(text, 3)


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "page.html"):
        with pytest.raises(BadInput) as caught:
            write_page(make_session(make_run()), path)
        assert "\n" not in str(caught.value)
    twice = make_session(make_run(), make_run())
    with pytest.raises(BadInput, match="two runs have the same id"):
        write_page(twice, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_only_proved_readings_are_shared() -> None:
    from engine.methods.contrast import ContrastReading, ContrastRequest
    from engine.records import ReadingProof

    def reading(passed: bool) -> Reading:
        proof = ReadingProof("one against the other", 1.0, 0.5, passed)
        return ContrastReading(request=ContrastRequest(), against=RUN_ID, rows=(), proof=proof)

    page = page_of(make_session(make_run(readings=(reading(False), reading(True))))).encode()
    entry = json.loads(elements_in(page)["lenscope-page"])["runs"][0]
    found = elements_in(page)
    run = json.loads(unpacked(json.loads(found["lenscope-run-0"]), entry["bytes"]))
    shown = json.loads(gzip.decompress(base64.b64decode(json.loads(found["lenscope-shown-0"]))))
    assert len(run["readings"]) == len(shown["readings"]) == 1


def test_it_is_cited_as_the_repository_says() -> None:
    cited = (ROOT / "CITATION.cff").read_text()
    assert f'title: "{citing.TITLE}"' in cited
    assert f'- name: "{citing.AUTHORS}"' in cited
    assert citing.MESSAGE.rstrip(".") in cited
    entry = citing.bibtex()
    assert citing.TITLE in entry and entry.count("{") == entry.count("}")


# Notebooks


def test_a_run_shows_itself_as_a_table_with_bars() -> None:
    shown = make_run()._repr_html_()
    found = Elements(shown)
    assert [tag for tag, _ in found.tags].count("tr") == 1 + 3
    assert [tag for tag, _ in found.tags].count("rect") == 2 * 3
    assert "50.0%" in shown and "What?" in shown and "proof passed" in shown
    assert "final norm" not in shown
    failed = structs.replace(make_run(), status="failed", error="it failed", rows=())
    assert "it failed" in run_html(failed)


def test_the_answer_is_gilded_by_its_id_and_a_norm_that_is_off_is_said() -> None:
    rows = make_run().rows
    twin, last = Token(1, "red", 0.4, 1.0), Token(2, "red", 0.5, 1.0)
    rows = (
        *(structs.replace(row, top=(twin, last)) for row in rows[:-1]),
        structs.replace(rows[-1], top=(last, twin)),
    )
    run = make_run(rows=rows, layers=len(rows) - 1)
    gold = [each for each in Elements(run_html(run)).tags if ("class", "answer") in each[1]]
    assert len(gold) == len(rows) + 1  # and in the sentence above
    bare = structs.replace(run, question=structs.replace(run.question, norm=False))
    said = f"final norm off for rows 0 to {run.layers - 1}; row {run.layers} is the model"
    assert said in run_html(bare) and said in page_of(make_session(bare))


@settings(max_examples=30, deadline=None)
@given(HOSTILE)
def test_no_text_becomes_markup_in_a_notebook(text: str) -> None:
    (run,) = session_of(text).runs
    (plain,) = session_of("plain").runs
    assert Elements(run_html(run)).tags == Elements(run_html(plain)).tags


def test_a_run_becomes_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    class DataFrame:
        @staticmethod
        def from_records(rows: list[tuple[Any, ...]], columns: list[str]) -> Any:
            return [dict(zip(columns, row, strict=True)) for row in rows]

    pandas = types.ModuleType("pandas")
    pandas.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    lines = make_run().to_pandas()
    assert len(lines) == 3 * 2
    assert lines[2] == {
        "layer": 1, "rank": 1, "id": 7, "token": " gold", "probability": 0.5, "logit": 1.25,
        "entropy": 1.5, "rms": 0.25, "kl_to_last": 0.125, "answer_probability": 0.5,
        "answer_rank": 1,
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BadInput, match="pip install pandas"):
        make_run().to_pandas()
