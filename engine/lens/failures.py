"""What to say of a proof that has failed."""

from __future__ import annotations

from engine.records import Proof


def describe_failure(proof: Proof) -> str:
    """One line that says why the rows of a pass cannot be trusted."""
    size = "not finite" if proof.max_abs_difference is None else f"{proof.max_abs_difference:.3g}"
    return (
        f"the proof failed: the lens's last row differs from the model's logits by {size} "
        f"(tolerance {proof.tolerance:.3g})"
    )
