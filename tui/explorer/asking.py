"""Keys that ask: the prompt, the presets, the model."""

from __future__ import annotations

from msgspec.structs import replace
from textual.widgets import Input, TextArea

from engine.events import LoadOptions
from engine.records import ModelCard
from tui.explorer.base import ExplorerBase
from tui.state.presets import Preset, step_preset
from tui.state.view_state import CANCELLING


class AskingKeys(ExplorerBase):
    """What leads to a run."""

    def action_run(self) -> None:
        """Run the question; a running pass makes way."""
        self.asker.run(self.present_question)
        self.show_all()

    def action_cancel(self) -> None:
        """Cancel what runs; else copy what is selected; else say how to quit."""
        if self.asker.cancel():
            self.state.note = CANCELLING
            self.show_lines()
        elif selected := self._selected_text():
            self.copy_text(selected, "the selection")
        else:
            self.say("q or ctrl+q quits")

    def _selected_text(self) -> str:
        focused = self.focused
        if isinstance(focused, TextArea | Input) and focused.selected_text:
            return focused.selected_text
        return self.screen.get_selected_text() or ""

    def action_edit(self) -> None:
        """Put the focus into the prompt editor."""
        # At once: `focus()` would let the next key, typed fast, act as a command.
        self._main.set_focus(self.editor)

    def action_leave_editor(self) -> None:
        """Leave the editor for the table."""
        self._main.set_focus(self.table)

    def on_text_area_changed(self) -> None:
        """The caption says which preset the prompt is."""
        self.show_edit_title()

    # ------------------------------------------------------------------ presets

    def action_preset(self, step: int) -> None:
        """Put the next or previous preset prompt into the editor."""
        preset = step_preset(self.presets, self.editor.text, step)
        if preset is None:
            self.say("there are no preset prompts here")
            return
        self.put_prompt(preset.prompt)
        self.say(f"{preset.place}: r runs it")

    def put_prompt(self, prompt: str) -> None:
        """Put a prompt into the editor."""
        self.editor.put(prompt)
        self.show_edit_title()

    def action_prompts(self) -> None:
        """Choose a prompt from a menu."""
        from tui.views.prompt.prompt_menu import PromptMenu

        asked = tuple(dict.fromkeys(run.run.question.prompt for run in reversed(self.state.runs)))
        self.push_screen(
            PromptMenu(self.presets, asked, ascii_only=self.startup.ascii), self._take_prompt
        )

    def _take_prompt(self, prompt: str | None) -> None:
        if prompt is not None:
            self.put_prompt(prompt)
            self.say("r runs it")

    def action_run_presets(self) -> None:
        """Run every preset of the prompt's set on this picture: one run each, and the list of
        runs to watch them come in."""
        present = self.present_question()
        prompts = [preset.prompt for preset in self._presets_here()]
        questions = [replace(present, prompt=prompt) for prompt in prompts]
        if not questions:
            self.say("there are no preset prompts here")
        elif self.asker.run_all(questions):
            self.call_next(self.run_action, "history")
        self.show_all()

    def _presets_here(self) -> list[Preset]:
        """The presets of the set that the prompt belongs to; all of them, if it is in none."""
        here = next((p for p in self.presets if p.prompt == self.editor.text), None)
        return [p for p in self.presets if here is None or p.group == here.group]

    # ------------------------------------------------------------------ how it is asked

    def action_norm(self) -> None:
        """Ask again with the final norm on or off."""
        question = self.state.question
        self.state.question = replace(question, norm=not question.norm)
        self.action_run()

    def action_more(self, step: int) -> None:
        """Show more or fewer tokens per layer; ask again only for more than the rows hold."""
        self.asker.more(step, self.present_question)
        self.show_all()

    def action_continue(self) -> None:
        """Continue the answer greedily."""
        self.asker.continue_answer()
        self.show_all()

    # ------------------------------------------------------------------ models

    def action_models(self) -> None:
        """Choose another model."""
        from tui.views.models.model_picker import ModelPicker

        cache = self.asker.options.cache_dir if self.asker.options else None
        self.push_screen(
            ModelPicker(
                recent=self.remembered.models, cache_dir=cache, ascii_only=self.startup.ascii
            ),
            self._take_model,
        )

    def _take_model(self, model: str | None) -> None:
        if model is not None:
            self._load(_like(self.asker.options, model))

    def action_load(self) -> None:
        """Load the model of the run that is shown, and ask its question again."""
        run = self.state.current
        card = run.run.question.model if run is not None else None
        if run is None or card is None:
            self.say("no run is shown whose model could be loaded; M chooses one")
            return
        self.state.question = replace(run.run.question, model=None, text="")
        self.editor.put(run.run.question.prompt)
        self._load(_as_options(card, self.asker.options))

    def _load(self, options: LoadOptions) -> None:
        self.asker.load(options, self.present_question)
        self.show_all()


def _like(options: LoadOptions | None, model: str) -> LoadOptions:
    """Load another model where and as the present one was; its revision and its leave to run
    code or open pickles are not for another."""
    if options is None:
        return LoadOptions(model)
    return replace(options, model=model, revision=None, trust_remote_code=False, allow_pickle=False)


def _as_options(card: ModelCard, options: LoadOptions | None) -> LoadOptions:
    if options is not None and options.model == card.name:
        return options
    return replace(_like(options, card.name), revision=card.revision)
