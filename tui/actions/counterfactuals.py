"""Actions that replace the picture by a counterfactual and compare the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from engine.counterfactuals.grammar import FORMS, MEANINGS, parse_against
from engine.errors import LenscopeError
from engine.events import RunEnded
from engine.records import Counterfactual
from tui.actions.runs import pair_context, show_run
from tui.app import Explorer
from tui.state.run_view import Phase, RunView
from tui.widgets.chooser import Choice, Chooser


def without(app: Explorer) -> None:
    """Ask the question without the picture, and show both runs side by side."""
    run = _run_with_picture(app)
    if run is None:
        return
    known = app.state.counterfactuals_of(run)
    done = [other for other in known if other.counterfactual == "none" and other.rows]
    if done:
        _lay_side_by_side(app, run, done[-1])
    else:
        _ask(app, run, parse_against("none", app.seed))
    app.presenter.show_all()


def every(app: Explorer) -> None:
    """Ask the question with every image replacement."""
    run = _run_with_picture(app)
    if run is None:
        return
    from tui.views.compare.against_list import AgainstList

    known = {other.counterfactual for other in app.state.counterfactuals_of(run)}
    names = [name for name in MEANINGS if name != "other" and name not in known]
    if not names or app.asker.ask_against(run, parse_against(names, app.seed)):
        app.push_screen(
            AgainstList(
                app.state, run, expected=len(known | {*names}), ascii_only=app.startup.ascii
            ),
            lambda _: _show_again(app, run),
        )
    app.presenter.show_all()


def _show_again(app: Explorer, run: RunView) -> None:
    app.state.show(run)
    show_run(app, run)


def choose(app: Explorer) -> None:
    """Choose what to show instead of the picture, with its value."""
    run = _run_with_picture(app)
    if run is None:
        return
    choices = [Choice(name, FORMS.get(name, name), meaning) for name, meaning in MEANINGS.items()]
    app.push_screen(
        Chooser(
            "instead of the picture",
            choices,
            ascii_only=app.startup.ascii,
            free="as typed",
            hint="noise=999, blur=8, other=FILE",
        ),
        partial(_take_choice, app, run),
    )


def _take_choice(app: Explorer, run: RunView, chosen: str | None) -> None:
    if chosen is None:
        return
    try:
        counterfactuals = parse_against(chosen, app.seed)
    except LenscopeError as error:
        app.say(str(error), "error")
        return
    _ask(app, run, counterfactuals)
    app.presenter.show_all()


def _ask(app: Explorer, run: RunView, counterfactuals: Sequence[Counterfactual]) -> None:
    """Ask, and show both runs side by side once the counterfactual has ended."""
    if not app.asker.ask_against(run, counterfactuals):
        return
    app.stop_waiting()
    stop: Callable[[], None] = app.dispatch.on(RunEnded, lambda event: ended(event))
    app.stop_waiting = stop

    def ended(event: RunEnded) -> None:
        comparison = app.state.comparisons.get(event.run.id)
        if comparison is None or comparison.of != run.run.id or app.has_dialog:
            return
        app.stop_waiting()
        picture, other = app.state.find(comparison.of), app.state.find(event.run.id)
        if picture is not None and other is not None and other.rows:
            app.state.show(picture)
            _lay_side_by_side(app, picture, other)


def _lay_side_by_side(app: Explorer, picture: RunView, other: RunView) -> None:
    from tui.views.compare.without import Without

    comparison = app.state.comparisons.get(other.run.id)
    if comparison is None:
        return
    app.push_screen(
        Without(
            picture,
            other,
            comparison,
            app.context,
            pair_context(app),
            _references(app, picture, other),
        ),
        lambda _: app.presenter.show_all(),
    )


def _references(
    app: Explorer, picture: RunView, other: RunView
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the possible references of the contrast: this counterfactual, and `none`, `unk` or
    both as in VDD, if they have been asked."""
    done = {
        view.counterfactual: view.run.id
        for view in app.state.counterfactuals_of(picture)
        if view.phase is Phase.DONE
    }
    found: list[tuple[str, tuple[str, ...]]] = [(other.counterfactual, (other.run.id,))]
    others = [name for name in ("none", "unk") if name in done and name != other.counterfactual]
    found += [(name, (done[name],)) for name in others]
    if "none" in done and "unk" in done:
        found.append(("both", (done["none"], done["unk"])))
    return found


def _run_with_picture(app: Explorer) -> RunView | None:
    run = app.state.current
    if run is None:
        app.say("no run yet: r runs the question")
        return None
    return app.state.picture_of(run)
