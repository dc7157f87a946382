"""The items of a sweep: a line each, sorted and filtered by any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from tui.state.listing import Field, Order
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.show import display_text, plain_line
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.find_line import FindLine
from tui.widgets.listed_rows import ListedRows, ListScreen
from tui.widgets.row_list import RowList, place_text
from tui.widgets.styles import Segments, Styles

if TYPE_CHECKING:
    from engine.sweeps.results import Results, Rows

_KEYS = "enter opens, o sorts, O turns, / filters, q goes back"
_WORDS = ("lost", "wrong", "right", "")
"""What became of an item: the answer was there and is not any more, never was, is; not known."""
_VERDICT, _FROM, _ENTROPY = 6, 5, 8


@dataclass(frozen=True)
class SweepLine:
    """An item as the list shows it."""

    item: str
    picture: str
    """The file's name, with what stood instead of the picture."""
    prompt: str
    truth: str | None
    answer: str
    probability: float
    verdict: str
    formation: int
    """The first row from which the answer stays top-1."""
    entropy: float
    """Of the last row, in nats."""


class SweepRows(ListedRows):
    """Draws the items."""

    fields: ClassVar[Sequence[Field[Any]]] = (
        Field[SweepLine]("verdict", lambda line: line.verdict),
        Field[SweepLine]("prompt", lambda line: line.prompt),
        Field[SweepLine]("truth", lambda line: line.truth),
        Field[SweepLine]("answer", lambda line: line.answer),
        Field[SweepLine]("p", lambda line: line.probability),
        Field[SweepLine]("from", lambda line: line.formation),
        Field[SweepLine]("entropy", lambda line: line.entropy),
        Field[SweepLine]("picture", lambda line: line.picture),
        Field[SweepLine]("item", lambda line: line.item),
    )

    def __init__(self, lines: Sequence[SweepLine], order: Order, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only, order=order)
        self._lines = lines

    @property
    def every(self) -> Sequence[SweepLine]:
        """The items, those with a lost answer first."""
        return self._lines

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the column names."""
        prompt, word, picture = _widths(width - 1)
        columns = [
            (" ", "", 1), ("verdict"[:_VERDICT], "verdict", _VERDICT + 1),
            ("prompt", "prompt", prompt + 1), ("truth", "truth", word + 1),
            ("answer", "answer", word + 1), ("p", "p", -FIGURE_WIDTH), ("from", "from", -_FROM),
            ("entropy", "entropy", -_ENTROPY), ("", "", 2), ("picture", "picture", picture),
        ]  # fmt: skip
        return self.head(columns, styles)

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw an item."""
        line: SweepLine = self.items[row]
        prompt, word, picture = _widths(width)
        is_wrong = line.verdict in ("lost", "wrong")

        def shown(text: str, cells: int, *, spaces: bool = False) -> str:
            return display_text(text, cells, spaces=spaces, ascii_only=self._ascii) + " "

        return [
            (line.verdict.ljust(_VERDICT + 1), styles.error if is_wrong else styles.good),
            (shown(line.prompt, prompt), styles.text),
            (shown(line.truth or "-", word), styles.faint),
            (shown(line.answer, word), styles.error if is_wrong else styles.answer),
            (figure(line.probability), styles.text),
            (str(line.formation).rjust(_FROM), styles.text),
            (f"{line.entropy:.2f}".rjust(_ENTROPY) + "  ", styles.faint),
            (shown(line.picture, max(picture - 1, 1)), styles.faint),
        ]


class SweepItems(ListScreen[str | None]):
    """Lists the items; returns the one to open, or None to go back to the findings."""

    VIEW: ClassVar[str] = "sweep"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", show=False),
        Binding("enter", "open", show=False),
    ]
    CSS = """
    SweepItems .dialog { padding: 0; }
    SweepItems.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(
        self, lines: Sequence[SweepLine], order: Order, at: str | None, *, ascii_only: bool
    ) -> None:
        """`at` is the item under the cursor at first."""
        super().__init__()
        self._rows = SweepRows(lines, order, ascii_only=ascii_only)
        self._at = at
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    @property
    def rows(self) -> SweepRows:
        """The list."""
        return self._rows

    @property
    def order(self) -> Order:
        """How the items are sorted and filtered."""
        return self._rows.order

    @property
    def listed(self) -> tuple[str, ...]:
        """The ids of the items that are listed, in order."""
        return tuple(line.item for line in self._rows.items)

    def compose(self) -> ComposeResult:
        """Lay out the list in a box whose lower border says which keys act."""
        with Vertical(classes="dialog whole-dialog") as box:
            put_subtitle(box, _KEYS)
            yield self._rows
            yield FindLine()

    def on_mount(self) -> None:
        """Put the cursor on the item that was opened last."""
        self._rows.refresh_rows()
        if self._at in self.listed:
            self._rows.put_cursor(self.listed.index(self._at))
        self.order_changed()

    def order_changed(self) -> None:
        """Say how many items are listed, and how."""
        rows = self._rows
        listed = f"{rows.count:,} of " * (rows.count != len(rows.every))
        parts = [f"{listed}{len(rows.every):,} items", place_text(rows), rows.order.words]
        title = ", ".join(part for part in parts if part)
        put_title(self.query_one(Vertical), plain_line(title, ascii_only=self._ascii))

    def on_row_list_place_changed(self) -> None:
        """Say which items are visible."""
        self.order_changed()

    @on(RowList.Chosen)
    def action_open(self) -> None:
        """Close with the item under the cursor."""
        if self._rows.chosen is not None:
            self.dismiss(self._rows.chosen.item)


def sweep_lines(results: Results) -> tuple[SweepLine, ...]:
    """Return a line for every item: first those whose answer was lost on the way, then those that
    are wrong, right, without a truth, and asked with something else instead of the picture."""
    right = results.right(results.rows)
    pictures = [path.rsplit("/", 1)[-1] for path in results.pictures]
    found: list[tuple[int, SweepLine]] = []
    own = _formations(results.rows)
    for index, item in enumerate(results.items):
        place = len(_WORDS) - 1
        if results.truth[index] is not None:
            lost = bool((right[index, 1:-1] == 1).any())
            place = 2 if right[index, -1] == 1 else 0 if lost else 1
        line = _line(results, results.rows, own, index, item, pictures[index], _WORDS[place])
        found.append((place, line))
    for name, instead in results.instead.items():
        formations = _formations(instead.rows)
        for index, other in enumerate(instead.items):
            if other is not None:
                said = f"{name} instead of {pictures[index]}"
                line = _line(results, instead.rows, formations, index, other, said, "")
                found.append((len(_WORDS), line))
    found.sort(key=lambda each: each[0])
    return tuple(line for _, line in found)


def _line(
    results: Results, rows: Rows, formations: Sequence[int], index: int, item: str, picture: str,
    verdict: str,
) -> SweepLine:  # fmt: skip
    return SweepLine(
        item=item,
        picture=picture,
        prompt=results.prompts[index],
        truth=results.truth[index],
        answer=results.texts.get(int(rows.top_id[index, -1]), "").strip(),
        probability=float(rows.top_probability[index, -1]),
        verdict=verdict,
        formation=formations[index],
        entropy=float(rows.entropy[index, -1]),
    )


def _formations(rows: Rows) -> list[int]:
    """Return the formation row of every item, of top-1 ids [n, L + 1]."""
    differs = rows.top_id != rows.top_id[:, -1:]
    width = rows.top_id.shape[1]
    # The last row that differs, counted from the end; argmax finds the first one.
    after = differs[:, ::-1].argmax(axis=1)
    return [width - int(last) if any_differs else 0
            for last, any_differs in zip(after, differs.any(axis=1), strict=True)]  # fmt: skip


def _widths(width: int) -> tuple[int, int, int]:
    """Return the cells of the prompt, of a word, and of the picture's name."""
    word = 9 if width < 100 else 14
    rest = width - (_VERDICT + 1) - 2 * (word + 1) - FIGURE_WIDTH - _FROM - _ENTROPY - 2
    picture = max(min(rest // 2, 40), 8)
    return max(rest - picture - 1, 4), word, picture
