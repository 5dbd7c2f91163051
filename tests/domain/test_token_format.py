"""The text format of credentials: round trips, and nothing else is accepted."""

import re
import zlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.token_format import (
    API_BEARER,
    BREAK_GLASS,
    CLIENT_SECRET,
    SCOPED_TOKEN,
    decode_base62,
    encode_base62,
    format_credential,
    parse_credential,
)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIXES = (SCOPED_TOKEN, CLIENT_SECRET, API_BEARER, BREAK_GLASS)
any_id = st.uuids()
secrets = st.binary(min_size=32, max_size=32)
prefixes = st.sampled_from(PREFIXES)


@given(prefixes, any_id, secrets)
def test_a_credential_reads_back_as_written(prefix: str, id: UUID, secret: bytes) -> None:
    text = format_credential(prefix, id, secret)
    assert re.fullmatch(r"sg[tcbe]_[0-9A-Za-z]{22}_[0-9A-Za-z]{49}", text)
    parsed = parse_credential(text, prefix)
    assert parsed is not None
    assert (parsed.prefix, parsed.id) == (prefix, id)
    assert decode_base62(parsed.secret) == int.from_bytes(secret)
    assert parsed.digest_input == text[4:26].encode() + parsed.secret.encode()


@given(prefixes, any_id, secrets, st.integers(0, 75), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_never_taken(
    prefix: str, id: UUID, secret: bytes, at: int, character: str
) -> None:
    text = format_credential(prefix, id, secret)
    changed = text[:at] + character + text[at + 1 :]
    if changed != text:
        assert parse_credential(changed, prefix) is None


@given(any_id, secrets)
def test_a_credential_of_one_class_is_none_of_another(id: UUID, secret: bytes) -> None:
    text = format_credential(SCOPED_TOKEN, id, secret)
    assert parse_credential(text, CLIENT_SECRET) is None
    assert parse_credential(text, API_BEARER) is None


@given(st.text(max_size=120), prefixes)
def test_any_text_is_read_or_refused_without_an_error(text: str, prefix: str) -> None:
    assert parse_credential(text, prefix) is None


@pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "{}\x00", "x{}", "{}x"])
def test_nothing_may_stand_around_a_credential(around: str) -> None:
    text = format_credential(SCOPED_TOKEN, UUID(int=7), b"s" * 32)
    assert parse_credential(around.format(text), SCOPED_TOKEN) is None


def test_an_id_beyond_a_uuid_is_refused_although_its_checksum_is_right() -> None:
    body = f"sgt_{'z' * 22}_{'0' * 43}"
    text = body + encode_base62(zlib.crc32(body.encode()), 6)
    assert parse_credential(text, SCOPED_TOKEN) is None


def test_the_secret_does_not_show_in_repr() -> None:
    parsed = parse_credential(format_credential(SCOPED_TOKEN, UUID(int=7), b"s" * 32), SCOPED_TOKEN)
    assert parsed is not None
    assert parsed.secret not in repr(parsed)


def test_the_form_is_the_documented_one() -> None:
    """The pattern of secret scanners must not change."""
    assert format_credential(SCOPED_TOKEN, UUID(int=1), bytes(32)) == (
        "sgt_0000000000000000000001_" + "0" * 43 + encode_base62(
            zlib.crc32(b"sgt_0000000000000000000001_" + b"0" * 43), 6
        )
    )  # fmt: skip


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        format_credential(SCOPED_TOKEN, UUID(int=1), bytes(length))


@given(st.integers(0, 62**6 - 1))
def test_base62_reads_back(number: int) -> None:
    assert decode_base62(encode_base62(number, 6)) == number


@pytest.mark.parametrize("number", [-1, 62])
def test_a_number_that_does_not_fit_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=r"base62|fit"):
        encode_base62(number, 1)


@pytest.mark.parametrize("text", ["-", "a_b", "é", "٣"])
def test_foreign_characters_are_not_base62(text: str) -> None:
    with pytest.raises(ValueError, match="not base62"):
        decode_base62(text)
