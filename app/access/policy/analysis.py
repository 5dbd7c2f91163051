"""Static analysis of policies: what they read of a call, their leading conditions, and checks without the engine.

For most calls the first condition of most policies is false, and that comparison is far faster than the engine. Only a
condition that is certainly false excludes a policy. The engine decides everything else: other types, missing values,
other kinds of conditions, and conditions that hold.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from functools import partial
from itertools import takewhile
from operator import eq, ge, gt, le, lt, ne
from typing import Any
from uuid import UUID

from cedarpy import pst

from app.lib.ids import GROUP, format_id, parse_id

CONTEXT = pst.Var("context")


class Part(StrEnum):
    """A member of the context."""

    ARGUMENTS = "arguments"
    TIME = "time"
    CLIENT = "client"
    IP = "ip"
    TOKEN = "token"


_PARTS = frozenset(part.value for part in Part)
CALL_PARTS = frozenset({Part.ARGUMENTS, Part.CLIENT, Part.IP})
"""The parts that can differ between two calls of one tool, by one token, in one minute."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What is read of the context: its parts, and their members; for parts in ``whole``, all members."""

    parts: frozenset[Part] = frozenset()
    members: frozenset[tuple[Part, str]] = frozenset()
    whole: frozenset[Part] = frozenset()

    def of(self, part: Part) -> frozenset[str] | None:
        """The members of a part that are read; ``None`` for all."""
        return None if part in self.whole else frozenset(name for each, name in self.members if each is part)

    def __or__(self, other: "Reads") -> "Reads":
        return Reads(self.parts | other.parts, self.members | other.members, self.whole | other.whole)


def reads_of(policy: pst.Template) -> Reads:
    """What the conditions of a policy read of the context."""
    paths = set(_paths(policy.clauses))
    if any(not path or path[0] not in _PARTS for path in paths):
        return Reads(frozenset(Part), whole=frozenset(Part))
    return Reads(
        frozenset(Part(path[0]) for path in paths),
        frozenset((Part(path[0]), path[1]) for path in paths if len(path) > 1),
        frozenset(Part(path[0]) for path in paths if len(path) == 1),
    )


def _paths(node: Any) -> Iterator[tuple[str, ...]]:
    """The attribute path after each ``context``; empty for ``context`` itself."""
    if isinstance(node, tuple):
        for each in node:
            yield from _paths(each)
        return
    if isinstance(node, dict):
        yield from _paths(tuple(node.values()))
        return
    if not is_dataclass(node):
        return
    path: tuple[str, ...] = ()
    while isinstance(node, pst.GetAttr | pst.HasAttr):
        path = ((node.attr,) if isinstance(node, pst.GetAttr) else node.attrs) + path
        node = node.base
    if node == CONTEXT:
        yield path
        return
    for name in node.__slots__:
        yield from _paths(getattr(node, name))


def groups_in(policy: pst.Template) -> frozenset[UUID]:
    """The groups that a policy names. Membership in other groups does not affect it."""
    named = (uid.id for uid in pst.entity_uids(policy) if str(uid.type) == "Group")
    return frozenset(id for text in named if (id := exact_id(GROUP, text)) is not None)


def exact_id(prefix: str, text: str) -> UUID | None:
    """Parse an id in its exact canonical text; ``None`` for any other text."""
    try:
        id = parse_id(prefix, text)
    except ValueError:
        return None
    return id if format_id(prefix, id) == text else None


def conditions_of(policy: pst.Template) -> tuple[list[pst.Expr], list[pst.Expr]]:
    """The conditions of a policy before the first one that reads the context, and from that one on.

    Cedar evaluates conditions in order and stops at the first that is false or fails. So if a leading condition is
    false, the policy never applies, and if one fails, the policy fails for every call. Neither is true for later
    conditions.
    """
    every = [
        condition
        for clause in policy.clauses
        for condition in _conjuncts(clause.expr, negated=isinstance(clause, pst.Unless))
    ]
    leading = list(takewhile(lambda condition: not any(True for _ in _paths(condition)), every))
    return leading, every[len(leading) :]


def _conjuncts(condition: pst.Expr, *, negated: bool) -> Iterator[pst.Expr]:
    """The conjuncts of a condition (or of its negation), in the order of evaluation."""
    match condition:
        case pst.UnaryOp("not", inner):
            yield from _conjuncts(inner, negated=not negated)
        case pst.BinaryOp(op, left, right) if op == ("or" if negated else "and"):
            yield from _conjuncts(left, negated=negated)
            yield from _conjuncts(right, negated=negated)
        case _:
            yield pst.UnaryOp("not", condition) if negated else condition


Context = Mapping[str, Any]
Check = Callable[[Context], bool | None]
"""Whether a condition holds; ``None`` if only the engine can decide it."""
_MISSING = object()
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "eq": eq,
    "not_eq": ne,
    "less": lt,
    "less_eq": le,
    "greater": gt,
    "greater_eq": ge,
}
_MIRRORED = {"less": "greater", "less_eq": "greater_eq", "greater": "less", "greater_eq": "less_eq"}


def checks_of(conditions: Iterable[pst.Expr]) -> tuple[Check, ...]:
    """Checks for the conditions, in order, up to the first unsupported one."""
    checks = []
    for condition in conditions:
        check = _check(condition)
        if check is None:
            break
        checks.append(check)
    return tuple(checks)


def ruled_out(checks: Iterable[Check], context: Context) -> bool:
    """Whether one of these conditions is false and all before it are true."""
    for check in checks:
        holds = check(context)
        if holds is not True:
            return holds is False
    return False


def _check(condition: pst.Expr) -> Check | None:
    match condition:
        case pst.UnaryOp("not", inner):
            negated = _check(inner)
            return None if negated is None else partial(_not, negated)
        case pst.BinaryOp("and" | "or" as word, left, right):
            first = _check(left)
            return (
                None
                if first is None
                else partial(_joined, word == "or", first, _check(right) or (lambda _: None))
            )
        case pst.HasAttr(base, attrs):
            path = _path(base)
            return None if path is None else partial(_has, path, attrs)
        case pst.Like(base, pattern):
            path = _path(base)
            return None if path is None else partial(_like, path, _parts(pattern))
        case pst.BinaryOp("contains", pst.Set(elements), right):
            path, among = _path(right), _literals(elements)
            return None if path is None or among is None else partial(_among, path, *among)
        case pst.BinaryOp(op, left, right) if op in _COMPARED:
            return _comparison(op, left, right) or _comparison(_MIRRORED.get(op, op), right, left)
    return None


def _comparison(op: str, left: pst.Expr, right: pst.Expr) -> Check | None:
    path = _path(left)
    if path is None or not isinstance(right, pst.StringLit | pst.LongLit | pst.BoolLit):
        return None
    if op not in ("eq", "not_eq") and not isinstance(right, pst.LongLit):
        return None
    return partial(_compared, path, _COMPARED[op], right.value)


def _path(expression: pst.Expr) -> tuple[str, ...] | None:
    names: tuple[str, ...] = ()
    while isinstance(expression, pst.GetAttr):
        names = (expression.attr, *names)
        expression = expression.base
    return names if expression == CONTEXT else None


def _literals(elements: Iterable[pst.Expr]) -> tuple[type, frozenset[Any]] | None:
    """The type of some literals, and their values, where all are strings or all are integers."""
    literals = tuple(elements)
    for literal in (pst.StringLit, pst.LongLit):
        if literals and all(isinstance(each, literal) for each in literals):
            values = frozenset(each.value for each in literals if isinstance(each, literal))
            return (str if literal is pst.StringLit else int), values
    return None


def _parts(pattern: Iterable[pst.PatternElem]) -> tuple[str, ...]:
    """The texts between the wildcards of a pattern."""
    parts = [""]
    for element in pattern:
        if isinstance(element, pst.Char):
            parts[-1] += element.value
        else:
            parts.append("")
    return tuple(parts)


def _not(check: Check, context: Context) -> bool | None:
    holds = check(context)
    return None if holds is None else not holds


def _joined(settles: bool, first: Check, second: Check, context: Context) -> bool | None:
    """``or`` is settled by a first that is true, ``and`` by one that is false."""
    holds = first(context)
    return holds if holds is None or holds is settles else second(context)


def _at(path: tuple[str, ...], context: Any) -> Any:
    for name in path:
        # A value of a type of Cedar's own is written as a record too.
        if type(context) is not dict or "__extn" in context:
            return _MISSING
        context = context.get(name, _MISSING)
    return context


def _has(path: tuple[str, ...], names: tuple[str, ...], context: Context) -> bool | None:
    record = _at(path, context)
    for name in names:
        if type(record) is not dict or "__extn" in record:
            return None
        if name not in record:
            return False
        record = record[name]
    return True


def _compared(
    path: tuple[str, ...], compare: Callable[[Any, Any], bool], literal: Any, context: Context
) -> bool | None:
    value = _at(path, context)
    return compare(value, literal) if type(value) is type(literal) else None


def _among(path: tuple[str, ...], kind: type, values: frozenset[Any], context: Context) -> bool | None:
    value = _at(path, context)
    return value in values if type(value) is kind else None


def _like(path: tuple[str, ...], parts: tuple[str, ...], context: Context) -> bool | None:
    value = _at(path, context)
    if type(value) is not str:
        return None
    first, *rest = parts
    if not rest:
        return value == first
    *between, last = rest
    if not value.startswith(first) or not value.endswith(last) or len(value) < len(first) + len(last):
        return False
    at, end = len(first), len(value) - len(last)
    for part in between:
        position = value.find(part, at, end)
        if position < 0:
            return False
        at = position + len(part)
    return True
