"""Signed texts verify with the public keys, and nothing else does."""

import base64
import json
import warnings
from typing import Any

import pytest
from joserfc.jwk import KeySet
from joserfc.jws import deserialize_compact

from app.crypto.signing import SignatureFault, Signer, verify

OLD, NEW, FOREIGN = b"o" * 40, b"n" * 40, b"f" * 40
TYPE = "scopegate-test+jwt"
CLAIMS = {"jti": "evt_1", "receipt": {"tokens": ["tok_1"]}}


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_anybody_can_check_it_with_the_public_keys() -> None:
    signer = Signer([NEW, OLD], "https://gate.example.com")
    signed = signer.sign(CLAIMS, type=TYPE)
    key_set: Any = {"keys": signer.public_keys()}
    said, key_id = verify(signed.text, signer.public_keys(), type=TYPE)
    assert (said, key_id) == (CLAIMS | {"iss": "https://gate.example.com"}, signer.ids[0])
    # It also verifies with another library, which warns about the algorithm's newer name.
    with warnings.catch_warnings(action="ignore"):
        theirs = deserialize_compact(signed.text, KeySet.import_key_set(key_set), algorithms=["EdDSA"])
    assert json.loads(theirs.payload) == said
    assert theirs.headers() == {"alg": "EdDSA", "kid": signed.key_id, "typ": TYPE}


def test_a_retired_key_goes_on_checking_while_it_is_configured() -> None:
    before = Signer([OLD], "https://gate.example.com").sign(CLAIMS, type=TYPE)
    both = Signer([NEW, OLD], "https://gate.example.com")
    assert verify(before.text, both.public_keys(), type=TYPE)[1] == both.ids[1]
    assert both.sign(CLAIMS, type=TYPE).key_id == both.ids[0]
    with pytest.raises(SignatureFault, match="not among the keys"):
        verify(before.text, Signer([NEW], "").public_keys(), type=TYPE)


def test_public_keys_say_nothing_of_the_private_ones() -> None:
    (public,) = Signer([NEW], "").public_keys()
    assert public.keys() == {"kty", "crv", "x", "kid", "use", "alg"}
    assert NEW.decode() not in json.dumps(public)


def test_what_was_changed_or_is_something_else_does_not_pass() -> None:
    signer, foreign = Signer([NEW], "https://gate.example.com"), Signer([FOREIGN], "https://gate.example.com")
    keys = signer.public_keys()
    text = signer.sign(CLAIMS, type=TYPE).text
    header, content, signature = text.split(".")
    none = part({"alg": "none", "kid": signer.ids[0], "typ": TYPE})
    hmac = part({"alg": "HS256", "kid": signer.ids[0], "typ": TYPE})
    critical = part({"alg": "EdDSA", "kid": signer.ids[0], "typ": TYPE, "crit": ["x"], "x": 1})
    # The last character of base64url has unused bits.
    twin = signature[:-1] + chr(ord(signature[-1]) + 1)
    wrong = {
        f"{header}.{part({'jti': 'evt_2'})}.{signature}": "it was changed",
        f"{header}.{content}.{signature[:-4]}AAAA": "it was changed",
        f"{header}.{content}.{twin}": "base64url",
        f"{none}.{content}.": "not signed with EdDSA",
        f"{hmac}.{content}.{signature}": "not signed with EdDSA",
        f"{critical}.{content}.{signature}": "not signed with EdDSA",
        foreign.sign(CLAIMS, type=TYPE).text: "not among the keys",
        signer.sign(CLAIMS, type="at+jwt").text: "says that it is 'at",
        "a.b": "not a compact JWS",
        "": "not a compact JWS",
        f"!.{content}.{signature}": "header cannot be read",
        f"{part([])}.{content}.{signature}": "header cannot be read",
        f"{'W1' * 5000}.{content}.{signature}": "header cannot be read",
    }
    for forged, why in wrong.items():
        with pytest.raises(SignatureFault, match=why):
            verify(forged, keys, type=TYPE)
    # A foreign key with our key's id.
    for bad in (
        {"x": "AAAA"},
        {"crv": "Ed448"},
        {"x": None},
        foreign.public_keys()[0] | {"kid": keys[0]["kid"]},
    ):
        with pytest.raises(SignatureFault):
            verify(text, [keys[0] | bad], type=TYPE)
