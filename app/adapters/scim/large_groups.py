"""Answers with groups of many members, which are all of one shape: the first is shown by ``scim2-server``, and the rest
after it. Copied, checked and filtered one by one, fifty thousand would keep everybody waiting for ten seconds."""

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from scim2_models import Context, Resource, ResourceType, ResponseParameters, SearchRequest
from scim2_server.responses import ScimResponse
from scim2_server.service import ScimService
from scim2_server.storage import SearchPage

from app.adapters.scim.models import Group, GroupMember


class LargeGroups(ScimService):
    """Publishes and shows a group by its first member."""

    def publish(self, base_url: str, resource: Resource[Any]) -> Resource[Any]:
        """A resource with its addresses; of a group, those of its first member."""
        published = super().publish(base_url, _sample(resource))
        if isinstance(resource, Group) and isinstance(published, Group) and published.members:
            # Not assigned, which would check each of them.
            members = [*published.members, *(resource.members or [])[1:]]
            return published.model_copy(update={"members": members})
        return published

    @staticmethod
    def resource_response(
        resource: Resource[Any],
        scim_ctx: Context,
        response_parameters: ResponseParameters[Any] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> ScimResponse:
        """The answer with a published resource."""
        sample = _sample(resource)
        response = ScimService.resource_response(sample, scim_ctx, response_parameters, status)
        _complete(response.body, resource)
        return response

    def search_response(
        self,
        base_url: str,
        resource_types: list[ResourceType],
        page: SearchPage,
        search_request: SearchRequest[Any],
    ) -> ScimResponse:
        """The answer with a page of what was found."""
        samples = replace(page, resources=[_sample(resource) for resource in page.resources])
        response = super().search_response(base_url, resource_types, samples, search_request)
        listed: list[dict[str, Any]] = (response.body or {}).get("Resources", [])
        for body, resource in zip(listed, page.resources, strict=False):
            _complete(body, resource)
        return response


def _sample(resource: Resource[Any]) -> Resource[Any]:
    """A group with its first member alone; anything else as it is."""
    if not isinstance(resource, Group) or len(resource.members or []) < 2:
        return resource
    return resource.model_copy(update={"members": (resource.members or [])[:1]})


def _complete(body: dict[str, Any] | None, resource: Resource[Any]) -> None:
    """Show the other members of a group as its first one is shown, if it is."""
    members: Sequence[GroupMember] = (resource.members or []) if isinstance(resource, Group) else []
    shown = (body or {}).get("members")
    if not shown or len(members) < 2:
        return
    first, value = shown[0], str(members[0].value)
    addresses = str(first.get("$ref", "")).removesuffix(value)
    for member in members[1:]:
        every = {
            "value": member.value,
            "$ref": f"{addresses}{member.value}",
            "type": member.type,
            "display": member.display,
        }
        shown.append({name: every[name] for name in first})
