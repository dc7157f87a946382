"""Makes a report of findings: sections of words and tables that do not determine how they look.

The terminal, Markdown and the explorer show the same sections.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from engine.sweeps.by_setting import BySetting
from engine.sweeps.comparing import SweepComparison
from engine.sweeps.depth.section import depth_section
from engine.sweeps.findings import (
    ALL,
    MOST_ORDERED,
    Confusion,
    Drop,
    Findings,
    Lost,
    Measure,
)
from engine.sweeps.instead import of_the_same_items
from engine.sweeps.looking import Unread
from engine.sweeps.section import Section
from engine.sweeps.statistics import Curve, Interval
from engine.sweeps.words import counted, shortened
from engine.tables import Table, figures_table

MOST_ROWS = 11
"""A table has columns for so many rows at most; the figures and the exported numbers have all."""
EVERY_ROW: Final = sys.maxsize
"""Columns for all rows, on a page that scrolls sideways."""
ROW_WIDTH = 7
BESIDE_ROWS = 46
"""The width, in terminal cells, of one such column, and of the other columns together."""
MOST_PAIRS = 8
MOST_CONFUSED = 3
_MEASURES: tuple[tuple[Measure, bool], ...] = (
    ("top-1 probability", True),
    ("top-1 probability", False),
    ("entropy", True),
    ("KL to last", True),
)
MOST_ITEMS = 5


def sections(findings: Findings, most_rows: int = MOST_ROWS) -> tuple[Section, ...]:
    """The whole report of one sweep; tables have columns for at most `most_rows` rows."""
    rows = _shown_rows(findings.results.layers, most_rows)
    return (
        _subject(findings),
        _accuracy(findings, rows),
        *_by_setting(findings),
        _formation(findings),
        _certainty(findings, rows),
        _last_step(findings),
        *_instead(findings, rows),
        *_looks(findings, rows),
        *(depth_section(each, most_rows) for each in findings.by_depth),
        _confusions(findings, rows),
        _scripts(findings, rows),
        _matching(findings),
    )


def report_title(findings: Findings) -> str:
    """The title of a written report."""
    sweep = findings.results.sweep
    return f"What {sweep.model.name} says of {sweep.data.path}"


def rows_that_fit(width: int) -> int:
    """For how many rows a table has columns on a page of so many cells."""
    return min(max((width - BESIDE_ROWS) // ROW_WIDTH, 3), MOST_ROWS)


def comparison_section(comparison: SweepComparison) -> Section:
    """The section that compares two sweeps."""
    one, other = (_name(results.sweep.model.name) for results in (comparison.one, comparison.other))
    rows = tuple(
        (
            each.group,
            each.measure,
            _value(each.measure, each.one.value),
            _value(each.measure, each.other.value),
            _apart(each.measure, each.difference),
            f"{each.one.n:,} / {each.other.n:,}",
        )
        for each in comparison.differences
    )
    both = (comparison.one, comparison.other)
    kinds = [f"{each.sweep.data.kind} {_name(each.sweep.data.path)}" for each in both]
    return Section(
        "Two sweeps compared",
        f"A is {one} on {kinds[0]}, B is {other} on {kinds[1]}; "
        f"{_shared(comparison.shared_pictures)} "
        "* marks a difference whose interval excludes 0.",
        (figures_table(("group", "measure", "A", "B", "A - B", "n"), rows, names=2),),
    )


def _shared(pictures: int) -> str:
    if not pictures:
        return "The sweeps have no picture in common."
    return f"{pictures:,} pictures are in both: only these are compared, resampled together."


def percent(value: float) -> str:
    """A share in per cent; a dash where it is undefined."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def _subject(findings: Findings) -> Section:
    results, sweep = findings.results, findings.results.sweep
    words = (
        f"{sweep.model.name} ({sweep.model.class_name}, {sweep.layers} layers, "
        f"{sweep.model.dtype}); {sweep.data.kind} {sweep.data.path}; "
        f"{counted(len(results.items), 'item')} about "
        f"{counted(len(results.digests), 'picture')}. "
        "Intervals are 95 %: pictures are resampled, with all questions about each."
    )
    notes = [sweep.data.rule] if sweep.data.rule else []
    if results.groups_left_out:
        notes.append(
            f"The {len(results.groups):,} largest groups have lines of their own; "
            f"{results.groups_left_out:,} more are among {ALL}, and in the exported items."
        )
    made = results.how_made.words()
    return Section("What was asked", words, notes=(*notes, made) if made else tuple(notes))


def _accuracy(findings: Findings, shown: list[int]) -> Section:
    rows = []
    for group in _groups(findings):
        for normed in (True, False):
            curve = findings.curve(group, "accuracy", normed)
            if curve is not None:
                name = group if normed else f"{group}, no norm"
                whole = (_of(greedy.right),) if (greedy := findings.greedy(group)) else ()
                rows.append((name, *_cells(curve, shown), *_last(curve), *whole))
    beside = ("greedy answer, 95 %",) if findings.by_setting else ()
    heads = ("group", *(f"row {row}" for row in shown), "95 % of the last", "n", *beside)
    words = "A row is right if its top-1 token begins the truth and no other answer of the group."
    if beside:
        words += " Beside it: how often the whole answer is right that was decoded greedily."
    return Section(
        "How often it is right, row by row",
        words,
        (figures_table(heads, tuple(rows)),) if rows else (),
        "accuracy",
        _not_all(findings.results.layers, shown)
        if rows
        else ("no truths are known: nothing can be right or wrong",),
    )


def _by_setting(findings: Findings) -> tuple[Section, ...]:
    known = [
        each for group in _groups(findings) for each in findings.by_setting if each.group == group
    ]
    if not known:
        return ()
    replaced = any(each.against for each in known)
    soft = any(each.soft.n for each in known)
    answers = figures_table(
        (
            "group",
            *(["shown"] if replaced else []),
            "setting",
            "right, 95 %",
            "minus greedy, 95 %",
            "first token",
            *(["by ten people, 95 %"] if soft else []),
            "says none",
            "ended",
            "tokens",
            "n",
        ),
        tuple(
            (
                *_whose(each, replaced),
                _of(each.right),
                _apart("accuracy", each.apart),
                percent(each.first_token.value),
                *([_of(each.soft)] if soft else []),
                percent(1 - each.matched.value),
                percent(each.ended.value),
                _figure(each.tokens.value),
                f"{each.right.n or each.tokens.n:,}",
            )
            for each in known
        ),
        names := 3 if replaced else 2,
    )
    yes_or_no = tuple(
        (
            *_whose(each, replaced),
            _of(found.accuracy),
            _of(found.precision),
            _of(found.recall),
            _of(found.f1),
            _of(found.said_yes),
            percent(found.is_yes.value),
            percent(found.neither.value),
            f"{found.accuracy.n:,}",
        )
        for each in known
        if (found := each.yes_or_no) is not None
    )
    heads = (
        *("group", *(["shown"] if replaced else []), "setting", "accuracy, 95 %"),
        *("precision, 95 %", "recall, 95 %", "F1, 95 %", "says yes, 95 %"),
        *("yes is true", "says neither", "n"),
    )
    section = Section(
        "How often whole answers are right, with each setting of decoding",
        "Matched as whole words: the first of the answers that are compared with decides. Shares "
        f"are means over draws ({_draws(known)}) and items. Shares that were counted have Wilson's "
        "interval, differences, ratios and scores that of resampled pictures. "
        "* marks a difference to greedy decoding whose interval excludes 0.",
        (answers, *([figures_table(heads, yes_or_no, names)] if yes_or_no else [])),
        "settings",
        () if any(each.right.n for each in known) else ("no truths are known",),
    )
    return (section,)


def _whose(each: BySetting, replaced: bool) -> tuple[str, ...]:
    return (each.group, *([each.against or "the picture"] if replaced else []), each.setting)


def _draws(known: Sequence[BySetting]) -> str:
    most = max(each.draws for each in known)
    return f"{most:,} where they are random" if most > 1 else "one for each"


def _not_all(layers: int, shown: list[int]) -> tuple[str, ...]:
    if len(shown) == layers + 1:
        return ()
    return (
        f"{len(shown)} of {layers + 1} rows; a wider page has more, the exported numbers have all",
    )


def _formation(findings: Findings) -> Section:
    table = figures_table(
        ("group", "formation (median)", "mean, 95 %", f"in the top {findings.top_k} from", "n"),
        tuple(
            (
                each.group,
                _rows(each.layer),
                f"{each.mean.value:.2f} [{each.mean.low:.2f}, {each.mean.high:.2f}]",
                _rows(each.entry),
                f"{each.mean.n:,}",
            )
            for each in findings.formations
        ),
    )
    orders = figures_table(
        ("first", "then", "rows later, 95 %", "p (sign flips)", "p (Holm)", "pictures"),
        tuple(
            (
                each.first,
                each.second,
                _plain(each.test.difference),
                _p(each.test.p),
                _p(each.corrected),
                f"{each.test.difference.n:,}",
            )
            for each in sorted(findings.orders, key=lambda each: each.corrected)
        ),
        names=2,
    )
    return Section(
        "At which layer the answer is formed, and in which order",
        "Formation is the first row from which the final answer stays top-1 to the end. The order "
        f"of two groups (of the {MOST_ORDERED} largest) is tested on the pictures that have both.",
        (table, *([orders] if orders.rows else [])),
        "formation",
    )


def _certainty(findings: Findings, shown: list[int]) -> Section:
    rows = []
    for group in _groups(findings):
        for measure, normed in _MEASURES:
            curve = findings.curve(group, measure, normed)
            if curve is None:
                continue
            if measure == "top-1 probability":
                cells = _cells(curve, shown)
            else:
                cells = tuple(_figure(float(curve.value[row])) for row in shown)
            name = measure if normed else f"{measure}, no norm"
            rows.append((group, name, *cells, f"{int(curve.n[-1]):,}"))
    peaks = tuple(
        (
            each.group,
            "with norm" if each.normed else "without",
            str(each.row),
            f"{each.low:.0f} to {each.high:.0f}",
            percent(each.probability.value),
            f"{each.probability.n:,}",
        )
        for each in findings.peaks
    )
    return Section(
        "How sure it is",
        "Means over items; entropy and KL in nats; the exported numbers have the intervals. The "
        "peak is the row from 1 up with the highest mean probability of its top-1 token.",
        (
            figures_table(
                ("group", "measure", *(f"row {row}" for row in shown), "n"), tuple(rows), names=2
            ),
            figures_table(("group", "norm", "peak at row", "95 %", "top-1", "n"), peaks, names=2),
        ),
        "certainty",
    )


def _last_step(findings: Findings) -> Section:
    rows = tuple(
        (
            each.group,
            each.of,
            _share(each.normed),
            _share(each.unnormed),
            _made_by_norm(each),
            f"{each.unnormed.n:,}",
        )
        for each in findings.drops
    )
    heads = ("group", "probability of", "with norm", "without", "due to the missing norm", "n")
    reason = shortened(str(findings.results.sweep.notes.get("norm", "no rows without the norm")))
    return Section(
        "From the second-to-last row to the last",
        "How far a probability falls in the last step (negative: it rises), and which share of the "
        "fall without the final norm is due to the missing norm: 1 - fall with / fall without.",
        (figures_table(heads, rows, names=2),) if rows else (),
        "last-step" if rows else None,
        () if rows else (reason,),
    )


def _made_by_norm(drop: Drop) -> str:
    if math.isnan(drop.share.value):
        return "undefined: nothing drops"
    if drop.normed.value <= 0:
        return "all of it: it rises with the norm"
    share = _of(drop.share)
    # The drop is as small as its own noise.
    return share if drop.defined == 1 else f"{share}, undefined in {percent(1 - drop.defined)}"


def _instead(findings: Findings, shown: list[int]) -> tuple[Section, ...]:
    if not findings.instead:
        return ()
    by_group = [
        each for group in _groups(findings) for each in findings.instead if each.group == group
    ]
    compared = figures_table(
        (
            "group",
            "instead",
            "same answer, 95 %",
            "n",
            "right with it",
            "without",
            "lost, 95 %",
            "n with a truth",
        ),
        tuple(
            (
                each.group,
                each.against,
                _of(each.same),
                f"{each.same.n:,}",
                percent(each.right.value),
                percent(each.right_without.value),
                _apart("accuracy", each.right_lost),
                f"{each.right.n:,}",
            )
            for each in by_group
        ),
        names=2,
    )
    rows: list[tuple[str, ...]] = []
    for group in _groups(findings):
        others = [each for each in by_group if each.group == group and each.truth.n.any()]
        for alike in of_the_same_items(others):
            curves = [(each.against, each.truth_without) for each in alike]
            for name, curve in (("the picture", alike[0].truth), *curves):
                rows.append((group, name, *_cells(curve, shown), *_last(curve)))
    heads = ("group", "shown", *(f"row {row}" for row in shown), "95 % of the last", "n")
    section = Section(
        "What it says without the picture",
        "The same questions with something else instead of the picture, beside those with it. What "
        "is left of the truth's mean probability, row by row, is what language alone suggests; "
        "above it is that of the same items with the picture. "
        "* marks a loss whose interval excludes 0.",
        (compared, *([figures_table(heads, tuple(rows), names=2)] if rows else [])),
        "instead" if rows else None,
    )
    return (section,)


def _looks(findings: Findings, rows: list[int]) -> tuple[Section, ...]:
    looks = findings.looks
    if looks is None:
        return ()
    count = findings.results.layers
    shown = sorted({min(row, count - 1) for row in rows})
    heads = (*(f"layer {layer}" for layer in shown), "mean", "n")
    tables = [
        figures_table(
            ("items", on, *heads),
            tuple(
                (each.which, kind, *_cells(curve, shown), percent(_overall(curve)), _count(curve))
                for each in of.of
                for kind, curve in getattr(each, field).items()
            ),
            names=2,
        )
        for field, on, of in (
            ("raw", "attention on", looks),
            ("without_sinks", "sinks taken out, on", looks),
            ("raw", "on states of", looks.on_states),
        )
        if of is not None
    ]
    notes = []
    all_alike = not looks.unread and looks.on_states is None
    layers = "all layers" if all_alike else "the layers that look at tokens"
    for each in looks.of:
        raw, without = (_overall(side["picture"]) for side in (each.raw, each.without_sinks))
        notes.append(
            f"{each.which}: over {layers} {percent(raw)} on the picture, {percent(without)} "
            f"with sinks taken out ({_sinks(each.sinks)}); worst proof {each.worst:.2g} of what "
            "is allowed"
        )
    notes += _unread(looks.unread)
    if looks.on_states is not None:
        some = _layers(looks.on_states.layers)
        notes += [
            f"{each.which}: over the layers that look at states of an encoder or of a vision tower "
            f"({some}) {percent(_overall(each.raw['picture']))} on the picture"
            for each in looks.on_states.of
        ]
        notes += _unread(looks.on_states.unread)
    section = Section(
        "Where it looks, by depth",
        "Of the position that answers: the attention of all heads of a layer, on average, on text, "
        "on the picture, and on special tokens: the first one, those with massive activations "
        "(sinks), and learned sinks. Where a head looks is not why the answer was given.",
        tuple(tables),
        "looks",
        (*notes, *_not_all(count - 1, shown)),
    )
    return (section,)


def _overall(curve: Curve) -> float:
    known = ~np.isnan(curve.value)
    return float(curve.value[known].mean()) if known.any() else math.nan


def _count(curve: Curve) -> str:
    """How many items there are of the layer that has fewest, but some."""
    return f"{int(curve.n[curve.n > 0].min(initial=curve.n.max())):,}"


def _sinks(sinks: Interval) -> str:
    return f"{sinks.value:.1f} of them" if sinks.value else "there are none"


def _unread(unread: Mapping[int, Unread]) -> list[str]:
    alike: dict[str, list[int]] = {}
    for layer, each in unread.items():
        if each.reason:
            some = "" if each.lines == each.of else f", in {each.lines:,} of {each.of:,} lines"
            alike.setdefault(f"{some}: {shortened(each.reason)}", []).append(layer)
    return [f"{_layers(layers)}{reason}" for reason, layers in alike.items()]


def _layers(layers: Sequence[int]) -> str:
    return f"{'layer' if len(layers) == 1 else 'layers'} {', '.join(map(str, layers))}"


def _of(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    low, high = percent(interval.low), percent(interval.high)
    return f"{percent(interval.value)} [{low}, {high}]"


def _confused(findings: Findings, shown: list[int]) -> Table:
    """The most common wrong answers, row by row."""
    rows = []
    for confusion in findings.confusions:
        names = confusion.answers
        later = confusion.counts[len(confusion.counts) // 2 :].sum(0)[:, :-1]
        wrong = [
            (int(later[truth, said]), truth, said)
            for truth, said in np.argwhere(later > 0)
            if truth != said
        ]
        for _, truth, said in sorted(wrong, reverse=True)[:MOST_CONFUSED]:
            count = confusion.counts[:, truth, said]
            total = int(confusion.counts[0, truth].sum())
            cells = (percent(float(count[row]) / total) for row in shown)
            rows.append((confusion.group, names[truth], names[said], *cells, f"{total:,}"))
    return figures_table(
        ("group", "is", "said", *(f"row {row}" for row in shown), "n"), tuple(rows), names=3
    )


def _confusions(findings: Findings, shown: list[int]) -> Section:
    table = _confused(findings, shown)
    notes = [_pairs(each) for each in findings.confusions]
    notes += [_lost(each) for each in findings.lost if each.group != ALL]
    return Section(
        "Which answers are confused, and which are lost on the way",
        "The table has the most common mistakes of the later half of the rows; below it are those "
        "of the last row. Lost: right in a row from 1 to the second-to-last, wrong in the last.",
        (table,) if table.rows else (),
        figure="confusion",
        notes=tuple(notes) or ("no truths are known",),
    )


def _scripts(findings: Findings, shown: list[int]) -> Section:
    rows = tuple(
        (script, *_cells(curve, shown), _last(curve)[0])
        for script, curve in findings.scripts.items()
    )
    return Section(
        "The scripts of the top-1 tokens",
        "Share of the top-1 tokens of each row by the script of their letters.",
        (figures_table(("script", *(f"row {row}" for row in shown), "95 % of the last"), rows),),
        "scripts",
    )


def _matching(findings: Findings) -> Section:
    notes: list[str] = []
    for each in findings.ambiguities:
        if each.tokens:
            tokens = "; ".join(
                f"{text!r} begins {' and '.join(names)}"
                for text, names in list(each.tokens.items())[:MOST_PAIRS]
            )
            notes.append(
                f"{each.group}: {percent(each.share.value)} of the last rows are ambiguous "
                f"({tokens})"
            )
        if each.several_tokens:
            some = ", ".join(each.several_tokens[:20])
            more = len(each.several_tokens) - 20
            others = f" and {more} more" if more > 0 else ""
            notes.append(f"{each.group}: more than one token: {some}{others}")
    return Section(
        "How answers are matched",
        "By the first token of each spelling: as written, capitalised and in lower case, with and "
        "without a space in front. A token that begins two answers is ambiguous and never right.",
        notes=tuple(notes) or ("no token begins two answers, and each answer is one token",),
    )


def _pairs(confusion: Confusion) -> str:
    if not confusion.pairs:
        return f"{confusion.group}: no answer is said for another"
    named = [f"{said} for {truth} {count}x" for truth, said, count in confusion.pairs]
    some = ", ".join(named[:MOST_PAIRS])
    more = len(confusion.pairs) - MOST_PAIRS
    return f"{confusion.group}: said {some}" + (f", and {more} more pairs" if more > 0 else "")


def _lost(lost: Lost) -> str:
    share = _of(lost.share)
    items = ", ".join(lost.items[:MOST_ITEMS])
    more = len(lost.items) - MOST_ITEMS
    named = f": {items}" + (f" and {more} more" if more > 0 else "") if items else ""
    return f"{lost.group}: lost {share} of {lost.share.n:,}{named}"


def _groups(findings: Findings) -> list[str]:
    groups = list(findings.results.groups)
    return [*groups, ALL] if len(groups) > 1 else groups


def _shown_rows(layers: int, most: int) -> list[int]:
    count = min(most, layers + 1)
    return sorted({round(row) for row in np.linspace(0, layers, count)})


def _cells(curve: Curve, rows: list[int]) -> tuple[str, ...]:
    return tuple(percent(float(curve.value[row])) for row in rows)


def _last(curve: Curve) -> tuple[str, str]:
    low, high = percent(float(curve.low[-1])), percent(float(curve.high[-1]))
    return f"[{low}, {high}]", f"{int(curve.n[-1]):,}"


def _rows(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:.0f} [{interval.low:.0f}, {interval.high:.0f}]"


def _plain(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _share(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:+.2%} [{interval.low:+.2%}, {interval.high:+.2%}]"


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _value(measure: str, value: float) -> str:
    return percent(value) if _is_share(measure) else _figure(value)


def _apart(measure: str, interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    mark = " *" if interval.low > 0 or interval.high < 0 else ""
    if _is_share(measure):
        shown = f"{interval.value:+.1%} [{interval.low:+.1%}, {interval.high:+.1%}]"
    else:
        shown = f"{interval.value:+.3g} [{interval.low:+.3g}, {interval.high:+.3g}]"
    return shown + mark


def _is_share(measure: str) -> bool:
    return not measure.startswith(("entropy", "KL"))


def _p(p: float) -> str:
    return "-" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _name(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]
