"""How much of a deeper row becomes part of the run."""

from __future__ import annotations

from msgspec import structs

from engine.methods.deepen import MOST_KEPT, DeepenReading, DeepenRequest
from engine.records import Question, Token
from tests.tui.fakes import make_rows, make_run


def test_a_run_keeps_no_more_than_a_bounded_part_of_a_row() -> None:
    run = structs.replace(make_run("a" * 16, Question("Shape:")), rows=tuple(make_rows(10, 5)))
    tokens = tuple(Token(at, f"t{at}", 0.0, 0.0) for at in range(MOST_KEPT + 500))
    row = structs.replace(run.rows[3], top=tokens)
    merged = DeepenReading(request=DeepenRequest(3, len(tokens)), row=row).merged(run)
    assert merged.rows[3].top == tokens[:MOST_KEPT]
    assert merged.rows[2] is run.rows[2]
