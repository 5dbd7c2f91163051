"""Server instructions (MCP's ``instructions``): approved like tool definitions, since models follow them."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.domain.definitions import text_digest
from app.domain.errors import Conflict, FieldError
from app.features.audit.record import record
from app.http.authorization import Caller
from app.models.servers import Server

MAX_LENGTH = 16 * 1024
"""In characters. A longer text is ignored, and so never passed on."""
# A shorter secret could occur in ordinary text by chance.
_SHORTEST_SECRET = 8


def sanitize(text: str | None, secrets: Sequence[bytes]) -> str | None:
    """Return a text that can be stored and shown; ``None`` for one that is too long or contains one of the secrets."""
    if not text or len(text) > MAX_LENGTH:
        return None
    has_secret = any(
        len(secret) >= _SHORTEST_SECRET and secret.decode("latin-1") in text for secret in secrets
    )
    return None if has_secret else text


def update_latest(server: Server, latest: str | None, *, trusted: bool) -> tuple[bool, bool]:
    """Update a locked server to its latest instructions; return whether they changed, and whether the approved ones
    did.

    ``trusted`` is for a server without earlier instructions: the first text is approved, as its first tools are.
    """
    new, server.instructions = server.instructions != latest, latest
    if latest is None or server.approved_instructions is not None or not trusted:
        return new, False
    server.approved_instructions = latest
    return new, True


async def approve(
    session: AsyncSession, server: Server, seen_digest: str, caller: Caller, request_id: str | None
) -> None:
    """Approve the latest instructions of a locked server, with the digest that was reviewed. Raises ``Conflict``
    (``definition_changed``)."""
    latest = server.instructions
    if latest is None or text_digest(latest).hex() != seen_digest:
        raise Conflict(
            "The server's instructions no longer have this digest: read them again and approve the current ones.",
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
