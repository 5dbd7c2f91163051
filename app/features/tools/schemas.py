"""Request and response models of tools."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.domain.definitions import definition_changes
from app.domain.risk import Risk
from app.features.servers.schemas import IncludeEnded
from app.http.pagination import ORDER, ListQuery
from app.http.schemas import LongText, Name, Patch, ShortText, Strict, absent, example
from app.http.selectors import ToolName
from app.lib.ids import ServerId, ToolId
from app.models.servers import Tool

ToolState = TypeAliasType(
    "ToolState",
    Annotated[
        Literal["active", "quarantined", "removed"],
        Field(
            description="Only an `active` tool can be listed or called; a `quarantined` one needs an approval."
        ),
    ],
)
SettableToolState = TypeAliasType(
    "SettableToolState",
    Annotated[
        Literal["active", "quarantined"],
        Field(description="`quarantined` holds a tool until it is set to active again."),
    ],
)
ChangeKind = TypeAliasType(
    "ChangeKind",
    Annotated[Literal["added", "removed", "changed"], Field(description="The change of the member.")],
)
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(
        description="SHA-256 over name, title, description, schemas and annotations, in hexadecimal.",
        examples=["9f86d081" * 8],
    ),
    BeforeValidator(lambda digest: digest.hex() if isinstance(digest, bytes) else digest),
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

    model_config = ConfigDict(from_attributes=True)
    id: ToolId
    server_id: ServerId
    name: str = Field(description="The name on its server.", examples=["git_log"])
    title: str | None = Field(description="The title from its server.", examples=["Git log"])
    description: str | None = Field(
        description="The description from its server.", examples=["Shows the commit log."]
    )
    input_schema: JsonSchema
    output_schema: JsonSchema | None = Field(description="The JSON Schema of its structured results.")
    annotations: ToolAnnotations | None = Field(description="Hints from the server.")
    risk: Risk
    risk_overridden: bool = Field(description="Whether an administrator set the risk.")
    state: ToolState = Field(description="Only an active tool can be listed or called.")
    definition_digest: Digest
    approved_digest: Digest | None = Field(
        description="The approved definition; calls require it to be the current one."
    )
    created_at: datetime
    updated_at: datetime
    revision: int


class ToolDefinition(Strict):
    """A tool definition from a server."""

    model_config = ConfigDict(from_attributes=True)
    definition_digest: Digest
    title: str | None = Field(description="The title from its server.", examples=["Git log"])
    description: str | None = Field(
        description="The description from its server.", examples=["Shows the commit log."]
    )
    input_schema: JsonSchema
    output_schema: JsonSchema | None = Field(description="The JSON Schema of its structured results.")
    annotations: ToolAnnotations | None = Field(description="Hints from the server.")

    def members(self) -> dict[str, Any]:
        """The members to compare, without missing ones."""
        return self.model_dump(exclude={"definition_digest"}, exclude_none=True)


class DefinitionChange(Strict):
    """One difference between two definitions."""

    kind: ChangeKind
    pointer: str = Field(
        description="Its place in the definition, as a JSON Pointer (RFC 6901).",
        examples=["/input_schema/properties/repo_path/description"],
    )
    before: Any = Field(description="The approved value; null when there was none.", examples=["Shows."])
    after: Any = Field(
        description="The pending value; null when it was removed.", examples=["Shows and sends."]
    )


class ToolChanges(Strict):
    """The approved and the latest definition of a tool, with their differences.

    Approving takes the `definition_digest` of `latest`, so that only what is shown here can be approved.
    """

    tool_id: ToolId
    name: str = Field(description="The name on its server.", examples=["git_log"])
    state: ToolState
    approved: ToolDefinition | None = Field(description="Null if none was ever approved.")
    latest: ToolDefinition
    changes: list[DefinitionChange] = Field(
        description="Empty when they are equal, or differ only in how a number is written."
    )

    @classmethod
    def of(cls, row: Tool, approved: dict[str, Any] | None) -> "ToolChanges":
        """Build the comparison of a row with the approved definition."""
        latest = ToolDefinition.model_validate(row)
        fields = ToolDefinition.model_fields
        before = None if approved is None else ToolDefinition(**{name: approved[name] for name in fields})
        differences = definition_changes({} if before is None else before.members(), latest.members())
        changes = [DefinitionChange.model_validate(asdict(change)) for change in differences]
        return cls(
            tool_id=row.id,
            name=row.name,
            state=row.state,  # type: ignore[arg-type]  # the column has only these values
            approved=before,
            latest=latest,
            changes=changes,
        )


class ToolCreate(Strict):
    """A manually created tool, active immediately. A sync that does not find it removes it."""

    model_config = example(
        {
            "server_id": "srv_01jdpnwz00e008000000000000",
            "name": "git_log",
            "input_schema": {"type": "object"},
            "annotations": {"readOnlyHint": True},
        }
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
    """The manual changes to a tool; its definition comes from the server."""

    model_config = example({"risk": "write"}, title="ToolUpdate")
    risk: Risk | None = Field(default=None, description="Null: from the approved definition.")
    state: SettableToolState = absent(
        "`quarantined` holds the tool until it is set to active again; `active` needs the approved definition."
    )


class ToolApprove(Strict):
    """Approve a definition: only the one with this digest, and no later one."""

    model_config = example({"definition_digest": "9f86d081" * 8})
    definition_digest: Digest


ToolOrder = TypeAliasType(
    "ToolOrder", Annotated[Literal["-created_at", "created_at", "-name", "name"], ORDER]
)


class ToolQuery(ListQuery):
    """Filters of the list of tools; each can be repeated, and then any of its values matches."""

    server_id: list[ServerId] = Field(default_factory=list)
    name: list[ToolName] = Field(default_factory=list)
    risk: list[Risk] = Field(default_factory=list)
    state: list[ToolState] = Field(default_factory=list, description="Removed tools are left out by default.")
    q: ShortText | None = Field(default=None, description="Text in name, title or description.")
    include: IncludeEnded = None
    sort: ToolOrder = Field(default="-created_at", description="The sort order of the list.")
