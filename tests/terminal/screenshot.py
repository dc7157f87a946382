"""Takes the README's picture of the explorer: the real program on the bundled model, as SVG.

python -m tests.terminal.screenshot docs/explorer.svg [--prompt P] [--image F] [--size 120x40]
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import samples
from engine.events import LoadOptions
from engine.records import Picture, Question

if TYPE_CHECKING:
    from tui.app import Explorer

_PATIENCE = 300.0


async def take(startup_question: Question, size: tuple[int, int], theme: str | None) -> str:
    """Run the explorer until its first run has ended and the picture shows; return the SVG."""
    from tui.app import Explorer
    from tui.panes.preview import Preview
    from tui.startup import Startup

    app = Explorer(
        Startup(options=LoadOptions(str(samples.MODEL)), question=startup_question, theme=theme)
    )
    async with app.run_test(size=size) as pilot:
        preview = app.screen.query_one(Preview)
        end = asyncio.get_running_loop().time() + _PATIENCE
        while not (_ended(app) and preview.drawn):
            if asyncio.get_running_loop().time() > end:
                raise SystemExit(f"no run has ended within {_PATIENCE:.0f} s: {app.state.note}")
            await pilot.pause(0.1)
        await pilot.pause(0.5)  # the detail follows the cursor after a rest
        return app.export_screenshot(title="lenscope")


def _ended(app: Explorer) -> bool:
    return app.state.current is not None and not app.state.busy


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--prompt", default="Color of the main object:")
    parser.add_argument("--image", type=Path, default=samples.DEFAULT_PICTURE)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--theme")
    given = parser.parse_args()
    # What the picture looks like must not depend on where the command is run.
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", HF_HUB_OFFLINE="1")
    os.environ.pop("NO_COLOR", None)
    columns, rows = (int(part) for part in given.size.split("x"))
    question = Question(prompt=given.prompt, picture=Picture(str(given.image)))
    svg = asyncio.run(take(question, (columns, rows), given.theme))
    given.file.parent.mkdir(parents=True, exist_ok=True)
    given.file.write_text(svg, "utf-8")
    print(f"wrote {given.file}")


if __name__ == "__main__":
    main()
