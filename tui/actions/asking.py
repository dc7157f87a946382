"""Actions that lead to a run: prompt, presets, model."""

from __future__ import annotations

from functools import partial
from typing import Protocol, runtime_checkable

from msgspec.structs import replace
from textual.widgets import Input, TextArea

from engine.events import LoadOptions
from engine.records import ModelCard
from tui.app import Explorer
from tui.state.presets import Preset, ring_of, step_preset
from tui.state.view_state import CANCELLING, ModelPhase
from tui.widgets.two_runs import TwoRuns


@runtime_checkable
class Cancels(Protocol):
    """A screen that may have something on its way."""

    def cancel(self) -> bool:
        """Cancel it; return whether there was anything."""
        ...


def run(app: Explorer) -> None:
    """Run the question, cancelling a running pass; in live mode keep the run that is shown if it
    is the question's."""
    if app.live.keep():
        app.presenter.show_all()
        app.say(f"kept as run {len(app.state.runs)}", "good")
        return
    app.asker.run(app.presenter.question)
    app.presenter.show_asked()
    if app.state.asked is not None and app.main.focused is app.main.editor:
        app.main.back_to_table()


def live(app: Explorer) -> None:
    """Turn live mode on or off."""
    if not app.live.toggle():
        app.say("live mode is off: what is typed waits to be run")
    elif app.state.model.phase in (ModelPhase.NONE, ModelPhase.FAILED):
        app.say("live mode is on, but no model is loaded: L loads the one of this run")
    else:
        app.say("live mode is on: what is typed is asked as it is typed; enter keeps a run")
    app.presenter.show_captions()


def cancel(app: Explorer) -> None:
    """Cancel what is running, else copy the selected text, else say how to quit."""
    if isinstance(app.screen, Cancels) and app.screen.cancel():
        return
    if app.asker.cancel():
        app.state.note = CANCELLING
        app.presenter.show_lines()
    elif selected := _selected_text(app):
        app.copy_text(selected, "the selection")
    else:
        app.say("q or ctrl+q quits")


def _selected_text(app: Explorer) -> str:
    focused = app.focused
    if isinstance(focused, TextArea | Input) and focused.selected_text:
        return focused.selected_text
    return app.screen.get_selected_text() or ""


def edit(app: Explorer) -> None:
    """Focus the prompt editor."""
    # Focus immediately: after `focus()` a quickly typed key would act as a command.
    app.main.set_focus(app.main.editor)


def leave_editor(app: Explorer) -> None:
    """Shrink what is enlarged; else leave the editor, or a view, for the table."""
    if app.main.lower.large and app.main.focused is not app.main.editor:
        app.main.lower.toggle_large(app.main.lower.large)
        app.call_after_refresh(app.presenter.follow_cursor)
    else:
        app.main.back_to_table()


# ---------------------------------------------------------------------- presets


def preset(app: Explorer, step: int) -> None:
    """Put the next or previous preset prompt into the editor."""
    ring = ring_of(app.presenter.presets, app.state.typed, app.main.editor.prompt)
    found = step_preset(ring, app.main.editor.prompt, step)
    if found is None:
        app.say("no preset prompts are available")
        return
    back = app.presenter.put_prompt(found.prompt)
    key = app.keymap.first("previous-preset" if step > 0 else "next-preset") or "the palette"
    left = f"; what you typed comes back with {key}" if back else ""
    app.say(f"{found.place}: {app.keymap.first('run') or 'the palette'} runs it{left}")


def prompts(app: Explorer) -> None:
    """Choose a prompt from a menu."""
    from tui.views.prompt.prompt_menu import PromptMenu

    asked = tuple(dict.fromkeys(run.run.question.prompt for run in reversed(app.state.runs)))
    app.push_screen(
        PromptMenu(app.presenter.presets, asked, app.state.typed, ascii_only=app.startup.ascii),
        partial(_take_prompt, app),
    )


def _take_prompt(app: Explorer, prompt: str | None) -> None:
    if prompt is not None:
        app.presenter.put_prompt(prompt)
        app.say("r runs it")


def run_presets(app: Explorer) -> None:
    """Run every preset of the prompt's set on this picture, and show the list of runs."""
    present = app.presenter.question()
    questions = [replace(present, prompt=preset.prompt) for preset in _presets_here(app)]
    if not questions:
        app.say("no preset prompts are available")
    elif app.asker.run_all(questions):
        app.call_next(app.do, "history")
    app.presenter.show_all()


def _presets_here(app: Explorer) -> list[Preset]:
    """Return the presets of the prompt's set, or all presets if it belongs to none."""
    presets = app.presenter.presets
    here = next((known for known in presets if known.prompt == app.main.editor.prompt), None)
    return [known for known in presets if here is None or known.group == here.group]


# ---------------------------------------------------------------------- settings of the question


def norm(app: Explorer) -> None:
    """Ask again with the final norm on or off."""
    question = app.state.question
    app.state.question = replace(question, norm=not question.norm)
    run(app)


def more(app: Explorer, step: int) -> None:
    """Show more or fewer tokens per layer; ask again only if the rows hold too few."""
    pair = app.two_runs
    if pair is not None:
        _more_of_both(app, pair, step)
        return
    before = app.state.top_k
    app.asker.more(step, app.presenter.question)
    now = app.state.top_k
    if app.state.current is None or (now == before and app.state.note is None):
        app.say(f"{now} token{'s' * (now != 1)} of each row in the table")
    app.presenter.show_all()


def _more_of_both(app: Explorer, pair: TwoRuns, step: int) -> None:
    """Show more or fewer tokens of two runs, as many as both hold: neither is asked again."""
    held = min((len(row.top) for side in pair.sides for row in side.rows), default=0)
    if not held:
        app.say("no rows here yet")
        return
    before = app.state.top_k
    now = max(min(before + step, held), before if step > 0 else 1)
    app.state.top_k = now
    app.show_look()
    more = app.keymap.first("more-tokens") or "the palette"
    if step > 0 and now >= held:
        shown = f"{held} token{'s' * (held != 1)} of each row"
        app.say(f"{shown}, which is all that both runs hold; {more}: the detail")
    else:
        later = app.keymap.first("later-tokens") or "the palette"
        app.say(f"{now} token{'s' * (now != 1)} of each row; {later} scrolls to what does not fit")


# ---------------------------------------------------------------------- models


def models(app: Explorer) -> None:
    """Choose another model."""
    from tui.views.models.model_picker import ModelPicker

    cache = app.asker.options.cache_dir if app.asker.options else None
    app.push_screen(
        ModelPicker(recent=app.remembered.models, cache_dir=cache, ascii_only=app.startup.ascii),
        partial(_take_model, app),
    )


def _take_model(app: Explorer, model: str | None) -> None:
    if model is not None:
        _load(app, _like(app.asker.options, model))


def load_shown(app: Explorer) -> None:
    """Load the shown run's model, and ask its question again."""
    run = app.state.current
    card = run.run.question.model if run is not None else None
    if run is None or card is None:
        app.say("no run with a model to load is shown; M chooses one")
        return
    app.beside.put(run.run.question)
    _load(app, _as_options(card, app.asker.options))


def _load(app: Explorer, options: LoadOptions) -> None:
    app.asker.load(options, app.presenter.question)
    app.presenter.show_all()


def _like(options: LoadOptions | None, model: str) -> LoadOptions:
    """Return options that load another model on the same device and in the same way. The revision,
    the adapter and the permissions to run code or open pickles do not carry over."""
    if options is None:
        return LoadOptions(model)
    return replace(
        options,
        model=model,
        revision=None,
        trust_remote_code=False,
        allow_pickle=False,
        adapter=None,
        no_adapter=False,
    )


def _as_options(card: ModelCard, options: LoadOptions | None) -> LoadOptions:
    if options is not None and options.model == card.name:
        return options
    return replace(_like(options, card.name), revision=card.revision, adapter=card.adapter)
