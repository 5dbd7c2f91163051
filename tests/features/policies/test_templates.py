"""Templates give valid policies for all parameters, and parameters remain data."""

from collections.abc import Iterator
from typing import Any

import cedarpy
import httpx2
import pytest
from cedarpy import pst
from hypothesis import given
from hypothesis import strategies as st

from app.access.policy.checking import KnownTool, check_types
from app.access.policy.text import Statement, read_statement
from app.domain.arguments import ArgumentKind, ArgumentType
from app.features.policies.templates import MAX_ALTERNATIVES, TEMPLATES
from tests.features.principals import pointers

PATH = "/api/v1/policies/templates"
ONE_TOOL = {"server": "files", "tool": "read", "argument": "path"}
GROUP = "grp_01jdpnwz00e008000000000000"
FILLED_IN: dict[str, dict[str, Any]] = {
    "read-only-hours": {"from_hour": 18, "to_hour": 8, "days": ["sunday", "monday"]},
    "argument-limit": {**ONE_TOOL, "limit": 100, "approvers": "leads"},
    "allowed-paths": {**ONE_TOOL, "directories": ["/srv/data", "/tmp/"]},
    "allowed-hosts": {**ONE_TOOL, "hosts": ["api.example.com", "localhost:8080"]},
    "daily-quota": {"uses": 20, "server": "files"},
    "approve-destructive": {"approvers": "leads", "group_id": GROUP, "also_unknown": True},
}


def written(name: str, **parameters: Any) -> str:
    template = TEMPLATES[name]
    return template.model_validate({**FILLED_IN[name], **parameters}).write()


def allowed(name: str, argument: object, tool: KnownTool, **parameters: Any) -> bool:
    """The decision of Cedar itself with the policy and a permit, for a call with this argument."""
    text = written(name, **parameters) + "permit (principal, action, resource);"
    request = {
        "principal": 'Identity::"idn_x"',
        "action": 'Action::"call_tool"',
        "resource": f'Tool::"{tool.path}"',
        "context": {"arguments": {} if argument is None else {"path": argument}},
    }
    result = cedarpy.is_authorized(request, text, [])
    assert result.diagnostics.errors == []
    return bool(result.allowed)


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_holds_against_the_vocabulary_and_matches_something(name: str) -> None:
    kind = ArgumentKind.INTEGER if name == "argument-limit" else ArgumentKind.STRING
    tool = KnownTool("files", "read", "read", {"path": ArgumentType(kind)})
    report = check_types(read_statement(written(name)), [tool])
    assert (report.errors, report.warnings) == ([], [])


nasty = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=60) | st.sampled_from(
    ['"', "\\", '\\"); permit (principal, action, resource); //', "*", "a*b", "{", "\u202e", "'", "if"]
)


@given(nasty)
def test_what_is_filled_in_stays_one_literal(text: str) -> None:
    if text.isprintable():
        statement = read_statement(written("approve-destructive", approvers=text, reason=text))
        assert dict(statement.policy.annotations) == {"reason": text, "require_approval": text}
    statement = read_statement(written("allowed-paths", tool=text, argument=text, directories=["/d"]))
    assert statement.policy.resource == pst.ScopeEq(pst.EntityUid(pst.EntityType("Tool"), f"files/{text}"))
    assert set(argument_names(statement)) == {text}


def argument_names(statement: Statement) -> Iterator[str]:
    """The names that are read from ``context.arguments``."""
    for each in statement.expressions():
        match each.expr:
            case pst.GetAttr(pst.GetAttr(), name):
                yield name


TOOL = KnownTool("files", "read", "read")


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/srv/data", True),
        ("/srv/data/a/b.txt", True),
        ("/tmp/x", True),
        ("/srv/data/../secret", False),
        ("/srv/data/..", False),
        ("/srv/database", False),
        ("/srv", False),
        ("srv/data/x", False),
        ("/etc/passwd", False),
        (None, False),
    ],
)
def test_paths_stay_in_their_directories(path: str | None, is_allowed: bool) -> None:
    assert allowed("allowed-paths", path, TOOL) is is_allowed


def test_a_star_in_a_directory_is_a_star() -> None:
    assert allowed("allowed-paths", "/a*b/x", TOOL, directories=["/a*b"])
    assert not allowed("allowed-paths", "/aXb/x", TOOL, directories=["/a*b"])


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://api.example.com", True),
        ("https://api.example.com/v1?x=https://evil.example", True),
        ("https://localhost:8080/", True),
        ("http://api.example.com/", False),
        ("https://api.example.com.evil.example/", False),
        ("https://api.example.com@evil.example/", False),
        ("https://api.example.com:8443/", False),
        ("https://api.example.com/\\@evil.example", False),
        ("https:\\\\api.example.com/", False),
        ("https://evil.example/https://api.example.com/", False),
        (" https://api.example.com/", False),
        (None, False),
    ],
)
def test_urls_lead_to_their_hosts(url: str | None, is_allowed: bool) -> None:
    assert allowed("allowed-hosts", url, TOOL) is is_allowed


@pytest.mark.parametrize(("value", "is_allowed"), [(100, True), (-5, True), (101, False), (None, False)])
def test_numbers_stay_below_their_limit(value: int | None, is_allowed: bool) -> None:
    assert allowed("argument-limit", value, TOOL, approvers=None) is is_allowed


def test_as_many_alternatives_as_can_be_given_can_be_kept() -> None:
    names = [f"host-{number}.example.com" for number in range(MAX_ALTERNATIVES)]
    for name, values in (
        ("allowed-hosts", {"hosts": names}),
        ("allowed-paths", {"directories": [f"/{n}" for n in names]}),
    ):
        for argument in ("path", 'a "name" of words'):
            text = written(name, argument=argument, **values)
            assert read_statement(text).text == text
            assert all(each in text for each in next(iter(values.values())))


async def test_templates_are_listed_and_filled_in(api: httpx2.AsyncClient) -> None:
    listed = {item["name"]: item for item in (await api.get(PATH)).json()["items"]}
    assert set(listed) == set(TEMPLATES)
    assert "limit" in listed["argument-limit"]["parameters"]["required"]
    for name, parameters in FILLED_IN.items():
        answer = await api.post(f"{PATH}/{name}/render", json={"parameters": parameters})
        assert answer.json() == {"text": written(name)}, answer.text
    for name, parameters, expected in (
        ("argument-limit", {**ONE_TOOL, "limit": "1e400"}, ("/parameters/limit", "value_error")),
        ("argument-limit", {**ONE_TOOL, "limit": 0.00001}, ("/parameters/limit", "value_error")),
        ("argument-limit", {**ONE_TOOL, "limit": 1.5, "type": "integer"}, ("/parameters", "value_error")),
        (
            "allowed-paths",
            {**ONE_TOOL, "directories": ["/a/../b"]},
            ("/parameters/directories/0", "value_error"),
        ),
        (
            "allowed-hosts",
            {**ONE_TOOL, "hosts": ["*.example.com"]},
            ("/parameters/hosts/0", "string_pattern_mismatch"),
        ),
        ("daily-quota", {"uses": 0}, ("/parameters/uses", "greater_than_equal")),
        ("daily-quota", {"uses": 1, "tool": "x"}, ("/parameters", "value_error")),
        ("approve-destructive", {"approvers": "a\nb", "x": 1}, ("/parameters/x", "unknown_field")),
    ):
        answer = await api.post(f"{PATH}/{name}/render", json={"parameters": parameters})
        assert expected in pointers(answer), answer.text
    assert (await api.post(f"{PATH}/nothing/render", json={"parameters": {}})).status_code == 404


async def test_the_type_of_a_number_is_what_the_schema_of_the_tool_says(api: httpx2.AsyncClient) -> None:
    body = {"slug": "billing", "url": "https://mcp.example.com/"}
    server = (await api.post("/api/v1/servers", json=body)).json()
    schema = {"type": "object", "properties": {"amount": {"type": "number"}, "count": {"type": "integer"}}}
    tool = {"server_id": server["id"], "name": "refund", "input_schema": schema}
    assert (await api.post("/api/v1/tools", json=tool)).status_code == 201
    filled = {"server": "billing", "tool": "refund", "limit": 100}
    for argument, more, written in (
        ("amount", {}, 'context.arguments.amount.lessThanOrEqual(decimal("100.0000"))'),
        ("count", {}, "context.arguments.count <= 100"),
        ("amount", {"type": "integer"}, "context.arguments.amount <= 100"),
        # Without a schema, the limit determines the type.
        ("other", {}, "context.arguments.other <= 100"),
        ("other", {"limit": 0.5}, 'context.arguments.other.lessThanOrEqual(decimal("0.5000"))'),
    ):
        parameters = filled | {"argument": argument} | more
        answer = await api.post(f"{PATH}/argument-limit/render", json={"parameters": parameters})
        assert answer.status_code == 200, answer.text
        assert written in answer.json()["text"]
    wrong = {"parameters": filled | {"argument": "count", "limit": 0.5}}
    assert (await api.post(f"{PATH}/argument-limit/render", json=wrong)).status_code == 422
