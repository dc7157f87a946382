"""Keys that take what is shown elsewhere: the clipboard, other formats, a picture."""

from __future__ import annotations

from pathlib import Path

from engine.errors import LenscopeError
from engine.records import Run
from tui.disk.paths import short_path
from tui.explorer.base import ExplorerBase
from tui.state.run_view import RunView


class SharingKeys(ExplorerBase):
    """Copy and export."""

    _format_chosen: str | None = None

    def action_copy_row(self) -> None:
        """Copy the row under the cursor."""
        run = self._readable()
        if run is not None:
            from tui.sharing.copying import row_text

            row = self.table.cursor
            if row < len(run.rows):
                self.copy_text(row_text(run, row, self._format), f"row {row} as {self._format}")
            else:
                self.say(f"row {row} has not been read")

    def action_copy_table(self) -> None:
        """Copy the whole table."""
        run = self._readable()
        if run is not None:
            from tui.sharing.copying import table_text

            look = self.state.look
            text = table_text(run, self._format, look.top_k, look.figures)
            self.copy_text(text, f"{len(run.rows)} rows as {self._format}")

    def action_copy_as(self) -> None:
        """Choose the format that copying uses, and copy the table."""
        from tui.sharing.formats import COPY_FORMATS
        from tui.widgets.chooser import Choice, Chooser

        choices = [Choice(name, name, detail) for name, detail in COPY_FORMATS.items()]
        self.push_screen(
            Chooser("copy the table as", choices, ascii_only=self.startup.ascii),
            self._take_format,
        )

    def action_copy_command(self) -> None:
        """Copy the command that reproduces this run."""
        run = self._asked()
        if run is not None:
            from tui.sharing.reproduce import as_command

            self.copy_text(as_command(run, self.asker.options), "the command of this run")

    def action_copy_python(self) -> None:
        """Copy the Python that reproduces this run."""
        run = self._asked()
        if run is not None:
            from tui.sharing.reproduce import as_python

            self.copy_text(as_python(run, self.asker.options), "the Python of this run")

    def action_export(self) -> None:
        """Write the run, or the view, to a file in a format of choice."""
        run = self._readable()
        if run is not None:
            from tui.views.files.export_dialog import ExportDialog

            self.push_screen(
                ExportDialog(run, Path.cwd(), ascii_only=self.startup.ascii),
                lambda chosen: self._write(run, chosen),
            )

    def _write(self, run: RunView, chosen: tuple[str, Path] | None) -> None:
        if chosen is None:
            return
        name, path = chosen
        if name == "svg":
            # A moment later, when the dialog has gone from the screen.
            self.set_timer(0.2, lambda: self._shoot(path))
            return
        from tui.sharing.copying import write_export

        look = self.state.look
        try:
            write_export(run, name, path, look.top_k, look.figures, self.asker.options)
        except LenscopeError as error:
            self.say(str(error), "error")
            return
        self.say(f"wrote {short_path(path)}", "good")

    def shoot(self) -> None:
        """Save a picture of the screen to the working directory."""
        self._shoot(None)

    def _shoot(self, path: Path | None) -> None:
        try:
            if path is None:
                path = Path(self.save_screenshot(path=str(Path.cwd())))
            else:
                self.save_screenshot(path.name, path=str(path.parent))
        except OSError as error:
            self.say(f"the picture cannot be written ({error.strerror or error})", "error")
            return
        self.say(f"wrote {short_path(path)}", "good")

    @property
    def _format(self) -> str:
        from tui.sharing.formats import COPY_FORMATS, DEFAULT_COPY

        chosen = self._format_chosen or self.startup.copy_format or self.remembered.copy_format
        return chosen if chosen in COPY_FORMATS else DEFAULT_COPY

    def _take_format(self, name: str | None) -> None:
        if name is not None:
            self._format_chosen = name
            self.remembered.note(copy_format=name)
            self.action_copy_table()

    def _readable(self) -> RunView | None:
        """The run that is shown, if its rows may be handed on."""
        run = self.state.current
        if run is None or not run.rows:
            self.say("nothing has been read yet: r runs the question")
        elif run.refused:
            self.say("this run's proof failed: its rows are not handed on", "error")
        else:
            return run
        return None

    def _asked(self) -> Run | None:
        run = self.state.current
        if run is None:
            self.say("there is no run yet: r runs the question")
        return run.run if run is not None else None
