"""The name of the log, which stands in each checkpoint: kept in the database, whatever the address of a replica."""

from asyncpg import Connection, Record

from app.features.audit.epochs import record_by_system
from app.lib.ids import new_id

RENAME = "audit.rename_log"
_NAMES = "SELECT name FROM log_names ORDER BY id DESC"
_ADD = "INSERT INTO log_names (id, name) VALUES ($1, $2)"
_LOCK = 0x5C09E0A3E


class OtherName(Exception):
    """The log has another name than this replica would give it. The text says so, and what to do."""

    def __init__(self, name: str, own: str) -> None:
        super().__init__(
            f"the audit log is called {name}, and the public URL of this replica would have it called {own}: this "
            "replica seals nothing; give all replicas one SCOPEGATE_PUBLIC_URL, or rename the log: "
            "scopegate audit rename"
        )


async def names_of(connection: "Connection[Record]") -> list[str]:
    """The names that the log has had, the one that it has now first; none before anything was sealed."""
    return [row["name"] for row in await connection.fetch(_NAMES)]


async def check_name(connection: "Connection[Record]", own: str) -> None:
    """Raise ``OtherName`` where the log has another name than this one."""
    names = await names_of(connection)
    if names and names[0] != own:
        raise OtherName(names[0], own)


async def keep_name(connection: "Connection[Record]", own: str) -> None:
    """``check_name``, and give the log this name if it has none, in the transaction that is open."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    # A statement of its own: it sees what was committed while this one waited.
    if not await names_of(connection):
        await connection.execute(_ADD, new_id(), own)
    await check_name(connection, own)


async def rename_log(connection: "Connection[Record]", own: str) -> str | None:
    """Call the log by this name from its next checkpoint on, on record; the name that it had, None if it was this."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        names = await names_of(connection)
        if names and names[0] == own:
            return None
        await connection.execute(_ADD, new_id(), own)
        before = names[0] if names else ""
        await record_by_system(connection, RENAME, "audit_log", {"name": {"from": before or None, "to": own}})
        return before
