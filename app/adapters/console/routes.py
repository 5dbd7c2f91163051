"""All routes of the console, in one router."""

from fastapi import APIRouter

from app.adapters.console import sign_in_routes
from app.adapters.console.pages import (
    access_matrix,
    approval,
    approvals,
    audit,
    audit_event,
    connection,
    credential_changes,
    explain,
    grant_forms,
    grant_stale,
    grants,
    group_changes,
    groups,
    home,
    identities,
    identity,
    identity_links,
    invitations,
    issuing,
    issuing_end,
    looks,
    my_access,
    offboarding,
    pickups,
    policies,
    policy_changes,
    policy_editor,
    receipts,
    requesting,
    server_changes,
    server_forms,
    servers,
    token_changes,
    tokens,
    tool_changes,
    tools,
)

router = APIRouter()
for _room in (
    sign_in_routes,
    # The list first: its fixed address would otherwise name an approval.
    approvals,
    approval,
    home,
    # Before the page of one event, which its fixed addresses would otherwise name.
    audit,
    audit_event,
    my_access,
    requesting,
    pickups,
    connection,
    explain,
    identities,
    identity,
    identity_links,
    invitations,
    offboarding,
    receipts,
    # Before the page of one group, as above.
    group_changes,
    groups,
    access_matrix,
    # Before the page of one server, which its fixed addresses would otherwise name.
    server_forms,
    servers,
    server_changes,
    credential_changes,
    tools,
    tool_changes,
    # Before the page of one token, for the same reason.
    issuing,
    issuing_end,
    tokens,
    token_changes,
    # Before the page of one grant, as above.
    grant_forms,
    grant_stale,
    grants,
    policy_editor,
    policies,
    policy_changes,
    looks,
):
    router.include_router(_room.router)
# Last, since it takes every path that no other has.
router.include_router(looks.rest)
