"""Where policy enters a decision: what an evaluator reads, what it answers, and the built-in permit."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple, Protocol
from uuid import UUID

from app.domain.objects import Address, Server, Token, Tool


class Effect(StrEnum):
    """What is decided about one request."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class Act(StrEnum):
    """What is asked to be done, as policies name it."""

    CALL_TOOL = "call_tool"
    USE_RESOURCES = "use_resources"
    USE_PROMPTS = "use_prompts"
    USE_SERVER = "use_server"


class CallerProgram(NamedTuple):
    """The MCP client program, as it calls itself."""

    name: str | None = None
    version: str | None = None


UNNAMED = CallerProgram()


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """What a policy may read of one request: the token, or an ancestor of it, whose identity is the principal.

    ``arguments`` is the object that will be forwarded. ``None``: they are not known, since it is asked what a call
    may be met with (a list, a task that was called before); a policy that reads them then stands aside.
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
    """A policy that a person of the named group has to approve this call.

    ``version`` is the policy's own; ``reason`` is what it has callers and approvers told.
    """

    policy_id: UUID
    version: int
    group: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaDemand:
    """One use to be reserved, before the call, of what a policy lets an identity have in a window.

    ``key`` names policy, identity and tool; the window is [``start``, ``end``) in Unix seconds. ``reason`` is what
    the policy has those told who have used it up.
    """

    policy_id: UUID
    key: str
    limit: int
    start: float
    end: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """The answer of the policy set, and the span (Unix seconds) in which its time rules do not change.

    ``policy_ids`` decided, and ``reasons`` are what they have the caller told. ``asks``, of a ``REQUIRE_APPROVAL``,
    and ``quotas``, of whatever is not denied, must be had before the call runs. ``observed`` would have decided
    otherwise, were they enforced. ``reads_call``: another call of the same tool with the same token could be judged
    otherwise. ``reads_groups``: it holds only while the groups of the identity, and of its owner, are what they are.
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
    """A compiled, immutable policy set. Pure: it reads nothing but its input."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        """Decide one request. An error inside a policy is a deny with ``policy_error``, never a permit."""
        ...


_PERMITTED = PolicyVerdict(Effect.ALLOW, "granted", reads_call=False, reads_groups=False)


class GrantedIsAllowed:
    """The set without published policies: what is granted is allowed."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        return _PERMITTED
