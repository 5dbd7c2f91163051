"""The access check of a gateway request, and a cache of decisions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.admission.store import View
from app.domain.access import (
    AccessRequest,
    Decision,
    PolicyContext,
    all_dependencies,
    decide,
    has_same_verdicts,
    liveness,
)
from app.domain.objects import Address, Part, Server, Token
from app.domain.policy import UNNAMED, ApprovalDemand, CallerProgram, Effect
from app.domain.visibility import visible_parts, visible_tools
from app.lib.event_loop import in_slices

MAX_DECISIONS = 10_000
"""Maximum number of cached decisions."""
USES = frozenset({"tool.call", "resource.read", "prompt.get"})
"""Actions that approvals and quotas apply to. Lists, and requests that follow a call, need neither."""
NO_NAMES: frozenset[str] = frozenset()
NO_APPROVALS: frozenset[ApprovalDemand] = frozenset()


@dataclass(slots=True)
class AccessCheck:
    """What a request needs access to. It has no side effects and can be decided again on a newer view.

    With ``slug`` None, the check is only whether the token is live.
    """

    action: str
    slug: str | None
    address: Address | None
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    lists: bool = False
    part: Part | None = None
    parts: bool = False
    """Whether the answer includes the visible parts of a server: prompts and resources."""
    refused: str | None = None
    """A reason code with which the gateway refuses the request regardless of access."""
    program: CallerProgram = UNNAMED
    exceeds_approval: Callable[[], bool] | None = None
    """Whether the request has content that an approval does not cover. Called only when an approval is needed."""
    session_id: UUID | None = None
    """A session on the aggregate endpoint. Ending it changes its version from 0."""

    async def decide_visible(self, view: View, at: float) -> tuple[Decision, frozenset[str]]:
        """Decide, and return the visible tools (for a list) or parts.

        Runs in slices, because each tool is decided and the event loop must not block.
        """
        show = visible_tools if self.lists else visible_parts
        decision, names = await in_slices(show(self._request(view, self.slug), view.context, at))
        return self._apply_request(decision), names

    def decide(self, view: View, at: float, cache: "DecisionCache | None" = None) -> Decision:
        """Decide the request. A list is decided by whether the server is in reach."""
        decision = None if cache is None or self.tool is None else cache.get(view, self.slug, self.tool, at)
        if (
            decision is not None
            and decision.verdicts
            and not has_same_verdicts(decision, self._request(view, self.slug), view.context, at)
        ):
            decision = None
        if decision is None:
            decision = self._evaluate(view, at)
            if cache is not None and self.tool is not None and decision.recurs:
                cache.put(view, self.slug, self.tool, decision)
        # The usual case, which ``_apply_request`` leaves unchanged.
        if (
            decision.effect is Effect.ALLOW
            and not decision.quotas
            and self.refused is None
            and self.session_id is None
        ):
            return decision
        return self._apply_request(decision)

    def _apply_request(self, decision: Decision) -> Decision:
        """Adjust a decision to this request: its action, refusal and session."""
        if self.action not in USES:
            # Approvals and quotas do not apply to this action.
            if decision.effect is Effect.REQUIRE_APPROVAL:
                decision = replace(
                    decision,
                    effect=Effect.ALLOW,
                    reason_code="granted",
                    policy_ids=(),
                    asks=(),
                    quotas=(),
                    reasons=(),
                )
            elif decision.quotas:
                decision = replace(decision, quotas=())
        refused = self.refused
        if (
            refused is None
            and decision.effect is Effect.REQUIRE_APPROVAL
            and self.exceeds_approval is not None
            and self.exceeds_approval()
        ):
            refused = "not_covered_by_approval"
        if refused is not None and decision.attainable:
            decision = replace(
                decision,
                effect=Effect.DENY,
                reason_code=refused,
                grant_id=None,
                for_any_call=False,
                verdicts=(),
                asks=(),
                quotas=(),
                reasons=(),
            )
        if self.session_id is not None:
            # Such a decision applies to this call only, so caching it would evict a reusable one.
            depends_on = (*decision.depends_on, (self.session_id, 0))
            decision = replace(decision, depends_on=depends_on, for_any_call=False, verdicts=())
        return decision

    def _evaluate(self, view: View, at: float) -> Decision:
        if self.slug is None:
            return decide_liveness(view, at, self.address)
        return decide(self._request(view, self.slug), view.context, at)

    def _request(self, view: View, slug: str | None) -> AccessRequest:
        # A call without arguments has empty arguments; for other actions, the arguments are unknown.
        arguments = {} if self.arguments is None and self.action == "tool.call" else self.arguments
        server = None if slug is None else view.servers.get(slug)
        return AccessRequest(view.token, server, self.tool, arguments, self.address, self.part, self.program)

    def reevaluate(
        self, view: View, at: float, approvals: frozenset[ApprovalDemand] = NO_APPROVALS
    ) -> Decision:
        """Decide the request on a newer view. Only ``approvals`` that the running call used still count."""
        decision = self.decide(view, at)
        if approvals and decision.attainable and approvals.issuperset(decision.asks):
            return replace(decision, effect=Effect.ALLOW)
        return decision


class DecisionCache:
    """Reusable decisions, by token, server and tool.

    An entry is used only with the same objects and within its time span, so it equals what ``decide`` would return.
    Admission still verifies that nothing has changed. When the policy context changes, all entries are dropped, because
    they could not be used and would keep the old compiled policies in memory.
    """

    def __init__(self) -> None:
        self._context: PolicyContext | None = None
        self._decisions: dict[_Key, tuple[Token, Server | None, Decision]] = {}

    def get(self, view: View, slug: str | None, tool: str, at: float) -> Decision | None:
        """Return a cached decision that is still valid."""
        entry = self._decisions.get((view.token.id, slug, tool))
        if entry is None:
            return None
        token, server, decision = entry
        if (
            token is view.token
            and self._context is view.context
            and server is view.servers.get(slug or "")
            and decision.valid_from <= at < decision.valid_until
        ):
            return decision
        return None

    def put(self, view: View, slug: str | None, tool: str, decision: Decision) -> None:
        """Cache a decision for which ``recurs`` is true."""
        if self._context is not view.context:
            self._context = view.context
            self._decisions.clear()
        elif len(self._decisions) >= MAX_DECISIONS:
            del self._decisions[next(iter(self._decisions))]
        server = view.servers.get(slug or "")
        self._decisions[view.token.id, slug, tool] = (view.token, server, decision)


_Key = tuple[UUID, str | None, str]


def decide_liveness(
    view: View, at: float, address: Address | None, servers: tuple[Server, ...] = ()
) -> Decision:
    """Decide whether the token is live, for answers of the gateway itself (such as ``initialize`` on ``/mcp``).

    The decision also depends on ``servers``.
    """
    stopped = liveness(view.token, at, address)
    versions, valid_from, valid_until = all_dependencies(view.token, servers, view.context, at)
    effect = Effect.ALLOW if stopped is None else Effect.DENY
    return Decision(effect, stopped or "token_active", versions, valid_from, valid_until)
