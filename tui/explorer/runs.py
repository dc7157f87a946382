"""Keys about the runs of the session: switch, list, compare, rename, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from engine.counterfactuals.defaults import CONTRAST_A, CONTRAST_B
from engine.counterfactuals.grammar import FORMS, MEANINGS, parse_against
from engine.errors import LenscopeError
from engine.methods.contrast import ContrastReading, ContrastRequest
from engine.methods.debias import DebiasReading, DebiasRequest
from engine.methods.seen import SeenRequest
from engine.records import Run
from tui.explorer.picture import PictureKeys
from tui.state.run_view import Phase, RunView

if TYPE_CHECKING:
    from tui.views.compare.compare import Compare

_WITHOUT_PIXELS = frozenset({"", "none", "unk", "unk-all", "other"})
"""Of these there is no picture that the worker could show."""


class RunsKeys(PictureKeys):
    """What chooses the run that is shown."""

    _wanted: str | None = None
    """A run that is to be shown beside its counterfactual as soon as this has ended."""

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
        self.show_instead()

    def show_instead(self) -> None:
        """Show in the picture pane what stands in the picture's stead."""
        run = self.state.current
        if run is None or _name_of(run) in _WITHOUT_PIXELS:
            return
        if run.seen is not None:
            self.show_seen(run.run.id, run.seen)
        else:
            self.asker.read(run, SeenRequest())

    def action_history(self) -> None:
        """List the runs of the session."""
        from tui.views.runs.history import History

        if isinstance(self.screen, History):
            return
        before = self.state.current
        self.push_screen(
            History(self.state, ascii_only=self.startup.ascii), lambda _: self.show_run(before)
        )

    def refresh_history(self) -> None:
        """Show in the list of runs what has come in."""
        from tui.views.runs.history import History

        if isinstance(self.screen, History):
            self.screen.refresh_runs()

    def action_compare(self) -> None:
        """Compare the run that is shown with the one before it (the first with the second)."""
        from tui.views.compare.compare import Compare

        run = self.state.current
        others = [other for other in self.state.runs if other is not run]
        if run is None or not others:
            self.say("two runs are needed to compare: r runs another question")
            return
        index = self.state.runs.index(run)
        left, right = (run, others[0]) if index == 0 else (self.state.runs[index - 1], run)
        self.push_screen(Compare(left, right, ascii_only=self.startup.ascii))

    # ------------------------------------------------------------------ without the picture

    def action_without(self) -> None:
        """Ask the question without the picture, and lay both side by side."""
        run = self._run_with_picture()
        if run is None:
            return
        known = self.state.counterfactuals_of(run)
        done = [other for other in known if _name_of(other) == "none" and other.rows]
        if done:
            self._show_against(run, done[-1])
        elif self.asker.ask_against(run, parse_against("none", self.startup.seed)):
            self._wanted = run.run.id
        self.show_all()

    def action_against(self) -> None:
        """Ask the question with everything that can stand in the picture's stead."""
        run = self._run_with_picture()
        if run is None:
            return
        from tui.views.compare.against_list import AgainstList

        known = {_name_of(other) for other in self.state.counterfactuals_of(run)}
        names = [name for name in MEANINGS if name != "other" and name not in known]
        if not names or self.asker.ask_against(run, parse_against(names, self.startup.seed)):
            self.push_screen(
                AgainstList(self.state, run, ascii_only=self.startup.ascii),
                lambda _: self._show_again(run),
            )
        self.show_all()

    def _show_again(self, run: RunView) -> None:
        before = self.state.current
        self.state.show(run)
        self.show_run(before)

    def action_instead(self) -> None:
        """Choose what stands in the picture's stead, with its value."""
        run = self._run_with_picture()
        if run is None:
            return
        from tui.widgets.chooser import Choice, Chooser

        choices = [
            Choice(name, FORMS.get(name, name), meaning) for name, meaning in MEANINGS.items()
        ]
        self.push_screen(
            Chooser(
                "in the picture's stead",
                choices,
                ascii_only=self.startup.ascii,
                free="as typed",
                hint="noise=999, blur=8, other=FILE",
            ),
            lambda chosen: self._ask_instead(run, chosen),
        )

    def _ask_instead(self, run: RunView, chosen: str | None) -> None:
        if chosen is None:
            return
        try:
            counterfactuals = parse_against(chosen, self.startup.seed)
        except LenscopeError as error:
            self.say(str(error), "error")
            return
        if self.asker.ask_against(run, counterfactuals):
            self._wanted = run.run.id
        self.show_all()

    def counterfactual_ended(self, ended: Run) -> None:
        """Lay side by side what has been asked for."""
        of = self.state.comparisons.get(ended.id)
        if of is None or of.of != self._wanted or self.has_dialog:
            return
        views = {view.run.id: view for view in self.state.runs}
        picture, other = views.get(of.of), views.get(ended.id)
        self._wanted = None
        if picture is not None and other is not None and other.rows:
            self.state.show(picture)
            self._show_against(picture, other)

    def refresh_against(self) -> None:
        """Show in the list of counterfactuals what has come in."""
        from tui.views.compare.against_list import AgainstList

        if isinstance(self.screen, AgainstList):
            self.screen.refresh_lines()

    def _show_against(self, picture: RunView, other: RunView) -> None:
        from tui.views.compare.compare import Compare

        view = Compare(
            picture,
            other,
            ascii_only=self.startup.ascii,
            comparison=self.state.comparisons.get(other.run.id),
            references=self._references(picture, other),
        )
        self.push_screen(view)
        self._want_contrast(picture, ContrastRequest((other.run.id,), CONTRAST_A, CONTRAST_B))

    def _want_contrast(self, picture: RunView, request: ContrastRequest) -> None:
        """Show the contrast that the run holds, or have it read."""
        known = picture.reading_of("contrast", request)
        if isinstance(known, ContrastReading):
            self.call_after_refresh(self.show_contrast, picture.run.id, known)
        else:
            self.asker.read(picture, request)

    def _references(self, picture: RunView, other: RunView) -> list[tuple[str, tuple[str, ...]]]:
        """What the contrast can be taken from: this counterfactual, and none, unk or both where
        they have been asked (as VDD has them)."""
        done = {
            _name_of(view): view.run.id
            for view in self.state.counterfactuals_of(picture)
            if view.phase is Phase.DONE
        }
        found: list[tuple[str, tuple[str, ...]]] = [(_name_of(other), (other.run.id,))]
        others = [name for name in ("none", "unk") if name in done and name != _name_of(other)]
        found += [(name, (done[name],)) for name in others]
        if "none" in done and "unk" in done:
            found.append(("both", (done["none"], done["unk"])))
        return found

    def on_compare_contrast_wanted(self, message: Compare.ContrastWanted) -> None:
        """Other settings of the contrast."""
        picture = self.state.find(message.of)
        if picture is not None:
            request = ContrastRequest(message.references, message.a, message.b)
            self._want_contrast(picture, request)

    def on_compare_debias_wanted(self, message: Compare.DebiasWanted) -> None:
        """Answers beside what they have without the picture."""
        picture = self.state.find(message.of)
        if picture is not None:
            answers = tuple(answer.strip() for answer in message.answers.split(","))
            self.asker.read(picture, DebiasRequest(answers, (message.against,)))

    def show_debiased(self, found: DebiasReading) -> None:
        """Show what the worker has found of a list of answers."""
        from tui.views.compare.compare import Compare
        from tui.views.compare.debiased import DebiasedAnswers

        if isinstance(self.screen, Compare):
            self.push_screen(DebiasedAnswers(found, ascii_only=self.startup.ascii))

    def show_contrast(self, run_id: str, contrasted: ContrastReading) -> None:
        """Hand the contrast rows to the comparison that waits for them."""
        from tui.views.compare.compare import Compare

        if isinstance(self.screen, Compare):
            self.screen.show_contrast(run_id, contrasted)

    def _run_with_picture(self) -> RunView | None:
        run = self.state.current
        if run is None:
            self.say("there is no run yet: r runs the question")
            return None
        return self.state.picture_of(run)

    def action_rename(self) -> None:
        """Give the run that is shown a title."""
        from tui.widgets.line_input import LineInput

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


def _name_of(run: RunView) -> str:
    counterfactual = run.run.question.counterfactual
    return counterfactual.name if counterfactual is not None else ""


def _path(picture: object) -> str | None:
    return getattr(picture, "path", None)
