"""Request and answer models of offboarding."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from app.features.identities.schemas import IdentityView
from app.kit.ids import EventId, IdentityId, TokenId
from app.kit.schemas import ShortText, Strict

_IDENTITY = "idn_01jdpnwz00e008000000000000"
Reason = Annotated[ShortText, Field(min_length=1, examples=["left the company"])]


class Offboard(Strict):
    """Why somebody leaves, and who answers for their agents from now on."""

    model_config = ConfigDict(
        title="OffboardRequest",
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "left the company", "transfer_agents_to": _IDENTITY}]},
    )
    reason: Reason = Field(
        description="Why; it is kept with the receipt and with the tokens that end, not in the audit trail."
    )
    transfer_agents_to: IdentityId | None = Field(
        default=None,
        description="An active person. Without one, the agents are suspended and their tokens end.",
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
    in_flight: int = Field(description="Calls that were running; they are cut.")
    administrator: bool = Field(description="Whether an administrator record was disabled.")

    @classmethod
    def from_receipt(cls, body: dict[str, Any]) -> "OffboardedThings":
        """Read what a receipt keeps."""
        return cls.model_validate(body["revoked"])


class OffboardAnswer(Strict):
    """The receipt of an offboarding. A repeat answers `changed: false` with the first receipt."""

    model_config = ConfigDict(extra="forbid", title="OffboardReceipt")

    identity: IdentityView
    changed: bool = Field(description="Whether this request did it.")
    revoked: OffboardedThings
    receipt_id: EventId | None = Field(
        description="The audit event of the offboarding; none under `dry_run`."
    )
