"""Request and answer models of offboarding."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from app.features.identities.schedule_schemas import ScheduledOffboardingView
from app.features.identities.schemas import IdentityView
from app.http.schemas import ShortText, Strict, Time
from app.lib.ids import EventId, GrantId, GroupId, IdentityId, ServiceAccountId, TokenId

_IDENTITY = "idn_01jdpnwz00e008000000000000"
MOST_CALLS = 10_000
"""How far a preview counts calls."""
Reason = Annotated[ShortText, Field(min_length=1, examples=["left the company"])]


class Offboard(Strict):
    """Why somebody leaves, and who answers for their agents from now on."""

    reason: Reason = Field(
        description="Why; it is kept beside the receipt and with the tokens that end, not in the audit trail."
    )
    transfer_agents_to: IdentityId | None = Field(
        default=None,
        description="An active person. Without one, the agents are suspended and their tokens end.",
    )


class OffboardRequest(Offboard):
    """Why somebody leaves, who answers for their agents from then on, and when."""

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
        description="Agents that were suspended because nobody answers for them."
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
    """What else would end or be felt, for whoever looks before they leap; the receipt has it all afterwards."""

    model_config = ConfigDict(extra="forbid", title="OffboardPreview")

    grants: list[GrantId] = Field(description="Grants to the identity itself.")
    groups: list[GroupId] = Field(description="Groups that it is in.")
    service_accounts: list[ServiceAccountId] = Field(
        description="Service accounts that none could use until somebody else answers for them."
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
