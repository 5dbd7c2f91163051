from typing import Literal, cast

Permission = Literal[
    "access.explain",
    "administrators.read",
    "administrators.write",
    "approvals.decide",
    "approvals.read",
    "arguments.read",
    "audit.read",
    "audit_sinks.read",
    "audit_sinks.write",
    "grants.read",
    "grants.write",
    "groups.read",
    "groups.write",
    "identities.erase",
    "identities.offboard",
    "identities.read",
    "identities.write",
    "identity_providers.read",
    "identity_providers.write",
    "policies.read",
    "policies.write",
    "self.read",
    "self.write",
    "servers.read",
    "servers.write",
    "service_accounts.read",
    "service_accounts.write",
    "tokens.issue",
    "tokens.read",
    "tokens.revoke",
    "tools.read",
    "tools.write",
    "webhooks.read",
    "webhooks.write",
]


def check_permission(value: str) -> Permission:
    """A newer service may know more values than these: they come through as they are."""
    return cast(Permission, value)
