"""The receipt of an offboarding: what one event ended, signed, so that it can be shown to whoever asks for proof.

It holds ids, times and counts. An erasure takes what says whose they were, and leaves the receipt as it was signed.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import NotFound
from app.features.audit.schemas import show_id
from app.features.identities.models import OffboardingReceipt
from app.features.tokens.receipt_schemas import OffboardedBy, Receipt, ReceiptQuery
from app.kit.authorization import Caller
from app.kit.ids import EVENT, format_id
from app.kit.signing import Signer

TYPE = "scopegate-receipt+jwt"
"""What the signed text says it is."""
_NOBODY = UUID(int=0)


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
