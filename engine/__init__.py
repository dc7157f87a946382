"""The headless core of Lenscope: the logit lens of vision-language models.

`import engine` does not import torch: the heavy modules load when a name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import CannotLoad, CannotRead, LenscopeError

if TYPE_CHECKING:
    from engine.lens import Lens
    from engine.loading import Loaded, load

__all__ = ["CannotLoad", "CannotRead", "Lens", "LenscopeError", "Loaded", "load"]

_HOME_OF = {"Lens": "engine.lens", "Loaded": "engine.loading", "load": "engine.loading"}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        from importlib import import_module

        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'engine' has no attribute {name!r}")
