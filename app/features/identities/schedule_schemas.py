"""Request and answer models of offboardings that are set for later."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from app.features.audit.schemas import show_id
from app.features.identities.receipt_schemas import OffboardedBy
from app.http.pagination import ListQuery
from app.http.schemas import Strict
from app.lib.ids import EventId, IdentityId, ScheduledOffboardingId
from app.models.tokens import ScheduledOffboarding

ScheduledOffboardingStatus = TypeAliasType(
    "ScheduledOffboardingStatus",
    Annotated[
        Literal["pending", "completed", "cancelled"],
        Field(
            description="`done`: the identity is offboarded, at that time or because somebody did it earlier."
        ),
    ],
)


class ScheduledOffboardingView(Strict):
    """An offboarding that is set for later."""

    model_config = ConfigDict(extra="forbid", title="ScheduledOffboarding")

    id: ScheduledOffboardingId
    identity_id: IdentityId
    effective_at: datetime = Field(description="When it happens, within a second.")
    reason: str | None = Field(
        description="Why; null once the identity is erased.", examples=["leaves the company"]
    )
    transfer_agents_to: IdentityId | None = Field(
        description="Who gets the agents. If that person is not active then, the agents are suspended."
    )
    status: ScheduledOffboardingStatus
    requested_by: OffboardedBy
    finished_at: datetime | None = Field(description="When it was done or cancelled.")
    receipt_id: EventId | None = Field(description="The receipt, once it is done.")
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: ScheduledOffboarding) -> "ScheduledOffboardingView":
        """The schedule as the API shows it."""
        hidden = {"requested_by_kind", "requested_by_id", "on_behalf_of"}
        return cls.model_validate(row.model_dump(exclude=hidden) | {"requested_by": asked_by(row)})


def asked_by(row: ScheduledOffboarding) -> OffboardedBy:
    """Who asked for it, or moved it, last."""
    kind = row.requested_by_kind
    return OffboardedBy(type=kind, id=show_id(kind, row.requested_by_id), on_behalf_of=row.on_behalf_of)


class ScheduledOffboardingQuery(ListQuery):
    """Filters of the list of scheduled offboardings; each may be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(default_factory=list)
    status: list[ScheduledOffboardingStatus] = Field(default_factory=list)
