"""From the numbers of a batch to the rows of its items, on numbers that are made by hand."""

from __future__ import annotations

import math

import torch

from engine.lens.batched import ItemNumbers, RowNumbers
from engine.records import Proof, Token
from engine.sweeps.records import Standing, SweepRow
from engine.sweeps.rows import rows_of

NAN, INF = math.nan, math.inf
ITEMS, ROWS, TOP = 2, 3, 2


def numbers() -> ItemNumbers:
    """Distinct numbers; the second item's middle row holds a NaN."""
    shape = (ITEMS, ROWS)

    def column(start: int, *more: int) -> torch.Tensor:
        count = math.prod((*shape, *more))
        return (torch.arange(count) + start).view(*shape, *more)

    rows = RowNumbers(
        top_ids=column(0, TOP).int(),
        top_probabilities=column(0, TOP) / 16,
        top_logits=column(40, TOP).float(),
        entropy=column(60).float(),
        kl_to_last=column(70).float(),
        truth_probability=column(1) / 8,
        truth_rank=column(80).int(),
        final_probability=column(2) / 8,
        final_rank=column(90).int(),
    )
    for each in rows:
        if each.is_floating_point():
            each[1, 1] = NAN
    rows.top_logits[0, 0, 1] = -INF
    rows.kl_to_last[0, 0] = INF
    rows.final_probability[1, 2] = 1.0000001
    notes = (("a", None, "b"), (None, None, "c"))
    return ItemNumbers(rows, None, column(100).float(), notes, (Proof(0.0, 1.0, True, "tail"),) * 2)


def test_every_number_is_in_its_place() -> None:
    made = numbers()
    first, second = rows_of(made.rows, made, [True, False], "t{}".format)
    assert [row.layer for row in first] == [row.layer for row in second] == [0, 1, 2]
    assert first[0] == SweepRow(
        layer=0,
        top=(Token(0, "t0", 0.0, 40.0), Token(1, "t1", 1 / 16, None)),
        entropy=60.0,
        rms=100.0,
        kl_to_last=None,
        truth=Standing(1 / 8, 80),
        final=Standing(2 / 8, 90),
        approximate="a",
    )
    assert second[2] == SweepRow(
        layer=2,
        top=(Token(10, "t10", 10 / 16, 50.0), Token(11, "t11", 11 / 16, 51.0)),
        entropy=65.0,
        rms=105.0,
        kl_to_last=75.0,
        truth=None,
        final=Standing(1.0, 95),
        approximate="c",
    )


def test_a_row_whose_logits_are_no_numbers_has_no_tokens() -> None:
    made = numbers()
    row = rows_of(made.rows, made, [True, True], str)[1][1]
    assert (row.top, row.entropy, row.kl_to_last, row.truth, row.final) == (
        (),
        None,
        None,
        None,
        None,
    )
    assert row.rms == 104.0


def test_rows_without_the_norm_are_fewer() -> None:
    made = numbers()
    fewer = RowNumbers(*(column[:, :-1] for column in made.rows))
    first, second = rows_of(fewer, made, [True, True], str)
    assert [row.rms for row in first] == [100.0, 101.0]
    assert [row.rms for row in second] == [103.0, 104.0]
    assert [row.approximate for row in first + second] == ["a", None, None, None]
