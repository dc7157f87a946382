"""The headless core of Lenscope: the logit lens of vision-language models.

    from engine import load

    loaded = load("samples/model")
    asked = loaded.ask("Color of the main object:", image="a.png")
    for row in asked.run.rows:
        print(row.layer, row.top[0].text, row.top[0].probability)

`import engine` does not import torch: heavy modules are imported when a name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import BadInput, CannotLoad, CannotRead, LenscopeError

if TYPE_CHECKING:
    from engine.door import Asked, Loaded, load
    from engine.lens.lens import Lens
    from engine.pictures.opening import open_picture
    from engine.records import Counterfactual, Question

__all__ = [
    "Asked",
    "BadInput",
    "CannotLoad",
    "CannotRead",
    "Counterfactual",
    "Lens",
    "LenscopeError",
    "Loaded",
    "Question",
    "load",
    "open_picture",
]

_HOME_OF = {
    "Asked": "engine.door",
    "Counterfactual": "engine.records",
    "Lens": "engine.lens.lens",
    "Loaded": "engine.door",
    "Question": "engine.records",
    "load": "engine.door",
    "open_picture": "engine.pictures.opening",
}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        from importlib import import_module

        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'engine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
