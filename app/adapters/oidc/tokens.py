"""Verification of ID tokens, logout tokens and access tokens of OpenID providers.

ID tokens and logout tokens are for our client, access tokens for our API (OpenID Connect Core section 3.1.3.7,
Back-Channel Logout section 2.6, RFC 9068 section 4, RFC 8725). None may be accepted as another: an ID token has the
nonce of its sign-in, and a logout token must not have one.
"""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.jwt import (
    ProviderKeys,
    Refused,
    Unverified,
    algorithm_of,
    check_signature,
    header_text,
    key_id_of,
    read_token,
)
from app.db.clock import current_time
from app.features.administrators.browser_sessions import SignedOut
from app.features.administrators.claims import ClaimsMismatch
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers import queries
from app.features.identity_providers.schemas import Provider
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Caller
from app.lib.logs import ThrottledReasons

SKEW_S = 60
_MAX_SUBJECT_LENGTH = 1024
# Times are stored, so they must fit into a date (year 9999).
_LAST_SECOND = 253_402_300_799
# Claims of ID tokens and logout tokens, which are signed with the same keys. An access token of the plain type ``JWT``
# could not be distinguished from them otherwise.
_FOREIGN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
# Keycloak's claim for the kind of a token; its refreshed ID tokens have none of the claims above.
_FOREIGN_KINDS = frozenset({"ID", "Refresh", "Offline", "Logout"})
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_ID_TOKEN_TYPES = frozenset({"", "jwt"})
_LOGOUT_TYPES = frozenset({"", "jwt", "logout+jwt"})
_MAX_CLAIM_LENGTH = 1024
# Providers send logout tokens immediately; an older one is a replay.
_MAX_LOGOUT_AGE_S = 600
# The hash of an algorithm, by the end of its name; Ed25519 uses the default.
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


def check_access_token(token: Unverified, provider: Provider, now: float) -> None:
    """Check type, issuer, audience, subject and times, and that there are no critical headers. Raises ``Refused``.

    Keys in the header (``jwk``, ``jku``, ``x5c``, ``x5u``) are ignored, since an attacker can sign with their own key.
    """
    if "crit" in token.header:
        raise Refused("it has critical headers")
    kind = (header_text(token.header, "typ") or "").lower().removeprefix("application/")
    if kind not in provider.token_types:
        raise Refused("its type is not in the provider's list")
    claimed_kind = token.claims.get("typ")
    is_foreign = isinstance(claimed_kind, str) and claimed_kind in _FOREIGN_KINDS
    if kind != "at+jwt" and (is_foreign or not _FOREIGN_CLAIMS.isdisjoint(token.claims)):
        raise Refused("it is an ID token or a logout token")
    _check_common_claims(token, provider, provider.audiences, now)
    subject = token.claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_LENGTH:
        raise Refused("its subject is no text, or too long")


def _check_common_claims(
    token: Unverified, provider: Provider, audiences: Collection[str], now: float
) -> None:
    """Check issuer, audience and times of any token of a provider. Raises ``Refused``."""
    if not audiences:
        # joserfc treats an empty list as no condition.
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


async def check_signed(token: Unverified, provider: Provider, keys: ProviderKeys[str]) -> None:
    """Verify the signature with an accepted algorithm. Raises ``Refused`` and ``Unavailable``."""
    key = await keys.find(provider.issuer, key_id_of(token), algorithm_of(token, provider.algorithms))
    if key is None:
        raise Refused("no key of the provider fits")
    check_signature(token, provider.algorithms, key)


def check_id_token(token: Unverified, provider: Provider, nonce: str, now: float) -> None:
    """Check that the ID token is for our client and this sign-in. Raises ``Refused``."""
    _check_kind(token, _ID_TOKEN_TYPES)
    _check_common_claims(token, provider, _ours(provider), now)
    if token.claims.get("azp", provider.client_id) != provider.client_id:
        raise Refused("the ID token is for another client")
    audience, ours = token.claims["aud"], {provider.client_id, *provider.audiences}
    shared = isinstance(audience, list) and not ours.issuperset(map(str, audience))
    if shared and "azp" not in token.claims:
        raise Refused("the ID token is for others too, and does not say that it was given to us")
    if "events" in token.claims:
        raise Refused("it is a logout token")
    claimed = token.claims.get("nonce")
    if not isinstance(claimed, str) or not hmac.compare_digest(claimed.encode(), nonce.encode()):
        raise Refused("the ID token is not of this sign-in")
    if text_of(token, "sub") is None:
        raise Refused("the ID token has no subject")


def check_belongs(id_token: Unverified, access_token: str, subject: object) -> None:
    """Check that both tokens are of one sign-in: by ``at_hash``, otherwise by the subject.

    Raises ``Refused``.
    """
    claimed = id_token.claims.get("at_hash")
    if claimed is None:
        if subject != id_token.claims["sub"]:
            raise Refused("the access token has another subject")
        return
    algorithm = _HASHES.get(str(id_token.header["alg"])[-3:], hashlib.sha512)
    digest = algorithm(access_token.encode("ascii", "replace")).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(claimed, str) or not hmac.compare_digest(claimed.encode(), half):
        raise Refused("the access token is not the one that the ID token came with")


def check_logout_token(token: Unverified, provider: Provider, now: float) -> SignedOut:
    """Check a logout token and return what it ends. Raises ``Refused``."""
    _check_kind(token, _LOGOUT_TYPES)
    # Some providers set no expiry; the age is checked below.
    claims = {"exp": now + 1, **token.claims}
    _check_common_claims(Unverified(token.text, token.header, claims), provider, _ours(provider), now)
    events = token.claims.get("events")
    if not isinstance(events, dict) or LOGOUT_EVENT not in events or "nonce" in token.claims:
        raise Refused("it is no logout token")
    issued_at = token.claims["iat"]
    if not isinstance(issued_at, int | float) or now - issued_at > _MAX_LOGOUT_AGE_S:
        raise Refused("the logout token is old")
    subject, provider_session = text_of(token, "sub"), text_of(token, "sid")
    if subject is None and provider_session is None:
        raise Refused("the logout token has no subject and no session")
    return SignedOut(provider.id, subject, provider_session, datetime.fromtimestamp(issued_at, UTC))


def text_of(token: Unverified, claim: str) -> str | None:
    """A claim that is a printable text within the length limit; None otherwise."""
    value = token.claims.get(claim)
    if isinstance(value, str) and 0 < len(value) <= _MAX_CLAIM_LENGTH and value.isprintable():
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


FindProvider = Callable[[str], Awaitable[tuple[Provider, float] | None]]
"""Finds the active provider with exactly this issuer, and the database's time."""


class Verifier:
    """Verifies access tokens. The provider is read for each token, so that disabling it takes effect immediately."""

    def __init__(self, find_provider: FindProvider, keys: ProviderKeys[str]) -> None:
        self._find_provider = find_provider
        self._keys = keys

    async def verify(self, text: str) -> tuple[Provider, Mapping[str, Any]]:
        """Verify a token and return its provider and claims. Raises ``Refused`` and ``Unavailable``.

        Cheap checks come first, so that an invalid token causes no fetch of keys.
        """
        token = read_token(text)
        provider, now = await self.provider_of(token)
        check_access_token(token, provider, now)
        await check_signed(token, provider, self._keys)
        return provider, token.claims

    async def provider_of(self, token: Unverified) -> tuple[Provider, float]:
        """The active provider that a token names, and the database's time. Raises ``Refused``."""
        issuer = token.claims.get("iss")
        found = await self._find_provider(issuer) if isinstance(issuer, str) else None
        if found is None:
            raise Refused("no active provider has its issuer")
        return found


class AccessTokens:
    """Implements ``http.authorization.BearerReader`` for the access tokens of the registered providers."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], keys: ProviderKeys[str]) -> None:
        self._sessions = sessions
        self._verifier = Verifier(finder(sessions), keys)
        self._reasons = ThrottledReasons("an access token")

    async def __call__(self, request: Request, session: AsyncSession, bearer: str) -> Caller:
        """Find the caller of an access token. Raises ``Unauthenticated``, ``Forbidden`` and ``Unavailable``."""
        request_id: str | None = request.state.request_id
        try:
            provider, claims = await self._verifier.verify(bearer)
        except Refused as refusal:
            self._reasons.say(refusal.reason, request_id)
            raise unauthenticated() from None
        try:
            return await sign_in(self._sessions, provider, claims, request_id)
        except ClaimsMismatch as refusal:
            self._reasons.say(refusal.reason, request_id)
            raise


def finder(sessions: async_sessionmaker[AsyncSession]) -> FindProvider:
    """Build a finder with its own session, so that no database connection is held while keys are fetched."""

    async def find_provider(issuer: str) -> tuple[Provider, float] | None:
        async with sessions() as session:
            provider = await queries.find_provider(session, issuer)
            if provider is None:
                return None
            return provider, (await current_time(session)).timestamp()

    return find_provider
