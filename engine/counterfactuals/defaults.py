"""Defaults of contrast and debias, in a module that does not import torch."""

from __future__ import annotations

CONTRAST_A, CONTRAST_B = 1.0, 0.1
"""The defaults of the command line of VDD's released code; its scripts use b = 0.2."""
