"""Maps, their scales, and the way from one patch to the next: plain data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec.structs import replace

from engine.arrays import Array
from engine.errors import BadInput
from engine.methods.words import WordsRequest
from tests.tui.words_stage import BEFORE, geometry, words_reading
from tui.state.maps import NO_STEP, STEPS, Cell, Map, Scale, on_patches
from tui.state.patches import Patches
from tui.views.words.word_maps import word_maps
from tui.widgets.marks import MARKS, UNREAD, draw_marks, mark_grid

SHARES = arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32))
NAN = float("nan")


def map_of(*rows: list[float], unit: str = "p") -> Map:
    return Map(tuple(range(len(rows))), np.array(rows, np.float32), unit)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- scales


def test_a_linear_scale_has_eight_equal_steps() -> None:
    scale = map_of([0.0, 0.4, 0.8]).scale(log=False)
    assert (scale.low, scale.log) == (0.0, False)
    assert scale.high == pytest.approx(0.8)
    values = np.array([0, 0.09, 0.11, 0.39, 0.41, 0.69, 0.71, 0.8, NAN], np.float32)
    assert scale.steps(values).tolist() == [0, 0, 1, 3, 4, 6, 7, 7, NO_STEP]


def test_a_logarithmic_scale_reaches_four_decades_down() -> None:
    scale = map_of([1e-9, 0.5]).scale(log=True)
    assert scale.low == pytest.approx(0.5e-4)
    halves = 0.5 * 10.0 ** -np.arange(0, 4.5, 0.5)
    found = scale.steps((halves * 1.01).astype(np.float32)).tolist()
    assert found == [7, 7, 6, 5, 4, 3, 2, 1, 0]
    assert scale.steps(np.array([0.0], np.float32)).tolist() == [0]


def test_other_figures_begin_at_their_lowest() -> None:
    shown = map_of([2.0, 6.0], [4.0, NAN], unit="nats")
    scale = shown.scale(log=False)
    assert (scale.low, scale.high) == (2.0, 6.0)
    assert scale.steps(shown.row(1)).tolist() == [4, NO_STEP]
    assert shown.scale(log=True).log


@given(SHARES, st.booleans())
def test_the_highest_value_has_the_highest_step(values: np.ndarray, log: bool) -> None:
    shown = Map((0, 1, 2), values, "p")
    steps = shown.scale(log=log).steps(values)
    assert steps.max() < STEPS
    if values.max() > 1e-30:
        assert (steps[values == values.max()] == STEPS - 1).all()
    order = np.argsort(values, axis=None, kind="stable")
    assert (np.diff(steps.ravel()[order].astype(int)) >= 0).all()


def test_without_numbers_there_is_a_scale_and_no_step() -> None:
    shown = map_of([NAN, NAN])
    assert shown.scale(log=True) == Scale(0.0, 1.0)
    assert shown.scale(log=False).steps(shown.row(0)).tolist() == [NO_STEP, NO_STEP]
    assert shown.ranked == ()
    assert map_of([0.0, 0.0]).scale(log=True).steps(np.zeros(2, np.float32)).tolist() == [0, 0]


# ---------------------------------------------------------------------- maps


def test_a_contrast_is_log_p_minus_its_mean_over_the_row() -> None:
    shown = map_of([0.1, 0.2, 0.4], [NAN, 0.5, 0.5]).contrast()
    logs = [math.log(each) for each in (0.1, 0.2, 0.4)]
    expected = [each - sum(logs) / 3 for each in logs]
    assert shown.row(0).tolist() == pytest.approx(expected, abs=1e-6)
    assert shown.row(1).tolist()[1:] == [0.0, 0.0]
    assert np.isnan(shown.row(1)[0])
    assert shown.scale(log=False).low == 0.0


def test_a_row_that_has_not_been_read_has_no_number() -> None:
    assert np.isnan(map_of([0.1, 0.2]).row(7)).all()


@given(SHARES)
def test_cells_are_ranked_as_a_sort_would(values: np.ndarray) -> None:
    values[1, 2] = np.nan
    found = Map((4, 5, 6), values, "p").ranked
    every = [
        Cell(4 + row, patch, float(values[row, patch]))
        for row in range(3)
        for patch in range(5)
        if (row, patch) != (1, 2)
    ]
    assert list(found) == sorted(every, key=lambda cell: -cell.value)


def test_patches_find_their_columns_and_others_have_none() -> None:
    values = np.array([[0.1, 0.2, np.inf]], np.float32)
    shown = on_patches((3,), (5, 7, 9), values, (7, 6, 5, 9), "p")
    assert shown.row(3)[[0, 2]].tolist() == pytest.approx([0.2, 0.1])
    assert np.isnan(shown.row(3)[[1, 3]]).all()


def test_the_newest_map_of_a_word_counts() -> None:
    request = WordsRequest(words=("red", "sky"))
    older = words_reading(request, 4, 2)
    newer = replace(
        words_reading(WordsRequest(words=("sky",)), 4, 2),
        probability=Array.of(np.full((1, 5, 4), 0.25), "<f4"),
    )
    theirs = words_reading(WordsRequest(words=("sky",), way="vl-interp"), 4, 2)
    found = list(word_maps([older, newer, theirs], range(BEFORE, BEFORE + 4)))
    assert [(each.asked, each.way) for each in found] == [
        ("red", "lens"), ("sky", "lens"), ("sky", "vl-interp"),
    ]  # fmt: skip
    assert (found[1].map.values == 0.25).all()


# ---------------------------------------------------------------------- patches


def patches_of(side: int = 4, *, thumbnail: int = 0) -> Patches:
    count = side * side + thumbnail * thumbnail
    return Patches.of(geometry((80, 40), side, thumbnail=thumbnail), BEFORE + count)


def test_the_arrows_go_to_neighbours_and_stop_at_the_edge() -> None:
    patches = patches_of()
    for patch in range(16):
        row, column = divmod(patch, 4)
        for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            x, y = column + right, row + down
            inside = 0 <= x < 4 and 0 <= y < 4
            assert patches.beside(patch, right, down) == (4 * y + x if inside else patch)


def test_a_thumbnail_is_a_sheet_of_its_own() -> None:
    patches = patches_of(4, thumbnail=2)
    assert [len(sheet) for sheet in patches.sheets] == [4, 16]
    assert patches.again(0) in (4, 5, 8, 9)  # the four that lie under the thumbnail's first patch
    assert patches.again(19) == 3
    assert patches.again(3) in (14, 15, 18, 19)
    assert patches.sheet_of(patches.first) == 1  # the finer one
    assert patches.name(5) == "tile 2 of 2, patch 2,1 of 4×4"
    assert patches.short_name(5) == "tile 2 patch 2,1"
    for patch in range(4, 20):
        assert patches.beside(patch, 1, 0) >= 4


def test_the_arrows_cross_from_tile_to_tile() -> None:
    left, right = geometry((40, 40), 2), geometry((40, 40), 2)
    boxes = np.concatenate([left.boxes.values, right.boxes.values + np.array([40, 0, 40, 0])])
    reading = replace(
        left,
        tokens=Array.of(np.arange(BEFORE, BEFORE + 8), "<i4"),
        boxes=Array.of(boxes, "<f4"),
        tile=Array.of(np.repeat([0, 1], 4), "<i2"),
        row=Array.of(np.tile([0, 0, 1, 1], 2), "<i2"),
        column=Array.of(np.tile([0, 1, 0, 1], 2), "<i2"),
    )
    patches = Patches.of(reading, 99)
    assert [len(sheet) for sheet in patches.sheets] == [8]
    assert patches.beside(1, 1, 0) == 4
    assert patches.beside(6, -1, 0) == 3
    assert patches.again(1) == 1


def test_a_patch_says_which_part_of_the_picture_it_shows() -> None:
    patches = patches_of()
    assert patches.name(6) == "patch 3,2 of 4×4"
    assert patches.short_name(6) == "patch 3,2"
    assert patches.extent(6, (80, 40)) == "x 40–60 y 10–20"
    assert patches.extent(6, (50, 15)) == "x 40–50 y 10–15"


def test_what_has_no_box_has_no_neighbours() -> None:
    reading = geometry((80, 40), 2)
    boxes = reading.boxes.values.copy()
    boxes[1] = np.nan
    boxes[2] = [5, 5, 5, 9]
    boxes[3] = [0, 0, np.inf, 1e30]
    patches = Patches.of(replace(reading, boxes=Array.of(boxes, "<f4")), 9)
    assert patches.boxed.tolist() == [True, False, False, False]
    assert patches.extent(1, (80, 40)) == ""
    assert [patches.beside(patch, 1, 0) for patch in range(4)] == [0, 1, 2, 3]
    assert patches.again(2) == 2
    assert patches.first == 0
    assert [sheet.tolist() for sheet in patches.sheets] == [[0]]


def test_unknown_columns_and_rows_are_numbered_in_order() -> None:
    reading = geometry((80, 40), 2)
    unknown = Array.of(np.full(4, -1), "<i2")
    reading = replace(reading, tile=unknown, row=unknown, column=unknown)
    patches = Patches.of(reading, 9)
    assert patches.name(2) == "patch 3 of 4"
    assert patches.short_name(2) == "patch 3"


@pytest.mark.parametrize("tokens", [[3, 3, 4, 5], [6, 5, 4, 3], [-1, 0, 1, 2], [3, 4, 5, 99]])
def test_patches_that_are_no_tokens_of_the_run_are_refused(tokens: list[int]) -> None:
    reading = replace(geometry((80, 40), 2), tokens=Array.of(np.array(tokens), "<i4"))
    with pytest.raises(BadInput):
        Patches.of(reading, 9)


def test_no_patches_are_no_trouble() -> None:
    patches = Patches.of(geometry((80, 40), 0), 3)
    assert len(patches) == 0
    assert patches.sheets == ()
    assert patches.first == 0
    assert mark_grid(patches, 0).lines == 0


# ---------------------------------------------------------------------- marks


def marks(side: int, cursor: int, room: tuple[int, int]) -> list[str]:
    patches = patches_of(side)
    grid = mark_grid(patches, 0)
    steps = np.arange(side * side, dtype=np.uint8) % STEPS
    steps[-1] = NO_STEP
    window = grid.window(cursor, room)
    drawn = draw_marks(grid, steps, cursor, frozenset({1}), window)
    return ["".join(text for text, _ in line) for line in drawn]


def test_a_mark_for_every_patch_and_brackets_around_one() -> None:
    assert marks(4, 6, (12, 9)) == ["    x  :  - ", " =  + [*] # ", "    .  :  - ", " =  +  *  ? "]
    assert MARKS[0] == " "
    assert UNREAD == "?"


def test_marks_close_up_and_scroll_where_there_is_little_room() -> None:
    assert marks(4, 6, (8, 9))[1] == "= + * # "
    assert marks(4, 15, (2, 2)) == [":-", "*?"]
    assert marks(4, 0, (2, 1)) == [" x"]


def test_uneven_boxes_stand_in_one_line() -> None:
    reading = geometry((80, 40), 4)
    shaken = reading.boxes.values + np.random.default_rng(1).uniform(-2, 2, (16, 4))
    patches = Patches.of(replace(reading, boxes=Array.of(shaken, "<f4")), 99)
    grid = mark_grid(patches, 0)
    assert (grid.lines, grid.columns) == (4, 4)
    assert [grid.patches[divmod(patch, 4)] for patch in range(16)] == list(range(16))
