"""Request and answer models of pick-up links."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt
from typing_extensions import TypeAliasType

from app.http.pagination import ListQuery
from app.http.schemas import Strict
from app.lib.ids import PICKUP, IdentityId, PickupId, TokenId, format_id

if TYPE_CHECKING:
    from app.features.tokens.pickup_queries import PickupReading

LONGEST_OVERLAP_S = 86_400
PAGE = "/console/pickups"
"""Where people take what a link holds for them, below the public URL."""

PickupState = TypeAliasType(
    "PickupState",
    Annotated[
        Literal["pending", "picked_up", "expired", "cancelled"],
        Field(
            description="`cancelled`: somebody took it back, another link or secret came in its place, the token "
            "ended, or its recipient does not answer for the token any more."
        ),
    ],
)
TokenDelivery = TypeAliasType(
    "TokenDelivery",
    Annotated[
        Literal["reveal", "pickup"],
        Field(
            description="How the secret gets to whom it is for. `reveal`: it is in the answer. `pickup`: nobody has "
            "one until its recipient signs in and takes it by a link."
        ),
    ],
)


class PickupView(Strict):
    """A link by which one person takes a new secret of a token, once. It holds no secret, and opens for them alone."""

    model_config = ConfigDict(extra="forbid", title="TokenPickup")

    id: PickupId
    token_id: TokenId
    recipient_id: IdentityId = Field(
        description="Who can take it: the token's person, or the one who answers for its agent."
    )
    state: PickupState
    overlap_s: int = Field(
        description="How many seconds the secrets from before still work once it is taken.", examples=[0]
    )
    url: str = Field(
        description="The page that its recipient takes it on. Send it as you like: it opens for them alone.",
        examples=["https://gate.example.com/console/pickups/pku_01jdpnwz00e008000000000000"],
    )
    expires_at: datetime = Field(description="Until when it can be taken.")
    picked_up_at: datetime | None = Field(description="When its recipient took it.")
    reopened_at: datetime | None = Field(
        description="When its recipient opened it again after that, as far as it was told of: at most once an hour. If "
        "it was not they who took it, revoke the token."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_reading(cls, reading: "PickupReading", public_url: str) -> "PickupView":
        """The link as the API shows it."""
        known = reading.row.model_dump()
        return cls.model_validate(
            known
            | {
                "state": reading.state,
                "expires_at": reading.expires_at,
                "url": f"{public_url}{PAGE}/{format_id(PICKUP, reading.row.id)}",
            }
        )


class PickupCreate(Strict):
    """A new link for a token that is there. One that waits is cancelled by it."""

    model_config = ConfigDict(
        extra="forbid", title="TokenPickupCreate", json_schema_extra={"examples": [{"overlap_s": 3600}]}
    )
    overlap_s: StrictInt = Field(
        default=0,
        ge=0,
        le=LONGEST_OVERLAP_S,
        description="How many seconds the secrets so far still work once the new one is taken; until then they all do.",
    )


class PickupQuery(ListQuery):
    """The pages of a list of links."""
