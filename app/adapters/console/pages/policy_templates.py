"""Templates of policies as forms: each field as the template's own schema says it."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import Form, Problems, validated, whole_number
from app.adapters.console.page import page
from app.adapters.console.pages.policy_draft import Draft
from app.adapters.console.pages.principals import find_principals, find_servers
from app.adapters.console.signed_in import Viewer
from app.domain.errors import Invalid, NotFound
from app.features.groups import routes as groups
from app.features.groups.schemas import GroupQuery
from app.features.policies.template_routes import (
    PolicyTemplateRender,
    PolicyTemplateView,
    list_policy_templates,
    render_policy_template,
)
from app.http.runtime import Runtime
from app.lib.ids import GROUP

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
    found = await groups.list_groups(
        validated(GroupQuery, {"name": [text], "limit": 1}), viewer.caller, session, runtime
    )
    if not found.items:
        raise Invalid.field("/parameters/group_id", "not_found", "There is no group of this name.")
    return found.items[0].model_dump(mode="json")["id"]  # type: ignore[no-any-return]
