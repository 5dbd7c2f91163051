"""Request and answer models of administrators."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from app.http.authorization import Role
from app.http.pagination import ListQuery
from app.http.schemas import ShortText, Strict
from app.lib.ids import AdministratorId, IdentityId
from app.models.administrators import Administrator, RoleAssignment

AdministratorStatusName = TypeAliasType(
    "AdministratorStatusName",
    Annotated[Literal["active", "disabled"], Field(description="A `disabled` administrator is kept out.")],
)


class RoleAssignmentView(Strict):
    """A role of an administrator, and within what."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "admin", "within": "all"}]})
    role: Role
    within: Literal["all"]


class AdministratorView(Strict):
    """A person who has signed in with a role."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
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
            ]
        }
    )
    id: AdministratorId
    identity_id: IdentityId = Field(description="The person.")
    status: AdministratorStatusName = Field(
        description="`disabled` locks them out, regardless of their token."
    )
    role_assignments: list[RoleAssignmentView] = Field(
        description="What their latest token gave them, the strongest role first. The provider decides it."
    )
    last_sign_in_at: datetime | None = Field(
        description="When the latest access token that they came with was issued. It leaves `revision` alone."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Administrator, assignments: Sequence[RoleAssignment]) -> Self:
        """The answer for a stored administrator and the roles that were read with it."""
        roles = [{"role": one.role, "within": one.within} for one in assignments]
        return cls.model_validate(row.model_dump() | {"role_assignments": roles})


AdministratorOrder = TypeAliasType(
    "AdministratorOrder",
    Annotated[
        Literal["-created_at", "created_at", "-last_sign_in_at", "last_sign_in_at"],
        Field(
            description="What administrators are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class AdministratorQuery(ListQuery):
    """Filters of the list of administrators; each may be repeated, and then any of its values matches."""

    status: list[AdministratorStatusName] = Field(default_factory=list)
    role: list[Role] = Field(default_factory=list)
    identity_id: list[IdentityId] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")
    sort: AdministratorOrder = Field(default="-created_at", description="What the list is sorted by.")
