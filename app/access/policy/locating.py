"""Where in a text an error of Cedar's engine is, found by asking the engine about ever smaller parts."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cedarpy

from app.access.policy.source import Node, Outline, Token

MOST_QUESTIONS = 400
LARGEST_LONG = 2**63 - 1

_SIGNS = frozenset("@ ( ) { } [ ] ; , . < > ! + - * ? : :: == != <= >= && || =".split())
_QUOTED = re.compile(r"`([^`]+)`|(?:: |@)(\S+)$")
_END = "unexpected end of input"
_TOKEN = "unexpected token"

Engine = Callable[[str], frozenset[str]]
"""Answers what is wrong with the types in a text."""
Edits = Sequence[tuple[int, int, str]]


def syntax_error(text: str, tokens: list[Token], message: str) -> int:
    """The offset of what the engine cannot read."""
    for token in tokens:
        if token.kind == "sign" and token.text not in _SIGNS:
            return token.start
        if token.kind == "number" and int(token.text[:20]) > LARGEST_LONG:
            return token.start
    if message.startswith(_END):
        return max(len(text.rstrip()) - 1, 0)
    if message.startswith(_TOKEN):
        return _unexpected(text, tokens, message)
    quoted = {part.strip("`'@") for match in _QUOTED.finditer(message) for part in match.groups() if part}
    named = [token.start for token in tokens if token.text in quoted]
    # Of two that are the same, the second is the one too many.
    return named[-1] if named else (tokens[0].start if tokens else 0)


def _unexpected(text: str, tokens: list[Token], message: str) -> int:
    """Of the tokens that look as the one in the message, the first with which the text so far cannot be read."""
    found = _QUOTED.search(message)
    name = found[1] if found is not None else None
    alike = [token for token in tokens if token.text == name] or tokens
    low, high = 0, len(alike) - 1
    while low < high:
        middle = (low + high) // 2
        # An end makes the engine tell of what came before it, in place of the end of the text.
        if _complaint(f"{text[: alike[middle].end]}{'' if name == ';' else ';'}") == message:
            high = middle
        else:
            low = middle + 1
    return alike[low].start


def _complaint(text: str) -> str | None:
    try:
        cedarpy.policies_to_pst(text)
    except ValueError as error:
        return str(error)
    return None


@dataclass(slots=True)
class Budget:
    """How many questions may still be asked of the engine, about all errors of a text together."""

    left: int = MOST_QUESTIONS


class Locator:
    """Finds where in a statement an error about types is. ``edits`` are what was put in place of parts of the text."""

    def __init__(
        self, text: str, parts: Outline, head: str, engine: Engine, edits: Edits, budget: Budget
    ) -> None:
        self._text, self._parts, self._head, self._engine = text, parts, head, engine
        self._edits, self._budget = edits, budget

    def find(self, message: str) -> int:
        """The offset of the smallest part that has this error, or of the head when none is found."""
        guards = ""
        for clause in self._parts.clauses:
            found = self._below(clause.condition, guards, message)
            if found is not None:
                return found
            guards += f" {clause.word} {{ {self._written(clause.condition)} }}"
        return self._parts.head[0]

    def _below(self, node: Node, guards: str, message: str) -> int | None:
        if not self._has(node, guards, message):
            return None
        found = node.start
        inner: Node | None = node
        while inner is not None:
            found, inner = inner.start, None
            for part, its_guards in self._parts_of(node, guards):
                if self._has(part, its_guards, message):
                    node, guards, inner = part, its_guards, part
                    break
        return found

    def _has(self, node: Node, guards: str, message: str) -> bool:
        """Whether a part has the error, where what stands before it holds. Of any type, it equals itself."""
        self._budget.left -= 1
        if self._budget.left < 0:
            return False
        part = self._written(node)
        return message in self._engine(self._statement(f"{guards} when {{ ({part}) == ({part}) }}"))

    def _parts_of(self, node: Node, guards: str) -> Iterator[tuple[Node, str]]:
        if node.kind == "operator" and node.name in {"has", "is", "like"}:
            yield node.parts[0], guards
        elif node.kind == "operator" and node.name in {"&&", "||"}:
            # The operands of a chain one by one: each is a short question.
            for operand in _operands(node):
                yield operand, guards
                if node.name == "&&":
                    guards += f" when {{ {self._written(operand)} }}"
        elif node.kind == "if":
            condition, then, otherwise = node.parts
            yield condition, guards
            yield then, f"{guards} when {{ {self._written(condition)} }}"
            yield otherwise, guards
        else:
            for part in node.parts:
                yield part, guards

    def _statement(self, clauses: str) -> str:
        return f"{self._parts.effect} {self._head}{clauses};"

    def _written(self, node: Node) -> str:
        return edited(self._text, node.start, node.end, self._edits)


def _operands(node: Node) -> list[Node]:
    """What a chain of one operator joins, from the left."""
    found: list[Node] = []
    left = node
    while left.kind == "operator" and left.name == node.name:
        found.append(left.parts[1])
        left = left.parts[0]
    return [left, *reversed(found)]


def edited(text: str, start: int, end: int, edits: Edits) -> str:
    """A part of a text, with the edits that lie within it made. They are in order and do not overlap."""
    written, at = [], start
    for first, last, instead in edits:
        if start <= first and last <= end:
            written += [text[at:first], instead]
            at = last
    return "".join([*written, text[at:end]])
