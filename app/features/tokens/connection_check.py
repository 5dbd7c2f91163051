"""Connection check: whether a token works now, from its secret to its servers, and why not.

Access is decided by ``decide``; servers are called with the credentials that the token's calls would carry.
"""

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from time import monotonic
from typing import Annotated, Any
from uuid import UUID

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.explain import HIDDEN_REASONS, OUT_OF_REACH, meaning_of
from app.access.point_in_time import AccessReader
from app.access.snapshot import AccessSnapshot
from app.crypto.keys import Peppers, UnsealingFault
from app.db.change import Change, Subject, Values
from app.db.engine import commit
from app.domain.access import AccessRequest, PolicyContext, decide, liveness
from app.domain.definitions import definition_digest
from app.domain.errors import NotFound, StoreUnavailable, TooManyRequests
from app.domain.objects import Address, Server, Token
from app.domain.policy import Effect
from app.domain.scopes import ListedScope
from app.domain.token_format import API_BEARER, BREAK_GLASS, CLIENT_SECRET, SCOPED_TOKEN, parse_credential
from app.features.audit import reading
from app.features.audit.queries import names_of
from app.features.audit.schemas import AuditEventView, AuditQuery
from app.features.servers.discovery import DiscoveryFailed, TimeBudget, list_current_tools
from app.features.tokens.schemas import (
    MAX_SERVERS,
    CheckedThing,
    CheckState,
    CheckStep,
    ConnectionCheck,
    ConnectionCheckRequest,
)
from app.http.authorization import Permission
from app.http.pagination import Cursors
from app.http.rate_limits import Quota, Slots, client_address
from app.http.runtime import Runtime, from_state
from app.lib.event_loop import in_slices
from app.lib.strict_json import JsonObject
from app.models.tokens import TokenSecret
from app.outbound.client_tokens import TokenFault
from app.outbound.http import Target, Timeouts
from app.outbound.stdio import sync_holder

CHECKS_A_MINUTE = 20
CHECKS_AT_ONCE = 2
"""Per caller. Responses of servers may be large, and the operator of one may have callers request them."""
AT_ONCE = 16
"""Servers that one worker calls at a time, for all checks together."""
WITHIN_S = 15.0
"""Time limit for all servers of a check, including the wait for a turn."""
_CHECKS_OF_ALL_AT_ONCE = 32
_LOOKS_BACK = timedelta(days=7)
_SOON = timedelta(days=1)
_SHOWN_TIME = "%Y-%m-%d %H:%M UTC"
_CHECKED = Subject("token")
_URL_BUDGET = TimeBudget(8.0, Timeouts(connect=3.0, first_byte=6.0, idle=6.0, total=8.0))
_COMMAND_BUDGET = TimeBudget(12.0, Timeouts(connect=3.0, first_byte=12.0, idle=12.0, total=12.0))
_BY_OPERATOR = "The operator of the server must fix it; then try again."
_CREDENTIAL_LOST = "An administrator must set the credential for this server again."
_BAD_ADDRESS = "An administrator must change the address of the server, or allow it."
_BAD_SETTINGS = "An administrator must check the credential and the address of this server."
_LATER = "Try again in a minute."
# By kind of failure: the detail for callers who may not know where the server is, and the remedy.
_FAILURES = {
    "credential": ("The credential for calls is not available.", _CREDENTIAL_LOST),
    "forbidden": ("Its address is not allowed.", _BAD_ADDRESS),
    "unreachable": ("It cannot be reached.", _BY_OPERATOR),
    "timeout": ("It does not answer in time.", _BY_OPERATOR),
    "http_error": ("It answers with an error.", _BAD_SETTINGS),
    "rpc": ("It refuses to list its tools.", _BY_OPERATOR),
    "redirect": ("It answers with a redirect.", _BY_OPERATOR),
    "unavailable": ("It did not answer recently, so calls to it are paused for a moment.", _LATER),
    "busy": ("All connections to it are in use.", _LATER),
}
_NOT_READ = ("Its response is not valid.", _BY_OPERATOR)


@dataclass(frozen=True, slots=True)
class CheckContext:
    """The results from the database: steps, and the remaining work for servers."""

    at: datetime
    token: Token
    context: PolicyContext
    steps: list[CheckStep]
    refusal: CheckStep | None = None
    reached: Sequence[Server] = ()
    """Servers in reach of the token, or that would be if they were enabled."""
    unasked: int = 0


class ConnectionChecks:
    """The connection checks of one worker, with a rate limit per caller."""

    def __init__(self, workers: int = 1) -> None:
        self._quota = Quota("connection-checks", CHECKS_A_MINUTE, workers=workers)
        self._under_way = Slots(
            "connection checks", "rate_limited", most=_CHECKS_OF_ALL_AT_ONCE, most_of_caller=CHECKS_AT_ONCE
        )
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(
        self,
        change: Change,
        token_id: UUID,
        body: ConnectionCheckRequest,
        runtime: Runtime,
        snapshot: AccessSnapshot,
        request: Request,
    ) -> ConnectionCheck:
        """Check a token that the caller may see. Commits the change before servers are called.

        Raises ``NotFound``, ``TooManyRequests`` and ``Unavailable``.
        """
        caller = change.caller
        standing = self._quota.standing(caller.id)
        if not self._quota.take(caller.id) and standing is not None:
            request.state.standing = standing
            detail = "Too many checks in a minute: wait before the next one."
            raise TooManyRequests(detail, retry_after_s=standing.reset_s)
        try:
            address = ip_address(client_address(request) or "")
        except ValueError:
            address = None
        with self._under_way.held(caller):
            reader = AccessReader(change.session, snapshot)
            check = await _check_database(reader, change, runtime.peppers, token_id, body, address)
            details = {"servers": len(check.reached)}
            change.record("token.check", _CHECKED, Values(token_id, {}), details=details, token_id=token_id)
            # Returns the connection to the pool: servers may be slow.
            await commit(change.session)
            deadline = asyncio.get_running_loop().time() + WITHIN_S
            # Only callers who may read servers learn where they are.
            tells_all = caller.may(Permission.SERVERS_READ)

            async def ask(server: Server) -> CheckStep:
                if not server.enabled:
                    meaning = meaning_of("server_disabled")
                    return _of_server(server, "fail", "server_disabled", meaning.says, meaning.remedy)
                begun = monotonic()
                try:
                    async with asyncio.timeout_at(deadline), self._turns:
                        begun = monotonic()
                        tools = await _list(runtime, snapshot, server, check.token.identity.id)
                except (DiscoveryFailed, TimeoutError) as error:
                    late = DiscoveryFailed("timeout", "It took too long.")
                    failed = error if isinstance(error, DiscoveryFailed) else late
                    detail, remedy = _FAILURES.get(failed.kind, _NOT_READ)
                    says = failed.reason if tells_all else detail
                    return _of_server(server, "fail", failed.kind, says, remedy, _since(begun))
                return await in_slices(_evaluate_tools(check, server, tools, _since(begun)))

            steps = await asyncio.gather(*map(ask, check.reached))
        last = [] if check.refusal is None else [check.refusal]
        return ConnectionCheck.of(token_id, check.at, [*check.steps, *steps, *last], check.unasked)


CurrentChecks = Annotated[ConnectionChecks, from_state("connection_checks")]


async def _check_database(
    reader: AccessReader,
    change: Change,
    peppers: Peppers,
    token_id: UUID,
    body: ConnectionCheckRequest,
    address: Address | None,
) -> CheckContext:
    """Check everything except the servers themselves."""
    session, server_ids = change.session, body.server_ids
    token, servers, context = await reader.token(token_id)
    if token is None:
        raise NotFound("There is no such token.")
    steps = []
    if body.secret is not None:
        steps.append(await _secret(session, peppers, token_id, body.secret.get_secret_value(), reader.time))
    stopped = [_of_token(token, reader.at), await _of_identity(session, token, reader.at)]
    steps += [*stopped, *_of_address(token, address)]
    # Only callers who may explain access learn what is out of the token's reach.
    tells_all = change.caller.may(Permission.ACCESS_EXPLAIN)
    refusal = await _last_refusal(session, peppers, token_id, reader.time, tells_all=tells_all)
    if any(step.state == "fail" for step in stopped):
        return CheckContext(reader.time, token, context, steps, refusal)
    anywhere = _without_address_rule(token)
    reached = await in_slices(_reachable_servers(anywhere, list(servers.values()), context, reader.at))
    steps.append(_of_access(token, reached))
    requested = [server for server in reached if not server_ids or server.id in server_ids]
    # The same result for an unknown server and one out of reach.
    detail = "The token does not reach this server, or it does not exist."
    steps += [
        _fail("server", "out_of_reach", detail, "Ask for access to it.", server_id=id)
        for id in server_ids
        if id not in {server.id for server in requested}
    ]
    checked = requested[:MAX_SERVERS]
    unasked = len(reached) - len(checked)
    return CheckContext(reader.time, anywhere, context, steps, refusal, checked, unasked)


async def _secret(
    session: AsyncSession, peppers: Peppers, token_id: UUID, text: str, now: datetime
) -> CheckStep:
    # It may be pasted as a header's value, or in quotes.
    secret = text.strip().strip("\"'").removeprefix("Bearer ").strip()
    credential = parse_credential(secret, SCOPED_TOKEN)
    if credential is None:
        return _malformed(secret)
    if credential.id != token_id:
        return _fail(
            "secret", "secret_of_another_token", "It is the secret of another token.",
            "Check that token, or give the client the secret of this one.",
        )  # fmt: skip
    for row in await session.scalars(select(TokenSecret).where(col(TokenSecret.token_id) == token_id)):
        if not peppers.matches(row.pepper_key_id, row.digest, credential.digest_input):
            continue
        if row.expires_at is None:
            return _ok("secret", "It is the current secret of this token.")
        ends = f"{row.expires_at:{_SHOWN_TIME}}"
        if row.expires_at > now:
            detail = f"The token was rotated: this secret works until {ends}."
            remedy = "Give the client the secret of the last rotation before then."
            return _step("secret", "warn", "secret_rotating_out", detail, remedy)
        detail = f"The token was rotated: this secret ended {ends}."
        return _fail("secret", "secret_rotated", detail, "Give the client the secret of the last rotation.")
    return _fail(
        "secret", "secret_unknown", "It has the id of this token, but is none of its secrets.",
        "Rotate the token, and give the client the new secret.",
    )  # fmt: skip


def _malformed(text: str) -> CheckStep:
    others = {CLIENT_SECRET: "a service account's client secret", API_BEARER: "a bearer token of the API"}
    others[BREAK_GLASS] = "a bearer token of the break-glass administrator"
    for prefix, what in others.items():
        if parse_credential(text, prefix) is not None:
            return _fail(
                "secret", "secret_of_another_kind", f"It is {what}, which MCP servers do not accept.",
                "Give the client the secret of a token, which begins with sgt_.",
            )  # fmt: skip
    return _fail(
        "secret", "secret_malformed", "It is not the secret of a token, or was changed: its checksum is wrong.",
        "Copy it again, whole: it begins with sgt_ and has 76 characters.",
    )  # fmt: skip


def _of_token(token: Token, at: float) -> CheckStep:
    for link in token.chain():
        code = "token_revoked" if link.revoked else "token_expired" if at >= link.expires_at else None
        if code is not None:
            meaning = meaning_of(code)
            detail = meaning.says if link is token else f"A token that it was derived from: {meaning.says}"
            return _fail("token", code, detail, meaning.remedy)
    ends = datetime.fromtimestamp(min(link.expires_at for link in token.chain()), UTC)
    if ends - datetime.fromtimestamp(at, UTC) < _SOON:
        detail = f"It is live, and expires {ends:{_SHOWN_TIME}}."
        return _step("token", "warn", "expires_soon", detail, "Issue the next one in time.")
    return _ok("token", f"It is live until {ends:{_SHOWN_TIME}}.")


async def _of_identity(session: AsyncSession, token: Token, at: float) -> CheckStep:
    names = await names_of(session, [link.identity.id for link in token.chain()])

    def name(link: Token) -> str:
        return names.get(link.identity.id, "The identity")

    for link in token.chain():
        # Only of the identity: the token itself has a step of its own.
        code = liveness(replace(link, parent=None, revoked=False, expires_at=at + 1, ip_allow=()), at, None)
        if code is not None:
            meaning = meaning_of(code)
            return _fail("identity", code, f"{name(link)}: {meaning.says}", meaning.remedy)
    owned = "" if token.identity.owner is None else ", and so is its owner"
    return _ok("identity", f"{name(token)} is active{owned}.")


def _of_address(token: Token, address: Address | None) -> list[CheckStep]:
    """The address restriction of the token, if any: the check may come from another address than its calls."""
    if not any(link.ip_allow for link in token.chain()):
        return []
    allowed = address is not None and all(
        not link.ip_allow or any(address in network for network in link.ip_allow) for link in token.chain()
    )
    if allowed:
        return [_ok("address", f"It may be used from your address, {address}.")]
    detail = f"It may not be used from {address or 'your address'}."
    remedy = meaning_of("address_not_allowed").remedy
    return [_step("address", "warn", "address_not_allowed", detail, remedy)]


def _reachable_servers(
    token: Token, servers: Sequence[Server], context: PolicyContext, at: float
) -> Generator[None, None, list[Server]]:
    """The servers in reach by slug. In steps of one decision each."""
    within = []
    for server in sorted(servers, key=lambda one: one.slug):
        yield
        # Evaluated as enabled, to distinguish a disabled server from one out of reach.
        question = AccessRequest(token, replace(server, enabled=True))
        if decide(question, context, at).effect is not Effect.DENY:
            within.append(server)
    return within


def _of_access(token: Token, reached: Sequence[Server]) -> CheckStep:
    if reached:
        return _ok("access", f"It reaches {_count(len(reached), 'server')}.")
    if isinstance(token.scope, ListedScope) and not token.scope.entries:
        return _fail(
            "access", "scope_empty", "Its scope is empty: it reaches nothing.", "Issue a token with a scope."
        )
    return _fail(
        "access", "nothing_in_reach", "It reaches no server: no live grant covers its scope.",
        "Request access: a grant must be created or renewed.",
    )  # fmt: skip


async def _last_refusal(
    session: AsyncSession, peppers: Peppers, token_id: UUID, now: datetime, *, tells_all: bool
) -> CheckStep | None:
    """The last refused request within a week, with its meaning; ``None`` if there is none."""

    async def newest(decision: str) -> AuditEventView | None:
        filters = {"token_id": [token_id], "decision": [decision], "since": now - _LOOKS_BACK, "limit": 1}
        query = AuditQuery.model_validate(filters)
        cursors = Cursors(peppers.derive("cursors"), "connection_check", {})
        events, _ = await reading.page(session, query, cursors, now)
        return events[0] if events else None

    refused = await newest("deny")
    if refused is None:
        return None
    allowed = await newest("allow")
    code = refused.reason_code or "denied"
    hidden = not tells_all and code in HIDDEN_REASONS
    meaning = OUT_OF_REACH if hidden else meaning_of(code)
    about = "" if refused.tool is None else f" for the tool {refused.tool}"
    passed = allowed is not None and allowed.time > refused.time
    after = " Later requests were allowed." if passed else ""
    return _step(
        "last_denial", "ok" if passed else "warn", "out_of_reach" if hidden else code,
        f"{refused.time:{_SHOWN_TIME}}{about}: {meaning.says}{after}", meaning.remedy, event_id=refused.id,
    )  # fmt: skip


def _without_address_rule(token: Token) -> Token:
    """The token without its address restriction, which has a step of its own."""
    parent = None if token.parent is None else _without_address_rule(token.parent)
    return replace(token, ip_allow=(), parent=parent)


def _step(
    name: CheckedThing, state: CheckState, code: str, detail: str, remedy: str | None, **more: Any
) -> CheckStep:
    return CheckStep(name=name, state=state, code=code, detail=detail, remedy=remedy, **more)


def _ok(name: CheckedThing, detail: str) -> CheckStep:
    return _step(name, "ok", "ok", detail, None)


def _fail(name: CheckedThing, code: str, detail: str, remedy: str | None, **more: Any) -> CheckStep:
    return _step(name, "fail", code, detail, remedy, **more)


async def _list(
    runtime: Runtime, snapshot: AccessSnapshot, server: Server, identity_id: UUID
) -> list[JsonObject]:
    """List the current tools with the credential that calls would carry. Raises ``DiscoveryFailed``."""
    try:
        target = await snapshot.target(server, identity_id)
    except StoreUnavailable:
        raise DiscoveryFailed("unavailable", "The database cannot serve right now.") from None
    except (UnsealingFault, TokenFault) as fault:
        reason = f"There is no access token for it: {fault.reason}." if isinstance(fault, TokenFault) else ""
        raise DiscoveryFailed("credential", reason or "The stored credential cannot be decrypted.") from None
    url: str | Target = target.url
    headers, budget = target.headers, _URL_BUDGET
    if target.launch is not None:
        if runtime.supervisor is None:
            raise DiscoveryFailed("forbidden", "It is a command, which this host does not run.")
        url, budget = runtime.supervisor.target(server.id), _COMMAND_BUDGET
        headers = runtime.supervisor.headers(target.launch, sync_holder(server.id))
    try:
        return await list_current_tools(runtime.outbound, url, headers, target.protocol_versions, budget)
    except DiscoveryFailed as failed:
        if failed.status == 401 and target.client is not None:
            snapshot.refused(target.client.id, headers)
        raise


def _evaluate_tools(
    check: CheckContext, server: Server, tools: list[JsonObject], took_ms: int
) -> Generator[None, None, CheckStep]:
    """In steps of one tool each: a server may have thousands, and a hostile one may send megabytes."""
    offered = {str(item["name"]): item for item in tools}
    callable_count = asking = pending = missing = 0
    for tool in server.tools.values():
        yield
        decision = decide(AccessRequest(check.token, server, tool.name), check.context, check.at.timestamp())
        item = offered.get(tool.name)
        if decision.effect is Effect.DENY:
            pending += decision.reason_code == "tool_quarantined"
            continue
        asking += decision.effect is Effect.REQUIRE_APPROVAL
        if item is None:
            missing += 1
        elif definition_digest(item) != tool.approved_digest:
            pending += 1
        else:
            callable_count += 1
    approvals = f", {asking} of them with an approval first" if asking else ""
    details = [f"It answers. {_count(callable_count, 'tool')} can be called{approvals}."]
    if pending:
        details.append(f"{_count(pending, 'tool')} more, new or changed, must be reviewed first.")
    if missing:
        are = "is" if missing == 1 else "are"
        details.append(f"{_count(missing, 'tool')} in reach {are} no longer offered.")
    code, remedy = "ok", None
    if pending:
        code, remedy = "tools_wait", meaning_of("tool_quarantined").remedy
    elif missing:
        code, remedy = "tools_gone", "An administrator can sync the server."
    elif not callable_count:
        code, remedy = "no_tools", "Ask for access to its tools."
    return _of_server(server, "ok" if code == "ok" else "warn", code, " ".join(details), remedy, took_ms)


def _of_server(
    server: Server, state: CheckState, code: str, detail: str, remedy: str | None, took_ms: int | None = None
) -> CheckStep:
    more = {"server_id": server.id, "server": server.slug, "duration_ms": took_ms}
    return _step("server", state, code, detail, remedy, **more)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _since(begun: float) -> int:
    return round((monotonic() - begun) * 1000)
