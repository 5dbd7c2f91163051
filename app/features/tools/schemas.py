"""Request and answer models of tools."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.domain.definitions import definition_changes
from app.domain.risk import Risk
from app.features.servers.schemas import IncludeEnded
from app.http.pagination import ListQuery
from app.http.schemas import LongText, Name, Patch, ShortText, Strict, absent
from app.http.selectors import ToolName
from app.lib.ids import ServerId, ToolId
from app.models.tools import Tool

ToolState = TypeAliasType(
    "ToolState",
    Annotated[
        Literal["active", "quarantined", "removed"],
        Field(
            description="Only an `active` tool can be listed or called; a `quarantined` one waits for approval."
        ),
    ],
)
SettableToolState = TypeAliasType(
    "SettableToolState",
    Annotated[
        Literal["active", "quarantined"],
        Field(description="`quarantined` holds a tool until it is made active again."),
    ],
)
ChangeKind = TypeAliasType(
    "ChangeKind",
    Annotated[Literal["added", "removed", "changed"], Field(description="What became of the member.")],
)
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(
        description="SHA-256 over name, title, description, schemas and annotations, in hexadecimal.",
        examples=["9f86d081" * 8],
    ),
]
JsonSchema = TypeAliasType(
    "JsonSchema",
    Annotated[
        dict[str, Any],
        Field(
            description="A JSON Schema.",
            examples=[{"type": "object", "properties": {"repo_path": {"type": "string"}}}],
        ),
    ],
)
ToolAnnotations = TypeAliasType(
    "ToolAnnotations",
    Annotated[
        dict[str, Any],
        Field(
            description="The MCP annotations: hints of the server about the tool.",
            examples=[{"readOnlyHint": True}],
        ),
    ],
)


class ToolView(Strict):
    """A tool of a server, with its latest definition."""

    id: ToolId
    server_id: ServerId
    name: str = Field(description="The name on its server.", examples=["git_log"])
    title: str | None = Field(description="The title that its server gives it.", examples=["Git log"])
    description: str | None = Field(
        description="What its server says about it.", examples=["Shows the commit log."]
    )
    input_schema: JsonSchema
    output_schema: JsonSchema | None = Field(description="The JSON Schema of its structured results.")
    annotations: ToolAnnotations | None = Field(description="Hints of the server about it.")
    risk: Risk
    risk_overridden: bool = Field(description="Whether an administrator set the risk.")
    state: ToolState = Field(description="Only an active tool can be listed or called.")
    definition_digest: Digest
    approved_digest: Digest | None = Field(
        description="The definition that was accepted; calls need it to be this one."
    )
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Tool) -> "ToolView":
        """The answer for a row."""
        approved = row.approved_digest
        own = row.model_dump(include=set(cls.model_fields) - {"definition_digest", "approved_digest"})
        digests = {
            "definition_digest": row.definition_digest.hex(),
            "approved_digest": None if approved is None else approved.hex(),
        }
        return cls.model_validate(own | digests)


class ToolDefinition(Strict):
    """What a server says a tool is."""

    definition_digest: Digest
    title: str | None = Field(description="The title that its server gives it.", examples=["Git log"])
    description: str | None = Field(
        description="What its server says about it.", examples=["Shows the commit log."]
    )
    input_schema: JsonSchema
    output_schema: JsonSchema | None = Field(description="The JSON Schema of its structured results.")
    annotations: ToolAnnotations | None = Field(description="Hints of the server about it.")

    def members(self) -> dict[str, Any]:
        """What can differ, without what is absent."""
        return self.model_dump(exclude={"definition_digest"}, exclude_none=True)


class DefinitionChange(Strict):
    """One difference between two definitions."""

    kind: ChangeKind
    pointer: str = Field(
        description="Where it is in the definition, as a JSON Pointer (RFC 6901).",
        examples=["/input_schema/properties/repo_path/description"],
    )
    before: Any = Field(
        description="The value that was approved; null when there was none.", examples=["Shows."]
    )
    after: Any = Field(
        description="The value that waits; null when it is gone.", examples=["Shows and sends."]
    )


class ToolChanges(Strict):
    """What was approved of a tool, what its server says now, and what differs.

    Approving takes the `definition_digest` of `latest`, so that nothing is accepted but what was shown here."""

    tool_id: ToolId
    name: str = Field(description="The name on its server.", examples=["git_log"])
    state: ToolState
    approved: ToolDefinition | None = Field(description="Null when nothing was ever approved.")
    latest: ToolDefinition
    changes: list[DefinitionChange] = Field(
        description="Empty when they are the same, and when two digests differ in how a number is written alone."
    )

    @classmethod
    def of(cls, row: Tool, approved: dict[str, Any] | None) -> "ToolChanges":
        """The answer for a row and the content of the approved definition."""
        latest = _definition(row.model_dump() | {"definition_digest": row.definition_digest.hex()})
        before = None if approved is None else _definition(approved)
        found = definition_changes({} if before is None else before.members(), latest.members())
        changes = [DefinitionChange.model_validate(asdict(change)) for change in found]
        return cls(
            tool_id=row.id,
            name=row.name,
            state=row.state,  # type: ignore[arg-type]  # the column holds these values alone
            approved=before,
            latest=latest,
            changes=changes,
        )


def _definition(content: dict[str, Any]) -> ToolDefinition:
    return ToolDefinition.model_validate({name: content[name] for name in ToolDefinition.model_fields})


class ToolCreate(Strict):
    """A tool made known by hand, active at once. A sync that does not find it removes it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "server_id": "srv_01jdpnwz00e008000000000000",
                    "name": "git_log",
                    "input_schema": {"type": "object"},
                    "annotations": {"readOnlyHint": True},
                }
            ]
        },
    )

    server_id: ServerId
    name: ToolName
    title: Name | None = None
    description: LongText | None = None
    input_schema: JsonSchema
    output_schema: JsonSchema | None = None
    annotations: ToolAnnotations | None = None
    risk: Risk | None = Field(default=None, description="Read from annotations and name when absent.")


class ToolPatch(Patch):
    """What may change of a tool by hand; its definition is the server's."""

    model_config = ConfigDict(
        title="ToolUpdate", extra="forbid", json_schema_extra={"examples": [{"risk": "write"}]}
    )

    risk: Risk | None = Field(default=None, description="Null: what the approved definition says.")
    state: SettableToolState = absent(
        "`quarantined` holds the tool until it is made active again; `active` needs the approved definition."
    )


class ToolApprove(Strict):
    """Accept a definition: the one with this digest, and no other that came since."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"definition_digest": "9f86d081" * 8}]}
    )
    definition_digest: Digest


ToolOrder = TypeAliasType(
    "ToolOrder",
    Annotated[
        Literal["-created_at", "created_at", "-name", "name"],
        Field(
            description="What tools are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class ToolQuery(ListQuery):
    """Filters of the list of tools; each may be repeated, and then any of its values matches."""

    server_id: list[ServerId] = Field(default_factory=list)
    name: list[ToolName] = Field(default_factory=list)
    risk: list[Risk] = Field(default_factory=list)
    state: list[ToolState] = Field(
        default_factory=list, description="Removed tools are left out unless they are asked for."
    )
    q: ShortText | None = Field(default=None, description="Text in name, title or description.")
    include: IncludeEnded = None
    sort: ToolOrder = Field(default="-created_at", description="What the list is sorted by.")
