"""The published vocabulary as Cedar reads it."""

import cedarpy
from hypothesis import given
from hypothesis import strategies as st

from app.access.policy.vocabulary import quoted, schema_text, untyped_arguments
from app.domain.arguments import argument_types

ODD = 'od"d\\ \n\u202e'
TOOL = argument_types(
    {
        "properties": {
            "amount": {"type": "integer"},
            "fee": {"type": "number"},
            "paths": {"type": "array", "items": {"type": "string"}},
            "to": {
                "type": "object",
                "properties": {"iban": {"type": "string"}, "note": {}},
                "required": ["iban"],
            },
            "force": {"type": ["boolean", "null"]},
            "free": {},
            "list": {"type": "array"},
            ODD: {"type": "string"},
        },
        "required": ["amount", "fee", "paths", "to", "force", ODD],
    }
)


def _errors(condition: str, *, schema: cedarpy.Schema) -> list[str]:
    policy = f'forbid (principal, action == Action::"call_tool", resource) when {{ {condition} }};'
    return [error.error for error in cedarpy.validate_policies(policy, schema).errors]


def test_policies_are_checked_against_the_arguments_that_a_tool_declares() -> None:
    schema = cedarpy.Schema.from_str(schema_text(TOOL))
    for valid in (
        "context.arguments.amount > 100",
        'context.arguments.fee.greaterThan(decimal("0.5"))',
        'context.arguments.paths.contains("/etc")',
        'context.arguments.to.iban == "DE"',
        "context.arguments has force && context.arguments.force",
        f'context.arguments[{quoted(ODD)}] == "x"',
    ):
        assert _errors(valid, schema=schema) == []
    for wrong in (
        'context.arguments.amount == "100"',
        "context.arguments.amout > 100",
        "context.arguments.force",
        "context.arguments.to.note == 1",
    ):
        assert _errors(wrong, schema=schema), wrong
    assert untyped_arguments(TOOL) == {"to", "free", "list"}


def test_everything_of_the_contract_can_be_read() -> None:
    policy = """
    forbid (principal in Group::"grp_1", action, resource) when {
      principal.kind == "agent" && principal has owner && principal.owner in Group::"grp_2"
      && principal.hasTag("team") && principal.getTag("team") == "x"
      && context.time.weekday == "sunday" && context.time.hour * 60 + context.time.minute == context.time.minute_of_day
      && context.time.date < datetime("2026-01-01") && context has ip && context.ip.isInRange(ip("10.0.0.0/8"))
      && context.client has name && context.client has version && context.token.depth > 0 && context.token.id == "tok_"
    };
    forbid (principal, action == Action::"call_tool", resource) when {
      resource.server.slug == "a" && resource.risk == "read" && resource.name == "b" && resource.hasTag("env")
    };
    forbid (principal, action == Action::"use_resources", resource in Server::"a") when {
      context.arguments has uri && context.arguments.uri like "file://*" && resource.getTag("env") == "x"
    };
    forbid (principal, action == Action::"use_prompts", resource == Server::"a") when {
      context.arguments has name && context.arguments.name == resource.slug
    };
    permit (principal, action == Action::"use_server", resource is Server);
    """
    errors = [error.error for error in cedarpy.validate_policies(policy, schema_text()).errors]
    # Only the tag that is read without a check.
    assert len(errors) == 1
    assert "env" in errors[0]


@given(st.text(max_size=30), st.text(max_size=5))
def test_a_quoted_text_stands_for_itself_and_for_nothing_else(text: str, name: str) -> None:
    [policy] = cedarpy.policies_to_pst(
        f"forbid (principal == Identity::{quoted(text)}, action, resource) when {{ {quoted(name)} == {quoted(text)} }};"
    ).static_policies.values()
    assert policy.principal.entity.id == text  # type: ignore[union-attr]
    assert policy.clauses[0].expr.right.value == text  # type: ignore[union-attr]
