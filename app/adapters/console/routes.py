"""All routes of the console, in one router."""

from fastapi import APIRouter

from app.adapters.console import sign_in_routes
from app.adapters.console.pages import (
    access_matrix,
    access_requests,
    approvals,
    audit,
    connection,
    explain,
    grant_forms,
    grants,
    groups,
    home,
    identities,
    invitations,
    issue_token,
    issue_token_end,
    my_access,
    offboarding,
    pickups,
    policies,
    server_forms,
    servers,
    site,
    tokens,
    tools,
    unused_access,
)

router = APIRouter()
# Fixed paths come before the patterns that would match them.
for _page in (
    sign_in_routes,
    approvals,
    home,
    audit,
    my_access,
    access_requests,
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
    issue_token,
    issue_token_end,
    tokens,
    grant_forms,
    unused_access,
    grants,
    policies,
    site,
):
    router.include_router(_page.router)
# Last, since it matches every path.
router.include_router(site.fallback)
