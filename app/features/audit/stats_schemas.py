"""Query and answer models of the counts of audit events."""

from datetime import datetime
from typing import Self

from pydantic import Field, model_validator

from app.features.audit.schemas import AuditDecision
from app.http.schemas import ShortText, Strict, Time


class AuditStatsQuery(Strict):
    """Which events are counted: whole hours, of at most 31 days."""

    since: Time | None = Field(
        default=None, description="Counts from the hour that this is in; by default the last 24 hours."
    )
    until: Time | None = Field(
        default=None,
        description="Counts to the end of the hour before this time, or that it is in; by default now.",
    )
    action: list[ShortText] = Field(default_factory=list)
    decision: list[AuditDecision] = Field(default_factory=list)

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self


class AuditCounts(Strict):
    """How many events there are, and what they stand for."""

    events: int = Field(description="How many events a list shows.", examples=[1204])
    count: int = Field(
        description="How many things they tell of. It is more where one event stands for many refusals.",
        examples=[1311],
    )
    allow: int = Field(description="How many of these things were allowed.", examples=[1180])
    deny: int = Field(description="How many were denied.", examples=[119])
    require_approval: int = Field(description="How many had to be approved first.", examples=[12])


class AuditHourCounts(AuditCounts):
    """The same of one hour."""

    hour: datetime = Field(description="When the hour begins.")


class AuditStatsView(Strict):
    """How many events there were, by the hour. Outcomes of calls count as part of their call."""

    since: datetime = Field(description="When the first hour begins.")
    until: datetime = Field(description="When the last hour ends.")
    hours: list[AuditHourCounts] = Field(
        description="Every hour from then to then, in order, empty ones too."
    )
    total: AuditCounts
    is_complete: bool = Field(
        description="False while events that were recorded some time ago are still being counted, as after an upgrade."
    )
