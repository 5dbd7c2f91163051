"""``/access/matrix``: who reaches how much of what."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.point_in_time import AccessReader
from app.access.reach import matrix_of
from app.access.snapshot import CurrentSnapshot
from app.features.access.matrix_schemas import AccessMatrix, AccessMatrixQuery, AccessMatrixRow
from app.http.authorization import Permission, requires
from app.http.problems import COMMON_PROBLEMS
from app.http.transaction import Session, TransactionalRoute

router = APIRouter(
    prefix="/api/v1/access", tags=["access"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


@router.get(
    "/matrix",
    dependencies=[requires(Permission.ACCESS_EXPLAIN)],
    operation_id="get_access_matrix",
    summary="Count what identities reach of servers",
)
async def get_access_matrix(
    query: Annotated[AccessMatrixQuery, Query()], session: Session, snapshot: CurrentSnapshot
) -> AccessMatrix:
    """For each pair, how many of the server's tools the identity's live grants and those of its groups reach now,
    decided as calls are. `/identities/{id}/access` says which, and why."""
    reader = AccessReader(session, snapshot, server_ids=query.server_id)
    rows = await matrix_of(reader, query.identity_id, query.server_id)
    return AccessMatrix(at=reader.time, items=[AccessMatrixRow.of(row) for row in rows])
