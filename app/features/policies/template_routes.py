"""``/policy-templates``: policies with parameters."""

import asyncio
from typing import Annotated, Any

from fastapi import Path
from pydantic import ConfigDict, Field, ValidationError
from typing_extensions import TypeAliasType

from app.access.policy.references import number_type
from app.access.policy.text import InvalidPolicy, read_statement
from app.domain.errors import FieldError, Invalid, NotFound
from app.features.policies.templates import TEMPLATES, ArgumentLimit, Template
from app.features.tools.schemas import JsonSchema
from app.http.authorization import Permission, requires
from app.http.schemas import Strict
from app.http.transaction import Session, api_router

router = api_router("policies/templates", tag="policies", dependencies=[requires(Permission.POLICIES_READ)])

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

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"parameters": {"approvers": "finance-leads"}}]}
    )
    parameters: PolicyTemplateParameters


class RenderedPolicy(Strict):
    """The text of a policy, to review and store."""

    text: str = Field(
        description="Exactly one Cedar statement.", examples=["forbid (principal, action, resource);"]
    )


@router.get("", operation_id="list_policy_templates", summary="List policy templates")
async def list_policy_templates() -> PolicyTemplates:
    return PolicyTemplates(items=[_view(template) for template in TEMPLATES.values()])


@router.post("/{name}/render", operation_id="render_policy_template", summary="Render a policy template")
async def render_policy_template(
    name: Annotated[str, Path(max_length=100, description="The name of the template.")],
    body: PolicyTemplateRender,
    session: Session,
) -> RenderedPolicy:
    """Returns the text of a policy, for `POST /policies`, and stores nothing. Parameters are escaped. A missing type of
    an argument is taken from the tool's input schema."""
    template = TEMPLATES.get(name)
    if template is None:
        raise NotFound(f"There is no such template; choose one of {', '.join(TEMPLATES)}.")
    try:
        filled = template.parameters.model_validate(body.parameters)
        if isinstance(filled, ArgumentLimit) and filled.type is None:
            type = await number_type(session, filled.server, filled.tool, filled.argument)
            filled = template.parameters.model_validate({**body.parameters, "type": type})
        text = template.write(filled)
    except ValidationError as error:
        raise _invalid(error) from None
    try:
        await asyncio.to_thread(read_statement, text)
    except InvalidPolicy as refused:
        raise Invalid.field("/parameters", "too_complex", refused.findings[0].detail) from None
    return RenderedPolicy(text=text)


def _view(template: Template) -> PolicyTemplateView:
    schema = template.parameters.model_json_schema()
    description = str(schema.pop("description"))
    return PolicyTemplateView(
        name=template.name, title=template.title, description=description, parameters=schema
    )


def _invalid(error: ValidationError) -> Invalid:
    errors = [
        FieldError(
            "".join(
                f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in ("parameters", *line["loc"])
            ),
            {"extra_forbidden": "unknown_field", "missing": "required"}.get(line["type"], line["type"]),
            line["msg"].removeprefix("Value error, "),
        )
        for line in error.errors(include_url=False, include_input=False)
    ]
    return Invalid("The parameters of the template are not valid; see errors.", errors=errors[:100])
