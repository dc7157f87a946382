"""The arguments of each command. A flag that a setting can replace has no default here, so that
it can be told whether the flag was given."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tui.commands.exits import Exit
from tui.sharing.formats import FIGURES

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
DEFAULT_PROMPT = "Color of the main object:"
STDIN = "-"
"""What stands for stdin in `--prompt`."""

EXAMPLES = (
    ("lenscope", "the bundled model and picture"),
    ("lenscope --model Qwen/Qwen2-VL-2B-Instruct --image cat.jpg", "a model of the hub"),
    ("lenscope session.json", "a saved session; no model is loaded"),
    ("lenscope run --image cat.jpg --prompt 'Animal:' --json -", "one run as JSON"),
    ("lenscope share session.json -o page.html", "one file to send, for any browser"),
    ("lenscope sweep --data pictures --prompts coco --out found", "many pictures"),
    ("lenscope report found --write", "what the sweep found"),
)


def explorer_parser(reopens: bool = True) -> argparse.ArgumentParser:
    """Return the parser of `lenscope`; without `reopens`, of its flags alone."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {each.what}" for name, each in COMMANDS.items())
    examples = "\n".join(f"  {line}\n      {what}" for line, what in EXAMPLES)
    parser = argparse.ArgumentParser(
        prog="lenscope",
        usage="lenscope [options] [SESSION.json | PAGE.html | SWEEP_DIR]\n"
        "       lenscope COMMAND ...",
        description="See what a vision-language model believes after every layer.",
        epilog=f"commands (each has its own --help; a file of such a name: ./run):\n{commands}\n\n"
        f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    if reopens:
        parser.add_argument(
            "session",
            nargs="?",
            metavar="SESSION.json|PAGE.html|SWEEP_DIR",
            help="reopen a session or the page that holds one, or open the results of a sweep; no "
            "model is loaded",
        )
    parser.add_argument("--item", metavar="ID", help="open this item of the sweep")
    _add_question(parser)
    _add_shared(parser)
    parser.add_argument(
        "--resume", action="store_true", help="reopen the session not closed, or left unsaved last"
    )
    _add_raw_cells(parser)
    look = parser.add_argument_group("the explorer's look")
    look.add_argument("--lite", action="store_true", help="send fewer bytes, for slow lines")
    look.add_argument("--ascii", action="store_true", help="plain ASCII bars, no picture")
    look.add_argument(
        "--no-diff", action="store_true", help="write whole frames, not only cells that change"
    )
    look.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    look.add_argument("--theme", metavar="NAME", help="a Textual theme, or `lenscope`")
    return parser


def run_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope run`."""
    from engine.counterfactuals.grammar import listed

    parser = argparse.ArgumentParser(
        prog="lenscope run",
        description="Ask one question and print every layer's top tokens, or the session as JSON.",
        allow_abbrev=False,
    )
    _add_question(parser)
    parser.add_argument("--top-k", type=_top_k, metavar="N", help="tokens per layer (3)")
    parser.add_argument(
        "--no-norm", action="store_true", help="skip the final norm, as some studies do"
    )
    parser.add_argument(
        "--against",
        metavar="LIST",
        action="append",
        help="ask again with something else instead of the picture, in a separate run for each: "
        f"{listed().replace('%', '%%')}; separate them with commas; repeatable",
    )
    parser.add_argument(
        "--read",
        metavar="METHOD[:field=value,...]",
        action="append",
        help="let a method find out more about the run (`--read list` lists all); repeatable",
    )
    parser.add_argument("--json", metavar="FILE", help="write the session here (-: stdout)")
    parser.add_argument(
        "--no-preview", action="store_true", help="leave the picture's preview out of the JSON"
    )
    _add_shared(parser)
    return parser


def check_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope check`."""
    parser = argparse.ArgumentParser(
        prog="lenscope check",
        description="Print the parts found in a model, their proof, and every row compared with "
        "the same model truncated to its first layers (one pass for each row).",
        allow_abbrev=False,
    )
    _add_model(parser)
    parser.add_argument("--proof-only", action="store_true", help="skip the comparison of rows")
    parser.add_argument(
        "--timings", action="store_true", help="also print how long each phase of loading took"
    )
    _add_loading(parser)
    return parser


def sweep_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope sweep`."""
    from engine.counterfactuals.grammar import listed

    parser = argparse.ArgumentParser(
        prog="lenscope sweep",
        description="Ask about every picture of a data set and keep every row, so that "
        "`lenscope report` can say at which layer each answer forms. The same command resumes an "
        "interrupted sweep. Several GPUs: `accelerate launch -m tui sweep ...`.",
        allow_abbrev=False,
    )
    _add_model(parser)
    parser.add_argument(
        "--data",
        metavar="DATA",
        required=True,
        help="a folder of pictures, of CLEVR, COCO or VQA, one that `datasets` saved, or a CSV, "
        "TSV, JSON, Parquet or Arrow file with `picture`, and optionally `prompt`, `answer` and "
        "`group` (or `image`, `question`, `label` and other usual names)",
    )
    parser.add_argument(
        "--prompts",
        metavar="P",
        help="for data that has no questions, or instead of its own: a set of presets (clevr, "
        "coco), or a file with one prompt per line; `questions` for the data's own",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder for the results")
    parser.add_argument(
        "--main",
        choices=("largest", "nearest"),
        default="largest",
        help="which object of a CLEVR scene is the main one: the nearest large one "
        "(largest), or the nearest of all",
    )
    parser.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="items in one pass (as many as memory holds)",
    )
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="use only the first N pictures that are there"
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        default=(0, 1),
        metavar="I/N",
        help="ask about this part of the pictures, 1/N to N/N",
    )
    parser.add_argument(
        "--retry", action="store_true", help="ask again where asking has failed before"
    )
    parser.add_argument(
        "--no-sharing",
        action="store_true",
        help="run every prompt as a whole: its vision part, and all else that it has in common "
        "with the other prompts of its picture",
    )
    parser.add_argument(
        "--against",
        metavar="LIST",
        action="append",
        help="ask every question again with something else instead of the picture: "
        f"{listed().replace('%', '%%')}; separate them with commas; repeatable",
    )
    parser.add_argument(
        "--read",
        metavar="METHOD[:field=value,...]",
        action="append",
        help="read more of every question: attention in the same pass; answer to decode the "
        "whole answer greedily (answer:max_new_tokens=40; of the settings below draws=5 answers "
        "each); parts of the answer by layer; tracing:against=noise, at which row it is decided",
    )
    parser.add_argument(
        "--settings",
        metavar="NAME=RANGE,...",
        action="append",
        help="decode every answer with these settings, too: temperature=0.1..1.0 are ten values, "
        "temperature=0..2/0.5 five, top_p=0.5|0.9 two; all combinations of those between commas; "
        "repeatable",
    )
    _add_seed(_add_asking(parser))
    _add_loading(parser)
    return parser


def report_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope report`."""
    parser = argparse.ArgumentParser(
        prog="lenscope report",
        description="Show what a sweep found: at which layer each answer forms, in which order, "
        "what is confused with what and how sure the model is, with bootstrap intervals. No model "
        "is loaded.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of a sweep")
    parser.add_argument("--against", metavar="DIR", help="another sweep to compare with")
    parser.add_argument(
        "--write",
        action="store_true",
        help="also write Markdown, figures and numbers to DIR/report",
    )
    parser.add_argument("--out", metavar="FOLDER", help="write them to this folder instead")
    parser.add_argument(
        "--export",
        choices=("csv", "parquet"),
        help="also write every row of every item (Parquet: pip install 'lenscope[report]')",
    )
    _add_raw_cells(parser)
    parser.add_argument(
        "--figures", choices=("svg", "png", "none"), help="format of the figures (svg)"
    )
    parser.add_argument("--top-k", type=_top_k, default=3, metavar="K", help="of entry (3)")
    parser.add_argument(
        "--samples", type=_positive, default=1000, metavar="N", help="bootstrap samples (1000)"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="seed of the bootstrap (0)"
    )
    return parser


def share_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope share`."""
    parser = argparse.ArgumentParser(
        prog="lenscope share",
        description="Write a session as one HTML file that opens in any browser: picture, layers, "
        "plot, comparisons and readings, without a server, a network or Lenscope. `lenscope "
        "PAGE.html` opens it again. With another ending, write a figure of one run for a paper. No "
        "model is loaded.",
        allow_abbrev=False,
    )
    parser.add_argument("session", metavar="SESSION.json", help="a session, or another page")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        required=True,
        help="the page (-: stdout); or a figure: .pdf, .svg, .png, of films .gif, .png",
    )
    parser.add_argument(
        "--no-preview", action="store_true", help="leave the pictures' previews out of the page"
    )
    figures = parser.add_argument_group("figures (they need matplotlib, the extra `report`)")
    figures.add_argument(
        "--figure",
        choices=tuple(FIGURES),
        metavar="NAME",
        help="; ".join(f"{name}: {text}" for name, (text, _) in FIGURES.items()) + " (plot)",
    )
    figures.add_argument("--run", metavar="ID", help="the run (the last one with its own picture)")
    figures.add_argument(
        "--columns", type=int, choices=(1, 2), default=1, help="of a page: how wide it is (1)"
    )
    figures.add_argument(
        "--map", metavar="NAME", default="", help="a word that was read, attention, or saliency"
    )
    figures.add_argument(
        "--row", type=_row, metavar="N", help="of a map (that with the highest number)"
    )
    return parser


def _row(text: str) -> int:
    if not text.isdecimal() or len(text) > _LONGEST_ROW:
        raise argparse.ArgumentTypeError("a row is a number from 0")
    return int(text)


_LONGEST_ROW = 6


def _add_raw_cells(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw-cells",
        action="store_true",
        help="write texts to CSV and TSV exactly; without it, those that begin with =, +, - or @, "
        "which spreadsheets run as formulas, have an apostrophe in front",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="M", help="a hub id or a folder (the bundled model)")


def _add_question(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--image", metavar="FILE", help="the picture (a bundled one)")
    picture.add_argument("--no-image", action="store_true", help="ask without a picture")
    parser.add_argument(
        "--prompt", metavar="TEXT", help=f"({DEFAULT_PROMPT!r}; {STDIN} reads it from stdin)"
    )


def _add_shared(parser: argparse.ArgumentParser) -> None:
    _add_seed(_add_asking(parser))
    _add_loading(parser)


def _add_seed(asking: Any) -> None:
    asking.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of noise (0)")


def _add_asking(parser: argparse.ArgumentParser) -> Any:
    asking = parser.add_argument_group("how the question is asked")
    asking.add_argument(
        "--raw", action="store_true", help="send the text as typed, without chat template"
    )
    asking.add_argument("--system", metavar="TEXT", help="a system turn")
    asking.add_argument("--prefix", metavar="TEXT", default="", help="the answer's beginning")
    return asking


def _add_loading(parser: argparse.ArgumentParser) -> None:
    loading = parser.add_argument_group("how the model is loaded")
    loading.add_argument("--device", metavar="D", type=_device, help="auto, cpu, cuda, cuda:1")
    loading.add_argument(
        "--device-map",
        choices=DEVICE_MAPS,
        help="spread over the GPUs and, where they are full, main memory (accelerate)",
    )
    loading.add_argument(
        "--dtype", choices=DTYPES, help="data type of the weights in memory (auto)"
    )
    loading.add_argument("--quantize", choices=("8bit", "4bit"), help="with bitsandbytes")
    loading.add_argument("--revision", metavar="R", help="a branch, tag or commit on the hub")
    loading.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept")
    loading.add_argument(
        "--trust-remote-code", action="store_true", help="run code that comes with the model"
    )
    loading.add_argument(
        "--allow-pickle", action="store_true", help="open pickled weights, which can run code"
    )
    adapters = loading.add_mutually_exclusive_group()
    adapters.add_argument(
        "--adapter", metavar="FOLDER", help="put this adapter (peft: LoRA, ...) onto the model"
    )
    adapters.add_argument(
        "--no-adapter", action="store_true", help="leave out an adapter in the model's own folder"
    )


def config_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope config`, which takes no arguments."""
    return argparse.ArgumentParser(
        prog="lenscope config",
        description="Print every setting, its value and its source, as TOML that can be put "
        "into config.toml.",
        allow_abbrev=False,
    )


def paths_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope paths`, which takes no arguments."""
    return argparse.ArgumentParser(
        prog="lenscope paths",
        description="Print where configuration, sessions, models and samples are, and what is "
        "there.",
        allow_abbrev=False,
    )


def completion_parser() -> argparse.ArgumentParser:
    """Return the parser of `lenscope completion`."""
    parser = argparse.ArgumentParser(
        prog="lenscope completion",
        description="Print a script that lets a shell complete commands, flags and files.",
        epilog="bash: lenscope completion bash > "
        "~/.local/share/bash-completion/completions/lenscope; zsh: into a file _lenscope in a "
        "folder of $fpath; fish: into ~/.config/fish/completions/lenscope.fish.",
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Command:
    """One of the commands after `lenscope`."""

    what: str
    """What it does, in a few words."""
    parser: Callable[[], argparse.ArgumentParser]


COMMANDS = {
    "run": Command("ask one question, and print every layer or the session", run_parser),
    "sweep": Command("ask about every picture of a data set", sweep_parser),
    "report": Command("show what a sweep found", report_parser),
    "share": Command("write a session as one page to send, or a figure", share_parser),
    "check": Command("show how a model is read, and prove it", check_parser),
    "config": Command("print every setting and where it comes from", config_parser),
    "paths": Command("print where all files are", paths_parser),
    "completion": Command("print completions for bash, zsh or fish", completion_parser),
}
"""Every command by its name; without one, `lenscope` opens the explorer."""


class _Version(argparse.Action):
    """Prints the version, which is looked up only when it is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        print(f"lenscope {metadata.version('lenscope')}")
        parser.exit(Exit.DONE)


def _device(text: str) -> str:
    from tui.disk.settings import DEVICE, DEVICES

    if re.search(DEVICE, text) is None:
        raise argparse.ArgumentTypeError(f"{text!r}: use {DEVICES}")
    return text


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("a whole number from 0 up")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("a whole number from 1 up")
    return value


def _shard(text: str) -> tuple[int, int]:
    """Return the index of a shard, counted from 0, and the number of shards."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    index, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError("I/N, such as 1/4 to 4/4")
    return index - 1, count


def _top_k(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("between 1 and 1000")
    return value
