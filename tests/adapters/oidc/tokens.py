"""Makers of access tokens, right and wrong: every byte of them is the test's own choice."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode

from app.features.identity_providers.schemas import Provider

NOW = 1_800_000_000
ISSUER = "https://sso.example.com/tenant"
AUDIENCE = "https://scopegate.example.com"
PROVIDER = Provider(UUID(int=1), ISSUER, ("https://other.example.com", AUDIENCE), algorithms=("ES256",))
KEY = ECKey.generate_key("P-256", {"kid": "first"})

AnyKey = ECKey | RSAKey | OKPKey | OctKey


def header(**changed: Any) -> dict[str, Any]:
    """A good header with some members changed; one that is ``...`` is left out."""
    return _with({"alg": "ES256", "typ": "at+jwt", "kid": "first"}, changed)


def claims(now: float = NOW, **changed: Any) -> dict[str, Any]:
    """Good claims with some members changed; one that is ``...`` is left out."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now - 10, "exp": now + 300}
    return _with(good, changed)


def _with(good: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**good, **changed}.items() if value is not ...}


def part(value: object) -> bytes:
    """One part of a token: JSON of a value, or bytes as they are."""
    return urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode())


def token(
    header: object, claims: object, key: AnyKey = KEY, *, algorithm: str | None = None, signature: bytes = b""
) -> str:
    """A token signed with ``key`` by the header's algorithm or another; ``signature`` is taken as it is."""
    signed = part(header) + b"." + part(claims)
    if not signature:
        if algorithm is None:
            assert isinstance(header, dict)
            algorithm = header["alg"]
        signature = JWSRegistry.algorithms[algorithm].sign(signed, key)
    return (signed + b"." + urlsafe_b64encode(signature)).decode()


def good_token(**changed: Any) -> str:
    """A token that passes, unless a claim was changed."""
    return token(header(), claims(**changed))


def public(*keys: AnyKey) -> list[dict[str, Any]]:
    """The keys as a provider publishes them."""
    return [dict(key.as_dict(private=False)) for key in keys]
