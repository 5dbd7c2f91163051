"""All routes of the console, in one router."""

from fastapi import APIRouter

from app.adapters.console import sign_in_routes
from app.adapters.console.pages import (
    access_matrix,
    approvals,
    audit,
    connection,
    explain,
    grant_forms,
    grant_stale,
    grants,
    groups,
    home,
    identities,
    invitations,
    issuing,
    issuing_end,
    looks,
    my_access,
    offboarding,
    pickups,
    policies,
    requesting,
    server_forms,
    servers,
    tokens,
    tools,
)

router = APIRouter()
# Modules with fixed addresses come before those whose address ends in an id, which would otherwise take them.
for _page in (
    sign_in_routes,
    approvals,
    home,
    audit,
    my_access,
    requesting,
    pickups,
    connection,
    explain,
    identities,
    invitations,
    offboarding,
    groups,
    access_matrix,
    server_forms,
    servers,
    tools,
    issuing,
    issuing_end,
    tokens,
    grant_forms,
    grant_stale,
    grants,
    policies,
    looks,
):
    router.include_router(_page.router)
# Last, since it takes every path that no other has.
router.include_router(looks.rest)
