"""``/me/tokens/{id}/check`` and ``/tokens/{id}/check``: whether a token works now, and where it does not, why."""

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
from app.features.tokens.connection_check import ServerChecks, look
from app.features.tokens.own import find_own_token, person_of
from app.http.authorization import Caller, CanWriteSelf, Permission, requires
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.rate_limits import Quota, Slots, client_address
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import TokenId

CHECKS_A_MINUTE = 20
CHECKS_AT_ONCE = 2
"""Of a caller. What a server answers may be large, and who runs it may have friends who ask for it."""
_OF_ALL_AT_ONCE = 32

router = APIRouter(
    prefix="/api/v1",
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS | problem_responses(404),
)


class ConnectionChecks:
    """The checks of one worker, of which each caller has so many a minute."""

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
        asked: ConnectionCheckRequest,
    ) -> ConnectionCheck:
        """Check a token that the caller may look at. The session is committed before servers are asked.

        Raises ``NotFound``, ``TooManyRequests`` and ``Unavailable``.
        """
        self._count(request, caller)
        with self._under_way.held(caller):
            return await self._run(request, session, runtime, snapshot, caller, token_id, asked)

    async def _run(
        self,
        request: Request,
        session: AsyncSession,
        runtime: Runtime,
        snapshot: AccessSnapshot,
        caller: Caller,
        token_id: UUID,
        asked: ConnectionCheckRequest,
    ) -> ConnectionCheck:
        looked = await look(
            session,
            AccessReader(session, snapshot),
            runtime.peppers,
            token_id,
            secret=None if asked.secret is None else asked.secret.get_secret_value(),
            server_ids=asked.server_ids,
            address=_address(request),
            tells_all=caller.may(Permission.ACCESS_EXPLAIN),
        )
        await record(
            session, caller, "token.check", "token", token_id, token_id=token_id,
            changes={"servers": len(looked.reached)}, request_id=request.state.request_id,
        )  # fmt: skip
        # The connection goes back to the pool: servers may take their time.
        await commit(session)
        steps = await self._servers.ask(
            runtime, snapshot, looked, tells_all=caller.may(Permission.SERVERS_READ)
        )
        last = [] if looked.refusal is None else [looked.refusal]
        return ConnectionCheck.of(token_id, looked.at, [*looked.steps, *steps, *last], looked.unasked)

    def _count(self, request: Request, caller: Caller) -> None:
        standing = self._quota.standing(caller.id)
        if not self._quota.take(caller.id) and standing is not None:
            request.state.standing = standing
            raise TooManyRequests(
                "You have made as many checks as you may in a minute: wait before the next one.",
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
    summary="Check whether a token of one's own works",
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
    """Looks at the secret that is given, the token, its identity, what it reaches and the last refusal, and asks the
    servers in reach whether they answer now. Each step that is not well says what to do.

    Of one's own tokens and those of agents that one answers for.
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
    """The same of any token. Whoever may explain access is told why the last request was refused, and whoever may read
    servers why one does not answer."""
    return await checks.run(request, session, runtime, snapshot, caller, token_id, body)


def _address(request: Request) -> Address | None:
    try:
        return ip_address(client_address(request) or "")
    except ValueError:
        return None
