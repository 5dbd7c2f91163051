"""``/me/tokens/{id}/check`` and ``/tokens/{id}/check``: check whether a token works, and explain why not."""

from ipaddress import ip_address
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.db.engine import commit
from app.domain.errors import TooManyRequests
from app.domain.objects import Address
from app.features.audit.record import record
from app.features.tokens.check_schemas import ConnectionCheck, ConnectionCheckRequest
from app.features.tokens.connection_check import ServerChecks, check_database
from app.features.tokens.own import find_own_token, person_of
from app.http.authorization import Caller, CanWriteSelf, Permission, requires
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.rate_limits import Quota, Slots, client_address
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import TokenId

CHECKS_A_MINUTE = 20
CHECKS_AT_ONCE = 2
"""Per caller. Responses of servers may be large, and the operator of one may have callers request them."""
_OF_ALL_AT_ONCE = 32

router = APIRouter(
    prefix="/api/v1",
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(404),
)


class ConnectionChecks:
    """The connection checks of one worker, with a rate limit per caller."""

    def __init__(self, workers: int = 1) -> None:
        self._quota = Quota("connection-checks", CHECKS_A_MINUTE, workers=workers)
        self._under_way = Slots(
            "connection checks", "rate_limited", most=_OF_ALL_AT_ONCE, most_of_caller=CHECKS_AT_ONCE
        )
        self._servers = ServerChecks()

    async def run(
        self,
        request: Request,
        session: AsyncSession,
        runtime: Runtime,
        snapshot: AccessSnapshot,
        caller: Caller,
        token_id: UUID,
        body: ConnectionCheckRequest,
    ) -> ConnectionCheck:
        """Check a token that the caller may see. Commits the session before servers are called.

        Raises ``NotFound``, ``TooManyRequests`` and ``Unavailable``.
        """
        self._count(request, caller)
        with self._under_way.held(caller):
            return await self._run(request, session, runtime, snapshot, caller, token_id, body)

    async def _run(
        self,
        request: Request,
        session: AsyncSession,
        runtime: Runtime,
        snapshot: AccessSnapshot,
        caller: Caller,
        token_id: UUID,
        body: ConnectionCheckRequest,
    ) -> ConnectionCheck:
        check = await check_database(
            session,
            AccessReader(session, snapshot),
            runtime.peppers,
            token_id,
            secret=None if body.secret is None else body.secret.get_secret_value(),
            server_ids=body.server_ids,
            address=_address(request),
            tells_all=caller.may(Permission.ACCESS_EXPLAIN),
        )
        await record(
            session, caller, "token.check", "token", token_id, token_id=token_id,
            changes={"servers": len(check.reached)}, request_id=request.state.request_id,
        )  # fmt: skip
        # Returns the connection to the pool: servers may be slow.
        await commit(session)
        steps = await self._servers.ask(
            runtime, snapshot, check, tells_all=caller.may(Permission.SERVERS_READ)
        )
        last = [] if check.refusal is None else [check.refusal]
        return ConnectionCheck.of(token_id, check.at, [*check.steps, *steps, *last], check.unasked)

    def _count(self, request: Request, caller: Caller) -> None:
        standing = self._quota.standing(caller.id)
        if not self._quota.take(caller.id) and standing is not None:
            request.state.standing = standing
            raise TooManyRequests(
                "Too many checks in a minute: wait before the next one.",
                retry_after_s=standing.reset_s,
            )


async def get_checks(request: Request) -> ConnectionChecks:
    checks: ConnectionChecks = request.app.state.connection_checks
    return checks


CurrentChecks = Annotated[ConnectionChecks, Depends(get_checks)]


@router.post(
    "/me/tokens/{token_id}/check",
    tags=["me"],
    operation_id="check_own_token",
    summary="Check whether a token of your own works",
)
async def check_own_token(
    token_id: TokenId,
    body: ConnectionCheckRequest,
    caller: CanWriteSelf,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    checks: CurrentChecks,
    request: Request,
) -> ConnectionCheck:
    """Checks the given secret, the token, its identity, what it reaches and the last refusal, and asks the servers in
    reach whether they answer now. Each failed step has a remedy.

    Works for your own tokens and those of agents that you own.
    """
    await find_own_token(session, person_of(caller), token_id)
    return await checks.run(request, session, runtime, snapshot, caller, token_id, body)


@router.post(
    "/tokens/{token_id}/check",
    tags=["tokens"],
    operation_id="check_token",
    summary="Check whether a token works",
)
async def check_token(
    token_id: TokenId,
    body: ConnectionCheckRequest,
    caller: Annotated[Caller, requires(Permission.TOKENS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
    checks: CurrentChecks,
    request: Request,
) -> ConnectionCheck:
    """The same for any token. Callers who may explain access also see why the last request was refused, and callers who
    may read servers see why one does not answer."""
    return await checks.run(request, session, runtime, snapshot, caller, token_id, body)


def _address(request: Request) -> Address | None:
    try:
        return ip_address(client_address(request) or "")
    except ValueError:
        return None
