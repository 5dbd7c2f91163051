"""What a policy reads of a call, and how much of its conditions holds for every call alike."""

from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from itertools import takewhile
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
"""What may differ between two calls of one tool, by one token, in one minute."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What is read of the context: parts, and of each the members; of those in ``whole`` all members."""

    parts: frozenset[Part] = frozenset()
    members: frozenset[tuple[Part, str]] = frozenset()
    whole: frozenset[Part] = frozenset()

    def of(self, part: Part) -> frozenset[str] | None:
        """The members of a part that are read; ``None``: all of them."""
        return None if part in self.whole else frozenset(name for each, name in self.members if each is part)

    def __or__(self, other: "Reads") -> "Reads":
        return Reads(self.parts | other.parts, self.members | other.members, self.whole | other.whole)


def reads_of(policy: pst.Template) -> Reads:
    """What the conditions of a policy read of the context, in whichever way they get at it."""
    paths = set(_paths(policy.clauses))
    if any(not path or path[0] not in _PARTS for path in paths):
        return Reads(frozenset(Part), whole=frozenset(Part))
    return Reads(
        frozenset(Part(path[0]) for path in paths),
        frozenset((Part(path[0]), path[1]) for path in paths if len(path) > 1),
        frozenset(Part(path[0]) for path in paths if len(path) == 1),
    )


def _paths(node: Any) -> Iterator[tuple[str, ...]]:
    """The attributes after each ``context``, as far as they are spelt out; none for a bare one."""
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


def reads_context(node: pst.Expr) -> bool:
    """Whether an expression reads anything of the context."""
    return next(_paths(node), None) is not None


def groups_in(policy: pst.Template) -> frozenset[UUID]:
    """The groups that a policy names: whether somebody is in another one makes no difference to it."""
    named = (uid.id for uid in pst.entity_uids(policy) if str(uid.type) == "Group")
    return frozenset(id for text in named if (id := exact_id(GROUP, text)) is not None)


def exact_id(prefix: str, text: str) -> UUID | None:
    """The id that a text is written of, letter by letter; ``None`` when it is no such id."""
    try:
        id = parse_id(prefix, text)
    except ValueError:
        return None
    return id if format_id(prefix, id) == text else None


def conditions_of(policy: pst.Template) -> tuple[list[pst.Expr], list[pst.Expr]]:
    """What a policy asks in turn: before the first that reads the context, and from that on.

    Cedar takes conditions in their order and stops at the first that is false or fails. So where the leading ones do
    not hold the policy does nothing for any call, and where they fail it fails for every call. Of later ones neither
    is true.
    """
    every = [
        condition
        for clause in policy.clauses
        for condition in _conjuncts(clause.expr, negated=isinstance(clause, pst.Unless))
    ]
    leading = list(takewhile(lambda condition: not reads_context(condition), every))
    return leading, every[len(leading) :]


def _conjuncts(condition: pst.Expr, *, negated: bool) -> Iterator[pst.Expr]:
    """What must all be true for a condition (or for its negation) to be so, in the order of evaluation."""
    match condition:
        case pst.UnaryOp("not", inner):
            yield from _conjuncts(inner, negated=not negated)
        case pst.BinaryOp(op, left, right) if op == ("or" if negated else "and"):
            yield from _conjuncts(left, negated=negated)
            yield from _conjuncts(right, negated=negated)
        case _:
            yield pst.UnaryOp("not", condition) if negated else condition
