"""`lenscope check`: the model parts that were found, their proof, and every row compared with
the same model truncated to that many layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from engine.errors import LenscopeError
from engine.events import LoadOptions
from engine.records import Question
from tui.commands.exits import Exit
from tui.commands.talk import clear_progress, model_line, progress, say
from tui.text.loading_times import timing_lines
from tui.text.show import display_text

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel

PATCHES_SIZE: Final = (640, 480)
"""Pixels of the picture on which patches are tried."""


def run_check(options: LoadOptions, proof_only: bool, timings: bool = False) -> int:
    """Load the model, print the parts found, then one line per row; return the exit code.

    `proof_only` leaves out the rows; `timings` adds what each phase of loading took. Raises what
    loading raises.
    """
    from engine.models.importing import import_and_load

    loaded = import_and_load(options, progress)
    from engine.lens.check import describe

    clear_progress()
    say(model_line(loaded))
    takes = "text and pictures" if loaded.takes_pictures else "text only"
    asked = "a chat template" if loaded.has_chat_template else "no chat template: asked raw"
    _line("model", loaded.card.class_name)
    _line("takes", f"{takes}; {asked}")
    for note in loaded.card.notes:
        _line("notes", note)
    for what, how in describe(loaded.lens):
        _line(what, how)
    if loaded.takes_pictures:
        _line("patches", _patches(loaded))
    code = Exit.DONE if proof_only else _check_rows(loaded)
    if timings:
        print("\nloading", *timing_lines(loaded.seconds), sep="\n", flush=True)
    return code


def _check_rows(loaded: LoadedModel) -> Exit:
    """Print each row's difference from the model truncated there; return the exit code."""
    from engine.lens.check import check_rows
    from engine.models.loading import probe_inputs

    print("\nrow   off by    the same model truncated to so many layers", flush=True)
    checks = []
    for check in check_rows(loaded.lens, probe_inputs(loaded.model, loaded.processor)):
        checks.append(check)
        gap = "-" if check.difference is None else f"{check.difference:.1e}"
        verdict = "equal" if check.right else check.note or "DIFFERENT"
        if check.difference is None:
            verdict = "cannot be truncated so far"
        print(f"{check.row:>3}   {gap:<9} {verdict}", flush=True)
    right = sum(check.right for check in checks)
    uncut = sum(check.difference is None for check in checks)
    wrong = sum(check.difference is not None and not check.honest for check in checks)
    print()
    _line("rows", f"{right} of {len(checks)} equal the model truncated to as many layers")
    if uncut:
        _line("", f"{uncut} could not be compared: the model's code does not run truncated")
    if wrong:
        say(
            f"{wrong} rows differ from the truncated model and are not marked approximate: "
            "please report it"
        )
        return Exit.MODEL
    return Exit.DONE


def _patches(loaded: LoadedModel) -> str:
    """Which part of a picture its tokens show, tried on a grey one."""
    from PIL import Image

    from engine.lens.check import describe_patches
    from engine.lens.picture_patches import picture_patches
    from engine.prompts.preparing import prepare

    question = Question(prompt="What is this?")

    def process(image: Image.Image) -> dict[str, Any]:
        return prepare(loaded.model, loaded.processor, question, image).inputs

    grey = Image.new("RGB", PATCHES_SIZE, (127, 127, 127))
    try:
        inputs = process(grey)
        found = picture_patches(loaded.lens, loaded.processor, inputs, PATCHES_SIZE, process)
    except LenscopeError as error:
        return f"none: {error}"
    return describe_patches(found)


def _line(what: str, how: str) -> None:
    print(f"{what:<10} {display_text(how, spaces=False)}", flush=True)
