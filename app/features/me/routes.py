"""``/me``: who the caller is and what they may do."""

from typing import Annotated, Literal, cast

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from app.features.audit.names import names_of
from app.features.audit.schemas import show_id
from app.http.authorization import CanReadSelf, Permission, Role
from app.http.problems import COMMON_PROBLEMS
from app.http.schemas import Strict
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IdentityId

router = APIRouter(
    prefix="/api/v1/me", tags=["me"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)

CallerType = TypeAliasType(
    "CallerType",
    Annotated[
        Literal["administrator", "break_glass", "identity", "service_account"],
        Field(description="What kind of caller it is."),
    ],
)


class Me(Strict):
    """The caller of this request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "administrator",
                    "id": "adm_01jdpnwz00e008000000000000",
                    "name": "Ada",
                    "identity_id": "idn_01jdpnwz00e008000000000000",
                    "role": "auditor",
                    "roles": ["auditor"],
                    "permissions": ["audit.read", "self.read"],
                }
            ]
        }
    )
    type: CallerType = Field(
        description="What kind of caller this is; `identity` is a signed-in person without a role, `break_glass`"
        " the local administrator."
    )
    id: str = Field(description="The id of an object of this type; of a session for `break_glass`.")
    name: str | None = Field(description="The name that it has now.")
    identity_id: IdentityId | None = Field(
        description="Who signed in, or who answers for a service account. None for `break_glass`."
    )
    role: Role | None = Field(description="The strongest of the roles.")
    roles: list[Role] = Field(description="The roles, by name.")
    permissions: list[Permission] = Field(description="What the roles may do, sorted.")


@router.get("", operation_id="get_me")
async def get_me(caller: CanReadSelf, session: Session) -> Me:
    """Who the caller is, with role and permissions."""
    return Me(
        type=cast("CallerType", caller.kind),
        id=cast("str", show_id(caller.kind, caller.id)),
        name=(await names_of(session, [caller.id])).get(caller.id),
        identity_id=caller.identity_id,
        role=caller.role,
        roles=sorted(caller.roles),
        permissions=sorted(caller.permissions),
    )
