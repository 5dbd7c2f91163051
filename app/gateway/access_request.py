"""What a request asks of the evaluator, and decisions that hold for more requests than one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.admission.store import View
from app.domain.access import (
    Decision,
    PolicyContext,
    Question,
    all_dependencies,
    decide,
    has_same_verdicts,
    liveness,
)
from app.domain.objects import Address, Part, Server, Token
from app.domain.policy import UNNAMED, ApprovalDemand, CallerProgram, Effect
from app.domain.visibility import visible_parts, visible_tools
from app.lib.event_loop import in_slices

MAX_KNOWN = 10_000
"""Decisions that are kept for calls to come."""
USES = frozenset({"tool.call", "resource.read", "prompt.get"})
"""What approvals are asked for and quotas count. Reaching a server, lists, and what follows on a call need neither."""
NO_NAMES: frozenset[str] = frozenset()
NO_APPROVALS: frozenset[ApprovalDemand] = frozenset()


@dataclass(slots=True)
class AccessRequest:
    """What a request asks of the evaluator. Pure: it can be decided again on a newer view at any time.

    ``slug`` None asks about the fleet as a whole: may this token be here at all.
    """

    action: str
    slug: str | None
    address: Address | None
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    lists: bool = False
    part: Part | None = None
    parts: bool = False
    """Whether what the token may see beside tools is part of the answer."""
    refused: str | None = None
    """Why the gateway refuses the request itself, whatever the token may use: for the record."""
    program: CallerProgram = UNNAMED
    carries_more: Callable[[], bool] | None = None
    """Whether it carries what no approval covers, so that it can have none. Asked only when one is needed."""
    session_id: UUID | None = None
    """A session on the aggregate endpoint: ending it moves its version away from 0."""

    @property
    def shows(self) -> bool:
        """Whether it asks what may be seen of a server."""
        return self.slug is not None and (self.lists or self.parts)

    async def decide_visible(self, view: View, at: float) -> tuple[Decision, frozenset[str]]:
        """The names of tools, for a list, or of parts that may be seen, and the decision that stands for them.

        Others go on in between: each tool is decided.
        """
        show = visible_tools if self.lists else visible_parts
        decision, names = await in_slices(show(self._question(view, self.slug), view.context, at))
        return self._as_asked(decision), names

    def decide(self, view: View, at: float, known: "KnownDecisions | None" = None) -> Decision:
        """The decision. What may be seen of a server stands and falls with the reach of it, so of that alone."""
        decision = None if known is None or self.tool is None else known.find(view, self.slug, self.tool, at)
        if (
            decision is not None
            and decision.verdicts
            and not has_same_verdicts(decision, self._question(view, self.slug), view.context, at)
        ):
            decision = None
        if decision is None:
            decision = self._evaluate(view, at)
            if known is not None and self.tool is not None and decision.recurs:
                known.keep(view, self.slug, self.tool, decision)
        return self._as_asked(decision)

    def _as_asked(self, decision: Decision) -> Decision:
        """The decision with what this request brings along."""
        if decision.effect is Effect.REQUIRE_APPROVAL or decision.quotas:
            decision = self._demanding(decision)
        refused = self.refused
        if (
            refused is None
            and decision.effect is Effect.REQUIRE_APPROVAL
            and self.carries_more is not None
            and self.carries_more()
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
            # One for this call alone: to keep it would only take the place of one that comes again.
            depends_on = (*decision.depends_on, (self.session_id, 0))
            decision = replace(decision, depends_on=depends_on, for_any_call=False, verdicts=())
        return decision

    def _evaluate(self, view: View, at: float) -> Decision:
        if self.slug is None:
            return decide_presence(view, at, self.address)
        return decide(self._question(view, self.slug), view.context, at)

    def _question(self, view: View, slug: str | None) -> Question:
        # A call without arguments has none; a question without a call does not know them.
        arguments = {} if self.arguments is None and self.action == "tool.call" else self.arguments
        server = None if slug is None else view.servers.get(slug)
        return Question(view.token, server, self.tool, arguments, self.address, self.part, self.program)

    def _demanding(self, decision: Decision) -> Decision:
        """The decision with what it demands of this request: of one that is no use of its own, nothing."""
        if self.action in USES:
            return decision
        if decision.effect is not Effect.REQUIRE_APPROVAL:
            return replace(decision, quotas=())
        return replace(
            decision,
            effect=Effect.ALLOW,
            reason_code="granted",
            policy_ids=(),
            asks=(),
            quotas=(),
            reasons=(),
        )

    def reevaluate(
        self, view: View, at: float, approvals: frozenset[ApprovalDemand] = NO_APPROVALS
    ) -> Decision:
        """The same request on a newer view. ``approvals`` that a running call used still count, and no others."""
        decision = self.decide(view, at)
        if approvals and decision.attainable and approvals.issuperset(decision.asks):
            return replace(decision, effect=Effect.ALLOW)
        return decision


class KnownDecisions:
    """Decisions that are the answer again to calls of the same tool, by what is known of the same token: to any call,
    or to those that policy, asked again, gives the same verdict of.

    One is found for the very objects that it was made of and inside its span alone, so it is what ``decide`` would
    say; that nothing has changed meanwhile is found out by the admission, as ever. Those of other surroundings than the
    last are forgotten: they would be found no more, and keep alive all that their policies were compiled to.
    """

    def __init__(self) -> None:
        self._context: PolicyContext | None = None
        self._kept: dict[_Called, tuple[Token, Server | None, Decision]] = {}

    def find(self, view: View, slug: str | None, tool: str, at: float) -> Decision | None:
        """The decision, if it still holds."""
        kept = self._kept.get((view.token.id, slug, tool))
        if kept is None:
            return None
        token, server, decision = kept
        if (
            token is view.token
            and self._context is view.context
            and server is view.servers.get(slug or "")
            and decision.valid_from <= at < decision.valid_until
        ):
            return decision
        return None

    def keep(self, view: View, slug: str | None, tool: str, decision: Decision) -> None:
        """Keep one that ``recurs``."""
        if self._context is not view.context:
            self._context = view.context
            self._kept.clear()
        elif len(self._kept) >= MAX_KNOWN:
            del self._kept[next(iter(self._kept))]
        server = view.servers.get(slug or "")
        self._kept[view.token.id, slug, tool] = (view.token, server, decision)


_Called = tuple[UUID, str | None, str]


def decide_presence(view: View, at: float, address: Address | None) -> Decision:
    """Whether the token is live: what answers of the gateway's own rest on (the aggregate's initialize)."""
    stopped = liveness(view.token, at, address)
    versions, valid_from, valid_until = all_dependencies(view.token, (), view.context, at)
    effect = Effect.ALLOW if stopped is None else Effect.DENY
    return Decision(effect, stopped or "token_active", versions, valid_from, valid_until)
