"""The table of families: how each is read, its proof, and its rows against the truncated model.

python -m tests.families [FAMILY ...]
"""

from __future__ import annotations

import sys

import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging

from engine import CannotRead, Lens
from engine.lens.check import check_rows
from tests.families import FAMILIES


def main(names: list[str]) -> int:
    """Print one line per family and the count; 1 where any is neither right nor refused."""
    logging.set_verbosity_error()
    print(f"{'family':28} {'rows':>4}  {'method':7} {'difference':>10}  {'oracle':>7}  verdict")
    verdicts: dict[str, int] = {}
    for name in names or sorted(FAMILIES):
        try:
            tiny = FAMILIES[name]()
            lens = Lens(tiny.model)
            rows = list(check_rows(lens, tiny.inputs))
        except CannotRead as error:
            print(f"{name:28} {'-':>4}  {'-':7} {'-':>10}  {'-':>7}  refused: {error}")
            verdicts["refused"] = verdicts.get("refused", 0) + 1
            continue
        right = sum(row.right for row in rows)
        honest = all(row.honest for row in rows)
        verdict = "exact" if right == len(rows) else "approximate, said so" if honest else "WRONG"
        gap = lens.model_parts.proof.max_abs_difference
        proof = "-" if gap is None else f"{gap:.1e}"
        print(
            f"{name:28} {len(rows):>4}  {lens.method:7} {proof:>10}  "
            f"{right:>3}/{len(rows):<3}  {verdict}",
            flush=True,
        )
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        if not honest:
            for row in rows:
                if not row.honest:
                    print(f"{'':28} row {row.row}: {row.difference} > {row.tolerance:.1e}")
    print(", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
    if not names:
        types = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
        print(
            f"{len(types & FAMILIES.keys())} of the {len(types)} model types in the "
            f"image-text-to-text mapping of transformers {transformers.__version__}; "
            f"not among them: {', '.join(sorted(types - FAMILIES.keys())) or 'none'}"
        )
    return int("WRONG" in verdicts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
