"""Identity links that administrators set: they decide who signs in as an identity."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Conflict, Invalid
from app.features.identities.queries import (
    OIDC,
    end_browser_sessions,
    find_link,
    links_of,
    lock_first_sign_in,
)
from app.features.identities.role_checks import require_remaining_owner
from app.features.identities.schemas import IdentityLinkInput
from app.features.identity_providers import queries as providers
from app.lib.ids import IDENTITY_PROVIDER, format_id
from app.models.identities import Identity, IdentityLink


async def set_links(
    session: AsyncSession, identity: Identity, links: Sequence[IdentityLinkInput]
) -> dict[str, Any]:
    """Replace the links of a locked identity; return the changes for the event: providers and kinds, no values.

    Raises ``Invalid`` for an agent and for an unknown provider, ``Conflict`` for a link that another identity has or
    that remains of an erased one, and for the last link of the last active owner.
    """
    current = {
        (one.provider_id, one.kind, one.value): one
        for one in (await links_of(session, [identity.id]))[identity.id]
    }
    indexes = {(one.provider_id, one.kind, one.value): index for index, one in enumerate(links)}
    added, removed = indexes.keys() - current.keys(), current.keys() - indexes.keys()
    if not added and not removed:
        return {}
    if identity.kind != "person":
        raise Invalid.field(
            "/links", "not_for_an_agent", "Only a person has links: an agent does not sign in."
        )
    async with require_remaining_owner(session):
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
    if any(kind == OIDC for _, kind, _ in removed):
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
    await lock_first_sign_in(session, provider_id, value)
    if await find_link(session, provider_id, value, kind) is not None:
        raise _link_taken()
    session.add(IdentityLink(identity_id=identity.id, provider_id=provider_id, kind=kind, value=value))
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_identity_links_value" in str(error.orig):
            raise _link_taken() from None
        raise


def _link_taken() -> Conflict:
    return Conflict(
        "Another identity has this link: remove it there first. An erased identity keeps its link.",
        code="link_taken",
    )


def _describe_link(provider_id: UUID | None, kind: str, _: str) -> dict[str, Any]:
    provider = None if provider_id is None else format_id(IDENTITY_PROVIDER, provider_id)
    return {"provider_id": provider, "kind": kind}
