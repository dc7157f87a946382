"""A page in a real browser: it draws itself, steps by keys and mouse, and asks nobody for anything.

Skipped where no Chromium is installed (`apt-get install chromium`).
"""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from PIL import Image

from engine.arrays import Array
from engine.methods.saliency import Saliency, SaliencyReading, SaliencyRequest
from engine.pages.page import About, write_page
from engine.pages.shown import Again
from engine.records import (
    Comparison,
    ComparisonRow,
    Counterfactual,
    Picture,
    Request,
    Run,
    Session,
    Token,
    UnknownReading,
)
from tests.browser import Browser, browser, chromium
from tests.engine.llava_sized import FIRST, PATCHES, ROWS, SIDE
from tests.engine.test_pages import BREAKOUTS, llava_run, page_of, session_of
from tests.engine.test_sessions import TIME, make_run
from tests.tui.dialog_stage import make_view

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium"),
]
HERE = "document.querySelector('#layers tr.here')?.dataset.row"
READY = "document.querySelector('#layers, #page .bad') !== null"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def shown(tab: Browser, session: Session, folder: Path, **sizes: int) -> Path:
    """Write a page and open it; nothing was fetched but the page, and nothing complained."""
    path = folder / "page.html"
    about = About((("entropy", "How spread out it is."),), lambda run: Again("lenscope run", "x"))
    write_page(session, path, about)
    tab.requests.clear()
    tab.complaints.clear()
    tab.open(path.as_uri(), **sizes)
    tab.until(READY)
    return path


def is_quiet(tab: Browser, path: Path) -> bool:
    outside = [each for each in tab.requests if not each.startswith(("data:", path.as_uri()))]
    return path.as_uri() in tab.requests and not outside and not tab.complaints


def photograph() -> str:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def large(**changes: Any) -> Run:
    """A run as of LLaVA, with a picture that can be shown."""
    run = structs.replace(llava_run(), layers=ROWS - 1, **changes)
    picture = Picture("a.png", "0" * 64, 336, 336, photograph())
    question = structs.replace(run.question, picture=picture, counterfactual=None)
    return structs.replace(run, question=question)


def test_keys_and_the_mouse_step_through_the_rows(tab: Browser, tmp_path: Path) -> None:
    run = make_view(prompt="Shape:").run
    path = shown(tab, Session(TIME, TIME, (run,)), tmp_path)
    first = run.formation if run.formation is not None else run.layers
    assert tab.value(HERE) == str(first)
    tab.press("k")
    assert tab.value(HERE) == str(first - 1)
    tab.press("j", "j")
    assert tab.value(HERE) == str(min(first + 1, run.layers))
    tab.press("g")
    assert tab.value(HERE) == "0"
    tab.press("ArrowUp")
    assert tab.value(HERE) == "0"
    tab.press("G", "ArrowDown")
    assert tab.value(HERE) == str(run.layers)
    assert f"layer {run.layers}" in tab.value("document.querySelector('.detail .facts').innerText")
    tab.click("#layers tr[data-row='3']")
    assert tab.value(HERE) == "3"
    rows = tab.value("document.querySelectorAll('#layers tbody tr').length")
    assert rows == run.layers + 1
    best = tab.value("document.querySelector('#layers tr.here .token').innerText")
    assert best == run.rows[3].top[0].text.replace(" ", "␣")
    assert tab.value("document.querySelectorAll('.plot .curve').length") >= 1
    tab.press("p")
    assert tab.value("document.querySelector('[aria-pressed=true]').innerText") == "log p"
    assert is_quiet(tab, path), (tab.requests, tab.complaints)


def test_the_theme_follows_the_user_and_the_switch(tab: Browser, tmp_path: Path) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    shown(tab, Session(TIME, TIME, (make_view().run,)), tmp_path)
    tab.prefer("light")
    assert tab.value(ground) == "rgb(250, 249, 246)"
    tab.press("t")
    assert tab.value(ground) == "rgb(21, 24, 30)"
    tab.prefer("dark")
    tab.click("#theme")
    assert tab.value(ground) == "rgb(250, 249, 246)"


def test_a_map_of_llava_lies_on_the_picture(
    tab: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Saliency, "tables", lambda self, reading: ())
    values = np.linspace(-1, 1, PATCHES, dtype="f4")
    saliency = SaliencyReading(
        request=SaliencyRequest(),
        position=619,
        of=(Token(7, " gold", 0.5, 1.0),),
        value=-0.5,
        cells=Array.of(np.arange(FIRST, FIRST + PATCHES), "<i4"),
        map=Array.of(values, "<f4"),
    )
    run = large()
    run = structs.replace(run, readings=(*run.readings, saliency))
    path = shown(tab, Session(TIME, TIME, (run,)), tmp_path, width=1360, height=900)
    names = tab.value("[...document.querySelectorAll('.choices option')].map(o => o.innerText)")
    assert names == ["the picture alone", "word dog", "saliency, gradient", "best token", "entropy"]
    tab.until("document.querySelector('canvas').width > 100")
    pixel = (
        "(() => { const c = document.querySelector('canvas'); const p = c.getContext('2d');"
        " return [...p.getImageData(Math.round(c.width * %s), Math.round(c.height * %s), 1, 1)"
        ".data].slice(0, 3); })()"
    )
    tab.press("m")
    top, bottom = tab.value(pixel % (0.5, 0.02)), tab.value(pixel % (0.5, 0.98))
    assert top[2] > top[0]  # below zero is blue
    assert bottom[0] > bottom[2]  # above zero is yellow
    tab.press("m", "m", "m", "m")  # the best token, entropy, the picture alone, the word
    assert tab.value("document.querySelector('.choices select').value") == "0"
    # A click on a patch reads its rows from the grid; escape goes back.
    tab.click("canvas")
    said = tab.value("document.querySelector('.readout').innerText")
    found = re.match(r"patch (\d+),(\d+) of 24×24", said)
    assert found is not None, said
    column, row = int(found[1]), int(found[2])
    assert {column, row} <= {SIDE // 2, SIDE // 2 + 1}
    position = FIRST + SIDE * (row - 1) + column - 1
    assert f"position {position}," in tab.value(
        "document.querySelector('.layers .aside').innerText"
    )
    tab.press("Escape")
    assert tab.value("document.querySelector('.layers .aside')") is None
    assert is_quiet(tab, path), (tab.requests, tab.complaints)


def test_two_runs_side_by_side(tab: Browser, tmp_path: Path) -> None:
    own, black = (make_view(each).run for each in range(2))
    instead = structs.replace(black.question, counterfactual=Counterfactual("blank"))
    black = structs.replace(black, question=instead)
    rows = tuple(ComparisonRow(layer, 0.1, 0.05) for layer in range(11))
    compared = Comparison("a" * 16, "counterfactual", own.id, black.id, own.position, rows, 0.04, 0)
    path = shown(tab, Session(TIME, TIME, (own, black), (compared,)), tmp_path)
    text = "document.querySelector('.compare').innerText"
    assert "from there the picture is seen" in tab.value(text)
    assert "+0.0 points" in tab.value(text)
    tab.press(".")
    tab.until("document.querySelectorAll('.runs-list li')[1].className === 'here'")
    tab.press(",")
    tab.until("document.querySelectorAll('.runs-list li')[0].className === 'here'")
    assert is_quiet(tab, path), (tab.requests, tab.complaints)


def test_a_run_that_did_not_end_gets_no_verdict(tab: Browser, tmp_path: Path) -> None:
    own, short = make_view(0).run, make_view(1, read=2).run
    instead = structs.replace(short.question, counterfactual=Counterfactual("blank"))
    short = structs.replace(short, question=instead)
    compared = Comparison("a" * 16, "runs", own.id, short.id, own.position, ())
    shown(tab, Session(TIME, TIME, (own, short), (compared,)), tmp_path)
    said = tab.value("document.querySelector('.compare p').innerText")
    assert said == "One of them did not end: no verdict."


def test_readings_that_the_page_does_not_draw_are_not_unpacked(
    tab: Browser, tmp_path: Path
) -> None:
    """One of a newer version, whose arrays this page could not even decode."""
    array = {"dtype": "<f8", "shape": [10**9], "data": "AAAA", "deflate": True}
    raw = {"method": "later", "request": {}, "proof": {"error": "?"}, "values": array}
    unknown = UnknownReading(request=Request(), raw=raw)
    path = shown(
        tab, Session(TIME, TIME, (structs.replace(make_view().run, readings=(unknown,)),)), tmp_path
    )
    assert tab.value(HERE) is not None
    tab.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    tab.until("document.querySelector('.reading').innerText.includes('no table for it')")
    assert is_quiet(tab, path), (tab.requests, tab.complaints)


@pytest.mark.parametrize("text", BREAKOUTS)
def test_hostile_text_does_nothing(tab: Browser, tmp_path: Path, text: str) -> None:
    path = shown(tab, session_of(text), tmp_path)
    assert tab.value(HERE) is not None
    tab.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    elements = "document.querySelectorAll('iframe, #page img, #page script, [onerror]').length"
    assert tab.value(elements) == 0
    assert tab.value("typeof window.alerted") == "undefined"
    assert is_quiet(tab, path), (tab.requests, tab.complaints)


def test_the_policy_stops_what_a_page_would_fetch(tab: Browser, tmp_path: Path) -> None:
    """Even if a script of someone else got in: it would not run, and nothing would be sent."""
    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        page = page_of(Session(TIME, TIME, (make_run(),)))
        intruder = (
            f"<img src='{address}/image'><link rel=stylesheet href='{address}/style'>"
            f"<script>window.ran = true; fetch('{address}/fetch')</script><p style='color: red'>"
        )
        path = tmp_path / "page.html"
        path.write_text(page.replace("<main", f"{intruder}<main"), "utf-8")
        tab.open(path.as_uri())
        tab.until(READY)
        assert tab.value("typeof window.ran") == "undefined"
        assert asked == []
        tab.open(f"{address}/self")  # it would have been heard
        assert "/self" in asked
    finally:
        server.shutdown()
        server.server_close()


def test_two_hundred_runs_and_a_phone(tab: Browser, tmp_path: Path) -> None:
    """Only the run that is looked at is unpacked; the page is no wider than the phone."""
    runs = tuple(make_view(each, prompt=f"What is {each}?").run for each in range(200))
    path = shown(tab, Session(TIME, TIME, runs), tmp_path, width=390, height=844)
    assert tab.value("document.querySelectorAll('.runs-list li').length") == 200
    assert tab.value("document.querySelector('.asked').innerText") == "What is 199?"
    tab.click(".runs-list li:nth-child(3) button")
    tab.until("document.querySelector('.asked').innerText === 'What is 2?'")
    assert tab.value("document.documentElement.scrollWidth") <= 390
    tab.picture(tmp_path / "phone.png")
    with Image.open(tmp_path / "phone.png") as taken:
        assert taken.size == (390, 844)
    assert is_quiet(tab, path), (tab.requests, tab.complaints)


def test_a_damaged_page_says_so(tab: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page = page_of(Session(TIME, TIME, (make_run(),)))
    path.write_text(page.replace('id="lenscope-run-0">"H4sI', 'id="lenscope-run-0">"XXXX'), "utf-8")
    tab.open(path.as_uri())
    tab.until(READY)
    assert "This page is damaged" in tab.value("document.querySelector('#page').innerText")
