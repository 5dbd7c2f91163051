"""SCIM groups of a provider: groups of ours that the provider keeps."""

from scim2_models import NotImplementedException

from app.adapters.scim.models import Group
from app.adapters.scim.work import Work


async def get(work: Work, group_id: str, *, lock: bool) -> Group:
    """A group. Raises ``NotFoundException``."""
    raise NotImplementedException


async def create(work: Work, resource: Group) -> Group:
    """Make a group."""
    raise NotImplementedException


async def update(work: Work, resource: Group, expected_version: str | None) -> Group:
    """Give a group this whole state."""
    raise NotImplementedException


async def delete(work: Work, group_id: str, expected_version: str | None) -> None:
    """End a group."""
    raise NotImplementedException
