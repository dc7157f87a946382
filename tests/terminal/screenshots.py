"""Takes the README's pictures: the real program on the bundled model, as SVG.

python -m tests.terminal.screenshots [docs] [--only NAME]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import samples
from engine.events import LoadOptions
from engine.records import Picture, Question

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.app import Explorer

_PATIENCE = 300.0


@dataclass(frozen=True)
class View:
    """One picture: how the explorer is started, and what is pressed before it is taken."""

    keys: tuple[str, ...] = ()
    """`wait` waits until the model is idle."""
    prompt: str = "Color of the main object:"
    size: tuple[int, int] = (120, 40)
    theme: str | None = None


VIEWS = {
    "explorer": View(),
    "trajectories": View(
        ("t", *"red,blue", "wait", "tab", "down", "down", "down", "down", "tab", "enter", "wait"),
    ),
    "grid": View(("2", "2", *["wait"] * 4, *["less_than_sign"] * 6)),
    "words": View(("3", *["wait"] * 8, "slash", *"sphere", "enter", *["wait"] * 3, "n")),
    "attention": View(("4", *["wait"] * 6, "K", *["wait"] * 20, "n", "n", *["wait"] * 3)),
    "answer": View(
        (
            "c",
            *["wait"] * 6,
            "e",
            *"temperature=2,draws=100,attention=true",
            "enter",
            *["wait"] * 20,
            "f",
            "f",
            "left",
            "tab",
            "wait",
        ),
        prompt="Shape of the main object:",
    ),
    "parts": View(("6", *["wait"] * 6, "a", *["wait"] * 12, "n", "wait")),
    "neurons": View(("9", *["wait"] * 6, "a", *["wait"] * 20)),
    "tracing": View(("7", *["wait"] * 24, "space", "right", "down", "space", *["wait"] * 8)),
    "saliency": View(
        ("8", *["wait"] * 8, "b", *["wait"] * 40, "F", *["wait"] * 40, "b", *["wait"] * 60, "n")
    ),
    "history": View(("a", "wait")),
    "comparison": View(("]", "r", "wait", "b"), prompt="Color of the main object:"),
    "against": View(("B", "wait", "P", "wait"), prompt="Color of the main object:"),
    "narrow": View(("d",), size=(80, 24), theme="lenscope-light"),
}


async def take(view: View) -> str:
    """Run the explorer until its first run has ended and the picture shows, press the view's keys;
    return the SVG."""
    from tui.app import Explorer
    from tui.startup import Startup

    question = Question(prompt=view.prompt, picture=Picture(str(samples.DEFAULT_PICTURE)))
    app = Explorer(
        Startup(
            options=LoadOptions(str(samples.MODEL)),
            question=question,
            theme=view.theme,
            remember=False,
            autosave=False,
        )
    )
    async with app.run_test(size=view.size) as pilot:
        await _wait(pilot, lambda: app.main.preview.drawn and _idle(app), app)
        for key in view.keys:
            if key == "wait":
                await pilot.pause(0.3)
                await _wait(pilot, lambda: _idle(app), app)
            else:
                await pilot.press({" ": "space", ",": "comma"}.get(key, key))
        await pilot.pause(0.8)  # what follows the cursor comes after a rest
        return app.export_screenshot(title="lenscope")


def _idle(app: Explorer) -> bool:
    return app.state.current is not None and not app.state.busy and not app.state.queued


async def _wait(pilot: Pilot[int], holds: Callable[[], bool], app: Explorer) -> None:
    end = asyncio.get_running_loop().time() + _PATIENCE
    while not holds():
        if asyncio.get_running_loop().time() > end:
            raise SystemExit(f"waited for {_PATIENCE:.0f} s in vain: {app.state.note}")
        await pilot.pause(0.1)


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs"))
    parser.add_argument("--only", choices=VIEWS)
    given = parser.parse_args()
    # What the pictures look like must not depend on where the command is run.
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", HF_HUB_OFFLINE="1")
    os.environ.pop("NO_COLOR", None)
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        for name, view in VIEWS.items():
            if given.only in (None, name):
                file = given.folder / f"{name}.svg"
                file.write_text(asyncio.run(take(view)), "utf-8")
                print(f"wrote {file}")


if __name__ == "__main__":
    main()
