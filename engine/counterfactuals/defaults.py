"""What holds unless something else is said; known before torch is."""

from __future__ import annotations

CONTRAST_A, CONTRAST_B = 1.0, 0.1
"""As the command line of VDD's released code has them; its scripts take b = 0.2."""
