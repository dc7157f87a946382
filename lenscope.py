"""Lenscope for scripts and notebooks: `from lenscope import load`. The same names as `engine`."""

from __future__ import annotations

from typing import Any

import engine

__all__ = engine.__all__


def __getattr__(name: str) -> Any:
    return getattr(engine, name)
