"""Request and answer models of policies."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints
from typing_extensions import TypeAliasType

from app.features.policies.case_schemas import PolicyTest
from app.http.pagination import CursorParameter, Limit, ListQuery
from app.http.schemas import CleanText, LongText, Name, Patch, ShortText, Strict, absent
from app.lib.ids import PolicyId
from app.models.audit import ObjectVersion
from app.models.policies import Policy

MOST_TESTS = 50
LONGEST_TEXT = 20_000
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
    StringConstraints(min_length=1, max_length=LONGEST_TEXT),
    CleanText,
    Field(
        description="Exactly one Cedar statement; see `docs/policy-reference.md`.", examples=[EXAMPLE_TEXT]
    ),
]
PolicyTests = Annotated[
    list[PolicyTest],
    Field(max_length=MOST_TESTS, description="What it is to decide; every publish runs them."),
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
