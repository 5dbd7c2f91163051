"""Groups that published policies name: their members may approve calls, or are exempt from a policy.

Changing such a group grants or takes away access, as with a group that holds grants. Policies import groups, so they
are read by SQL here.
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


async def names_overlap(session: AsyncSession, ours: Collection[str], theirs: Collection[str]) -> bool:
    """Whether two sets of names overlap, ignoring case with the database's ``lower``, which also finds the group of an
    approval. Python's rules for letters such as ``İ`` and a final ``Σ`` differ."""
    if not ours or not theirs:
        return False
    return bool(await session.scalar(_ALIKE, {"ours": list(ours), "theirs": list(theirs)}))


async def check_may_change_group(
    session: AsyncSession, caller: Caller, *names: str | None, group_id: UUID | None = None
) -> None:
    """Raise ``Forbidden`` when a policy names this group, by its id or one of these names, unless the caller may
    grant."""
    if caller.may(Permission.GRANTS_WRITE):
        return
    id = None if group_id is None else format_id(GROUP, group_id)
    texts = list(await session.scalars(_PUBLISHED, {"annotation": _ANNOTATION, "id": id}))
    approvers = {name for name in map(_approvers, texts) if name is not None and "\0" not in name}
    group_names = {name for name in names if name is not None}
    is_named = id is not None and any(id in policy for policy in texts)
    if is_named or await names_overlap(session, group_names, approvers):
        raise Forbidden(
            "A published policy names this group, so changing it needs the permission "
            f"{Permission.GRANTS_WRITE.value}, which {caller.lacking}."
        )


@lru_cache(maxsize=1_000)
def _approvers(policy: str) -> str | None:
    """The name of the group in a policy's approval annotation."""
    try:
        (parsed,) = cedarpy.policies_to_pst(policy).static_policies.values()
    except ValueError:
        return None
    name: str | None = parsed.annotations.get(_ANNOTATION)
    return name
