"""One policy as it was written: read, taken apart, and checked as far as its text alone tells."""

import re
from dataclasses import dataclass
from itertools import pairwise

import cedarpy
from cedarpy import pst

from app.access.policy.annotations import KNOWN, faults_of
from app.access.policy.heads import acts_of
from app.access.policy.locating import syntax_error
from app.access.policy.source import Located, Outline, Token, outline, place, tokens_of, too_deep, unescaped
from app.domain.policy import Act

# What shows nothing and can turn text round, so that a reader sees another policy than the engine (UTS 39, 55).
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong or odd, and the offset of it in the text."""

    code: str
    detail: str
    offset: int

    def place(self, text: str) -> tuple[int, int]:
        """Its line and column, from 1."""
        return place(text, min(self.offset, len(text)))


class Refused(Exception):
    """A text that is no policy. ``findings`` say why."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(findings[0].detail)
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Named:
    """An entity that a text names, and where it does first."""

    type: str
    id: str
    offset: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A readable policy: its text, its tokens, where its parts are, and what the engine makes of it."""

    text: str
    tokens: list[Token]
    parts: Outline
    policy: pst.Template

    def acts(self) -> frozenset[Act]:
        """The actions that its head lets in."""
        return acts_of(self.policy.action)

    def named(self) -> list[Named]:
        """The entities that it names, each once."""
        found: dict[tuple[str, str], Named] = {}
        for kind, (sign, name) in zip(self.tokens, pairwise(self.tokens[1:]), strict=False):
            if sign.text == "::" and name.kind == "string":
                id = unescaped(name.text)
                found.setdefault((kind.text, id), Named(kind.text, id, kind.start))
        return list(found.values())

    def expressions(self) -> list[Located]:
        """All that its conditions consist of."""
        return [each for condition in self.parts.conditions for each in condition.walk()]

    def where(self, annotation: str) -> int:
        """The offset of an annotation."""
        return self.parts.annotations.get(annotation, self.parts.start)


def read_statement(text: str) -> Statement:
    """The one policy that a text is. Raises ``Refused``."""
    tokens = tokens_of(text)
    deep = too_deep(tokens)
    if deep is not None:
        raise Refused([_too_complex(deep.start)])
    try:
        found = cedarpy.policies_to_pst(text)
    except ValueError as error:
        raise Refused([_unreadable(text, tokens, str(error))]) from None
    policies = list(found.static_policies.values())
    if found.templates:
        detail = "A policy has no slots: put the entity itself in place of ?principal or ?resource."
        raise Refused([Finding("slot", detail, text.find("?"))])
    if len(policies) != 1:
        offset = _second_statement(tokens) if policies else 0
        detail = f"A policy is exactly one Cedar statement, and this text has {len(policies)}: make a policy of each."
        raise Refused([Finding("not_one_statement", detail, offset)])
    statement = Statement(text, tokens, outline(tokens, policies[0]), policies[0])
    errors = [
        Finding("bad_annotation", fault, statement.where(name)) for name, fault in faults_of(statement.policy)
    ]
    if errors:
        raise Refused(errors)
    return statement


def odd(statement: Statement) -> list[Finding]:
    """Warnings that the text alone gives: annotations that mean nothing here, characters that nobody sees."""
    found = [
        Finding("unknown_annotation", f"Scopegate knows no annotation @{name}; it has no effect.", offset)
        for name, offset in statement.parts.annotations.items()
        if name not in KNOWN
    ]
    unseen = _UNSEEN.search(statement.text)
    if unseen is not None:
        detail = f"There is a character here that does not show (U+{ord(unseen[0]):04X}): what you see may mislead."
        found.append(Finding("unseen_character", detail, unseen.start()))
    return found


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
