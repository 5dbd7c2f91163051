"""Selectors and scopes in three forms: in the API (TypeIDs), stored as JSON (plain UUIDs), and in the domain.

Features read stored ones with ``load_*`` for decisions and ``show_*`` for responses, and write with ``store_*``.
Empty selects nothing in each form.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StrictBool, StringConstraints, TypeAdapter, ValidationError, WrapValidator
from pydantic_core import InitErrorDetails
from typing_extensions import TypeAliasType

from app.domain import scopes
from app.domain.risk import Risk
from app.http.schemas import CleanText, Strict, example
from app.lib.ids import ServerId

MAX_ITEMS = 1_000
MAX_LABELS = 64

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=100), CleanText]
LabelValue = Annotated[str, StringConstraints(max_length=200), CleanText]
Labels = TypeAliasType(
    "Labels",
    Annotated[
        dict[LabelKey, LabelValue],
        Field(max_length=MAX_LABELS),
        Field(description="Labels by key.", examples=[{"env": "prod"}]),
    ],
)
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=256), CleanText]


def without_tag(value: Any, validate: Callable[[Any], Any]) -> Any:
    """Validate a union by ``kind``, and report errors without the member's tag, which is not part of the caller's JSON
    pointer."""
    try:
        return validate(value)
    except ValidationError as error:
        lines = [
            InitErrorDetails(
                type=line["type"], loc=line["loc"][1:], input=line["input"], ctx=line.get("ctx", {})
            )
            for line in error.errors(include_url=False)
        ]
        raise ValidationError.from_exception_data(error.title, lines) from None


class ServersByIdsModel(Strict):
    """The servers with these ids; none if the list is empty."""

    model_config = example({"kind": "ids", "ids": ["srv_01jdpnwz00e008000000000000"]})
    kind: Literal["ids"]
    ids: list[ServerId] = Field(max_length=MAX_ITEMS, description="The servers.")


class ServersByLabelsModel(Strict):
    """The servers that have all of these labels; none if the map is empty."""

    model_config = example({"kind": "labels", "labels": {"env": "prod"}})
    kind: Literal["labels"]
    labels: Labels


class AllServersModel(Strict):
    """All servers, including those registered later."""

    kind: Literal["all"]


class AllToolsModel(Strict):
    """All tools of the selected servers."""

    kind: Literal["all"]


class ToolsByNamesModel(Strict):
    """The tools with these names; none if the list is empty."""

    model_config = example({"kind": "names", "names": ["git_log"]})
    kind: Literal["names"]
    names: list[ToolName] = Field(max_length=MAX_ITEMS, description="The names, as the servers give them.")


class ToolsByRiskModel(Strict):
    """The tools of these risks; none if the list is empty."""

    model_config = example({"kind": "risk", "risk": ["read"]})
    kind: Literal["risk"]
    risk: list[Risk] = Field(max_length=len(Risk), description="The risks.")


ServerSelectorModel = TypeAliasType(
    "ServerSelectorModel",
    Annotated[
        ServersByIdsModel | ServersByLabelsModel | AllServersModel,
        Field(discriminator="kind"),
        WrapValidator(without_tag),
        Field(description="The servers: by id, by labels, or all."),
    ],
)
ToolSelectorModel = TypeAliasType(
    "ToolSelectorModel",
    Annotated[
        AllToolsModel | ToolsByNamesModel | ToolsByRiskModel,
        Field(discriminator="kind"),
        WrapValidator(without_tag),
        Field(description="The tools of the selected servers: all, by name, or by risk."),
    ],
)


class ScopeEntryModel(Strict):
    """One entry of a listed scope. ``resources`` and ``prompts`` are true by default if the tools are all."""

    servers: ServerSelectorModel
    tools: ToolSelectorModel
    resources: StrictBool | None = Field(
        default=None, description="Whether it includes the servers' resources."
    )
    prompts: StrictBool | None = Field(default=None, description="Whether it includes the servers' prompts.")


class GrantsScopeModel(Strict):
    """All that the identity's current grants allow."""

    kind: Literal["grants"]


class ListedScopeModel(Strict):
    """These entries, limited to what the current grants allow; an empty list allows nothing."""

    kind: Literal["listed"]
    entries: list[ScopeEntryModel] = Field(
        max_length=100, description="The entries; the scope is their union."
    )


TokenScopeModel = TypeAliasType(
    "TokenScopeModel",
    Annotated[
        GrantsScopeModel | ListedScopeModel,
        Field(discriminator="kind"),
        WrapValidator(without_tag),
        Field(description="What a token may use, limited to what its identity's current grants allow."),
    ],
)


_SERVERS: TypeAdapter[ServerSelectorModel] = TypeAdapter(ServerSelectorModel)
_TOOLS: TypeAdapter[ToolSelectorModel] = TypeAdapter(ToolSelectorModel)
_SCOPE: TypeAdapter[TokenScopeModel] = TypeAdapter(TokenScopeModel)


def server_selector_to_domain(model: ServerSelectorModel) -> scopes.ServerSelector:
    """The domain's form of a validated selector."""
    return load_server_selector(store_server_selector(model))


def tool_selector_to_domain(model: ToolSelectorModel) -> scopes.ToolSelector:
    """The domain's form of a validated selector."""
    return load_tool_selector(store_tool_selector(model))


def scope_to_domain(model: TokenScopeModel) -> scopes.Scope:
    """The domain's form of a validated scope."""
    return load_scope(store_scope(model))


def reaches_by_default(tools: ToolSelectorModel) -> bool:
    """The default of ``resources`` and ``prompts``: true only if the tools are all."""
    return isinstance(tools, AllToolsModel)


def store_server_selector(model: ServerSelectorModel) -> dict[str, Any]:
    """The stored JSON: ids as plain UUIDs, each once, in order."""
    if isinstance(model, ServersByIdsModel):
        return {"kind": "ids", "ids": [str(id) for id in dict.fromkeys(model.ids)]}
    return model.model_dump()


def store_tool_selector(model: ToolSelectorModel) -> dict[str, Any]:
    """The stored JSON: names and risks each once, in order."""
    return {
        name: list(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in model.model_dump(mode="json").items()
    }


def store_scope(model: TokenScopeModel) -> dict[str, Any]:
    """The stored JSON, with explicit defaults of each entry."""
    if isinstance(model, GrantsScopeModel):
        return {"kind": "grants"}
    entries = [
        {
            "servers": store_server_selector(entry.servers),
            "tools": store_tool_selector(entry.tools),
            "resources": reaches_by_default(entry.tools) if entry.resources is None else entry.resources,
            "prompts": reaches_by_default(entry.tools) if entry.prompts is None else entry.prompts,
        }
        for entry in model.entries
    ]
    return {"kind": "listed", "entries": entries}


def load_server_selector(stored: dict[str, Any]) -> scopes.ServerSelector:
    """Read a stored selector. Raises ``ValueError`` for an unknown kind, which must not widen access."""
    match stored["kind"]:
        case "ids":
            return scopes.ServersByIds(frozenset(UUID(id) for id in stored["ids"]))
        case "labels":
            return scopes.ServersByLabels(frozenset(stored["labels"].items()))
        case "all":
            return scopes.AllServers()
    raise ValueError("unknown kind of server selector")


def load_tool_selector(stored: dict[str, Any]) -> scopes.ToolSelector:
    """Read a stored selector. Raises ``ValueError`` for an unknown kind, which must not widen access."""
    match stored["kind"]:
        case "all":
            return scopes.AllTools()
        case "names":
            return scopes.ToolsByNames(frozenset(stored["names"]))
        case "risk":
            return scopes.ToolsByRisk(frozenset(Risk(risk) for risk in stored["risk"]))
    raise ValueError("unknown kind of tool selector")


def load_scope(stored: dict[str, Any]) -> scopes.Scope:
    """Read a stored scope. Raises ``ValueError`` for an unknown kind, which must not widen access."""
    match stored["kind"]:
        case "grants":
            return scopes.GrantsScope()
        case "listed":
            return scopes.ListedScope(
                tuple(
                    scopes.ScopeEntry(
                        load_server_selector(entry["servers"]),
                        load_tool_selector(entry["tools"]),
                        entry["resources"],
                        entry["prompts"],
                    )
                    for entry in stored["entries"]
                )
            )
    raise ValueError("unknown kind of scope")


def show_server_selector(stored: dict[str, Any]) -> ServerSelectorModel:
    """The API's form of a stored selector. Raises ``ValueError`` for an unknown kind."""
    return _SERVERS.validate_python(_with_uuids(stored))


def show_tool_selector(stored: dict[str, Any]) -> ToolSelectorModel:
    """The API's form of a stored selector. Raises ``ValueError`` for an unknown kind."""
    return _TOOLS.validate_python(stored)


def show_scope(stored: dict[str, Any]) -> TokenScopeModel:
    """The API's form of a stored scope. Raises ``ValueError`` for an unknown kind."""
    if stored["kind"] == "listed":
        entries = [entry | {"servers": _with_uuids(entry["servers"])} for entry in stored["entries"]]
        stored = stored | {"entries": entries}
    return _SCOPE.validate_python(stored)


def _with_uuids(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored selector with UUIDs, since text is read as TypeIDs."""
    return stored if stored["kind"] != "ids" else stored | {"ids": [UUID(id) for id in stored["ids"]]}


def servers_named(model: ServerSelectorModel, pointer: str) -> list[tuple[str, UUID]]:
    """The JSON pointer and id of each server that a selector names, for checking that it exists.

    ``pointer`` is the pointer of the selector itself, such as ``/servers``.
    """
    if not isinstance(model, ServersByIdsModel):
        return []
    return [(f"{pointer}/ids/{index}", id) for index, id in enumerate(model.ids)]


def servers_named_by_scope(model: TokenScopeModel, pointer: str) -> list[tuple[str, UUID]]:
    """The same for all entries of a scope."""
    if isinstance(model, GrantsScopeModel):
        return []
    return [
        named
        for index, entry in enumerate(model.entries)
        for named in servers_named(entry.servers, f"{pointer}/entries/{index}/servers")
    ]
