"""REST routes of grants."""

from typing import Annotated, Literal

from fastapi import Query

from app.access.snapshot import CurrentSnapshot
from app.db.change import Change
from app.db.clock import transaction_time
from app.features.grants import schemas, service
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import GrantId

router = api_router("grants")

CanRead = Annotated[Caller, requires(Permission.GRANTS_READ)]
CanWrite = Annotated[Change, changes(Permission.GRANTS_WRITE)]


@router.get("", summary="List grants, newest first")
async def list_grants(
    query: Annotated[schemas.GrantQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[schemas.GrantView]:
    listed = await service.list_grants(session, caller, query, runtime)
    return schemas.GrantView.page(*listed, await transaction_time(session))


@router.post("", status_code=201, summary="Give a right")
async def create_grant(body: schemas.GrantCreate, change: CanWrite) -> schemas.GrantView:
    grant = await service.create_grant(change, body)
    return await service.show(change.session, change.caller, grant, change.now)


@router.get("/{grant_id}", summary="Read one grant")
async def get_grant(
    grant_id: GrantId,
    caller: CanRead,
    session: Session,
    include: Annotated[
        Literal["ended"] | None, Query(description="`ended`: also when it has ended; needs `audit.read`.")
    ] = None,
) -> schemas.GrantView:
    grant = await service.get_grant(session, caller, grant_id, ended=include is not None)
    return await service.show(session, caller, grant, await transaction_time(session))


@router.patch("/{grant_id}", summary="Change a grant, also for existing tokens")
async def update_grant(
    grant_id: GrantId, body: schemas.GrantUpdate, change: CanWrite, if_match: IfMatch
) -> schemas.GrantView:
    grant = await service.update_grant(change, grant_id, body, if_match)
    return await service.show(change.session, change.caller, grant, change.now)


@router.delete("/{grant_id}", status_code=204, summary="End a grant")
async def delete_grant(grant_id: GrantId, change: CanWrite, if_match: IfMatch) -> None:
    await service.end_grant(change, grant_id, if_match)


@router.post("/preview", summary="Preview the reach of a grant")
async def preview_grant(
    body: schemas.GrantPreviewRequest, caller: CanRead, session: Session, snapshot: CurrentSnapshot
) -> schemas.GrantPreview:
    """Evaluates the servers and tools as they are now, for any holder. Nothing is stored or granted. A grant by labels,
    by risk or of everything changes with the fleet: later it can reach more or less."""
    return await service.preview(session, caller, snapshot, body)
