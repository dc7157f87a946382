"""Figures of a run as files: they show what the run holds, at the size that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

import samples
from engine.arrays import Array
from engine.errors import BadInput
from engine.methods.attention import AttentionReading, AttentionRequest, LayerAttention
from engine.methods.saliency import SaliencyReading, SaliencyRequest
from engine.records import OtherPosition, Proof, Reading, Run, Session
from engine.sessions import read_session
from tui.cli import main
from tui.sharing.copying import write_export
from tui.sharing.figures import comparison, patch_map, rows, trajectories
from tui.sharing.figures.drawing import FILM_ENDINGS, FILMS, FigureOrder, draw_figure
from tui.sharing.figures.mapped import mapped, patches_of
from tui.sharing.figures.saying import remarks
from tui.sharing.figures.style import WIDTHS, styled, token
from tui.sharing.formats import FIGURES
from tui.state.run_view import RunView

pytest.importorskip("matplotlib")

SCENE = samples.PICTURES / "scene_1.png"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Two runs of a picture, with and without noise; the first has a map of two words."""
    path = tmp_path_factory.mktemp("session") / "session.json"
    words = 'words:words="sphere,cube",rows=5-6'
    asked = ["--against", "noise", "--read", "geometry", "--read", words, "--json", str(path)]
    assert main(["run", "--image", str(SCENE), *asked]) == 0
    return read_session(path)


@pytest.fixture
def run(session: Session) -> Run:
    return session.runs[0]


@pytest.mark.parametrize("name", FIGURES)
def test_each_is_written_as_wide_as_its_columns(
    name: str, session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "figure.png"
    order = FigureOrder(name)
    if name in FILMS:
        short = replace(session.runs[0], rows=session.runs[0].rows[:3])
        draw_figure(session, short, order, path)
    else:
        draw_figure(session, session.runs[0], order, path)
    with Image.open(path) as opened:
        frames, dpi = getattr(opened, "n_frames", 1), 150 if name in FILMS else 300
        assert opened.width == pytest.approx(WIDTHS[1] * dpi, abs=2)
    assert frames == {"film": 3, "map-film": 3}.get(name, 1)


def test_the_plot_has_the_values_of_the_run(run: Run) -> None:
    with styled():
        (axes,) = trajectories.draw(RunView.of(run), 1).axes
    answer = run.rows[-1].top[0]
    line = next(each for each in axes.get_lines() if each.get_label() == token(answer.text))
    (tracked,) = [each for each in run.tracked if each.id == answer.id]
    assert line.get_ydata() == pytest.approx(tracked.probability)


def test_the_bars_of_the_table_are_as_wide_as_the_probabilities(run: Run) -> None:
    from matplotlib.patches import Rectangle

    with styled():
        (axes,) = rows.draw(RunView.of(run), 2).axes
    widths = [each.get_width() for each in axes.patches if isinstance(each, Rectangle)]
    shares = [each.probability for row in run.rows for each in row.top[: run.question.top_k]]
    whole = widths[0] / shares[0]
    assert widths == pytest.approx([whole * share for share in shares])


def test_the_map_has_the_numbers_of_the_reading_in_its_boxes(run: Run) -> None:
    patches = patches_of(run)
    found = mapped(run, patches, "cube")
    values = found.map.row(6)
    picture = run.question.picture
    assert picture is not None
    with styled():
        drawn = patch_map.draw(
            patch_map.picture_of(picture.preview), (picture.width, picture.height), patches, values,
            found.map.scale(log=False), found.label(6), 1,
        )  # fmt: skip
    (squares,) = drawn.axes[0].collections
    assert np.asarray(squares.get_array()).tolist() == pytest.approx(values.tolist())
    words = next(each for each in run.readings if each.method == "words")
    at = [words.positions.index(place) for place in patches.positions]  # type: ignore[attr-defined]
    row = words.rows.index(6)  # type: ignore[attr-defined]
    assert values.tolist() == words.probability.values[1, row, at].tolist()  # type: ignore
    corners = np.asarray(squares.get_paths()[3].vertices)
    x0, y0, x1, y1 = patches.boxes[3]
    assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([x0, y0], [x1, y1])


def test_files_of_print_are_the_same_twice_and_hold_their_fonts(
    session: Session, tmp_path: Path
) -> None:
    for name in ("a.svg", "b.svg", "a.pdf"):
        draw_figure(session, session.runs[0], FigureOrder("plot"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()
    assert b"<text" not in (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(
    ("order", "ending", "said"),
    [
        (FigureOrder("plot"), ".gif", "a plot is written as .pdf, .svg, .png"),
        (FigureOrder("film"), ".pdf", "a film is written as .gif, .png"),
        (FigureOrder("map", of="zebra"), ".png", "it has sphere, cube"),
        (FigureOrder("map", of="cube", row=99), ".png", "has no row 99"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    order: FigureOrder, ending: str, said: str, session: Session, tmp_path: Path
) -> None:
    path = tmp_path / f"figure{ending}"
    with pytest.raises(BadInput, match=said):
        draw_figure(session, session.runs[0], order, path)
    assert not path.exists()


def test_a_run_without_a_map_or_a_proof_says_so(session: Session, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    with pytest.raises(BadInput, match="read `geometry` first"):
        draw_figure(session, replace(run, readings=()), FigureOrder("map"), path)
    failed = replace(run, proof=Proof(1.0, 1e-5, False, "tail"))
    with pytest.raises(BadInput, match="failed its proof"):
        draw_figure(session, failed, FigureOrder("plot"), path)
    _, other = session.runs
    doubtful = replace(session, runs=(run, replace(other, proof=Proof(1.0, 1e-5, False, "tail"))))
    with pytest.raises(BadInput, match="compared with failed its proof"):
        draw_figure(doubtful, run, FigureOrder("comparison"), path)
    with pytest.raises(BadInput, match="was not read at position 3"):
        draw_figure(session, run, FigureOrder("plot", position=3), path)
    alone = Session(created="", saved="", runs=(run,))
    with pytest.raises(BadInput, match="no other run"):
        draw_figure(alone, run, FigureOrder("comparison"), path)


def test_what_is_unusual_about_rows_is_said(session: Session, run: Run, tmp_path: Path) -> None:
    """The position that is drawn, where it is not the last token; the final norm that is off."""
    rows_there = tuple(replace(row, top=row.top[1:]) for row in run.rows)
    visited = replace(run, others=(OtherPosition(3, rows_there),))
    bare = replace(run, question=replace(run.question, norm=False))
    view = RunView.of(visited).at(3)
    assert view is not None and remarks(RunView.of(run)) == ""
    assert remarks(view) == f"read at position 3, after {token(run.tokens[3].text)}"
    own = RunView.of(replace(run, position=2))
    assert remarks(own).startswith("read at position 2, after ")
    assert remarks(RunView.of(bare)) == f"final norm off below row {run.layers}"
    with styled():
        (axes,) = trajectories.draw(view, 1).axes
        table = rows.draw(view, 1)
        compared = comparison.draw(RunView.of(run), RunView.of(bare), ("a", "b"), None, 1)
    assert axes.get_xlabel().endswith(remarks(view))
    assert table.get_supxlabel() == remarks(view)
    assert any(row.top[0].text in str(text) for row in rows_there for text in table.axes[0].texts)
    assert compared.axes[-1].get_xlabel().endswith(f"b: final norm off below row {run.layers}")
    write_export(RunView.of(visited), "plot", tmp_path / "own.svg")
    write_export(view, "plot", tmp_path / "there.svg")
    assert (tmp_path / "own.svg").read_bytes() != (tmp_path / "there.svg").read_bytes()


def test_no_line_bridges_rows_in_which_a_value_is_not_known(run: Run) -> None:
    gap = replace(run.rows[5], top=(), answer=None)
    broken = replace(run, tracked=(), rows=(*run.rows[:5], gap, *run.rows[6:]))
    with styled():
        plot = trajectories.draw(RunView.of(broken), 1)
        both = comparison.draw(RunView.of(broken), RunView.of(run), ("a", "b"), None, 1)
    for axes in (plot.axes[0], both.axes[0]):
        drawn = np.asarray(axes.get_lines()[0].get_ydata(), float)
        assert len(drawn) == len(run.rows) and np.isnan(drawn[5]) and drawn[-1] > 0


def test_curves_that_are_not_drawn_are_counted(run: Run) -> None:
    best = run.rows[0].top[0]
    many = tuple(
        replace(row, top=(replace(best, id=10_000 + row.layer, text=f"t{row.layer}"),))
        for row in run.rows
    )
    with styled():
        (axes,) = trajectories.draw(RunView.of(replace(run, rows=many, tracked=())), 1).axes
    assert len(axes.get_lines()) - 1 - (run.formation is not None) == 8
    labels = [str(line.get_label()) for line in axes.get_lines()]
    assert f"and {len(many) - 8} more" in labels


def test_a_map_says_what_it_is_and_its_scale_knows_the_sign(run: Run) -> None:
    patches = patches_of(run)
    cells = Array.of(np.array(patches.positions), "<i4")
    values = np.linspace(0.1, 0.4, len(patches.positions), dtype="f4")
    best = run.rows[-1].top[0]

    def of(reading: Reading) -> Any:
        found = mapped(replace(run, readings=(reading,)), patches)
        scale = found.map.scale(log=False)
        return found.label(found.best_row), scale.low, scale.high

    def salient(**asked: Any) -> Any:
        request = SaliencyRequest(**asked)
        return of(SaliencyReading(
            request=request, position=9, of=(best,), value=0.0, cells=cells,
            map=Array.of(values, "<f4"),
        ))  # fmt: skip

    def attended(way: Any) -> Any:
        layer = LayerAttention(3, heads=1, map=Array.of(values, "<f4"))
        return of(AttentionReading(
            request=AttentionRequest(way=way), position=9, layers=(layer,), cells=cells
        ))  # fmt: skip

    most: Any = pytest.approx(0.4)
    least: Any = pytest.approx(-0.4)
    assert salient() == ("saliency (gradient) at the pixels", least, most)
    assert salient(way="ig", row=5) == ("saliency (ig) in row 5", least, most)
    assert salient(way="attention") == (
        "relevance (gradient x attention, all layers)", 0.0, most,
    )  # fmt: skip
    assert attended("weight") == ("attention from position 9, mean over heads, layer 3", 0.0, most)
    arrives = "what arrives through attention at position 9, mean over heads, layer 3"
    assert attended("contribution") == (arrives, 0.0, most)
    assert "against a neutral prompt" in attended("relative")[0]


def test_any_token_is_drawn_as_text(session: Session, run: Run, tmp_path: Path) -> None:
    texts = ("$x^2$", "\x1b[31m", "漢", "\n", "<b>", "\\frac{1}", "")
    rows = tuple(
        replace(row, top=(replace(row.top[0], text=text), *row.top[1:]))
        for row, text in zip(run.rows, texts, strict=False)
    )
    hostile = replace(run, rows=(*rows, *run.rows[len(rows) :]))
    path = tmp_path / "table.svg"
    draw_figure(session, hostile, FigureOrder("table"), path)
    assert b"\x1b" not in path.read_bytes()


def test_every_ending_of_a_film_can_be_opened(session: Session, tmp_path: Path) -> None:
    short = replace(session.runs[0], rows=session.runs[0].rows[:2])
    for ending in FILM_ENDINGS:
        draw_figure(session, short, FigureOrder("film"), tmp_path / f"film{ending}")
        with Image.open(tmp_path / f"film{ending}") as opened:
            assert getattr(opened, "n_frames", 1) == 2
