"""Groups that published policies name: whoever is in one may approve calls, or is let off what a policy forbids.

To shape such a group is to give or take rights, as it is for one that holds grants. Policies stand above groups, so
they are read by SQL, not by import.
"""

from collections.abc import Collection
from functools import lru_cache
from uuid import UUID

import cedarpy
from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Forbidden
from app.http.authorization import Caller, Permission
from app.lib.ids import GROUP, format_id

_ANNOTATION = "require_approval"
_PUBLISHED = text("""
SELECT published_text FROM policies WHERE status = 'published' AND ended_at IS NULL
AND (position(:annotation IN published_text) > 0 OR position(CAST(:id AS text) IN published_text) > 0)
""")

_ALIKE = text("""
SELECT EXISTS (
    SELECT 1 FROM unnest(:ours) AS ours (name)
    JOIN unnest(:theirs) AS theirs (name) ON lower(ours.name) = lower(theirs.name)
)
""").bindparams(bindparam("ours", type_=ARRAY(Text)), bindparam("theirs", type_=ARRAY(Text)))


async def are_alike(session: AsyncSession, ours: Collection[str], theirs: Collection[str]) -> bool:
    """Whether one of ours is one of theirs, whatever its case: by the ``lower`` of the database, which is what finds
    the group of an approval. Python's takes other letters for one (``İ``, ``Σ`` at the end)."""
    if not ours or not theirs:
        return False
    return bool(await session.scalar(_ALIKE, {"ours": list(ours), "theirs": list(theirs)}))


async def check_may_shape(
    session: AsyncSession, caller: Caller, *names: str | None, group_id: UUID | None = None
) -> None:
    """Raise ``Forbidden`` when a policy names a group of this id or one of these names, unless the caller may grant."""
    if caller.may(Permission.GRANTS_WRITE):
        return
    id = None if group_id is None else format_id(GROUP, group_id)
    texts = list(await session.scalars(_PUBLISHED, {"annotation": _ANNOTATION, "id": id}))
    approvers = {name for name in map(_approvers, texts) if name is not None and "\0" not in name}
    wanted = {name for name in names if name is not None}
    named = id is not None and any(id in policy for policy in texts)
    if named or await are_alike(session, wanted, approvers):
        raise Forbidden(
            "A published policy names this group, so shaping it needs the permission "
            f"{Permission.GRANTS_WRITE.value}, which {caller.lacking}."
        )


@lru_cache(maxsize=1_000)
def _approvers(policy: str) -> str | None:
    """The name of the group that a policy has approve."""
    try:
        (parsed,) = cedarpy.policies_to_pst(policy).static_policies.values()
    except ValueError:
        return None
    name: str | None = parsed.annotations.get(_ANNOTATION)
    return name
