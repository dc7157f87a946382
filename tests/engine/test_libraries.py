"""Importing torch and transformers in the worker's thread, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import gc, json, sys, threading
import engine.models.importing
from engine.system import libraries

before = "torch" in sys.modules
frozen = [gc.get_freeze_count()]
thread = threading.Thread(target=libraries.import_libraries)
thread.start()
thread.join()
frozen.append(gc.get_freeze_count())
libraries.import_libraries()
frozen.append(gc.get_freeze_count())
import torch
from transformers import utils

print(json.dumps({
    "before": before,
    "after": "transformers.generation.utils" in sys.modules,
    "scipy": [name for name in ("scipy.optimize", "sklearn.metrics") if name in sys.modules],
    "answers": utils.is_scipy_available.__name__,
    "collecting": gc.isenabled(),
    "frozen": frozen,
    "product": (torch.ones(3, 3) @ torch.ones(3, 3)).sum().item(),
}))
"""


@pytest.mark.slow
def test_the_libraries_work_and_the_collector_is_back() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    found = json.loads(told.stdout)
    none, once, again = found.pop("frozen")
    assert none == 0
    assert once == again > 100_000
    assert found == {
        "before": False,
        "after": True,
        "scipy": [],
        "answers": "is_scipy_available",
        "collecting": True,
        "product": 27.0,
    }
