"""Request and response models of offboardings, their schedules and receipts."""

from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from typing_extensions import TypeAliasType

from app.features.audit.schemas import show_id
from app.features.identities.schemas import IdentityKind, IdentityView
from app.http.pagination import ListQuery
from app.http.schemas import (
    ShortText,
    Strict,
    Time,
    example,
)
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
from app.models.tokens import ScheduledOffboarding

OffboardedVia = TypeAliasType(
    "OffboardedVia",
    Annotated[
        Literal["api", "scim", "signal", "schedule"],
        Field(description="The origin of the offboarding: this API, SCIM, a shared signal, or a schedule."),
    ],
)


class OffboardedBy(Strict):
    """The caller that requested an offboarding."""

    type: str = Field(description="As in audit events.", examples=["service_account"])
    id: str | None = Field(
        description="Null for the system itself.", examples=["sa_01j5pnwz0085nssfkpw2aeyjd9"]
    )
    on_behalf_of: IdentityId | None = Field(
        description="The person who signed in, or the owner of the program."
    )


class ReceiptSchedule(Strict):
    """The schedule of an offboarding that came due."""

    id: ScheduledOffboardingId
    effective_at: datetime = Field(description="The scheduled time.")
    scheduled_by: OffboardedBy


class EndedToken(Strict):
    """A token that ended, with its holder."""

    id: TokenId
    identity_id: IdentityId


class ReceiptAgents(Strict):
    """The former agents of the person."""

    suspended: list[IdentityId] = Field(description="Agents without an active owner.")
    transferred: list[IdentityId] = Field(description="Agents that were transferred to another person.")
    transferred_to: IdentityId | None = Field(description="The new owner of the transferred agents.")
    heir_not_active: IdentityId | None = Field(
        description="The intended new owner, who could not have them when the time came, so they were suspended."
    )


class Receipt(Strict):
    """Everything that one offboarding ended at `offboarded_at`. The signed text holds it as its claim `receipt`."""

    model_config = ConfigDict(title="OffboardingReceiptContent")
    identity_id: IdentityId
    kind: IdentityKind
    offboarded_at: datetime = Field(description="When it ended.")
    via: OffboardedVia
    by: OffboardedBy
    request_id: str | None = Field(description="The request of the offboarding.", examples=["req_0193"])
    schedule: ReceiptSchedule | None = Field(description="Set if it was scheduled.")
    tokens: list[EndedToken] = Field(
        description="Its own, those of its agents, and all that were attenuated from them."
    )
    agents: ReceiptAgents
    approvals: list[ApprovalId] = Field(
        description="Pending approvals, and approved ones that were not used."
    )
    grants: list[GrantId] = Field(description="Grants of the identity itself.")
    groups: list[GroupId] = Field(description="Groups that it was in.")
    service_accounts: list[ServiceAccountId] = Field(
        description="Service accounts that it owned. They are disabled until they have a new owner."
    )
    administrator_id: AdministratorId | None = Field(
        description="The administrator record that was disabled."
    )
    browser_sessions: int = Field(description="Browsers that were signed out.")
    in_flight: int = Field(
        description="Calls that were running and were cut. Counted among the newest 2,000."
    )


class ReceiptView(Strict):
    """The receipt of an offboarding. Its id is that of the audit event."""

    model_config = ConfigDict(title="OffboardingReceipt")
    id: EventId
    identity_id: IdentityId
    reason: str | None = Field(
        description="The reason as text: not signed, and null when the identity is erased.",
        examples=["left the company"],
    )
    receipt: Receipt | None = Field(
        description="Null for an offboarding before receipts were signed, and for one by a later version with "
        "fields unknown to this one: `signed` has everything."
    )
    signed: str | None = Field(
        description="The receipt as a JWS, to verify with `/.well-known/jwks.json`; keep this one.",
        examples=["eyJhbGciOiJFZERTQSIs..."],
    )
    key_id: str | None = Field(description="The key that signed it.", examples=["1f0c6ab2f1d0"])
    created_at: datetime

    @classmethod
    def from_row(cls, row: OffboardingReceipt) -> "ReceiptView":
        shown: dict[str, Any] = row.model_dump(exclude={"body"})
        receipt = None
        # As a whole or not at all: a part of it would not be what was signed.
        with suppress(ValidationError):
            receipt = Receipt.model_validate(row.body.get("receipt"))
        return cls.model_validate(shown | {"reason": row.body.get("reason"), "receipt": receipt})


class ReceiptQuery(ListQuery):
    """Filters of the list of receipts; each can be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(default_factory=list)


ScheduledOffboardingStatus = TypeAliasType(
    "ScheduledOffboardingStatus",
    Annotated[
        Literal["pending", "completed", "cancelled"],
        Field(description="`completed`: the identity is offboarded, at that time or earlier."),
    ],
)


class ScheduledOffboardingView(Strict):
    """A scheduled offboarding."""

    model_config = ConfigDict(title="ScheduledOffboarding")
    id: ScheduledOffboardingId
    identity_id: IdentityId
    effective_at: datetime = Field(description="The scheduled time, accurate to a second.")
    reason: str | None = Field(
        description="The reason; null once the identity is erased.", examples=["leaves the company"]
    )
    transfer_agents_to: IdentityId | None = Field(
        description="The new owner of the agents. If that person is not active then, the agents are suspended."
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
        hidden = {"requested_by_kind", "requested_by_id", "on_behalf_of"}
        return cls.model_validate(row.model_dump(exclude=hidden) | {"requested_by": asked_by(row)})


def asked_by(row: ScheduledOffboarding) -> OffboardedBy:
    """The caller that created the schedule, or last moved it."""
    kind = row.requested_by_kind
    return OffboardedBy(type=kind, id=show_id(kind, row.requested_by_id), on_behalf_of=row.on_behalf_of)


class ScheduledOffboardingQuery(ListQuery):
    """Filters of the list of scheduled offboardings; each can be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(default_factory=list)
    status: list[ScheduledOffboardingStatus] = Field(default_factory=list)


_IDENTITY = "idn_01jdpnwz00e008000000000000"
MAX_CALLS = 10_000
"""Maximum of calls that a preview counts."""
Reason = Annotated[ShortText, Field(min_length=1, examples=["left the company"])]


class Offboard(Strict):
    """The reason of the offboarding, and the new owner of the agents."""

    reason: Reason = Field(
        description="The reason. Stored with the receipt and the ended tokens, not in the audit log."
    )
    transfer_agents_to: IdentityId | None = Field(
        default=None,
        description="An active person. Without one, the agents are suspended and their tokens end.",
    )


class OffboardRequest(Offboard):
    """The reason of the offboarding, the new owner of the agents, and the time."""

    model_config = example(
        {"reason": "left the company", "transfer_agents_to": _IDENTITY},
        {"reason": "leaves the company", "effective_at": "2098-12-31T17:00:00Z"},
    )
    effective_at: Time | None = Field(
        default=None,
        description="When it should happen, at most a year ahead. Without it, or with a past time, it happens "
        "now. An offboarding that is already scheduled is replaced.",
    )


class OffboardedThings(Strict):
    """What ended with the identity, or would end under `dry_run`."""

    model_config = ConfigDict(title="OffboardRevocations")
    tokens: list[TokenId] = Field(
        description="Its own, its agents', and all that were attenuated from those."
    )
    agents: list[IdentityId] = Field(
        description="Agents that were suspended because they have no active owner."
    )
    approvals: int = Field(description="Pending approvals, and approved ones that were not used.")
    in_flight: int = Field(
        description="Calls that were running; they are cut. Counted among the newest 2,000."
    )
    administrator: bool = Field(description="Whether an administrator record was disabled.")

    @classmethod
    def from_receipt(cls, body: dict[str, Any]) -> "OffboardedThings":
        """Read the counts of a stored receipt, ignoring unknown fields of later versions."""
        fields = {name: value for name, value in body["revoked"].items() if name in cls.model_fields}
        return cls.model_validate(fields)


class TransferredAgents(Strict):
    """Agents that were transferred, or would be under `dry_run`."""

    model_config = ConfigDict(title="OffboardTransfer")
    to: IdentityId | None = Field(description="Their new owner.")
    agents: list[IdentityId] = Field(description="The agents.")

    @classmethod
    def from_receipt(cls, body: dict[str, Any]) -> "TransferredAgents":
        """Read the transfer of a stored receipt; older ones do not have it."""
        agents = body.get("receipt", {}).get("agents", {})
        return cls(to=agents.get("transferred_to"), agents=agents.get("transferred", []))


class OffboardPreview(Strict):
    """What else would end or be affected. The receipt lists everything afterwards."""

    model_config = ConfigDict(title="OffboardPreview")
    grants: list[GrantId] = Field(description="Grants of the identity itself.")
    groups: list[GroupId] = Field(description="Groups that it is in.")
    service_accounts: list[ServiceAccountId] = Field(
        description="Service accounts that would be disabled until they have a new owner."
    )
    calls_last_day: int = Field(
        description="Tool calls in the last 24 hours, by it and by the agents that would stop; counted up to "
        f"{MAX_CALLS}.",
        examples=[212],
    )


class OffboardAnswer(Strict):
    """The receipt of an offboarding. A repeat returns `changed: false` with the first receipt."""

    model_config = ConfigDict(title="OffboardReceipt")
    identity: IdentityView
    changed: bool = Field(description="Whether this request offboarded the identity.")
    revoked: OffboardedThings
    transferred: TransferredAgents
    receipt_id: EventId | None = Field(
        description="The audit event of the offboarding; null under `dry_run` and before it has happened."
    )
    scheduled: ScheduledOffboardingView | None = Field(
        description="The pending schedule; null when nothing is pending, and under `dry_run`."
    )
    preview: OffboardPreview | None = Field(
        description="Under `dry_run`, what else would end; null otherwise, and for one that is already offboarded."
    )
