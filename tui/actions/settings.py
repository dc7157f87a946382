"""The action that changes how the next question is asked, and how the model is loaded."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from tui.app import Explorer
from tui.views.settings.settings_form import Settings, SettingsForm


def show(app: Explorer) -> None:
    """Show the settings, and take those that are changed."""
    before = _settings(app)
    app.push_screen(SettingsForm(before, ascii_only=app.startup.ascii), partial(_take, app, before))


def _settings(app: Explorer) -> Settings:
    question, options = app.state.question, app.asker.options
    return Settings(
        system=question.system or "",
        prefix=question.prefix,
        chat=question.chat,
        norm=question.norm,
        top_k=app.state.top_k,
        seed=app.seed,
        device=options.device if options is not None else "auto",
        dtype=options.dtype if options is not None else "auto",
        quantize=(options.quantize if options is not None else None) or "",
    )


def _take(app: Explorer, before: Settings, now: Settings | None) -> None:
    if now is None or now == before:
        return
    app.seed = now.seed
    app.state.question = replace(
        app.state.question,
        system=now.system or None,
        prefix=now.prefix,
        chat=now.chat,
        norm=now.norm,
    )
    if now.top_k != before.top_k:
        app.asker.more(now.top_k - before.top_k, app.presenter.question)
    options = app.asker.options
    loaded = (before.device, before.dtype, before.quantize)
    if loaded != (now.device, now.dtype, now.quantize):
        if options is None:
            app.say("no model is loaded: M chooses one", "error")
        else:
            changed = replace(
                options, device=now.device, dtype=now.dtype, quantize=now.quantize or None
            )
            app.asker.load(changed, app.presenter.question)
    elif app.state.note is None or app.state.note.kind != "error":
        app.say(f"{app.keymap.first('run') or 'the palette'} asks with these settings")
    app.presenter.show_all()
