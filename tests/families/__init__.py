"""Tiny models of real transformers classes, one builder per family; see `parts`."""

from __future__ import annotations

import importlib
import pkgutil

from tests.families.parts import FAMILIES, Tiny

__all__ = ["FAMILIES", "Tiny"]

# Every module beside this one registers its families when it is imported.
for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")
