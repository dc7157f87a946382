#!/usr/bin/env python3
"""Set up and start Lenscope from a clone: `python3 dev.py open`, `python3 dev.py test`.

Makes a virtual environment in .venv and installs into it, once and again whenever pyproject.toml
changes; the system's Python is left alone. Needs Python 3.11 to 3.13 with pip, nothing else.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
COMMANDS = {
    "open": "open the explorer; what follows goes to lenscope",
    "test": "install what the tests need and run them; what follows goes to pytest",
    "check": "ruff, mypy and the import contracts",
    "python": "the environment's Python",
}


def main() -> int:
    """Carry out one command; its exit code."""
    command, rest = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if command not in COMMANDS:
        print("usage: python3 dev.py COMMAND [...]", file=sys.stderr)
        for name, what in COMMANDS.items():
            print(f"  {name:8}{what}", file=sys.stderr)
        return 2
    install(with_tests=command in ("test", "check"))
    if command == "open":
        return replace_by(["-m", "tui", *rest])
    if command == "python":
        return replace_by(rest)
    if command == "test":
        # A quarter of the time a worker waits, for a screen or for a program that it has started:
        # one more than there are cores. Each imports torch: many only wait for each other's disk.
        workers = str(min(4, (os.cpu_count() or 1) + 1))
        # A worker that has nothing left takes tests from another: some take half a minute.
        return run(["-m", "pytest", "-n", workers, "--dist", "worksteal", *rest])
    return (
        run(["-m", "ruff", "check", "."])
        or run(["-m", "ruff", "format", "--check", "."])
        or run(["-m", "mypy"])
        or run(["-c", "from importlinter.cli import lint_imports_command as c; c()"])
    )


def install(with_tests: bool) -> None:
    """Bring .venv up to date with pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_bytes()
    wanted = hashlib.sha256(project + b"tests" * with_tests).hexdigest()
    with_all = hashlib.sha256(project + b"tests").hexdigest()
    stamp = VENV / "installed"
    if stamp.is_file() and stamp.read_text() in (wanted, with_all):
        return
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        sys.exit(f"Lenscope needs Python 3.11 to 3.13; this is {sys.version.split()[0]}")
    if not PYTHON.exists():
        print("making a virtual environment in .venv", file=sys.stderr)
        venv.create(VENV, with_pip=True)
    print("installing (once; some minutes)", file=sys.stderr)
    # Of torch and transformers most modules are never imported: compiling all takes a minute.
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    packages = ["-e", str(ROOT)]
    if with_tests:
        packages += tomllib.loads(project.decode())["dependency-groups"]["dev"]
    # term-image's metadata asks for Pillow < 11, whose decoders have known holes; it works with 13.
    pillow = ["--no-deps", "--upgrade", "pillow>=13"]
    for arguments in (packages, pillow):
        if run([*pip, *arguments]):
            sys.exit("the installation failed; see above")
    stamp.write_text(wanted)


def run(arguments: list[str]) -> int:
    """Run the environment's Python in the project's folder."""
    # The tests start a hundred processes. Where Python may keep nothing that it has compiled, as in
    # many containers, each compiles torch and transformers again: 17 s of a processor.
    environment = {key: value for key, value in os.environ.items() if key != NO_BYTECODE}
    return subprocess.run([str(PYTHON), *arguments], cwd=ROOT, env=environment).returncode


def replace_by(arguments: list[str]) -> int:
    """Become the environment's Python, in the user's own folder."""
    if os.name != "nt":
        os.execv(PYTHON, [str(PYTHON), *arguments])
    return subprocess.run([str(PYTHON), *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main())
