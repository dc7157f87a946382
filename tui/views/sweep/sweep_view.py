"""The findings of a sweep on the whole screen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from engine.errors import LenscopeError, typed_line
from tui.views.sweep.page import Page
from tui.views.sweep.sweep_items import SweepLine, sweep_lines
from tui.widgets.background import in_thread

if TYPE_CHECKING:
    from engine.sweeps.findings import Findings


@dataclass(frozen=True)
class SweepShown:
    """The results and findings of a sweep, as shown."""

    findings: Findings
    items: tuple[SweepLine, ...]


class SweepView(Page):
    """Shows the findings; returns whether to list the items."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,i,I", "items", show=False)]

    class Read(Message):
        """The results have been read."""

        def __init__(self, shown: SweepShown | None, error: str = "") -> None:
            super().__init__()
            self.shown = shown
            self.error = error

    def __init__(self, folder: Path, known: SweepShown | None, *, ascii_only: bool) -> None:
        """`known` holds the results if the folder has been read before."""
        super().__init__(
            f"sweep {folder}", "reading the results", ascii_only=ascii_only,
            enter="lists the items",
        )  # fmt: skip
        self._folder = folder
        self.shown = known

    def on_mount(self) -> None:
        """Read the results in the background, since a large sweep takes a while."""
        if self.shown is not None:
            self._show()
            return
        in_thread(self._read, self._failed)

    def _read(self) -> None:
        try:
            message = self.Read(read_shown(self._folder))
        except LenscopeError as error:
            message = self.Read(None, str(error))
        self._tell(message)

    def _failed(self, line: str) -> None:
        self._tell(self.Read(None, self._cannot(line)))

    def _cannot(self, reason: str) -> str:
        return f"{self._folder}: its results cannot be shown ({reason})"

    def _tell(self, message: Read) -> None:
        if self.is_running:
            self.post_message(message)

    def on_sweep_view_read(self, message: SweepView.Read) -> None:
        """Show the results, or why they cannot be read."""
        if message.shown is not None:
            self.shown = message.shown
            self._show()
        else:
            self.say(message.error)

    def _show(self) -> None:
        if self.shown is None:
            return
        from engine.sweeps.charts import charts_of
        from engine.sweeps.report import EVERY_ROW, sections

        findings = self.shown.findings
        try:
            self.put(sections(findings, EVERY_ROW), charts_of(findings))
        except Exception as error:  # the items can still be listed
            self.say(self._cannot(typed_line(error)))

    def whole_markdown(self) -> str:
        """The report as `lenscope report` writes it, without figures."""
        from engine.sweeps.report import report_title, sections
        from tui.sharing.report_markdown import report_markdown

        assert self.shown is not None
        findings = self.shown.findings
        return report_markdown(report_title(findings), sections(findings), {})

    def action_items(self) -> None:
        """Close with the wish to list the items, once they have been read."""
        if self.shown is not None:
            self.dismiss(True)


def read_shown(folder: Path) -> SweepShown:
    """Read a sweep's results and compute its findings. Raises BadInput if they cannot be read."""
    from engine.sweeps.findings import find
    from engine.sweeps.results import read_results

    results = read_results(folder)
    return SweepShown(find(results), sweep_lines(results))
