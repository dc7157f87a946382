"""Session files in which anything may have been changed: each is opened, or refused in one line,
and what is opened can be looked at."""

from __future__ import annotations

import asyncio
import json
import random
import resource
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadInput
from engine.methods.contrast import ContrastRequest
from engine.methods.debias import DebiasRequest
from engine.records import (
    Comparison,
    ComparisonRow,
    Counterfactual,
    OtherPosition,
    Picture,
    Question,
    Session,
)
from engine.sessions import read_session, to_json
from tests.tui.fakes import (
    SEEN,
    contrasted,
    debiased,
    finish,
    make_rows,
    make_run,
    tracked_tokens,
)
from tests.tui.stage import explorer, in_loop
from tui.actions.files import _show_session

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 1000, 10_000, 10_000_000, 2**31, 2**53, 2**63, 2**64,
    -(2**63), 10**30, 0.5, -0.0, 1.0009, 1.5, -3.0, 5e-324, 1e30, -1e38, 1e39, 1e300, -1e308,
    "", " ", "\n", "x" * 3000, "\x1b[2J", "\u202e" * 50, "[/red]", "e\u0301" * 200, "a" * 16,
    "done", "failed", "cancelled", "user", [], {}, [None], [[]], [0] * 50, {"a": {"b": []}},
]  # fmt: skip
LARGE: list[Any] = ["y" * 2_000_000, "字" * 300_000, [1] * 300_000, ["z" * 1000] * 1000]


def a_session() -> Session:
    picture = Picture("a.png", "0" * 64, 2, 2, SEEN)
    question = Question(prompt="Shape:", picture=picture, system="Be brief.", prefix="It")
    without = Counterfactual("blur", {"radius": 3}, 4)
    one = finish(make_run("a" * 16, question, 4), make_rows(4, 2))
    other = finish(
        make_run("b" * 16, Question(prompt="Shape:", picture=picture, counterfactual=without), 4),
        make_rows(4, 3),
    )
    part = finish(make_run("c" * 16, Question(prompt="Part:"), 9), make_rows(9, 2)[:3], "cancelled")
    rows = tuple(ComparisonRow(n, 0.1 * n, 0.05 * n) for n in range(5))
    from msgspec.structs import replace

    one = replace(
        one,
        tracked=(*one.tracked, *tracked_tokens([5], 5)),
        readings=(
            contrasted(ContrastRequest(against=("b" * 16,)), one.rows),
            debiased(DebiasRequest(answers=("a", "b"), against=("b" * 16,))),
        ),
        others=(OtherPosition(0, one.rows[:2]),),
    )
    return Session(
        created="2026-11-22T03:00:00Z",
        saved="2026-11-22T03:00:00Z",
        runs=(one, other, part),
        comparisons=(Comparison("b" * 16, "counterfactual", "a" * 16, "b" * 16, 0, rows, 0.1, 3),),
        view={"row": 2, "run": "a" * 16},
    )


def mutated(seed: int) -> bytes:
    """The session with one to three values changed, taken out or doubled."""
    dice = random.Random(seed)
    content = json.loads(to_json(a_session()))
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        holder: Any = content
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = dice.choice(keys)
            inner = holder[key]
            if isinstance(inner, dict | list) and inner and dice.random() < 0.9:
                holder = inner
                continue
            what = dice.random()
            if what < 0.1 and isinstance(holder, list):
                holder.insert(key, inner)
            elif what < 0.2:
                del holder[key]
            elif what < 0.23:
                holder[key] = dice.choice(LARGE)
            else:
                like = [value for value in VALUES if type(value) is type(inner)]
                holder[key] = dice.choice(like if like and dice.random() < 0.8 else VALUES)
            break
    return json.dumps(content).encode()


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize(
    ("first", "count"), [(0, 40), pytest.param(1000, 3000, marks=pytest.mark.slow)]
)
@in_loop
async def test_a_mutated_session_opens_or_is_one_line(
    tmp_path: Path, first: int, count: int
) -> None:
    path, opened = tmp_path / "mutated.json", 0
    before = memory_mb()
    async with explorer((100, 40), startup={"options": None, "autosave": False}) as stage:
        await stage.press("P")
        for seed in range(first, first + count):
            path.write_bytes(mutated(seed))
            try:
                session = read_session(path)
            except BadInput as error:
                assert "\n" not in str(error), seed
                assert len(str(error)) < 1000, seed
                continue
            opened += 1
            async with asyncio.timeout(30):
                assert _show_session(stage.app, session, None), seed
                await stage.pilot.pause()
                for key in ["H", "escape", "j", "3", "escape"] if seed % 10 == 0 else ["j"]:
                    await stage.press(key)
                assert stage.text.count("\n") == 39, seed
            assert stage.app.is_running, seed
    assert opened > count // 10
    assert memory_mb() - before < 400


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("runs", 2, "layers"), 10_000_000),
        (("runs", 2, "layers"), 10_001),
        (("runs", 2, "position"), 10_000_000),
        (("runs", 0, "tokens", 0, "id"), 2**63),
        (("runs", 0, "rows", 0, "top", 0, "id"), 2**64),
        (("runs", 0, "question", "top_k"), 10_000_000),
        (("runs", 0, "question", "prompt"), "x" * 10_000_000),
        (("runs", 0, "title"), "x" * 10_000_000),
        (("runs", 0, "tracked", 0, "text"), "x" * 10_000_000),
        (("runs", 0, "tracked", 0, "probability", 0), 3.0),
        (("runs", 0, "tracked", 0, "probability", 0), -0.5),
        (("runs", 0, "tracked", 0, "logit", 0), 1e308),
        (("runs", 0, "tracked", 0, "rank", 0), 2**40),
        (("runs", 0, "question", "picture", "width"), 2**40),
        (("runs", 1, "question", "counterfactual", "parameters"), {"a": "x" * 10**6}),
        (("runs", 1, "question", "counterfactual", "seed"), 2**64),
        (("runs", 0, "seconds"), {str(n): 1.0 for n in range(5000)}),
        (("runs", 0, "processed"), {"width": 1, "height": 1, "tiles": 10_000_000}),
        (("comparisons", 0, "layer"), 10_000_000),
        (("view",), {"a": "x" * 5_000_000}),
    ],
)  # fmt: skip
def test_what_no_model_can_make_is_refused(tmp_path: Path, place: Any, value: Any) -> None:
    content = json.loads(to_json(a_session()))
    *way, last = place
    holder = content
    for step in way:
        holder = holder[step]
    holder[last] = value
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput) as caught:
        read_session(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@in_loop
async def test_the_largest_counts_are_drawn(tmp_path: Path) -> None:
    """The deepest run, the longest texts and extreme numbers that are allowed."""
    content = json.loads(to_json(a_session()))
    run = content["runs"][2]
    run["layers"] = 10_000
    run["title"] = "x" * 1_000_000
    run["rows"][0]["top"][0]["text"] = "字" * 60_000
    run["rows"][1]["entropy"], run["rows"][2]["entropy"] = 9e38, -9e38
    run["rows"][1]["rms"] = 1e-320
    content["view"] = {"run": "c" * 16, "row": 10**30}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    before = memory_mb()
    async with explorer(
        (100, 40), startup={"options": None, "session": read_session(path)}
    ) as stage:
        await stage.shows("cancelled after 3 of 10001 rows")
        for key in ("P", "G", "H", "escape", "g", "d", "d"):
            await stage.press(key)
        assert stage.app.is_running
    assert memory_mb() - before < 300


def test_a_preview_of_a_hundred_million_pixels_is_not_decoded() -> None:
    import base64
    import io

    from PIL import Image

    from engine.pictures.opening import open_preview

    stream = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(stream, "PNG")
    before = memory_mb()
    with pytest.raises(BadInput, match="10000 x 10000 pixels"):
        open_preview(base64.b64encode(stream.getvalue()).decode())
    assert memory_mb() - before < 100
