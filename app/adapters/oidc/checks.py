"""What an access token has to say to be one of a provider's, for us, and now (RFC 9068 section 4, RFC 8725)."""

from collections.abc import Collection, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.jwt import JWTClaimsRegistry

from app.adapters.oidc.keys import Algorithm, Key
from app.adapters.oidc.token import MOST_CHARACTERS, Refused, Unverified
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


class _Registry(JWSRegistry):
    """The provider's algorithms and no other.

    joserfc takes an empty list for a default that has HS256 in it; here it allows nothing. And it warns of
    ``EdDSA``, which RFC 9864 deprecates for being vague, not weak: a choice of the provider's.
    """

    # Real headers and long keys' signatures pass joserfc's own limits; the whole token is limited already.
    max_header_length = max_signature_length = MOST_CHARACTERS

    def get_alg(self, name: str) -> Algorithm:
        if name not in (self.allowed or ()):
            raise Refused("its algorithm is not in the provider's list")
        return self.algorithms[name]


def algorithm_of(token: Unverified, provider: Provider) -> Algorithm:
    """The one of the provider's algorithms that the token names. Raises ``Refused``."""
    return _registry(provider).get_alg(_text(token.header, "alg") or "")


def check_header(token: Unverified, provider: Provider) -> None:
    """The type is an accepted one, and nothing asks to be understood that we do not. Raises ``Refused``.

    Keys that a header brings along (``jwk``, ``jku``, ``x5c``, ``x5u``) are never looked at: anybody can sign with
    a key of their own.
    """
    if "crit" in token.header:
        raise Refused("it has critical headers")
    kind = (_text(token.header, "typ") or "").lower().removeprefix("application/")
    if kind not in provider.token_types:
        raise Refused("its type is not in the provider's list")
    if kind != "at+jwt" and _is_foreign(token.claims):
        raise Refused("it is an ID token or a logout token")


def key_id_of(token: Unverified) -> str | None:
    """The name of the key that the token says it was signed with. Raises ``Refused`` for one that is no text."""
    return _text(token.header, "kid")


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


def check_signature(token: Unverified, provider: Provider, key: Key) -> None:
    """The key signed the token. Raises ``Refused``."""
    try:
        deserialize_compact(token.text, key, registry=_registry(provider))
    except (JoseError, ValueError) as error:
        raise Refused(f"its signature: {getattr(error, 'error', 'malformed')}") from None


def _is_foreign(claims: Mapping[str, Any]) -> bool:
    said = claims.get("typ")
    return not _FOREIGN_CLAIMS.isdisjoint(claims) or (isinstance(said, str) and said in _FOREIGN_KINDS)


def _registry(provider: Provider) -> _Registry:
    # RFC 7515 section 4: headers that are not understood are ignored, unless they are critical.
    return _Registry(algorithms=provider.algorithms, strict_check_header=False)


def _text(header: Mapping[str, Any], name: str) -> str | None:
    value = header.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(f"the header {name} is not text")
    return value
