"""``/scim/v2``: where directories provision people and groups (RFC 7643, RFC 7644, RFC 9865).

One route for all of it: ``scim2-server`` knows the paths, and what stands around every request of ours (who calls, one
transaction, limits, the id) stands around it here. Errors are SCIM errors, never problem documents.
"""

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from scim2_models import Error, SCIMException
from scim2_server.errors import UnsupportedMediaTypeException
from scim2_server.requests import ScimRequest
from scim2_server.responses import SCIM_MEDIA_TYPE, ScimResponse

from app.adapters.scim.handler import Handler
from app.adapters.scim.leniency import tolerate
from app.adapters.scim.service import Asked, Service, make_service, note
from app.adapters.scim.work import Work, answer, error_of, headers_of, read_apart
from app.db.engine import OUT_OF_REACH, commit, out_of_reach
from app.domain.errors import DomainError
from app.features.identity_providers.provisioning import Surface, require_served_provider
from app.features.identity_providers.schemas import ScimSettings
from app.http.authorization import Caller, Permission, requires
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute

PREFIX = "/scim/v2"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
CanProvision = Annotated[Caller, requires(Permission.IDENTITIES_READ, machine=True)]
_SECRET = "scim cursors"


class ScimRoute(TransactionalRoute):
    """Answers every error as a SCIM error, and records those of callers who are known."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def tell(request: Request) -> Response:
            try:
                return await handle(request)
            except (SCIMException, DomainError) as error:
                told, headers = error_of(error), headers_of(error)
            await _note_refusal(request, told.status or 500)
            return answer(told, headers)

        async def handled(request: Request) -> Response:
            try:
                return await tell(request)
            except (DomainError, *OUT_OF_REACH) as error:
                # The refusal could not be recorded: then it is not told either.
                told = error if isinstance(error, DomainError) else out_of_reach()
                return answer(error_of(told), headers_of(told))

        return handled


def tell_error(_request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """An error from outside of the route, as all others here are told."""
    return answer(Error(status=status, detail=detail), dict(headers))


router = APIRouter(include_in_schema=False, route_class=ScimRoute)


@router.api_route(PREFIX, methods=_METHODS)
@router.api_route(PREFIX + "/{path:path}", methods=_METHODS)
async def serve(
    request: Request,
    session: Session,
    runtime: CurrentRuntime,
    caller: CanProvision,
) -> Response:
    """Carry out one SCIM request for the provider whose settings name the caller."""
    asked = await _read(request, runtime, caller)
    provider = await require_served_provider(session, Surface.SCIM, caller)
    request.state.scim_provider = provider.id
    work = Work(
        session=session,
        caller=caller,
        provider_id=provider.id,
        settings=ScimSettings.model_validate(provider.settings[Surface.SCIM.value]),
        clock=runtime.clock,
        signer=runtime.signer,
        request_id=request.state.request_id,
    )
    service = make_service(runtime.peppers.derive(_SECRET))
    _check_media_type(request, service)
    asked.body = await read_apart(asked.body, lambda: tolerate(asked.method, asked.path, asked.body))
    response = await Handler(service, work).handle(asked)
    made = (response.body or {}).get("id")
    await note(
        session, caller, provider.id, Asked.of(asked, made), response.status, work.effects, work.request_id
    )
    return _sent(response)


async def _read(request: Request, runtime: Runtime, caller: Caller) -> ScimRequest:
    return ScimRequest(
        method="GET" if request.method == "HEAD" else request.method,
        base_url=runtime.public_url.rstrip("/") + PREFIX,
        path=request.path_params.get("path", ""),
        query=dict(request.query_params),
        headers=request.headers.items(),
        body=await request.body(),
        subject=caller,
    )


def _check_media_type(request: Request, service: Service) -> None:
    """Raise ``UnsupportedMediaTypeException`` for what is not JSON, or is compressed."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaTypeException(detail="Compressed bodies are not taken.")
    if request.method in {"POST", "PUT", "PATCH"}:
        service.ensure_json(request.headers.get("content-type"))


def _sent(response: ScimResponse) -> Response:
    body = b"" if response.body is None else json.dumps(response.body, ensure_ascii=False).encode()
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-type"}
    return Response(body, int(response.status), headers, SCIM_MEDIA_TYPE if body else None)


async def _note_refusal(request: Request, status: int) -> None:
    """Record what was refused to a caller who is known, in a transaction of its own: the request's is undone."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None or not 400 <= status < 500:
        return
    runtime: Runtime = request.app.state.runtime
    asked = ScimRequest(request.method, "", request.path_params.get("path", ""))
    async with runtime.sessions() as session:
        provider_id = getattr(request.state, "scim_provider", None)
        await note(session, caller, provider_id, Asked.of(asked), status, [], request.state.request_id)
        await commit(session)
