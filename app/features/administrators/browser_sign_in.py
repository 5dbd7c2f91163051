"""The interface between the sign-in pages and the protocol of the identity provider."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from app.features.identity_providers.provider import Provider


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that is in progress. ``verifier`` is sent only to the provider, with the code."""

    redirect_uri: str
    state: str
    nonce: str
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The result of a sign-in. ``claims`` has the identity and roles; ``id_claims`` are the claims of the ID token
    itself."""

    provider: Provider
    claims: Mapping[str, Any] = field(repr=False)
    subject: str
    provider_session: str | None
    id_token: str = field(repr=False)
    id_claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SignedOut:
    """The session or the person that a provider logged out."""

    provider_id: UUID
    subject: str | None
    provider_session: str | None
    said_at: datetime


class BrowserFlow(Protocol):
    """The provider's side of a sign-in. Methods raise ``Malformed`` for an invalid message, and ``Unavailable``."""

    async def start(self, provider: Provider, attempt: Attempt, *, another_account: bool = False) -> str:
        """The URL for the browser. With ``another_account`` the provider asks for an account, signed in or not."""

    async def finish(
        self,
        provider: Provider,
        attempt: Attempt,
        *,
        code: str,
        issuer: str | None,
        now: float,
        request_id: str | None,
    ) -> SignedIn:
        """Complete a sign-in with the code from the browser; ``issuer`` is the ``iss`` parameter of the response."""

    async def read_logout(self, text: str, request_id: str | None) -> SignedOut:
        """Read a logout token of the provider."""

    async def sign_out_address(
        self, provider: Provider, id_token: str, back: str, state: str | None = None
    ) -> str | None:
        """The provider's sign-out URL, or None. It redirects to ``back`` with ``state``."""
