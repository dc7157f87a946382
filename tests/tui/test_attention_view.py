"""What is known of attention and of knockout, and how it is laid out: without an app."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from engine.arrays import Array
from engine.errors import BadInput
from engine.methods.attention import AttentionRequest, LayerAttention
from engine.methods.knockout import PANEL, KnockoutRequest
from engine.prompts.token_groups import GROUPS
from engine.records import Picture, Reading, ReadingProof, Request
from tests.tui.attention_stage import (
    HEADS,
    REACH,
    RECURRENT,
    SINK,
    WINDOWED,
    attention_part,
    attention_reading,
    knocked_cells,
    knockout_part,
    knockout_reading,
    map_of,
    shares_of,
)
from tests.tui.dialog_stage import HOSTILE, PLAIN
from tests.tui.words_stage import BEFORE, SIDE, finished_run, geometry, positions_of
from tui.state.maps import NO_STEP
from tui.state.run_view import RunView
from tui.views.attention.bars import cells_of, group_looks, stacked_bar
from tui.views.attention.effects import Clean, Effect, Effects, pair_names
from tui.views.attention.gaze import Gaze
from tui.views.attention.knocked import KnownKnockout, patch_request
from tui.views.attention.known import KnownAttention, LayerShares
from tui.views.attention.matrix import steps_of
from tui.views.attention.share_list import (
    ShareList,
    SharesShown,
    label_in,
    name_in,
    number_columns,
    numbers_in,
)
from tui.widgets.matrix_cells import block_lines, window_of
from tui.widgets.tint import FROM_LOW
from tui.worker.asker import asks_for_positions

LAYERS = 10
COUNT = BEFORE + SIDE * SIDE + 2
LAST = COUNT - 1
CLEAN = Clean(17, "x", -0.5)
UNPROVED = ReadingProof("a pass in which nothing is forbidden", 0.5, 1e-3, passed=False)


def known_of(*requests: AttentionRequest, **changes: Any) -> KnownAttention:
    known = KnownAttention(LAYERS, LAST)
    for request in requests:
        known.take(request, attention_reading(request, LAYERS, COUNT, **changes))
    return known


def gaze_at(layer: int = 5, *readings: Any) -> Gaze:
    run = replace(
        finished_run(picture=Picture("a.png", "", 336, 336)),
        readings=readings or (attention_reading(AttentionRequest(), LAYERS, COUNT),),
    )
    gaze = Gaze(RunView.of(run), layer, LAST)
    gaze.place_patches(geometry((336, 336)))
    gaze.take_stored()
    return gaze


# ---------------------------------------------------------------------- bars


@pytest.mark.parametrize("width", [1, 7, 20, 53])
def test_shares_that_sum_to_one_fill_the_bar(width: int) -> None:
    for layer in range(LAYERS):
        for row in shares_of(layer, LAYERS).astype(np.float32):
            cells = cells_of(row, width)
            assert sum(cells) == width
            assert all(
                abs(cell - share * width) < 1 for cell, share in zip(cells, row, strict=True)
            )


def test_what_is_missing_from_a_bar_stays_blank() -> None:
    assert cells_of(np.array([0.25, 0.25], np.float32), 8) == [2, 2]
    assert cells_of(np.array([np.nan, np.nan], np.float32), 8) == [0, 0]
    assert cells_of(np.array([0.9, 0.9], np.float32), 8) == [4, 4]  # a damaged file's
    looks = group_looks(("first", "picture"), PLAIN, ascii_only=False)
    shares = np.array([0.25, 0.5, 0.0], np.float32)
    drawn = stacked_bar(shares, 8, looks, PLAIN.text, letters=True)
    assert "".join(text for text, _ in drawn) == "FFPPPP  "
    drawn = stacked_bar(shares, 8, looks, PLAIN.text, letters=False)
    assert "".join(text for text, _ in drawn) == "F P     "
    assert stacked_bar(None, 3, looks, PLAIN.text, letters=True) == [("   ", PLAIN.text)]


def test_letters_tell_groups_apart_and_names_are_safe() -> None:
    groups = ("first", "template", "system", "picture", "question", "answer", "prefix", HOSTILE)
    looks = group_looks(groups, PLAIN, ascii_only=True)
    letters = [look.letter for look in looks]
    assert letters[:6] == list("FTSPQA")
    assert len({*letters}) == len(letters) == len(groups) + 1
    for look in looks:
        assert look.name.isascii()
        assert look.name.isprintable()
        assert look.name.startswith(look.letter)
        for column in (4, 6, 9):
            assert len(name_in(look, column)) == column


def test_numbers_fit_their_columns() -> None:
    shares = np.array([1.0, 0.5, 0.0514, 0.00001, 0.0, np.nan, 0.999], np.float32)
    for width in (32, 40, 58, 90):
        label, column = number_columns(width, 7)
        assert 1 + label + 7 * column <= width
        texts = numbers_in(shares, column, 7)
        assert all(len(text) == column for text in texts)
        assert texts[5].strip() == "-"
    assert [text.strip() for text in numbers_in(shares, 4, 7)][:3] == ["100", "50", "5"]
    wide = [text.strip() for text in numbers_in(shares, 7, 7)]
    assert wide == ["100%", "50.0%", "5.1%", "<.01%", "0%", "-", "99.9%"]
    assert numbers_in(None, 5, 3) == [" " * 5] * 3


def test_no_number_of_a_head_or_layer_is_cut() -> None:
    labels = [label_in(12, 3, width) for width in (20, 11, 5, 3)]
    assert labels == ["layer 12 head 3", "12 head 3", "12.3", ".3"]
    labels = [label_in(12, None, width) for width in (20, 9, 3)]
    assert labels == ["layer 12 mean", "12 mean", "12"]
    assert [label_in(1000, None, 3), label_in(1000, 1234, 3)] == ["", ""]
    drawn = ShareList(ascii_only=True, letters=True)
    for layer, head in ((3, 15), (31, 127), (120, 9)):
        lines = (LayerShares(layer, heads=head + 1),)
        drawn._shown = SharesShown(lines, GROUPS, head)
        for width in range(32, 90):
            segments = drawn.draw_head(0, width, PLAIN)
            assert sum(len(text) for text, _ in segments) <= width
            label = segments[0][0].strip()
            assert label.endswith(str(head)) or (not label and head == 127), (width, label)


# ---------------------------------------------------------------------- what is known


def test_shares_are_kept_raw_and_without_sinks() -> None:
    line = known_of(AttentionRequest()).lines[7]
    raw, without = line.raw_of(2), line.without_of(2)
    assert raw is not None
    assert without is not None
    assert np.allclose(raw, shares_of(7, LAYERS)[2])
    assert without[0] == 0
    assert np.isclose(without.sum(), 1)
    mean = line.raw_of(None)
    assert mean is not None
    assert np.allclose(mean, shares_of(7, LAYERS).mean(axis=0))
    assert line.raw_of(HEADS) is None


def test_the_mean_leaves_out_heads_that_look_at_sinks_alone() -> None:
    without = np.full((HEADS, 6), np.nan, np.float32)
    without[1] = (0, 0, 0, 0.75, 0.25, 0)
    made = attention_reading(AttentionRequest(), LAYERS, COUNT)
    layers = [replace(made.layers[7], shares_without_sinks=Array.of(without, "<f4"))]
    known = known_of(AttentionRequest(), layers=tuple(layers))
    mean = known.lines[7].without_of(None)
    assert mean is not None
    assert np.allclose(mean, without[1])
    of_head = known.lines[7].without_of(0)
    assert of_head is not None
    assert np.isnan(of_head).all()


def test_layers_show_as_they_come() -> None:
    known = KnownAttention(LAYERS, LAST)
    assert [line.is_read for line in known.lines] == [False] * LAYERS
    request = AttentionRequest()
    known.take(request, attention_part(request, range(4), LAYERS, COUNT))
    assert [line.is_read for line in known.lines] == [True] * 4 + [False] * 6
    assert known.lines[2].raw is not None
    assert known.lines[2].without is None  # sinks are not known yet
    assert (known.sinks, known.has_shares) == (None, False)
    known.take(request, attention_reading(request, LAYERS, COUNT))
    assert known.lines[2].without is not None
    assert (known.sinks, known.has_shares) == ((0, SINK), True)


def test_a_reason_is_shown_never_zeros() -> None:
    known = known_of(AttentionRequest())
    line = known.lines[RECURRENT]
    assert line.reason == "no attention here (recurrent)"
    assert line.raw is None
    assert known.has_map("weight", None, RECURRENT)  # there is nothing to ask for
    shares = known.picture_shares()
    assert shares is not None
    assert np.isnan(shares[0][RECURRENT]).all()
    assert not np.isnan(shares[0][RECURRENT + 1]).any()


def test_what_failed_its_proof_is_not_shown() -> None:
    made = attention_reading(AttentionRequest(), LAYERS, COUNT)
    failed = ReadingProof("p V", 0.5, 1e-5, passed=False)
    layers = (replace(made.layers[2], proof=failed),)
    known = known_of(AttentionRequest(), layers=layers)
    assert "proof failed" in known.lines[2].reason
    assert known.lines[2].raw is None
    assert known.map("weight", None, [BEFORE]) is None


def test_readings_that_do_not_fit_each_other_are_refused() -> None:
    request = AttentionRequest()
    made = attention_reading(request, LAYERS, COUNT)
    fewer = attention_reading(request, LAYERS, COUNT, positions_of(16), sinks=(), best=())
    groups = ("a", "picture")
    other = [
        replace(
            each,
            shares=each.shares and Array.of(np.array(each.shares.values)[:, :3], "<f4"),
            shares_without_sinks=each.shares
            and Array.of(np.array(each.shares.values)[:, :2], "<f4"),
        )
        for each in made.layers
    ]
    one_head = LayerAttention(5, heads=1, shares=Array.of(np.zeros((1, 7)), "<f4"))
    for odd, what in (
        (fewer, "tokens of the picture"),
        (replace(made, groups=groups, layers=tuple(other)), "groups of tokens"),
        (replace(made, groups=groups, layers=()), "groups of tokens"),
        (replace(made, layers=(one_head,)), "heads"),
        (replace(made, layers=(made.layers[5], one_head)), "heads"),
    ):
        known = known_of(request)
        before = known.lines
        with pytest.raises(BadInput, match=f"do not fit: they have other {what}"):
            known.take(request, odd)
        assert known.lines == before
        assert known.groups == GROUPS
        assert known.picture_shares() is not None
        assert known.map("weight", None, positions_of(SIDE * SIDE)) is not None
    alone = KnownAttention(LAYERS, LAST)
    alone.take(request, replace(made, groups=groups, layers=tuple(other)))
    assert alone.groups == groups
    with pytest.raises(BadInput, match="groups"):
        alone.take(request, attention_part(request, range(4), LAYERS, COUNT))
    both = KnownAttention(LAYERS, LAST)
    relative = AttentionRequest(way="relative")
    with pytest.raises(BadInput, match="groups"):  # the others are taken all the same
        odd = replace(made, groups=groups, layers=tuple(other))
        both.take_all((made, odd, attention_reading(relative, LAYERS, COUNT)))
    assert both.has_answer(relative)


def test_a_layer_that_is_not_proved_again_shows_nothing() -> None:
    known = known_of(AttentionRequest())
    request = AttentionRequest(way="contribution")
    unread = (LayerAttention(5, reason="its proof failed"),)
    known.take(request, attention_reading(request, LAYERS, COUNT, layers=unread))
    line = known.lines[5]
    assert (line.reason, line.raw, line.without) == ("its proof failed", None, None)
    found = known.map("weight", None, positions_of(SIDE * SIDE))
    assert found is not None
    assert 5 not in found.rows
    shares = known.picture_shares()
    assert shares is not None
    assert np.isnan(shares[0][5]).all()


def test_cross_attention_is_a_line_of_its_own() -> None:
    states = Array.of(np.full(50, 0.02), "<f4")
    crossed = LayerAttention(4, keys="states", heads=HEADS, map=states)
    made = attention_reading(AttentionRequest(), LAYERS, COUNT)
    known = known_of(AttentionRequest(), layers=(*made.layers, crossed))
    assert len(known.lines) == LAYERS + 1
    assert [(line.layer, line.keys) for line in known.lines[4:6]] == [(4, "tokens"), (4, "states")]
    assert known.lines[5].states == 50


def test_maps_of_heads_and_their_mean() -> None:
    one = AttentionRequest(layers=(7,), heads="all")
    known = known_of(AttentionRequest(), one)
    positions = range(BEFORE, BEFORE + SIDE * SIDE)
    assert known.has_map("weight", 2, 7)
    assert not known.has_map("weight", 2, 8)
    assert not known.has_map("contribution", None, 7)
    of_head = known.map("weight", 2, positions)
    assert of_head is not None
    assert of_head.rows == (7,)
    assert np.allclose(of_head.row(7), map_of(7, LAYERS, 2, SIDE), atol=1e-6)
    mean = known.map("weight", None, positions)
    assert mean is not None
    assert mean.rows == tuple(layer for layer in range(LAYERS) if layer != RECURRENT)
    heads = [map_of(8, LAYERS, head, SIDE) for head in range(HEADS)]
    assert np.allclose(mean.row(8), np.mean(heads, axis=0), atol=1e-6)


def test_patches_out_of_a_windows_reach_have_no_number() -> None:
    found = known_of(AttentionRequest()).map("weight", None, range(BEFORE, BEFORE + SIDE * SIDE))
    assert found is not None
    row = found.row(WINDOWED)
    assert np.isnan(row[: REACH - BEFORE]).all()
    assert not np.isnan(row[REACH - BEFORE :]).any()


def test_other_positions_are_not_mixed_in() -> None:
    known = KnownAttention(LAYERS, 1)
    known.take_all([attention_reading(AttentionRequest(), LAYERS, COUNT)])
    assert not known.has_shares


def test_a_damaged_array_is_an_error() -> None:
    made = attention_reading(AttentionRequest(), LAYERS, COUNT)
    damaged = Array("<f4", (HEADS, 7), "A" * 4, True)
    broken = replace(made.layers[0], shares=damaged)
    with pytest.raises(BadInput):
        known_of(AttentionRequest(), layers=(broken,))


def test_a_reading_of_another_run_does_not_fit() -> None:
    made, run = attention_reading(AttentionRequest(), LAYERS, COUNT), finished_run()
    assert made.misfit(run) is None
    few = replace(run, tokens=run.tokens[:LAST])
    assert made.misfit(few) == f"a position beyond {LAST} tokens"
    shorter = replace(run, layers=9)
    assert made.misfit(shorter) == "layers beyond 9"
    assert replace(made, layers=()).misfit(shorter) == "heads in layers beyond 9"
    words = replace(run, tokens=(*run.tokens[:BEFORE], *reversed(run.tokens[BEFORE:])))
    assert made.misfit(words) == "its cells are not the tokens of the picture"


# ---------------------------------------------------------------------- what is looked at


def test_what_is_missing_is_asked_for() -> None:
    gaze = Gaze(RunView.of(finished_run()), 5, LAST)
    gaze.place_patches(geometry((336, 336)))
    assert gaze.missing() == AttentionRequest()
    gaze.take(attention_reading(AttentionRequest(), LAYERS, COUNT))
    assert gaze.missing() is None
    gaze.step_head(1)
    assert gaze.missing() == AttentionRequest(layers=(5,), heads="all")
    gaze.next_way(1)
    assert gaze.missing() == AttentionRequest(layers=(5,), heads="all", way="contribution")
    gaze.step_head(-1)
    assert gaze.missing() == AttentionRequest(way="contribution")
    gaze.look_from(LAST - 1)
    assert gaze.missing() == AttentionRequest(position=LAST - 1)


def test_what_was_answered_without_a_map_is_not_asked_for_again() -> None:
    request = AttentionRequest(way="relative")
    gaze = gaze_at()
    gaze.next_way(-1)
    assert gaze.missing() == request
    gaze.take(attention_reading(request, LAYERS, COUNT, layers=()))
    assert gaze.missing() is None


def test_heads_are_stepped_from_the_mean_on() -> None:
    gaze = gaze_at()
    seen = []
    for _ in range(HEADS + 1):
        gaze.step_head(1)
        seen.append(gaze.head)
    assert seen == [*range(HEADS), None]
    assert gaze.head_name == f"mean of {HEADS} heads"
    assert gaze.go_to_best_head(1)
    assert (gaze.layer, gaze.head) == (7, 2)
    gaze.go_to_best_head(1)
    assert (gaze.layer, gaze.head) == (9, 3)
    gaze.go_to_best_head(1)
    assert (gaze.layer, gaze.head) == (9, 3)


def test_the_scale_is_that_of_all_layers_and_leaves_sinks_out() -> None:
    gaze = gaze_at()
    everywhere = gaze.scale
    values = np.mean([map_of(9, LAYERS, head, SIDE) for head in range(HEADS)], axis=0)
    values[SINK - BEFORE] = 0
    assert everywhere.high < 0.3  # that of the sink
    gaze.go_to_line(9)
    assert gaze.scale == everywhere
    gaze.per_layer = True
    assert np.isclose(gaze.scale.high, values.max())
    gaze.go_to_line(0)
    assert gaze.scale.high < everywhere.high
    steps = gaze.steps
    assert steps is not None
    assert steps[SINK - BEFORE] == 7
    gaze.go_to_line(RECURRENT)
    assert gaze.steps is None
    assert gaze.no_map() == f"layer {RECURRENT}: no attention here (recurrent)"
    gaze.go_to_line(WINDOWED)
    assert gaze.reach() == f"layer {WINDOWED} sees from token {REACH} on"
    steps = gaze.steps
    assert steps is not None
    assert (steps[: REACH - BEFORE] == NO_STEP).all()
    gaze.go_to_patch(0)
    assert "out of this layer's reach" in gaze.at_patch()


def test_why_a_layer_has_no_map_is_told_of_each_way() -> None:
    request = AttentionRequest(way="contribution")
    made = attention_reading(request, LAYERS, COUNT)
    why = "what arrives from its tokens does not add up"
    layers = [
        replace(each, map=None, map_reason=why) if each.layer == 5 else each for each in made.layers
    ]
    gaze = gaze_at(
        5, replace(made, layers=tuple(layers)), attention_reading(AttentionRequest(), LAYERS, COUNT)
    )
    assert gaze.steps is not None
    assert gaze.no_map() == ""
    gaze.next_way(1)
    assert gaze.steps is None
    assert gaze.map is not None  # of other layers
    assert gaze.no_map() == f"layer 5: no map: {why}"
    gaze.step_head(1)
    assert gaze.missing() is None  # its heads have none either
    gaze.go_to_line(6)
    assert gaze.missing() == AttentionRequest(layers=(6,), heads="all", way="contribution")


def test_a_patch_without_weight_is_in_reach() -> None:
    request = AttentionRequest(way="relative")
    made = attention_reading(request, LAYERS, COUNT)
    layers = []
    for each in made.layers:
        assert each.map is not None or each.layer == RECURRENT
        if each.map is not None:
            values = np.array(each.map.values)
            values[REACH - BEFORE + 3] = np.nan  # 0 / 0
            each = replace(each, map=Array.of(values, "<f4"))
        layers.append(each)
    gaze = gaze_at(WINDOWED, replace(made, layers=tuple(layers)))
    gaze.next_way(-1)
    gaze.go_to_patch(REACH - BEFORE + 3)
    assert gaze.at_patch().endswith(": no weight here, nor with the neutral prompt")
    gaze.go_to_patch(REACH - BEFORE - 1)
    assert gaze.at_patch().endswith(": out of this layer's reach")


def test_sinks_are_listed_with_their_positions_or_none() -> None:
    assert gaze_at().sinks() == f"sinks: 0, {SINK}"
    none = attention_reading(AttentionRequest(), LAYERS, COUNT, sinks=())
    assert gaze_at(5, none).sinks() == "no sinks"
    many = attention_reading(AttentionRequest(), LAYERS, COUNT, sinks=tuple(range(20)))
    assert gaze_at(5, many).sinks() == "sinks: 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"
    assert Gaze(RunView.of(finished_run()), 0, LAST).sinks() == ""


def test_only_what_has_no_pass_of_its_own_needs_the_streams_of_other_positions() -> None:
    run = RunView.of(finished_run())

    class Streams(Request, frozen=True):
        position: int = -1

    class Pass(Streams, frozen=True):
        own_pass = True

    assert asks_for_positions(run, Streams(3))
    assert not asks_for_positions(run, Streams())
    assert not asks_for_positions(run, Pass(3))
    assert not asks_for_positions(run, AttentionRequest(position=3))
    assert not asks_for_positions(run, KnockoutRequest(position=3))


# ---------------------------------------------------------------------- all heads


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("room", [(12, 1), (12, 6), (26, 28), (47, 48), (130, 28)])
@pytest.mark.parametrize("rows", [81, 80])
@pytest.mark.parametrize("here", [(0, 0), (17, 20), (18, 20), (79, 63), (-1, 63)])
def test_the_matrix_shows_the_head_under_the_cursor(
    here: tuple[int, int], rows: int, room: tuple[int, int], halves: bool
) -> None:
    here = (here[0] % rows, here[1])
    window = window_of((rows, 64), here, room, halves=halves)
    assert window.top <= here[0] < window.top + window.down
    assert window.left <= here[1] < window.left + window.across
    assert window.width <= room[0]
    assert window.down <= room[1] * (2 if halves else 1)
    assert here[0] - window.lines(rows)[-1] < window.rows_a_line
    y = (here[0] - window.top) // window.rows_a_line
    found = window.place_at((here[1] - window.left) * window.pitch, y, rows)
    assert found == (here[0] - (here[0] - window.top) % window.rows_a_line, here[1])
    assert window.place_at(window.width, y, rows) is None
    assert window.place_at(0, -1, rows) is None


def test_the_last_row_of_an_odd_number_is_drawn_in_half_a_line() -> None:
    steps = np.zeros((7, 3), np.uint8)
    steps[6] = 7
    window = window_of((7, 3), (6, 0), (9, 2), halves=True)
    assert [*window.lines(7)] == [4, 6]
    drawn = block_lines(steps, window, None, FROM_LOW, (0, 0, 0), indexed=False)
    (last,) = {segment.style for segment in drawn[1]}
    assert last is not None and last.color is not None and last.bgcolor is not None
    assert last.color.triplet == FROM_LOW.colours[7]
    assert last.bgcolor.triplet == (0, 0, 0)


def test_a_small_matrix_takes_the_room_that_there_is() -> None:
    steps = np.arange(8, dtype=np.uint8).reshape(4, 2)
    window = window_of((4, 2), (1, 0), (30, 4), halves=True)
    assert [*window.lines(4)] == [0, 1, 2, 3]
    drawn = block_lines(steps, window, (1, 0), FROM_LOW, (0, 0, 0), indexed=False)
    assert [sum(segment.cell_length for segment in line) for line in drawn] == [12] * 4
    assert all(segment.text.isspace() for line in drawn for segment in line)
    backs = [segment.style.bgcolor.triplet for line in drawn for segment in line]  # type: ignore[union-attr]
    colours = [*FROM_LOW.colours]
    colours[2] = FROM_LOW.frame
    assert backs == colours
    assert window.place_at(11, 3, 4) == (3, 1)
    assert window_of((4, 2), (1, 0), (30, 3), halves=True).rows_a_line == 2


def test_the_scale_of_the_matrix_ends_at_its_highest_share() -> None:
    shares = np.array([[0.0, 0.21], [np.nan, 0.4]], np.float32)
    steps, high = steps_of(shares)
    assert np.isclose(high, 0.4)
    assert steps.tolist() == [[0, 4], [NO_STEP, 7]]


# ---------------------------------------------------------------------- knockout


def effects_of(request: KnockoutRequest = KnockoutRequest()) -> Effects:  # noqa: B008
    return knocked_of(knockout_reading(request, LAYERS, COUNT)).effects


def knocked_of(*readings: Reading) -> KnownKnockout:
    return KnownKnockout(LAYERS, LAST, readings)


def test_the_narrowest_window_around_a_layer_counts() -> None:
    effects = effects_of()
    pair = ("picture", "last")
    at = effects.at(pair, 5)
    assert at is not None
    assert (at.first, at.last) == (4, 5)
    few = Effects(LAYERS, CLEAN)
    few.add(Effect(pair, 2, 8, -2.0))
    few.add(Effect(pair, 4, 6, -3.0))
    few.add(Effect(pair, 5, 7, -4.0))
    few.add(Effect(pair, 4, 6, -5.0))
    found = [few.at(pair, layer) for layer in (2, 4, 5, 6, 7, 8)]
    assert [each and each.log_probability for each in found] == [-2, -5, -5, -4, -4, -2]
    assert few.at(("first", "all"), 5) is None


def test_all_layers_at_once_are_no_layers_window() -> None:
    pair = ("picture", "last")
    few = Effects(LAYERS, CLEAN)
    few.add(Effect(pair, 0, 9, -7.5, "y", 5, 0.25))
    assert few.whole(pair) is not None
    assert few.at(pair, 5) is None
    assert few.row(pair, 30) == [(None, 3)] * LAYERS
    assert few.short(pair, 5, ascii_only=False) == ""
    assert few.sentence(5, ascii_only=True).startswith("without picture -> last in all layers: ")
    few.add(Effect(pair, 4, 5, -0.6))
    assert "in layers 4-5: " in few.sentence(5, ascii_only=True)


@pytest.mark.parametrize(("window", "is_only"), [(0, False), (5, False), (10, True), (64, True)])
def test_a_window_of_all_layers_is_that_of_each(window: int, is_only: bool) -> None:
    request = KnockoutRequest(window=window)
    made = knockout_reading(request, LAYERS, COUNT)
    whole = tuple(cell for cell in made.cells if cell.layers == (0, LAYERS - 1))
    for known in (knocked_of(replace(made, cells=whole)), KnownKnockout(LAYERS, LAST)):
        if not known.effects:
            known.take_part(request, replace(knockout_part(request, LAYERS, COUNT), cells=whole))
        assert (known.effects.at(("picture", "last"), 5) is not None) is is_only


def test_effects_are_changes_of_the_answers_log_probability() -> None:
    effects = effects_of()
    cells = [
        cell
        for cell in knocked_cells(KnockoutRequest(), LAYERS)
        if cell.source == "picture" and cell.layers != (0, LAYERS - 1)
    ]
    most = max(-0.5 - (cell.log_probability or 0) for cell in cells)
    assert np.isclose(effects.most, most)
    few = Effects(LAYERS, CLEAN)
    few.add(Effect(("picture", "last"), 2, 3, -0.501))
    assert few.step(few.at(("picture", "last"), 2)) == 0  # next to nothing is lost
    few.add(Effect(("picture", "last"), 2, 3, -1.0))
    assert few.most == 0.5
    few.add(Effect(("picture", "last"), 0, LAYERS - 1, -7.5))
    assert few.most == 7  # the scale is that of windows and of all layers at once
    assert few.step(few.whole(("picture", "last"))) == 7
    assert few.step(few.at(("picture", "last"), 2)) == 0
    few.clean = Clean(17, "x", -1.5)
    assert few.most == 6
    steps = [effects.step(effects.at(("picture", "last"), layer)) for layer in range(LAYERS)]
    assert max(steps) == steps[5] == 7
    assert steps[0] == 0
    assert effects.is_rise(effects.at(("first", "all"), 0))
    assert effects.step(effects.at(("first", "all"), 9)) == NO_STEP
    assert effects.short(("first", "all"), 9, ascii_only=False) == "these layers have no attention"
    assert effects.short(("picture", "last"), 5, ascii_only=False).endswith(" red 61.0%")
    assert effects.short(("picture", "last"), 0, ascii_only=False).endswith(" same 61.0%")


def test_the_sentence_names_what_the_answer_becomes() -> None:
    effects = effects_of()
    sentence = effects.sentence(5, ascii_only=True)
    assert sentence.startswith("without picture -> ")
    assert "in layers 4-5: cylinder -0.50 -> -3." in sentence
    assert sentence.endswith("now: red 61.0%; in all layers now: red 61.0%")
    assert ", still the answer; in all" in effects.sentence(0, ascii_only=False)
    assert Effects(LAYERS).sentence(0, ascii_only=False) == ""


@pytest.mark.parametrize("width", [1, 5, 10, 24, 31])
def test_every_layer_has_its_cells(width: int) -> None:
    effects = effects_of()
    row = effects.row(("picture", "last"), width)
    assert sum(cells for _, cells in row) <= width
    assert len(row) == min(LAYERS, width)
    if width < LAYERS:  # the layer at which most was lost is not left out
        assert min(effects.change(effect) or 0 for effect, _ in row) == -effects.most


def test_a_knockout_that_failed_its_proof_is_not_shown() -> None:
    sound = knockout_reading(KnockoutRequest(), LAYERS, COUNT)
    patch = patch_request(-1, 27)
    failed = replace(knockout_reading(patch, LAYERS, COUNT), proof=UNPROVED)
    known = knocked_of(sound)
    assert known.caption == "proof 1.0e-6; the last window has no attention"
    known.take_part(patch, knockout_part(patch, LAYERS, COUNT))
    assert ("token 27", "last") in known.effects.pairs
    assert known.caption.startswith("not proved yet; ")
    known.take(failed)
    assert ("token 27", "last") not in known.effects.pairs
    assert {*known.effects.pairs} == {*PANEL}
    assert known.failed == "the proof of knockout failed (0.5): its effects are not shown"
    assert known.caption == "proof 1.0e-6; the last window has no attention"
    assert known.answer(patch) is None  # it may be asked for again
    known.take(replace(failed, proof=sound.proof))
    assert known.failed == ""
    assert ("token 27", "last") in known.effects.pairs
    assert not knocked_of(failed).effects
    assert not knocked_of(replace(failed, proof=sound.proof), failed).failed


def test_pairs_are_named_in_the_room_that_there_is() -> None:
    pairs = [("picture", "question"), ("token 27", "last")]
    assert pair_names(pairs, 19, ascii_only=False) == ["picture → question", "token 27 → last"]
    assert pair_names(pairs, 12, ascii_only=True) == ["pict -> ques", "27 -> last"]
    for name in pair_names([(HOSTILE, "\x1b[31m")], 12, ascii_only=False):
        assert name.isprintable()
