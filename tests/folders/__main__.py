"""Load every folder by the ordinary path and ask it a question with a picture.

python -m tests.folders [NAME ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from engine import load
from engine.asking.asking import Asking
from engine.errors import LenscopeError
from engine.records import Picture, Question
from tests.folders import FOLDERS


def main(names: list[str]) -> int:
    """Print one line per folder; 1 where any does not load or does not answer."""
    failed = 0
    for name in names or sorted(FOLDERS):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, name)
            path.mkdir()
            FOLDERS[name](path)
            picture = Path(place, "picture.png")
            Image.effect_noise((61, 40), 90).convert("RGB").save(picture)
            try:
                loaded = load(path)
                shown = Picture(str(picture)) if loaded.takes_pictures else None
                run = Asking(loaded, Question(prompt="What color?", picture=shown)).run()
            except LenscopeError as error:
                print(f"{name:20} REFUSED  {error}")
                failed += 1
                continue
            images = sum(token.kind == "image" for token in run.tokens)
            print(
                f"{name:20} {run.status:7} rows {len(run.rows)} tokens {len(run.tokens)} "
                f"of which picture {images}; asked {run.question.text[:100]!r} {run.error or ''}"
            )
            failed += run.status != "done"
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
