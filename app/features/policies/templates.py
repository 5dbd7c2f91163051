"""Templates of common policies.

Parameters are data: each is inserted as a literal of its type, never as Cedar code.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.access.policy.scope import MAX_GROUP_NAME_LENGTH, MAX_REASON_LENGTH
from app.access.policy.vocabulary import quoted
from app.features.servers.schemas import Slug
from app.http.schemas import CleanText, Strict
from app.http.selectors import ToolName
from app.lib.ids import GROUP, GroupId, format_id

MAX_ALTERNATIVES = 40
MAX_LIMIT = Decimal("922337203685477.5807")

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    "true false if then else in is like has __cedar principal action resource context".split()
)
_HOST = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*(:[0-9]{1,5})?$"

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_DAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ArgumentName = Annotated[str, StringConstraints(min_length=1, max_length=200), CleanText]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("one line of text, without control characters")
    return text


def _directory(path: str) -> str:
    if not path.startswith("/") or ".." in path or "//" in path:
        raise ValueError("a directory starts with / and has neither .. nor // in it")
    return path.rstrip("/")


def _exact(limit: Decimal) -> Decimal:
    if not limit.is_finite() or abs(limit) > MAX_LIMIT or limit != limit.quantize(Decimal("0.0001")):
        raise ValueError("a number that Cedar can hold: at most four places, and below 922337203685478")
    return limit


GroupName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_GROUP_NAME_LENGTH),
    AfterValidator(_printable),
    CleanText,
]
Directory = Annotated[
    str, StringConstraints(min_length=1, max_length=500), AfterValidator(_directory), CleanText
]
Host = Annotated[str, StringConstraints(max_length=253, pattern=_HOST)]
Limit = Annotated[Decimal, AfterValidator(_exact)]


class Anywhere(Strict):
    """The subject of a policy: by default every identity, and every tool of every server."""

    group_id: GroupId | None = Field(default=None, description="Only those in this group.")
    server: Slug | None = Field(default=None, description="Only tools of the server with this slug.")
    tool: ToolName | None = Field(default=None, description="Only this tool; needs `server`.")
    reason: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_REASON_LENGTH), AfterValidator(_printable)
        ]
        | None
    ) = Field(default=None, description="The reason that the caller sees.")

    @model_validator(mode="after")
    def _tool_of_server(self) -> Self:
        if self.tool is not None and self.server is None:
            raise ValueError("a tool is named together with its server")
        return self


class OneTool(Anywhere):
    """A policy about the arguments of one tool."""

    server: Slug = Field(description="The slug of the server.")
    tool: ToolName = Field(description="The tool.")
    argument: ArgumentName = Field(description="The name of the argument.")


class ReadOnlyHours(Anywhere):
    """Hours, in the time zone of the deployment, in which tools may only read."""

    days: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = Field(
        default_factory=lambda: list(_DAYS), description="The days of the week; by default all."
    )
    from_hour: int = Field(ge=0, le=23, description="From this hour on.")
    to_hour: int = Field(
        ge=1, le=24, description="Until this hour begins; at or before `from_hour`, over midnight."
    )


class ArgumentLimit(OneTool):
    """The largest value of a number argument. A call without the argument is denied too."""

    limit: Limit = Field(description="The largest allowed value.")
    type: Literal["integer", "number"] | None = Field(
        default=None,
        description="The type of the argument. By default from the input schema of the tool; if that has "
        "none, an integer if the limit is one.",
    )
    approvers: GroupName | None = Field(
        default=None, description="The name of a group that may approve more; by default there is none."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.type == "integer" and self.limit != self.limit.to_integral_value():
            raise ValueError("the limit of an integer is an integer")
        return self


class AllowedPaths(OneTool):
    """Directories that a path must be in. A path with `..` is denied, and so is a call without the argument."""

    directories: Annotated[list[Directory], Field(min_length=1, max_length=MAX_ALTERNATIVES)] = Field(
        description="The directories, with all their contents."
    )


class AllowedHosts(OneTool):
    """Hosts that a URL may have, with https. Any other URL is denied, and so is a call without the argument."""

    hosts: Annotated[list[Host], Field(min_length=1, max_length=MAX_ALTERNATIVES)] = Field(
        description="Each host in full, in lower case, with a port if it is not 443."
    )


class DailyQuota(Anywhere):
    """How often each identity may call each tool per day, in the time zone of the deployment."""

    uses: int = Field(ge=1, le=999_999_999, description="Number of calls of each tool by each identity.")


class ApproveDestructive(Anywhere):
    """The approvers of destructive tools."""

    approvers: GroupName = Field(description="The name of the group whose members may approve.")
    also_unknown: bool = Field(default=False, description="Also require approval for tools of unknown risk.")


@dataclass(frozen=True, slots=True)
class Template:
    """A policy with parameters."""

    name: str
    title: str
    parameters: type[Anywhere]
    write: Callable[[Any], str]


def _statement(parameters: Anywhere, reason: str, clauses: Sequence[str], *annotations: str) -> str:
    """Build a forbid statement, formatted as a person would write it."""
    principal = "principal"
    if parameters.group_id is not None:
        principal += f" in Group::{quoted(format_id(GROUP, parameters.group_id))}"
    resource = "resource"
    if parameters.tool is not None:
        resource += f" == Tool::{quoted(f'{parameters.server}/{parameters.tool}')}"
    elif parameters.server is not None:
        resource += f" in Server::{quoted(parameters.server)}"
    lines = [f"@reason({quoted(parameters.reason or reason)})", *annotations]
    lines += ["forbid (", f"  {principal},", '  action == Action::"call_tool",', f"  {resource}", ")"]
    return "\n".join([*lines, *clauses]) + ";\n"


def _argument(name: str) -> tuple[str, str]:
    """The expressions that test for an argument, and that read it."""
    if _WORD.fullmatch(name) and name not in _RESERVED:
        return f"context.arguments has {name}", f"context.arguments.{name}"
    return f"context.arguments has {quoted(name)}", f"context.arguments[{quoted(name)}]"


def _like(text: str) -> str:
    """A pattern for texts with this prefix."""
    return quoted(text)[:-1].replace("*", "\\*") + '*"'


def _only(parameters: OneTool, reason: str, accepted: Sequence[str], *more: str) -> str:
    """Forbid all values that are not accepted, and a missing one."""
    there, _ = _argument(parameters.argument)
    alternatives = " ||\n    ".join(accepted)
    conditions = " &&\n  ".join([there, *more, f"(\n    {alternatives}\n  )"])
    return _statement(parameters, reason, [f"unless {{\n  {conditions}\n}}"])


def _read_only_hours(parameters: ReadOnlyHours) -> str:
    joined = "&&" if parameters.from_hour < parameters.to_hour else "||"
    hours = f"(context.time.hour >= {parameters.from_hour} {joined} context.time.hour < {parameters.to_hour})"
    days = [day for day in _DAYS if day in parameters.days]
    listed = ", ".join(map(quoted, days))
    when = hours if len(days) == len(_DAYS) else f"[{listed}].contains(context.time.weekday) && {hours}"
    clauses = [f"when {{ {when} }}", 'unless { resource.risk == "read" }']
    return _statement(parameters, "At this time, tools may only read.", clauses)


def _type_of_limit(parameters: ArgumentLimit) -> Literal["integer", "number"]:
    return "integer" if parameters.limit == parameters.limit.to_integral_value() else "number"


def _argument_limit(parameters: ArgumentLimit) -> str:
    there, read = _argument(parameters.argument)
    if (parameters.type or _type_of_limit(parameters)) == "integer":
        within = f"{read} <= {int(parameters.limit)}"
    else:
        within = f"{read}.lessThanOrEqual(decimal({quoted(f'{parameters.limit:.4f}')}))"
    asking = () if parameters.approvers is None else (f"@require_approval({quoted(parameters.approvers)})",)
    reason = (
        "This is above the limit."
        if parameters.approvers is None
        else "Above the limit, an approval is needed."
    )
    return _statement(parameters, reason, [f"unless {{ {there} && {within} }}"], *asking)


def _allowed_paths(parameters: AllowedPaths) -> str:
    _, read = _argument(parameters.argument)
    accepted = [
        alternative
        for directory in dict.fromkeys(parameters.directories)
        for alternative in (f"{read} == {quoted(directory or '/')}", f"{read} like {_like(directory + '/')}")
    ]
    return _only(
        parameters, "This path is outside the allowed directories.", accepted, f'!({read} like "*..*")'
    )


def _allowed_hosts(parameters: AllowedHosts) -> str:
    _, read = _argument(parameters.argument)
    accepted = [
        alternative
        for host in dict.fromkeys(parameters.hosts)
        for alternative in (
            f"{read} == {quoted(f'https://{host}')}",
            f"{read} like {_like(f'https://{host}/')}",
        )
    ]
    # Programs disagree on the meaning of a backslash in a URL.
    return _only(parameters, "This host is not among the allowed ones.", accepted, f'!({read} like "*\\\\*")')


def _daily_quota(parameters: DailyQuota) -> str:
    return _statement(parameters, "The daily quota is used up.", [], f'@quota("{parameters.uses} per day")')


def _approve_destructive(parameters: ApproveDestructive) -> str:
    risks = (
        '["destructive", "unknown"].contains(resource.risk)'
        if parameters.also_unknown
        else 'resource.risk == "destructive"'
    )
    asking = f"@require_approval({quoted(parameters.approvers)})"
    return _statement(parameters, "Destructive tools need an approval.", [f"when {{ {risks} }}"], asking)


TEMPLATES = {
    template.name: template
    for template in (
        Template("read-only-hours", "Only read at certain hours", ReadOnlyHours, _read_only_hours),
        Template("argument-limit", "Limit a number", ArgumentLimit, _argument_limit),
        Template("allowed-paths", "Only paths in certain directories", AllowedPaths, _allowed_paths),
        Template("allowed-hosts", "Only URLs of certain hosts", AllowedHosts, _allowed_hosts),
        Template("daily-quota", "A daily quota of calls", DailyQuota, _daily_quota),
        Template(
            "approve-destructive",
            "Require approval for destructive tools",
            ApproveDestructive,
            _approve_destructive,
        ),
    )
}
