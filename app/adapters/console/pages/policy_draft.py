"""What the editor of a policy holds, read from its form, and what can be said of it before it is kept.

Templates of policies as forms: each field as the template's own schema says it.
"""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Rules
from app.adapters.console.forms import Form, Problems, validated, whole_number
from app.adapters.console.page import page
from app.adapters.console.pages.principals import find_principals, find_servers
from app.adapters.console.signed_in import Viewer
from app.domain.errors import FieldError, Invalid, NotFound
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery
from app.features.policies.schemas import (
    PolicyCreate,
    PolicyTest,
    PolicyTestResult,
    PolicyUpdate,
    PolicyView,
    PolicyWarning,
)
from app.features.policies.service import check_text, warnings_about
from app.features.policies.template_routes import (
    PolicyTemplateRender,
    PolicyTemplateView,
    list_policy_templates,
    render_policy_template,
)
from app.features.policies.testing import run_own
from app.http.runtime import Runtime
from app.lib import strict_json
from app.lib.ids import GROUP, format_id, new_id
from app.lib.json_depth import is_too_deep

_WIDEST = 80
_UNNAMED = "A draft"
BLANK = """@reason("What whoever is refused is told.")
forbid (
  principal,
  action == Action::"call_tool",
  resource == Tool::"server/tool"
);
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say of a text, with where: ``excerpt`` is the line and ``caret`` what points into it."""

    detail: str
    line: int
    column: int
    excerpt: str
    caret: str


@dataclass(slots=True)
class Draft:
    """The fields of the editor, as they were typed; ``tests`` is a JSON array."""

    name: str = ""
    description: str = ""
    text: str = BLANK
    mode: str = "enforce"
    tests: str = "[]"

    @classmethod
    def typed(cls, form: Form) -> "Draft":
        """What was sent. Raises ``Malformed``."""
        return cls(
            name=form.text("name"),
            description=form.text("description"),
            text=form.raw("text"),
            mode=form.text("mode", "enforce"),
            tests=form.raw("tests") or "[]",
        )

    @classmethod
    def of(cls, policy: PolicyView) -> "Draft":
        """The draft that is kept."""
        tests = [one.model_dump(mode="json", exclude_defaults=True) for one in policy.tests]
        return cls(policy.name, policy.description or "", policy.text, policy.mode, _written(tests))

    @property
    def fields(self) -> dict[str, Any]:
        """As the API's models take them. Raises ``Invalid`` for tests that are not JSON."""
        return {
            "name": self.name,
            "description": self.description or None,
            "text": self.text,
            "mode": self.mode,
            "tests": self._tests(),
        }

    def create(self) -> PolicyCreate:
        """The API's own model of a new policy. Raises ``Invalid``."""
        return validated(PolicyCreate, self.fields)

    def update(self) -> PolicyUpdate:
        """The API's own model of the change. Raises ``Invalid``."""
        return validated(PolicyUpdate, self.fields)

    def add_test(self, form: Form) -> None:
        """Put the test that the small form describes at the end of the tests. Raises ``Invalid``."""
        arguments = form.raw("test_arguments").strip() or "{}"
        test = {
            "name": form.text("test_name"),
            "request": {
                "server": form.text("test_server"),
                "tool": form.text("test_tool"),
                "arguments": _json(arguments, "/test_arguments", dict, 'an object like {"amount": 250}'),
            },
            "expect": form.text("test_expect"),
        }
        one = validated(PolicyTest, test)
        self.tests = _written([*self._tests(), one.model_dump(mode="json", exclude_defaults=True)])

    def _tests(self) -> list[Any]:
        found: list[Any] = _json(self.tests, "/tests", list, "a list of tests")
        return found


@dataclass(slots=True)
class Looked:
    """What was found of a draft: what is wrong with its text, what may not be meant, and how its tests went."""

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    results: list[PolicyTestResult] = field(default_factory=list)


async def look_at(draft: Draft, policy: PolicyView | None, session: AsyncSession, runtime: Runtime) -> Looked:
    """Check a draft that is not kept, and run its tests as if it were enforced. Raises ``Invalid``."""
    # Without a name it cannot be kept, and can be looked at.
    body = validated(PolicyCreate, draft.fields | {"name": draft.name or _UNNAMED})
    await check_text(session, body.text)
    warnings = await warnings_about(session, body.text, permits_by_default=runtime.permits_by_default)
    id: UUID = new_id() if policy is None else policy.id
    version = 1 if policy is None else (policy.version or 0) + 1
    rules = Rules(runtime.time_zone, runtime.permits_by_default)
    tests = [one.model_dump(mode="json") for one in body.tests]
    published = PublishedPolicy(id, version, body.text, Mode(body.mode))
    ran = await run_own(session, rules, runtime.clock(), published, tests)
    return Looked(warnings=located(draft.text, warnings), results=[one.result for one in ran])


def located(text: str, said: list[PolicyWarning]) -> list[Finding]:
    """What is said of a text, with the lines that it is about."""
    return [_finding(text, one.detail, one.line, one.column) for one in said]


def errors_in(text: str, errors: tuple[FieldError, ...]) -> list[Finding]:
    """Those errors that are about a place in the text."""
    return [
        _finding(text, one.detail, one.line, one.column or 1)
        for one in errors
        if one.pointer == "/text" and one.line is not None
    ]


def _finding(text: str, detail: str, line: int, column: int) -> Finding:
    lines = text.splitlines()
    whole = lines[line - 1] if 0 < line <= len(lines) else ""
    # Of a long line, what is around the place.
    start = max(0, column - _WIDEST // 2) if len(whole) > _WIDEST else 0
    shown = whole[start : start + _WIDEST].expandtabs(1)
    return Finding(detail, line, column, shown, " " * (column - 1 - start) + "^")


def _written(tests: list[Any]) -> str:
    return json.dumps(tests, indent=2, ensure_ascii=False)


def _json(text: str, pointer: str, kind: type, wanted: str) -> Any:
    """JSON as a call could carry it. Raises ``Invalid`` with where it breaks."""
    try:
        found = strict_json.loads(text.encode())
    except (strict_json.StrictJsonError, UnicodeEncodeError):
        raise Invalid.field(pointer, "not_json", f"This is not {wanted}: {_place(text)}.") from None
    if not isinstance(found, kind):
        raise Invalid.field(pointer, "not_json", f"This is not {wanted}.")
    return found


def _place(text: str) -> str:
    """Where JSON breaks, in words."""
    if is_too_deep(text.encode("utf-8", "replace"), strict_json.MAX_DEPTH):
        return "it is nested too deeply"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"it cannot be read at line {error.lineno}, column {error.colno}"
    return "it names something twice, or has a number that calls cannot carry"


_OFFERED = 50

# The schema of the tool says it.
_INFERRED = frozenset({"type"})
_LABELS = {
    "group_id": "Only for the group",
    "server": "Server",
    "tool": "Tool",
    "reason": "What whoever is refused is told",
    "from_hour": "From hour",
    "to_hour": "To hour",
    "also_unknown": "Also tools of which nobody knows the risk",
}


@dataclass(frozen=True, slots=True)
class Blank:
    """A field to be filled in. ``kind``: ``text``, ``number``, ``lines`` (a list), ``several`` or ``one`` of
    ``options``, or ``flag``."""

    name: str
    label: str
    hint: str
    kind: str
    required: bool
    options: tuple[str, ...] = ()
    suggested: str | None = None
    default: str = ""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The options, each as its own words."""
        return [(one, one) for one in self.options]

    @classmethod
    def of(cls, name: str, schema: dict[str, Any], *, required: bool) -> "Blank":
        """The field of a property of the template's schema."""
        options: tuple[str, ...] = ()
        kind = {"integer": "number", "boolean": "flag"}.get(schema.get("type", ""), "text")
        if schema.get("type") == "array":
            options = tuple(schema["items"].get("enum", ()))
            kind = "several" if options else "lines"
        elif "enum" in schema:
            kind, options = "one", tuple(schema["enum"])
        suggested = {"group_id": "groups", "approvers": "groups", "server": "servers"}.get(name)
        label = _LABELS.get(name, name.replace("_", " ").capitalize())
        default = schema.get("default")
        return cls(
            name, label, schema.get("description", ""), kind, required, options, suggested,
            default if isinstance(default, str) else "",
        )  # fmt: skip


async def templates() -> list[PolicyTemplateView]:
    """All of them."""
    return (await list_policy_templates()).items


async def _template(name: str) -> PolicyTemplateView:
    for one in await templates():
        if one.name == name:
            return one
    raise NotFound("There is no such template.")


def _blanks(template: PolicyTemplateView) -> list[Blank]:
    """Its fields, those first that have to be filled in."""
    schema = template.parameters
    required = set(schema.get("required", ()))
    shown = schema["properties"].items()
    found = [Blank.of(name, one, required=name in required) for name, one in shown if name not in _INFERRED]
    return sorted(found, key=lambda one: not one.required)


async def filling(
    request: Request,
    name: str,
    form: Form,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    problems: Problems | None = None,
) -> Response:
    """The form that fills a template in, with what was typed."""
    template = await _template(name)
    _, known = await find_principals("", viewer, session, runtime, most=_OFFERED)
    servers = await find_servers("", viewer, session, runtime, most=_OFFERED)
    blanks = _blanks(template)
    return page(
        request,
        "policies/template.html",
        viewer=viewer,
        status=problems.status if problems else 200,
        template=template,
        blanks=blanks,
        typed={one.name: form.raw(f"p_{one.name}") for one in blanks if one.kind != "several"},
        ticked={one.name: form.texts(f"p_{one.name}") for one in blanks if one.kind == "several"},
        offered={"groups": [one.name for one in known], "servers": [one.slug for one in servers]},
        problems=problems,
        found=problems,
    )


async def fill_in(form: Form, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> Draft:
    """The draft that a filled-in template makes. Raises ``Invalid``."""
    template = await _template(form.text("template"))
    given = {}
    for blank in _blanks(template):
        value = _value(blank, form)
        if value is not None:
            given[blank.name] = value
    if "group_id" in given:
        given["group_id"] = await _group(str(given["group_id"]), viewer, session, runtime)
    made = await render_policy_template(template.name, PolicyTemplateRender(parameters=given), session)
    return Draft(name=template.title, text=made.text)


def _value(blank: Blank, form: Form) -> Any:
    """What was typed, as the template takes it; ``None``: nothing."""
    name = f"p_{blank.name}"
    match blank.kind:
        case "flag":
            return form.flag(name) or None
        case "several":
            return form.texts(name) or None
        case "lines":
            return [line.strip() for line in form.raw(name).splitlines() if line.strip()] or None
        case "number":
            text = form.text(name)
            return whole_number(text) if text else None
    return form.text(name) or None


async def _group(text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> str:
    """The id of a group by its name. Raises ``Invalid``."""
    if text.startswith(f"{GROUP}_"):
        return text
    query = validated(GroupQuery, {"name": [text], "limit": 1})
    found, _ = await groups.list_groups(session, viewer.caller, query, runtime)
    if not found:
        raise Invalid.field("/parameters/group_id", "not_found", "There is no group of this name.")
    return format_id(GROUP, found[0].id)
