"""Makes the bundled model anew: ``python -m samples.making``.

Renders the scenes, trains, saves, measures, and writes the model card. An interrupted run
resumes from the working folder.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from samples import MODEL
from samples.making import evaluate
from samples.making.pictures import write_pictures
from samples.making.train import Recipe, Trainer


def main() -> None:
    """Parses the options and runs everything."""
    parser = argparse.ArgumentParser(prog="python -m samples.making", description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL, help="folder of the model")
    parser.add_argument(
        "--work", type=Path, default=Path("build/samples"), help="scenes and checkpoint"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="rendering processes")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="PyTorch threads")
    parser.add_argument(
        "--steps", type=int, help="train every stage for this many steps only (a quick try)"
    )
    parser.add_argument(
        "--start", type=Path, help="run only the last stage, from the weights in this folder"
    )
    parser.add_argument("--scenes", type=int, help="train on this many scenes only")
    parser.add_argument("--test-scenes", type=int, default=1000, help="scenes to measure with")
    parser.add_argument("--eager", action="store_true", help="do not compile the layers")
    parser.add_argument("--pictures", action="store_true", help="only render the sample pictures")
    options = parser.parse_args()
    if options.pictures:
        write_pictures()
        return
    torch.set_num_threads(options.threads)
    recipe = Recipe()
    if options.steps:
        stages = tuple(replace(stage, steps=options.steps) for stage in recipe.stages)
        recipe = replace(recipe, stages=stages)
    if options.scenes:
        recipe = replace(recipe, scenes=options.scenes)

    def log(line: str) -> None:
        print(time.strftime("%H:%M:%S"), line, flush=True)

    trainer = Trainer(
        recipe,
        options.work,
        workers=options.workers,
        compiled=not options.eager,
        start=options.start,
        log=log,
    )
    minutes = trainer.run()
    trainer.save(options.out)
    training = {
        "recipe": asdict(recipe),
        "minutes": minutes,
        "device": str(trainer.device),
        "threads": options.threads,
    }
    if options.start is not None:
        before = json.loads((options.start / "training.json").read_text())
        training["started_from"] = {"minutes": before["minutes"], "threads": before["threads"]}
    (options.out / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    evaluate.main([str(options.out), "--scenes", str(options.test_scenes)])


if __name__ == "__main__":
    main()
