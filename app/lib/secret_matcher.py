"""Finds secrets where they must not appear, also in the encodings that programs print them in."""

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import chain
from urllib.parse import quote, quote_plus

from app.lib import strict_json

MIN_SECRET_BYTES = 8
"""A shorter secret would occur in ordinary text by chance, so it is not looked for."""
REDACTED = b"[redacted]"

# What encoders of URLs leave as it is: nothing, Python's quote, JavaScript's encodeURIComponent and encodeURI.
_UNQUOTED = ("", "/", "!*'()", "!*'();,/?:@&=+$#")
_URL_SAFE = str.maketrans("+/", "-_")
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_UNICODE_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_LETTERS_AND_DIGITS = re.compile(rb"[0-9A-Za-z]*")
_JSON_LEVELS = 2
"""The text in an answer of MCP is often JSON itself."""


class SecretMatcher:
    """Finds secrets in UTF-8: as they are, JSON-escaped, percent-encoded, and in Base64 alone or with text around it.

    JSON can escape any character. Before the search, write it with ``strict_json.dumps``, which escapes only what it
    must. What an upstream encodes in another way is not found.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= MIN_SECRET_BYTES}
        self._families = tuple(chain.from_iterable(map(_families, sorted(long_enough))))

    def __bool__(self) -> bool:
        """Whether there is a secret to look for."""
        return bool(self._families)

    def is_in(self, text: bytes) -> bool:
        """Whether one of the secrets occurs."""
        return any(common in text and any(form in text for form in forms) for common, forms in self._families)

    def redact(self, text: bytes) -> bytes:
        """Replace each occurrence. Returns ``text`` itself if there is none."""
        return self._pattern.sub(REDACTED, text) if self.is_in(text) else text

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        forms = chain.from_iterable(forms for _, forms in self._families)
        # The longest first, so that nothing is left of a form that contains another one.
        return re.compile(b"|".join(map(re.escape, sorted(forms, key=len, reverse=True))))


@lru_cache(maxsize=256)
def match_values(values: tuple[bytes, ...]) -> SecretMatcher:
    """Return the matcher of secrets."""
    return SecretMatcher(values)


@lru_cache(maxsize=256)
def match_headers(headers: tuple[tuple[bytes, bytes], ...]) -> SecretMatcher:
    """Return the matcher of the credentials in header fields, with a scheme (RFC 9110, section 11.4) or without."""
    return SecretMatcher(chain.from_iterable(_in_header(value) for _, value in headers))


def _in_header(value: bytes) -> Iterator[bytes]:
    scheme, space, rest = value.partition(b" ")
    if not space or not scheme.isalpha():
        yield value
    if space:
        yield rest
    if scheme.lower() == b"basic":
        with suppress(Base64Error):
            user_and_password = b64decode(rest, validate=True)
            yield user_and_password
            yield user_and_password.partition(b":")[2]


Family = tuple[bytes, frozenset[bytes]]
"""Forms of a secret, and what all of them contain: it is cheap to look for that first."""


def _families(secret: bytes) -> Iterator[Family]:
    texts = {secret.decode("latin-1")}  # A header field has no character set (RFC 9110, section 5.5).
    with suppress(UnicodeDecodeError):
        texts.add(secret.decode())
    encodings = {secret, *map(str.encode, texts)}
    yield _family(secret, chain(*map(_json_escaped, texts), *map(_percent_encoded, texts)))
    for part in chain.from_iterable(map(_base64_parts, encodings)):
        yield _family(part.encode(), chain(_json_escaped(part), [part.translate(_URL_SAFE)]))


def _family(plain: bytes, forms: Iterable[str]) -> Family:
    """No encoding changes letters and digits of ASCII."""
    common = max(_LETTERS_AND_DIGITS.findall(plain), key=len)
    return common, frozenset({plain, *map(str.encode, forms)})


def _json_escaped(text: str, levels: int = _JSON_LEVELS) -> Iterator[str]:
    """Yield the text, and what it is in a JSON string, in a JSON string within that, and so on."""
    yield text
    if levels:
        ascii_only = json.dumps(text)[1:-1]
        upper_case = _UNICODE_ESCAPE.sub(lambda found: "\\u" + found[0][2:].upper(), ascii_only)
        shortest = strict_json.dumps(text)[1:-1].decode()
        escaped = {ascii_only, upper_case, shortest}
        for form in escaped | {each.replace("/", "\\/") for each in escaped}:
            yield from _json_escaped(form, levels - 1)


def _percent_encoded(text: str) -> Iterator[str]:
    """Yield the text in URLs and forms (RFC 3986, section 2.1)."""
    for encoded in (*(quote(text, safe=unquoted) for unquoted in _UNQUOTED), quote_plus(text)):
        yield encoded
        yield _PERCENT.sub(lambda found: found[0].lower(), encoded)


def _base64_parts(secret: bytes) -> Iterator[str]:
    """Yield what the Base64 (RFC 4648, section 4) of every text with the secret contains, by the secret's offset."""
    # Each character is six bits. The first ones and an incomplete last one depend on the text around the secret.
    for offset, shared in ((0, 0), (1, 2), (2, 3)):
        complete = (offset + len(secret)) * 8 // 6
        yield b64encode(bytes(offset) + secret)[shared:complete].decode()


NO_SECRETS = SecretMatcher(())
