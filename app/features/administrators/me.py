"""``/me``: who the caller is and what they may do."""

from typing import Literal

from fastapi import APIRouter
from pydantic import Field
from sqlmodel import col, select

from app.features.service_accounts.models import ServiceAccount
from app.kit.authorization import CanReadSelf, Permission, Role
from app.kit.database import Session, TransactionalRoute
from app.kit.ids import IdentityId, ServiceAccountId
from app.kit.problems import COMMON_PROBLEMS
from app.kit.schemas import Strict

router = APIRouter(
    prefix="/api/v1/me", tags=["me"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


class Me(Strict):
    """The caller of this request."""

    type: Literal["service_account"] = Field(description="What kind of caller this is.")
    id: ServiceAccountId
    name: str
    identity_id: IdentityId | None = Field(description="Who answers for the caller.")
    role: Role | None = Field(description="The strongest of the roles.")
    roles: list[Role]
    permissions: list[Permission] = Field(description="What the roles may do, sorted.")


@router.get("", operation_id="get_me")
async def get_me(caller: CanReadSelf, session: Session) -> Me:
    """Who the caller is, with role and permissions."""
    name = (
        await session.execute(select(ServiceAccount.name).where(col(ServiceAccount.id) == caller.id))
    ).scalar_one()
    return Me(
        type="service_account",
        id=caller.id,
        name=name,
        identity_id=caller.identity_id,
        role=caller.role,
        roles=sorted(caller.roles),
        permissions=sorted(caller.permissions),
    )
