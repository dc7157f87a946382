"""The command line. Slow imports wait until they are known to be needed."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BadInput, CannotLoad, CannotRead, LenscopeError
from tui.commands.exits import Exit
from tui.commands.parsers import COMMANDS, DEFAULT_PROMPT, STDIN, explorer_parser
from tui.commands.streams import OutputFailed, guard_streams, silence
from tui.terminal.surroundings import is_dumb, prefer_the_terminals_size

if TYPE_CHECKING:
    import argparse

    from engine.events import LoadOptions
    from engine.records import Counterfactual, Question, Request, Session
    from engine.sweeps.records import Decoding, DepthOrder
    from tui.disk.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _printed(given)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except OutputFailed as error:
        silence(sys.stdout)
        if error.errno == errno.EPIPE:  # the reader of stdout has closed it
            return Exit.DONE
        return _complain(f"the output cannot be written ({error.strerror})", Exit.FAULT)
    except MemoryError:
        return _complain("memory ran out", Exit.FAULT)
    except OSError as error:
        from tui.text.system_errors import system_error_line

        return _complain(system_error_line(error), Exit.FAULT)
    except LenscopeError as error:
        from tui.text.remedies import error_line

        return _complain(error_line(error), exit_for(error))


def _printed(given: list[str]) -> int:
    """Carry out a command; at the end all that it has printed is written."""
    try:
        code = _command(given)
    except SystemExit:  # --help, --version, bad usage
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _command(given: list[str]) -> int:
    name = given[0] if given else ""
    if name in COMMANDS:
        carry_out: dict[str, Callable[[argparse.Namespace], int]] = {
            "run": _run,
            "sweep": _sweep,
            "report": _report,
            "share": _share,
            "check": _check,
            "config": _config,
            "paths": _paths,
            "completion": _completion,
        }
        return carry_out[name](COMMANDS[name].parser().parse_args(given[1:]))
    _refuse_mistyped(name)
    return _explore(explorer_parser().parse_args(given))


def _refuse_mistyped(word: str) -> None:
    """Raise BadInput if the first word is no file, but almost the name of a command."""
    if not word.isalpha() or os.path.lexists(word):
        return
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), COMMANDS, n=1)
    if close:
        raise BadInput(
            f"there is no command, session file or folder {word!r}: did you mean "
            f"`lenscope {close[0]}`?"
        )


def script() -> None:
    """Run the `lenscope` command. A pass may still be running in a daemon thread: the program
    does not wait for it, and the interpreter must not be finalised while it runs."""
    guard_streams()
    prefer_the_terminals_size()
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else Exit.DONE
    try:
        sys.stdout.flush()
    except OutputFailed:
        silence(sys.stdout)
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def exit_for(error: LenscopeError) -> Exit:
    """Return the exit code for one of our errors."""
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

    if options.resume and options.session is not None:
        raise BadInput("--resume finds its session by itself: leave out either it or the file")
    if options.prompt == STDIN:
        raise BadInput(
            "--prompt - reads stdin, which the explorer needs for the keyboard; use `lenscope run`"
        )
    settings = load_settings(themes=_themes).settings
    session, session_path, load_options = None, None, None
    sweep = _sweep_folder(options)
    if sweep is not None:
        session = _item(sweep, options.item)
    elif options.session is not None:
        session, session_path = _reopened(options.session)
    question = _question(options, settings)
    if session is None and sweep is None and not options.resume:
        load_options, question = _checked(options, settings)
    if not _has_terminal():
        raise BadInput("the explorer needs a terminal; without one, use `lenscope run`")
    if is_dumb():
        raise BadInput(
            f"TERM={os.environ['TERM']}: this terminal cannot draw the explorer; use "
            "`lenscope run`, or set TERM to what the terminal is, such as TERM=xterm-256color"
        )
    if options.resume:
        session = _resumed()
    from tui.app import run_explorer

    lite = options.lite or settings.lite
    return run_explorer(
        Startup(
            options=load_options,
            question=question,
            session=session,
            session_path=session_path,
            sweep=sweep,
            lite=lite,
            ascii=options.ascii or settings.ascii,
            mouse=settings.mouse and not options.no_mouse,
            diff=not options.no_diff,
            theme=options.theme or settings.theme,
            no_picture=options.no_image,
            seed=options.seed,
            preview=settings.picture,
            columns=settings.columns,
            plot=settings.plot,
            copy_format=settings.copy_format,
            raw_cells=options.raw_cells or settings.raw_cells,
            keys=settings.keys,
            live="off" if lite and settings.live == "auto" else settings.live,
            presets_file=Path(settings.presets_file) if settings.presets_file else None,
            remember=settings.remember,
            autosave=settings.autosave,
        )
    )


def _sweep_folder(options: argparse.Namespace) -> Path | None:
    """Return the folder of a sweep, where one is named; only quick checks are made."""
    from engine.system.files import user_path

    folder = None
    if options.session is not None:
        try:
            named = user_path(options.session)
            folder = named if named.is_dir() else None
        except (OSError, ValueError):
            folder = None  # reading it will report what is wrong
    if folder is None:
        if options.item is not None:
            raise BadInput("--item needs a sweep: lenscope DIR --item ID")
        return None
    from engine.sweeps.store import read_sweep

    read_sweep(folder)
    return folder


def _item(sweep: Path, item: str | None) -> Session | None:
    """Return the session of one item of the sweep."""
    if item is None:
        return None
    from engine.records import Session
    from engine.sweeps.reopening import open_item
    from engine.system.stamps import now

    return Session(created=now(), saved=now(), runs=(open_item(sweep, item),))


def _reopened(name: str) -> tuple[Session, Path | None]:
    """Return the session in a file, and the file if saving may replace it: a page stays as it
    is."""
    from engine.pages.opening import is_page, open_session

    session = open_session(name)
    return session, None if is_page(name) else Path(name)


def _has_terminal() -> bool:
    """Return whether stdin, stdout and stderr, on which Textual draws, are all terminals."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def _resumed() -> Session:
    """Return the session that was not closed, else the one kept last."""
    from engine.sessions import read_session
    from tui.disk.orphans import newest_kept, newest_orphan, retire

    orphan = newest_orphan()
    if orphan is not None:
        retire(orphan)
        return orphan.session
    kept = newest_kept()
    if kept is None:
        raise BadInput("--resume: no session was left unsaved")
    return read_session(kept)


def _config(options: argparse.Namespace) -> int:
    from tui.commands.settings import run_config

    return run_config(_themes)


def _paths(options: argparse.Namespace) -> int:
    from tui.commands.settings import run_paths

    return run_paths()


def _completion(options: argparse.Namespace) -> int:
    from tui.commands.completion import completion_script

    print(completion_script(options.shell), end="")
    return Exit.DONE


def _run(options: argparse.Namespace) -> int:
    from tui.disk.settings import load_settings

    against, reads = _against(options), _reads(options)
    load_options, question = _checked(options, load_settings(themes=_themes).settings)
    from tui.commands.run import run_headless

    return run_headless(
        load_options,
        question,
        picture_if_any=options.image is None and not options.no_image,
        json_path=options.json,
        previews=not options.no_preview,
        against=against,
        reads=reads,
        lists_methods="list" in (options.read or ()),
        seed=options.seed,
    )


def _reads(options: argparse.Namespace) -> tuple[Request, ...]:
    """Return the requests of `--read`. Mistakes are reported before a model is loaded."""
    from engine.methods.registry import method_of
    from engine.methods.requests import parse_read, request_of

    found = [parse_read(text) for text in options.read or () if text != "list"]
    return tuple(request_of(method_of(name), settings) for name, settings in found)


def _against(options: argparse.Namespace) -> tuple[Counterfactual, ...]:
    """Return the counterfactuals of `--against`, after checking that every other picture opens."""
    if not options.against:
        return ()
    from engine.counterfactuals.grammar import parse_against
    from engine.pictures.opening import open_picture

    if options.no_image:
        raise BadInput("--against needs a picture, but --no-image leaves it out")
    against = parse_against(options.against, options.seed)
    for counterfactual in against:
        if "file" in counterfactual.parameters:
            open_picture(counterfactual.parameters["file"])
    return against


def _check(options: argparse.Namespace) -> int:
    from engine.models.checkpoints import local_checkpoint
    from tui.disk.settings import load_settings

    load_options = _load_options(options, load_settings(themes=_themes).settings)
    local_checkpoint(load_options)
    from tui.commands.check import run_check

    return run_check(load_options, proof_only=options.proof_only, timings=options.timings)


def _sweep(options: argparse.Namespace) -> int:
    from engine.models.checkpoints import local_checkpoint
    from engine.sweeps.replacing import replacements
    from tui.commands.sweep import SweepOrder, run_sweep
    from tui.disk.settings import load_settings

    against = replacements(options.against, options.seed) if options.against else ()
    reads, decoding, orders = _readings_of_sweeps(
        options.read or (), options.settings or (), options.seed
    )
    settings = load_settings(themes=_themes).settings
    load_options = _load_options(options, settings)
    local_checkpoint(load_options)
    _warn_of_pillow()
    options.prompt = ""
    return run_sweep(
        load_options,
        _question(options, settings),
        SweepOrder(
            data=options.data,
            prompts=options.prompts,
            out=options.out,
            main=options.main,
            batch_size=options.batch_size,
            limit=options.limit,
            shard=options.shard,
            retry=options.retry,
            sharing=not options.no_sharing,
            against=against,
            reads=reads,
            decoding=decoding,
            orders=orders,
            presets_file=Path(settings.presets_file) if settings.presets_file else None,
        ),
    )


def _readings_of_sweeps(
    given: Sequence[str], varied: Sequence[str], seed: int
) -> tuple[tuple[str, ...], Decoding | None, dict[str, DepthOrder]]:
    """Return the names of `--read`, how answers are decoded if they are read, and what methods that
    read by depth are asked. Raises BadInput for what a sweep does not read."""
    from engine.methods.requests import parse_read
    from engine.sweeps.reads import ANSWER, ATTENTION, READS, by_depth
    from engine.sweeps.settings import decoding_of

    found: dict[str, dict[str, str]] = {}
    for text in given:
        name, settings = parse_read(text)
        if name not in READS or (settings and name == ATTENTION):
            raise BadInput(
                f"--read {text}: a sweep reads {', '.join(READS)}, at the position that answers, "
                "and takes no settings for attention; `lenscope run` reads more"
            )
        if settings and found.get(name):
            raise BadInput(f"--read {text}: {name} is given twice")
        found[name] = settings or found.get(name, {})
    names = tuple(name for name in READS if name in found)
    orders = {each.name: each.order(found[each.name], seed) for each in by_depth(names)}
    if ANSWER in found:
        return names, decoding_of(found[ANSWER], varied), orders
    if varied:
        raise BadInput("--settings is about whole answers: add --read answer")
    return names, None, orders


def _report(options: argparse.Namespace) -> int:
    from tui.commands.report import ReportOrder, run_report

    return run_report(
        ReportOrder(
            folder=options.folder,
            against=options.against,
            out=options.out,
            write=options.write or options.figures is not None,
            figures=None if options.figures == "none" else options.figures or "svg",
            export=options.export,
            raw_cells=options.raw_cells,
            top_k=options.top_k,
            samples=options.samples,
            seed=options.seed,
        )
    )


def _share(options: argparse.Namespace) -> int:
    from tui.commands.share import ENDINGS_OF_FIGURES, run_share, share_figure

    ending = Path(options.out).suffix.lower()
    if options.figure is None and ending not in ENDINGS_OF_FIGURES:
        return run_share(options.session, options.out, previews=not options.no_preview)
    return share_figure(
        options.session,
        Path(options.out),
        run_id=options.run,
        name=options.figure or ("film" if ending == ".gif" else "plot"),
        columns=options.columns,
        of=options.map,
        row=options.row,
    )


def _checked(options: argparse.Namespace, settings: Settings) -> tuple[LoadOptions, Question]:
    """Return what to load and ask, after all checks that do not need torch."""
    from msgspec import structs

    from engine.models.checkpoints import local_checkpoint
    from engine.pictures.addresses import local_path
    from engine.pictures.opening import open_picture
    from engine.records import Picture

    load_options, question = _load_options(options, settings), _question(options, settings)
    local_checkpoint(load_options)
    _warn_of_pillow()
    if options.image is not None:
        path = str(local_path(options.image))
        open_picture(path)
        question = structs.replace(question, picture=Picture(path=path))
    return load_options, question


def _piped_prompt() -> str:
    """Return what stdin holds, without the line break at its end."""
    from engine.records import MOST_LONG

    if sys.stdin is None or sys.stdin.isatty():
        raise BadInput("--prompt - reads the prompt from stdin, which is a terminal: pipe it in")
    data = sys.stdin.buffer.read(4 * MOST_LONG + 1)
    try:
        # What is left may end inside a character: then it is too long anyway.
        text = data.decode("utf-8", "ignore" if len(data) > 4 * MOST_LONG else "strict")
    except UnicodeDecodeError:
        raise BadInput("--prompt -: what stdin holds is no UTF-8 text") from None
    if len(text) > MOST_LONG or len(data) > 4 * MOST_LONG:
        raise BadInput(f"--prompt -: more than {MOST_LONG:,} characters")
    return text.removesuffix("\n").removesuffix("\r")


def _themes() -> list[str]:
    from tui.theme import theme_names

    return theme_names()


def _warn_of_pillow() -> None:
    from engine.pictures.opening import pillow_warning

    warning = pillow_warning()
    if warning:
        print(f"lenscope: {warning}", file=sys.stderr)


def _load_options(options: argparse.Namespace, settings: Settings) -> LoadOptions:
    import samples
    from engine.events import LoadOptions

    # A device map on the command line overrides a device in the settings.
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
        cache_dir=options.cache_dir or _expanded(settings.cache_dir),
        trust_remote_code=options.trust_remote_code,
        allow_pickle=options.allow_pickle,
        adapter=options.adapter,
        no_adapter=options.no_adapter,
    )


def _expanded(folder: str | None) -> str | None:
    """Expand the tilde of a setting; in a flag, the shell has done so already."""
    from engine.system.files import reason_of, user_path

    try:
        return str(user_path(folder)) if folder else None
    except OSError as error:
        raise BadInput(f"cache_dir: {folder}: {reason_of(error)}") from None


def _question(options: argparse.Namespace, settings: Settings) -> Question:
    from engine.records import Question

    prompt = settings.prompt if options.prompt is None else options.prompt
    if options.prompt == STDIN:
        prompt = _piped_prompt()
    return Question(
        prompt=DEFAULT_PROMPT if prompt is None else prompt,
        chat=not options.raw,
        system=options.system or None,
        prefix=options.prefix,
        top_k=getattr(options, "top_k", None) or settings.top_k,
        norm=not getattr(options, "no_norm", False),
    )
