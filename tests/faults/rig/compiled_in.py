"""Builds for the rig: the service in ``app``, changed while it is imported and never on disk.

Two kinds of comments, each on its own line, are used here and ignored by the service. ``# failpoint: name`` becomes a
call on its line that runs the action of that name. ``# mutation: name`` marks the next statement, which a mutant
replaces. Both are found by name in all of ``app``.
"""

import ast
import inspect
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "app"
_FAILPOINT = re.compile(r"^(?P<indent> *)# failpoint: (?P<name>[a-z_]+)$", re.MULTILINE)
_MARK = re.compile(r"^(?P<indent> *)# mutation: (?P<name>[a-z_]+)$", re.MULTILINE)
_ACTION = re.compile(
    r"(?P<name>[a-z_]+)=(?:(?P<what>kill|stop)(?::(?P<time>[1-9][0-9]*))?|stall:(?P<seconds>[0-9.]+))"
)

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class InvalidBuild(Exception):
    """The requested failpoints or mutations do not match the source."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Remove the marked statement."""

    def apply(self, tree: ast.Module, statement: ast.stmt) -> None:
        """Raises ``InvalidBuild`` for a compound statement, or one that binds a name."""
        if not isinstance(statement, ast.Expr | ast.Raise | ast.Assign | ast.AugAssign):
            raise InvalidBuild("it is not simple")
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(node, ast.Name | ast.Tuple | ast.List) for node in targets):
            raise InvalidBuild("it binds a name")
        for node in ast.walk(tree):
            for _, block in ast.iter_fields(node):
                if isinstance(block, list) and statement in block:
                    block[block.index(statement)] = ast.copy_location(ast.Pass(), statement)


@dataclass(frozen=True, slots=True)
class Value:
    """Replace the tested, assigned or returned value by this constant."""

    value: bool | float | str

    def apply(self, _tree: ast.Module, statement: ast.stmt) -> None:
        """Raises ``InvalidBuild`` for a statement without a value, or with this one."""
        part = "test" if isinstance(statement, ast.If | ast.While) else "value"
        old = getattr(statement, part, None)
        if isinstance(statement, ast.Expr) or not isinstance(old, ast.expr):
            raise InvalidBuild("it does not test, assign or return")
        if isinstance(old, ast.Constant) and old.value == self.value:
            raise InvalidBuild("it has this value")
        setattr(statement, part, ast.copy_location(ast.Constant(self.value), old))


@dataclass(frozen=True, slots=True)
class Text:
    """Replace ``old``, which must occur once in the string constants of the marked statement, by ``new``."""

    old: str
    new: str

    def apply(self, _tree: ast.Module, statement: ast.stmt) -> None:
        """Raises ``InvalidBuild`` unless ``old`` occurs once."""
        found = 0
        for node in ast.walk(statement):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += node.value.count(self.old)
                node.value = node.value.replace(self.old, self.new)
        if found != 1:
            raise InvalidBuild(f"it has the text {found} times")


@dataclass(frozen=True, slots=True)
class Through:
    """Replace the call ``f(x)`` by ``function(f, x)``. ``function`` is ``async`` if the call is awaited."""

    function: Callable[..., Any]

    def apply(self, _tree: ast.Module, statement: ast.stmt) -> None:
        """Raises ``InvalidBuild`` unless the value is a call, awaited if ``function`` is async."""
        call = getattr(statement, "value", None)
        is_awaited = isinstance(call, ast.Await)
        if isinstance(call, ast.Await):
            call = call.value
        if not isinstance(call, ast.Call):
            raise InvalidBuild("its value is no call")
        if is_awaited != inspect.iscoroutinefunction(self.function):
            raise InvalidBuild("either the call is awaited or the function is async, not both")
        call.args.insert(0, call.func)
        place = f"__import__('sys').modules[{self.function.__module__!r}].{self.function.__name__}"
        call.func = ast.parse(place, mode="eval").body
        for node in ast.walk(call.func):
            ast.copy_location(node, call)


Break: TypeAlias = Skip | Value | Text | Through


@dataclass(frozen=True, slots=True)
class Action:
    """The action of a failpoint: a signal at the ``time``-th arrival, or a stall of the process at each."""

    time: int = 0
    seconds: float = 0.0
    sends: signal.Signals = signal.SIGKILL


_actions: dict[str, Action] = {}
_arrivals: Counter[str] = Counter()


def reach(name: str) -> None:
    """Run the action of a failpoint. Compiled-in failpoints call this."""
    action = _actions[name]
    _arrivals[name] += 1
    if _arrivals[name] == action.time:
        os.kill(os.getpid(), action.sends)
    # Block on purpose, so that nothing else in this process runs.
    time.sleep(action.seconds)


def stop_soon(name: str, after: int) -> None:
    """Send SIGSTOP to this process at the failpoint, after ``after`` more arrivals."""
    _actions[name] = Action(_arrivals[name] + after, sends=signal.SIGSTOP)


def failpoints() -> frozenset[str]:
    """Return the names of all failpoints in ``app``."""
    return frozenset(_counted(_FAILPOINT))


def marks() -> Counter[str]:
    """Count the marks of each name in ``app``. A mutant can use only names that occur once."""
    return _counted(_MARK)


def _counted(comment: re.Pattern[str]) -> Counter[str]:
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / PACKAGE).rglob("*.py"))
    return Counter(match["name"] for text in texts for match in comment.finditer(text))


def parsed(text: str) -> dict[str, Action]:
    """``name=kill``, ``name=kill:3`` (at the third arrival), ``name=stop:3`` (SIGSTOP, until someone sends SIGCONT),
    ``name=stall:0.5`` (seconds), with commas between.

    Raises ``InvalidBuild``.
    """
    found = {}
    for part in filter(None, text.split(",")):
        asked = _ACTION.fullmatch(part)
        if asked is None:
            raise InvalidBuild(f"this is no action at a failpoint: {part}")
        seconds = asked["seconds"]
        found[asked["name"]] = (
            Action(int(asked["time"] or 1), sends=_SIGNALS[asked["what"]])
            if seconds is None
            else Action(0, float(seconds))
        )
    return found


def compiled(text: str, names: Iterable[str]) -> str:
    """Return the source with these failpoints. Line numbers stay the same."""
    wanted = frozenset(names)

    def call(match: re.Match[str]) -> str:
        if match["name"] not in wanted:
            return match[0]
        return f'{match["indent"]}from {__name__} import reach; reach("{match["name"]}")'

    return _FAILPOINT.sub(call, text)


def broken(text: str, breaks: Mapping[str, Break]) -> ast.Module:
    """Return the source as a tree with these mutations at its marks. Raises ``InvalidBuild``."""
    tree, lines = ast.parse(text), text.splitlines()
    # Found before anything is replaced.
    marked = [
        (_marked(tree, lines, text.count("\n", 0, match.start()) + 1, match), breaks[match["name"]])
        for match in _MARK.finditer(text)
        if match["name"] in breaks
    ]
    for statement, one in marked:
        try:
            one.apply(tree, statement)
        except InvalidBuild as error:
            raise InvalidBuild(f"line {statement.lineno} cannot be broken: {error}, for {one}") from None
    return ast.fix_missing_locations(tree)


def _marked(tree: ast.Module, lines: Sequence[str], line: int, mark: re.Match[str]) -> ast.stmt:
    """Return the statement after a mark; other comments may be between."""
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.stmt) and node.lineno > line)
    # Of statements that begin at the same place the outer one is walked first.
    found = min(statements, key=lambda node: (node.lineno, node.col_offset), default=None)
    if (
        found is None
        or found.col_offset != len(mark["indent"])
        or any(between.strip() and between.strip()[0] != "#" for between in lines[line : found.lineno - 1])
    ):
        raise InvalidBuild(f"no statement follows the mark {mark['name']}")
    return found


def install(actions: Mapping[str, Action], breaks: Mapping[str, Break]) -> None:
    """Import ``app`` with these failpoints and mutations from now on. Raises ``InvalidBuild``."""
    if any(name == PACKAGE or name.startswith(f"{PACKAGE}.") for name in sys.modules):
        raise InvalidBuild(f"{PACKAGE} is imported already")
    unknown = actions.keys() - failpoints()
    if unknown:
        raise InvalidBuild(f"there are no such failpoints: {', '.join(sorted(unknown))}")
    there = marks()
    unfit = sorted(name for name in breaks if there[name] != 1)
    if unfit:
        raise InvalidBuild(f"there is not one mark for each of these: {', '.join(unfit)}")
    _actions.update(actions)
    sys.meta_path.insert(0, _Finder(actions, breaks))


class _Finder(MetaPathFinder):
    def __init__(self, names: Iterable[str], breaks: Mapping[str, Break]) -> None:
        self._names = frozenset(names)
        self._breaks = breaks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return spec
        source = Path(spec.origin).read_text(encoding="utf-8")
        changed = compiled(source, self._names)
        if changed != source or any(mark["name"] in self._breaks for mark in _MARK.finditer(source)):
            spec.loader = _Changed(fullname, spec.origin, broken(changed, self._breaks))
        return spec


class _Changed(SourceFileLoader):
    def __init__(self, fullname: str, path: str, tree: ast.Module) -> None:
        super().__init__(fullname, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        # Neither read from a file of byte code, which is the real build's, nor written to one.
        return compile(self._tree, self.path, "exec", dont_inherit=True)
