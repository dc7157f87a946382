"""The error of counterfactuals that a model cannot take."""

from __future__ import annotations

from engine.errors import BadInput


class Unavailable(BadInput):
    """This model or prompt does not take the counterfactual; it may take others."""
