"""The state of the policy editor, the review of a draft before it is saved, and forms for policy templates."""

import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response

from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Rules
from app.adapters.console.context import PageContext
from app.adapters.console.forms import Form, validate, whole_number
from app.adapters.console.pages.principals import find_principals, find_servers, require_group
from app.domain.errors import FieldError, Invalid, NotFound
from app.features.policies import schemas
from app.features.policies.service import check_text, warnings_about
from app.features.policies.templates import PolicyTemplateView, list_templates, render
from app.features.policies.testing import run_own
from app.lib import strict_json
from app.lib.ids import GROUP, format_id, new_id
from app.lib.strict_json import is_too_deep

_MAX_EXCERPT = 80
Finding = dict[str, str | int]
_UNNAMED = "Untitled policy"
NEW_POLICY_TEXT = """@reason("The message for refused callers.")
forbid (
  principal,
  action == Action::"call_tool",
  resource == Tool::"server/tool"
);
"""
_OFFERED = 50
# Not asked for, since the tool's schema determines it.
_INFERRED = frozenset({"type"})
_LABELS = {
    "group_id": "Only for the group",
    "server": "Server",
    "tool": "Tool",
    "reason": "Message for refused callers",
    "from_hour": "From hour",
    "to_hour": "To hour",
    "also_unknown": "Include tools whose risk is unknown",
}


@dataclass(slots=True)
class Draft:
    """The fields of the editor as typed; ``tests`` is a JSON array."""

    name: str = ""
    description: str = ""
    text: str = NEW_POLICY_TEXT
    mode: str = "enforce"
    tests: str = "[]"

    @classmethod
    def typed(cls, form: Form) -> "Draft":
        """Read a submitted form. Raises ``Malformed``."""
        return cls(
            name=form.text("name"),
            description=form.text("description"),
            text=form.raw("text"),
            mode=form.text("mode", "enforce"),
            tests=form.raw("tests") or "[]",
        )

    @classmethod
    def of(cls, policy: schemas.PolicyView) -> "Draft":
        """Fill the editor with a saved draft."""
        tests = [one.model_dump(mode="json", exclude_defaults=True) for one in policy.tests]
        return cls(policy.name, policy.description or "", policy.text, policy.mode, _format_tests(tests))

    @property
    def fields(self) -> dict[str, Any]:
        """The fields for the API's models. Raises ``Invalid`` if the tests are not JSON."""
        return {
            "name": self.name,
            "description": self.description or None,
            "text": self.text,
            "mode": self.mode,
            "tests": self._tests(),
        }

    def add_test(self, form: Form) -> None:
        """Append the test that the small form describes. Raises ``Invalid``."""
        arguments = form.raw("test_arguments").strip() or "{}"
        test = {
            "name": form.text("test_name"),
            "request": {
                "server": form.text("test_server"),
                "tool": form.text("test_tool"),
                "arguments": _json(arguments, "/test_arguments", dict, 'an object such as {"amount": 250}'),
            },
            "expect": form.text("test_expect"),
        }
        one = validate(schemas.PolicyTest, test)
        self.tests = _format_tests([*self._tests(), one.model_dump(mode="json", exclude_defaults=True)])

    def _tests(self) -> list[Any]:
        tests: list[Any] = _json(self.tests, "/tests", list, "a list of tests")
        return tests


@dataclass(slots=True)
class DraftReport:
    """The review of a draft: errors and warnings in its text, and the results of its tests."""

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    results: list[schemas.PolicyTestResult] = field(default_factory=list)


async def review_draft(context: PageContext, draft: Draft, policy: schemas.PolicyView | None) -> DraftReport:
    """Check an unsaved draft, and run its tests in enforce mode. Raises ``Invalid``."""
    # A draft without a name can be reviewed, though not saved.
    body = validate(schemas.PolicyCreate, draft.fields | {"name": draft.name or _UNNAMED})
    await check_text(context.session, body.text)
    rules = Rules(context.runtime.time_zone, context.runtime.permits_by_default)
    warnings = await warnings_about(context.session, body.text, permits_by_default=rules.permits_by_default)
    id, version = (new_id(), 1) if policy is None else (policy.id, (policy.version or 0) + 1)
    tests = [one.model_dump(mode="json") for one in body.tests]
    published = PublishedPolicy(id, version, body.text, Mode(body.mode))
    results = await run_own(context.session, rules, context.now, published, tests)
    return DraftReport(warnings=locate_warnings(draft.text, warnings), results=results)


def locate_warnings(text: str, warnings: list[schemas.PolicyWarning]) -> list[Finding]:
    """The warnings with the lines of the text."""
    return [_finding(text, one.detail, one.line, one.column) for one in warnings]


def locate_errors(text: str, errors: tuple[FieldError, ...]) -> list[Finding]:
    """The errors that have a position in the text."""
    return [
        _finding(text, one.detail, one.line, one.column or 1)
        for one in errors
        if one.pointer == "/text" and one.line is not None
    ]


def _finding(text: str, detail: str, line: int, column: int) -> Finding:
    """A message about a place in a text; ``excerpt`` is the line, ``caret`` marks the column below it."""
    lines = text.splitlines()
    whole = lines[line - 1] if 0 < line <= len(lines) else ""
    # Shortens a long line to the part around the column.
    start = max(0, column - _MAX_EXCERPT // 2) if len(whole) > _MAX_EXCERPT else 0
    excerpt, caret = whole[start : start + _MAX_EXCERPT].expandtabs(1), " " * (column - 1 - start) + "^"
    return {"detail": detail, "line": line, "column": column, "excerpt": excerpt, "caret": caret}


def _format_tests(tests: list[Any]) -> str:
    return json.dumps(tests, indent=2, ensure_ascii=False)


def _json(text: str, pointer: str, kind: type, wanted: str) -> Any:
    """Parse JSON as the gateway does. Raises ``Invalid`` with the position of the error."""
    try:
        found = strict_json.loads(text.encode())
    except (strict_json.StrictJsonError, UnicodeEncodeError):
        raise Invalid.field(pointer, "not_json", f"Enter {wanted}: {_place(text)}.") from None
    if not isinstance(found, kind):
        raise Invalid.field(pointer, "not_json", f"Enter {wanted}.")
    return found


def _place(text: str) -> str:
    """Describe the error in a JSON text."""
    if is_too_deep(text.encode("utf-8", "replace"), strict_json.MAX_DEPTH):
        return "it is nested too deeply"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"it is invalid JSON at line {error.lineno}, column {error.colno}"
    return "it has a duplicate member or a number out of range"


@dataclass(frozen=True, slots=True)
class TemplateField:
    """A parameter of a template. ``kind``: ``text``, ``number``, ``lines`` (a list), ``several`` or ``one`` of
    ``options``, or ``flag``."""

    name: str
    label: str
    hint: str
    kind: str
    required: bool
    options: tuple[str, ...] = ()
    suggested: str | None = None
    default: str = ""

    @classmethod
    def of(cls, name: str, schema: dict[str, Any], *, required: bool) -> "TemplateField":
        """Build the field for a property of the template's JSON schema."""
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


def _template(name: str) -> tuple[PolicyTemplateView, list[TemplateField]]:
    """A template and its fields, required ones first. Raises ``NotFound``."""
    for template in list_templates():
        if template.name == name:
            schema, required = template.parameters, set(template.parameters.get("required", ()))
            fields = [
                TemplateField.of(name, one, required=name in required)
                for name, one in schema["properties"].items()
                if name not in _INFERRED
            ]
            return template, sorted(fields, key=lambda one: not one.required)
    raise NotFound("There is no such template.")


async def show_template_form(context: PageContext, name: str) -> Response:
    """Show the form of a template with what was typed."""
    template, fields = _template(name)
    _, known = await find_principals(context, "", limit=_OFFERED)
    servers = await find_servers(context, "", limit=_OFFERED)
    offered = {"groups": [one.name for one in known], "servers": [one.slug for one in servers]}
    return await context.page(
        "policies/template.html", names={}, template=template, fields=fields, offered=offered
    )


async def fill_template(context: PageContext) -> Draft:
    """Render a template into a draft. Raises ``Invalid``."""
    template, fields = _template(context.form.text("template"))
    values = {one.name: _value(one, context.form) for one in fields}
    given = {name: value for name, value in values.items() if value is not None}
    if "group_id" in given:
        text = str(given["group_id"])
        if not text.startswith(f"{GROUP}_"):
            given["group_id"] = format_id(GROUP, await require_group(context, text, "/parameters/group_id"))
    return Draft(name=template.title, text=await render(context.session, template.name, given))


def _value(blank: TemplateField, form: Form) -> Any:
    """The typed value as the template's parameter; ``None`` if empty."""
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
