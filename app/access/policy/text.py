"""Positions in policy texts, since Cedar's engine reports errors without them.

The engine parses a text. This module splits it into tokens, limits its nesting before the engine sees it, locates each
expression of the engine's tree among the tokens, and checks the text itself (ADR 17).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import cedarpy
from cedarpy import pst

from app.access.policy.scope import KNOWN, acts_of, faults_of
from app.domain.policy import Act

# The engine's recursion crashes the process at about three times this depth.
MAX_NESTING = 60
_MAX_WEIGHT = 500
# The engine expands ``a has b.c`` to ``a has b && a.b has c``, so nesting makes its tree grow exponentially.
_MAX_COPIES = 1000
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
_JOINING = frozenset("&& || if then else".split())
_INFIX = frozenset("eq not_eq less less_eq greater greater_eq and or add sub mul in".split())
_FUNCTIONS = frozenset("datetime decimal duration ip".split())
_ESCAPE = re.compile(r"\\(u\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{2})|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, string or sign with its position."""

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
    """An expression of the engine's tree, its start in the text, and the expressions inside it."""

    expr: pst.Expr
    start: int
    parts: tuple["Located", ...] = ()

    def walk(self) -> Iterator["Located"]:
        """This expression and all expressions inside it, from the left."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.parts))


@dataclass(frozen=True, slots=True)
class Outline:
    """The positions of the parts of a statement: start, annotations by name, scope, and conditions."""

    start: int
    annotations: Mapping[str, int]
    scope: tuple[int, int]
    conditions: tuple[Located, ...] = field(default=())


def tokens_of(text: str) -> list[Token]:
    """Split a text into tokens, without spaces and comments. Unknown characters become signs."""
    return [
        Token(match.lastgroup, match[0], match.start())
        for match in _TOKEN.finditer(text)
        if match.lastgroup is not None
    ]


def find_excessive_nesting(tokens: list[Token]) -> Token | None:
    """The token at which a text exceeds the limits of nesting or expansion; ``None`` if it does not."""
    open_groups = [_Group()]
    for index, token in enumerate(tokens):
        group = open_groups[-1]
        if token.kind == "sign" and token.text in _OPENING:
            # A group after another one, as in ``a["b"]["c"]``, counts as nested.
            group.own += 1
            open_groups.append(_Group())
        elif token.kind == "sign" and token.text in _CLOSING and len(open_groups) > 1:
            open_groups.pop()
            open_groups[-1].close(group)
        elif token.is_sign(","):
            group.next_element()
        elif token.kind != "string" and token.text in _WEIGHING:
            group.own += 1
            if token.text == "has":
                group.copies *= _steps(tokens, index + 1)
            elif token.text in _JOINING:
                group.next_operand()
        if len(open_groups) > MAX_NESTING or sum(map(_Group.deepest, open_groups)) > _MAX_WEIGHT:
            return token
        if open_groups[-1].copies > _MAX_COPIES:
            return token
    return None


def _steps(tokens: list[Token], at: int) -> int:
    """The number of names in ``a.b.c`` after ``has``. For each, the engine copies the expression before it."""
    count = 1
    while at + 1 < len(tokens) and tokens[at + 1].is_sign("."):
        count, at = count + 1, at + 2
    return count


@dataclass(slots=True)
class _Group:
    """The depth of the current element between two brackets, and the deepest one so far.

    ``copies``: how often the engine copies a part of the current operand; ``most_copies``: of an earlier one.
    """

    own: int = 2
    inner: int = 0
    before: int = 0
    copies: int = 1
    most_copies: int = 1

    def deepest(self) -> int:
        return max(self.before, self.own + self.inner)

    def close(self, inner: "_Group") -> None:
        """Add a nested group that ends here."""
        self.inner = max(self.inner, inner.deepest())
        self.copies = max(self.copies, inner.copies, inner.most_copies)

    def next_operand(self) -> None:
        self.copies, self.most_copies = 1, max(self.most_copies, self.copies)

    def next_element(self) -> None:
        self.next_operand()
        self.own, self.inner, self.before = 2, 0, self.deepest()


def unescaped(literal: str) -> str:
    """The value of a string literal."""

    def one(match: re.Match[str]) -> str:
        code = match[2] or match[3]
        return chr(int(code, 16)) if code else _ESCAPED.get(match[1], match[1])

    return _ESCAPE.sub(one, literal[1:-1])


def outline(tokens: list[Token], policy: pst.Template) -> Outline:
    """Locate the parts of the statement that the engine parsed from these tokens."""
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
        """The start of an expression, after the parentheses around it."""
        while self._next_is("("):
            self._take()
        return self._tokens[self._at].start

    def _locate(self, expr: pst.Expr) -> tuple[Located, int]:
        """Locate an expression. Also returns its start including the parentheses around it."""
        begin = self._at
        start, parts = self._inner(expr)
        located = Located(expr, start, parts)
        while self._next_is(")") and self._opened[self._at] >= begin:
            start = self._tokens[self._opened[self._at]].start
            self._take()
        return located, start

    def _inner(self, expr: pst.Expr) -> tuple[int, _Parts]:
        """The start of an expression, and the expressions inside it."""
        match expr:
            case pst.BinaryOp():
                return self._binary(expr)
            case pst.UnaryOp():
                return self._unary(expr)
            case pst.GetAttr(base, _) | pst.HasAttr(base, _) | pst.Like(base, _):
                first, start = self._locate(base)
                self._take(3 if self._next_is("[") else 2)
                return start, (first,)
            case pst.Is(base, _, in_expr):
                first, start = self._locate(base)
                self._take(2)
                while self._next_is("::"):
                    self._take(2)
                return start, (first,) if in_expr is None else (first, self._after_word(in_expr))
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
            # The engine expands ``a has b.c`` to ``a has b && a.b has c``.
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
        """Locate the expression after a word or an operator."""
        self._take()
        return self._locate(expr)[0]

    def _listed(self, elements: Iterable[pst.Expr]) -> _Parts:
        """Locate the comma-separated elements between the next brackets."""
        end = self._closed[self._at]
        located = tuple(map(self._after_word, elements))
        self._at = end + 1
        return located

    def _fields(self, fields: Mapping[str, pst.Expr]) -> _Parts:
        """Locate the values of a record in the order of the text, since the engine sorts them by name."""
        end = self._closed[self._at]
        located = []
        for _ in fields:
            self._take()
            key = self._take()
            name = unescaped(key.text) if key.kind == "string" else key.text
            located.append(self._after_word(fields[name]))
        self._at = end + 1
        return tuple(located)

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


MAX_LONG = 2**63 - 1
_SIGNS = frozenset("@ ( ) { } [ ] ; , . < > ! + - * ? : :: == != <= >= && || =".split())
_QUOTED = re.compile(r"`([^`]+)`|(?:: |@)(\S+)$")
_UNEXPECTED_END = "unexpected end of input"
_UNEXPECTED = "unexpected token"


def syntax_error(text: str, tokens: list[Token], message: str) -> int:
    """The offset of the syntax error that the engine reported."""
    for token in tokens:
        if token.kind == "sign" and token.text not in _SIGNS:
            return token.start
        if token.kind == "number" and int(token.text[:20]) > MAX_LONG:
            return token.start
    if message.startswith(_UNEXPECTED_END):
        return max(len(text.rstrip()) - 1, 0)
    if message.startswith(_UNEXPECTED):
        return _unexpected(text, tokens, message)
    quoted = {part.strip("`'@") for match in _QUOTED.finditer(message) for part in match.groups() if part}
    named = [token.start for token in tokens if token.text in quoted]
    # If a token occurs twice, the second one is the duplicate.
    return named[-1] if named else (tokens[0].start if tokens else 0)


def _unexpected(text: str, tokens: list[Token], message: str) -> int:
    """The first token like the one in the message at which the text up to it cannot be parsed."""
    quoted = _QUOTED.search(message)
    name = quoted[1] if quoted is not None else None
    alike = [token for token in tokens if token.text == name] or tokens
    low, high = 0, len(alike) - 1
    while low < high:
        middle = (low + high) // 2
        # A semicolon makes the engine report the token before it instead of the end of the text.
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


# Invisible characters and bidirectional controls, with which a reader sees another policy than the engine (UTS 39, 55).
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


@dataclass(frozen=True, slots=True)
class Finding:
    """An error or a warning, and its offset in the text."""

    code: str
    detail: str
    offset: int

    def place(self, text: str) -> tuple[int, int]:
        """The line and column, from 1."""
        offset = min(self.offset, len(text))
        return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class InvalidPolicy(Exception):
    """The text is not a valid policy. ``findings`` say why."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(findings[0].detail)
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Named:
    """An entity that a text names, and its first position."""

    type: str
    id: str
    offset: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed policy: its text, tokens, positions, and the engine's tree."""

    text: str
    tokens: list[Token]
    parts: Outline
    policy: pst.Template

    def acts(self) -> frozenset[Act]:
        """The actions that its scope matches."""
        return acts_of(self.policy.action)

    def named(self) -> list[Named]:
        """The distinct entities that it names."""
        entities: dict[tuple[str, str], Named] = {}
        for kind, (sign, name) in zip(self.tokens, pairwise(self.tokens[1:]), strict=False):
            if sign.text == "::" and name.kind == "string":
                id = unescaped(name.text)
                entities.setdefault((kind.text, id), Named(kind.text, id, kind.start))
        return list(entities.values())

    def expressions(self) -> list[Located]:
        """All expressions of its conditions."""
        return [each for condition in self.parts.conditions for each in condition.walk()]

    def where(self, annotation: str) -> int:
        """The offset of an annotation."""
        return self.parts.annotations.get(annotation, self.parts.start)


def read_statement(text: str) -> Statement:
    """Parse a text with exactly one policy. Raises ``InvalidPolicy``."""
    tokens = tokens_of(text)
    deep = find_excessive_nesting(tokens)
    if deep is not None:
        raise InvalidPolicy([_too_complex(deep.start)])
    try:
        parsed = cedarpy.policies_to_pst(text)
    except ValueError as error:
        raise InvalidPolicy([_unreadable(text, tokens, str(error))]) from None
    policies = list(parsed.static_policies.values())
    if parsed.templates:
        detail = "A policy has no slots: put the entity itself in place of ?principal or ?resource."
        raise InvalidPolicy([Finding("slot", detail, text.find("?"))])
    if len(policies) != 1:
        offset = _second_statement(tokens) if policies else 0
        detail = f"A policy is exactly one Cedar statement, and this text has {len(policies)}: make a policy of each."
        raise InvalidPolicy([Finding("not_one_statement", detail, offset)])
    statement = Statement(text, tokens, outline(tokens, policies[0]), policies[0])
    errors = [
        Finding("bad_annotation", fault, statement.where(name)) for name, fault in faults_of(statement.policy)
    ]
    if errors:
        raise InvalidPolicy(errors)
    return statement


def text_warnings(statement: Statement) -> list[Finding]:
    """Warnings about the text itself: unknown annotations and invisible characters."""
    findings = [
        Finding("unknown_annotation", f"Scopegate knows no annotation @{name}; it has no effect.", offset)
        for name, offset in statement.parts.annotations.items()
        if name not in KNOWN
    ]
    unseen = _UNSEEN.search(statement.text)
    if unseen is not None:
        detail = f"There is a character here that does not show (U+{ord(unseen[0]):04X}): what you see may mislead."
        findings.append(Finding("unseen_character", detail, unseen.start()))
    return findings


def _unreadable(text: str, tokens: list[Token], message: str) -> Finding:
    if "nesting exceeds" in message:
        return _too_complex(tokens[0].start)
    return Finding("syntax", f"{message[:1].upper()}{message[1:]}.", syntax_error(text, tokens, message))


def _too_complex(offset: int) -> Finding:
    detail = "The conditions nest too deeply, or chain too many operators: use sets, or make several policies of it."
    return Finding("too_complex", detail, offset)


def _second_statement(tokens: list[Token]) -> int:
    depth = 0
    for token, after in pairwise(tokens):
        if token.kind == "sign":
            depth += (token.text in "([{") - (token.text in ")]}")
        if token.text == ";" and depth == 0:
            return after.start
    return 0
