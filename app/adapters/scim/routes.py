"""``/scim/v2``: provisioning of people and groups by directories (RFC 7643, RFC 7644, RFC 9865).

One route serves all paths, since ``scim2-server`` routes them. Authentication, the transaction, limits and the request
id are the same as in the API. Errors are SCIM errors, not problem documents.
"""

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from scim2_models import Error, SCIMException
from scim2_server.errors import UnsupportedMediaTypeException
from scim2_server.requests import ScimRequest
from scim2_server.responses import SCIM_MEDIA_TYPE

from app.adapters.scim.leniency import tolerate
from app.adapters.scim.service import Handler, make_service, record_request
from app.adapters.scim.work import Work, answer, error_of, headers_of, read_in_thread
from app.db.change import Change
from app.db.engine import CONNECTION_ERRORS, commit, database_unavailable
from app.domain.errors import DomainError
from app.features.identity_providers.schemas import ScimSettings
from app.features.identity_providers.service import Surface, require_served_provider
from app.http.authorization import Caller, Permission, changes
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import TransactionalRoute

PREFIX = "/scim/v2"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
CanProvision = Annotated[Change, changes(Permission.IDENTITIES_READ, machine=True)]
_SECRET = "scim cursors"


class ScimRoute(TransactionalRoute):
    """Renders errors as SCIM errors, and records those of authenticated callers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                try:
                    return await handle(request)
                except (SCIMException, DomainError) as error:
                    scim_error, headers = error_of(error), headers_of(error)
                await _record_refusal(request, scim_error.status or 500)
                return answer(scim_error, headers)
            except (DomainError, *CONNECTION_ERRORS) as error:
                # The refusal could not be recorded, so it is not returned either.
                unavailable = error if isinstance(error, DomainError) else database_unavailable()
                return answer(error_of(unavailable), headers_of(unavailable))

        return handled


def render_http_error(_request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """Render an error that occurs outside of the route as a SCIM error."""
    return answer(Error(status=status, detail=detail), dict(headers))


router = APIRouter(include_in_schema=False, route_class=ScimRoute)


@router.api_route(PREFIX, methods=_METHODS)
@router.api_route(PREFIX + "/{path:path}", methods=_METHODS)
async def serve(request: Request, change: CanProvision, runtime: CurrentRuntime) -> Response:
    """Handle a SCIM request for the provider that is configured with this service account."""
    scim_request = ScimRequest(
        method="GET" if request.method == "HEAD" else request.method,
        base_url=runtime.public_url.rstrip("/") + PREFIX,
        path=request.path_params.get("path", ""),
        query=dict(request.query_params),
        headers=request.headers.items(),
        body=await request.body(),
        subject=change.caller,
    )
    provider = await require_served_provider(change.session, Surface.SCIM, change.caller)
    request.state.scim_provider = provider.id
    work = Work(
        change=change,
        provider_id=provider.id,
        settings=ScimSettings.model_validate(provider.settings[Surface.SCIM.value]),
        signer=runtime.signer,
    )
    service = make_service(runtime.peppers.derive(_SECRET))
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaTypeException(detail="Compressed bodies are not supported.")
    if request.method in {"POST", "PUT", "PATCH"}:
        service.ensure_json(request.headers.get("content-type"))
    scim_request.body = await read_in_thread(
        scim_request.body, lambda: tolerate(scim_request.method, scim_request.path, scim_request.body)
    )
    response = await Handler(service, work).handle(scim_request)
    await record_request(
        change.session,
        change.caller,
        provider.id,
        scim_request,
        status=response.status,
        request_id=change.request_id,
        effects=work.effects,
        made=(response.body or {}).get("id"),
    )
    body = b"" if response.body is None else json.dumps(response.body, ensure_ascii=False).encode()
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-type"}
    return Response(body, int(response.status), headers, SCIM_MEDIA_TYPE if body else None)


async def _record_refusal(request: Request, status: int) -> None:
    """Record a refused request of an authenticated caller in a new transaction, since the request's is rolled back."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None or not 400 <= status < 500:
        return
    runtime: Runtime = request.app.state.runtime
    scim_request = ScimRequest(request.method, "", request.path_params.get("path", ""))
    async with runtime.sessions() as session:
        provider_id = getattr(request.state, "scim_provider", None)
        await record_request(session, caller, provider_id, scim_request, status, request.state.request_id)
        await commit(session)
