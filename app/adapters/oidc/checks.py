"""What an access token has to say to be one of a provider's, for us, and now (RFC 9068 section 4, RFC 8725)."""

from collections.abc import Collection, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from app.crypto.jose.signatures import header_text
from app.crypto.jose.token import Refused, Unverified
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
