"""``/service-accounts``: programs that manage the control plane, and their credentials."""

from typing import Annotated, Literal

from fastapi import Query, Request, Response

from app.db.change import Change
from app.features.service_accounts import schemas, service
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import TAGGED, IfMatch, set_etag
from app.http.pagination import ListQuery, Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import KEY, KeyId, ServiceAccountId, format_id

router = api_router("service-accounts")
CanRead = Annotated[Caller, requires(Permission.SERVICE_ACCOUNTS_READ)]
CanWrite = Annotated[Change, changes(Permission.SERVICE_ACCOUNTS_WRITE)]
_CHANGED = problem_responses(409)


@router.get("")
async def list_service_accounts(
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    query: Annotated[schemas.ServiceAccountQuery, Query()],
) -> Page[schemas.ServiceAccountView]:
    """List service accounts, newest first."""
    rows, following = await service.list_accounts(session, caller, query, runtime)
    return Page(items=[schemas.ServiceAccountView.from_row(row) for row in rows], next_cursor=following)


@router.post("", status_code=201)
async def create_service_account(
    change: CanWrite, body: schemas.ServiceAccountCreate
) -> schemas.ServiceAccountView:
    """Create a service account with at most the caller's own role."""
    account = await service.create_account(change, body)
    return schemas.ServiceAccountView.from_row(account)


@router.get("/{service_account_id}")
async def get_service_account(
    caller: CanRead,
    session: Session,
    service_account_id: ServiceAccountId,
    include: Annotated[
        Literal["ended"] | None,
        Query(description="`ended` shows ended ones too; needs the permission audit.read."),
    ] = None,
) -> schemas.ServiceAccountView:
    """Read one service account."""
    account = await service.get_account(session, caller, service_account_id, ended=include is not None)
    return schemas.ServiceAccountView.from_row(account)


@router.patch("/{service_account_id}", responses=_CHANGED)
async def update_service_account(
    change: CanWrite,
    if_match: IfMatch,
    service_account_id: ServiceAccountId,
    body: schemas.ServiceAccountUpdate,
) -> schemas.ServiceAccountView:
    """Change a service account. You cannot change your own role or status."""
    return schemas.ServiceAccountView.from_row(
        await service.update_account(change, service_account_id, body, if_match)
    )


@router.delete("/{service_account_id}", status_code=204, responses=_CHANGED)
async def delete_service_account(
    change: CanWrite, if_match: IfMatch, service_account_id: ServiceAccountId
) -> None:
    """End a service account with its credentials and bearers."""
    await service.end_account(change, service_account_id, if_match)


@router.get("/{service_account_id}/credentials")
async def list_service_account_credentials(
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    service_account_id: ServiceAccountId,
    query: Annotated[ListQuery, Query()],
) -> Page[schemas.CredentialView]:
    """List the credentials of a service account, including revoked ones, newest first."""
    rows, following = await service.list_credentials(session, caller, service_account_id, query, runtime)
    return Page(items=[schemas.CredentialView.from_row(row) for row in rows], next_cursor=following)


@router.post("/{service_account_id}/credentials", status_code=201, responses={201: TAGGED})
async def create_service_account_credential(
    change: CanWrite,
    runtime: CurrentRuntime,
    request: Request,
    response: Response,
    service_account_id: ServiceAccountId,
) -> schemas.IssuedCredential:
    """Create a client secret. Only this response shows it."""
    new = await service.create_credential(change, runtime.peppers, service_account_id)
    set_etag(response, service.UNREVOKED)
    response.headers["Location"] = f"{request.url.path}/{format_id(KEY, new.row.id)}"
    return schemas.IssuedCredential(
        client_id=service_account_id,
        client_secret=new.secret,
        credential=schemas.CredentialView.from_row(new.row),
    )


@router.delete("/{service_account_id}/credentials/{credential_id}", status_code=204, responses=_CHANGED)
async def revoke_service_account_credential(
    change: CanWrite, if_match: IfMatch, service_account_id: ServiceAccountId, credential_id: KeyId
) -> None:
    """Revoke a client secret and all bearers issued for it."""
    await service.revoke_credential(change, service_account_id, credential_id, if_match)
