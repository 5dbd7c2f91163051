"""The access decision: whether a token may do something now, and why.

The effective right is *token scope ∩ the identity's live grants ∩ policy*, for the token and for every ancestor that it
was attenuated from. The module is pure: all state, including the time in Unix seconds, is passed in. A decision
contains its dependencies as (object id, version) pairs and the time span in which no time rule changes it, so that
admission can check that it is still current.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from operator import is_
from typing import TypeVar
from uuid import UUID

from app.domain.objects import (
    Address,
    Grant,
    Identity,
    IdentityStatus,
    Part,
    Server,
    Token,
    Tool,
    ToolState,
    Version,
)
from app.domain.policy import (
    UNNAMED,
    Act,
    ApprovalDemand,
    CallerProgram,
    Effect,
    PolicyEvaluator,
    PolicyInput,
    PolicyVerdict,
    QuotaDemand,
)
from app.domain.scopes import GrantsScope, Scope

# Fixed ids of two objects that decisions depend on.
POLICY_SET_ID = UUID("00000000-0000-7000-8000-000000000001")
FLEET_ID = UUID("00000000-0000-7000-8000-000000000002")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """The policy set, with its version and that of the fleet, for a decision."""

    fleet_version: int
    policy_version: int
    policies: PolicyEvaluator


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request to decide: reach a server, call one of its tools (``tool``), or use another ``part`` of it.

    ``server`` is ``None`` when the slug is unknown.
    """

    token: Token
    server: Server | None
    tool: str | None = None
    arguments: Mapping[str, object] | None = None
    address: Address | None = None
    part: Part | None = None
    program: CallerProgram = UNNAMED


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision. It holds while ``depends_on`` is unchanged and the time is in [``valid_from``, ``valid_until``).

    The call runs only with the approvals of ``asks`` and the uses of ``quotas``. ``policy_ids`` are the policies that
    decided, and ``reasons`` are their texts for the caller. ``observed`` policies would have decided differently if
    they were enforced. ``for_any_call``: every call of this tool with this token is allowed, with any arguments and
    address.
    """

    effect: Effect
    reason_code: str
    depends_on: tuple[Version, ...]
    valid_from: float
    valid_until: float
    grant_id: UUID | None = None
    tool: Tool | None = None
    policy_ids: tuple[UUID, ...] = ()
    asks: tuple[ApprovalDemand, ...] = ()
    quotas: tuple[QuotaDemand, ...] = ()
    observed: tuple[UUID, ...] = ()
    for_any_call: bool = False
    verdicts: tuple[PolicyVerdict, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def recurs(self) -> bool:
        """Whether the decision can apply to other calls too."""
        return self.for_any_call or bool(self.verdicts)

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW

    @property
    def attainable(self) -> bool:
        """Whether the call may run, now or with approvals."""
        return self.allowed or (self.effect is Effect.REQUIRE_APPROVAL and bool(self.asks))


def liveness(token: Token, at: float, address: Address | None) -> str | None:
    """Why the token is not valid, or ``None`` if it is valid.

    Clients get the same 401 for all reasons; the audit log has the reason.
    """
    for link in token.chain():
        if link.revoked:
            return "token_revoked"
        if at >= link.expires_at:
            return "token_expired"
        if link.ip_allow and (address is None or not any(address in net for net in link.ip_allow)):
            return "address_not_allowed"
        identity, owner = link.identity, link.identity.owner
        if identity.status is not IdentityStatus.ACTIVE:
            return f"identity_{identity.status}"
        if owner is not None and owner.status is not IdentityStatus.ACTIVE:
            return f"owner_{owner.status}"
    return None


def decide(request: AccessRequest, context: PolicyContext, at: float) -> Decision:
    """Decide one request at one time. Anything unknown is denied."""
    token, server = request.token, request.server
    stopped = liveness(token, at, request.address)
    if stopped is not None:
        return _deny(request, context, at, stopped)
    if server is None:
        return _deny(request, context, at, "server_unknown")
    if not server.enabled:
        return _deny(request, context, at, "server_disabled")
    tool: Tool | None = None
    if request.tool is not None:
        tool = server.tools.get(request.tool)
        if tool is None or tool.state is ToolState.REMOVED:
            return _deny(request, context, at, "tool_unknown")
    used: list[Grant] = []
    for link in token.chain():
        # mutation: scope_checked
        if not scope_reaches(link.scope, server, tool, request.part):
            return _deny(request, context, at, "outside_scope")
        grant = _live_grant(link.identity, server, tool, request.part, at)
        if grant is None:
            return _deny(request, context, at, "no_grant")
        used.append(grant)
    if tool is not None and tool.state is ToolState.QUARANTINED:
        return _deny(request, context, at, "tool_quarantined", tool)
    return _apply_policy(request, context, at, server, tool, used)


def _apply_policy(
    request: AccessRequest,
    context: PolicyContext,
    at: float,
    server: Server,
    tool: Tool | None,
    used: list[Grant],
) -> Decision:
    token = request.token
    verdicts = _verdicts(request, context, at, server, tool)
    verdict = _strictest(verdicts)
    if verdict.effect is Effect.DENY:
        return _deny(request, context, at, verdict.reason_code, tool, verdict)
    # If so, only policies can make a difference between calls.
    is_uniform = (
        verdict.effect is Effect.ALLOW
        and not verdict.quotas
        and not any(link.ip_allow for link in token.chain())
    )
    valid_from = max(verdict.valid_from, *(grant.not_before for grant in used))
    valid_until = min(
        verdict.valid_until,
        *(grant.expires_at for grant in used),
        *(link.expires_at for link in token.chain()),
    )
    return Decision(
        effect=verdict.effect,
        reason_code=verdict.reason_code,
        depends_on=(
            *_credential_versions(token),
            (POLICY_SET_ID, context.policy_version),
            (server.id, server.version),
            *dict.fromkeys((grant.id, grant.version) for grant in used),
            *(_group_versions(token) if verdict.reads_groups else ()),
        ),
        valid_from=valid_from,
        valid_until=valid_until,
        grant_id=used[0].id,
        tool=tool,
        policy_ids=verdict.policy_ids,
        asks=verdict.asks,
        quotas=verdict.quotas,
        observed=verdict.observed,
        for_any_call=is_uniform and not verdict.reads_call,
        verdicts=verdicts if is_uniform and verdict.reads_call else (),
        reasons=verdict.reasons,
    )


_STRENGTH = {Effect.ALLOW: 0, Effect.REQUIRE_APPROVAL: 1, Effect.DENY: 2}
_PART_ACTS = {Part.RESOURCES: Act.USE_RESOURCES, Part.PROMPTS: Act.USE_PROMPTS}


def act_of(request: AccessRequest) -> Act:
    """The Cedar action of a request."""
    if request.tool is not None:
        return Act.CALL_TOOL
    return Act.USE_SERVER if request.part is None else _PART_ACTS[request.part]


def has_same_verdicts(decision: Decision, request: AccessRequest, context: PolicyContext, at: float) -> bool:
    """Whether policies give this call the very verdict objects of an earlier decision."""
    if request.server is None or decision.tool is None:
        return False
    verdicts = _verdicts(request, context, at, request.server, decision.tool)
    return len(verdicts) == len(decision.verdicts) and all(map(is_, verdicts, decision.verdicts))


def _verdicts(
    request: AccessRequest, context: PolicyContext, at: float, server: Server, tool: Tool | None
) -> tuple[PolicyVerdict, ...]:
    """The policy verdicts for the token and each ancestor."""
    act = act_of(request)
    return tuple(
        [
            context.policies.evaluate(
                PolicyInput(act, link, server, tool, request.arguments, at, request.address, request.program)
            )
            for link in request.token.chain()
        ]
    )


def _strictest(verdicts: tuple[PolicyVerdict, ...]) -> PolicyVerdict:
    """The strictest of the verdicts on a token and its ancestors, so that attenuation never widens access.

    Its span is the one in which none of the verdicts changes. The demands of all verdicts apply.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    strictest = max(verdicts, key=lambda verdict: _STRENGTH[verdict.effect])
    return replace(
        strictest,
        policy_ids=_merge(each.policy_ids for each in verdicts if each.effect is strictest.effect),
        valid_from=max(verdict.valid_from for verdict in verdicts),
        valid_until=min(verdict.valid_until for verdict in verdicts),
        reads_call=any(verdict.reads_call for verdict in verdicts),
        reads_groups=any(verdict.reads_groups for verdict in verdicts),
        asks=_merge(each.asks for each in verdicts),
        quotas=_merge(each.quotas for each in verdicts),
        observed=_merge(each.observed for each in verdicts),
        reasons=_merge(each.reasons for each in verdicts if each.effect is strictest.effect),
    )


def _merge(parts: Iterable[tuple[Item, ...]]) -> tuple[Item, ...]:
    """All distinct items, in order."""
    return tuple(dict.fromkeys(item for part in parts for item in part))


def scope_reaches(scope: Scope, server: Server, tool: Tool | None, part: Part | None) -> bool:
    """Whether a scope reaches a server, a tool of it, or another part of it."""
    if isinstance(scope, GrantsScope):
        return True
    return any(
        entry.servers.matches(server.id, server.labels)
        and (tool is None or entry.tools.matches(tool.name, tool.risk))
        and (part is None or (entry.resources if part is Part.RESOURCES else entry.prompts))
        for entry in scope.entries
    )


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
    """The versions of the token, its ancestors, their identities and those identities' owners."""
    versions: dict[Version, None] = {}
    for link in token.chain():
        versions[(link.id, link.version)] = None
        versions[(link.identity.id, link.identity.version)] = None
        if link.identity.owner is not None:
            versions[(link.identity.owner.id, link.identity.owner.version)] = None
    return tuple(versions)


def _group_versions(token: Token) -> tuple[Version, ...]:
    """The versions of the groups of all identities in the chain and of their owners."""
    versions: dict[Version, None] = {}
    for link in token.chain():
        versions.update(dict.fromkeys(link.identity.groups))
        if link.identity.owner is not None:
            versions.update(dict.fromkeys(link.identity.owner.groups))
    return tuple(versions)


def all_dependencies(
    token: Token, servers: tuple[Server, ...], context: PolicyContext, at: float
) -> tuple[tuple[Version, ...], float, float]:
    """The dependencies of a deny or a list, which any change of these could alter.

    Returns (versions, valid_from, valid_until).
    """
    versions = dict.fromkeys((*_credential_versions(token), *_group_versions(token)))
    valid_from, valid_until = -inf, inf
    for link in token.chain():
        bounds = [link.expires_at]
        for grant in link.identity.grants:
            versions[(grant.id, grant.version)] = None
            bounds += [grant.not_before, grant.expires_at]
        valid_from = max([valid_from, *(bound for bound in bounds if bound <= at)])
        valid_until = min([valid_until, *(bound for bound in bounds if bound > at)])
    versions[(POLICY_SET_ID, context.policy_version)] = None
    versions[(FLEET_ID, context.fleet_version)] = None
    versions.update(dict.fromkeys((server.id, server.version) for server in servers))
    return tuple(versions), valid_from, valid_until


_NO_VERDICT = PolicyVerdict(Effect.DENY, "")
"""Of a request that was denied before the policies."""


def _deny(
    request: AccessRequest,
    context: PolicyContext,
    at: float,
    reason_code: str,
    tool: Tool | None = None,
    verdict: PolicyVerdict = _NO_VERDICT,
) -> Decision:
    servers = () if request.server is None else (request.server,)
    versions, valid_from, valid_until = all_dependencies(request.token, servers, context, at)
    return Decision(
        Effect.DENY,
        reason_code,
        versions,
        max(valid_from, verdict.valid_from),
        min(valid_until, verdict.valid_until),
        tool=tool,
        policy_ids=verdict.policy_ids,
        observed=verdict.observed,
        reasons=verdict.reasons,
    )
