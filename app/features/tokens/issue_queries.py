"""What issuing looks up and writes: one round trip for all that has to stand still, and one for the token."""

import json
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.outbox import TELL_ONE, values_of
from app.db.webhook_events import Message
from app.features.identities.queries import TURN
from app.models.tokens import Token, TokenSecret

# Turns are taken before any row, and rows are locked in id order, as everywhere.
_HOLD = text(f"""
WITH wanted AS MATERIALIZED (
    SELECT id FROM identities WHERE id = :id OR id = (SELECT owner_id FROM identities WHERE id = :id) ORDER BY id
),
turns AS MATERIALIZED (SELECT id, pg_advisory_xact_lock_shared({TURN}) FROM wanted)
SELECT id, owner_id, status, now() AS now,
    ARRAY(SELECT id FROM servers WHERE id = ANY(CAST(:servers AS uuid[])) AND ended_at IS NULL) AS servers
FROM identities
WHERE id = ANY(ARRAY(SELECT id FROM turns))
ORDER BY id FOR SHARE OF identities
""")  # noqa: S608 - the one value is a constant of ours
_TOKEN = {"id", "identity_id", "parent_id", "depth", "name", "expires_at", "ip_allow"}
_SECRET = {"digest", "pepper_key_id"}
# Nothing can rest on the token yet, so its version begins here and moves nobody's.
_ADD = text(f"""
WITH told AS ({TELL_ONE}),
secret AS (
    INSERT INTO token_secrets (id, token_id, digest, pepper_key_id)
    SELECT CAST(:secret_id AS uuid), CAST(:id AS uuid), CAST(:digest AS bytea), CAST(:pepper_key_id AS varchar)
    WHERE CAST(:secret_id AS uuid) IS NOT NULL
),
version AS (INSERT INTO access_versions (id, version) VALUES (:id, 1))
INSERT INTO tokens (id, identity_id, parent_id, depth, name, scope, expires_at, ip_allow)
VALUES (:id, :identity_id, :parent_id, :depth, :name, CAST(:scope AS jsonb), :expires_at, :ip_allow)
RETURNING created_at, updated_at, revision
""")  # noqa: S608 - the one value is a constant of ours


async def hold(session: AsyncSession, identity_id: UUID, servers: Collection[UUID]) -> Sequence[Row[Any]]:
    """An identity and its owner as they are once both are held FOR SHARE.

    Each row also has the database's time, ``now``, and which of these servers exist and have not ended.
    """
    return (await session.execute(_HOLD, {"id": identity_id, "servers": list(servers)})).all()


async def add(session: AsyncSession, token: Token, secret: TokenSecret | None, message: Message) -> None:
    """Add a token with its secret, if it gets one now, tell of it, and read its times."""
    values = token.model_dump(include=_TOKEN) | values_of(message) | {"scope": json.dumps(token.scope)}
    values |= dict.fromkeys(("secret_id", *_SECRET)) if secret is None else _values_of(secret)
    row = (await session.execute(_ADD, values)).one()
    token.created_at, token.updated_at, token.revision = row


def _values_of(secret: TokenSecret) -> dict[str, Any]:
    return {"secret_id": secret.id} | secret.model_dump(include=_SECRET)
