"""Models of access that somebody asks for: the request, what it is about, and the servers that can be asked for."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.domain.risk import Risk
from app.http.pagination import ListQuery
from app.http.schemas import CleanText, ShortText, Strict, Time
from app.http.selectors import AllToolsModel, ToolsByNamesModel, ToolsByRiskModel, ToolSelectorModel
from app.lib.ids import GrantId, IdentityId, ServerId

MOST_SERVERS = 50
"""In one answer, since each comes with its tools."""


def _something(selector: ToolSelectorModel) -> ToolSelectorModel:
    match selector:
        case ToolsByNamesModel(names=[]) | ToolsByRiskModel(risk=[]):
            raise ValueError("it selects no tool")
        case AllToolsModel() | ToolsByNamesModel() | ToolsByRiskModel():
            return selector


SomeTools = Annotated[ToolSelectorModel, AfterValidator(_something)]
Because = TypeAliasType(
    "Because",
    Annotated[
        str,
        StringConstraints(min_length=1, max_length=500),
        CleanText,
        Field(description="Why, for those who decide.", examples=["I close the quarter."]),
    ],
)


class AccessRequest(Strict):
    """A request for access to a server that can be asked for, for yourself or for an agent that you answer for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "access",
                    "server": "git",
                    "tools": {"kind": "names", "names": ["git_log"]},
                    "expires_at": "2027-01-01T00:00:00Z",
                    "reason": "I review the release.",
                }
            ]
        },
    )
    kind: Literal["access"]
    server: ShortText = Field(description="The slug or the id of the server.", examples=["git"])
    tools: SomeTools = Field(description="Which of its tools; those that are named have to be there.")
    expires_at: Time = Field(description="Until when it is needed: at most a year from now.")
    reason: Because
    identity_id: IdentityId | None = Field(
        default=None, description="The agent of yours that needs it; absent: you do."
    )


class AccessGiven(Strict):
    """What was agreed to: what was asked for, or less."""

    tools: ToolSelectorModel
    expires_at: datetime = Field(description="Until when.")
    grant_id: GrantId


class ApprovalAccess(Strict):
    """The access that is asked for."""

    tools: ToolSelectorModel
    expires_at: datetime = Field(description="Until when it is asked for.")
    granted: AccessGiven | None = Field(description="What was agreed to; null unless it was approved.")


class AccessNarrowing(Strict):
    """Less than what is asked for. What is absent stays as it was asked."""

    tools: SomeTools | None = Field(default=None, description="Which of the tools that are asked for.")
    expires_at: Time | None = Field(default=None, description="An earlier end.")


class RequestableTool(Strict):
    """A tool that can be asked for."""

    name: str = Field(description="Its name on the server.", examples=["git_log"])
    title: str | None = Field(description="What the server calls it for people.", examples=["Show the log"])
    risk: Risk = Field(description="How dangerous it is.")


class RequestableServer(Strict):
    """A server that can be asked for."""

    id: ServerId
    slug: str = Field(description="Its slug.", examples=["git"])
    name: str = Field(description="What people call it.", examples=["Git"])
    description: str | None = Field(description="What it is for.", examples=["Our repositories."])
    tools: list[RequestableTool] = Field(description="Its active tools, by name.")


class RequestableQuery(ListQuery):
    """Filters of the servers that can be asked for."""

    limit: int = Field(default=20, ge=1, le=MOST_SERVERS, description="Items a page.")
    q: ShortText | None = Field(
        default=None, description="Text in slug, name or description, or in name or title of a tool."
    )
