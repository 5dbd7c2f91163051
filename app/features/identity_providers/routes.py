"""``/api/v1/identity-providers``: trusted issuers of access tokens."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from app.features.identity_providers import queries, service
from app.features.identity_providers.schemas import (
    IdentityProviderCreate,
    IdentityProviderQuery,
    IdentityProviderUpdate,
    IdentityProviderView,
)
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IDENTITY_PROVIDER, IdentityProviderId, format_id
from app.models.identity_providers import IdentityProvider

router = APIRouter(
    prefix="/api/v1/identity-providers",
    tags=["identity-providers"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)

Reader = Annotated[Caller, requires(Permission.IDENTITY_PROVIDERS_READ)]
Writer = Annotated[Caller, requires(Permission.IDENTITY_PROVIDERS_WRITE)]
Include = Annotated[
    Literal["ended"] | None, Query(description="`ended` shows one that has ended too; needs `audit.read`.")
]
_CHANGED = problem_responses(409, 412)


@router.post("", operation_id="create_identity_provider", status_code=201)
@once
async def create_identity_provider(
    body: IdentityProviderCreate,
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
) -> IdentityProviderView:
    """Register an OpenID provider. The API accepts its tokens from now on, with the mapped roles."""
    row = await service.create(session, runtime.outbound.policy, body, caller, request.state.request_id)
    response.headers["Location"] = f"{router.prefix}/{format_id(IDENTITY_PROVIDER, row.id)}"
    return _shown(row, response)


@router.get("", operation_id="list_identity_providers")
async def list_identity_providers(
    query: Annotated[IdentityProviderQuery, Query()],
    caller: Reader,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[IdentityProviderView]:
    """List identity providers, newest first."""
    _asks_ended(caller, query.include)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identity_providers", query.filters())
    statement = queries.select_providers(query)
    rows, following = await read_page(session, statement, IdentityProvider, cursors, query, queries.SORTS)
    return Page(items=[IdentityProviderView.from_row(row) for row in rows], next_cursor=following)


@router.get("/{identity_provider_id}", operation_id="get_identity_provider")
async def get_identity_provider(
    identity_provider_id: IdentityProviderId,
    caller: Reader,
    session: Session,
    response: Response,
    include: Include = None,
) -> IdentityProviderView:
    """Read one identity provider."""
    row = await service.require(session, identity_provider_id, ended=_asks_ended(caller, include))
    return _shown(row, response)


@router.patch("/{identity_provider_id}", operation_id="update_identity_provider", responses=_CHANGED)
async def update_identity_provider(
    identity_provider_id: IdentityProviderId,
    body: IdentityProviderUpdate,
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
    runtime: CurrentRuntime,
    response: Response,
) -> IdentityProviderView:
    """Change an identity provider (merge patch). It takes effect with the next request."""
    row = await service.require_locked(session, identity_provider_id)
    if_match.check(row.revision)
    await service.update(session, runtime.outbound.policy, row, body, caller, request.state.request_id)
    return _shown(row, response)


@router.delete(
    "/{identity_provider_id}",
    operation_id="delete_identity_provider",
    status_code=204,
    responses=_CHANGED,
)
async def delete_identity_provider(
    identity_provider_id: IdentityProviderId,
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
) -> None:
    """End an identity provider. Sign-in with it stops immediately. Its identities stay."""
    row = await service.require_locked(session, identity_provider_id)
    if_match.check(row.revision)
    await service.end(session, row, caller, request.state.request_id)


def _asks_ended(caller: Caller, include: str | None) -> bool:
    if include == "ended":
        authorize(caller, Permission.AUDIT_READ)
    return include == "ended"


def _shown(row: IdentityProvider, response: Response) -> IdentityProviderView:
    set_etag(response, row.revision)
    return IdentityProviderView.from_row(row)
