"""Exports every number of a report, and the items themselves, as CSV or Parquet (pyarrow)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from msgspec import UNSET

from engine.errors import BadInput
from engine.sweeps.by_setting import BySetting
from engine.sweeps.comparing import SweepComparison
from engine.sweeps.decoded import answers_of, is_right
from engine.sweeps.depth.arrays import depth_readings
from engine.sweeps.depth.means import DepthMeans
from engine.sweeps.findings import Findings
from engine.sweeps.instead import InsteadOfPicture
from engine.sweeps.looking import NOWHERE, Looking
from engine.sweeps.matching import soft_score
from engine.sweeps.records import AttentionShares, SweepItem, SweepRow
from engine.sweeps.statistics import Curve, Interval
from engine.system.files import replacing
from engine.tables import harmless

Line = dict[str, Any]

NUMBERS = (
    "finding", "group", "measure", "normed", "row", "value", "low", "high", "n", "detail", "layer",
)  # fmt: skip
ROWS_AT_ONCE = 20_000

_TOP = tuple(f"{name}_{rank}" for rank in range(1, 6) for name in ("id", "text", "probability"))
ITEMS = (
    "item", "picture", "sha256", "prompt", "group", "truth", "normed", "row", "entropy", "rms",
    "kl_to_last", "truth_probability", "truth_rank", "final_probability", "final_rank", *_TOP,
)  # fmt: skip
REPLACED = ("against", *ITEMS)
"""Columns of the items with something else instead of their pictures."""
ATTENTION = (
    "item", "against", "layer", "keys", "tokens", "share", "on_sinks", "without_sinks", "reason",
)  # fmt: skip
ANSWERS = (
    "item", "against", "picture", "prompt", "group", "truth", "setting", "draw", "text",
    "token_count", "ended", "matched", "right", "soft",
)  # fmt: skip
DEPTH = ("item", "against", "group", "truth", "of", "name", "row", "layer", "value", "reason")
TEXTS = (
    *NUMBERS[:3], "detail", *REPLACED[:7], "keys", "tokens", "reason", "setting", "text", "matched",
    "of", "name",
)  # fmt: skip


def numbers(findings: Findings, comparison: SweepComparison | None = None) -> Iterator[Line]:
    """Every number of the findings, as one long table."""
    for each in findings.curves:
        for row, interval in enumerate(_intervals(each.curve)):
            yield _line("curve", each.group, each.measure, interval, each.normed, row)
    for formed in findings.formations:
        yield _line("formation", formed.group, "median", formed.layer)
        yield _line("formation", formed.group, "mean", formed.mean)
        yield _line("formation", formed.group, f"top {findings.top_k} from", formed.entry)
        for row, share in enumerate(formed.distribution.tolist()):
            interval = Interval(share, math.nan, math.nan, formed.mean.n)
            yield _line("formation", formed.group, "share", interval, row=row)
    for order in findings.orders:
        for name, value in (("p", order.test.p), ("p (Holm)", order.corrected)):
            interval = Interval(value, math.nan, math.nan, order.test.difference.n)
            yield _line("order", order.first, name, interval, detail=order.second)
        yield _line("order", order.first, "later", order.test.difference, detail=order.second)
    for peak in findings.peaks:
        where = Interval(peak.row, peak.low, peak.high, peak.probability.n)
        yield _line("peak", peak.group, "row", where, peak.normed)
        yield _line("peak", peak.group, "probability", peak.probability, peak.normed, peak.row)
    for drop in findings.drops:
        yield _line("last step", drop.group, drop.of, drop.normed, True)
        yield _line("last step", drop.group, drop.of, drop.unnormed, False)
        share = f"defined in {drop.defined:.3f} of the samples"
        yield _line("norm's share", drop.group, drop.of, drop.share, detail=share)
    for confusion in findings.confusions:
        for row, counts in enumerate(confusion.counts.tolist()):
            for truth, said in zip(confusion.answers, counts, strict=True):
                for name, count in zip((*confusion.answers, "other"), said, strict=True):
                    if not count:
                        continue
                    interval = Interval(count, math.nan, math.nan, sum(said))
                    yield _line("confusion", confusion.group, truth, interval, row=row, detail=name)
    for lost in findings.lost:
        yield _line("lost", lost.group, "share", lost.share, detail=" ".join(lost.items))
    for ambiguity in findings.ambiguities:
        tokens = "; ".join(f"{text!r}: {', '.join(who)}" for text, who in ambiguity.tokens.items())
        yield _line("ambiguous", ambiguity.group, "share", ambiguity.share, detail=tokens)
    for script, curve in findings.scripts.items():
        for row, interval in enumerate(_intervals(curve)):
            yield _line("script", "", script, interval, True, row)
    for instead in findings.instead:
        yield from _instead_lines(instead)
    looks = findings.looks
    for looking in () if looks is None else looks.of:
        yield from _looking_lines(looking, "attention")
        yield _line("attention", looking.which, "sinks", looking.sinks)
        worst = Interval(looking.worst, math.nan, math.nan, looking.sinks.n)
        yield _line("attention", looking.which, "worst proof", worst)
    for looking in () if looks is None or looks.on_states is None else looks.on_states.of:
        yield from _looking_lines(looking, "attention on states")
    for setting in findings.by_setting:
        yield from _setting_lines(setting)
    for depth in findings.by_depth:
        for means in depth.means:
            yield from _depth_lines(depth.method, means)
    for apart in comparison.differences if comparison is not None else ():
        for which in ("one", "other", "difference"):
            interval = getattr(apart, which)
            yield _line("comparison", apart.group, apart.measure, interval, detail=which)


def _depth_lines(method: str, each: DepthMeans) -> Iterator[Line]:
    detail = f"{each.of} ({each.against})" if each.against else each.of
    for name, interval in each.numbers.items():
        yield _line(method, each.group, name, interval, detail=detail)
    for name, curve in each.curves.items():
        for place, interval in enumerate(_intervals(curve)):
            row, layer = (place, None) if each.by == "row" else (None, place)
            yield _line(method, each.group, name, interval, row=row, detail=detail, layer=layer)


def _setting_lines(each: BySetting) -> Iterator[Line]:
    finding = "answers instead of the picture" if each.against else "answers"
    detail = f"{each.setting} ({each.against})" if each.against else each.setting
    found = {
        "right": each.right,
        "right, minus greedy": each.apart,
        "matched": each.matched,
        "first token right": each.first_token,
        "by ten people": each.soft,
        "ended": each.ended,
        "tokens": each.tokens,
    }
    if each.yes_or_no is not None:
        found |= {
            f"yes or no: {field.name.replace('_', ' ')}": getattr(each.yes_or_no, field.name)
            for field in fields(each.yes_or_no)
        }
    for measure, interval in found.items():
        yield _line(finding, each.group, measure, interval, detail=detail)


def _instead_lines(each: InsteadOfPicture) -> Iterator[Line]:
    single = {
        "same answer": each.same,
        "right with the picture": each.right,
        "right without": each.right_without,
        "right, lost": each.right_lost,
    }
    for name, interval in single.items():
        yield _line("instead of the picture", each.group, name, interval, detail=each.against)
    curves = {
        "truth probability with the picture": each.truth,
        "truth probability without": each.truth_without,
        "truth probability, lost": each.truth_lost,
    }
    for name, curve in curves.items():
        for row, interval in enumerate(_intervals(curve)):
            yield _line(
                "instead of the picture", each.group, name, interval, True, row, each.against
            )


def _looking_lines(each: Looking, what: str) -> Iterator[Line]:
    sides: tuple[tuple[str, Mapping[str, Curve]], ...] = (
        (what, {**each.raw, **_named(each.groups)}),
        (f"{what} without sinks", {**each.without_sinks, **_named(each.groups_without_sinks)}),
    )
    for finding, curves in sides:
        for name, curve in curves.items():
            for layer, interval in enumerate(_intervals(curve)):
                yield _line(finding, each.which, name, interval, layer=layer)


def _named(groups: Mapping[str, Curve]) -> dict[str, Curve]:
    """Groups of tokens, so that none has the name of a kind."""
    return {f"group {name}": curve for name, curve in groups.items()}


def _intervals(curve: Curve) -> Iterator[Interval]:
    for value, low, high, n in zip(*(part.tolist() for part in curve), strict=True):
        yield Interval(value, low, high, n)


def item_rows(items: Iterable[SweepItem]) -> Iterator[Line]:
    """Every row of every item with its picture, as one table."""
    return _rows_of(item for item in items if not item.instead)


def replaced_rows(items: Iterable[SweepItem]) -> Iterator[Line]:
    """Every row of every item with something else instead of its picture, as one table."""
    for item in items:
        if item.instead:
            for line in _rows_of([item]):
                yield {"against": item.instead, **line}


def attention_rows(items: Iterable[SweepItem]) -> Iterator[Line]:
    """The attention of every layer of every line, as one table: a line per group of tokens."""
    for item in items:
        for reading in () if item.readings is UNSET else item.readings:
            if isinstance(reading, AttentionShares):
                yield from _attention_of(item, reading)


def _attention_of(item: SweepItem, reading: AttentionShares) -> Iterator[Line]:
    for layer in reading.layers:
        nothing: tuple[float | None, ...] = (None,) * (len(reading.groups) + 1)
        shares = layer.shares or nothing
        on_sinks = (*(layer.on_sinks or nothing[1:]), None)
        without = (*(layer.without_sinks or nothing[1:]), None)
        for index, group in enumerate((*reading.groups, NOWHERE)):
            yield {
                "item": item.item,
                "against": item.instead,
                "layer": layer.layer,
                "keys": layer.keys,
                "tokens": group,
                "share": shares[index],
                "on_sinks": on_sinks[index],
                "without_sinks": without[index],
                "reason": layer.reason,
            }


def depth_rows(items: Iterable[SweepItem], method: str) -> Iterator[Line]:
    """Every number that a method found by depth about every line, as one table; one line with the
    reason where there is none."""
    for item in items:
        reading = depth_readings(item).get(method)
        if reading is None:
            continue
        whose: Line = {
            "item": item.item,
            "against": item.instead,
            "group": item.group,
            "truth": item.truth,
        }
        if reading.reason is not None:
            yield whose | {"reason": reading.reason}
        for each in reading.sets:
            for name, value in each.numbers.items():
                yield whose | {"of": each.of, "name": name, "value": value}
            for curve in each.curves:
                named = whose | {"of": each.of, "name": curve.name}
                for place, value in enumerate(curve.values):
                    yield named | {each.by: place, "value": value}


def answer_rows(items: Iterable[SweepItem]) -> Iterator[Line]:
    """Every decoded answer of every line, as one table."""
    for item in items:
        answers = answers_of(item)
        for of in () if answers is None else answers.settings:
            for draw, answer in enumerate(of.answers):
                yield {
                    "item": item.item,
                    "against": item.instead,
                    "picture": item.picture.path if item.picture else None,
                    "prompt": item.prompt,
                    "group": item.group,
                    "truth": item.truth,
                    "setting": of.setting,
                    "draw": draw,
                    "text": answer.text,
                    "token_count": answer.tokens,
                    "ended": answer.ended,
                    "matched": answer.matched,
                    "right": None if item.truth is None else is_right(answer, item.truth),
                    "soft": soft_score(answer.text, answers.given)
                    if answers is not None and answers.given
                    else None,
                }


def _rows_of(items: Iterable[SweepItem]) -> Iterator[Line]:
    for item in items:
        for normed, rows in ((True, item.rows), (False, item.rows_unnormed or ())):
            for row in rows:
                yield _item_line(item, row, normed)


def write_lines(
    lines: Iterable[Line], columns: tuple[str, ...], file: Path, raw: bool = False
) -> None:
    """Write a table in the format of the file's suffix, a few lines at a time.

    In CSV, a text that a spreadsheet would take for a formula has an apostrophe in front, unless
    `raw`; numbers are left as they are.

    Raises BadInput for Parquet without pyarrow, OSError where the file cannot be written.
    """
    if file.suffix == ".parquet":
        _write_parquet(lines, columns, file)
        return
    with replacing(file) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines if raw else map(_harmless, lines))
        text.detach()  # otherwise it would close the stream


def _harmless(line: Line) -> Line:
    return {
        name: harmless(value) if isinstance(value, str) else value for name, value in line.items()
    }


def _write_parquet(lines: Iterable[Line], columns: tuple[str, ...], file: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise BadInput("Parquet needs pyarrow: pip install 'lenscope[report]'") from None
    schema = pyarrow.schema([(name, _kind(name, pyarrow)) for name in columns])
    with replacing(file) as stream, parquet.ParquetWriter(stream, schema) as writer:
        for some in _some(lines):
            writer.write_table(pyarrow.Table.from_pylist(some, schema))


def _kind(name: str, pyarrow: Any) -> Any:
    if (
        name in ("row", "n", "layer", "draw", "token_count")
        or name.endswith("_rank")
        or name.startswith("id_")
    ):
        return pyarrow.int64()
    if name in ("normed", "ended", "right"):
        return pyarrow.bool_()
    return pyarrow.string() if name in TEXTS or name.startswith("text_") else pyarrow.float64()


def _some(lines: Iterable[Line]) -> Iterator[list[Line]]:
    held: list[Line] = []
    for line in lines:
        held.append(line)
        if len(held) == ROWS_AT_ONCE:
            yield held
            held = []
    if held:
        yield held


def _line(
    finding: str,
    group: str,
    measure: str,
    interval: Interval,
    normed: bool | None = None,
    row: int | None = None,
    detail: str = "",
    layer: int | None = None,
) -> Line:
    """A number of a row, or of a layer: layer l takes row l to row l + 1."""
    value, low, high, n = (None if each != each else each for each in interval)
    return {
        "finding": finding, "group": group, "measure": measure, "normed": normed, "row": row,
        "value": value, "low": low, "high": high, "n": n, "detail": detail, "layer": layer,
    }  # fmt: skip


def _item_line(item: SweepItem, row: SweepRow, normed: bool) -> Line:
    line: Line = {
        "item": item.item,
        "picture": item.picture.path if item.picture else None,
        "sha256": item.picture.sha256 if item.picture else None,
        "prompt": item.prompt,
        "group": item.group,
        "truth": item.truth,
        "normed": normed,
        "row": row.layer,
        "entropy": row.entropy,
        "rms": row.rms,
        "kl_to_last": row.kl_to_last,
        "truth_probability": row.truth.probability if row.truth else None,
        "truth_rank": row.truth.rank if row.truth else None,
        "final_probability": row.final.probability if row.final else None,
        "final_rank": row.final.rank if row.final else None,
    }
    for rank, token in enumerate(row.top[:5], 1):
        line |= {
            f"id_{rank}": token.id,
            f"text_{rank}": token.text,
            f"probability_{rank}": token.probability,
        }
    return line
