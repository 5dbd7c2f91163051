"""The one transaction of a request.

A request's session commits *before* its answer leaves. A deadlock or serialization failure repeats the whole
request a few times; a database that cannot serve becomes ``Unavailable``, never a 500.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.engine import ATTEMPTS, CONNECTION_ERRORS, commit, database_unavailable, sqlstate, undo
from app.domain.errors import Unavailable
from app.http.etags import demanding
from app.http.requests import check_media_type, check_repeats, read_json, repeatable_names

_REPEATABLE = {"40001", "40P01"}
# Without parameters; those of the pages have a route that takes what is left.
_FIXED_PATHS: set[str] = set()
_SAFE = {"GET", "HEAD", "OPTIONS"}
# A repeat of a change that holds already writes nothing, and so would be answered without a wait for the standby; but
# what it saw may be the very commit that never got there. Any record of the log after it is waited for in its place.
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
            # It was given back, and the request was repeated, or its error is answered in another form.
            return
        if request.method not in _SAFE:
            await session.execute(_WAIT_FOR_WHAT_IS_SEEN)
        await commit(session)


async def give_back(request: Request) -> None:
    """Undo the transaction of a request that failed, and give its connection back.

    Its session ends with the request alone: until then it would hold its locks and its connection against whatever
    comes after, and what it did outside of a savepoint that failed would be committed in the end.
    """
    session: AsyncSession | None = getattr(request.state, "session", None)
    if session is not None:
        request.state.session = None
        await undo(session)


Session = Annotated[AsyncSession, Depends(get_session, scope="function")]


class TransactionalRoute(APIRoute):
    """Repeats a request whose transaction lost against another, and maps a lost database to ``Unavailable``.

    What a request that failed has done is undone here: a route above this one may answer the error in its own form,
    and a request that is answered is committed.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **values: Any) -> None:
        super().__init__(path, demanding(endpoint), **values)
        if "{" not in path:
            _FIXED_PATHS.add(path)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        reads_json = self.body_field is not None
        is_api = self.path.startswith("/api/")
        repeatable = repeatable_names(self.dependant.query_params)

        async def repeat(request: Request) -> Response:
            if is_api and request.path_params and request.url.path in _FIXED_PATHS:
                # Its last word is no id: the path has no such method.
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
                    await give_back(request)
                    if isinstance(error, CONNECTION_ERRORS):
                        raise database_unavailable() from error
                    if not isinstance(error, DBAPIError) or sqlstate(error) not in _REPEATABLE:
                        raise
            raise Unavailable("The change kept colliding with others; repeat the request shortly.")

        return repeat
