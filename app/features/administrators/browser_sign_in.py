"""What passes between the pages that people sign in on and the protocol that their provider speaks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from app.features.identity_providers.provider import Provider


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in that is under way. ``verifier`` is shown to the provider alone, with the code."""

    redirect_uri: str
    state: str
    nonce: str
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a provider said at a sign-in. ``claims`` say who it is and what they may; the rest is of its ID token, whose
    own claims are ``id_claims``."""

    provider: Provider
    claims: Mapping[str, Any] = field(repr=False)
    subject: str
    provider_session: str | None
    id_token: str = field(repr=False)
    id_claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SignedOut:
    """Whom a provider has signed out: a session of theirs, or a person."""

    provider_id: UUID
    subject: str | None
    provider_session: str | None
    said_at: datetime


class BrowserFlow(Protocol):
    """The provider's side of a sign-in. Each raises ``Malformed`` for what is not as it must be, ``Unavailable``."""

    async def start(self, provider: Provider, attempt: Attempt, *, another_account: bool = False) -> str:
        """Where the browser goes; for ``another_account`` the provider asks who it is, whoever is signed in there."""

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
        """Who signed in, by the code that the browser brought; ``issuer`` is whose answer it was told that this is."""

    async def read_logout(self, text: str, request_id: str | None) -> SignedOut:
        """Whom a provider signs out by a logout token."""

    async def sign_out_address(
        self, provider: Provider, id_token: str, back: str, state: str | None = None
    ) -> str | None:
        """Where people sign out at the provider, None where it does not say. It sends them ``back``, with ``state``."""
