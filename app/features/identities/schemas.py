"""Request and response models of identities, offboardings, their schedules and receipts."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, ValidationError
from typing_extensions import TypeAliasType

from app.features.audit.schemas import show_id
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import (
    CleanText,
    Name,
    Patch,
    RowView,
    ShortText,
    Source,
    Strict,
    Time,
    UserName,
    WantedUserName,
    absent,
    example,
)
from app.http.selectors import MAX_LABELS, LabelKey, LabelValue
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
    Annotated[Literal["person", "agent"], Field(description="An `agent` has a person as its owner.")],
)
IdentityStatusName = TypeAliasType(
    "IdentityStatusName",
    Annotated[
        Literal["active", "suspended", "offboarded"],
        Field(
            description="`suspended` stops its calls until it is reinstated; `offboarded` has ended all its access."
        ),
    ],
)
IdentityLinkKind = TypeAliasType(
    "IdentityLinkKind",
    Annotated[
        Literal["oidc", "scim", "signal"], Field(description="The provider's protocol that uses the link.")
    ],
)
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$"), CleanText]
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=255), CleanText]
MAX_ATTRIBUTES = MAX_LABELS
IdentityAttributes = TypeAliasType(
    "IdentityAttributes",
    Annotated[
        dict[LabelKey, LabelValue],
        Field(max_length=MAX_ATTRIBUTES),
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
        Field(max_length=MAX_ATTRIBUTES),
        Field(
            description="Attributes to set by name; null removes an attribute.",
            examples=[{"department": "finance", "site": None}],
        ),
    ],
)


MAX_LINKS = 20


class IdentityLinkInput(Strict):
    """A provider's link to a person. With a link of the kind `oidc` the person can sign in."""

    model_config = example(
        {"provider_id": "idp_01jdpnwz00e008000000000000", "kind": "oidc", "value": "8f0c2a7e"}
    )
    provider_id: IdentityProviderId
    kind: IdentityLinkKind = Field(
        description="`oidc`: the value of the provider's `link_claim`; `scim`: its user name or id of the person."
    )
    value: ExternalId = Field(
        description="Compared exactly and unique. Never an email address, which can be reassigned.",
        examples=["8f0c2a7e"],
    )


IdentityLinks = Annotated[list[IdentityLinkInput], Field(max_length=MAX_LINKS)]


class IdentityCreate(Strict):
    """A person, or an agent with its owner."""

    model_config = example(
        {"kind": "person", "user_name": "ada", "display_name": "Ada", "email": "ada@example.com"},
        {"kind": "agent", "user_name": "triage-bot", "owner_id": "idn_01jdpnwz00e008000000000000"},
    )
    kind: IdentityKind
    user_name: UserName = Field(
        description="Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without "
        "outer blanks and zero-width characters; bidirectional controls are refused."
    )
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId | None = Field(
        default=None, description="The owner, an active person: required for an agent, none for a person."
    )
    external_id: ExternalId | None = None
    attributes: IdentityAttributes = Field(default_factory=dict)
    links: IdentityLinks = Field(default_factory=list, description="The provider links of the person.")


class IdentityUpdate(Patch):
    """The fields of an identity that can change; its kind cannot."""

    model_config = example({"display_name": "Ada L.", "email": None})
    user_name: UserName = absent()
    display_name: Name | None = None
    email: Email | None = None
    owner_id: IdentityId = absent("Transfers an agent to another active person.")
    external_id: ExternalId | None = None
    attributes: IdentityAttributeChanges = absent()
    links: IdentityLinks = absent("The whole list; needs the permission `grants.write`.")


IdentityOrder = TypeAliasType(
    "IdentityOrder", Annotated[Literal["-created_at", "created_at", "-user_name", "user_name"], ORDER]
)


class OwnAgentQuery(ListQuery):
    """Filters of the list of your own agents."""

    status: list[IdentityStatusName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")


class IdentityQuery(ListQuery):
    """Filters of the list of identities; each can be repeated, and then any of its values matches."""

    kind: list[IdentityKind] = Field(default_factory=list)
    status: list[IdentityStatusName] = Field(default_factory=list)
    source: list[Source] = Field(default_factory=list)
    owner_id: list[IdentityId] = Field(default_factory=list)
    external_id: list[ShortText] = Field(default_factory=list)
    user_name: list[WantedUserName] = Field(default_factory=list)
    q: ShortText | None = Field(default=None, description="Text in user name, display name or email.")
    sort: IdentityOrder = Field(default="-created_at", description="The sort order of the list.")


class IdentityLinkView(RowView):
    """A provider's link to this identity."""

    provider_id: IdentityProviderId | None = Field(description="The provider; null for the configured one.")
    kind: IdentityLinkKind
    value: str = Field(description="The provider's value for the identity.", examples=["8f0c2a7e"])


class IdentityView(Strict):
    """A person or agent that can hold tokens."""

    model_config = example(
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
    )
    id: IdentityId
    kind: IdentityKind
    user_name: str
    display_name: str | None = Field(description="Its display name.")
    email: str | None = Field(description="Its email address.")
    owner_id: IdentityId | None
    links: list[IdentityLinkView] = Field(description="Its provider links.")
    external_id: str | None = Field(
        description="Its id in the system that it comes from, such as an HR system."
    )
    attributes: IdentityAttributes
    provider_id: IdentityProviderId | None = Field(description="The provider that manages it.")
    source: Source
    status: IdentityStatusName
    offboarded_at: datetime | None = Field(description="When it was offboarded.")
    erased_at: datetime | None = Field(
        description="When its personal data was erased; from then on its user name is its id."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Identity, links: Sequence[IdentityLink] = ()) -> Self:
        fields = {name: getattr(row, name) for name in cls.model_fields if name != "links"}
        # The links of an erased identity are digests, of no use to a reader.
        shown = links if row.erased_at is None else ()
        return cls(**fields, links=[IdentityLinkView.from_row(link) for link in shown])


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
