"""Whether a token works now, and where it does not, why: from its secret to the servers that it reaches.

What it says of rights is asked of ``decide``; the servers are asked with what calls of the token would send them.

Asking the servers that a token reaches whether they answer now, with what its calls would send them.
"""

import asyncio
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.explain import HIDDEN, OUT_OF_REACH, meaning_of
from app.access.point_in_time import AccessReader
from app.access.snapshot import AccessSnapshot, SnapshotUnavailable
from app.crypto.keys import Peppers, UnsealingFault
from app.domain.access import PolicyContext, Question, decide, liveness
from app.domain.definitions import definition_digest
from app.domain.errors import NotFound
from app.domain.objects import Address, Server, Token, Tool
from app.domain.policy import Effect
from app.domain.scopes import ListedScope
from app.domain.token_format import API_BEARER, BREAK_GLASS, CLIENT_SECRET, SCOPED_TOKEN, parse_credential
from app.features.audit import reading
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditEventView, AuditQuery
from app.features.tokens.check_schemas import MOST_SERVERS, CheckStep
from app.features.tools.discovery import DiscoveryFailed, Patience, list_now
from app.http.pagination import Cursors
from app.http.runtime import Runtime
from app.lib.event_loop import in_slices
from app.lib.strict_json import JsonObject
from app.models.tokens import TokenSecret
from app.outbound.client_tokens import TokenFault
from app.outbound.http import Target, Timeouts
from app.outbound.stdio import syncing

_LOOKS_BACK = timedelta(days=7)
_SOON = timedelta(days=1)
_SHOWN_TIME = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True, slots=True)
class Reached:
    """A server in reach of a token, or that would be if it were not switched off."""

    server: Server
    enabled: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What the database says of a token: steps, and what is left to be asked of servers."""

    at: datetime
    token: Token
    context: PolicyContext
    steps: list[CheckStep]
    refusal: CheckStep | None = None
    reached: Sequence[Reached] = field(default=())
    unasked: int = 0


async def look(
    session: AsyncSession,
    reader: AccessReader,
    peppers: Peppers,
    token_id: UUID,
    *,
    secret: str | None,
    server_ids: Sequence[UUID],
    address: Address | None,
    tells_all: bool,
) -> Looked:
    """Look at all but the servers themselves. ``tells_all``: to somebody who may know what is out of the token's reach.

    Raises ``NotFound`` and ``Unavailable``.
    """
    token, servers, context = await reader.token(token_id)
    if token is None:
        raise NotFound("There is no such token.")
    steps = [] if secret is None else [await _secret(session, peppers, token_id, secret, reader.time)]
    stopped = [_of_token(token, reader.at), await _of_identity(session, token, reader.at)]
    steps += [*stopped, *_of_address(token, address)]
    refusal = await _last_refusal(session, peppers, token_id, reader.time, tells_all=tells_all)
    if any(step.state == "fail" for step in stopped):
        return Looked(reader.time, token, context, steps, refusal)
    anywhere = _anywhere(token)
    reached = await in_slices(_reached(anywhere, list(servers.values()), context, reader.at))
    steps.append(_of_access(token, reached))
    asked = [one for one in reached if not server_ids or one.server.id in server_ids]
    steps += [_out_of_reach(id) for id in server_ids if id not in {one.server.id for one in asked}]
    return Looked(
        reader.time, anywhere, context, steps, refusal, asked[:MOST_SERVERS], len(reached) - len(asked[:MOST_SERVERS])
    )  # fmt: skip


async def _secret(
    session: AsyncSession, peppers: Peppers, token_id: UUID, text: str, now: datetime
) -> CheckStep:
    credential = parse_credential(_bare(text), SCOPED_TOKEN)
    if credential is None:
        return _malformed(_bare(text))
    if credential.id != token_id:
        return _fail(
            "secret", "secret_of_another_token", "It is the secret of another token.",
            "Check that token, or give the client the secret of this one.",
        )  # fmt: skip
    for row in await session.scalars(select(TokenSecret).where(col(TokenSecret.token_id) == token_id)):
        if peppers.matches(row.pepper_key_id, row.digest, credential.digest_input):
            return _of_secret(row.expires_at, now)
    return _fail(
        "secret", "secret_unknown", "It names this token, but is none of its secrets.",
        "Rotate the token, and give the client the new secret.",
    )  # fmt: skip


def _bare(text: str) -> str:
    """The secret of what people paste: the header's value, or the text in quotes."""
    return text.strip().strip("\"'").removeprefix("Bearer ").strip()


def _malformed(text: str) -> CheckStep:
    others = {CLIENT_SECRET: "a service account's client secret", API_BEARER: "a bearer of the API"}
    others[BREAK_GLASS] = "a bearer of the local administrator"
    for prefix, what in others.items():
        if parse_credential(text, prefix) is not None:
            return _fail(
                "secret", "secret_of_another_kind", f"It is {what}, and opens no MCP server.",
                "Give the client the secret of a token, which begins with sgt_.",
            )  # fmt: skip
    return _fail(
        "secret", "secret_malformed", "It is no secret of a token, or was changed on the way: its checksum is wrong.",
        "Copy it again, whole: it begins with sgt_ and has 76 characters.",
    )  # fmt: skip


def _of_secret(ends: datetime | None, now: datetime) -> CheckStep:
    if ends is None:
        return _ok("secret", "It is the current secret of this token.")
    if ends > now:
        return CheckStep(
            name="secret", state="warn", code="secret_rotating_out",
            detail=f"The token was rotated: this secret works until {ends:{_SHOWN_TIME}}.",
            remedy="Give the client the secret of the last rotation before then.",
        )  # fmt: skip
    return _fail(
        "secret", "secret_rotated", f"The token was rotated: this secret ended {ends:{_SHOWN_TIME}}.",
        "Give the client the secret of the last rotation.",
    )  # fmt: skip


def _of_token(token: Token, at: float) -> CheckStep:
    for link in token.chain():
        code = "token_revoked" if link.revoked else "token_expired" if at >= link.expires_at else None
        if code is not None:
            meaning = meaning_of(code)
            says = meaning.says if link is token else f"A token that it was derived from: {meaning.says}"
            return _fail("token", code, says, meaning.remedy)
    ends = datetime.fromtimestamp(min(link.expires_at for link in token.chain()), UTC)
    if ends - datetime.fromtimestamp(at, UTC) < _SOON:
        return CheckStep(
            name="token", state="warn", code="expires_soon",
            detail=f"It is live, and expires {ends:{_SHOWN_TIME}}.", remedy="Issue the next one in time.",
        )  # fmt: skip
    return _ok("token", f"It is live until {ends:{_SHOWN_TIME}}.")


async def _of_identity(session: AsyncSession, token: Token, at: float) -> CheckStep:
    names = await names_of(session, [link.identity.id for link in token.chain()])
    for link in token.chain():
        # Of the identity alone: the token itself has a step of its own.
        code = liveness(replace(link, parent=None, revoked=False, expires_at=at + 1, ip_allow=()), at, None)
        if code is not None:
            meaning = meaning_of(code)
            return _fail("identity", code, f"{_name(names, link)}: {meaning.says}", meaning.remedy)
    owned = "" if token.identity.owner is None else ", and so is the person who answers for it"
    return _ok("identity", f"{_name(names, token)} is active{owned}.")


def _name(names: dict[UUID, str], token: Token) -> str:
    return names.get(token.identity.id, "The identity")


def _of_address(token: Token, address: Address | None) -> list[CheckStep]:
    """Where the token may be used from, if that is restricted: this check may come from elsewhere than its calls."""
    if not any(link.ip_allow for link in token.chain()):
        return []
    allowed = address is not None and all(
        not link.ip_allow or any(address in network for network in link.ip_allow) for link in token.chain()
    )
    if allowed:
        return [_ok("address", f"It may be used from {address}, where you are.")]
    meaning = meaning_of("address_not_allowed")
    return [
        CheckStep(
            name="address", state="warn", code="address_not_allowed",
            detail=f"It may not be used from {address or 'your address'}, where you are.", remedy=meaning.remedy,
        )
    ]  # fmt: skip


def _reached(
    token: Token, servers: Sequence[Server], context: PolicyContext, at: float
) -> Generator[None, None, list[Reached]]:
    """By slug; a step for each server."""
    found = []
    for server in sorted(servers, key=lambda one: one.slug):
        yield
        # Switched off, it is told apart from what the token does not reach anyway.
        question = Question(token, replace(server, enabled=True))
        if decide(question, context, at).effect is not Effect.DENY:
            found.append(Reached(server, server.enabled))
    return found


def _of_access(token: Token, reached: Sequence[Reached]) -> CheckStep:
    if reached:
        count = len(reached)
        return _ok("access", f"It reaches {count} {'server' if count == 1 else 'servers'}.")
    if isinstance(token.scope, ListedScope) and not token.scope.entries:
        return _fail(
            "access", "scope_empty", "Its scope is empty: it reaches nothing.", "Issue a token with a scope."
        )
    return _fail(
        "access", "nothing_in_reach", "It reaches no server: no live grant covers what its scope names.",
        "Ask for access: a grant has to be made, or renewed.",
    )  # fmt: skip


def _out_of_reach(server_id: UUID) -> CheckStep:
    # One answer for a server that is not there and one out of reach.
    return CheckStep(
        name="server", state="fail", code="out_of_reach", server_id=server_id,
        detail="The token does not reach this server, or there is none.", remedy="Ask for access to it.",
    )  # fmt: skip


async def _last_refusal(
    session: AsyncSession, peppers: Peppers, token_id: UUID, now: datetime, *, tells_all: bool
) -> CheckStep | None:
    """The last request that was refused in a week, with what it means; ``None`` when there is none."""

    async def newest(decision: str) -> AuditEventView | None:
        asked = {"token_id": [token_id], "decision": [decision], "since": now - _LOOKS_BACK, "limit": 1}
        query = AuditQuery.model_validate(asked)
        cursors = Cursors(peppers.derive("cursors"), "connection_check", {})
        events, _ = await reading.page(session, query, cursors, now)
        return events[0] if events else None

    refused = await newest("deny")
    if refused is None:
        return None
    allowed = await newest("allow")
    code = refused.reason_code or "denied"
    hidden = not tells_all and code in HIDDEN
    meaning = OUT_OF_REACH if hidden else meaning_of(code)
    about = "" if refused.tool is None else f" for the tool {refused.tool}"
    passed = allowed is not None and allowed.time > refused.time
    after = " Requests since then were let through." if passed else ""
    return CheckStep(
        name="last_denial", state="ok" if passed else "warn", code="out_of_reach" if hidden else code,
        detail=f"{refused.time:{_SHOWN_TIME}}{about}: {meaning.says}{after}", remedy=meaning.remedy,
        event_id=refused.id,
    )  # fmt: skip


def _anywhere(token: Token) -> Token:
    """The token without its address rule, which has a step of its own."""
    parent = None if token.parent is None else _anywhere(token.parent)
    return replace(token, ip_allow=(), parent=parent)


def _ok(name: str, detail: str) -> CheckStep:
    return CheckStep(name=name, state="ok", code="ok", detail=detail)  # type: ignore[arg-type]


def _fail(name: str, code: str, detail: str, remedy: str | None) -> CheckStep:
    return CheckStep(name=name, state="fail", code=code, detail=detail, remedy=remedy)  # type: ignore[arg-type]


AT_ONCE = 16
"""How many servers one worker asks at a time, for all checks together."""
WITHIN_S = 15.0
"""How long all servers of a check may take, waiting for their turn included."""
_URLS = Patience(8.0, Timeouts(connect=3.0, first_byte=6.0, idle=6.0, total=8.0))
_COMMANDS = Patience(12.0, Timeouts(connect=3.0, first_byte=12.0, idle=12.0, total=12.0))
_REMEDIES = {
    "credential": "An administrator has to set the credential for this server again.",
    "forbidden": "An administrator has to give the server another address, or allow it.",
    "http_error": "An administrator has to look at the credential for this server, or at its address.",
    "unavailable": "Try again in a minute.",
    "busy": "Try again in a minute.",
}
_ITS_OWN = "Whoever runs the server has to see to it; then try again."
_SAYS = {
    "credential": "What calls are to carry cannot be had.",
    "forbidden": "Its address may not be reached.",
    "unreachable": "It cannot be reached.",
    "timeout": "It does not answer in time.",
    "http_error": "It answers with an error.",
    "rpc": "It refuses to list its tools.",
    "redirect": "It answers with a redirect.",
    "unavailable": "It has not answered lately, and is left alone for a moment.",
    "busy": "All connections to it are in use.",
}
_NOT_READ = "What it answers cannot be read."


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token has of a server's tools: those that it may call, how many of them with an approval first, and
    how many nobody has approved yet."""

    usable: tuple[Tool, ...]
    asking: int
    quarantined: int


class ServerChecks:
    """Asks servers, a bounded number at a time for all checks of one worker."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(
        self, runtime: Runtime, snapshot: AccessSnapshot, looked: Looked, *, tells_all: bool
    ) -> list[CheckStep]:
        """A step for each server that was reached, in their order. No connection to the database is held meanwhile.

        ``tells_all``: to somebody who may know where servers are.
        """
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        return await asyncio.gather(
            *(self._one(runtime, snapshot, looked, one, deadline, tells_all) for one in looked.reached)
        )

    async def _one(
        self,
        runtime: Runtime,
        snapshot: AccessSnapshot,
        looked: Looked,
        reached: Reached,
        deadline: float,
        tells_all: bool,
    ) -> CheckStep:
        server = reached.server
        if not reached.enabled:
            meaning = meaning_of("server_disabled")
            return _step(server, "fail", "server_disabled", meaning.says, meaning.remedy)
        expected = await in_slices(_expected(looked, server))
        begun = monotonic()
        try:
            async with asyncio.timeout_at(deadline), self._turns:
                begun = monotonic()
                found = await _list(runtime, snapshot, server, looked.token.identity.id)
        except DiscoveryFailed as failed:
            return _failed(server, failed, _since(begun), tells_all)
        except TimeoutError:
            return _failed(server, DiscoveryFailed("timeout", "It took too long."), _since(begun), tells_all)
        took_ms = _since(begun)
        return await in_slices(_answered(server, expected, found, took_ms))


def _expected(looked: Looked, server: Server) -> Generator[None, None, Expected]:
    """In steps, of a decision each: a server may have thousands of tools."""
    usable, met = [], Counter[str]()
    for tool in server.tools.values():
        yield
        decision = decide(Question(looked.token, server, tool.name), looked.context, looked.at.timestamp())
        if decision.effect is not Effect.DENY:
            usable.append(tool)
        met[decision.effect.value] += 1
        met[decision.reason_code] += 1
    return Expected(tuple(usable), met[Effect.REQUIRE_APPROVAL.value], met["tool_quarantined"])


async def _list(
    runtime: Runtime, snapshot: AccessSnapshot, server: Server, identity_id: UUID
) -> list[JsonObject]:
    """What the server offers now, to the very credential that calls would carry. Raises ``DiscoveryFailed``."""
    try:
        target = await snapshot.target(server, identity_id)
    except SnapshotUnavailable:
        raise DiscoveryFailed("unavailable", "The database cannot serve right now.") from None
    except (UnsealingFault, TokenFault) as fault:
        reason = f"There is no access token for it: {fault.reason}." if isinstance(fault, TokenFault) else ""
        raise DiscoveryFailed("credential", reason or "The stored credential does not open.") from None
    url: str | Target = target.url
    headers, patience = target.headers, _URLS
    if target.launch is not None:
        if runtime.supervisor is None:
            raise DiscoveryFailed("forbidden", "It is a command, and this host runs none.")
        url, patience = runtime.supervisor.target(server.id), _COMMANDS
        headers = runtime.supervisor.headers(target.launch, syncing(server.id))
    try:
        return await list_now(runtime.outbound, url, headers, target.protocol_versions, patience)
    except DiscoveryFailed as failed:
        if failed.status == 401 and target.client is not None:
            snapshot.refused(target.client.id, headers)
        raise


def _answered(
    server: Server, expected: Expected, found: list[JsonObject], took_ms: int
) -> Generator[None, None, CheckStep]:
    """In steps, of a definition each: a hostile server may send megabytes."""
    offered = {str(item["name"]): item for item in found}
    gone = other = 0
    for tool in expected.usable:
        yield
        item = offered.get(tool.name)
        gone += item is None
        other += item is not None and definition_digest(item) != tool.approved_digest
    waiting = expected.quarantined + other
    left = len(expected.usable) - gone - other
    asking = f", {expected.asking} of them with an approval first" if expected.asking else ""
    says = [f"It answers. {_count(left, 'tool')} can be called{asking}."]
    if waiting:
        says.append(f"{_count(waiting, 'tool')} more, new or changed, must be reviewed first.")
    if gone:
        says.append(f"{_count(gone, 'tool')} in reach {'is' if gone == 1 else 'are'} no longer offered.")
    code, remedy = "ok", None
    if waiting:
        code, remedy = "tools_wait", meaning_of("tool_quarantined").remedy
    elif gone:
        code, remedy = "tools_gone", "An administrator can sync the server."
    elif not left:
        code, remedy = "no_tools", "Ask for access to its tools."
    step = _step(server, "ok" if code == "ok" else "warn", code, " ".join(says), remedy)
    return step.model_copy(update={"duration_ms": took_ms})


def _failed(server: Server, failed: DiscoveryFailed, took_ms: int, tells_all: bool) -> CheckStep:
    """Why, in few words to those who may not know where the server is."""
    says = failed.reason if tells_all else _SAYS.get(failed.kind, _NOT_READ)
    step = _step(server, "fail", failed.kind, says, _REMEDIES.get(failed.kind, _ITS_OWN))
    return step.model_copy(update={"duration_ms": took_ms})


def _step(server: Server, state: str, code: str, detail: str, remedy: str | None) -> CheckStep:
    return CheckStep(
        name="server", state=state, code=code, detail=detail, remedy=remedy, server_id=server.id,  # type: ignore[arg-type]
        server=server.slug,
    )  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _since(begun: float) -> int:
    return round((monotonic() - begun) * 1000)
