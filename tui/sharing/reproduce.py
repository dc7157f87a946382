"""The command, or the lines of Python, that reproduce a run."""

from __future__ import annotations

import shlex

from engine.counterfactuals.grammar import written
from engine.events import LoadOptions
from engine.records import Counterfactual, Question, Run
from tui.sharing.notes import note_lines
from tui.text.show import plain_line

_DTYPES = frozenset({"float32", "bfloat16", "float16"})


def as_command(run: Run, options: LoadOptions | None) -> str:
    """Return the `lenscope run` command that reproduces a run, with an argument for each setting
    that differs from its default.

    `options` says how the model was loaded, where that is known; without it, the run's own record
    gives model, revision and dtype. Where no command can reproduce the run, a comment says why.
    """
    loading = _loading_of(run, options)
    refusal = _refusal(run, loading)
    if loading is None or refusal:
        return f"# {refusal}"
    question = run.question
    words = ["lenscope", "run", *_option("--model", loading.model)]
    words += _option("--image", question.picture.path) if question.picture else ["--no-image"]
    words += _option("--prompt", question.prompt)
    if not question.chat:
        words.append("--raw")
    if question.system is not None:
        words += _option("--system", question.system)
    if question.prefix:
        words += _option("--prefix", question.prefix)
    if not question.norm:
        words.append("--no-norm")
    if question.top_k != Question(prompt="").top_k:
        words += ["--top-k", str(question.top_k)]
    if question.counterfactual is not None:
        words += _option("--against", written(question.counterfactual) or "")
        if question.counterfactual.seed:
            words += ["--seed", str(question.counterfactual.seed)]
    for name, value in _differing(loading).items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else _option(option, str(value))
    return " ".join(words)


def as_python(run: Run, options: LoadOptions | None) -> str:
    """Return Python code that prints the same rows; see `as_command` for the arguments."""
    loading = _loading_of(run, options)
    refusal = _refusal(run, loading)
    if loading is None or refusal:
        return f"# {refusal}\n"
    question, picture = run.question, run.question.picture
    fields = "".join(
        f", {name}={value!r}"
        for name, value in (
            ("chat", question.chat),
            ("system", question.system),
            ("prefix", question.prefix),
            ("top_k", question.top_k),
            ("norm", question.norm),
        )
        if value != getattr(Question(prompt=""), name)
    )
    loaded = "".join(f", {name}={value!r}" for name, value in _differing(loading).items())
    image = f", image={picture.path!r}" if picture else ""
    names = "load"
    counterfactual = question.counterfactual
    if counterfactual is not None:
        names = "Counterfactual, load"
        fields += f", counterfactual=Counterfactual({_python_of(counterfactual)})"
    lines = [
        *(f"# {plain_line(line)}" for line in note_lines(run)),
        f"from engine import {names}",
        "",
        f"loaded = load({loading.model!r}{loaded})",
        f"asked = loaded.ask({question.prompt!r}{image}{fields})",
        "for reading in asked.run.rows:",
        f"    top = [(token.text, token.probability) for token in reading.top[:{question.top_k}]]",
        "    print(reading.layer, top, reading.entropy)",
    ]
    return "\n".join(lines) + "\n"


def _loading_of(run: Run, options: LoadOptions | None) -> LoadOptions | None:
    """Return how to load the model that answered, or None where that is not known."""
    card = run.question.model
    if card is None:
        return options
    if options is not None and options.model == card.name:
        # Use the commit that answered, where a branch was asked for.
        known = options.revision if card.revision is None else card.revision
        return LoadOptions(
            model=options.model,
            device=options.device,
            dtype=options.dtype,
            device_map=options.device_map,
            quantize=options.quantize,
            revision=known,
            cache_dir=options.cache_dir,
            trust_remote_code=options.trust_remote_code,
            allow_pickle=options.allow_pickle,
            adapter=card.adapter,
            no_adapter=options.no_adapter,
        )
    dtype = card.dtype if card.dtype in _DTYPES else "auto"
    return LoadOptions(model=card.name, revision=card.revision, dtype=dtype, adapter=card.adapter)


def _differing(loading: LoadOptions) -> dict[str, object]:
    """Return the options that differ from their defaults, by name, except the model."""
    default = LoadOptions(model=loading.model)
    names = LoadOptions.__struct_fields__[1:]
    return {
        name: getattr(loading, name)
        for name in names
        if getattr(loading, name) != getattr(default, name)
    }


def _refusal(run: Run, loading: LoadOptions | None) -> str:
    """Return, in one line, why a run cannot be reproduced this way; empty where it can."""
    counterfactual = run.question.counterfactual
    if counterfactual is not None and written(counterfactual) is None:
        name = plain_line(counterfactual.name)
        return f"this run had {name} instead of the picture; that cannot be reproduced"
    if loading is None:
        return "this run does not say which model answered"
    if isinstance(loading.device_map, dict):
        return "a custom device map has no option"
    return ""


def _python_of(counterfactual: Counterfactual) -> str:
    """Return the arguments of a `Counterfactual` as Python source."""
    shown = [repr(counterfactual.name)]
    if counterfactual.parameters:
        shown.append(repr(counterfactual.parameters))
    if counterfactual.seed is not None:
        shown.append(f"seed={counterfactual.seed}")
    return ", ".join(shown)


def _option(name: str, value: str) -> list[str]:
    """Return an option and its value, joined into one word where the value begins with a dash."""
    if value.startswith("-"):
        return [_quoted(f"{name}={value}")]
    return [name, _quoted(value)]


def _quoted(word: str) -> str:
    """Return a word quoted for the shell. Invisible characters are escaped: a pasted line must
    be what it looks like, and an escape in it could end the terminal's bracketed paste."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(
        f"\\{char}"
        if char in "\\'"
        else char
        if char.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "replace"))
        for char in word
    )
    return f"$'{escaped}'"
