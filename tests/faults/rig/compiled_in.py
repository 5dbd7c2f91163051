"""Builds for the rig: the service as it stands in ``app``, changed while it is imported and never on disk.

A line ``# failpoint: name`` is a comment to everybody else; here it becomes a call, at its indentation and on its
line, that does what was asked for under that name. A build that is broken on purpose has some of its source replaced.
"""

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "app"
_COMMENT = re.compile(r"^(?P<indent> *)# failpoint: (?P<name>[a-z_]+)$", re.MULTILINE)
_ACTION = re.compile(
    r"(?P<name>[a-z_]+)=(?:(?P<what>kill|stop)(?::(?P<time>[1-9][0-9]*))?|stall:(?P<seconds>[0-9.]+))"
)

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Unfit(Exception):
    """What was asked for does not fit the source."""


@dataclass(frozen=True, slots=True)
class Break:
    """One replacement in the source. ``path`` is relative to the repository; ``old`` stands in it exactly once."""

    path: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The text broken. Raises ``Unfit``."""
        if text.count(self.old) != 1:
            raise Unfit(f"{self.path} has this {text.count(self.old)} times: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Action:
    """What happens at a failpoint: a signal at the ``time``-th arrival, or all of the process stalls at each."""

    time: int = 0
    seconds: float = 0.0
    sends: signal.Signals = signal.SIGKILL


_actions: dict[str, Action] = {}
_arrivals: Counter[str] = Counter()


def reach(name: str) -> None:
    """Called where a failpoint is compiled in."""
    action = _actions[name]
    _arrivals[name] += 1
    if _arrivals[name] == action.time:
        os.kill(os.getpid(), action.sends)
    # Blocking is meant: nothing else of this process goes on meanwhile.
    time.sleep(action.seconds)


def stop_soon(name: str, after: int) -> None:
    """Send SIGSTOP to this process at the failpoint, once it has come there ``after`` more times."""
    _actions[name] = Action(_arrivals[name] + after, sends=signal.SIGSTOP)


def failpoints() -> frozenset[str]:
    """The names of all failpoints in ``app``."""
    found = set()
    for path in (ROOT / PACKAGE).rglob("*.py"):
        found |= {match["name"] for match in _COMMENT.finditer(path.read_text(encoding="utf-8"))}
    return frozenset(found)


def parsed(text: str) -> dict[str, Action]:
    """``name=kill``, ``name=kill:3`` (at the third arrival), ``name=stop:3`` (SIGSTOP, until someone sends SIGCONT),
    ``name=stall:0.5`` (seconds), with commas between.

    Raises ``Unfit``.
    """
    found = {}
    for part in filter(None, text.split(",")):
        asked = _ACTION.fullmatch(part)
        if asked is None:
            raise Unfit(f"this is no action at a failpoint: {part}")
        seconds = asked["seconds"]
        found[asked["name"]] = (
            Action(int(asked["time"] or 1), sends=_SIGNALS[asked["what"]])
            if seconds is None
            else Action(0, float(seconds))
        )
    return found


def compiled(text: str, names: Iterable[str]) -> str:
    """The source with these failpoints in it. Lines keep their numbers."""
    wanted = frozenset(names)

    def call(match: re.Match[str]) -> str:
        if match["name"] not in wanted:
            return match[0]
        return f'{match["indent"]}from {__name__} import reach; reach("{match["name"]}")'

    return _COMMENT.sub(call, text)


def install(actions: Mapping[str, Action], breaks: Sequence[Break]) -> None:
    """Have ``app`` imported with these failpoints and breaks from now on. Raises ``Unfit``."""
    if any(name == PACKAGE or name.startswith(f"{PACKAGE}.") for name in sys.modules):
        raise Unfit(f"{PACKAGE} is imported already")
    unknown = actions.keys() - failpoints()
    if unknown:
        raise Unfit(f"there are no such failpoints: {', '.join(sorted(unknown))}")
    _actions.update(actions)
    broken: dict[Path, str] = {}
    for one in breaks:
        path = ROOT / one.path
        broken[path] = one.applied(broken.get(path) or path.read_text(encoding="utf-8"))
    sys.meta_path.insert(0, _Finder(broken, actions))


class _Finder(MetaPathFinder):
    def __init__(self, broken: Mapping[Path, str], names: Iterable[str]) -> None:
        self._broken = broken
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return spec
        origin = Path(spec.origin)
        source = origin.read_text(encoding="utf-8")
        changed = compiled(self._broken.get(origin, source), self._names)
        if changed != source:
            spec.loader = _Changed(fullname, spec.origin, changed)
        return spec


class _Changed(SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        # Neither read from a file of byte code, which is the real build's, nor written to one.
        return compile(self._source, self.path, "exec", dont_inherit=True)
