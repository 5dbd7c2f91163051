"""What the receipt of an offboarding says, and how the API shows it: ids, times and counts alone."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from typing_extensions import TypeAliasType

from app.features.identities.schemas import IdentityKind
from app.http.pagination import ListQuery
from app.http.schemas import Strict
from app.lib.ids import (
    AdministratorId,
    ApprovalId,
    EventId,
    GrantId,
    GroupId,
    IdentityId,
    ScheduledOffboardingId,
    ServiceAccountId,
    TokenId,
)
from app.models.identities import OffboardingReceipt

OffboardedVia = TypeAliasType(
    "OffboardedVia",
    Annotated[
        Literal["api", "scim", "signal", "schedule"],
        Field(
            description="How it was asked for: by this API, by SCIM, by a shared signal, or earlier for that time."
        ),
    ],
)


class OffboardedBy(Strict):
    """Who asked for an offboarding."""

    type: str = Field(description="As in audit events.", examples=["service_account"])
    id: str | None = Field(
        description="Null for the system itself.", examples=["sa_01j5pnwz0085nssfkpw2aeyjd9"]
    )
    on_behalf_of: IdentityId | None = Field(
        description="The person who signed in, or answers for the program."
    )


class ReceiptSchedule(Strict):
    """The offboarding that was set for later and came due."""

    id: ScheduledOffboardingId
    effective_at: datetime = Field(description="The time that was asked for.")
    scheduled_by: OffboardedBy


class EndedToken(Strict):
    """A token that ended, and whose it was."""

    id: TokenId
    identity_id: IdentityId


class ReceiptAgents(Strict):
    """What became of the agents that the person answered for."""

    suspended: list[IdentityId] = Field(description="Nobody answers for these.")
    transferred: list[IdentityId] = Field(description="These went to another person and live on.")
    transferred_to: IdentityId | None = Field(description="Who answers for those from now on.")
    heir_not_active: IdentityId | None = Field(
        description="Who should have had them, and could not when the time came: they were suspended instead."
    )


class Receipt(Strict):
    """What one offboarding ended, all of it at `offboarded_at`. The signed text holds this as its claim `receipt`."""

    model_config = ConfigDict(extra="forbid", title="OffboardingReceiptContent")

    identity_id: IdentityId
    kind: IdentityKind
    offboarded_at: datetime = Field(description="When all of it ended.")
    via: OffboardedVia
    by: OffboardedBy
    request_id: str | None = Field(description="The request that did it.", examples=["req_0193"])
    schedule: ReceiptSchedule | None = Field(description="For one that was set for this time earlier.")
    tokens: list[EndedToken] = Field(
        description="Its own, those of its agents, and all that were attenuated from them."
    )
    agents: ReceiptAgents
    approvals: list[ApprovalId] = Field(description="Approvals that waited for a decision or for their call.")
    grants: list[GrantId] = Field(description="Grants to the identity itself.")
    groups: list[GroupId] = Field(description="Groups that it was in.")
    service_accounts: list[ServiceAccountId] = Field(
        description="Service accounts that it answered for; none of them can act until somebody else does."
    )
    administrator_id: AdministratorId | None = Field(
        description="The administrator record that was disabled."
    )
    browser_sessions: int = Field(description="Browsers that were signed out.")
    in_flight: int = Field(
        description="Calls that were running, and were cut. Counted among the newest 2,000."
    )


class ReceiptView(Strict):
    """The receipt of an offboarding. Its id is that of the audit event."""

    model_config = ConfigDict(extra="forbid", title="OffboardingReceipt")

    id: EventId
    identity_id: IdentityId
    reason: str | None = Field(
        description="Why, in somebody's words: not signed, and null once the identity is erased.",
        examples=["left the company"],
    )
    receipt: Receipt | None = Field(
        description="Null for an offboarding before receipts were signed, and for one by a later version that says "
        "what this one does not know: `signed` has it all."
    )
    signed: str | None = Field(
        description="The receipt as a JWS that anybody can check with `/.well-known/jwks.json`; keep this one.",
        examples=["eyJhbGciOiJFZERTQSIs..."],
    )
    key_id: str | None = Field(description="The key that signed it.", examples=["1f0c6ab2f1d0"])
    created_at: datetime

    @classmethod
    def from_row(cls, row: OffboardingReceipt) -> "ReceiptView":
        """The receipt as the API shows it."""
        shown: dict[str, Any] = row.model_dump(exclude={"body"})
        return cls.model_validate(shown | {"reason": row.body.get("reason"), "receipt": _read(row)})


def _read(row: OffboardingReceipt) -> Receipt | None:
    """What is kept, whole or not at all: a part of it would not be what was signed."""
    try:
        return Receipt.model_validate(row.body.get("receipt"))
    except ValidationError:
        return None


class ReceiptQuery(ListQuery):
    """Filters of the list of receipts; each may be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(default_factory=list)
