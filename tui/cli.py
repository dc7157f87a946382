"""The command line. Nothing heavy is imported before it is known to be needed."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BadInput, CannotLoad, CannotRead, LenscopeError
from tui.commands.exits import Exit

if TYPE_CHECKING:
    from engine.events import LoadOptions
    from engine.records import Question, Session
    from tui.disk.settings import Settings

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
DEFAULT_PROMPT = "Color of the main object:"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["run"]:
            return _run(_run_parser().parse_args(given[1:]))
        if given[:1] == ["check"]:
            return _check(_check_parser().parse_args(given[1:]))
        if given[:1] in (["config"], ["paths"]):
            return _show_settings(given[0], given[1:])
        return _explore(_explorer_parser().parse_args(given))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone. Python would complain once more when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except MemoryError:
        return _complain("memory ran out", Exit.FAULT)
    except OSError as error:  # stdout on a full disk, and the like
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain(f"the output cannot be written ({error.strerror or error})", Exit.FAULT)
    except LenscopeError as error:
        return _complain(str(error), exit_for(error))


def script() -> None:
    """The `lenscope` command. A pass may still run in a daemon thread; nobody waits for it, and
    the interpreter must not be taken down around it."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    if any(thread.daemon for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


def exit_for(error: LenscopeError) -> Exit:
    """The exit code that an error of ours stands for."""
    if isinstance(error, BadInput):
        return Exit.USAGE
    if isinstance(error, (CannotLoad, CannotRead)):
        return Exit.MODEL
    return Exit.FAULT


def _complain(text: str, code: Exit) -> int:
    from tui.commands.talk import say

    say(text)
    return code


def _explore(options: argparse.Namespace) -> int:
    from tui.disk.settings import load_settings
    from tui.startup import Startup

    settings = load_settings().settings
    session, session_path = None, None
    if options.session is not None:
        from engine.sessions import read_session

        session_path = Path(options.session)
        session = read_session(session_path)
    elif options.resume:
        session = _resumed()
    load_options, question = None, _question(options, settings)
    if session is None:
        load_options, question = _checked(options, settings)
    # Textual draws on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise BadInput("the explorer needs a terminal; without one, use `lenscope run`")
    from tui.app import run_explorer

    return run_explorer(
        Startup(
            options=load_options,
            question=question,
            session=session,
            session_path=session_path,
            lite=options.lite or settings.lite,
            ascii=options.ascii or settings.ascii,
            mouse=settings.mouse and not options.no_mouse,
            theme=options.theme or settings.theme,
            no_picture=options.no_image,
            preview=settings.picture,
            columns=settings.columns,
            plot=settings.plot,
            copy_format=settings.copy_format,
            keys=settings.keys,
            presets_file=Path(settings.presets_file).expanduser()
            if settings.presets_file
            else None,
            remember=settings.remember,
            autosave=settings.autosave,
        )
    )


def _resumed() -> Session:
    """What was not closed, or else what was kept last."""
    from engine.sessions import read_session
    from tui.disk.journal import newest_kept, newest_orphan, retire

    orphan = newest_orphan()
    if orphan is not None:
        retire(orphan)
        return orphan.session
    kept = newest_kept()
    if kept is None:
        raise BadInput("--resume: there is no session that was left unsaved")
    return read_session(kept)


def _show_settings(name: str, given: list[str]) -> int:
    what = {
        "config": "Print every setting, its value, and where it comes from.",
        "paths": "Print where configuration, sessions, models and samples lie.",
    }
    parser = argparse.ArgumentParser(prog=f"lenscope {name}", description=what[name])
    parser.parse_args(given)
    from tui.commands.settings import run_config, run_paths

    return run_config() if name == "config" else run_paths()


def _run(options: argparse.Namespace) -> int:
    from tui.disk.settings import load_settings

    load_options, question = _checked(options, load_settings().settings)
    from tui.commands.run import run_headless

    return run_headless(
        load_options,
        question,
        picture_if_any=options.image is None and not options.no_image,
        json_path=options.json,
        previews=not options.no_preview,
    )


def _check(options: argparse.Namespace) -> int:
    from engine.checkpoints import model_folder
    from tui.disk.settings import load_settings

    load_options = _load_options(options, load_settings().settings)
    model_folder(load_options)
    from tui.commands.check import run_check

    return run_check(load_options, proof_only=options.proof_only)


def _checked(options: argparse.Namespace, settings: Settings) -> tuple[LoadOptions, Question]:
    """What to load and ask, once all that can be seen without torch is known to be in order."""
    from msgspec import structs

    from engine.checkpoints import model_folder
    from engine.pictures import open_picture, pillow_warning
    from engine.records import Picture

    load_options, question = _load_options(options, settings), _question(options, settings)
    model_folder(load_options)
    warning = pillow_warning()
    if warning:
        print(f"lenscope: {warning}", file=sys.stderr)
    if options.image is not None:
        open_picture(options.image)
        question = structs.replace(question, picture=Picture(path=options.image))
    return load_options, question


def _load_options(options: argparse.Namespace, settings: Settings) -> LoadOptions:
    import samples
    from engine.events import LoadOptions

    # A device map of the command line stands above a device of the settings.
    device = options.device or ("auto" if options.device_map else settings.device or "auto")
    if options.device_map and device != "auto":
        raise BadInput("--device names one device and --device-map several: leave one of them out")
    return LoadOptions(
        model=options.model or settings.model or str(samples.MODEL),
        device=device,
        dtype=options.dtype or settings.dtype or "auto",
        device_map=options.device_map,
        quantize=options.quantize,
        revision=options.revision,
        cache_dir=options.cache_dir or settings.cache_dir,
        trust_remote_code=options.trust_remote_code,
        allow_pickle=options.allow_pickle,
    )


def _question(options: argparse.Namespace, settings: Settings) -> Question:
    from engine.records import Question

    prompt = settings.prompt if options.prompt is None else options.prompt
    return Question(
        prompt=DEFAULT_PROMPT if prompt is None else prompt,
        chat=not options.raw,
        system=options.system or None,
        prefix=options.prefix,
        top_k=getattr(options, "top_k", None) or settings.top_k,
        norm=not getattr(options, "no_norm", False),
    )


def _explorer_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lenscope",
        description="See what a vision-language model believes after every layer.",
        epilog="`lenscope run` does the same without the explorer; `lenscope check` shows how a "
        "model is read, and proves it; `lenscope config` and `lenscope paths` show the settings "
        "and where everything lies. Each has its own --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and leave")
    parser.add_argument(
        "session", nargs="?", metavar="SESSION.json", help="reopen a session; no model is loaded"
    )
    _add_question(parser)
    _add_shared(parser)
    parser.add_argument(
        "--resume", action="store_true", help="reopen what was not closed, or left unsaved last"
    )
    look = parser.add_argument_group("the explorer's look")
    look.add_argument("--lite", action="store_true", help="for slow lines: fewer bytes")
    look.add_argument("--ascii", action="store_true", help="plain ASCII bars, no picture")
    look.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    look.add_argument("--theme", metavar="NAME", help="a Textual theme, or `lenscope`")
    return parser


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lenscope run",
        description="Ask one question and print every layer's top tokens, or the session as JSON.",
        allow_abbrev=False,
    )
    _add_question(parser)
    parser.add_argument("--top-k", type=_top_k, metavar="N", help="tokens per layer (3)")
    parser.add_argument(
        "--no-norm", action="store_true", help="skip the final norm, as some studies did"
    )
    parser.add_argument("--json", metavar="FILE", help="write the session here (-: stdout)")
    parser.add_argument(
        "--no-preview", action="store_true", help="leave the picture's preview out of the JSON"
    )
    _add_shared(parser)
    return parser


def _check_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lenscope check",
        description="Print the parts found of a model, their proof, and every row against the "
        "same model cut down to its first layers (one pass for every row).",
        allow_abbrev=False,
    )
    parser.add_argument("--model", metavar="M", help="a hub id or a folder (the bundled model)")
    parser.add_argument(
        "--proof-only", action="store_true", help="leave the comparison of rows out"
    )
    _add_loading(parser)
    return parser


def _add_question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="M", help="a hub id or a folder (the bundled model)")
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--image", metavar="FILE", help="the picture (a bundled one)")
    picture.add_argument("--no-image", action="store_true", help="ask without a picture")
    parser.add_argument("--prompt", metavar="TEXT", help=f"({DEFAULT_PROMPT!r})")


def _add_shared(parser: argparse.ArgumentParser) -> None:
    asking = parser.add_argument_group("how it is asked")
    asking.add_argument("--raw", action="store_true", help="the text as typed, no chat template")
    asking.add_argument("--system", metavar="TEXT", help="a system turn")
    asking.add_argument("--prefix", metavar="TEXT", default="", help="the answer's beginning")
    _add_loading(parser)


def _add_loading(parser: argparse.ArgumentParser) -> None:
    loading = parser.add_argument_group("how the model is loaded")
    loading.add_argument("--device", metavar="D", type=_device, help="auto, cpu, cuda, cuda:1")
    loading.add_argument(
        "--device-map",
        choices=DEVICE_MAPS,
        help="spread over the GPUs and, where they are full, main memory (accelerate)",
    )
    loading.add_argument("--dtype", choices=DTYPES, help="the weights' type in memory (auto)")
    loading.add_argument("--quantize", choices=("8bit", "4bit"), help="with bitsandbytes")
    loading.add_argument("--revision", metavar="R", help="a branch, tag or commit on the hub")
    loading.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept")
    loading.add_argument(
        "--trust-remote-code", action="store_true", help="run code that comes with the model"
    )
    loading.add_argument(
        "--allow-pickle", action="store_true", help="open pickled weights, which can run code"
    )


class _Version(argparse.Action):
    """`--version`, looked up only when asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        print(f"lenscope {metadata.version('lenscope')}")
        parser.exit(Exit.DONE)


def _device(text: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r}: use auto, cpu, cuda, cuda:1 or mps")
    return text


def _top_k(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("between 1 and 1000")
    return value
