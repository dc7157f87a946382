"""Deliberate faults, one at a time: which of them would the tests notice?

    pip install --group mutants                               mutmut, whose operators make them
    python -m tests.mutants                                   every module of ROOMS; an hour
    python -m tests.mutants engine/lens/readout.py --again    only what survived last time

mutmut's own runner leaves out decorated functions and starts from every test of the project. Here
pytest collects the tests in ROOMS and runs them once without a fault, which shows what each test
calls. For each fault a fork of that process exchanges the code of one function and runs the tests
that call it, until one fails. A fault that no test notices is printed as what stands there before
and after: it is equivalent (an optimisation, a copy, a default), or a test is missing. Tests that
start another process do not see a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import (
    mutation_operators,
    operator_arg_removal,
    operator_assignment,
    operator_string,
)

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".mutants"
"""The survivors of the last run of each module."""
PATIENCE = 3.0
"""A fault that makes its tests take so many times as long as without it, and so many seconds more,
is noticed."""

ROOMS: dict[str, str] = {
    "engine/lens/readout.py": "engine/test_readout engine/test_batch_readout",
    "engine/lens/ranking.py": "engine/test_ranking sweeps/test_reading",
    "engine/lens/divergence.py": "engine/test_divergence",
    "engine/passes/positions.py": "engine/test_positions",
    "engine/methods/contrast.py": "engine/test_contrast",
    "engine/sweeps/statistics.py": "sweeps/test_statistics",
    "engine/sweeps/findings.py": "sweeps/test_findings",
    "engine/lens/batched.py": "engine/test_batched sweeps/test_reading",
    "engine/lens/batch_proofs.py": "engine/test_batch_proofs",
    "engine/system/files.py": "engine/test_files engine/test_sessions",
    "engine/sweeps/results.py": "sweeps/test_findings",
    "engine/sweeps/store.py": "sweeps/test_store_contents sweeps/test_store",
    "engine/sessions.py": "engine/test_sessions engine/test_session_contents",
    "tui/disk/journal.py": "tui/test_journal tui/test_journal_discard tui/test_journal_file",
}
"""From each module to the quick tests of its room."""


class Mutant(NamedTuple):
    """One fault."""

    line: int
    before: str
    after: str
    where: str
    """The function or method, "" outside all of them."""
    code: str
    """The whole module with it."""

    @property
    def key(self) -> tuple[int, str, str]:
        """What a run keeps of a survivor."""
        return self.line, self.before, self.after


def negated(node: cst.BaseExpression) -> Iterator[cst.CSTNode]:
    """`a` becomes `not (a)`."""
    inner = node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield cst.UnaryOperation(cst.Not(), inner, lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def is_strict(node: cst.CSTNode) -> bool:
    """Whether it is `strict=` of a zip, which only asserts that lengths are equal."""
    return bool(m.matches(node, m.Arg(keyword=m.Name("strict"))))


def without(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`f(a, b=c)` becomes `f(a)`: for each argument but the first."""
    for place, arg in enumerate(node.args):
        if (place or arg.keyword) and not is_strict(arg):
            yield node.with_changes(args=[*node.args[:place], *node.args[place + 1 :]])


def left_out(node: cst.Expr) -> Iterator[cst.CSTNode]:
    """`f(a)` as a statement becomes `None`."""
    if isinstance(node.value, cst.Call):
        yield node.with_changes(value=cst.Name("None"))


def uncalled(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`a.f(b)` becomes `a`."""
    if isinstance(node.func, cst.Attribute):
        yield node.func.value


def exchanged(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`f(a, b)` becomes `f(b, a)`, and so do the values of keywords, up to two places apart."""
    for distance in (1, 2):
        for first in range(len(node.args) - distance):
            one, other = node.args[first], node.args[first + distance]
            if (
                one.star
                or other.star
                or is_strict(other)
                or (distance == 2 and one.keyword is None)
            ):
                continue
            args = list(node.args)
            args[first] = one.with_changes(value=other.value)
            args[first + distance] = other.with_changes(value=one.value)
            yield node.with_changes(args=args)


ONLY_CRASH = (operator_arg_removal, operator_assignment)
"""Most of what they make holds None where a tensor or a path belongs, and tells nothing."""
OPERATORS: tuple[tuple[type, Any], ...] = (
    *((kind, each) for kind, each in mutation_operators if each not in ONLY_CRASH),
    (cst.Call, without),
    (cst.Expr, left_out),
    (cst.Call, uncalled),
    (cst.Call, exchanged),
)


class _Places(cst.CSTVisitor):  # type: ignore[misc]
    """Collects the nodes whose faults could change what the module does."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[CodeRange, str, cst.CSTNode]] = []
        self.conditions: set[int] = set()
        self._path: list[str] = []
        self._functions = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(
            node,
            cst.Annotation | cst.Decorator | cst.Raise | cst.Assert | cst.Import | cst.ImportFrom,
        ):
            return False  # a message is not a promise, and types are checked by mypy
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString):
            return False
        if m.matches(node, m.If(m.Name("TYPE_CHECKING")) | m.Call(m.Name("TypeVar"))):
            return False
        if is_strict(node):
            return False
        if m.matches(node, m.UnaryOperation(m.Minus(), m.Integer())):
            node = cst.ensure_type(
                node, cst.UnaryOperation
            ).expression  # +1 is -1 in two dimensions
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            if not self._functions:
                self._path.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        elif not self._functions and self._path:
            return isinstance(node, cst.IndentedBlock)  # what a class declares is no code
        if isinstance(node, cst.If | cst.While | cst.IfExp | cst.CompIf):
            self.conditions.add(id(node.test))
        where = ".".join(self._path) if self._functions else ""
        self.found.append((self.get_metadata(PositionProvider, node), where, node))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._functions -= isinstance(original_node, cst.FunctionDef)
            if not self._functions:
                self._path.pop()


def operators_of(node: cst.CSTNode, is_condition: bool) -> list[Any]:
    """The operators that a node takes."""
    fitting = [operator for kind, operator in OPERATORS if isinstance(node, kind)]
    return [*fitting, negated] if is_condition else fitting


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every fault of a module, each once."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    places = _Places()
    wrapper.visit(places)
    begins = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    seen = {source}
    for span, where, node in places.found:
        start = begins[span.start.line - 1] + span.start.column
        end = begins[span.end.line - 1] + span.end.column
        for operator in operators_of(node, id(node) in places.conditions):
            for number, changed in enumerate(operator(node)):
                if operator is operator_string and number:
                    continue  # one wrong text is as good as three
                text = wrapper.module.code_for_node(changed)
                code = f"{source[:start]}{text}{source[end:]}"
                if code in seen:
                    continue
                seen.add(code)
                try:
                    compile(code, "mutant", "exec")
                except SyntaxError:
                    continue
                yield Mutant(*_difference(source, code), where, code)


def _difference(source: str, code: str) -> tuple[int, str, str]:
    """The first line that differs, and what stands there before and after."""
    old, new = source.splitlines(), code.splitlines()
    first = next(
        place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]
    )
    end = 0
    while end < min(len(old), len(new)) - first and old[-1 - end] == new[-1 - end]:
        end += 1
    shown = [
        " ".join(line.strip() for line in lines[first : max(first + 1, len(lines) - end)])
        for lines in (old, new)
    ]
    return first + 1, shown[0], shown[1]


class Faults:
    """A plugin of pytest that runs the tests once for each fault, instead of once."""

    def __init__(self, module: str, mutants: Sequence[Mutant], jobs: int) -> None:
        self._module, self._mutants, self._jobs = module, mutants, jobs
        self.survivors: list[Mutant] = []
        self.too_long = 0
        """How many faults were noticed only because the tests did not end."""

    def pytest_runtestloop(self, session: Any) -> bool:
        """Run it."""
        begun = time.monotonic()
        calls = _calls_of_tests(session, self._module)
        alone = time.monotonic() - begun
        if session.testsfailed:
            raise SystemExit(f"{self._module}: its tests fail without any fault")
        print(f"{self._module}: {len(session.items)} tests, {alone:.0f} s", flush=True)
        limit = PATIENCE * (alone + 1) * self._jobs
        waiting = list(self._mutants[::-1])
        running: dict[int, tuple[Mutant, float]] = {}
        while waiting or running:
            while waiting and len(running) < self._jobs:
                mutant = waiting.pop()
                tests = [
                    item
                    for item, called in zip(session.items, calls, strict=True)
                    if not mutant.where or mutant.where in called
                ]
                sys.stdout.flush()
                child = os.fork()
                if not child:
                    _run_with(mutant, self._module, session, tests, int(limit) + 1)
                running[child] = (mutant, time.monotonic())
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended:
                mutant, _ = running.pop(ended)
                _kill(ended)
                if status == 0:
                    self.survivors.append(mutant)
                self.too_long += status == signal.SIGXCPU
                continue
            for child, (_, begun) in list(running.items()):
                if time.monotonic() - begun > limit + 30:
                    del running[child]
                    self.too_long += 1
                    _kill(child)
                    os.waitpid(child, 0)
            time.sleep(0.005)
        self.survivors.sort(key=lambda each: each.key)
        return True


def _calls_of_tests(session: Any, module: str) -> list[set[str]]:
    """Run all tests; what each calls of the module.

    Fixtures of the session end with them: a fork would have their models without their threads.
    """
    file, found = str(ROOT / module), []
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename == file:
            called.add(frame.f_code.co_qualname.partition(".<locals>")[0])

    threading.setprofile(note)
    sys.setprofile(note)
    took = []
    for place, item in enumerate(session.items):
        called.clear()
        following = session.items[place + 1] if place + 1 < len(session.items) else None
        begun = time.monotonic()
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        took.append(time.monotonic() - begun)
        found.append(set(called))
    sys.setprofile(None)
    threading.setprofile(None)  # type: ignore[arg-type]
    order = sorted(range(len(took)), key=lambda place: took[place])
    session.items[:] = [session.items[place] for place in order]  # the quickest first
    return [found[place] for place in order]


def _run_with(mutant: Mutant, module: str, session: Any, tests: Sequence[Any], limit: int) -> None:
    """Run the tests with a fault in this process, and end it: with 0 if all of them pass."""
    status = 1
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        exchange(importlib.import_module(_name_of(module)), mutant.code)
        status = 0
        for place, item in enumerate(tests):
            following = tests[place + 1] if place + 1 < len(tests) else None
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                status = 1
                break
    except BaseException:
        status = 1
    finally:
        os._exit(status)


def exchange(module: ModuleType, code: str) -> None:
    """Give the functions and plain constants of a module those of another text of it."""
    other = ModuleType(module.__name__)
    other.__file__ = module.__file__
    exec(compile(code, str(module.__file__), "exec", dont_inherit=True), other.__dict__)
    new = dict(_functions_of(other))
    for name, function in _functions_of(module):
        if name in new:
            function.__code__ = new[name].__code__
            function.__defaults__ = new[name].__defaults__
            function.__kwdefaults__ = new[name].__kwdefaults__
    for name, value in list(vars(other).items()):
        if name.isupper() or isinstance(value, int | float):
            setattr(module, name, value)


def _functions_of(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """All functions and methods that a module defines, with their qualified names."""
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = list(vars(value).values()) if isinstance(value, type) else [value]
        for member in members:
            for name in ("__func__", "fget", "func"):  # methods of the class, properties
                member = getattr(member, name, member)
            while hasattr(member, "__wrapped__"):
                member = member.__wrapped__
            if isinstance(member, FunctionType) and member.__module__ == module.__name__:
                yield member.__qualname__, member


def _name_of(module: str) -> str:
    return ".".join(Path(module).with_suffix("").parts)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Run it, one module in a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=[*ROOMS])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", action="store_true", help="only what survived last time")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of its parent's threads
    os.chdir(ROOT)
    for name in options.modules:
        child = os.fork()
        if not child:
            measure(name, options.jobs, options.again)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)


def measure(name: str, jobs: int, again: bool) -> None:
    """Print the faults of one module that no test notices, and keep them for `--again`."""
    import hypothesis
    import pytest

    hypothesis.settings.register_profile(
        "mutants",
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    kept = KEPT / f"{name.replace('/', '.')}.json"
    mutants = list(mutants_of(Path(name).read_text()))
    options = ["-q", "-s", "-p", "no:cacheprovider", "-W", "ignore:Module already imported"]
    if again:
        known = {tuple(key[1:]) for key in json.loads(kept.read_text())}
        mutants = [mutant for mutant in mutants if mutant.key[1:] in known]
    tests = [f"tests/{each}.py" for each in ROOMS[name].split()]
    faults = Faults(name, mutants, jobs)
    pytest.main([*options, *tests], [faults])
    for mutant in faults.survivors:
        print(f"{name}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}")
    left = len(faults.survivors)
    noticed = f"{len(mutants) - left} noticed ({faults.too_long} as tests took too long)"
    print(f"{name}: {len(mutants)} faults, {noticed}, {left} not")
    KEPT.mkdir(exist_ok=True)
    kept.write_text(json.dumps([mutant.key for mutant in faults.survivors], indent=1))


if __name__ == "__main__":
    main()
