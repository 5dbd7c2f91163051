"""Test cases that are stored beside a policy, and what came of running them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, model_validator
from typing_extensions import TypeAliasType

from app.domain.risk import Risk
from app.features.audit.schemas import AuditDecision
from app.features.identities.schemas import IdentityAttributes, IdentityKind
from app.features.servers.schemas import Slug
from app.features.tools.schemas import JsonSchema
from app.http.schemas import IpAddress, Name, ShortText, Strict, Time, rule
from app.http.selectors import Labels, ToolName
from app.lib import strict_json
from app.lib.ids import GroupId, IdentityId, PolicyId

MOST_BYTES = 16_384
MOST_GROUPS = 100
DEEPEST_TOKEN = 5
_FIRST_YEAR, _LAST_YEAR = 1970, 9000

PolicyAction = TypeAliasType(
    "PolicyAction",
    Annotated[
        Literal["call_tool", "use_resources", "use_prompts", "use_server"],
        Field(description="What is asked for, as policies name it."),
    ],
)


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    """JSON that the gateway would take too, and not too much of it."""
    try:
        written = strict_json.dumps(value)
        strict_json.loads(written)
    except ValueError:
        raise ValueError("not JSON that a call could carry") from None
    if len(written) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    return value


PolicyTestArguments = TypeAliasType(
    "PolicyTestArguments",
    Annotated[
        dict[str, Any],
        AfterValidator(_storable),
        Field(description="The arguments of the call.", examples=[{"amount": 250}]),
    ],
)


def _of_our_days(time: datetime) -> datetime:
    """A time with a day before and after it in any zone."""
    if not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise ValueError(f"a time in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return time


PolicyTestSchema = Annotated[JsonSchema, AfterValidator(_storable)]


class PolicyTestOwner(Strict):
    """Who answers for an agent: an identity as it is, by its id, or one that there need not be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"groups": ["grp_01jdpnwz00e008000000000000"], "attributes": {"department": "finance"}}
            ],
            "allOf": [{"anyOf": [rule(without=["id"]), rule(given=["id"]) | {"maxProperties": 1}]}],
        },
    )
    id: IdentityId | None = Field(
        default=None, description="An identity as it is; then nothing else is said of it."
    )
    groups: list[GroupId] = Field(
        default_factory=list, max_length=MOST_GROUPS, description="The groups that it is in."
    )
    attributes: IdentityAttributes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        described = any(
            getattr(self, name) != field.get_default(call_default_factory=True)
            for name, field in type(self).model_fields.items()
            if name != "id"
        )
        if self.id is not None and described:
            raise ValueError("an identity is named by its id alone, or described without one")
        return self


class PolicyTestIdentity(PolicyTestOwner):
    """Who asks: an identity as it is, by its id, or one that there need not be."""

    kind: IdentityKind = "person"
    owner: PolicyTestOwner | None = Field(default=None, description="Who answers for it, if it is an agent.")


class PolicyTestClient(Strict):
    """The MCP client program, as it calls itself."""

    name: ShortText | None = Field(default=None, description="Its name.", examples=["claude-code"])
    version: ShortText | None = Field(default=None, description="Its version.", examples=["1.0"])


# Without an action it is a call.
_ACTION_IS_A_CALL: dict[str, Any] = {"properties": {"action": {"const": "call_tool"}}}


class PolicyTestRequest(Strict):
    """One request, as policies see it. Of a server or tool that exists, what is not said here is as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "allOf": [
                {
                    "oneOf": [
                        {"allOf": [rule(given=["tool"]), _ACTION_IS_A_CALL]},
                        {"allOf": [rule(given=["action"], without=["tool"]), {"not": _ACTION_IS_A_CALL}]},
                    ]
                }
            ]
        },
    )
    identity: PolicyTestIdentity = Field(
        default_factory=PolicyTestIdentity, description="Who asks; by default a person in no group."
    )
    action: PolicyAction = "call_tool"
    server: Slug = Field(description="The slug of the server.", examples=["payments"])
    tool: ToolName | None = Field(
        default=None,
        description="The tool that is called; needed for `call_tool` alone.",
        examples=["refund"],
    )
    labels: Labels | None = Field(default=None, description="Labels in place of those of the server.")
    risk: Risk | None = Field(default=None, description="A risk in place of that of the tool.")
    input_schema: PolicyTestSchema | None = Field(
        default=None, description="An input schema in place of that of the tool."
    )
    arguments: PolicyTestArguments = Field(default_factory=dict)
    time: Annotated[Time, AfterValidator(_of_our_days)] | None = Field(
        default=None, description="When; by default, when the test runs."
    )
    ip: IpAddress | None = Field(default=None, description="The address that it comes from.")
    client: PolicyTestClient = Field(
        default_factory=PolicyTestClient, description="The program that asks; by default one without a name."
    )
    token_depth: StrictInt = Field(
        default=0, ge=0, le=DEEPEST_TOKEN, description="How many times the token was attenuated."
    )

    @model_validator(mode="after")
    def _tool_for_calls(self) -> Self:
        if (self.action == "call_tool") is (self.tool is None):
            raise ValueError("call_tool names a tool, and nothing else does")
        return self


class PolicyTest(Strict):
    """A request, and what is to be decided about it by everything that is published, and this policy."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "A large refund waits for a person",
                    "request": {"server": "payments", "tool": "refund", "arguments": {"amount": 250}},
                    "expect": "require_approval",
                }
            ]
        },
    )
    name: Name = Field(description="What it shows.", examples=["A large refund waits for a person"])
    request: PolicyTestRequest
    expect: AuditDecision


class PolicyTestResult(Strict):
    """What came of one test."""

    name: str = Field(description="What it was to show.", examples=["A large refund waits for a person"])
    passed: bool = Field(description="Whether what was decided is what was expected.")
    expected: AuditDecision
    decision: AuditDecision
    reason_code: str = Field(description="Why, as audit events say it.", examples=["approval_required"])
    policy_ids: list[PolicyId] = Field(description="The policies that decided.")


class PolicyTestReport(Strict):
    """What came of a policy's tests."""

    passed: bool = Field(description="Whether all of them passed.")
    results: list[PolicyTestResult] = Field(description="Each test's, in their order.")
