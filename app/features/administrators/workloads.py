"""Workloads that authenticate with a provider's token instead of a Scopegate secret act as a service account."""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.engine import commit
from app.features.administrators.queries import is_active_provider
from app.features.audit.record import record
from app.features.identity_providers.provider import Provider
from app.features.service_accounts.authenticate import find_live_account, unauthenticated
from app.http.authorization import Caller
from app.lib.ids import IDENTITY_PROVIDER, format_id
from app.models.identities import SERVICE_ACCOUNT_KIND, WorkloadSignIn

# Such tokens usually live for minutes or hours; one that lives longer is recorded once a day.
_REMEMBERED = timedelta(days=1)


async def sign_workload_in(
    session: AsyncSession,
    provider: Provider,
    account_id: UUID,
    claims: Mapping[str, Any],
    request_id: str | None,
) -> Caller:
    """The service account that a verified token acts as, recorded once for each token.

    Raises ``Unauthenticated`` when the account may not act now.
    """
    caller = await find_live_account(session, account_id)
    if caller is None or not await is_active_provider(session, provider.id):
        raise unauthenticated()
    digest = hashlib.sha256(json.dumps([str(provider.id), claims], sort_keys=True).encode()).digest()
    if await session.get(WorkloadSignIn, digest) is None:
        await _record_first(session, caller, provider, digest, request_id)
        await commit(session)
    return caller


async def _record_first(
    session: AsyncSession, caller: Caller, provider: Provider, digest: bytes, request_id: str | None
) -> None:
    """Of several concurrent first uses, one is recorded."""
    forgotten = (
        select(col(WorkloadSignIn.digest))
        .where(col(WorkloadSignIn.expires_at) < func.clock_timestamp())
        .with_for_update(skip_locked=True)
    )
    await session.execute(delete(WorkloadSignIn).where(col(WorkloadSignIn.digest).in_(forgotten)))
    insertion = insert(WorkloadSignIn).values(
        digest=digest, service_account_id=caller.id, expires_at=func.clock_timestamp() + _REMEMBERED
    )
    inserted = await session.execute(insertion.on_conflict_do_nothing().returning(col(WorkloadSignIn.digest)))
    if inserted.first() is not None:
        changes = {"provider_id": format_id(IDENTITY_PROVIDER, provider.id)}
        await record(
            session, caller, "service_account.sign_in", SERVICE_ACCOUNT_KIND, caller.id,
            changes=changes, request_id=request_id,
        )  # fmt: skip
