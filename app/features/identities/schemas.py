"""Request and answer models of identities.

What the receipt of an offboarding says, and how the API shows it: ids, times and counts alone.

Request and answer models of offboardings that are set for later.

Request and answer models of offboarding.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from typing_extensions import TypeAliasType

from app.features.audit.schemas import show_id
from app.http.pagination import ListQuery
from app.http.schemas import (
    CleanText,
    Name,
    Patch,
    ShortText,
    Source,
    Strict,
    Time,
    UserName,
    WantedUserName,
    absent,
)
from app.http.selectors import MOST_LABELS, LabelKey, LabelValue
from app.lib.ids import (
    AdministratorId,
    ApprovalId,
    EventId,
    GrantId,
    GroupId,
    IdentityId,
    IdentityProviderId,
    ScheduledOffboardingId,
    ServiceAccountId,
    TokenId,
)
from app.models.identities import Identity, IdentityLink, OffboardingReceipt
from app.models.tokens import ScheduledOffboarding

IdentityKind = TypeAliasType(
    "IdentityKind",
    Annotated[Literal["person", "agent"], Field(description="An `agent` has a person who answers for it.")],
)
IdentityStatusName = TypeAliasType(
    "IdentityStatusName",
    Annotated[
        Literal["active", "suspended", "offboarded"],
        Field(
            description="`suspended` stops its calls for a while; `offboarded` has ended all that it could do."
        ),
    ],
)
IdentityLinkKind = TypeAliasType(
    "IdentityLinkKind",
    Annotated[
        Literal["oidc", "scim", "signal"],
        Field(description="Which of the provider's protocols uses the link."),
    ],
)
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$"), CleanText]
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=255), CleanText]
MOST_ATTRIBUTES = MOST_LABELS
IdentityAttributes = TypeAliasType(
    "IdentityAttributes",
    Annotated[
        dict[LabelKey, LabelValue],
        Field(max_length=MOST_ATTRIBUTES),
        Field(
            description="Attributes of an identity that policies can read, by name.",
            examples=[{"department": "finance"}],
        ),
    ],
)
IdentityAttributeChanges = TypeAliasType(
    "IdentityAttributeChanges",
    Annotated[
        dict[LabelKey, LabelValue | None],
        Field(max_length=MOST_ATTRIBUTES),
        Field(
            description="Attributes to set by name; a null takes the attribute away.",
            examples=[{"department": "finance", "site": None}],
        ),
    ],
)


MAX_LINKS = 20


class IdentityLinkInput(Strict):
    """How a provider knows a person. A link of the kind `oidc` lets the person sign in there."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"provider_id": "idp_01jdpnwz00e008000000000000", "kind": "oidc", "value": "8f0c2a7e"}
            ]
        },
    )
    provider_id: IdentityProviderId
    kind: IdentityLinkKind = Field(
        description="`oidc`: the value of the provider's `link_claim`; else what it calls the person there."
    )
    value: ExternalId = Field(
        description="Compared exactly; no two identities have the same. Never an email address: it changes hands.",
        examples=["8f0c2a7e"],
    )


IdentityLinks = Annotated[list[IdentityLinkInput], Field(max_length=MAX_LINKS)]


class IdentityCreate(Strict):
    """A person, or an agent with the person who answers for it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "person", "user_name": "ada", "display_name": "Ada", "email": "ada@example.com"},
                {"kind": "agent", "user_name": "triage-bot", "owner_id": "idn_01jdpnwz00e008000000000000"},
            ]
        },
    )
    kind: IdentityKind
    user_name: UserName = Field(
        description="Unique among the identities that are not offboarded, ignoring case. Stored in NFKC, without "
        "outer blanks and zero-width characters; bidirectional controls are refused."
    )
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId | None = Field(
        default=None,
        description="The active person who is responsible: required for an agent, none for a person.",
    )
    external_id: ExternalId | None = None
    attributes: IdentityAttributes = Field(default_factory=dict)
    links: IdentityLinks = Field(default_factory=list, description="How providers know the person.")


class IdentityUpdate(Patch):
    """What may change of an identity; its kind may not."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"display_name": "Ada L.", "email": None}]}
    )
    user_name: UserName = absent()
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId = absent("Hands an agent to another active person.")
    external_id: ExternalId | None = None
    attributes: IdentityAttributeChanges = absent()
    links: IdentityLinks = absent("The whole list; needs the permission `grants.write`.")


IdentityOrder = TypeAliasType(
    "IdentityOrder",
    Annotated[
        Literal["-created_at", "created_at", "-user_name", "user_name"],
        Field(
            description="What identities are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class OwnAgentQuery(ListQuery):
    """Filters of the list of one's own agents."""

    status: list[IdentityStatusName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")


class IdentityQuery(ListQuery):
    """Filters of the list of identities; each may be repeated, and then any of its values matches."""

    kind: list[IdentityKind] = Field(default_factory=list)
    status: list[IdentityStatusName] = Field(default_factory=list)
    source: list[Source] = Field(default_factory=list)
    owner_id: list[IdentityId] = Field(default_factory=list)
    external_id: list[ShortText] = Field(default_factory=list)
    user_name: list[WantedUserName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")
    sort: IdentityOrder = Field(default="-created_at", description="What the list is sorted by.")


class IdentityLinkView(BaseModel):
    """How one provider knows this identity."""

    model_config = ConfigDict(extra="forbid")
    provider_id: IdentityProviderId | None = Field(
        description="The provider; null for the one of the configuration."
    )
    kind: IdentityLinkKind
    value: str = Field(description="What the provider calls the identity.", examples=["8f0c2a7e"])


class IdentityView(BaseModel):
    """A person or agent that can hold tokens."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": "idn_01jdpnwz00e008000000000000",
                    "kind": "person",
                    "user_name": "ada",
                    "display_name": "Ada",
                    "email": "ada@example.com",
                    "owner_id": None,
                    "links": [],
                    "external_id": None,
                    "attributes": {"department": "finance"},
                    "provider_id": None,
                    "source": "manual",
                    "status": "active",
                    "offboarded_at": None,
                    "erased_at": None,
                    "created_at": "2026-01-05T09:00:00Z",
                    "updated_at": "2026-01-05T09:00:00Z",
                    "revision": 1,
                }
            ]
        },
    )
    id: IdentityId
    kind: IdentityKind
    user_name: str
    display_name: str | None = Field(description="What people call it.")
    email: str | None = Field(description="Its email address.")
    owner_id: IdentityId | None
    links: list[IdentityLinkView] = Field(description="How providers know it.")
    external_id: str | None = Field(
        description="What the system that it came from calls it, an HR system for example."
    )
    attributes: IdentityAttributes
    provider_id: IdentityProviderId | None = Field(description="The provider that keeps it.")
    source: Source
    status: IdentityStatusName
    offboarded_at: datetime | None = Field(description="When it was offboarded.")
    erased_at: datetime | None = Field(
        description="When its personal data was erased; its user name is its id since."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Identity, links: Sequence[IdentityLink] = ()) -> Self:
        """The answer for a stored identity and the links that were read with it."""
        fields = {name: getattr(row, name) for name in cls.model_fields if name != "links"}
        # Of an erased one they are digests, which say nothing to anybody.
        shown = links if row.erased_at is None else ()
        return cls(
            **fields, links=[IdentityLinkView.model_validate(link, from_attributes=True) for link in shown]
        )


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

    suspended: list[IdentityId] = Field(description="Agents without an active owner.")
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
        description="Service accounts that it owned. They are disabled until they have a new owner."
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
        description="The reason as text: not signed, and null when the identity is erased.",
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


ScheduledOffboardingStatus = TypeAliasType(
    "ScheduledOffboardingStatus",
    Annotated[
        Literal["pending", "completed", "cancelled"],
        Field(description="`completed`: the identity is offboarded, at that time or earlier."),
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


_IDENTITY = "idn_01jdpnwz00e008000000000000"
MOST_CALLS = 10_000
"""How far a preview counts calls."""
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

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"reason": "left the company", "transfer_agents_to": _IDENTITY},
                {"reason": "leaves the company", "effective_at": "2026-01-31T17:00:00Z"},
            ]
        },
    )
    effective_at: Time | None = Field(
        default=None,
        description="When it shall happen, at most a year ahead. At once without one, or when the time has passed. "
        "An offboarding that is set for later already is replaced.",
    )


class OffboardedThings(Strict):
    """What ended with the identity, or would end under `dry_run`."""

    model_config = ConfigDict(extra="forbid", title="OffboardRevocations")

    tokens: list[TokenId] = Field(
        description="Its own, its agents', and all that were attenuated from those."
    )
    agents: list[IdentityId] = Field(
        description="Agents that were suspended because they have no active owner."
    )
    approvals: int = Field(description="Approvals that waited for a decision or for their call.")
    in_flight: int = Field(
        description="Calls that were running; they are cut. Counted among the newest 2,000."
    )
    administrator: bool = Field(description="Whether an administrator record was disabled.")

    @classmethod
    def none(cls) -> "OffboardedThings":
        """Nothing."""
        return cls(tokens=[], agents=[], approvals=0, in_flight=0, administrator=False)

    @classmethod
    def from_receipt(cls, body: dict[str, Any]) -> "OffboardedThings":
        """Read what a receipt keeps, but for what later code has put there."""
        kept = {name: value for name, value in body["revoked"].items() if name in cls.model_fields}
        return cls.model_validate(kept)


class TransferredAgents(Strict):
    """Agents that were handed over, or would be under `dry_run`."""

    model_config = ConfigDict(extra="forbid", title="OffboardTransfer")

    to: IdentityId | None = Field(description="Who answers for them from now on.")
    agents: list[IdentityId] = Field(description="The agents.")

    @classmethod
    def from_receipt(cls, body: dict[str, Any]) -> "TransferredAgents":
        """Read what a receipt keeps; those of older code do not say."""
        agents = body.get("receipt", {}).get("agents", {})
        return cls(to=agents.get("transferred_to"), agents=agents.get("transferred", []))


class OffboardPreview(Strict):
    """What else would end or be affected. Afterwards, the receipt has it all."""

    model_config = ConfigDict(extra="forbid", title="OffboardPreview")

    grants: list[GrantId] = Field(description="Grants to the identity itself.")
    groups: list[GroupId] = Field(description="Groups that it is in.")
    service_accounts: list[ServiceAccountId] = Field(
        description="Service accounts that would be disabled until they have a new owner."
    )
    calls_last_day: int = Field(
        description="Calls of tools in the last 24 hours, by it and by the agents that would stop; counted up to "
        f"{MOST_CALLS}.",
        examples=[212],
    )


class OffboardAnswer(Strict):
    """The receipt of an offboarding. A repeat answers `changed: false` with the first receipt."""

    model_config = ConfigDict(extra="forbid", title="OffboardReceipt")

    identity: IdentityView
    changed: bool = Field(description="Whether this request offboarded the identity.")
    revoked: OffboardedThings
    transferred: TransferredAgents
    receipt_id: EventId | None = Field(
        description="The audit event of the offboarding; none under `dry_run`, nor before it has happened."
    )
    scheduled: ScheduledOffboardingView | None = Field(
        description="What `effective_at` set for later; null when nothing is left to wait for, and under `dry_run`."
    )
    preview: OffboardPreview | None = Field(
        description="Under `dry_run`, what more would end; null otherwise, and for one that is offboarded already."
    )
