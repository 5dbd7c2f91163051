"""``scopegate maintain``: what the owner of the tables does now and then, and the service itself may not."""

import asyncio
from datetime import UTC, datetime

import asyncpg

from app.cli.errors import CannotStart
from app.kit.migrations import DatabaseFault
from app.kit.partitions import Maintained, maintain_partitions
from app.settings import Settings


def maintain(settings: Settings) -> Maintained:
    """Make the coming months of the audit log and drop those past ``SCOPEGATE_AUDIT_RETENTION``.

    Raises:
        CannotStart: the role may not do it.
        DatabaseFault: the database cannot be reached.
    """
    url = settings.migration_database_url or settings.database_url
    if url is None:
        raise ValueError("the settings must come from usable_database")
    work = maintain_partitions(url.get_secret_value(), keep=settings.audit_retention, now=datetime.now(UTC))
    try:
        return asyncio.run(work)
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotStart(f"{error}: set SCOPEGATE_MIGRATION_DATABASE_URL to the owner's address") from None
    except (OSError, asyncpg.PostgresError) as error:
        raise DatabaseFault(f"The database cannot be maintained: {error}") from None
