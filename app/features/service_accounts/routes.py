"""``/service-accounts``: programs that manage the control plane, and their credentials."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from app.features.service_accounts import service
from app.features.service_accounts.queries import SORTS, credentials_of, select_accounts
from app.features.service_accounts.schemas import (
    CredentialView,
    IssuedCredential,
    ServiceAccountCreate,
    ServiceAccountQuery,
    ServiceAccountUpdate,
    ServiceAccountView,
)
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.etags import TAGGED, IfMatch, set_etag
from app.http.idempotency import once
from app.http.pagination import Cursors, ListQuery, Page, read_page
from app.http.problems import COMMON_PROBLEMS, problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import KEY, SERVICE_ACCOUNT, KeyId, ServiceAccountId, format_id
from app.models.identities import ServiceAccount

router = APIRouter(
    prefix="/api/v1/service-accounts",
    tags=["service-accounts"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)
Reader = Annotated[Caller, requires(Permission.SERVICE_ACCOUNTS_READ)]
Writer = Annotated[Caller, requires(Permission.SERVICE_ACCOUNTS_WRITE)]
Include = Annotated[
    Literal["ended"] | None,
    Query(description="`ended` shows ended ones too; needs the permission audit.read."),
]


@router.get("", operation_id="list_service_accounts")
async def list_service_accounts(
    caller: Reader, session: Session, runtime: CurrentRuntime, query: Annotated[ServiceAccountQuery, Query()]
) -> Page[ServiceAccountView]:
    """List service accounts, newest first."""
    if query.include:
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_service_accounts", query.filters())
    rows, following = await read_page(session, select_accounts(query), ServiceAccount, cursors, query, SORTS)
    return Page(items=[ServiceAccountView.from_row(row) for row in rows], next_cursor=following)


@router.post("", operation_id="create_service_account", status_code=201)
@once
async def create_service_account(
    caller: Writer, session: Session, request: Request, response: Response, body: ServiceAccountCreate
) -> ServiceAccountView:
    """Create a service account with at most the caller's own role."""
    account = await service.create(
        session,
        caller,
        name=body.name,
        owner_id=body.owner_id,
        role=body.role,
        request_id=request.state.request_id,
    )
    await session.refresh(account)
    set_etag(response, account.revision)
    response.headers["Location"] = f"{router.prefix}/{format_id(SERVICE_ACCOUNT, account.id)}"
    return ServiceAccountView.from_row(account)


@router.get("/{service_account_id}", operation_id="get_service_account")
async def get_service_account(
    caller: Reader,
    session: Session,
    response: Response,
    service_account_id: ServiceAccountId,
    include: Include = None,
) -> ServiceAccountView:
    """Read one service account."""
    if include:
        authorize(caller, Permission.AUDIT_READ)
    account = await service.load(session, service_account_id, include_ended=include is not None)
    set_etag(response, account.revision)
    return ServiceAccountView.from_row(account)


@router.patch(
    "/{service_account_id}", operation_id="update_service_account", responses=problem_responses(409, 412)
)
async def update_service_account(
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
    response: Response,
    service_account_id: ServiceAccountId,
    body: ServiceAccountUpdate,
) -> ServiceAccountView:
    """Change a service account. You cannot change your own role or status."""
    account = await service.load(session, service_account_id, lock=True)
    if_match.check(account.revision)
    await service.change(session, caller, account, body.given(), request.state.request_id)
    set_etag(response, account.revision)
    return ServiceAccountView.from_row(account)


@router.delete(
    "/{service_account_id}",
    operation_id="delete_service_account",
    status_code=204,
    responses=problem_responses(409, 412),
)
async def delete_service_account(
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
    service_account_id: ServiceAccountId,
) -> None:
    """End a service account with its credentials and bearers."""
    account = await service.load(session, service_account_id, lock=True)
    if_match.check(account.revision)
    await service.end(session, caller, account, request.state.request_id)


@router.get(
    "/{service_account_id}/credentials",
    dependencies=[requires(Permission.SERVICE_ACCOUNTS_READ)],
    operation_id="list_service_account_credentials",
)
async def list_credentials(
    session: Session,
    runtime: CurrentRuntime,
    service_account_id: ServiceAccountId,
    query: Annotated[ListQuery, Query()],
) -> Page[CredentialView]:
    """List the credentials of a service account, including revoked ones, newest first."""
    account = await service.load(session, service_account_id)
    filters = query.filters() | {"account": account.id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_service_account_credentials", filters)
    rows, following = await credentials_of(session, account.id, cursors, query)
    return Page(items=[CredentialView.from_row(row) for row in rows], next_cursor=following)


@router.post(
    "/{service_account_id}/credentials",
    operation_id="create_service_account_credential",
    status_code=201,
    responses={201: TAGGED},
)
@once
async def create_credential(
    caller: Writer,
    session: Session,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
    service_account_id: ServiceAccountId,
) -> IssuedCredential:
    """Create a client secret. Only this response shows it."""
    account = await service.load(session, service_account_id, lock=True)
    new = await service.add_credential(session, runtime.peppers, caller, account, request.state.request_id)
    credential = CredentialView.from_row(new.row)
    set_etag(response, service.UNREVOKED)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"{request.url.path}/{format_id(KEY, new.row.id)}"
    return IssuedCredential(client_id=account.id, client_secret=new.secret, credential=credential)


@router.delete(
    "/{service_account_id}/credentials/{credential_id}",
    operation_id="revoke_service_account_credential",
    status_code=204,
    responses=problem_responses(409, 412),
)
async def revoke_credential(
    caller: Writer,
    session: Session,
    request: Request,
    if_match: IfMatch,
    service_account_id: ServiceAccountId,
    credential_id: KeyId,
) -> None:
    """Revoke a client secret and all bearers issued for it."""
    account = await service.load(session, service_account_id, lock=True)
    request_id = request.state.request_id
    await service.revoke_credential(session, caller, account, credential_id, if_match, request_id)
