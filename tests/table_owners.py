"""Each table has one owner: no other feature changes a row of it, not even an attribute.

``test_architecture`` looks for statements; this listens to the mapped classes while the tests run, since most changes
are ``row.column = value``. A change by another part of the application fails where it is made.
"""

import sys
from types import FrameType
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Mapper
from sqlmodel import SQLModel

from app.db.rows import touch

OWNERS = {
    "api_bearers": "service_accounts",
    "approvals": "approvals",
    "audit_checkpoints": "audit",
    "audit_sinks": "audit_sinks",
    "administrators": "administrators",
    "break_glass_sessions": "administrators",
    "browser_sessions": "browser_sessions",
    "grants": "grants",
    "group_members": "groups",
    "groups": "groups",
    "identities": "identities",
    "identity_links": "identities",
    "identity_providers": "identity_providers",
    "invitations": "invitations",
    "offboarding_receipts": "offboarding",
    "policies": "policies",
    "role_assignments": "administrators",
    "scheduled_offboardings": "offboarding",
    "scim_users": "identities",
    "server_credentials": "servers",
    "servers": "servers",
    "service_account_credentials": "service_accounts",
    "service_accounts": "service_accounts",
    "signal_events": "identity_providers",
    "signal_streams": "identity_providers",
    "token_drafts": "tokens",
    "token_pickups": "tokens",
    "token_secrets": "tokens",
    "tokens": "tokens",
    "tools": "tools",
    "webhook_deliveries": "webhooks",
    "webhook_secrets": "webhooks",
    "webhooks": "webhooks",
    "workload_sign_ins": "administrators",
}
"""The feature that writes each table. The tables of admissions and of the audit log have SQL of their own."""


def _writer(frame: FrameType | None) -> str | None:
    """The module that changes a row; ``None`` if a test does, or ``rows.touch``, which is there for others."""
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if (module, frame.f_code.co_name) == (touch.__module__, touch.__name__):
            return None
        if module.startswith("app.") and not module.startswith(("app.db.", "app.models.")):
            return module
        if module.startswith(("tests.", "bench.")) and module != __name__:
            return None
        frame = frame.f_back
    return None


def _check(row: Any, _value: Any, _old: Any, initiator: Any) -> None:
    owner, module = OWNERS.get(row.__tablename__), _writer(sys._getframe(1))
    if owner is not None and module is not None and not module.startswith(f"app.features.{owner}."):
        raise AssertionError(
            f"{module} writes {row.__tablename__}.{initiator.key}, a table of {owner}: call a service of {owner}"
        )


def _listen(mapper: Mapper[Any], _class: type) -> None:
    for attribute in mapper.column_attrs:
        event.listen(attribute.class_attribute, "set", _check)


def install() -> None:
    """Listen to all mapped classes, also those that are configured later."""
    event.listen(Mapper, "mapper_configured", _listen)
    for mapper in SQLModel._sa_registry.mappers:
        if mapper.configured:
            _listen(mapper, mapper.class_)
