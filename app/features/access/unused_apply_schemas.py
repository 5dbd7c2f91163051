"""Request and answer models of applying what the report on stale access proposes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.features.access.unused_schemas import DIGEST_EXAMPLE, GRANT_EXAMPLE, Days
from app.features.grants.schemas import GrantView
from app.http.schemas import Strict
from app.lib.ids import GrantId

MOST_APPLIED = 100
_ITEM = {"grant_id": GRANT_EXAMPLE, "proposal_digest": DIGEST_EXAMPLE}

AppliedOutcome = TypeAliasType(
    "AppliedOutcome",
    Annotated[
        Literal["narrowed", "ended", "changed", "not_found"],
        Field(
            description="What became of a grant. `changed`: the proposal is no longer the one that was sent, so nothing"
            " was done: read the report again. `not_found`: there is no such grant, or it has ended."
        ),
    ],
)


class AppliedProposal(Strict):
    """A proposal as the report told it."""

    grant_id: GrantId
    proposal_digest: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] = Field(
        description="The `digest` of the proposal. It names the revision of the grant too.",
        examples=[DIGEST_EXAMPLE],
    )


class StaleApply(Strict):
    """The proposals to apply, as a report about the same window told them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "unused_for_days": 90,
                    "items": [{"grant_id": GRANT_EXAMPLE, "proposal_digest": DIGEST_EXAMPLE}],
                }
            ]
        },
    )
    unused_for_days: Annotated[Days, Field(strict=True)]
    items: list[AppliedProposal] = Field(min_length=1, max_length=MOST_APPLIED)


class AppliedView(BaseModel):
    """What became of one of them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"grant_id": GRANT_EXAMPLE, "outcome": "ended", "grant": None}]},
    )
    grant_id: GrantId
    outcome: AppliedOutcome
    grant: GrantView | None = Field(description="The grant as it is now, when it was narrowed.")


class StaleApplied(BaseModel):
    """What became of each, in the order in which they were sent."""

    model_config = ConfigDict(extra="forbid")
    dry_run: bool = Field(description="Whether nothing was changed, and this is what would be.")
    items: list[AppliedView] = Field(description="One for each proposal that was sent.")
