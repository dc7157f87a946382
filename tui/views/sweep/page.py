"""A report on the whole screen: it scrolls both ways, is searched, copied and exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.sweeps.section import Section
from engine.tables import Table
from tui.sharing.formats import DEFAULT_COPY
from tui.text.show import plain_line
from tui.views.sweep.chart_pane import ChartPane
from tui.views.sweep.found import Found
from tui.views.sweep.section_pane import SectionPane
from tui.views.sweep.section_sharing import section_text, table_of
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.find_line import FindLine
from tui.widgets.later import draw_later
from tui.widgets.legend import fitted_keys

if TYPE_CHECKING:
    from engine.sweeps.charts import Chart

_ACROSS: Final = 8
"""Cells by which tables scroll sideways."""


class Page(ModalScreen[bool]):
    """Shows a page; returns False when it is closed."""

    VIEW: ClassVar[str] = "sweep"
    AUTO_FOCUS = ""  # the line to type in has the focus only while it is open
    SCOPED_CSS = False  # the scope would be the name of a subclass
    CSS = """
    Page.-ascii .dialog { border: ascii $primary; }
    Page .page { width: 100%; height: 1fr; scrollbar-size-vertical: 1; }
    Page.-ascii .page { scrollbar-size-vertical: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(False)", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("l,right,greater_than_sign", "across(1)", show=False),
        Binding("h,left,less_than_sign", "across(-1)", show=False),
        Binding("pagedown,space,ctrl+f", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("g,home", "edge(-1)", show=False),
        Binding("G,end", "edge(1)", show=False),
        Binding("slash", "find", show=False),
        Binding("n", "next_match(1)", show=False),
        Binding("N", "next_match(-1)", show=False),
        Binding("P", "charts", show=False),
        Binding("y", "copy_here", show=False),
        Binding("Y", "copy_all", show=False),
        Binding("x", "export", show=False),
    ]

    def __init__(self, title: str, first: str = "", *, ascii_only: bool, enter: str = "") -> None:
        """`first` is what it shows until something else is put there, `enter` what the key does,
        if it does something."""
        super().__init__()
        self._title, self._first, self._enter = title, first, enter
        self._ascii = ascii_only
        self._across = 0
        self._charts_shown = True
        self._found = Found()
        self._note = ""
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out a scrolling page, and below it the line in which one types what to find."""
        with Vertical(classes="dialog whole-dialog"):
            with VerticalScroll(classes="page") as page:
                page.can_focus = False
                yield Static(plain_line(self._first, ascii_only=self._ascii), markup=False)
            yield FindLine()

    def on_mount(self) -> None:
        """Say which keys there are, and draw charts when they are scrolled to."""
        self._say_title()
        self.watch(self._page, "scroll_y", self._scrolled, init=False)
        self.watch(self._page, "virtual_size", self._laid_out, init=False)

    def _laid_out(self) -> None:
        """Fit what is laid out anew: words are wrapped elsewhere, other charts are in view."""
        draw_later(self, self._fit)

    def _fit(self) -> None:
        if self.panes:
            self._find(self._found.wanted, stay=True)
        self.action_across(0)
        self._say_keys()
        self._load_charts()

    def say(self, text: str) -> None:
        """Show one line."""
        self._page.query_one(Static).update(plain_line(text, ascii_only=self._ascii))

    def put(
        self, sections: Sequence[Section], charts: Mapping[str, Sequence[Chart]] | None = None
    ) -> None:
        """Show sections, each followed by its charts, which are drawn when they are seen."""
        parts: list[SectionPane | ChartPane] = []
        for section in sections:
            parts.append(SectionPane(section, ascii_only=self._ascii))
            of = (charts or {}).get(section.figure or "", ())
            parts += [ChartPane(chart, ascii_only=self._ascii) for chart in of]
        self._page.remove_children(Static)
        self._page.mount_all(parts)

    @property
    def panes(self) -> list[SectionPane]:
        """The sections, from top to bottom."""
        return list(self._page.query_children(SectionPane))

    @property
    def sections(self) -> tuple[Section, ...]:
        """What the page shows."""
        return tuple(pane.section for pane in self.panes)

    @property
    def _page(self) -> VerticalScroll:
        return self.query_one(".page", VerticalScroll)

    @property
    def _charts(self) -> list[ChartPane]:
        return list(self._page.query_children(ChartPane))

    def _scrolled(self) -> None:
        draw_later(self, self._load_charts)

    def _load_charts(self) -> None:
        top = self._page.scroll_offset.y
        bottom = top + self._page.size.height
        for chart in self._charts if self._charts_shown else ():
            region = chart.virtual_region
            if region.height and region.y < bottom and region.bottom > top:
                chart.load()

    def _say_title(self) -> None:
        # What was found comes first: of a long path the end is cut.
        title = ", ".join(part for part in (self._found.words, self._title) if part)
        put_title(self.query_one(".dialog"), plain_line(title, ascii_only=self._ascii))

    def _say_keys(self) -> None:
        """Say which keys act here, or what the last one did."""
        if not self.panes:
            return
        box = self.query_one(".dialog")
        if self._note:
            put_subtitle(box, plain_line(self._note, ascii_only=self._ascii))
            return
        keys = [f"enter {self._enter}"] if self._enter else []
        keys += ["/ finds"]
        keys += ["P charts"] if self._charts else []
        keys += ["< > across"] if self._most_across else []
        keys += ["x exports", "jk scroll", "y Y copy", "q closes"]
        put_subtitle(box, fitted_keys(keys, box.size.width))

    def tell(self, words: str) -> None:
        """Say below the page what the explorer has to say, until it is scrolled."""
        self._note = words
        self._say_keys()

    def _forget_note(self) -> None:
        if self._note:
            self.tell("")

    # Scrolling

    def action_scroll(self, step: int) -> None:
        """Scroll by lines, without animation."""
        self._forget_note()
        self._page.scroll_relative(y=step, animate=False)

    def action_page(self, step: int) -> None:
        """Scroll by pages."""
        self.action_scroll(step * max(self._page.size.height - 2, 1))

    def action_edge(self, side: int) -> None:
        """Scroll to the beginning or the end."""
        self._forget_note()
        self._page.scroll_to(y=0 if side < 0 else self._page.max_scroll_y, animate=False)

    def action_across(self, step: int) -> None:
        """Scroll the tables sideways; the names of their lines stay."""
        self._scroll_across(self._across + step * _ACROSS)

    @property
    def _most_across(self) -> int:
        return max([0, *(pane.beyond for pane in self.panes)])

    def _scroll_across(self, across: int) -> None:
        across = min(max(across, 0), self._most_across)
        if across != self._across:
            self._across = across
            for pane in self.panes:
                pane.scroll_across(across)

    def action_charts(self) -> None:
        """Hide the charts, or show them again."""
        self._charts_shown = not self._charts_shown
        for chart in self._charts:
            chart.display = self._charts_shown

    # Searching

    def action_find(self) -> None:
        """Open the line in which one types what to find."""
        if self.panes:
            self._forget_note()
            self.query_one(FindLine).open()

    @on(FindLine.Typed)
    def _find_typed(self, message: FindLine.Typed) -> None:
        message.stop()
        self._find(message.wanted)

    @on(FindLine.Closed)
    def _find_closed(self, message: FindLine.Closed) -> None:
        message.stop()
        self.set_focus(None)
        if not message.kept:
            self._find("")

    def _find(self, wanted: str, *, stay: bool = False) -> None:
        """Mark all that says so; unless it is to `stay`, go to the first from the top of the view
        on."""
        panes = self.panes
        every = [
            (number, match) for number, pane in enumerate(panes) for match in pane.find(wanted)
        ]
        top = self._page.scroll_offset.y
        first = next(
            (index for index, (number, match) in enumerate(every)
             if panes[number].virtual_region.y + match.line >= top),
            0,
        )  # fmt: skip
        at = min(self._found.at, len(every) - 1) if stay else first
        self._found = Found(wanted, tuple(every), max(at, 0))
        self._show_found(go=not stay)

    def action_next_match(self, step: int) -> None:
        """Go to the next or the previous match; the first follows the last."""
        self._found = self._found.stepped(step)
        self._show_found(go=True)

    def _show_found(self, *, go: bool) -> None:
        self._say_title()
        panes, here = self.panes, self._found.here
        for number, pane in enumerate(panes):
            at = here[1] if here is not None and here[0] == number else None
            pane.mark(tuple(match for of, match in self._found.every if of == number), at)
        if not go or here is None:
            return
        pane, match = panes[here[0]], here[1]
        across = pane.across_to(match)
        if across is not None:
            self._scroll_across(across)
        y, height = pane.virtual_region.y + match.line, self._page.size.height
        if not 0 <= y - self._page.scroll_offset.y < height:
            self._page.scroll_to(y=max(y - height // 3, 0), animate=False)

    # Sharing

    @property
    def _here(self) -> tuple[SectionPane, int | None] | None:
        """The section under the top of the view, and which of its tables is there, if one is."""
        top = self._page.scroll_offset.y
        regions = [(pane, pane.virtual_region) for pane in self.panes]
        # What has not been laid out yet has no height.
        above = [pane for pane, region in regions if region.height and region.y <= top]
        if not above:
            return None
        pane = above[-1]
        lines = pane.lines()
        at = top - pane.virtual_region.y
        return pane, lines[at].table if at < len(lines) else None

    @property
    def table(self) -> Table:
        """The table under the top of the view, or the first of its section, or its words as a
        table: what is exported."""
        here = self._here
        if here is None:
            return table_of(Section(self._title, ""), None)
        return table_of(here[0].section, here[1] or 0)

    @property
    def table_row(self) -> int:
        """The first: no row is marked."""
        return 0

    def action_copy_here(self) -> None:
        """Copy the table under the top of the view, or else its section."""
        from tui.sharing.copying import table_as

        here = self._here
        if here is None:
            return
        pane, index = here
        if index is None:
            style = "markdown" if self._format == "markdown" else "text"
            text = section_text((pane.section,), style, ascii_only=self._ascii)
            self._copy(text, f"{pane.section.title} as {style}")
        else:
            app: Any = self.app
            table = table_of(pane.section, index)
            text = table_as(table, self._format, raw=app.startup.raw_cells)
            self._copy(text, f"{table.title} as {self._format}")

    def action_copy_all(self) -> None:
        """Copy the whole page, as Markdown where that is the format for copying, else as text."""
        if not self.panes:
            return
        if self._format == "markdown":
            self._copy(self.whole_markdown(), "the report as markdown")
        else:
            text = section_text(self.sections, "text", ascii_only=self._ascii)
            self._copy(text, "the report as text")

    def whole_markdown(self) -> str:
        """The page as Markdown."""
        from tui.sharing.report_markdown import report_markdown

        return report_markdown(self._title, self.sections, {})

    def action_export(self) -> None:
        """Write the table under the top of the view to a file."""
        if self.panes:
            app: Any = self.app
            app.do("export")

    @property
    def _format(self) -> str:
        app: Any = self.app
        return app.copy_format or DEFAULT_COPY

    def _copy(self, text: str, what: str) -> None:
        app: Any = self.app
        app.copy_text(text, what)
