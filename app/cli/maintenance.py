"""``scopegate maintain``: what the owner of the tables does now and then, and the service itself may not."""

import asyncio
from datetime import UTC, datetime

import asyncpg

from app.access.grant_uses import forget_uses
from app.admission.clients import forget_clients
from app.admission.consuming import forget_quotas
from app.admission.ended_sessions import forget_ended_sessions
from app.cli.errors import CannotStart
from app.db.call_arguments import forget_arguments
from app.db.connection import DRIVER_FAULTS
from app.db.migrations import database_fault
from app.db.partitions import Maintained, maintain_partitions
from app.features.administrators.break_glass import forget_sessions
from app.features.audit.rollup import forget_hours
from app.features.audit.sealing.retention import record_drop
from app.features.audit_sinks.retention import note_missed
from app.http.idempotency import forget_answers
from app.settings import Settings


def maintain(settings: Settings) -> Maintained:
    """Make the coming months of the audit log, drop those past ``SCOPEGATE_AUDIT_RETENTION`` with the
    counts, break-glass sessions and clients of that time, delete the arguments of calls that are past
    ``SCOPEGATE_ARGUMENTS_RETENTION``, the quotas of days gone by and the uses of grants that no report asks for, and
    forget the answers that were kept for idempotency keys and the sessions of tokens that are long over.

    Raises:
        CannotStart: the role may not do it.
        DatabaseFault: the database cannot be reached.
    """
    url = settings.migration_database_url or settings.database_url
    if url is None:
        raise ValueError("the settings must come from usable_database")
    try:
        return asyncio.run(_maintain(url.get_secret_value(), settings))
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotStart(f"{error}: set SCOPEGATE_MIGRATION_DATABASE_URL to the owner's address") from None
    except DRIVER_FAULTS as error:
        raise database_fault(error, "maintained") from None


async def _record_drop(connection: "asyncpg.Connection[asyncpg.Record]", partition: str) -> str | None:
    """Tell the sinks of the trail too, which may not have been given all of it."""
    reason = await record_drop(connection, partition)
    if reason is None:
        await note_missed(connection, partition)
    return reason


async def _maintain(owner_url: str, settings: Settings) -> Maintained:
    now, keep = datetime.now(UTC), settings.audit_retention
    done = await maintain_partitions(owner_url, keep=keep, now=now, record_drop=_record_drop)
    await forget_answers(owner_url)
    await forget_arguments(owner_url, keep=settings.arguments_retention, now=now)
    await forget_quotas(owner_url, now=now)
    await forget_ended_sessions(owner_url)
    await forget_uses(owner_url, now=now)
    await forget_sessions(owner_url, keep=keep, now=now)
    await forget_hours(owner_url, keep=keep, now=now)
    await forget_clients(owner_url, keep=keep, now=now)
    return done
