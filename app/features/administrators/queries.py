"""Queries over administrators, their roles, and the people behind them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.administrators.schemas import AdministratorQuery
from app.features.identities.queries import OIDC, erased_link
from app.features.identity_providers.queries import same_claim
from app.http.authorization import Role
from app.http.pagination import Sorts, select_filtered
from app.models.identities import Administrator, Identity, RoleAssignment

# A provider that was disabled or ended since its keys were fetched has no row here. A person is identified by issuer
# and link: a provider that was ended and registered again knows the same people, including those who left, unless its
# link claim differs. An erased person is matched by the digest of the link. The first condition on links has the form
# of their unique index, which would not serve another form.
_KNOWN = text(f"""
SELECT person.id AS identity_id, person.kind, person.status, administrators.id AS administrator_id,
    administrators.status AS administrator_status, administrators.last_sign_in_at, person.sign_ins_after
FROM identity_providers asked
LEFT JOIN LATERAL (
    SELECT identity_links.identity_id FROM identity_providers same
    JOIN identity_links ON coalesce(identity_links.provider_id::text, '') = same.id::text
        AND identity_links.kind = '{OIDC}' AND identity_links.value IN (:link, :erased)
    WHERE {same_claim("same", "asked")}
    ORDER BY same.id = asked.id DESC, identity_links.id LIMIT 1
) link ON true
LEFT JOIN identities person ON person.id = link.identity_id
LEFT JOIN administrators ON administrators.identity_id = person.id
WHERE asked.id = :provider AND asked.status = 'active' AND asked.ended_at IS NULL
""")  # noqa: S608 - the only values are constants


SORTS: Sorts = {
    "last_sign_in_at": func.coalesce(
        col(Administrator.last_sign_in_at), literal_column("'-infinity'::timestamptz")
    )
}


def select_administrators(query: AdministratorQuery) -> Select[Administrator]:
    """Select the administrators that match a filter, unordered."""
    statement = select_filtered(Administrator, query, "status", "identity_id")
    if query.role:
        having = select(col(RoleAssignment.administrator_id)).where(col(RoleAssignment.role).in_(query.role))
        statement = statement.where(col(Administrator.id).in_(having))
    if query.q:
        columns = (col(Identity.user_name), col(Identity.display_name), col(Identity.email))
        named = select(col(Identity.id)).where(
            or_(*(column.icontains(query.q, autoescape=True) for column in columns))
        )
        statement = statement.where(col(Administrator.identity_id).in_(named))
    return statement


@dataclass(frozen=True, slots=True)
class LinkHolder:
    """The stored state of the holder of a link; ``identity_id`` is None when no identity has it."""

    identity_id: UUID | None
    kind: str | None
    status: str | None
    administrator_id: UUID | None
    administrator_status: str | None
    last_sign_in_at: datetime | None
    sign_ins_after: datetime | None = None

    @property
    def can_sign_in(self) -> bool:
        """Whether the link is unknown, or belongs to an active person whose administrator is not disabled."""
        person = self.identity_id is None or (self.kind == "person" and self.status == "active")
        return person and self.administrator_status in {None, "active"}

    def was_revoked(self, issued_at: datetime) -> bool:
        """Whether a token issued at this time has been revoked."""
        return self.sign_ins_after is not None and issued_at <= self.sign_ins_after


async def find_link_holder(session: AsyncSession, provider_id: UUID, link: str) -> LinkHolder | None:
    """Find the holder of a link at a provider. None when the provider is not active."""
    parameters = {"provider": provider_id, "link": link, "erased": erased_link(OIDC, link)}
    row = (await session.execute(_KNOWN, parameters)).one_or_none()
    return None if row is None else LinkHolder(*row)


async def find_administrator(session: AsyncSession, identity_id: UUID, *, lock: bool) -> Administrator | None:
    """The administrator record of an identity; with ``lock``, locked against disabling, for a locked identity."""
    query = select(Administrator).where(col(Administrator.identity_id) == identity_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return (await session.execute(query)).scalar_one_or_none()


async def assignments_of(
    session: AsyncSession, administrator_ids: Iterable[UUID]
) -> dict[UUID, list[RoleAssignment]]:
    """The role assignments of several administrators, by administrator, the strongest role first."""
    by_administrator: dict[UUID, list[RoleAssignment]] = {id: [] for id in administrator_ids}
    query = select(RoleAssignment).where(col(RoleAssignment.administrator_id).in_(by_administrator))
    strength = {role.value: place for place, role in enumerate(Role)}
    for row in sorted(await session.scalars(query), key=lambda row: strength[row.role]):
        by_administrator[row.administrator_id].append(row)
    return by_administrator
