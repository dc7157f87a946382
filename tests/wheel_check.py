"""Install the built wheel into an empty environment and run the bundled model from /.

Run by `.ci/run`: python tests/wheel_check.py FOLDER_OF_THE_WHEEL
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def empty_environment(folder: Path) -> Path:
    """Make a virtual environment in a folder; its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


def install(python: Path, *what: str | Path) -> None:
    """Install from the registry, or from a file, with pip.

    Raises:
        CalledProcessError: pip failed.
    """
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([python, *pip, *what], check=True)


def main(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    with tempfile.TemporaryDirectory() as made:
        python = empty_environment(Path(made) / "venv")
        install(python, wheel)
        install(python, "--no-deps", "--upgrade", "pillow>=13")
        command = python.parent / "lenscope"
        done = subprocess.run(
            [command, "run", "--json", "-"], cwd="/", check=True, capture_output=True, text=True
        )
        (run,) = json.loads(done.stdout)["runs"]
        assert run["proof"]["passed"], run["proof"]
        assert len(run["rows"]) == run["layers"] + 1
        answer = run["rows"][-1]["top"][0]["text"]
        door = "import lenscope; print(lenscope.Question('a').prompt)"
        subprocess.run([python, "-c", door], cwd="/", check=True, capture_output=True)
        print(f"the wheel runs from /: {answer.strip()!r}, proof passed")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
