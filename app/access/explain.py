"""Explanations of decisions: everything that was checked, and texts with remedies for each reason.

Also reads recorded calls, to explain them later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.point_in_time import AccessReader, server_named
from app.access.policy.evaluator import Evaluator, PolicyResult
from app.domain.access import AccessRequest, Decision, PolicyContext, act_of, decide
from app.domain.errors import Invalid, NotFound
from app.domain.link_checks import LinkCheck, check_links, identities_without_grant
from app.domain.objects import Address, Part, Server, Token
from app.domain.policy import UNNAMED, CallerProgram, Effect, PolicyInput
from app.domain.reach import widest_token, with_all_grants
from app.models.access import Grant as GrantRow
from app.models.access import Policy
from app.models.audit import AuditClient, AuditEvent


@dataclass(frozen=True, slots=True)
class Ask:
    """The request to explain: by an identity or a token, for a server, which is named by its slug or id."""

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
    """A decision and its parts. ``token_id`` is ``None`` for the widest token of an identity. ``policies`` are per
    link, in the order of ``links``."""

    question: AccessRequest
    at: datetime
    token_id: UUID | None
    decision: Decision
    links: tuple[LinkCheck, ...]
    policies: tuple[Sequence[PolicyResult], ...]
    identities_without_grant: tuple[UUID, ...]
    with_access: Decision
    """The decision for a new token of the identity with a sufficient scope and grant."""
    group_of: Mapping[UUID, UUID] = field(default_factory=dict)
    policy_names: Mapping[UUID, str] = field(default_factory=dict)


async def explain(session: AsyncSession, reader: AccessReader, ask: Ask) -> Explanation:
    """Decide a request and explain it. Raises ``NotFound``, ``Unavailable``, and ``Invalid`` for a time before the
    history begins."""
    token, servers, context = await _found(reader, ask)
    server = None
    if ask.server is not None:
        server = server_named(servers, {server.slug: server for server in servers.values()}, ask.server)
    question = AccessRequest(token, server, ask.tool, ask.arguments, ask.address, ask.part, ask.program)
    links = check_links(question, reader.at)
    policies = tuple(_policies(question, context, reader.at, link) for link in links)
    return Explanation(
        question,
        reader.time,
        ask.token_id,
        decide(question, context, reader.at),
        links,
        policies,
        identities_without_grant(question, links),
        decide(
            replace(question, token=widest_token(with_all_grants(question.token.identity))),
            context,
            reader.at,
        ),
        await _groups(session, [grant.id for link in links for grant, _ in link.grants]),
        await _names(session, {each.policy.published.id for found in policies for each in found}),
    )


async def _found(reader: AccessReader, ask: Ask) -> tuple[Token, Mapping[UUID, Server], PolicyContext]:
    if ask.token_id is not None:
        token, servers, context = await reader.token(ask.token_id)
        if token is None:
            raise NotFound("There is no such token, or there was none at that time.")
        return token, servers, context
    ids = [] if ask.identity_id is None else [ask.identity_id]
    state = await reader.of(ids)
    for identity in state.identities.values():
        return widest_token(identity), state.servers, state.context
    raise NotFound("There is no such identity, or there was none at that time.")


def _policies(
    question: AccessRequest, context: PolicyContext, at: float, link: LinkCheck
) -> Sequence[PolicyResult]:
    """The result of each policy for a link, even if the request was denied before the policies."""
    server, policies = question.server, context.policies
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
    """The group of each grant to a group."""
    statement = select(col(GrantRow.id), col(GrantRow.group_id)).where(
        col(GrantRow.id).in_(grants), col(GrantRow.group_id).is_not(None)
    )
    return {id: group for id, group in await session.execute(statement) if group is not None}


async def _names(session: AsyncSession, ids: set[UUID]) -> dict[UUID, str]:
    statement = select(col(Policy.id), col(Policy.name)).where(col(Policy.id).in_(ids))
    return {row[0]: row[1] for row in await session.execute(statement)}


@dataclass(frozen=True, slots=True)
class Meaning:
    """The text for a reason: a sentence, and another with the remedy if one is needed."""

    says: str
    remedy: str | None = None


_ASK_FOR_ACCESS = "Request access: this needs a grant that covers it."
_NEW_TOKEN = "Issue a new token, or ask an administrator for one."
_WAIT = (
    "Wait a minute. If it comes again, have the program call less often, or an administrator raise the limit."
)


MEANINGS: dict[str, Meaning] = {
    "granted": Meaning("The scope of the token reaches it, and a live grant allows it."),
    "approved": Meaning("Policies asked for approvals, and all of them were there."),
    "filtered": Meaning("It is a list, which shows what the token may use."),
    "token_active": Meaning("The token is valid; each server was decided separately."),
    "approval_required": Meaning(
        "The call needs an approval first.",
        "Once it is approved, repeat exactly the same call.",
    ),
    "approval_denied": Meaning(
        "An approver denied the call.",
        "The approval says who decided and why. It is not requested again until it has expired.",
    ),
    "not_covered_by_approval": Meaning(
        "The call needs an approval, and its request carried more than an approval covers, or answers to a question "
        "of a call whose approval was used up.",
        "Start the call again, with its name and arguments only.",
    ),
    "approval_declined": Meaning(
        "The person at the client declined to have the call approved.",
        "Repeat the call, and agree when the client asks.",
    ),
    "too_many_approvals": Meaning(
        "So many approvals wait for a decision that no more are asked for.",
        "Wait until some of them are decided.",
    ),
    "quota_exceeded": Meaning(
        "A policy counts such calls, and none is left today.",
        "Wait until tomorrow, or have an administrator change the policy.",
    ),
    "policy_denied": Meaning(
        "A policy forbids it.", "The explanation names the policy; an administrator can change it."
    ),
    "policy_not_permitted": Meaning(
        "No policy permits it, and here a policy has to.",
        "An administrator can publish a policy that permits it.",
    ),
    "policy_error": Meaning(
        "A policy could not be evaluated on this call, so it was not allowed.",
        "Check the types of the arguments; the explanation shows what failed.",
    ),
    "no_grant": Meaning("No live grant of the identity or its groups reaches it.", _ASK_FOR_ACCESS),
    "outside_scope": Meaning(
        "The scope of the token does not reach it.",
        "Issue a new token with a scope that reaches it. A token cannot be widened.",
    ),
    "server_unknown": Meaning("There is no such server.", "Check the name in the address of the client."),
    "server_disabled": Meaning("The server is switched off.", "An administrator can switch it on again."),
    "tool_unknown": Meaning(
        "The server has no such tool.",
        "Check the name. If the server has it by now, sync the server.",
    ),
    "tool_quarantined": Meaning(
        "The tool is new or has changed, and is not approved yet.",
        "An administrator has to review and approve its definition.",
    ),
    "task_unknown": Meaning("There is no such task of this token at this server.", "Start the call again."),
    "version_unsupported": Meaning(
        "The client speaks a version of MCP that does not exist.", "Update the client."
    ),
    "token_revoked": Meaning("The token was revoked.", _NEW_TOKEN),
    "token_expired": Meaning("The token has expired.", _NEW_TOKEN),
    "secret_rotated": Meaning(
        "The secret is not, or no longer, one of the token's.",
        "Give the client the secret of the last rotation.",
    ),
    "address_not_allowed": Meaning(
        "The request came from an address that the token may not be used from.",
        "Use it from an allowed network, or issue a token that allows this one.",
    ),
    "identity_suspended": Meaning(
        "The identity of the token is suspended.", "An administrator can reinstate it."
    ),
    "identity_offboarded": Meaning(
        "The identity of the token was offboarded.",
        "Nothing that it had comes back. Once it is reinstated, it needs a new token.",
    ),
    "owner_suspended": Meaning(
        "The owner of the agent is suspended.",
        "An administrator can reinstate the owner, or assign the agent to another person.",
    ),
    "owner_offboarded": Meaning(
        "The owner of the agent was offboarded.",
        "An administrator can assign the agent to another person.",
    ),
    "rate_limited": Meaning("The token, or its identity, made more requests than it may in a minute.", _WAIT),
    "too_many_concurrent_requests": Meaning(
        "The token, or its identity, had more requests under way than it may.", _WAIT
    ),
    "request_malformed": Meaning(
        "A request was no single JSON-RPC message with one meaning: a batch, bad JSON, a member twice or in another "
        "case, or a wrong HTTP method or media type.",
        "Update the client, or find out who else uses the token.",
    ),
    "headers_mismatch": Meaning(
        "A header of a request was missing, came twice, or said something else than its body.",
        "Update the client, or find out who else uses the token.",
    ),
    "parameters_invalid": Meaning(
        "The parameters of a request had the wrong shape.", "Correct the request, or update the client."
    ),
    "method_unknown": Meaning(
        "A request named a method that the gateway does not carry.", "The reference of MCP lists the methods."
    ),
    "session_unknown": Meaning(
        "A request named a session that has ended, or that belongs to another token or server.",
        "Initialize a new session.",
    ),
    "too_many_streams": Meaning(
        "The token, or its identity, held more streams open than it may.",
        "Close clients that are not in use.",
    ),
}


HIDDEN_REASONS = frozenset(
    {"no_grant", "outside_scope", "server_unknown", "server_disabled", "tool_unknown", "tool_quarantined"}
)
"""Reasons that a denied caller must not be able to distinguish, since they reveal what exists out of reach."""


OUT_OF_REACH = Meaning(
    "It asked for something that it does not reach, or that does not exist.",
    "Check the names. To reach more, ask for access.",
)


def meaning_of(reason_code: str) -> Meaning:
    """The text for a reason code; for an unknown one, the code itself."""
    return MEANINGS.get(reason_code, Meaning(f"The reason was {reason_code}."))


_RIGHTS = frozenset({"outside_scope", "no_grant"})


def meaning_of_explanation(explanation: Explanation) -> Meaning:
    """The decision in a sentence or two, with one remedy.

    ``decide`` stops at the first missing scope or grant. This covers both, and the decision once they exist.
    """
    reason = explanation.decision.reason_code
    if reason not in _RIGHTS:
        return meaning_of(reason)
    says, steps = [], []
    outside = [index for index, link in enumerate(explanation.links) if not link.in_scope]
    if explanation.identities_without_grant:
        steps.append("Make a grant that gives it")
    if outside:
        whose = "the token" if outside[0] == 0 else "a token that it was derived from"
        which = f"the scope of {whose} does not reach it"
        says.append(
            f"A grant reaches it, but {which}."
            if not explanation.identities_without_grant
            else f"{which.capitalize()}."
        )
        steps.append("issue a new token with a scope that reaches it, since a token cannot be widened")
    if explanation.identities_without_grant:
        own = explanation.question.token.identity.id in explanation.identities_without_grant
        whose = "the identity or its groups" if own else "the identity of a token that it was derived from"
        says.append(f"No live grant of {whose} reaches it.")
    remedy = ", then ".join(steps)
    return _with_rest(explanation, says, f"{remedy[0].upper()}{remedy[1:]}.")


def _with_rest(explanation: Explanation, says: list[str], remedy: str) -> Meaning:
    then = explanation.with_access
    if then.effect is Effect.ALLOW:
        return Meaning(" ".join(says), remedy)
    rest = meaning_of(then.reason_code)
    if then.effect is Effect.REQUIRE_APPROVAL:
        return Meaning(" ".join(says), f"{remedy} Each call then waits for an approval.")
    says.append(f"Once that is done, it is still denied: {rest.says[0].lower()}{rest.says[1:]}")
    return Meaning(" ".join(says), f"First: {rest.remedy} {remedy}" if rest.remedy else remedy)


_PARTS: Mapping[str, Part] = {
    "prompts.list": Part.PROMPTS,
    "prompt.get": Part.PROMPTS,
    "resources.list": Part.RESOURCES,
    "resource.read": Part.RESOURCES,
    "resource.subscribe": Part.RESOURCES,
    "resource.unsubscribe": Part.RESOURCES,
}
"""The part of a server that an action uses."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """An audit event about a token at the gateway, with its client."""

    event: AuditEvent
    token_id: UUID
    address: Address | None
    program: CallerProgram

    @property
    def part(self) -> Part | None:
        return _PARTS.get(self.event.action)

    @property
    def is_call(self) -> bool:
        return self.event.action == "tool.call"


async def find_recorded(session: AsyncSession, event_id: UUID) -> RecordedCall:
    """Read the call of an event. Raises ``NotFound``, and ``Invalid`` for an event that is not a call."""
    statement = (
        select(AuditEvent, AuditClient)
        .outerjoin(AuditClient, col(AuditClient.id) == col(AuditEvent.client_id))
        .where(col(AuditEvent.id) == event_id)
    )
    row: Any = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("There is no such audit event.")
    event, client = row
    if event.token_id is None or event.decision is None:
        detail = "This event decides nothing about a token: name one of a call or list."
        raise Invalid.field("/event_id", "not_a_decision", detail)
    if client is None:
        return RecordedCall(event, event.token_id, None, CallerProgram())
    program = CallerProgram(client.name, client.version)
    return RecordedCall(event, event.token_id, address_of(client.ip), program)


def address_of(text: str | None) -> Address | None:
    """Parse the recorded address of a client; ``None`` if it is missing or truncated."""
    try:
        return None if text is None else ip_address(text)
    except ValueError:
        return None
