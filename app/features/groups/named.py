"""Groups that published policies name: whoever is in one may approve calls, or is let off what a policy forbids.

To shape such a group is to give or take rights, as it is for one that holds grants. Policies stand above groups, so
they are read by SQL, not by import.
"""

from collections.abc import Collection
from functools import lru_cache
from uuid import UUID

import cedarpy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Forbidden
from app.kit.authorization import Caller, Permission
from app.kit.ids import GROUP, format_id

_ANNOTATION = "require_approval"
_PUBLISHED = text("""
SELECT published_text FROM policies WHERE status = 'published' AND ended_at IS NULL
AND (position(:annotation IN published_text) > 0 OR position(CAST(:id AS text) IN published_text) > 0)
""")


async def check_may_shape(
    session: AsyncSession, caller: Caller, *names: str | None, group_id: UUID | None = None
) -> None:
    """Raise ``Forbidden`` when a policy names a group of this id or one of these names, unless the caller may grant."""
    if caller.may(Permission.GRANTS_WRITE):
        return
    id = None if group_id is None else format_id(GROUP, group_id)
    texts = await session.scalars(_PUBLISHED, {"annotation": _ANNOTATION, "id": id})
    wanted = {name.lower() for name in names if name is not None}
    if any(_names(policy, wanted, id) for policy in texts):
        raise Forbidden(
            "A published policy names this group, so shaping it needs the permission "
            f"{Permission.GRANTS_WRITE.value}, which {caller.lacking}."
        )


def _names(policy: str, names: Collection[str], id: str | None) -> bool:
    return (id is not None and id in policy) or _approvers(policy) in names


@lru_cache(maxsize=1_000)
def _approvers(policy: str) -> str | None:
    """The name of the group that a policy has approve, whatever its case."""
    try:
        (parsed,) = cedarpy.policies_to_pst(policy).static_policies.values()
    except ValueError:
        return None
    name: str | None = parsed.annotations.get(_ANNOTATION)
    return None if name is None else name.lower()
