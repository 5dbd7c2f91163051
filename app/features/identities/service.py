"""Create, change, suspend and reinstate identities, and set the links that decide who signs in as one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.change import Change, Subject, Values, erase_from_history
from app.db.rows import existing, flush_unique
from app.db.webhook_events import WebhookEvent
from app.domain.errors import Conflict, Invalid
from app.features.browser_sessions.service import end_browser_sessions
from app.features.identities import queries, role_checks, schemas
from app.features.identities.policy_reads import check_may_set_attributes, check_may_transfer
from app.features.identities.queries import OIDC, link_taken
from app.features.identity_providers import queries as providers
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.runtime import Runtime
from app.lib import ids
from app.lib.ids import format_id, new_id
from app.models.identities import Identity, IdentityLink

USER_NAME_RESERVATION = timedelta(days=90)
"""How long a user name created by hand stays reserved after its holder was offboarded."""
IDENTITY = Subject(
    "identity",
    audited=("kind", "owner_id", "provider_id", "status"),
    personal=tuple(name for name in schemas.IdentityUpdate.model_fields if name not in {"owner_id", "links"}),
    history="identity",
    # Everything that decisions read, without personal data.
    kept=("attributes", "kind", "owner_id", "status"),
    shown={
        "owner_id": lambda id: format_id(ids.IDENTITY, id),
        "provider_id": lambda id: format_id(ids.IDENTITY_PROVIDER, id),
    },
)
# Fields that identify an identity to an offboarding, a directory or a signal, and its owner.
_NOT_OF_ONESELF = frozenset({"user_name", "email", "external_id", "owner_id"})
_SCIM_USER = text("""
UPDATE scim_users
SET user_name = :shown_id, external_id = NULL, profile = '{}', deleted_at = coalesce(deleted_at, now())
WHERE identity_id = :id
""")


async def find_identity(session: AsyncSession, identity_id: UUID) -> Identity:
    """Find an identity with any status. Raises ``NotFound``."""
    return existing(await session.get(Identity, identity_id), "identity")


async def show_identity(session: AsyncSession, identity_id: UUID) -> schemas.IdentityView:
    """Read an identity with its links. Raises ``NotFound``."""
    identity = await find_identity(session, identity_id)
    links = await queries.links_of(session, [identity.id])
    return schemas.IdentityView.from_row(identity, links[identity.id])


async def list_identities(
    session: AsyncSession, query: schemas.IdentityQuery, runtime: Runtime
) -> Page[schemas.IdentityView]:
    """Read a page of identities with their links."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identities", query.filters())
    rows, next_cursor = await read_page(
        session, queries.select_identities(query), Identity, cursors, query, queries.SORTS
    )
    links = await queries.links_of(session, [row.id for row in rows])
    return Page(
        items=[schemas.IdentityView.from_row(row, links[row.id]) for row in rows], next_cursor=next_cursor
    )


async def list_own_agents(
    session: AsyncSession, caller: Caller, query: schemas.OwnAgentQuery, runtime: Runtime
) -> Page[schemas.IdentityView]:
    """Read a page of the agents that the caller owns."""
    if caller.identity_id is None:
        return Page(items=[], next_cursor=None)
    owned = schemas.IdentityQuery(**query.model_dump(), kind=["agent"], owner_id=[caller.identity_id])
    return await list_identities(session, owned, runtime)


async def lock_existing(session: AsyncSession, identity_id: UUID) -> Identity:
    """Lock an identity exclusively. Raises ``NotFound``."""
    return existing(await queries.lock_identity(session, identity_id), "identity")


def blank(identity: Identity) -> Values:
    """The values before a new identity, so that its event says only what it has."""
    return Values(identity.id, {**IDENTITY.blank(identity).columns, "status": "active", "attributes": {}})


async def create_identity(
    change: Change, body: schemas.IdentityCreate, *, id: UUID | None = None
) -> Identity:
    """Create a person, or an agent of an active person. Raises ``Forbidden``, ``Invalid`` and ``Conflict``."""
    session = change.session
    if body.kind == "person" and body.owner_id is not None:
        raise Invalid.field(
            "/owner_id", "not_for_a_person", "Only an agent has an owner: leave owner_id out."
        )
    if body.kind == "agent":
        if body.owner_id is None:
            raise Invalid.field("/owner_id", "required", "An agent needs a person as its owner.")
        _check_owner(await queries.lock_identity(session, body.owner_id, share=True))
    await check_may_set_attributes(session, change.caller, body.attributes)
    identity = Identity(**{name: value for name, value in body if name != "links"}, id=id or new_id())
    session.add(identity)
    await _flush_unique(session, identity)
    await _check_user_name_not_reserved(change, identity.user_name)
    linked = await set_links(session, identity, body.links)
    change.record(
        "identity.create", IDENTITY, blank(identity), identity,
        details=linked, widens=[identity.id], webhook=WebhookEvent.IDENTITY_CREATED,
    )  # fmt: skip
    return identity


async def update_identity(
    change: Change, id: UUID, body: schemas.IdentityUpdate, if_match: Precondition
) -> Identity:
    """Apply a merge patch.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` for an identity with a higher role and for fields that
    callers may not change of themselves, ``Invalid`` and ``Conflict``.
    """
    session = change.session
    identity = await lock_for_update(session, id, body)
    if_match.check(identity.revision)
    _check_not_erased(identity)
    if identity.status == "offboarded":
        raise Conflict(
            "This identity is offboarded; reinstate it before changing it.", code="identity_offboarded"
        )
    fields = body.given()
    fields.pop("links", None)
    if "owner_id" in fields and identity.kind == "person":
        raise Invalid.field(
            "/owner_id", "not_for_a_person", "Only an agent has an owner: leave owner_id out."
        )
    if fields.get("owner_id") == identity.id:
        raise Invalid.field("/owner_id", "not_a_person", "An agent cannot own itself; name a person.")
    if "attributes" in fields:
        fields["attributes"] = _merge(identity.attributes, fields["attributes"])
    changed = {name: value for name, value in fields.items() if getattr(identity, name) != value}
    links = None
    if "links" in body.model_fields_set:
        present = {_key(one) for one in (await queries.links_of(session, [identity.id]))[identity.id]}
        links = None if {_key(one) for one in body.links} == present else body.links
    if not changed and links is None:
        return identity
    await _check_may_write(change, identity, changed, links)
    linked = {} if links is None else await set_links(session, identity, links)
    before = IDENTITY.values(identity)
    identity.sqlmodel_update(changed)
    identity.revision += 1
    await _flush_unique(session, identity)
    if "user_name" in changed and identity.provider_id is None:
        await _check_user_name_not_reserved(change, identity.user_name)
    # A policy may read any attribute, so a change can take access away. Calls of an agent read those of its owner too.
    change.record(
        "identity.update", IDENTITY, before, identity,
        details=linked, narrows=[identity.id], webhook=WebhookEvent.IDENTITY_UPDATED,
    )  # fmt: skip
    return identity


async def suspend_identity(change: Change, id: UUID, if_match: Precondition) -> Identity:
    """Stop every call of an identity and of its agents.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` and ``Conflict``.
    """
    session = change.session
    identity = await lock_existing(session, id)
    if_match.check(identity.revision)
    if identity.status == "offboarded":
        raise Conflict(
            "This identity is already offboarded, so it cannot be suspended.", code="identity_offboarded"
        )
    if identity.status == "suspended":
        return identity
    await role_checks.check_may_end(session, change.caller, identity)
    # The agents keep their own status: each decision reads that of their owner.
    agents = await queries.agents_of(session, identity.id)
    before = await _set_status(session, identity, "suspended")
    await end_browser_sessions(session, identity.id)
    stopped = {"stopped_agents": [format_id(ids.IDENTITY, agent) for agent in agents]} if agents else {}
    change.record(
        "identity.suspend", IDENTITY, before, identity,
        details=stopped, narrows=[identity.id, *agents], webhook=WebhookEvent.IDENTITY_SUSPENDED,
    )  # fmt: skip
    return identity


async def reinstate_identity(change: Change, id: UUID, if_match: Precondition) -> Identity:
    """Make a suspended or offboarded identity active. What was revoked stays revoked.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` and ``Conflict``.
    """
    identity, owner = await _lock_with_owner(change.session, id)
    if_match.check(identity.revision)
    _check_not_erased(identity)
    await role_checks.check_not_self(change.session, change.caller, identity.id)
    await role_checks.check_may_change(change.session, change.caller, identity.id)
    if identity.kind == "agent" and (owner is None or owner.status != "active"):
        raise Conflict(
            "The owner of this agent is not active; reinstate the owner or transfer the agent first.",
            code="owner_not_active",
        )
    if identity.status != "active":
        await reinstate_locked(change, identity)
    return identity


async def reinstate_locked(change: Change, identity: Identity) -> None:
    """The same for a locked identity, without a check of roles: for the directory that manages it. Raises
    ``Conflict``."""
    _check_not_erased(identity)
    identity.offboarded_at = None
    identity.suspended_with_owner = False
    before = await _set_status(change.session, identity, "active")
    agents = await queries.agents_of(change.session, identity.id)
    change.record(
        "identity.reinstate", IDENTITY, before, identity,
        widens=[identity.id, *agents], webhook=WebhookEvent.IDENTITY_REINSTATED,
    )  # fmt: skip


async def set_links(
    session: AsyncSession, identity: Identity, links: Sequence[schemas.IdentityLinkInput]
) -> dict[str, Any]:
    """Replace the links of a locked identity; return the changes for the event: providers and kinds, no values.

    Raises ``Invalid`` for an agent and for an unknown provider, ``Conflict`` for a link that another identity has or
    that remains of an erased one, and for the last link of the last active owner.
    """
    current = {_key(one): one for one in (await queries.links_of(session, [identity.id]))[identity.id]}
    indexes = {(one.provider_id, one.kind, one.value): index for index, one in enumerate(links)}
    added, removed = indexes.keys() - current.keys(), current.keys() - indexes.keys()
    if not added and not removed:
        return {}
    if identity.kind != "person":
        raise Invalid.field(
            "/links", "not_for_an_agent", "Only a person has links: an agent does not sign in."
        )
    async with role_checks.require_remaining_owner(session):
        for key in removed:
            await session.delete(current[key])
        await session.flush()
        for provider_id, kind, value in sorted(added, key=lambda key: indexes[key]):
            if await providers.find(session, provider_id) is None:
                raise Invalid.field(
                    f"/links/{indexes[provider_id, kind, value]}/provider_id",
                    "not_found",
                    "There is no such identity provider.",
                )
            await add_link(session, identity, provider_id, kind, value)
    if any(kind == queries.OIDC for _, kind, _ in removed):
        # A session ends with the link that opened it, even if the link is set again.
        await end_browser_sessions(session, identity.id)
    return {
        "links": {
            "added": [_describe_link(*key) for key in sorted(added, key=str)],
            "removed": [_describe_link(*key) for key in sorted(removed, key=str)],
        }
    }


async def add_link(
    session: AsyncSession, identity: Identity, provider_id: UUID, kind: str, value: str
) -> None:
    """Link a locked identity to a provider's value. Raises ``Conflict`` when it is linked to another identity, even an
    erased one."""
    await providers.lock_link_claim(session, provider_id)
    # Until this transaction ends, no first sign-in with this value creates an identity.
    await queries.lock_first_sign_in(session, provider_id, value)
    if await queries.find_link(session, provider_id, value, kind) is not None:
        raise _link_taken()
    session.add(IdentityLink(identity_id=identity.id, provider_id=provider_id, kind=kind, value=value))
    await flush_unique(session, {"uq_identity_links_value": _link_taken()})


async def add_account(
    change: Change, identity: Identity, provider_id: UUID, value: str, because: Mapping[str, Any]
) -> None:
    """Link a locked person to the account that they sign in with; ``because`` is added to the event. Raises
    ``Conflict``."""
    await add_link(change.session, identity, provider_id, OIDC, value)
    identity.revision += 1
    await change.session.flush()
    added = {"provider_id": format_id(ids.IDENTITY_PROVIDER, provider_id), "kind": OIDC}
    change.record(
        "identity.update", IDENTITY, identity, identity,
        details={"links": {"added": [added], "removed": []}, **because}, webhook=WebhookEvent.IDENTITY_UPDATED,
    )  # fmt: skip
    await change.session.refresh(identity)


async def lock_for_update(session: AsyncSession, identity_id: UUID, body: schemas.IdentityUpdate) -> Identity:
    """Lock the identity, and its new owner against an offboarding, in id order."""
    new_owner = body.given().get("owner_id")
    if new_owner is None or new_owner == identity_id:
        return await lock_existing(session, identity_id)
    identity, owner = await _lock_both(session, identity_id, new_owner)
    if identity.kind == "agent" and new_owner != identity.owner_id:
        _check_owner(owner)
    return identity


async def _lock_with_owner(session: AsyncSession, identity_id: UUID) -> tuple[Identity, Identity | None]:
    """Lock an identity exclusively and its owner against changes, in id order. Raises ``NotFound``."""
    unlocked = await find_identity(session, identity_id)
    if unlocked.owner_id is None:
        return await lock_existing(session, identity_id), None
    identity, owner = await _lock_both(session, identity_id, unlocked.owner_id)
    if identity.owner_id is not None and identity.owner_id != unlocked.owner_id:
        # It was transferred while this transaction waited.
        owner = await queries.lock_identity(session, identity.owner_id, share=True)
    return identity, owner


async def _lock_both(
    session: AsyncSession, identity_id: UUID, owner_id: UUID
) -> tuple[Identity, Identity | None]:
    """Lock one exclusively and another against changes, in id order. Raises ``NotFound`` for the first."""
    both = sorted({identity_id, owner_id})
    for id in both:
        await queries.take_turns(session, [id], share=id == owner_id)
    identities = {id: await queries.lock_row(session, id, share=id == owner_id) for id in both}
    return existing(identities[identity_id], "identity"), identities[owner_id]


async def _set_status(session: AsyncSession, identity: Identity, status: str) -> Values:
    """Set the status; return the former values."""
    before = IDENTITY.values(identity)
    identity.status = status
    identity.revision += 1
    await _flush_unique(session, identity)
    return before


def _check_not_erased(identity: Identity) -> None:
    """Raise ``Conflict`` for an erased identity: nothing restores it."""
    if identity.erased_at is not None:
        raise Conflict("This identity was erased; create a new one.", code="identity_erased")


def _check_owner(owner: Identity | None) -> None:
    if owner is None:
        raise Invalid.field("/owner_id", "not_found", "There is no such identity; name an active person.")
    if owner.kind != "person":
        raise Invalid.field("/owner_id", "not_a_person", "An agent's owner is a person, not another agent.")
    if owner.status != "active":
        raise Invalid.field(
            "/owner_id", "not_active", f"This person is {owner.status}; name an active person."
        )


async def _flush_unique(session: AsyncSession, identity: Identity) -> None:
    taken = {
        f"uq_identities_{field}": Conflict(
            f"Another identity has this {field}; choose another one.", code=f"{field}_taken"
        )
        for field in ("user_name", "external_id")
    }
    await flush_unique(session, taken)
    await session.refresh(identity)


async def _check_user_name_not_reserved(change: Change, user_name: str) -> None:
    """Checked after the flush: an offboarding that the flush waited for is visible only then."""
    if await queries.is_user_name_reserved(change.session, user_name, change.now - USER_NAME_RESERVATION):
        raise Conflict(
            "This user name belonged to an identity that was offboarded in the last 90 days; "
            "reinstate that one or choose another name.",
            code="user_name_reserved",
        )


async def _check_may_write(
    change: Change,
    identity: Identity,
    changed: Mapping[str, Any],
    links: Sequence[schemas.IdentityLinkInput] | None,
) -> None:
    """Raise ``Forbidden`` for a change of access beyond the caller's permissions."""
    session, caller = change.session, change.caller
    await role_checks.check_may_change(session, caller, identity.id)
    if links is not None or not _NOT_OF_ONESELF.isdisjoint(changed):
        await role_checks.check_not_self(session, caller, identity.id)
    before, after = identity.attributes, changed.get("attributes", identity.attributes)
    names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    await check_may_set_attributes(session, caller, names)
    if "owner_id" in changed:
        await check_may_transfer(session, caller, changed["owner_id"])
    if links is not None:
        # A link gives its user everything that the identity was granted.
        authorize(caller, Permission.GRANTS_WRITE)


def _key(link: IdentityLink | schemas.IdentityLinkInput) -> tuple[UUID | None, str, str]:
    return link.provider_id, link.kind, link.value


def _merge(attributes: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    merged = {key: value for key, value in {**attributes, **changes}.items() if value is not None}
    if len(merged) > schemas.MAX_ATTRIBUTES:
        raise Invalid.field(
            "/attributes",
            "too_many",
            f"An identity has at most {schemas.MAX_ATTRIBUTES} attributes; set some to null.",
        )
    return merged


def _link_taken() -> Conflict:
    return Conflict(
        "Another identity has this link: remove it there first. An erased identity keeps its link.",
        code="link_taken",
    )


def _describe_link(provider_id: UUID | None, kind: str, _: str) -> dict[str, Any]:
    provider = None if provider_id is None else format_id(ids.IDENTITY_PROVIDER, provider_id)
    return {"provider_id": provider, "kind": kind}


async def revoke_sign_ins(session: AsyncSession, people: Sequence[UUID], until: datetime | None) -> None:
    """Refuse the provider's own tokens that were issued up to ``until``, or up to now. A new sign-in gives a new
    token."""
    now = func.clock_timestamp()
    over = now if until is None else func.least(now, until)
    await session.execute(
        update(Identity)
        .where(col(Identity.id).in_(people))
        .values(
            sign_ins_after=func.greatest(col(Identity.sign_ins_after), over),
            updated_at=col(Identity.updated_at),
        )
        .execution_options(synchronize_session=False)
    )


async def point_link(
    session: AsyncSession, provider_id: UUID, existing: IdentityLink | None, identity_id: UUID, value: str
) -> None:
    """Give a provider's link to an identity; ``existing`` is the row with the link now, from which it is moved. Raises
    ``Conflict`` when another transaction takes it at the same time."""
    if existing is not None and existing.provider_id == provider_id:
        existing.identity_id, existing.value = identity_id, value
    else:
        session.add(IdentityLink(identity_id=identity_id, provider_id=provider_id, kind=OIDC, value=value))
    await flush_unique(session, {"uq_identity_links_value": link_taken()})


def end_identity(change: Change, identity: Identity, details: Mapping[str, Any]) -> UUID:
    """Offboard a locked identity itself. Returns the id of the event, which is that of its receipt."""
    before = IDENTITY.values(identity)
    identity.status = "offboarded"
    identity.offboarded_at = func.now()  # type: ignore[assignment]
    # So that a reinstatement does not make earlier provider tokens valid again.
    identity.sign_ins_after = func.clock_timestamp()  # type: ignore[assignment]
    identity.revision += 1
    identity.receipt_id = change.record(
        "identity.offboard", IDENTITY, before, identity, details=details, narrows=[identity.id]
    )
    return identity.receipt_id


def end_agents(change: Change, agents: Iterable[Identity], heir: UUID | None) -> None:
    """Transfer the locked agents of a leaver to a person, or suspend them."""
    for agent in agents:
        before = IDENTITY.values(agent)
        agent.revision += 1
        if heir is not None:
            agent.owner_id = heir
            action, webhook = "identity.update", WebhookEvent.IDENTITY_UPDATED
        else:
            agent.status, agent.suspended_with_owner = "suspended", True
            action, webhook = "identity.suspend", WebhookEvent.IDENTITY_SUSPENDED
        change.record(action, IDENTITY, before, agent, webhook=webhook)


async def erase_person(change: Change, identity: Identity) -> None:
    """Erase the personal data of a locked identity, of its links, and of its entry in a directory."""
    session, shown_id = change.session, format_id(ids.IDENTITY, identity.id)
    # A name is required; this one reveals nothing beyond the id.
    identity.user_name = shown_id
    identity.display_name = identity.email = identity.external_id = None
    identity.attributes = {}
    identity.erased_at = func.now()  # type: ignore[assignment]
    identity.revision += 1
    for link in (await queries.links_of(session, [identity.id]))[identity.id]:
        link.value = queries.erased_link(link.kind, link.value)
    await session.flush()
    await erase_from_history(session, "identity", [identity.id], "attributes", {})
    # Its directory does not find it any more.
    await session.execute(_SCIM_USER, {"id": identity.id, "shown_id": shown_id})
