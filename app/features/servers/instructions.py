"""What a server says of its use (MCP's ``instructions``): pinned like a tool's definition, since models follow it."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.domain.definitions import text_digest
from app.domain.errors import Conflict, FieldError
from app.features.audit.record import record
from app.http.authorization import Caller
from app.models.servers import Server

LONGEST = 16 * 1024
"""Characters. What is longer is taken for none, and so never passed on."""
# A shorter secret is found in ordinary text by accident.
_SHORTEST_SECRET = 8


def readable(text: str | None, secrets: Sequence[bytes]) -> str | None:
    """The text as it may be kept and shown; ``None`` for one too long, or with a secret of ours in it."""
    if not text or len(text) > LONGEST:
        return None
    held = any(len(secret) >= _SHORTEST_SECRET and secret.decode("latin-1") in text for secret in secrets)
    return None if held else text


def take(server: Server, latest: str | None, *, trusted: bool) -> tuple[bool, bool]:
    """Bring a locked server to what it says now: whether that is new, and whether what is approved has moved.

    ``trusted`` is for a server that has had none: the first text is approved as its first tools are.
    """
    new, server.instructions = server.instructions != latest, latest
    if latest is None or server.approved_instructions is not None or not trusted:
        return new, False
    server.approved_instructions = latest
    return new, True


async def approve(
    session: AsyncSession, server: Server, seen_digest: str, caller: Caller, request_id: str | None
) -> None:
    """Accept what a locked server says now, which must be what was seen. Raises ``Conflict``
    (``definition_changed``)."""
    latest = server.instructions
    if latest is None or text_digest(latest).hex() != seen_digest:
        raise Conflict(
            "The server's instructions are no longer those with this digest: read them again and approve what they "
            "are now.",
            code="definition_changed",
            errors=[FieldError("/digest", "definition_changed", "not the latest instructions")],
        )
    before = server.approved_instructions
    if before == latest:
        return
    server.approved_instructions = latest
    server.revision += 1
    await session.flush()
    await move_versions(session, [server.id], narrows=False)
    changes = {"digest": {"from": None if before is None else text_digest(before).hex(), "to": seen_digest}}
    await record(
        session, caller, "server.approve_instructions", "server", server.id,
        changes=changes, request_id=request_id, server_id=server.id,
    )  # fmt: skip
