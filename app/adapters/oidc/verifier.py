"""Verification of access tokens: from the text to the provider and the claims."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.oidc.id_token import check_claims, check_header
from app.crypto.jose.keys import ProviderKeys
from app.crypto.jose.signatures import algorithm_of, check_signature, key_id_of
from app.crypto.jose.token import Refused, read_token
from app.features.administrators.claims import ClaimsMismatch
from app.features.identity_providers import queries
from app.features.identity_providers.provider import Provider
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Caller
from app.lib.logs import ThrottledReasons

FindProvider = Callable[[str], Awaitable[tuple[Provider, float] | None]]
"""Finds the active provider with exactly this issuer, and the database's time."""


class SignIn(Protocol):
    """Finds the caller for the claims of a verified token. Raises ``Unauthenticated`` and ``Forbidden``."""

    def __call__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        provider: Provider,
        claims: Mapping[str, Any],
        request_id: str | None,
    ) -> Awaitable[Caller]: ...


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
        issuer = token.claims.get("iss")
        found = await self._find_provider(issuer) if isinstance(issuer, str) else None
        if found is None:
            raise Refused("no active provider has its issuer")
        provider, now = found
        algorithm, key_id = algorithm_of(token, provider.algorithms), key_id_of(token)
        check_header(token, provider)
        check_claims(token, provider, now)
        key = await self._keys.find(provider.issuer, key_id, algorithm)
        if key is None:
            raise Refused("no key of the provider fits")
        check_signature(token, provider.algorithms, key)
        return provider, token.claims


class AccessTokens:
    """Implements ``http.authorization.BearerReader`` for the access tokens of the registered providers."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], keys: ProviderKeys[str], sign_in: SignIn
    ) -> None:
        self._sessions = sessions
        self._verifier = Verifier(finder(sessions), keys)
        self._sign_in = sign_in
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
            return await self._sign_in(self._sessions, provider, claims, request_id)
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
            return provider, (await queries.database_now(session)).timestamp()

    return find_provider
