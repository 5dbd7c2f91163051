"""Where policy enters a decision: the protocol that an evaluator satisfies, and the built-in permit."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Protocol
from uuid import UUID


class Effect(StrEnum):
    """What is decided about one request."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """What a policy may read of one call. ``arguments`` is the object that will be forwarded."""

    identity_id: UUID
    token_id: UUID
    server_id: UUID
    tool: str | None
    arguments: Mapping[str, object] | None
    at: float


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """The answer of the policy set, and the span (Unix seconds) in which its time rules do not change.

    ``reads_call``: another call of the same tool with the same token could be judged otherwise.
    """

    effect: Effect
    reason_code: str
    policy_ids: tuple[UUID, ...] = ()
    valid_from: float = -inf
    valid_until: float = inf
    reads_call: bool = True


class PolicyEvaluator(Protocol):
    """A compiled, immutable policy set. Pure: it reads nothing but its input."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        """Decide one request. An error inside a policy is a deny with ``policy_error``, never a permit."""
        ...


_PERMITTED = PolicyVerdict(Effect.ALLOW, "granted", reads_call=False)


class GrantedIsAllowed:
    """The set without published policies: what is granted is allowed."""

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        return _PERMITTED
