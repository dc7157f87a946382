"""What else was read of one item of a sweep, as sections like those of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from engine.sweeps.decoded import answers_of, is_right
from engine.sweeps.depth.arrays import depth_readings
from engine.sweeps.depth.section import value_text
from engine.sweeps.reads import depth_read
from engine.sweeps.records import DecodedAnswers, DepthReading, DepthSet, SweepItem
from engine.sweeps.section import Section
from engine.sweeps.words import shortened
from engine.tables import Cell, Column, Table, figures_table


def was_read_further(item: SweepItem) -> bool:
    """Whether an item has sections."""
    return answers_of(item) is not None or bool(depth_readings(item))


def item_sections(item: SweepItem, most_rows: int) -> tuple[Section, ...]:
    """Its answers in full and what was read of it by depth; tables have columns for at most
    `most_rows` rows. None if neither was read."""
    answers = answers_of(item)
    found = [] if answers is None else [_answered(item, answers)]
    return (*found, *_by_depth(depth_readings(item), most_rows))


def _answered(item: SweepItem, answers: DecodedAnswers) -> Section:
    columns = (
        Column("setting"),
        Column("answer"),
        Column("says"),
        Column("right"),
        Column("ended"),
        Column("tokens", "count"),
    )
    rows: list[tuple[Cell, ...]] = []
    for of in answers.settings:
        for answer in of.answers:
            right = "" if item.truth is None else _word(is_right(answer, item.truth))
            says = "" if answer.matched is None else shortened(answer.matched)
            text = shortened(answer.text)
            rows.append((of.setting, text, says, right, _word(answer.ended), answer.tokens))
    truth = "its truth is not known" if item.truth is None else f"it is {shortened(item.truth)}"
    given = f"; ten people answered {', '.join(map(shortened, answers.given))}"
    return Section(
        "Whole answers, with each setting of decoding",
        f"{shortened(item.prompt)} ({truth}{given if answers.given else ''})",
        (Table("", columns, tuple(rows)),),
    )


def _word(holds: bool) -> str:
    return "yes" if holds else "no"


def _by_depth(readings: Mapping[str, DepthReading], most_rows: int) -> Iterator[Section]:
    for name, reading in readings.items():
        read = depth_read(name)
        yield Section(
            read.title,
            read.words if reading.sets else "",
            tuple(_curves(each, most_rows, read.is_share) for each in reading.sets),
            notes=() if reading.reason is None else (f"not read: {shortened(reading.reason)}",),
        )


def _curves(of: DepthSet, most_rows: int, is_share: bool) -> Table:
    count = max((len(curve.values) for curve in of.curves), default=0)
    places = sorted({round(at) for at in np.linspace(0, count - 1, min(count, most_rows))})
    known = {curve.name for curve in of.curves}
    rows = [
        (
            curve.name,
            *(value_text(curve.values[at], is_share) for at in places),
            value_text(of.numbers.get(curve.name), False),
        )
        for curve in of.curves
    ]
    rows += [
        (name, *("" for _ in places), value_text(value, False))
        for name, value in of.numbers.items()
        if name not in known
    ]
    tokens = " minus ".join(repr(token.text) for token in of.tokens)
    heads = (of.of, *(f"{of.by} {at}" for at in places), "in all")
    return replace(figures_table(heads, rows), title=tokens and f"of {tokens}")
