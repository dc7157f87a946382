"""What must stay light: seen from fresh interpreters, a few of them, each asked many things."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import engine
import lenscope

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "transformers", "accelerate", "numpy", "safetensors", "tokenizers"}
TERMINAL = {"tui", "textual", "rich", "term_image"}

SESSION = (
    '{"format": "lenscope-session", "version": 1, "created": "2026-11-22T03:00:00Z",'
    ' "saved": "2026-11-22T03:00:00Z", "runs": [], "comparisons": [], "view": {}}'
)


def loaded_after(code: str, folder: Path) -> set[str]:
    """The top-level modules in memory after `code` ran in a fresh interpreter."""
    tail = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_engine_brings_neither_torch_nor_a_terminal(tmp_path: Path) -> None:
    found = loaded_after("import engine, lenscope", tmp_path)
    assert not found & (HEAVY | TERMINAL | {"PIL"})


def test_the_public_door_is_one_list_of_names() -> None:
    for name in engine.__all__:
        assert getattr(lenscope, name) is getattr(engine, name)
    assert set(engine.__all__) <= set(dir(engine))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lenscope.nonsense


def test_opening_a_session_brings_no_torch(tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text(SESSION)
    code = (
        "import engine.records, engine.pictures.opening, engine.events, engine.worker\n"
        "from engine.sessions import read_session, write_session\n"
        "write_session(read_session('session.json'), 'again.json')\n"
        "from engine.pages.opening import read_page\n"
        "from engine.pages.page import write_page\n"
        "write_page(read_session('session.json'), 'page.html')\n"
        "assert read_page('page.html') == read_session('session.json')"
    )
    assert not loaded_after(code, tmp_path) & (HEAVY | TERMINAL)
    assert (tmp_path / "again.json").read_text() == SESSION + "\n"


def test_the_app_brings_no_torch(tmp_path: Path) -> None:
    found = loaded_after("import tui.app, tui.cli", tmp_path)
    assert "textual" in found
    assert not found & HEAVY - {"numpy"}


def test_reopening_a_session_from_the_command_line_brings_no_torch(tmp_path: Path) -> None:
    """Up to the check for a terminal, which fails here: stdout is a pipe."""
    (tmp_path / "session.json").write_text(SESSION)
    code = "from tui.cli import main\nassert main(['session.json']) == 2"
    assert not loaded_after(code, tmp_path) & (HEAVY | {"textual"})


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_are_quick_and_light(tmp_path: Path, option: str) -> None:
    code = (
        "import contextlib\n"
        "from tui.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main([{option!r}])"
    )
    found = loaded_after(code, tmp_path)
    assert not found & (HEAVY | {"textual", "rich", "PIL", "msgspec"})


def test_the_version_answers_in_a_moment(tmp_path: Path) -> None:
    """Well above the 0.2 s that it may take on a quiet machine: importing torch takes longer."""
    fastest = 9.0
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "tui", "--version"], capture_output=True, text=True, check=True
        )
        fastest = min(fastest, time.perf_counter() - began)
        assert done.stdout.startswith("lenscope ")
    assert fastest < 0.8


def test_bad_usage_is_found_without_torch(tmp_path: Path) -> None:
    """A missing picture, folder or session, and a damaged one."""
    (tmp_path / "damaged.json").write_text("{")
    code = (
        "from tui.cli import main\n"
        "assert main(['run', '--image', 'missing.png']) == 2\n"
        "assert main(['run', '--model', './missing']) == 3\n"
        "assert main(['missing.json']) == 2\n"
        "assert main(['damaged.json']) == 2\n"
    )
    assert not loaded_after(code, tmp_path) & HEAVY - {"numpy"}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("engine", TERMINAL), ("tui", set()), ("samples", TERMINAL | {"engine"})],
)
def test_no_module_names_what_it_must_not_import(package: str, forbidden: set[str]) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert not roots & forbidden, f"{path}: {roots & forbidden}"
            if package == "tui":
                assert not roots & {"torch", "transformers"}, f"{path}: {roots}"
