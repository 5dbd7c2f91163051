"""SCIM users of a provider: identities that the provider keeps."""

from collections.abc import Iterable
from typing import Any

from scim2_models import NotImplementedException, Resource

from app.adapters.scim.work import Work
from app.features.identities.models import Identity, ScimUser


async def get(work: Work, user_id: str, *, lock: bool) -> Resource[Any]:
    """A user. Raises ``NotFoundException``."""
    raise NotImplementedException


async def create(work: Work, resource: Resource[Any]) -> Resource[Any]:
    """Make a user."""
    raise NotImplementedException


async def update(work: Work, resource: Resource[Any], expected_version: str | None) -> Resource[Any]:
    """Give a user this whole state."""
    raise NotImplementedException


async def delete(work: Work, user_id: str, expected_version: str | None) -> None:
    """End a user."""
    raise NotImplementedException


async def present(work: Work, rows: Iterable[tuple[Identity, ScimUser]]) -> list[Resource[Any]]:
    """These users as SCIM shows them, each with its groups, in the order of ``rows``."""
    raise NotImplementedException
