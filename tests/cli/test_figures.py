"""Figures of a run as files: they show what the run holds, at the size that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

import samples
from engine.errors import BadInput
from engine.records import Proof, Run, Session
from engine.sessions import read_session
from tui.cli import main
from tui.sharing.figures import patch_map, rows, trajectories
from tui.sharing.figures.drawing import FILM_ENDINGS, FILMS, FigureOrder, draw_figure
from tui.sharing.figures.mapped import mapped, patches_of
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
            found.scale, found.label, 1,
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
    alone = Session(created="", saved="", runs=(run,))
    with pytest.raises(BadInput, match="no other run"):
        draw_figure(alone, run, FigureOrder("comparison"), path)


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
