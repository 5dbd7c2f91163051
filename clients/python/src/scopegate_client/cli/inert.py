"""Safe output on a terminal: without control characters, and without secrets."""

import re

# C0 and C1 controls, marks of the writing direction, line separators, lone surrogates.
_STEERING = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# Credentials of Scopegate, also truncated ones, and the tokens of OpenID providers.
_SECRET = re.compile(r"\b(?:(sg[a-z]_)[0-9A-Za-z]{22}[0-9A-Za-z_]*|(eyJ)[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)*)")


def inert(text: str) -> str:
    r"""Escape control characters: an escape character becomes ``\x1b``."""
    return _STEERING.sub(_escape, text)


def inert_json(text: str) -> str:
    """The same for JSON on one line, where such characters only occur in strings: with JSON's escapes."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def masked(text: str) -> str:
    """Mask the secrets in a text."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}**********", text)


def holds_secret(text: str) -> bool:
    """Whether a text contains a secret."""
    return _SECRET.search(text) is not None


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
