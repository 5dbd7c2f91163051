"""What else a provider signs for us: ID tokens, which say who signed in, and logout tokens, which say who signed out.

Both are for our client, where access tokens are for our API (OpenID Connect Core section 3.1.3.7, Back-Channel Logout
section 2.6). Neither may be taken for another: an ID token has the nonce of the sign-in that asked for it, a logout
token may have none.

What an access token has to say to be one of a provider's, for us, and now (RFC 9068 section 4, RFC 8725).
"""

import base64
import hashlib
import hmac
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from app.crypto.jose.keys import ProviderKeys
from app.crypto.jose.signatures import algorithm_of, check_signature, header_text, key_id_of
from app.crypto.jose.token import Refused, Unverified
from app.features.administrators.browser_sign_in import SignedOut
from app.features.identity_providers.provider import Provider

SKEW_S = 60
_LONGEST_SUBJECT = 1024

# Times are compared, shown and stored later: only those that a date can hold (year 9999).
_LAST_SECOND = 253_402_300_799

# What OpenID Connect puts into ID tokens, and into logout tokens. Both are signed with the same keys, and an access
# token that is marked as a plain ``JWT`` could not be told from them otherwise.
_FOREIGN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})

# Keycloak says in a claim of its own what a token is; an ID token of its has none of the above after a refresh.
_FOREIGN_KINDS = frozenset({"ID", "Refresh", "Offline", "Logout"})


def check_header(token: Unverified, provider: Provider) -> None:
    """The type is an accepted one, and nothing asks to be understood that we do not. Raises ``Refused``.

    Keys that a header brings along (``jwk``, ``jku``, ``x5c``, ``x5u``) are never looked at: anybody can sign with
    a key of their own.
    """
    if "crit" in token.header:
        raise Refused("it has critical headers")
    kind = (header_text(token.header, "typ") or "").lower().removeprefix("application/")
    if kind not in provider.token_types:
        raise Refused("its type is not in the provider's list")
    if kind != "at+jwt" and _is_foreign(token.claims):
        raise Refused("it is an ID token or a logout token")


def check_claims(token: Unverified, provider: Provider, now: float) -> None:
    """Issuer, audience, subject and times. Raises ``Refused``."""
    check_standing(token, provider, provider.audiences, now)
    subject = token.claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise Refused("its subject is no text, or too long")


def check_standing(token: Unverified, provider: Provider, audiences: Collection[str], now: float) -> None:
    """Issuer, audience and times, of whatever a provider signs. Raises ``Refused``."""
    if not audiences:
        # joserfc takes an empty list for no condition.
        raise Refused("the provider has no audience")
    registry = JWTClaimsRegistry(
        now=int(now),
        leeway=SKEW_S,
        iss={"essential": True, "value": provider.issuer},
        aud={"essential": True, "values": list(audiences)},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        registry.validate(token.claims)
    except JoseError as error:
        raise Refused(f"its claims: {error.error}") from None
    for name in ("exp", "iat", "nbf"):
        time = token.claims.get(name, 0)
        if not isinstance(time, int | float) or not 0 <= time <= _LAST_SECOND:
            raise Refused("a time is out of range")


def _is_foreign(claims: Mapping[str, Any]) -> bool:
    said = claims.get("typ")
    return not _FOREIGN_CLAIMS.isdisjoint(claims) or (isinstance(said, str) and said in _FOREIGN_KINDS)


LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_ID_TOKEN_TYPES = frozenset({"", "jwt"})
_LOGOUT_TYPES = frozenset({"", "jwt", "logout+jwt"})
_LONGEST = 1024

# A provider tells at once; one that is older is sent again by somebody.
_LOGOUT_SAID_WITHIN_S = 600

# The hash that an algorithm signs, by the end of its name; Ed25519 has one of its own.
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


async def check_signed(token: Unverified, provider: Provider, keys: ProviderKeys[str]) -> None:
    """The provider signed it, with an algorithm of its list. Raises ``Refused`` and ``Unavailable``."""
    key = await keys.find(provider.issuer, key_id_of(token), algorithm_of(token, provider.algorithms))
    if key is None:
        raise Refused("no key of the provider fits")
    check_signature(token, provider.algorithms, key)


def check_id_token(token: Unverified, provider: Provider, nonce: str, now: float) -> None:
    """It says who signed in, to us, in answer to the very attempt. Raises ``Refused``."""
    _check_kind(token, _ID_TOKEN_TYPES)
    check_standing(token, provider, _ours(provider), now)
    if token.claims.get("azp", provider.client_id) != provider.client_id:
        raise Refused("the ID token is for another client")
    audience, ours = token.claims["aud"], {provider.client_id, *provider.audiences}
    shared = isinstance(audience, list) and not ours.issuperset(map(str, audience))
    if shared and "azp" not in token.claims:
        raise Refused("the ID token is for others too, and does not say that it was given to us")
    if "events" in token.claims:
        raise Refused("it is a logout token")
    said = token.claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise Refused("the ID token is not of this sign-in")
    if text_of(token, "sub") is None:
        raise Refused("the ID token names nobody")


def check_belongs(id_token: Unverified, access_token: str, subject: object) -> None:
    """Both came of one sign-in: by the hash that the ID token has of the other, or else by their subject.

    Raises ``Refused``.
    """
    said = id_token.claims.get("at_hash")
    if said is None:
        if subject != id_token.claims["sub"]:
            raise Refused("the access token is somebody else's")
    elif not isinstance(said, str) or not hmac.compare_digest(
        said.encode(), _half_hash(id_token, access_token).encode()
    ):
        raise Refused("the access token is not the one that the ID token came with")


def check_logout_token(token: Unverified, provider: Provider, now: float) -> SignedOut:
    """Whom it signs out. Raises ``Refused``."""
    _check_kind(token, _LOGOUT_TYPES)
    # Some providers give it no end; its age is what counts here.
    claims = {"exp": now + 1, **token.claims}
    check_standing(Unverified(token.text, token.header, claims), provider, _ours(provider), now)
    events = token.claims.get("events")
    if not isinstance(events, dict) or LOGOUT_EVENT not in events or "nonce" in token.claims:
        raise Refused("it is no logout token")
    issued_at = token.claims["iat"]
    if not isinstance(issued_at, int | float) or now - issued_at > _LOGOUT_SAID_WITHIN_S:
        raise Refused("the logout token is old")
    subject, provider_session = text_of(token, "sub"), text_of(token, "sid")
    if subject is None and provider_session is None:
        raise Refused("the logout token names nobody")
    return SignedOut(provider.id, subject, provider_session, datetime.fromtimestamp(issued_at, UTC))


def text_of(token: Unverified, claim: str) -> str | None:
    """A claim that is a text which can be stored; None for any other."""
    value = token.claims.get(claim)
    if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable():
        return value
    return None


def _ours(provider: Provider) -> tuple[str, ...]:
    return () if provider.client_id is None else (provider.client_id,)


def _check_kind(token: Unverified, types: frozenset[str]) -> None:
    kind = token.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        raise Refused("it is a token of another type")
    if "crit" in token.header:
        raise Refused("it has critical headers")


def _half_hash(id_token: Unverified, access_token: str) -> str:
    algorithm = str(id_token.header["alg"])
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(access_token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
