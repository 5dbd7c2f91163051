"""Request and response models of administrators."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field
from typing_extensions import TypeAliasType

from app.http.authorization import Role
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import ShortText, Strict, example
from app.lib.ids import AdministratorId, IdentityId
from app.models.identities import Administrator, RoleAssignment

AdministratorStatusName = TypeAliasType(
    "AdministratorStatusName",
    Annotated[Literal["active", "disabled"], Field(description="A `disabled` administrator cannot sign in.")],
)


class RoleAssignmentView(Strict):
    """A role of an administrator, and its scope."""

    model_config = example({"role": "admin", "within": "all"})
    role: Role
    within: Literal["all"]


class AdministratorView(Strict):
    """A person who has signed in with a role."""

    model_config = example(
        {
            "id": "adm_01jdpnwz00e008000000000000",
            "identity_id": "idn_01jdpnwz00e008000000000000",
            "status": "active",
            "role_assignments": [{"role": "admin", "within": "all"}],
            "last_sign_in_at": "2026-01-05T09:00:00Z",
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
            "revision": 1,
        }
    )
    id: AdministratorId
    identity_id: IdentityId = Field(description="The person.")
    status: AdministratorStatusName = Field(
        description="`disabled` locks them out, regardless of their token."
    )
    role_assignments: list[RoleAssignmentView] = Field(
        description="The roles in their latest token, the strongest first. The provider decides them."
    )
    last_sign_in_at: datetime | None = Field(
        description="When their latest access token was issued. It does not change `revision`."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Administrator, assignments: Sequence[RoleAssignment]) -> Self:
        roles = [{"role": one.role, "within": one.within} for one in assignments]
        return cls.model_validate(row.model_dump() | {"role_assignments": roles})


AdministratorOrder = TypeAliasType(
    "AdministratorOrder",
    Annotated[Literal["-created_at", "created_at", "-last_sign_in_at", "last_sign_in_at"], ORDER],
)


class AdministratorQuery(ListQuery):
    """Filters of the list of administrators; each can be repeated, and then any of its values matches."""

    status: list[AdministratorStatusName] = Field(default_factory=list)
    role: list[Role] = Field(default_factory=list)
    identity_id: list[IdentityId] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")
    sort: AdministratorOrder = Field(default="-created_at", description="The sort order of the list.")
