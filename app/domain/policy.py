"""The interface of policy evaluators: their input and verdict, and the evaluator without policies."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple, Protocol
from uuid import UUID

from app.domain.objects import Address, Server, Token, Tool


class Effect(StrEnum):
    """The effect of a decision."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class Act(StrEnum):
    """The Cedar actions."""

    CALL_TOOL = "call_tool"
    USE_RESOURCES = "use_resources"
    USE_PROMPTS = "use_prompts"
    USE_SERVER = "use_server"


class CallerProgram(NamedTuple):
    """The name and version that the MCP client program reports."""

    name: str | None = None
    version: str | None = None


UNNAMED = CallerProgram()


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """The input of a policy evaluation. The principal is the identity of ``token``, a token or one of its ancestors.

    ``arguments`` is the object that will be forwarded. It is ``None`` when the arguments are unknown, as for a list or
    an earlier task; policies that read arguments are then skipped.
    """

    act: Act
    token: Token
    server: Server
    tool: Tool | None
    arguments: Mapping[str, object] | None
    at: float
    address: Address | None = None
    program: CallerProgram = UNNAMED


@dataclass(frozen=True, slots=True)
class ApprovalDemand:
    """A policy's demand that a member of the named group approves this call.

    ``version`` is that of the policy; ``reason`` is its text for callers and approvers.
    """

    policy_id: UUID
    version: int
    group: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaDemand:
    """A policy's demand that the call uses one unit of a quota.

    ``key`` names policy, identity and tool; the window is [``start``, ``end``) in Unix seconds. ``reason`` is the
    policy's text for callers who have used up the quota.
    """

    policy_id: UUID
    key: str
    limit: int
    start: float
    end: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """The verdict of the policy set, and the span (Unix seconds) in which its time rules do not change.

    ``policy_ids`` are the policies that decided, and ``reasons`` are their texts for the caller. The call runs only
    with the approvals of ``asks`` and the uses of ``quotas``. ``observed`` policies would have decided differently if
    they were enforced. ``reads_call``: another call of the same tool with the same token could get another verdict.
    ``reads_groups``: the verdict depends on the groups of the identity and its owner.
    """

    effect: Effect
    reason_code: str
    policy_ids: tuple[UUID, ...] = ()
    valid_from: float = -inf
    valid_until: float = inf
    reads_call: bool = True
    reads_groups: bool = True
    asks: tuple[ApprovalDemand, ...] = ()
    quotas: tuple[QuotaDemand, ...] = ()
    observed: tuple[UUID, ...] = ()
    reasons: tuple[str, ...] = ()


class PolicyEvaluator(Protocol):
    """A compiled, immutable policy set. Pure: it reads only its input."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        """Decide one request. An error inside a policy is a deny with ``policy_error``, never a permit."""
        ...


_PERMITTED = PolicyVerdict(Effect.ALLOW, "granted", reads_call=False, reads_groups=False)


class GrantedIsAllowed:
    """The evaluator without published policies: everything granted is allowed."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        return _PERMITTED
