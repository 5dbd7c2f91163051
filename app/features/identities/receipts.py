"""The receipt of an offboarding: what one event ended, signed, so that it can be shown to whoever asks for proof.

It holds ids, times and counts. An erasure takes what says whose they were, and leaves the receipt as it was signed.

See ADR 9.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.signing import Signer
from app.domain.errors import NotFound
from app.features.audit.schemas import show_id
from app.features.identities.schemas import OffboardedBy, Receipt, ReceiptQuery
from app.http.authorization import MANAGING_ROLES, Caller
from app.lib.ids import EVENT, format_id
from app.models.identities import OffboardingReceipt

TYPE = "scopegate-receipt+jwt"
"""What the signed text says it is."""
_NOBODY = UUID(int=0)


_BY_DIRECTORY = text("""
SELECT id, identity_id, created_at FROM offboarding_receipts receipt
WHERE id > :first AND body -> 'receipt' ->> 'via' IN ('scim', 'signal') AND (
    EXISTS (
        SELECT 1 FROM administrators JOIN role_assignments ON role_assignments.administrator_id = administrators.id
        WHERE administrators.identity_id = receipt.identity_id AND role_assignments.role = ANY (:roles)
    ) OR EXISTS (
        SELECT 1 FROM service_accounts account JOIN identities holder ON holder.id = account.owner_id
        WHERE account.ended_at IS NULL AND account.role = ANY (:roles)
            AND receipt.identity_id IN (holder.id, holder.owner_id)
    )
)
ORDER BY id DESC LIMIT :limit
""").bindparams(bindparam("roles", type_=ARRAY(Text)))


def named(caller: Caller) -> OffboardedBy:
    """A caller by ids."""
    id = None if caller.id == _NOBODY else show_id(caller.kind, caller.id)
    return OffboardedBy(type=caller.kind, id=id, on_behalf_of=caller.identity_id)


def add_receipt(
    session: AsyncSession,
    signer: Signer,
    id: UUID,
    receipt: Receipt,
    *,
    reason: str,
    revoked: Mapping[str, Any],
) -> None:
    """Sign a receipt and keep it in this transaction. ``revoked`` is what the answer says, for a repeat of it."""
    content = receipt.model_dump(mode="json")
    claims = {
        "jti": format_id(EVENT, id),
        "iat": int(receipt.offboarded_at.timestamp()),
        "sub": content["identity_id"],
        "receipt": content,
    }
    signed = signer.sign(claims, type=TYPE)
    body = {"reason": reason, "revoked": dict(revoked), "receipt": content}
    session.add(
        OffboardingReceipt(
            id=id, identity_id=receipt.identity_id, body=body, signed=signed.text, key_id=signed.key_id
        )
    )


async def administrators_ended_by_directory(
    session: AsyncSession, since: datetime, limit: int
) -> list[tuple[UUID, UUID, datetime]]:
    """Offboardings since then of identities with the role owner or admin that a directory decided, newest first: the
    receipt, the identity and the time."""
    # Ids begin with their time, and are indexed.
    first = UUID(bytes=int(since.timestamp() * 1000).to_bytes(6, "big") + bytes(10))
    asked = {"first": first, "roles": sorted(MANAGING_ROLES), "limit": limit}
    return [(row.id, row.identity_id, row.created_at) for row in await session.execute(_BY_DIRECTORY, asked)]


def select_receipts(query: ReceiptQuery) -> Select[OffboardingReceipt]:
    """The receipts that the filters leave, in no order."""
    statement = select(OffboardingReceipt)
    if query.identity_id:
        statement = statement.where(col(OffboardingReceipt.identity_id).in_(query.identity_id))
    return statement


async def find_receipt(session: AsyncSession, id: UUID) -> OffboardingReceipt:
    """A receipt. Raises ``NotFound``."""
    found = await session.get(OffboardingReceipt, id)
    if found is None:
        raise NotFound("There is no such receipt.")
    return found
