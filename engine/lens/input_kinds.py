"""Which kind of inputs something is known of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.passes.prefix_cache import USE_CACHE


def kind_of(inputs: Mapping[str, Any]) -> frozenset[str]:
    """The names of those inputs that are given. It is the same before and after `Lens.on_device`,
    which adds `use_cache`."""
    given = (name for name, value in inputs.items() if value is not None)
    return frozenset(given) - {USE_CACHE}
