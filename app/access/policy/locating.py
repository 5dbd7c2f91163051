"""Finds the place of a syntax error: Cedar's engine tells the error without its place."""

import re

import cedarpy

from app.access.policy.source import Token

LARGEST_LONG = 2**63 - 1

_SIGNS = frozenset("@ ( ) { } [ ] ; , . < > ! + - * ? : :: == != <= >= && || =".split())
_QUOTED = re.compile(r"`([^`]+)`|(?:: |@)(\S+)$")
_END = "unexpected end of input"
_TOKEN = "unexpected token"


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
