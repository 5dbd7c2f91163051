"""The text of a policy with positions: Cedar's engine says what is wrong with a text, and not where.

The engine parses. This module splits a text into tokens, counts nesting before the engine sees it, and finds the
place of each expression of the engine's tree among the tokens.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cedarpy import pst

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
_INFIX = frozenset("eq not_eq less less_eq greater greater_eq and or add sub mul in".split())
_FUNCTIONS = frozenset("datetime decimal duration ip".split())
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

    def is_sign(self, text: str) -> bool:
        return self.kind == "sign" and self.text == text


@dataclass(frozen=True, slots=True)
class Located:
    """An expression of the engine's tree, where it starts in the text, and the expressions in it."""

    expr: pst.Expr
    start: int
    parts: tuple["Located", ...] = ()

    def walk(self) -> Iterator["Located"]:
        """This one and all in it, from the left."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.parts))


@dataclass(frozen=True, slots=True)
class Outline:
    """Where the parts of a statement are: its start, its annotations by name, its scope, and its conditions."""

    start: int
    annotations: Mapping[str, int]
    scope: tuple[int, int]
    conditions: tuple[Located, ...] = field(default=())


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
        elif token.is_sign(","):
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


def outline(tokens: list[Token], policy: pst.Template) -> Outline:
    """Where the parts of the one statement are that the engine made of these tokens."""
    return _Aligner(tokens).statement(policy)


_Parts = tuple[Located, ...]


class _Aligner:
    """Walks through the tokens in step with the engine's tree."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._opened: dict[int, int] = {}
        open_brackets: list[int] = []
        for index, token in enumerate(tokens):
            if token.kind == "sign" and token.text in _OPENING:
                open_brackets.append(index)
            elif token.kind == "sign" and token.text in _CLOSING:
                self._opened[index] = open_brackets.pop()
        self._closed = {opened: closed for closed, opened in self._opened.items()}

    def statement(self, policy: pst.Template) -> Outline:
        start, annotations = self._tokens[0].start, {}
        while self._next_is("@"):
            at = self._take().start
            annotations[self._take().text] = at
            if self._next_is("("):
                self._skip_group()
        self._take()
        scope = self._skip_group()
        conditions = []
        for clause in policy.clauses:
            self._take(2)
            conditions.append(self._locate(clause.expr)[0])
            self._take()
        return Outline(start, annotations, scope, tuple(conditions))

    def _next_is(self, text: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at].is_sign(text)

    def _take(self, count: int = 1) -> Token:
        """Step over some tokens. Returns the last one."""
        self._at += count
        return self._tokens[self._at - 1]

    def _skip_group(self) -> tuple[int, int]:
        start, self._at = self._tokens[self._at].start, self._closed[self._at] + 1
        return start, self._tokens[self._at - 1].end

    def _start(self) -> int:
        """The start of an expression that begins with the next token that is not a parenthesis around it."""
        while self._next_is("("):
            self._take()
        return self._tokens[self._at].start

    def _locate(self, expr: pst.Expr) -> tuple[Located, int]:
        """An expression, and where it starts with the parentheses around it."""
        begin = self._at
        start, parts = self._inner(expr)
        found = Located(expr, start, parts)
        while self._next_is(")") and self._opened[self._at] >= begin:
            start = self._tokens[self._opened[self._at]].start
            self._take()
        return found, start

    def _inner(self, expr: pst.Expr) -> tuple[int, _Parts]:
        """Where an expression starts, and what is in it."""
        match expr:
            case pst.BinaryOp():
                return self._binary(expr)
            case pst.UnaryOp():
                return self._unary(expr)
            case pst.GetAttr(base, _) | pst.HasAttr(base, _) | pst.Like(base, _):
                first, start = self._locate(base)
                self._take(3 if self._next_is("[") else 2)
                return start, (first,)
            case pst.Is():
                return self._is(expr)
            case pst.IfThenElse(condition, then, otherwise):
                return self._start(), tuple(map(self._after_word, (condition, then, otherwise)))
            case pst.Set(elements):
                return self._start(), self._listed(elements)
            case pst.Record(fields):
                return self._start(), self._fields(fields)
        return self._leaf(expr), ()

    def _binary(self, expr: pst.BinaryOp) -> tuple[int, _Parts]:
        first, start = self._locate(expr.left)
        if expr.op not in _INFIX:
            self._take(2)
            return start, (first, *self._listed([expr.right]))
        if expr.op == "and" and self._next_is("."):
            # The engine makes ``a has b && a.b has c`` of ``a has b.c``.
            self._take(2)
            return start, (first, Located(expr.right, start))
        return start, (first, self._after_word(expr.right))

    def _unary(self, expr: pst.UnaryOp) -> tuple[int, _Parts]:
        if expr.op in ("not", "neg"):
            return self._start(), (self._after_word(expr.arg),)
        if expr.op in _FUNCTIONS:
            start = self._start()
            self._take()
            return start, self._listed([expr.arg])
        first, start = self._locate(expr.arg)
        self._take(2)
        return start, (first, *self._listed([]))

    def _after_word(self, expr: pst.Expr) -> Located:
        """The expression after a word or an operator."""
        self._take()
        return self._locate(expr)[0]

    def _is(self, expr: pst.Is) -> tuple[int, _Parts]:
        first, start = self._locate(expr.base)
        self._take(2)
        while self._next_is("::"):
            self._take(2)
        return start, (first,) if expr.in_expr is None else (first, self._after_word(expr.in_expr))

    def _listed(self, elements: Iterable[pst.Expr]) -> _Parts:
        """What is between the brackets that come next, with commas between."""
        end = self._closed[self._at]
        found = tuple(map(self._after_word, elements))
        self._at = end + 1
        return found

    def _fields(self, fields: Mapping[str, pst.Expr]) -> _Parts:
        """The values of a record, in the order of the text: the engine sorts them by name."""
        end = self._closed[self._at]
        found = []
        for _ in fields:
            self._take()
            key = self._take()
            name = unescaped(key.text) if key.kind == "string" else key.text
            found.append(self._after_word(fields[name]))
        self._at = end + 1
        return tuple(found)

    def _leaf(self, expr: pst.Expr) -> int:
        start = self._start()
        if isinstance(expr, pst.LongLit) and self._next_is("-"):
            self._take()
        if isinstance(expr, pst.EntityLit):
            while self._take().kind != "string":
                pass
        else:
            self._take()
        return start
