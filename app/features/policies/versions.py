"""The past of a policy: what was published of it, and how two versions differ."""

import difflib
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import NotFound
from app.features.policies.queries import find_version
from app.features.policies.schemas import PolicyDiff
from app.models.audit import ObjectVersion
from app.models.policies import Policy

DRAFT = "draft"


async def require_version(session: AsyncSession, policy_id: UUID, version: int) -> ObjectVersion:
    """What was published under a number. Raises ``NotFound``."""
    found = await find_version(session, policy_id, version)
    if found is None:
        raise NotFound(f"This policy has no version {version}: nothing was published under that number.")
    return found


async def compare(session: AsyncSession, policy: Policy, first: str, second: str) -> PolicyDiff:
    """How one version of a policy, or its draft, differs from another. Raises ``NotFound``."""
    before, after = await _content(session, policy, first), await _content(session, policy, second)
    lines = difflib.unified_diff(
        before["text"].splitlines(keepends=True), after["text"].splitlines(keepends=True), first, second
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    changed = [name for name in ("name", "text", "mode", "tests") if before[name] != after[name]]
    return PolicyDiff.model_validate({"from": first, "to": second, "text": text, "changed": changed})


async def _content(session: AsyncSession, policy: Policy, version: str) -> dict[str, Any]:
    if version == DRAFT:
        return {"name": policy.name, "text": policy.text, "mode": policy.mode, "tests": policy.tests}
    kept = await require_version(session, policy.id, int(version))
    return {"tests": [], **kept.content}
