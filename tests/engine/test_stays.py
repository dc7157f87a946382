"""The first row from which something holds to the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.records import LayerReading, Token
from engine.stays import first_that_stays, formation_row


@pytest.mark.parametrize(
    ("holds", "first"),
    [
        ([], None),
        ([False], None),
        ([True], 0),
        ([True, False, True, True], 2),
        ([True, False], None),
    ],
)
def test_by_hand(holds: list[bool], first: int | None) -> None:
    assert first_that_stays(holds) == first


@given(st.lists(st.booleans()))
def test_by_its_definition(holds: list[bool]) -> None:
    wanted = [index for index in range(len(holds)) if all(holds[index:])]
    assert first_that_stays(holds) == min(wanted, default=None)


def row(layer: int, *ids: int) -> LayerReading:
    return LayerReading(layer, tuple(Token(each, "", 0.5, 1.0) for each in ids), 0.0, 0.0)


def test_the_formation_row_is_where_the_answer_stays_first() -> None:
    assert formation_row([]) is None
    assert formation_row([row(0, 5, 7), row(1, 7, 5), row(2, 5), row(3, 5)]) == 2
    assert formation_row([row(0, 5), row(1), row(2, 5)]) == 2
    assert formation_row([row(0, 5), row(1)]) is None  # a last row that is not a number
