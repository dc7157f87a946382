"""What a model cannot be asked."""

from __future__ import annotations

from engine.errors import BadInput


class Unavailable(BadInput):
    """This model, or this prompt, does not take that counterfactual; others it may take."""
