"""Offboarding receipts: a signed list of what one offboarding ended, as a proof for third parties. See ADR 9.

A receipt has ids, times and counts. An erasure removes the data that identifies the person, and leaves the receipt as
signed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.signing import Signer
from app.db.rows import existing
from app.features.audit.schemas import show_id
from app.features.offboarding.schemas import OffboardedBy, Receipt, ReceiptQuery, ReceiptView
from app.http.authorization import MANAGING_ROLES, Caller
from app.http.pagination import Cursors, Page, read_page, select_filtered
from app.http.runtime import Runtime
from app.lib.ids import EVENT, format_id
from app.models.identities import OffboardingReceipt

TYPE = "scopegate-receipt+jwt"
"""The ``typ`` of the signed text."""
_NO_CALLER = UUID(int=0)


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


def describe_caller(caller: Caller) -> OffboardedBy:
    """Describe a caller by ids."""
    id = None if caller.id == _NO_CALLER else show_id(caller.kind, caller.id)
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
    """Sign a receipt and store it in this transaction. ``revoked`` is the answer's count, for a repeat of it."""
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
    """Recent offboardings by a directory of identities with the role owner or admin, newest first: receipt, identity
    and time."""
    # Ids begin with their time, and are indexed.
    first = UUID(bytes=int(since.timestamp() * 1000).to_bytes(6, "big") + bytes(10))
    parameters = {"first": first, "roles": sorted(MANAGING_ROLES), "limit": limit}
    return [
        (row.id, row.identity_id, row.created_at) for row in await session.execute(_BY_DIRECTORY, parameters)
    ]


async def find_receipt(session: AsyncSession, id: UUID) -> OffboardingReceipt:
    """Read a receipt. Raises ``NotFound``."""
    return existing(await session.get(OffboardingReceipt, id), "receipt")


async def list_receipts(session: AsyncSession, query: ReceiptQuery, runtime: Runtime) -> Page[ReceiptView]:
    """Read a page of receipts."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_offboarding_receipts", query.filters())
    rows, following = await read_page(
        session, select_filtered(OffboardingReceipt, query, "identity_id"), OffboardingReceipt, cursors, query
    )
    return Page(items=[ReceiptView.from_row(row) for row in rows], next_cursor=following)
