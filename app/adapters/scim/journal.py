"""What the audit trail says of SCIM requests: which, on what, how it ended, and what it changed. Nobody's name."""

from dataclasses import dataclass
from uuid import UUID

from scim2_models import SCIMException
from scim2_server.requests import ScimRequest
from scim2_server.routing import Target, match
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.record import record
from app.http.authorization import Caller
from app.lib.ids import GROUP, IDENTITY, parse_id

ACTION = "scim.request"
_KINDS = {"users": ("identity", IDENTITY), "groups": ("group", GROUP)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, in words that hold nothing of what was sent."""

    method: str
    resource: str
    object_type: str | None
    object_id: UUID | None

    @classmethod
    def of(cls, request: ScimRequest, made: object = None) -> "Asked":
        """Read it from a request; ``made`` is the id of what a request made."""
        try:
            target = match(request.method.upper(), request.path)
        except SCIMException:
            return cls(request.method.upper()[:10], "unknown", None, None)
        kind, prefix = _KINDS.get((target.endpoint or "").casefold(), (None, ""))
        id = _id(prefix, made or target.resource_id) if kind else None
        return cls(request.method.upper(), _resource(target), kind if id else None, id)


def _resource(target: Target) -> str:
    """The endpoint and the operation: a path could hold anything."""
    known = (target.endpoint or "").casefold() in _KINDS
    endpoint = str(target.endpoint).capitalize() if known else ("unknown" if target.endpoint else "")
    return f"{endpoint}.{target.operation.value}".lstrip(".")


def _id(prefix: str, text: object) -> UUID | None:
    try:
        return parse_id(prefix, str(text))
    except ValueError:
        return None


async def note(
    session: AsyncSession,
    caller: Caller,
    provider_id: UUID | None,
    asked: Asked,
    status: int,
    effects: list[str],
    request_id: str | None,
) -> None:
    """Record one request in the transaction of ``session``."""
    changes = {
        "method": asked.method,
        "resource": asked.resource,
        "status": status,
        "effects": sorted(set(effects)),
    }
    outcome = "success" if status < 400 else "denied" if status in {401, 403} else "error"
    object_type = asked.object_type or "identity_provider"
    object_id = asked.object_id or provider_id
    await record(
        session,
        caller,
        ACTION,
        object_type,
        object_id,
        changes=changes,
        request_id=request_id,
        outcome=outcome,
    )
