"""Small checkpoints on disk, one function per family; see `parts`."""

from __future__ import annotations

import importlib
import pkgutil

from tests.folders.parts import FOLDERS

__all__ = ["FOLDERS"]

# Every module beside this one registers its folders when it is imported.
for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")
