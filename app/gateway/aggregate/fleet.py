"""What a token sees of the fleet, watched: whether lists on ``/mcp`` may have changed for it."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from uuid import UUID

from app.admission.store import View
from app.domain.access import POLICY_SET_ID, Decision, Question, decide, everything_read, liveness
from app.domain.objects import Address, Part, Version
from app.domain.policy import Effect
from app.gateway.asking import Ask
from app.lib.event_loop import in_slices

Kind = str
"""``tools``, ``prompts`` or ``resources``: what a list is of."""
TOOLS: Kind = "tools"
PROMPTS: Kind = Part.PROMPTS.value
RESOURCES: Kind = Part.RESOURCES.value


@dataclass(frozen=True, slots=True)
class Sight:
    """What lists hold, told by versions: two that are equal show the same lists, as far as we know of them."""

    tools: frozenset[Version]
    prompts: frozenset[UUID]
    resources: frozenset[UUID]

    def reaches(self, part: Part, server_id: UUID) -> bool:
        """Whether a part of a server is seen."""
        return server_id in (self.prompts if part is Part.PROMPTS else self.resources)

    def differs(self, other: "Sight") -> set[Kind]:
        """The lists that may differ from those of another."""
        return {
            kind
            for kind, mine, theirs in (
                (TOOLS, self.tools, other.tools),
                (PROMPTS, self.prompts, other.prompts),
                (RESOURCES, self.resources, other.resources),
            )
            if mine != theirs
        }


async def sight_of(view: View, at: float, address: Address | None) -> Sight:
    """What a token sees now. Others have their turn meanwhile: it may reach thousands of servers."""
    return await in_slices(_seen(view, at, address))


def _seen(view: View, at: float, address: Address | None) -> Generator[None, None, Sight]:
    tools, parts = set(_rights(view)), {part: set[UUID]() for part in Part}
    for server in view.within():
        yield
        question = Question(view.token, server, address=address)
        if decide(question, view.context, at).effect is Effect.DENY:
            continue
        tools.add((server.id, server.version))
        for part, reached in parts.items():
            question = Question(view.token, server, address=address, part=part)
            if decide(question, view.context, at).effect is not Effect.DENY:
                reached.add(server.id)
    return Sight(frozenset(tools), frozenset(parts[Part.PROMPTS]), frozenset(parts[Part.RESOURCES]))


def _rights(view: View) -> list[Version]:
    """What says which tools are seen of a server that is in reach."""
    versions = [(link.id, link.version) for link in view.token.chain()]
    versions.append((POLICY_SET_ID, view.context.policy_version))
    versions += [(grant.id, grant.version) for link in view.token.chain() for grant in link.identity.grants]
    return versions


@dataclass(slots=True)
class FleetAsk(Ask):
    """May the token be here: asked anew, and ``look`` called, whenever anything moves that its lists come from."""

    look: Callable[[View, float], None] | None = None

    def _decide(self, view: View, at: float) -> Decision:
        stopped = liveness(view.token, at, self.address)
        servers = tuple(view.within())
        versions, valid_from, valid_until = everything_read(view.token, servers, view.context, at)
        effect = Effect.ALLOW if stopped is None else Effect.DENY
        return Decision(effect, stopped or "token_active", versions, valid_from, valid_until)

    def redecide(self, view: View, at: float) -> Decision:
        """The same question on a newer view."""
        decision = self.answer(view, at)
        if decision.allowed and self.look is not None:
            self.look(view, at)
        return decision
