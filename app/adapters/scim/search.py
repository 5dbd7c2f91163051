"""Searching the users and groups of a provider."""

from typing import Any

from scim2_models import NotImplementedException, ResourceType, SearchRequest
from scim2_server.storage import SearchPage

from app.adapters.scim.work import Work


async def search(
    work: Work, resource_types: list[ResourceType], search_request: SearchRequest[Any], position: Any
) -> SearchPage:
    """One page of what matches, by index or, where ``search_request.cursor`` is not None, from ``position``."""
    raise NotImplementedException
