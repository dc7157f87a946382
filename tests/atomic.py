"""What it means that a file is replaced as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def assert_replaced_whole(path: Path, write: Callable[[], object]) -> None:
    """Assert that `write` changes what is at `path` without ever changing the old file.

    Whoever has the old file open, or another name for it, keeps its whole content: nothing was
    written in its place, so that whatever kills the writer leaves the old file or the new one.
    """
    before = path.read_bytes()
    twin = path.with_name("twin")
    os.link(path, twin)
    names = {each.name for each in path.parent.iterdir()}
    with path.open("rb") as reader:
        write()
        assert reader.read() == before
    assert twin.read_bytes() == before
    assert path.read_bytes() != before
    assert {each.name for each in path.parent.iterdir()} == names  # and nothing else is left
    twin.unlink()
