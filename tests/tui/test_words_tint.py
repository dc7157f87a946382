"""The picture in the tints of a map: which patch a pixel shows, and what changes with a step."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image
from rich.style import Style

from engine.arrays import Array
from engine.pages.palette import FRAME, RAMP
from tests.tui.words_stage import BEFORE, geometry
from tui.state.maps import NO_STEP, STEPS
from tui.state.patches import Patches
from tui.widgets.evened import evened
from tui.widgets.pixel_lines import cells_that_differ, codes_of, marked_line
from tui.widgets.tint import AROUND_ZERO, FROM_LOW, Plan, Ramp, plan

PICTURE = (96, 64)


def patches_of(side: int, size: tuple[int, int] = PICTURE, thumbnail: int = 0) -> Patches:
    count = BEFORE + side * side + thumbnail * thumbnail
    return Patches.of(geometry(size, side, thumbnail=thumbnail), count)


def picture(size: tuple[int, int] = PICTURE) -> Image.Image:
    x = np.linspace(0, 255, size[0])[None, :].repeat(size[1], 0)
    y = np.linspace(0, 255, size[1])[:, None].repeat(size[0], 1)
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def plan_of(
    side: int, room: tuple[int, int] = (50, 18), *, indexed: bool = False, even: bool = False
) -> Plan:
    return plan(
        picture(), room, PICTURE, patches_of(side), 0, indexed=indexed, even=even
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(8, 40), st.integers(4, 20))
def test_a_pixel_shows_the_patch_that_covers_most_of_it(
    side: int, columns: int, lines: int
) -> None:
    made = plan_of(side, (columns, lines))
    height, width = (edge - 2 for edge in made.shape)
    assert made.shape[1] <= columns
    assert made.shape[0] <= 2 * lines
    boxes = patches_of(side).boxes * np.tile([width / 96, height / 64], 2)
    for y in range(0, height, 3):
        for x in range(0, width, 3):
            wide = np.minimum(x + 1, boxes[:, 2]) - np.maximum(x, boxes[:, 0])
            high = np.minimum(y + 1, boxes[:, 3]) - np.maximum(y, boxes[:, 1])
            shares = np.maximum(wide, 0) * np.maximum(high, 0)
            assert shares[made.owner[y + 1, x + 1]] == pytest.approx(shares.max(), abs=1e-6)


def test_what_no_patch_covers_stays_as_it_is() -> None:
    reading = geometry(PICTURE, 2)
    boxes = reading.boxes.values.copy()
    boxes[3] = np.nan
    patches = Patches.of(replace(reading, boxes=Array.of(boxes, "<f4")), 99)
    made = plan(picture(), (50, 18), PICTURE, patches, 0)
    height, width = made.shape
    corner = (slice(height // 2 + 1, height - 1), slice(width // 2 + 1, width - 1))
    codes = made.pixels(np.full(4, 7, np.uint8), None)
    assert (made.owner[corner] == -1).all()
    assert (codes[corner] == made.tints[STEPS][corner]).all()
    assert made.patch_at(width - 2, height - 2) is None
    assert made.patch_at(1, 1) == 0
    assert made.patch_at(-1, 1) is None


def test_boxes_outside_the_picture_are_not_drawn() -> None:
    reading = geometry(PICTURE, 2)
    moved = np.array([[0, 0, 0, 0], [500, 0, 500, 0], [-500, 0, -500, 0], [0, 0, 9, 9]])
    boxes = reading.boxes.values + moved
    patches = Patches.of(replace(reading, boxes=Array.of(boxes, "<f4")), 99)
    made = plan(picture(), (50, 18), PICTURE, patches, 0)
    assert set(np.unique(made.owner)) == {-1, 0, 3}
    assert set(made.frames) == {0, 3}
    for framed in range(4):
        made.pixels(np.zeros(4, np.uint8), framed)


def test_only_the_pixels_of_a_changed_step_change() -> None:
    made = plan_of(4)
    steps = np.zeros(16, np.uint8)
    before = made.pixels(steps, None)
    steps[6] = 3
    after = made.pixels(steps, None)
    assert ((before != after) == (made.owner == 6)).all()
    spans = cells_that_differ(before, after)
    lines = np.unique(np.argwhere(made.owner == 6)[:, 0] // 2)
    assert [line for line, _, _ in spans] == lines.tolist()
    for _, start, end in spans:
        columns = np.unique(np.argwhere(made.owner == 6)[:, 1])
        assert (start, end) == (columns[0], columns[-1] + 1)


def test_a_patch_without_a_number_is_not_tinted() -> None:
    made = plan_of(4)
    steps = np.zeros(16, np.uint8)
    steps[5] = NO_STEP
    codes = made.pixels(steps, None)
    bare = made.tints[STEPS]
    assert (codes[made.owner == 5] == bare[made.owner == 5]).all()
    assert (codes[made.owner == 6] == made.tints[0][made.owner == 6]).all()
    assert (made.pixels(None, None) == bare).all()


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("ramp", "steps", "shown"),
    [
        (FROM_LOW, (0, 3, NO_STEP, 2), 3),
        (AROUND_ZERO, (0, 4, NO_STEP, 6), 0),
        (AROUND_ZERO, (3, 2, 7, 1), 7),
        (AROUND_ZERO, (2, 3, 4, NO_STEP), 2),
        (AROUND_ZERO, (1, 6, 3, 4), 6),
        (AROUND_ZERO, (NO_STEP, NO_STEP, 3, NO_STEP), 3),
    ],
)
def test_of_patches_in_one_pixel_the_strongest_is_shown(
    ramp: Ramp, steps: tuple[int, ...], shown: int, indexed: bool
) -> None:
    small = patches_of(2, (2, 2))
    whole = plan(picture((2, 2)), (3, 2), (96, 96), small, 0, ramp=ramp, indexed=indexed)
    (place,) = {tuple(middle) for middle in whole.middles.tolist()}
    for order in permutations(steps):
        codes = whole.pixels(np.array(order, np.uint8), None)
        assert codes[place] == whole.tints[shown][place]


def test_a_frame_lies_around_a_patch_and_not_on_it() -> None:
    made = plan_of(4)
    code = int(codes_of(np.array([[FRAME]], np.uint8), indexed=False)[0, 0])
    for patch in range(16):
        codes = made.pixels(None, patch)
        assert not (codes[made.owner == patch] == code).any()
        x0, y0, x1, y1 = made.frames[patch]
        ring = np.zeros(made.shape, bool)
        ring[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = True
        ring[y0:y1, x0:x1] = False
        assert ((codes == code) == ring).all()


def test_where_patches_are_smaller_than_pixels_the_highest_shows() -> None:
    made = plan_of(60, (20, 8))
    for patch in (0, 777, 1801, 3599):
        steps = np.zeros(3600, np.uint8)
        steps[patch] = 7
        codes = made.pixels(steps, None)
        assert (codes != made.pixels(np.zeros(3600, np.uint8), None)).sum() >= 1, patch
        unread = np.full(3600, NO_STEP, np.uint8)
        unread[patch] = 7
        assert (made.pixels(unread, None) != made.tints[STEPS]).any(), patch


def test_another_sheet_shows_other_patches() -> None:
    patches = patches_of(4, thumbnail=2)
    thumbnail, tiles = (plan(picture(), (50, 18), PICTURE, patches, sheet) for sheet in (0, 1))
    assert set(np.unique(thumbnail.owner)) == {-1, 0, 1, 2, 3}
    assert set(np.unique(tiles.owner)) == {-1, *range(4, 20)}


def test_each_step_is_lighter_than_the_one_before() -> None:
    light = [0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in RAMP]
    assert light == sorted(light)
    made = plan_of(1)
    inside = made.owner == 0
    means = []
    for step in range(STEPS):
        codes = made.tints[step][inside]
        means.append((0.299 * (codes >> 16) + 0.587 * (codes >> 8 & 255)).mean())
    assert means[1:] == sorted(means[1:])


def test_with_256_colours_few_are_used_and_a_cell_has_one_step() -> None:
    made = plan_of(5, indexed=True, even=True)
    for step in range(STEPS):
        used = set(np.unique(made.tints[step][1:-1, 1:-1]))
        assert len(used) <= 3
        assert all(16 <= code < 256 for code in used)
    pairs = made.owner.reshape(made.shape[0] // 2, 2, -1)
    both = (pairs >= 0).all(axis=1)
    assert (pairs[:, 0][both] == pairs[:, 1][both]).all()


@given(st.binary(min_size=72, max_size=72), st.integers(0, 20))
def test_pixels_are_evened_out_as_far_as_is_allowed(rgb: bytes, most_off: int) -> None:
    shown = np.array(evened(rgb, 6, most_off)).reshape(-1)
    assert np.abs(shown - np.frombuffer(rgb, np.uint8).astype(int)).max() <= most_off


def test_the_nearest_of_256_colours() -> None:
    pixels = np.array([[(0, 0, 0), (255, 255, 255), (255, 0, 0), (96, 135, 174), (18, 18, 18)]])
    assert codes_of(pixels.astype(np.uint8), indexed=True).tolist() == [[16, 231, 196, 67, 233]]


def test_a_line_has_one_segment_for_cells_alike_and_marks_between() -> None:
    line = marked_line(
        [1, 1, 2, 2, 3], [1, 1, 5, 5, 3], {3: ("×", Style(bold=True))}, indexed=False
    )
    assert [segment.text for segment in line] == ["  ", "▀", "×", " "]
    assert line.cell_length == 5
    wide = marked_line([1] * 4, [2] * 4, {1: ("日", Style()), 2: ("x", Style())}, indexed=True)
    assert wide.text == "▀日▀"
