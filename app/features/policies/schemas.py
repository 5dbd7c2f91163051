"""Request and response models of policies and of their test cases."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    model_validator,
)
from typing_extensions import TypeAliasType

from app.domain.risk import Risk
from app.features.audit.schemas import AuditDecision
from app.features.identities.schemas import IdentityAttributes, IdentityKind
from app.features.servers.schemas import Slug
from app.features.tools.schemas import JsonSchema
from app.http.pagination import CursorParameter, Limit, ListQuery
from app.http.schemas import (
    CleanText,
    IpAddress,
    LongText,
    Name,
    Patch,
    ShortText,
    Strict,
    Time,
    absent,
    rule,
)
from app.http.selectors import Labels, ToolName
from app.lib import strict_json
from app.lib.ids import GroupId, IdentityId, PolicyId
from app.models.audit import ObjectVersion
from app.models.policies import Policy

MAX_BYTES = 16_384
MAX_GROUPS = 100
MAX_TOKEN_DEPTH = 5
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
    if len(written) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
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
        default_factory=list, max_length=MAX_GROUPS, description="The groups that it is in."
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
        default=0, ge=0, le=MAX_TOKEN_DEPTH, description="How many times the token was attenuated."
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


MAX_TESTS = 50
MAX_TEXT_LENGTH = 20_000
EXAMPLE_TEXT = """\
@reason("Refunds above 100 need a second pair of eyes.")
@require_approval("finance-leads")
forbid (
  principal,
  action == Action::"call_tool",
  resource == Tool::"payments/refund"
)
when { context.arguments.amount > 100 };
"""
POLICY_EXAMPLE = "pol_01jdpnwz00e008000000000000"
PolicyMode = TypeAliasType(
    "PolicyMode",
    Annotated[
        Literal["enforce", "observe"],
        Field(description="`observe`: it decides nothing; events name it where it would have."),
    ],
)
PolicyStatus = TypeAliasType(
    "PolicyStatus",
    Annotated[
        Literal["draft", "published", "ended"],
        Field(description="Only a `published` policy decides, by the text that was published last."),
    ],
)
PolicyText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TEXT_LENGTH),
    CleanText,
    Field(
        description="Exactly one Cedar statement; see `docs/policy-reference.md`.", examples=[EXAMPLE_TEXT]
    ),
]
PolicyTests = Annotated[
    list[PolicyTest],
    Field(max_length=MAX_TESTS, description="What it is to decide; every publish runs them."),
]


class PolicyCreate(Strict):
    """A new policy, as a draft: it decides nothing until it is published."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "Large refunds", "text": EXAMPLE_TEXT}]},
    )
    name: Name = Field(description="Unique among the policies that are not ended, whatever its case.")
    description: LongText | None = None
    text: PolicyText
    mode: PolicyMode = "enforce"
    tests: PolicyTests = Field(default_factory=list)


class PolicyUpdate(Patch):
    """What may change of a policy's draft; what is published stays as it is until the next publish."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"mode": "observe"}]})
    name: Name = absent()
    description: LongText | None = None
    text: PolicyText = absent()
    mode: PolicyMode = absent()
    tests: PolicyTests = absent()


class PolicyRollback(Strict):
    """Which of the earlier versions decides again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 2}]})
    version: StrictInt = Field(ge=1, le=2**31 - 1, description="A version that was published before.")


class PolicyWarning(Strict):
    """Something about a policy that may not be what was meant. It can be published all the same."""

    code: str = Field(description="What it is, stable, snake_case.", examples=["unknown_tool"])
    detail: str = Field(description="What it is, in words.", examples=["There is no tool git/git_lag."])
    line: int = Field(description="The line in the text, from 1.", examples=[3])
    column: int = Field(description="The column in the text, from 1.", examples=[11])


class PolicyView(BaseModel):
    """A Cedar policy: its draft, and what is published of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": POLICY_EXAMPLE,
                    "name": "Large refunds",
                    "description": None,
                    "text": EXAMPLE_TEXT,
                    "mode": "enforce",
                    "tests": [],
                    "status": "published",
                    "version": 3,
                    "published_text": EXAMPLE_TEXT,
                    "published_mode": "enforce",
                    "published_at": "2026-01-05T09:00:00Z",
                    "unpublished_changes": False,
                    "warnings": [],
                    "ended_at": None,
                    "created_at": "2026-01-05T09:00:00Z",
                    "updated_at": "2026-01-05T09:00:00Z",
                    "revision": 1,
                }
            ]
        },
    )
    id: PolicyId
    name: str
    description: str | None = Field(description="What it is for.")
    text: str = Field(description="The text of the draft: exactly one Cedar statement.")
    mode: PolicyMode = Field(description="The mode of the draft.")
    tests: list[PolicyTest] = Field(description="The tests of the draft.")
    status: PolicyStatus
    version: int | None = Field(
        description="How often it was published, which numbers what decides; null: never."
    )
    published_text: str | None = Field(description="The text that decides; null while none does.")
    published_mode: PolicyMode | None = Field(description="The mode of what is published.")
    published_at: datetime | None = Field(description="Since when this text decides.")
    unpublished_changes: bool = Field(description="Whether the draft differs from what is published.")
    warnings: list[PolicyWarning] | None = Field(
        description="What may not be as meant, as things are now; null in lists, where nothing is looked up."
    )
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Policy, warnings: Sequence[PolicyWarning] | None) -> Self:
        """The answer for a stored policy."""
        plain = {
            name: getattr(row, name)
            for name in cls.model_fields
            if name not in {"unpublished_changes", "warnings"}
        }
        changes = (row.text, row.mode) != (row.published_text, row.published_mode)
        shown = None if warnings is None else list(warnings)
        return cls(**plain, unpublished_changes=changes, warnings=shown)


class PolicyChange(Strict):
    """What became of a policy, or would."""

    changed: bool = Field(description="Whether what decides is now another than before.")
    failed_tests: int = Field(
        description="How many tests failed, and were put aside because `ignore_failed_tests` said so."
    )
    policy: PolicyView


PolicyOrder = TypeAliasType(
    "PolicyOrder",
    Annotated[
        Literal["-created_at", "created_at"],
        Field(
            description="What policies are sorted by; `-` before it is from the top. Newest first by default."
        ),
    ],
)


class PolicyQuery(ListQuery):
    """Filters of the list of policies; each may be repeated, and then any of its values matches."""

    name: list[ShortText] = Field(default_factory=list)
    status: list[PolicyStatus] = Field(default_factory=list)
    mode: list[PolicyMode] = Field(
        default_factory=list,
        description="Only those of which this mode is published, or drafted while nothing is.",
    )
    q: ShortText | None = Field(default=None, description="Text in name, description or the policy itself.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too, to those who may read the audit."
    )
    sort: PolicyOrder = Field(default="-created_at", description="What the list is sorted by.")

    def asks_for_ended(self) -> bool:
        """Whether ended policies could be among the answer."""
        return self.include is not None or "ended" in self.status


class PolicyVersionQuery(Strict):
    """Which page of a policy's versions."""

    include: Literal["ended"] | None = Field(
        default=None, description="`ended`: also when the policy has ended; needs `audit.read`."
    )
    limit: Limit = 50
    cursor: CursorParameter = None


class PolicyVersionView(Strict):
    """What was published of a policy, and from when until when it decided."""

    model_config = ConfigDict(
        title="PolicyVersion",
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "version": 2,
                    "name": "Large refunds",
                    "text": EXAMPLE_TEXT,
                    "mode": "enforce",
                    "tests": [],
                    "valid_from": "2026-01-05T09:00:00Z",
                    "valid_to": None,
                }
            ]
        },
    )
    version: int = Field(description="Its number: the first that was published is 1.")
    name: str = Field(description="What the policy was called then.")
    text: str = Field(description="The text that decided.")
    mode: PolicyMode
    tests: list[PolicyTest] = Field(description="The tests that were published with it.")
    valid_from: datetime = Field(description="From when it decided.")
    valid_to: datetime | None = Field(description="Until when it decided; null: it still does.")

    @classmethod
    def from_row(cls, row: ObjectVersion) -> Self:
        """The answer for a kept version."""
        kept: dict[str, Any] = {"tests": [], **row.content}
        return cls.model_validate(
            {
                **{name: kept[name] for name in ("name", "text", "mode", "tests")},
                "version": row.version,
                "valid_from": row.valid_from,
                "valid_to": row.valid_to,
            }
        )


class PolicyDiff(Strict):
    """What differs between two versions of a policy."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "from": "2",
                    "to": "draft",
                    "text": "--- 2\n+++ draft\n@@ -7 +7 @@\n-when { context.arguments.amount > 100 };\n"
                    "+when { context.arguments.amount > 50 };\n",
                    "changed": ["text"],
                }
            ]
        },
    )
    from_: str = Field(alias="from", description="The version that is compared, or `draft`.", examples=["2"])
    to: str = Field(description="The version that it is compared with, or `draft`.", examples=["draft"])
    text: str = Field(description="The texts as a unified diff; empty when they are the same.", examples=[""])
    changed: list[str] = Field(
        description="The fields that differ, among name, text, mode and tests.", examples=[["text"]]
    )


class VocabularyView(Strict):
    """What policies are written in."""

    model_config = ConfigDict(
        title="PolicySchema",
        extra="forbid",
        json_schema_extra={"examples": [{"version": 1, "cedar": "entity Group;", "tool": None}]},
    )
    version: int = Field(description="The version of the vocabulary. Within one, things are only added.")
    cedar: str = Field(description="A Cedar schema: entity types, actions and the context.")
    tool: str | None = Field(description="The tool whose arguments `context.arguments` has; null: of none.")
