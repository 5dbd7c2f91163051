"""Whether a token works now, and where it does not, why: from its secret to the servers that it reaches.

What it says of rights is asked of ``decide``; the servers are asked with what calls of the token would send them.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.explain import HIDDEN, OUT_OF_REACH, meaning_of
from app.access.point_in_time import AccessReader
from app.crypto.keys import Peppers
from app.domain.access import PolicyContext, Question, decide, liveness
from app.domain.errors import NotFound
from app.domain.objects import Address, Server, Token
from app.domain.policy import Effect
from app.domain.scopes import ListedScope
from app.domain.token_format import API_BEARER, BREAK_GLASS, CLIENT_SECRET, SCOPED_TOKEN, parse_credential
from app.features.audit import reading
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditEventView, AuditQuery
from app.features.tokens.check_schemas import MOST_SERVERS, CheckStep
from app.http.pagination import Cursors
from app.lib.event_loop import in_slices
from app.models.tokens import TokenSecret

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
