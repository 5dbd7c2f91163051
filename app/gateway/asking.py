"""What a request asks of the evaluator, and the answers that hold for more requests than one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.admission.store import View
from app.domain.access import (
    Decision,
    PolicyContext,
    Question,
    decide,
    everything_read,
    has_same_verdicts,
    liveness,
)
from app.domain.objects import Address, Part, Server, Token
from app.domain.policy import UNNAMED, CallerProgram, Effect
from app.domain.visibility import visible_parts, visible_tools
from app.lib.event_loop import in_slices

MAX_KNOWN = 10_000
"""Decisions that are kept for calls to come."""
USES = frozenset({"tool.call", "resource.read", "prompt.get"})
"""What approvals are asked for and quotas count. Reaching a server, lists, and what follows on a call need neither."""

NO_NAMES: frozenset[str] = frozenset()


@dataclass(slots=True)
class Ask:
    """What a request asks, so that it can be decided again on a newer view.

    ``slug`` None asks about the fleet as a whole: may this token be here at all.
    """

    action: str
    method: str
    slug: str | None
    address: Address | None
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    beside: object = None
    """What is asked of a prompt beside its name, which policies do not read: bound and kept with the rest."""
    lists: bool = False
    part: Part | None = None
    parts: bool = False
    """Whether what the token may see beside tools is part of the answer."""
    refused: str | None = None
    """Why the gateway refuses the request itself, whatever the token may use: for the record."""
    program: CallerProgram = UNNAMED
    reason: str | None = None
    """Why the caller wants it, for those who are asked to approve it."""
    continues: UUID | None = None
    """The call of which this is the next round, where that is proven: approvals that it had go over to this one."""
    uncovered: bool = False
    """It carries what no approval covers, so it can have none."""
    bound: object = None
    """What an approval covers in addition to name and arguments: JSON."""
    session_id: UUID | None = None
    """A session on the aggregate endpoint: ending it moves its version away from 0."""

    @property
    def shows(self) -> bool:
        """Whether it asks what may be seen of a server."""
        return self.slug is not None and (self.lists or self.parts)

    async def seen(self, view: View, at: float) -> tuple[Decision, frozenset[str]]:
        """The names of tools, for a list, or of parts that may be seen, and the decision that stands for them.

        Others go on in between: each tool is decided.
        """
        show = visible_tools if self.lists else visible_parts
        decision, names = await in_slices(show(self._question(view, self.slug), view.context, at))
        return self._as_asked(decision), names

    def answer(self, view: View, at: float, known: "KnownDecisions | None" = None) -> Decision:
        """The decision. What may be seen of a server stands and falls with the reach of it, so of that alone."""
        decision = None if known is None or self.tool is None else known.find(view, self.slug, self.tool, at)
        if (
            decision is not None
            and decision.verdicts
            and not has_same_verdicts(decision, self._question(view, self.slug), view.context, at)
        ):
            decision = None
        if decision is None:
            decision = self._decide(view, at)
            if known is not None and self.tool is not None and decision.recurs:
                known.keep(view, self.slug, self.tool, decision)
        return self._as_asked(decision)

    def _as_asked(self, decision: Decision) -> Decision:
        """The decision with what this request brings along."""
        if decision.effect is Effect.REQUIRE_APPROVAL or decision.quotas:
            decision = self._demanding(decision)
        refused = self.refused
        if refused is None and self.uncovered and decision.effect is Effect.REQUIRE_APPROVAL:
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

    def _decide(self, view: View, at: float) -> Decision:
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

    def redecide(self, view: View, at: float) -> Decision:
        """The same question on a newer view."""
        return self.answer(view, at)

    def redecide_with(self, had: Decision) -> Callable[[View, float], Decision]:
        """The same question of a call that runs: approvals that it had count still, and no others."""
        if not had.asks:
            return self.redecide
        granted = frozenset(had.asks)

        def again(view: View, at: float) -> Decision:
            fresh = self.redecide(view, at)
            if fresh.attainable and granted.issuperset(fresh.asks):
                return replace(fresh, effect=Effect.ALLOW)
            return fresh

        return again


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
    versions, valid_from, valid_until = everything_read(view.token, (), view.context, at)
    effect = Effect.ALLOW if stopped is None else Effect.DENY
    return Decision(effect, stopped or "token_active", versions, valid_from, valid_until)
