"""The transaction of a request.

A request's session commits *before* its response is sent. A deadlock or serialization failure repeats the whole
request a few times; an unavailable database becomes ``Unavailable``, never a 500.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.connection import DRIVER_FAULTS
from app.db.engine import (
    ATTEMPTS,
    CONNECTION_ERRORS,
    UNAVAILABLE_CLASSES,
    commit,
    database_unavailable,
    sqlstate,
    undo,
)
from app.domain.errors import Unavailable
from app.http.endpoints import complete, requires_if_match
from app.http.problems import problem_responses
from app.http.requests import check_media_type, check_repeats, read_json, repeatable_names

_REPEATABLE = {"40001", "40P01"}
# Paths without parameters; the route of console pages handles the others.
_FIXED_PATHS: set[str] = set()
_SAFE = {"GET", "HEAD", "OPTIONS"}
# A repeated change that already holds writes nothing, so its response would not wait for the standby; but the state
# that it saw may be a commit that was never replicated. So it waits for a later record of the log instead.
_WAIT_FOR_WHAT_IS_SEEN = text(
    "SELECT CASE WHEN pg_current_xact_id_if_assigned() IS NULL THEN pg_logical_emit_message(true, 'scopegate', '') END"
)


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """The session of this request; commits when the handler returns, rolls back when it raises."""
    sessions: async_sessionmaker[AsyncSession] = request.app.state.runtime.sessions
    async with sessions() as session:
        request.state.session = session
        yield session
        if request.state.session is not session:
            # Already returned: the request was repeated, or its error is rendered in another form.
            return
        if request.method not in _SAFE:
            await session.execute(_WAIT_FOR_WHAT_IS_SEEN)
        await commit(session)


Session = Annotated[AsyncSession, Depends(get_session, scope="function")]


class TransactionalRoute(APIRoute):
    """Repeats a request after a transaction conflict, and maps an unavailable database to ``Unavailable``. The id of an
    operation is the name of its endpoint, unless it is given.

    A failed request is rolled back here, since a route above this one may render the error as a response in its own
    form, and the session of a completed request commits.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **values: Any) -> None:
        values["operation_id"] = values.get("operation_id") or endpoint.__name__
        if requires_if_match(endpoint):
            values["responses"] = {**(values.get("responses") or {}), **problem_responses(428)}
        super().__init__(path, complete(endpoint, creates=values.get("status_code") == 201), **values)
        if "{" not in path:
            _FIXED_PATHS.add(path)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        reads_json = self.body_field is not None
        is_api = self.path.startswith("/api/")
        repeatable = repeatable_names(self.dependant.query_params)

        async def repeat(request: Request) -> Response:
            if is_api and request.path_params and request.url.path in _FIXED_PATHS:
                # Its last segment is not an id: the path has no such method.
                raise HTTPException(405)
            if reads_json:
                check_media_type(request)
            check_repeats(request, repeatable)
            if reads_json:
                request = await read_json(request)
            for _ in range(ATTEMPTS):
                try:
                    return await handle(request)
                except Exception as error:
                    # The session ends with the request: until then it would keep its locks and connection, and commit
                    # what it did outside of a failed savepoint.
                    session: AsyncSession | None = getattr(request.state, "session", None)
                    if session is not None:
                        request.state.session = None
                        await undo(session)
                    if isinstance(error, CONNECTION_ERRORS) or _is_outage(error):
                        raise database_unavailable() from error
                    if not isinstance(error, DBAPIError) or sqlstate(error) not in _REPEATABLE:
                        raise
            raise Unavailable("The change repeatedly conflicted with others. Repeat the request shortly.")

        return repeat


def _is_outage(error: Exception) -> bool:
    """Whether a statement on the driver's own connection failed because the database is unavailable."""
    if not isinstance(error, DRIVER_FAULTS):
        return False
    code = sqlstate(error)
    return code is None or code.startswith(UNAVAILABLE_CLASSES)


def api_router(path: str, *, tag: str | None = None, **options: Any) -> APIRouter:
    """A router for the operations below ``/api/v1/<path>``, each in a transaction. ``path`` is the default tag."""
    return APIRouter(prefix=f"/api/v1/{path}", tags=[tag or path], route_class=TransactionalRoute, **options)
