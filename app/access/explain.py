"""Why a call is decided as it is: what ``decide`` answers, and all that it looked at on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.policy.evaluator import Considered, Evaluator
from app.access.situations import Scenes
from app.domain.access import Decision, Question, Surroundings, act_of, decide
from app.domain.considered import ConsideredLink, considered, lacking
from app.domain.errors import NotFound
from app.domain.objects import Address, Part, Server, Token
from app.domain.policy import UNNAMED, CallerProgram, PolicyInput
from app.domain.reach import widest_token, with_everything
from app.lib.ids import SERVER, parse_id
from app.models.grants import Grant as GrantRow
from app.models.policies import Policy


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be explained: an identity, or a token, that asks for something of a server.

    ``server``: its slug, or its id.
    """

    identity_id: UUID | None
    token_id: UUID | None
    server: str | None
    tool: str | None = None
    part: Part | None = None
    arguments: Mapping[str, object] | None = None
    address: Address | None = None
    program: CallerProgram = UNNAMED


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and what it was made of. ``token_id`` is None where the widest token of an identity was asked
    for; ``policies`` are by link, in the order of ``links``."""

    question: Question
    at: datetime
    token_id: UUID | None
    decision: Decision
    links: tuple[ConsideredLink, ...]
    policies: tuple[Sequence[Considered], ...]
    lacking: tuple[UUID, ...]
    once_given: Decision
    """What is decided with a new token of the identity that reaches it, and a grant that gives it."""
    group_of: Mapping[UUID, UUID] = field(default_factory=dict)
    policy_names: Mapping[UUID, str] = field(default_factory=dict)


async def explain(session: AsyncSession, scenes: Scenes, ask: Ask) -> Explanation:
    """Decide, and tell all that was considered. Raises ``NotFound``, ``Unavailable``, and ``Invalid`` for a moment
    before which nothing is known."""
    token, servers, around = await _found(scenes, ask)
    question = Question(
        token,
        _named(servers, ask.server),
        ask.tool,
        ask.arguments,
        ask.address,
        ask.part,
        ask.program,
    )
    links = considered(question, scenes.at)
    policies = tuple(_policies(question, around, scenes.at, link) for link in links)
    return Explanation(
        question,
        scenes.time,
        ask.token_id,
        decide(question, around, scenes.at),
        links,
        policies,
        lacking(question, links),
        decide(
            replace(question, token=widest_token(with_everything(question.token.identity))), around, scenes.at
        ),
        await _groups(session, [grant.id for link in links for grant, _ in link.grants]),
        await _names(session, {each.policy.published.id for found in policies for each in found}),
    )


async def _found(scenes: Scenes, ask: Ask) -> tuple[Token, Mapping[UUID, Server], Surroundings]:
    if ask.token_id is not None:
        token, servers, around = await scenes.token(ask.token_id)
        if token is None:
            raise NotFound("There is no such token, or there was none at that time.")
        return token, servers, around
    ids = [] if ask.identity_id is None else [ask.identity_id]
    scene = await scenes.of(ids)
    for identity in scene.identities.values():
        return widest_token(identity), scene.servers, scene.around
    raise NotFound("There is no such identity, or there was none at that time.")


def _named(servers: Mapping[UUID, Server], name: str | None) -> Server | None:
    if name is None:
        return None
    try:
        return servers.get(parse_id(SERVER, name))
    except ValueError:
        return next((server for server in servers.values() if server.slug == name), None)


def _policies(
    question: Question, around: Surroundings, at: float, link: ConsideredLink
) -> Sequence[Considered]:
    """What each policy did about a link, also where it was refused before policy was asked."""
    server, policies = question.server, around.policies
    tool = None if server is None or question.tool is None else server.tools.get(question.tool)
    if server is None or (question.tool is not None and tool is None) or not isinstance(policies, Evaluator):
        return ()
    return policies.consider(
        PolicyInput(
            act_of(question),
            link.token,
            server,
            tool,
            question.arguments,
            at,
            question.address,
            question.program,
        )
    )


async def _groups(session: AsyncSession, grants: Sequence[UUID]) -> dict[UUID, UUID]:
    """The groups that grants were made to, by grant."""
    statement = select(col(GrantRow.id), col(GrantRow.group_id)).where(
        col(GrantRow.id).in_(grants), col(GrantRow.group_id).is_not(None)
    )
    return {id: group for id, group in await session.execute(statement) if group is not None}


async def _names(session: AsyncSession, ids: set[UUID]) -> dict[UUID, str]:
    statement = select(col(Policy.id), col(Policy.name)).where(col(Policy.id).in_(ids))
    return {row[0]: row[1] for row in await session.execute(statement)}
