"""The text of a policy with positions: Cedar's engine says what is wrong with a text, and not where.

The reader here is lax. It runs on texts that the engine has accepted, and on others only as far as their tokens.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# What the engine's own recursion survives by far; it ends the process at about three times as much.
MOST_NESTING = 60
_MOST_WEIGHT = 500

_TOKEN = re.compile(
    r"""//[^\n]*|\s+
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9]+)
    |(?P<sign>::|==|!=|<=|>=|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)
_OPENING = {"(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(_OPENING.values())
_WEIGHING = frozenset(". && || == != < <= > >= + - * ! if then else has in like is when unless".split())
_PRECEDENCE = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3, "has": 3, "like": 3,
               "is": 3, "+": 4, "-": 4, "*": 5}  # fmt: skip
_ESCAPE = re.compile(r"\\(u\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{2})|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, string or sign, and where it is."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Node:
    """An expression and where it is. ``name`` is its operator, attribute, method, word or (of a string) its value."""

    kind: str  # operator | not | access | call | index | if | list | record | string | number | word | entity
    name: str
    start: int
    end: int
    parts: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """This one and all in it, from the left."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.parts))


@dataclass(frozen=True, slots=True)
class Clause:
    """``when`` or ``unless``, with its condition."""

    word: str
    condition: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Outline:
    """Where the parts of a statement are."""

    start: int
    annotations: dict[str, int]
    effect: str
    head: tuple[int, int]
    clauses: tuple[Clause, ...] = field(default=())


def tokens_of(text: str) -> list[Token]:
    """The tokens, without space and comments. What is none is a sign of one character."""
    return [
        Token(match.lastgroup, match[0], match.start())
        for match in _TOKEN.finditer(text)
        if match.lastgroup is not None
    ]


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column of a character, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def too_deep(tokens: list[Token]) -> Token | None:
    """The token at which a text nests deeper than the engine may be given, if it does."""
    open_groups = [_Group()]
    for token in tokens:
        if token.kind == "sign" and token.text in _OPENING:
            # What follows on another, as ``a["b"]["c"]``, lies in it.
            open_groups[-1].own += 1
            open_groups.append(_Group())
        elif token.kind == "sign" and token.text in _CLOSING and len(open_groups) > 1:
            inner = open_groups.pop().deepest()
            open_groups[-1].inner = max(open_groups[-1].inner, inner)
        elif token.kind == "sign" and token.text == ",":
            open_groups[-1].next_element()
        elif token.kind != "string" and token.text in _WEIGHING:
            open_groups[-1].own += 1
        if len(open_groups) > MOST_NESTING or sum(map(_Group.deepest, open_groups)) > _MOST_WEIGHT:
            return token
    return None


@dataclass(slots=True)
class _Group:
    """What is between two brackets, by its elements: how deep the one that is read is, and the deepest so far."""

    own: int = 2
    inner: int = 0
    before: int = 0

    def deepest(self) -> int:
        return max(self.before, self.own + self.inner)

    def next_element(self) -> None:
        self.own, self.inner, self.before = 2, 0, self.deepest()


def unescaped(literal: str) -> str:
    """What a string literal stands for."""

    def one(match: re.Match[str]) -> str:
        code = match[2] or match[3]
        return chr(int(code, 16)) if code else _ESCAPED.get(match[1], match[1])

    return _ESCAPE.sub(one, literal[1:-1])


def outline(tokens: list[Token]) -> Outline:
    """The parts of the one statement that the engine has accepted."""
    return _Reader(tokens).statement()


class _Reader:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def statement(self) -> Outline:
        start, annotations = self._peek().start, {}
        while self._peek().text == "@":
            at = self._next().start
            annotations[self._next().text] = at
            if self._peek().text == "(":
                self._skip_group()
        effect = self._next().text
        head = self._skip_group()
        clauses = []
        while self._peek().text in {"when", "unless"}:
            word = self._next()
            self._next()
            condition = self._expression(1)
            clauses.append(Clause(word.text, condition, word.start, self._next().end))
        return Outline(start, annotations, effect, head, tuple(clauses))

    def _peek(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else Token("end", "", 0)

    def _next(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _skip_group(self) -> tuple[int, int]:
        start, depth = self._peek().start, 0
        while True:
            token = self._next()
            if token.kind == "sign":
                depth += (token.text in _OPENING) - (token.text in _CLOSING)
            if depth == 0:
                return start, token.end

    def _expression(self, least: int) -> Node:
        left = self._conditional() if self._peek().text == "if" else self._unary()
        while (binds := _PRECEDENCE.get(self._peek().text, 0)) >= least:
            operator = self._next().text
            if operator == "has":
                right = self._names()
            elif operator == "is":
                right = self._type()
            else:
                right = self._expression(binds + 1)
            left = Node("operator", operator, left.start, right.end, (left, right))
        return left

    def _conditional(self) -> Node:
        start = self._next().start
        condition = self._expression(1)
        self._next()
        then = self._expression(1)
        self._next()
        otherwise = self._expression(1)
        return Node("if", "if", start, otherwise.end, (condition, then, otherwise))

    def _names(self) -> Node:
        """After ``has``: a string, or names with dots between."""
        first = self._next()
        if first.kind == "string":
            return Node("string", unescaped(first.text), first.start, first.end)
        node = Node("word", first.text, first.start, first.end)
        while self._peek().text == ".":
            self._next()
            name = self._next()
            node = Node("access", name.text, first.start, name.end, (node,))
        return node

    def _type(self) -> Node:
        first = last = self._next()
        while self._peek().text == "::":
            self._next()
            last = self._next()
        return Node("word", "", first.start, last.end)

    def _unary(self) -> Node:
        if self._peek().text in {"!", "-"} and self._peek().kind == "sign":
            sign = self._next()
            inner = self._unary()
            return Node("not", sign.text, sign.start, inner.end, (inner,))
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while self._peek().text in {".", "["} and self._peek().kind == "sign":
            if self._next().text == "[":
                name = unescaped(self._next().text)
                node = Node("access", name, node.start, self._next().end, (node,))
                continue
            word = self._next()
            if self._peek().text == "(":
                arguments, end = self._listed(")")
                node = Node("call", word.text, node.start, end, (node, *arguments))
            else:
                node = Node("access", word.text, node.start, word.end, (node,))
        return node

    def _primary(self) -> Node:
        token = self._peek()
        if token.kind == "string":
            self._next()
            return Node("string", unescaped(token.text), token.start, token.end)
        if token.text == "(":
            self._next()
            inner = self._expression(1)
            end = self._next().end
            return Node("not", "(", token.start, end, (inner,))
        if token.text == "[":
            items, end = self._listed("]")
            return Node("list", "", token.start, end, tuple(items))
        if token.text == "{":
            return self._record()
        self._next()
        return (
            self._named(token) if token.kind == "word" else Node("number", token.text, token.start, token.end)
        )

    def _named(self, first: Token) -> Node:
        path, last = first.text, first
        while self._peek().text == "::":
            self._next()
            last = self._next()
            if last.kind == "string":
                return Node("entity", f"{path}::{unescaped(last.text)}", first.start, last.end)
            path += f"::{last.text}"
        if self._peek().text == "(":
            arguments, end = self._listed(")")
            return Node("call", path, first.start, end, tuple(arguments))
        return Node("word", path, first.start, last.end)

    def _listed(self, closing: str) -> tuple[list[Node], int]:
        self._next()
        found = []
        while self._peek().text != closing:
            found.append(self._expression(1))
            if self._peek().text == ",":
                self._next()
        return found, self._next().end

    def _record(self) -> Node:
        start, found = self._next().start, []
        while self._peek().text != "}":
            self._next()
            self._next()
            found.append(self._expression(1))
            if self._peek().text == ",":
                self._next()
        return Node("record", "", start, self._next().end, tuple(found))
