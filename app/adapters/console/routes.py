"""All routes of the console, in one router."""

from fastapi import APIRouter

from app.adapters.console import approval_routes, sign_in_routes
from app.adapters.console.pages import connection, explain, home, identities, identity, looks

router = APIRouter()
for _room in (
    sign_in_routes,
    approval_routes,
    home,
    connection,
    explain,
    identities,
    identity,
    looks,
):
    router.include_router(_room.router)
# Last, since it takes every path that no other has.
router.include_router(looks.rest)
