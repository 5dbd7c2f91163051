"""Secrets are found in every encoding that an upstream is likely to print them in."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.lib.secret_matcher import MIN_SECRET_BYTES, REDACTED, SecretMatcher, match_headers

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
SECRETS = st.text(st.characters(codec="utf-8"), min_size=MIN_SECRET_BYTES, max_size=20)
NASTY = 'pä"ß/\\ +\n\x01%27='
"""Every encoding changes it."""


def in_json(text: str) -> str:
    return json.dumps({"token": text})


ENCODERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in JSON": in_json,
    "in JSON, not only ASCII": lambda text: json.dumps({"token": text}, ensure_ascii=False),
    "in JSON, slashes escaped": lambda text: in_json(text).replace("/", "\\/"),
    "in JSON in JSON": lambda text: in_json(in_json(text)),
    "in JSON in JSON, not only ASCII": lambda text: in_json(json.dumps(text, ensure_ascii=False)),
    "in a URL": lambda text: quote(text, safe=""),
    "in a URL, small letters": lambda text: re.sub(
        "%..", lambda found: found[0].lower(), quote(text, safe="")
    ),
    "in a path": quote,
    "in a form": quote_plus,
    "by encodeURIComponent": lambda text: quote(text, safe="!*'()"),
    "by encodeURI": lambda text: quote(text, safe="!*'();,/?:@&=+$#"),
    "in Base64": lambda text: b64encode(text.encode()).decode(),
    "in Base64 in JSON, slashes escaped": lambda text: in_json(b64encode(text.encode()).decode()).replace(
        "/", "\\/"
    ),
    "in Base64 of URLs": lambda text: urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@given(secret=SECRETS, before=TEXT, after=TEXT)
@example(secret=NASTY, before="", after="")
@example(secret=NASTY, before="a", after="b")
@example(secret=NASTY, before="aa", after="b")
def test_a_secret_is_found_in_each_encoding_and_nothing_of_it_is_left(
    encode: Callable[[str], str], secret: str, before: str, after: str
) -> None:
    matcher = SecretMatcher([secret.encode()])
    text = encode(before + secret + after).encode()
    assert matcher.is_in(text)
    redacted = matcher.redact(text)
    assert REDACTED in redacted
    assert not matcher.is_in(redacted)


def test_bytes_that_are_no_utf_8_are_found_as_programs_read_them() -> None:
    secret = "sécret-of-1999".encode("latin-1")
    matcher = SecretMatcher([secret])
    assert matcher.is_in(b": " + secret)
    assert matcher.is_in("a sécret-of-1999.".encode())
    assert matcher.is_in(in_json("a sécret-of-1999.").encode())
    assert matcher.is_in(b64encode(b"1" + secret))


def test_bytes_that_a_program_reads_as_latin_1_are_found() -> None:
    secret = "sécret-of-2026".encode()
    assert SecretMatcher([secret]).is_in(secret.decode("latin-1").encode())


def test_a_longer_form_is_replaced_as_a_whole() -> None:
    matcher = SecretMatcher([b"word-of-power", b"word-of-power-and-more"])
    assert matcher.redact(b"a word-of-power-and-more, a word-of-power") == b"a [redacted], a [redacted]"


def test_other_text_stays_the_same_object() -> None:
    text = b'{"token":"another-secret"}'
    for secrets in ([], [b"the-secret"], [b"another"]):
        matcher = SecretMatcher(secrets)
        assert matcher.redact(text) is text
        assert bool(matcher) is (secrets == [b"the-secret"])


@pytest.mark.parametrize(
    "value", ["s3cret-word", "Bearer s3cret-word", "Api-Key s3cret-word", "V2 s3cret-word"]
)
def test_a_credential_is_found_without_its_scheme(value: str) -> None:
    matcher = match_headers(((b"x-key", value.encode()),))
    for text in (value, "s3cret-word"):
        assert b"s3cret" not in matcher.redact(json.dumps(text).encode())


@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_user_and_password_of_a_basic_credential_are_found(scheme: str) -> None:
    encoded = b64encode(b"ada:s3cret-word").decode()
    matcher = match_headers(((b"authorization", f"{scheme} {encoded}".encode()),))
    for text in (f"{scheme} {encoded}", encoded, "ada:s3cret-word", "s3cret-word"):
        redacted = matcher.redact(text.encode())
        assert b"s3cret" not in redacted
        assert encoded.encode() not in redacted
    assert matcher.redact(b"ada") == b"ada"


def test_what_only_looks_like_a_basic_credential_is_found_as_it_is() -> None:
    assert match_headers(((b"authorization", b"Basic not-base64!"),)).is_in(b"not-base64!")
