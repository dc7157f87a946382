"""What a frame takes of the processor: Textual's own writing, and the cells that change.

    python -m tests.terminal.frame_benchmark

Frames of the explorer with a picture at 120x40, each composed anew (its strips have not been
rendered before), in true colour; milliseconds, medians of interleaved repeats. Reports, asserts
nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from textual._compositor import CompositorUpdate
from textual.geometry import Size

from engine.events import LoadOptions
from engine.records import Picture, Question
from tests.terminal.pty_app import ROOT
from tests.tui.fakes import FakeWorker
from tui.app import Explorer
from tui.startup import Startup
from tui.terminal.output import Output

_SIZE = Size(120, 40)
_REPEATS = 15


async def _measure() -> None:
    picture = Picture(str(ROOT / "samples" / "pictures" / "scene_1.png"))
    startup = Startup(
        LoadOptions("samples/model"),
        Question(prompt="Shape of the main object:", picture=picture),
        worker=partial(FakeWorker, layers=32, forms_at=16),
        remember=False,
        autosave=False,
    )
    app = Explorer(startup)
    console = Console(color_system="truecolor", force_terminal=True, width=120)
    async with app.run_test(size=(_SIZE.width, _SIZE.height)) as pilot:
        await pilot.pause(1.0)
        output = Output(lambda: True)
        output.compose(app.screen._compositor.render_full_update(), _SIZE, console)
        output.patch()

        def everything() -> CompositorUpdate:
            _compose_again(app)
            return app.screen._compositor.render_full_update()

        _report("a whole frame, on an unknown terminal", everything, console, output, forget=True)
        _report("a whole frame, of which nothing changes", everything, console, output)
        await pilot.press("z")
        await pilot.pause(0.5)
        _report("the enlarged picture", everything, console, output, forget=True)
        await pilot.press("escape")
        await pilot.pause(0.5)

        steps = iter(range(10_000))

        def step() -> CompositorUpdate:
            app.main.table.put_cursor(next(steps) % 30)
            table = app.main.table
            app.screen._compositor.update_widgets({table, app.main.query_one("#detail")})
            update = app.screen._compositor.render_partial_update()
            assert update is not None
            return update

        _report("a cursor step", step, console, output)


def _compose_again(app: Explorer) -> None:
    """Drop what widgets have drawn, so that every strip is a new one."""
    for widget in app.screen.walk_children(with_self=True):
        widget._styles_cache.clear()  # type: ignore[attr-defined]


def _report(
    name: str,
    frame: Callable[[], CompositorUpdate],
    console: Console,
    output: Output,
    *,
    forget: bool = False,
) -> None:
    whole: list[float] = []
    cells: list[float] = []
    for _ in range(_REPEATS):
        update = frame()
        start = time.perf_counter()
        update.render_segments(console)
        whole.append(time.perf_counter() - start)
        update = frame()
        if forget:
            output.forget()
        start = time.perf_counter()
        output.compose(update, _SIZE, console)
        output.patch()
        cells.append(time.perf_counter() - start)
    print(
        f"{name:42} {1000 * statistics.median(whole):7.2f} ms written whole, "
        f"{1000 * statistics.median(cells):7.2f} ms by cells"
    )


if __name__ == "__main__":
    asyncio.run(_measure())
