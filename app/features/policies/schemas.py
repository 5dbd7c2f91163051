"""Request and response models of policies and of their test cases."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StringConstraints, model_validator
from typing_extensions import TypeAliasType

from app.domain.risk import Risk
from app.features.audit.schemas import AuditDecision
from app.features.identities.schemas import IdentityAttributes, IdentityKind
from app.features.servers.schemas import Slug
from app.features.tools.schemas import JsonSchema
from app.http.pagination import ORDER, CursorParameter, Limit, ListQuery
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
    example,
    rule,
)
from app.http.selectors import Labels, ToolName
from app.lib import strict_json
from app.lib.ids import GroupId, IdentityId, PolicyId
from app.models.access import Policy
from app.models.audit import ObjectVersion

MAX_BYTES = 16_384
MAX_GROUPS = 100
MAX_TOKEN_DEPTH = 5
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
PolicyAction = TypeAliasType(
    "PolicyAction",
    Annotated[
        Literal["call_tool", "use_resources", "use_prompts", "use_server"],
        Field(description="The action, by its name in policies."),
    ],
)


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    """Require JSON that the gateway accepts, of limited size."""
    try:
        written = strict_json.dumps(value)
        strict_json.loads(written)
    except ValueError:
        raise ValueError("not JSON that a call can have") from None
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
    """Require a time that has a day before and after it in any zone."""
    if not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise ValueError(f"a time in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return time


PolicyTestSchema = Annotated[JsonSchema, AfterValidator(_storable)]


class PolicyTestOwner(Strict):
    """The owner of an agent: an existing identity by its id, or a described one."""

    model_config = example(
        {"groups": ["grp_01jdpnwz00e008000000000000"], "attributes": {"department": "finance"}},
        allOf=[{"anyOf": [rule(without=["id"]), rule(given=["id"]) | {"maxProperties": 1}]}],
    )
    id: IdentityId | None = Field(
        default=None, description="An existing identity; then leave out all other fields."
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
            raise ValueError("give only the id of an identity, or describe one without an id")
        return self


class PolicyTestIdentity(PolicyTestOwner):
    """The caller: an existing identity by its id, or a described one."""

    kind: IdentityKind = "person"
    owner: PolicyTestOwner | None = Field(default=None, description="Its owner, if it is an agent.")


class PolicyTestClient(Strict):
    """The MCP client, by the name that it sends."""

    name: ShortText | None = Field(default=None, description="Its name.", examples=["claude-code"])
    version: ShortText | None = Field(default=None, description="Its version.", examples=["1.0"])


# Without an action it is a tool call.
_ACTION_IS_A_CALL: dict[str, Any] = {"properties": {"action": {"const": "call_tool"}}}


class PolicyTestRequest(Strict):
    """A request as policies see it. Fields of an existing server or tool default to its own."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {
                    "oneOf": [
                        {"allOf": [rule(given=["tool"]), _ACTION_IS_A_CALL]},
                        {"allOf": [rule(given=["action"], without=["tool"]), {"not": _ACTION_IS_A_CALL}]},
                    ]
                }
            ]
        }
    )
    identity: PolicyTestIdentity = Field(
        default_factory=PolicyTestIdentity, description="The caller; by default a person in no group."
    )
    action: PolicyAction = "call_tool"
    server: Slug = Field(description="The slug of the server.", examples=["payments"])
    tool: ToolName | None = Field(
        default=None, description="The tool; required for `call_tool`, and only there.", examples=["refund"]
    )
    labels: Labels | None = Field(default=None, description="Labels, instead of those of the server.")
    risk: Risk | None = Field(default=None, description="A risk, instead of that of the tool.")
    input_schema: PolicyTestSchema | None = Field(
        default=None, description="An input schema, instead of that of the tool."
    )
    arguments: PolicyTestArguments = Field(default_factory=dict)
    time: Annotated[Time, AfterValidator(_of_our_days)] | None = Field(
        default=None, description="The time; by default, when the test runs."
    )
    ip: IpAddress | None = Field(default=None, description="The client address.")
    client: PolicyTestClient = Field(
        default_factory=PolicyTestClient, description="The client program; by default one without a name."
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
    """A request, and the expected decision of all published policies and this one."""

    model_config = example(
        {
            "name": "A large refund needs an approval",
            "request": {"server": "payments", "tool": "refund", "arguments": {"amount": 250}},
            "expect": "require_approval",
        }
    )
    name: Name = Field(description="What it verifies.", examples=["A large refund needs an approval"])
    request: PolicyTestRequest
    expect: AuditDecision


class PolicyTestResult(Strict):
    """The result of one test."""

    name: str = Field(description="What it verifies.", examples=["A large refund needs an approval"])
    passed: bool = Field(description="Whether the decision is the expected one.")
    expected: AuditDecision
    decision: AuditDecision
    reason_code: str = Field(
        description="The reason code, as in audit events.", examples=["approval_required"]
    )
    policy_ids: list[PolicyId] = Field(description="The policies that decided.")


class PolicyTestReport(Strict):
    """The results of a policy's tests."""

    passed: bool = Field(description="Whether all of them passed.")
    results: list[PolicyTestResult] = Field(description="One result per test, in order.")


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
        Field(
            description="`observe`: it decides nothing; audit events name it when it would have changed the decision."
        ),
    ],
)
PolicyStatus = TypeAliasType(
    "PolicyStatus",
    Annotated[
        Literal["draft", "published", "ended"],
        Field(description="Only a `published` policy decides, by the last published text."),
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
    list[PolicyTest], Field(max_length=MAX_TESTS, description="Expected decisions, checked at every publish.")
]


class PolicyCreate(Strict):
    """A new policy draft, which decides nothing until it is published."""

    model_config = example({"name": "Large refunds", "text": EXAMPLE_TEXT})
    name: Name = Field(description="Unique among policies that have not ended, ignoring case.")
    description: LongText | None = None
    text: PolicyText
    mode: PolicyMode = "enforce"
    tests: PolicyTests = Field(default_factory=list)


class PolicyUpdate(Patch):
    """Changes to a policy's draft; the published version stays until the next publish."""

    model_config = example({"mode": "observe"})
    name: Name = absent()
    description: LongText | None = None
    text: PolicyText = absent()
    mode: PolicyMode = absent()
    tests: PolicyTests = absent()


class PolicyRollback(Strict):
    """The earlier version to publish again."""

    model_config = example({"version": 2})
    version: StrictInt = Field(ge=1, le=2**31 - 1, description="A version that was published before.")


class PolicyWarning(Strict):
    """A possible mistake in a policy, which does not prevent publishing."""

    code: str = Field(description="A stable code, snake_case.", examples=["unknown_tool"])
    detail: str = Field(description="A description.", examples=["There is no tool git/git_lag."])
    line: int = Field(description="The line in the text, from 1.", examples=[3])
    column: int = Field(description="The column in the text, from 1.", examples=[11])


class PolicyView(Strict):
    """A Cedar policy: its draft, and its published version."""

    model_config = example(
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
    )
    id: PolicyId
    name: str
    description: str | None = Field(description="What it is for.")
    text: str = Field(description="The text of the draft: exactly one Cedar statement.")
    mode: PolicyMode = Field(description="The mode of the draft.")
    tests: list[PolicyTest] = Field(description="The tests of the draft.")
    status: PolicyStatus
    version: int | None = Field(description="The number of the published version; null: never published.")
    published_text: str | None = Field(description="The published text; null while none is.")
    published_mode: PolicyMode | None = Field(description="The published mode.")
    published_at: datetime | None = Field(description="When it was published.")
    unpublished_changes: bool = Field(description="Whether the draft differs from the published version.")
    warnings: list[PolicyWarning] | None = Field(
        description="Possible mistakes at this time; null in lists, which do not check."
    )
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Policy, warnings: Sequence[PolicyWarning] | None) -> Self:
        """Build the view of a stored policy."""
        changes = (row.text, row.mode) != (row.published_text, row.published_mode)
        computed = {"unpublished_changes": changes, "warnings": warnings and list(warnings)}
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)) | computed)


class PolicyChange(Strict):
    """The result of a change to a policy, or of its preview."""

    changed: bool = Field(description="Whether the published policies changed.")
    failed_tests: int = Field(description="Number of failed tests that `ignore_failed_tests` ignored.")
    policy: PolicyView


PolicyOrder = TypeAliasType("PolicyOrder", Annotated[Literal["-created_at", "created_at"], ORDER])


class PolicyQuery(ListQuery):
    """Filters of the list of policies; each can be repeated, and then any of its values matches."""

    name: list[ShortText] = Field(default_factory=list)
    status: list[PolicyStatus] = Field(default_factory=list)
    mode: list[PolicyMode] = Field(
        default_factory=list,
        description="Only policies with this published mode, or draft mode if unpublished.",
    )
    q: ShortText | None = Field(default=None, description="Text in name, description or the policy itself.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too, to callers who may read the audit log."
    )
    sort: PolicyOrder = Field(default="-created_at", description="The sort order of the list.")

    def includes_ended(self) -> bool:
        """Whether the list may contain ended policies."""
        return self.include is not None or "ended" in self.status


class PolicyVersionQuery(Strict):
    """Pagination of a policy's versions."""

    include: Literal["ended"] | None = Field(
        default=None, description="`ended`: also when the policy has ended; needs `audit.read`."
    )
    limit: Limit = 50
    cursor: CursorParameter = None


class PolicyVersionView(Strict):
    """A published version of a policy, and the time in which it decided."""

    model_config = example(
        {
            "version": 2,
            "name": "Large refunds",
            "text": EXAMPLE_TEXT,
            "mode": "enforce",
            "tests": [],
            "valid_from": "2026-01-05T09:00:00Z",
            "valid_to": None,
        },
        title="PolicyVersion",
    )
    version: int = Field(description="Its number, from 1.")
    name: str = Field(description="The name of the policy then.")
    text: str = Field(description="The published text.")
    mode: PolicyMode
    tests: list[PolicyTest] = Field(description="The tests published with it.")
    valid_from: datetime = Field(description="When it began to decide.")
    valid_to: datetime | None = Field(description="When it stopped deciding; null: it still decides.")

    @classmethod
    def from_row(cls, row: ObjectVersion) -> Self:
        """Build the view of a version."""
        # By name: a newer replica may have stored more.
        shown = {name: row.content[name] for name in ("name", "text", "mode", "tests") if name in row.content}
        times = {"version": row.version, "valid_from": row.valid_from, "valid_to": row.valid_to}
        return cls.model_validate({"tests": [], **shown, **times})


class PolicyDiff(Strict):
    """The differences between two versions of a policy."""

    model_config = example(
        {
            "from": "2",
            "to": "draft",
            "text": "--- 2\n+++ draft\n@@ -7 +7 @@\n-when { context.arguments.amount > 100 };\n"
            "+when { context.arguments.amount > 50 };\n",
            "changed": ["text"],
        }
    )
    from_: str = Field(alias="from", description="The first version, or `draft`.", examples=["2"])
    to: str = Field(description="The second version, or `draft`.", examples=["draft"])
    text: str = Field(description="The texts as a unified diff; empty when they are the same.", examples=[""])
    changed: list[str] = Field(
        description="The fields that differ, among name, text, mode and tests.", examples=[["text"]]
    )


class VocabularyView(Strict):
    """The vocabulary of policies."""

    model_config = example({"version": 1, "cedar": "entity Group;", "tool": None}, title="PolicySchema")
    version: int = Field(description="The version of the vocabulary. Within a version, it is only extended.")
    cedar: str = Field(description="A Cedar schema: entity types, actions and the context.")
    tool: str | None = Field(description="The tool for the type of `context.arguments`; null: none.")
