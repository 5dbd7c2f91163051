"""The one place that answers "may this token do this now, and why".

The effective right is *token scope ∩ the identity's live grants ∩ policy*, for the token and for every
ancestor it was attenuated from. The module is pure: all state comes in as values, the time too (Unix seconds).
Besides the answer it tells what the answer rests on, as (object id, version) pairs, and the span of time in
which no clock rule that it read changes, so that admission can prove the answer still current.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import inf
from uuid import UUID

from app.domain.policy import Effect, PolicyEvaluator, PolicyInput, PolicyVerdict
from app.domain.risk import Risk
from app.domain.scopes import (
    Scope,
    ServerSelector,
    ToolSelector,
    scope_reaches_part,
    scope_reaches_server,
    scope_reaches_tool,
)

# Two fixed objects that decisions rest on beside the ones with ids of their own.
POLICY_SET_ID = UUID("00000000-0000-7000-8000-000000000001")
FLEET_ID = UUID("00000000-0000-7000-8000-000000000002")

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Version = tuple[UUID, int]


class IdentityStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    OFFBOARDED = "offboarded"


class Part(StrEnum):
    """What a server has beside its tools; a grant says of each whether it reaches it."""

    RESOURCES = "resources"
    PROMPTS = "prompts"


class ToolState(StrEnum):
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Grant:
    """A durable entitlement of an identity or of a group that the identity is in."""

    id: UUID
    version: int
    servers: ServerSelector
    tools: ToolSelector
    resources: bool
    prompts: bool
    not_before: float = -inf
    expires_at: float = inf


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or agent with everything its rights come from. ``grants`` holds its own and its groups'."""

    id: UUID
    version: int
    status: IdentityStatus
    owner: "Identity | None" = None
    groups: tuple[Version, ...] = ()
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A scoped token with its ancestors."""

    id: UUID
    version: int
    identity: Identity
    scope: Scope
    expires_at: float
    revoked: bool = False
    ip_allow: tuple[Network, ...] = ()
    parent: "Token | None" = None

    def chain(self) -> Iterator["Token"]:
        """The token itself, then its ancestors."""
        token: Token | None = self
        while token is not None:
            yield token
            token = token.parent


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it was approved. ``approved_digest`` is the digest a live definition must have.

    ``header_schema`` is the input schema, kept only where it mirrors arguments into headers.
    """

    id: UUID
    name: str
    risk: Risk
    state: ToolState
    approved_digest: bytes | None
    header_schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A registered server with its catalogue, by exact tool name."""

    id: UUID
    version: int
    slug: str
    enabled: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    instructions: bytes | None = None
    """The digest of what it may say of its use; ``None``: nothing was approved."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a decision reads beside token and server: versions of the fleet and policy set, and the set itself."""

    fleet_version: int
    policy_version: int
    policies: PolicyEvaluator


@dataclass(frozen=True, slots=True)
class Question:
    """One thing asked: reach a server, call one of its tools (``tool``), or use another ``part`` of it.

    ``server`` is None when the slug is not known.
    """

    token: Token
    server: Server | None
    tool: str | None = None
    arguments: Mapping[str, object] | None = None
    address: Address | None = None
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. ``rests_on`` and the span [``valid_from``, ``valid_until``) say while what it holds.

    ``for_any_call``: an allow of every call of this tool with this token, whatever its arguments and address.
    """

    effect: Effect
    reason_code: str
    rests_on: tuple[Version, ...]
    valid_from: float
    valid_until: float
    grant_id: UUID | None = None
    tool: Tool | None = None
    policy_ids: tuple[UUID, ...] = ()
    for_any_call: bool = False

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW


def liveness(token: Token, at: float, address: Address | None) -> str | None:
    """Why the credential opens nothing at all, or ``None`` when it is live.

    All of these are the same 401 outside; inside, the reason goes to the audit.
    """
    for link in token.chain():
        if link.revoked:
            return "token_revoked"
        if at >= link.expires_at:
            return "token_expired"
        if link.ip_allow and (address is None or not any(address in net for net in link.ip_allow)):
            return "address_not_allowed"
        reason = _identity_stopped(link.identity)
        if reason is not None:
            return reason
    return None


def _identity_stopped(identity: Identity) -> str | None:
    if identity.status is not IdentityStatus.ACTIVE:
        return f"identity_{identity.status}"
    if identity.owner is not None and identity.owner.status is not IdentityStatus.ACTIVE:
        return f"owner_{identity.owner.status}"
    return None


def decide(question: Question, around: Surroundings, at: float) -> Decision:
    """Decide one question at a time. Unknown is denied; nothing is ever allowed by default."""
    token, server = question.token, question.server
    stopped = liveness(token, at, question.address)
    if stopped is not None:
        return _deny(question, around, at, stopped)
    if server is None:
        return _deny(question, around, at, "server_unknown")
    if not server.enabled:
        return _deny(question, around, at, "server_disabled")
    tool: Tool | None = None
    if question.tool is not None:
        tool = server.tools.get(question.tool)
        if tool is None or tool.state is ToolState.REMOVED:
            return _deny(question, around, at, "tool_unknown")
    used: list[Grant] = []
    for link in token.chain():
        if not _scope_reaches(link.scope, server, tool, question.part):
            return _deny(question, around, at, "outside_scope")
        grant = _live_grant(link.identity, server, tool, question.part, at)
        if grant is None:
            return _deny(question, around, at, "no_grant")
        used.append(grant)
    if tool is not None and tool.state is ToolState.QUARANTINED:
        return _deny(question, around, at, "tool_quarantined", tool)
    return _apply_policy(question, around, at, server, tool, used)


def _apply_policy(
    question: Question, around: Surroundings, at: float, server: Server, tool: Tool | None, used: list[Grant]
) -> Decision:
    token = question.token
    verdict = _verdict(question, around, at, server)
    if verdict.effect is Effect.DENY:
        return _deny(question, around, at, verdict.reason_code, tool, verdict)
    valid_from = max(verdict.valid_from, *(grant.not_before for grant in used))
    valid_until = min(
        verdict.valid_until,
        *(grant.expires_at for grant in used),
        *(link.expires_at for link in token.chain()),
    )
    return Decision(
        effect=verdict.effect,
        reason_code=verdict.reason_code,
        rests_on=(
            *_credential_versions(token),
            (POLICY_SET_ID, around.policy_version),
            (server.id, server.version),
            *dict.fromkeys((grant.id, grant.version) for grant in used),
        ),
        valid_from=valid_from,
        valid_until=valid_until,
        grant_id=used[0].id,
        tool=tool,
        policy_ids=verdict.policy_ids,
        for_any_call=verdict.effect is Effect.ALLOW
        and not verdict.reads_call
        and not any(link.ip_allow for link in token.chain()),
    )


_STRENGTH = {Effect.ALLOW: 0, Effect.REQUIRE_APPROVAL: 1, Effect.DENY: 2}


def _verdict(question: Question, around: Surroundings, at: float, server: Server) -> PolicyVerdict:
    """What policy says of the token and of each ancestor: the strictest holds, or attenuating would widen.

    The span is the one in which none of these verdicts changes.
    """
    verdicts = [
        around.policies.evaluate(
            PolicyInput(link.identity.id, link.id, server.id, question.tool, question.arguments, at)
        )
        for link in question.token.chain()
    ]
    if len(verdicts) == 1:
        return verdicts[0]
    strictest = max(verdicts, key=lambda verdict: _STRENGTH[verdict.effect])
    return replace(
        strictest,
        valid_from=max(verdict.valid_from for verdict in verdicts),
        valid_until=min(verdict.valid_until for verdict in verdicts),
        reads_call=any(verdict.reads_call for verdict in verdicts),
    )


def _scope_reaches(scope: Scope, server: Server, tool: Tool | None, part: Part | None) -> bool:
    if part is not None:
        return scope_reaches_part(scope, server.id, server.labels, part.value)
    if tool is None:
        return scope_reaches_server(scope, server.id, server.labels)
    return scope_reaches_tool(scope, server.id, server.labels, tool.name, tool.risk)


def _live_grant(
    identity: Identity, server: Server, tool: Tool | None, part: Part | None, at: float
) -> Grant | None:
    for grant in identity.grants:
        if (
            grant.not_before <= at < grant.expires_at
            and grant.servers.matches(server.id, server.labels)
            and (tool is None or grant.tools.matches(tool.name, tool.risk))
            and (part is None or (grant.resources if part is Part.RESOURCES else grant.prompts))
        ):
            return grant
    return None


def _credential_versions(token: Token) -> tuple[Version, ...]:
    """The token, its ancestors, their identities and those identities' owners."""
    versions: dict[Version, None] = {}
    for link in token.chain():
        versions[(link.id, link.version)] = None
        versions[(link.identity.id, link.identity.version)] = None
        if link.identity.owner is not None:
            versions[(link.identity.owner.id, link.identity.owner.version)] = None
    return tuple(versions)


def everything_read(
    token: Token, servers: tuple[Server, ...], around: Surroundings, at: float
) -> tuple[tuple[Version, ...], float, float]:
    """What a deny or a list rests on: any change of these could make it different.

    Returns (versions, valid_from, valid_until).
    """
    versions = dict.fromkeys(_credential_versions(token))
    valid_from, valid_until = -inf, inf
    for link in token.chain():
        bounds = [link.expires_at]
        versions.update(dict.fromkeys(link.identity.groups))
        for grant in link.identity.grants:
            versions[(grant.id, grant.version)] = None
            bounds += [grant.not_before, grant.expires_at]
        valid_from = max([valid_from, *(bound for bound in bounds if bound <= at)])
        valid_until = min([valid_until, *(bound for bound in bounds if bound > at)])
    versions[(POLICY_SET_ID, around.policy_version)] = None
    versions[(FLEET_ID, around.fleet_version)] = None
    versions.update(dict.fromkeys((server.id, server.version) for server in servers))
    return tuple(versions), valid_from, valid_until


def _deny(
    question: Question,
    around: Surroundings,
    at: float,
    reason_code: str,
    tool: Tool | None = None,
    verdict: PolicyVerdict | None = None,
) -> Decision:
    servers = () if question.server is None else (question.server,)
    versions, valid_from, valid_until = everything_read(question.token, servers, around, at)
    policy_ids: tuple[UUID, ...] = ()
    if verdict is not None:
        valid_from = max(valid_from, verdict.valid_from)
        valid_until = min(valid_until, verdict.valid_until)
        policy_ids = verdict.policy_ids
    return Decision(
        Effect.DENY, reason_code, versions, valid_from, valid_until, tool=tool, policy_ids=policy_ids
    )
