"""Policy templates: policies with parameters.

Parameters are data: each is inserted as a literal of its type, never as Cedar code.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypeAliasType

from app.access.policy.references import number_type
from app.access.policy.scope import MAX_GROUP_NAME_LENGTH, MAX_REASON_LENGTH
from app.access.policy.text import InvalidPolicy, read_statement
from app.access.policy.vocabulary import quoted
from app.domain.errors import Invalid, NotFound
from app.features.servers.schemas import Slug
from app.features.tools.schemas import JsonSchema
from app.http.problems import field_errors
from app.http.schemas import CleanText, Strict, example
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


Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_REASON_LENGTH), AfterValidator(_printable)
]
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


class Template(Strict):
    """A policy with parameters. Its subject is by default every identity, and every tool of every server."""

    NAME: ClassVar[str]
    TITLE: ClassVar[str]

    group_id: GroupId | None = Field(default=None, description="Only those in this group.")
    server: Slug | None = Field(default=None, description="Only tools of the server with this slug.")
    tool: ToolName | None = Field(default=None, description="Only this tool; needs `server`.")
    reason: Reason | None = Field(default=None, description="The reason that the caller sees.")

    @model_validator(mode="after")
    def _tool_of_server(self) -> Self:
        if self.tool is not None and self.server is None:
            raise ValueError("a tool is named together with its server")
        return self

    def write(self) -> str:
        """Write the text of the policy."""
        raise NotImplementedError

    def _statement(self, reason: str, clauses: Sequence[str], *annotations: str) -> str:
        """Build a forbid statement, formatted as a person would write it."""
        principal = "principal"
        if self.group_id is not None:
            principal += f" in Group::{quoted(format_id(GROUP, self.group_id))}"
        resource = "resource"
        if self.tool is not None:
            resource += f" == Tool::{quoted(f'{self.server}/{self.tool}')}"
        elif self.server is not None:
            resource += f" in Server::{quoted(self.server)}"
        lines = [f"@reason({quoted(self.reason or reason)})", *annotations]
        lines += ["forbid (", f"  {principal},", '  action == Action::"call_tool",', f"  {resource}", ")"]
        return "\n".join([*lines, *clauses]) + ";\n"


class ArgumentTemplate(Template):
    """A policy about the arguments of one tool."""

    server: Slug = Field(description="The slug of the server.")
    tool: ToolName = Field(description="The tool.")
    argument: ArgumentName = Field(description="The name of the argument.")

    def _argument(self) -> tuple[str, str]:
        """The expressions that test for the argument, and that read it."""
        if _WORD.fullmatch(self.argument) and self.argument not in _RESERVED:
            return f"context.arguments has {self.argument}", f"context.arguments.{self.argument}"
        key = quoted(self.argument)
        return f"context.arguments has {key}", f"context.arguments[{key}]"

    def _only(self, reason: str, accepted: Mapping[str, str], *more: str) -> str:
        """Forbid a missing argument and all values except these texts, and texts that begin with their prefixes."""
        there, read = self._argument()
        alternatives = " ||\n    ".join(
            f"{read} == {quoted(text)} ||\n    {read} like {_like(prefix)}"
            for text, prefix in accepted.items()
        )
        conditions = " &&\n  ".join([there, *more, f"(\n    {alternatives}\n  )"])
        return self._statement(reason, [f"unless {{\n  {conditions}\n}}"])


class ReadOnlyHours(Template):
    """Hours, in the time zone of the deployment, in which tools may only read."""

    NAME, TITLE = "read-only-hours", "Only read at certain hours"

    days: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = Field(
        default_factory=lambda: list(_DAYS), description="The days of the week; by default all."
    )
    from_hour: int = Field(ge=0, le=23, description="From this hour on.")
    to_hour: int = Field(
        ge=1, le=24, description="Until this hour begins; at or before `from_hour`, over midnight."
    )

    def write(self) -> str:
        joined = "&&" if self.from_hour < self.to_hour else "||"
        when = f"(context.time.hour >= {self.from_hour} {joined} context.time.hour < {self.to_hour})"
        days = [day for day in _DAYS if day in self.days]
        if len(days) < len(_DAYS):
            when = f"[{', '.join(map(quoted, days))}].contains(context.time.weekday) && {when}"
        clauses = [f"when {{ {when} }}", 'unless { resource.risk == "read" }']
        return self._statement("At this time, tools may only read.", clauses)


class ArgumentLimit(ArgumentTemplate):
    """The largest value of a number argument. A call without the argument is denied too."""

    NAME, TITLE = "argument-limit", "Limit a number"

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
        if self.type == "integer" and not self._is_whole():
            raise ValueError("the limit of an integer is an integer")
        return self

    def _is_whole(self) -> bool:
        return self.limit == self.limit.to_integral_value()

    def write(self) -> str:
        there, read = self._argument()
        if self.type == "integer" or (self.type is None and self._is_whole()):
            within = f"{read} <= {int(self.limit)}"
        else:
            within = f"{read}.lessThanOrEqual(decimal({quoted(f'{self.limit:.4f}')}))"
        clauses = [f"unless {{ {there} && {within} }}"]
        if self.approvers is None:
            return self._statement("This is above the limit.", clauses)
        approval = f"@require_approval({quoted(self.approvers)})"
        return self._statement("Above the limit, an approval is needed.", clauses, approval)


class AllowedPaths(ArgumentTemplate):
    """Directories that a path must be in. A path with `..` is denied, and so is a call without the argument."""

    NAME, TITLE = "allowed-paths", "Only paths in certain directories"

    directories: Annotated[list[Directory], Field(min_length=1, max_length=MAX_ALTERNATIVES)] = Field(
        description="The directories, with all their contents."
    )

    def write(self) -> str:
        _, read = self._argument()
        accepted = {directory or "/": directory + "/" for directory in self.directories}
        return self._only("This path is outside the allowed directories.", accepted, f'!({read} like "*..*")')


class AllowedHosts(ArgumentTemplate):
    """Hosts that a URL may have, with https. Any other URL is denied, and so is a call without the argument."""

    NAME, TITLE = "allowed-hosts", "Only URLs of certain hosts"

    hosts: Annotated[list[Host], Field(min_length=1, max_length=MAX_ALTERNATIVES)] = Field(
        description="Each host in full, in lower case, with a port if it is not 443."
    )

    def write(self) -> str:
        _, read = self._argument()
        accepted = {f"https://{host}": f"https://{host}/" for host in self.hosts}
        # Programs disagree on the meaning of a backslash in a URL.
        return self._only("This host is not among the allowed ones.", accepted, f'!({read} like "*\\\\*")')


class DailyQuota(Template):
    """How often each identity may call each tool per day, in the time zone of the deployment."""

    NAME, TITLE = "daily-quota", "A daily quota of calls"

    uses: int = Field(ge=1, le=999_999_999, description="Number of calls of each tool by each identity.")

    def write(self) -> str:
        return self._statement("The daily quota is used up.", [], f'@quota("{self.uses} per day")')


class ApproveDestructive(Template):
    """The approvers of destructive tools."""

    NAME, TITLE = "approve-destructive", "Require approval for destructive tools"

    approvers: GroupName = Field(description="The name of the group whose members may approve.")
    also_unknown: bool = Field(default=False, description="Also require approval for tools of unknown risk.")

    def write(self) -> str:
        risks = 'resource.risk == "destructive"'
        if self.also_unknown:
            risks = '["destructive", "unknown"].contains(resource.risk)'
        approval = f"@require_approval({quoted(self.approvers)})"
        return self._statement("Destructive tools need an approval.", [f"when {{ {risks} }}"], approval)


def _like(prefix: str) -> str:
    """A pattern for texts with this prefix."""
    return quoted(prefix)[:-1].replace("*", "\\*") + '*"'


TEMPLATES: dict[str, type[Template]] = {
    template.NAME: template
    for template in (ReadOnlyHours, ArgumentLimit, AllowedPaths, AllowedHosts, DailyQuota, ApproveDestructive)
}

PolicyTemplateParameters = TypeAliasType(
    "PolicyTemplateParameters",
    Annotated[
        dict[str, Any],
        Field(
            description="Values by parameter name: see the `parameters` of the template.",
            examples=[{"approvers": "finance-leads"}],
        ),
    ],
)


class PolicyTemplateView(Strict):
    """A policy with parameters."""

    name: str = Field(description="Its name in paths.", examples=["approve-destructive"])
    title: str = Field(
        description="What it does, in a few words.", examples=["Require approval for destructive tools"]
    )
    description: str = Field(
        description="The parameters in words.", examples=["The approvers of destructive tools."]
    )
    parameters: JsonSchema = Field(description="A JSON Schema of the parameters.")


class PolicyTemplates(Strict):
    """All templates."""

    items: list[PolicyTemplateView]


class PolicyTemplateRender(Strict):
    """The parameters of a template."""

    model_config = example({"parameters": {"approvers": "finance-leads"}})
    parameters: PolicyTemplateParameters


class RenderedPolicy(Strict):
    """The text of a policy, to review and store."""

    text: str = Field(
        description="Exactly one Cedar statement.", examples=["forbid (principal, action, resource);"]
    )


def list_templates() -> list[PolicyTemplateView]:
    """Describe all templates and their parameters."""
    views = []
    for name, template in TEMPLATES.items():
        schema = template.model_json_schema()
        description = schema.pop("description")
        views.append(
            PolicyTemplateView(name=name, title=template.TITLE, description=description, parameters=schema)
        )
    return views


async def render(session: AsyncSession, name: str, parameters: dict[str, Any]) -> str:
    """Write the policy of a template. Raises ``NotFound`` and ``Invalid``."""
    template = TEMPLATES.get(name)
    if template is None:
        raise NotFound(f"There is no such template; choose one of {', '.join(TEMPLATES)}.")
    try:
        filled = template.model_validate(parameters)
        if isinstance(filled, ArgumentLimit) and filled.type is None:
            type = await number_type(session, filled.server, filled.tool, filled.argument)
            filled = template.model_validate({**parameters, "type": type})
    except ValidationError as error:
        lines = error.errors(include_url=False, include_input=False)
        errors = field_errors([{**line, "loc": ("body", "parameters", *line["loc"])} for line in lines])
        raise Invalid("The parameters of the template are not valid; see errors.", errors=errors) from None
    text = filled.write()
    try:
        await asyncio.to_thread(read_statement, text)
    except InvalidPolicy as refused:
        raise Invalid.field("/parameters", "too_complex", refused.findings[0].detail) from None
    return text
