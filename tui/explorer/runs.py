"""Keys about the runs of the session: switch, list, compare, rename, delete."""

from __future__ import annotations

from msgspec.structs import replace

from tui.explorer.picture import PictureKeys
from tui.state.run_view import RunView


class RunsKeys(PictureKeys):
    """What chooses the run that is shown."""

    def action_switch(self, step: int) -> None:
        """Show the next or previous run of the session."""
        before = self.state.current
        self.state.switch(step)
        self.show_run(before)

    def show_run(self, before: RunView | None) -> None:
        """Show the run that the state has chosen in the place of the one before. The question
        follows, unless another one has been typed or opened meanwhile."""
        run = self.state.current
        if run is not None and before is not None and run is not before:
            old, new, present = before.run.question, run.run.question, self.state.question
            if self.editor.text == old.prompt:
                self.editor.put(new.prompt)
            if _path(present.picture) == _path(old.picture):
                self.state.question = replace(present, picture=new.picture)
                if _path(old.picture) != _path(new.picture):
                    self.forget_seen()
                    self.show_picture()
        self.state.note = None
        self.show_all()
        self.show_picture_facts()
        self.show_edit_title()

    def action_history(self) -> None:
        """List the runs of the session."""
        from tui.dialogs.history import History

        if isinstance(self.screen, History):
            return
        before = self.state.current
        self.push_screen(
            History(self.state, ascii_only=self.startup.ascii), lambda _: self.show_run(before)
        )

    def refresh_history(self) -> None:
        """Show in the list of runs what has come in."""
        from tui.dialogs.history import History

        if isinstance(self.screen, History):
            self.screen.refresh_runs()

    def action_compare(self) -> None:
        """Compare the run that is shown with the one before it (the first with the second)."""
        from tui.dialogs.compare import Compare

        run = self.state.current
        others = [other for other in self.state.runs if other is not run]
        if run is None or not others:
            self.say("two runs are needed to compare: r runs another question")
            return
        index = self.state.runs.index(run)
        left, right = (run, others[0]) if index == 0 else (self.state.runs[index - 1], run)
        self.push_screen(Compare(left, right, ascii_only=self.startup.ascii))

    def action_rename(self) -> None:
        """Give the run that is shown a title."""
        from tui.dialogs.line_input import LineInput

        run = self.state.current
        if run is None:
            self.say("there is no run to rename")
            return
        self.push_screen(
            LineInput("title of this run", run.run.title or "", ascii_only=self.startup.ascii),
            lambda title: self._take_title(run, title),
        )

    def _take_title(self, run: RunView, title: str | None) -> None:
        if title is not None:
            self.state.rename(run, title)
            self.show_all()

    def action_delete(self) -> None:
        """Delete the run that is shown; it can be brought back."""
        run = self.state.current
        if run is None:
            self.say("there is no run to delete")
        elif not self.state.delete(run):
            self.say("this run is still running; ctrl+c cancels it")
        else:
            self.show_run(run)
            self.say(f"deleted; {self.keymap.first('undo') or 'undo'} brings it back")

    def action_undo_delete(self) -> None:
        """Bring back the run that was deleted last."""
        before = self.state.current
        if self.state.undo_delete() is None:
            self.say("nothing has been deleted")
        else:
            self.show_run(before)
            self.say("brought back", "good")


def _path(picture: object) -> str | None:
    return getattr(picture, "path", None)
