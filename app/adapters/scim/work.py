"""What the operations of one SCIM request share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.signing import Signer
from app.db.change import savepoint
from app.features.identity_providers.provisioning_schemas import ScimSettings
from app.http.authorization import Caller
from app.lib.clock import Clock


@dataclass(slots=True)
class Work:
    """One request of the service account of a provider, in one transaction.

    ``effects`` are the ids, as the API writes them, of what the request changed; an operation that changes something
    adds to it.
    """

    session: AsyncSession
    caller: Caller
    provider_id: UUID
    settings: ScimSettings
    clock: Clock
    signer: Signer
    request_id: str | None
    effects: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """One operation: what fails is undone alone, so that a bulk request can go on."""
        before = len(self.effects)
        try:
            async with savepoint(self.session):
                yield
        except BaseException:
            del self.effects[before:]
            raise
