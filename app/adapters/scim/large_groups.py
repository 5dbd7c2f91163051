"""Answers with groups of many members, which are all of one shape: the first is shown by ``scim2-server``, and the rest
after it. Copied, checked and filtered one by one, fifty thousand would keep everybody waiting for ten seconds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from scim2_models import Context, PatchOp, Resource, ResourceType, ResponseParameters, SearchRequest
from scim2_server.responses import ScimResponse
from scim2_server.service import ScimService
from scim2_server.storage import SearchPage

from app.adapters.scim.models import Group, GroupMember


class LargeGroups(ScimService):
    """Publishes and shows a group by its first member."""

    def read_patch(
        self, resource_type: ResourceType, body: bytes, content_type: str | None
    ) -> "PatchOp[Any]":
        """Validate a PATCH. Members to remove by their values are put aside meanwhile: each would become a term of a
        filter, to be parsed again and again."""
        payload = self.decode_body(body, content_type)
        aside = _put_aside(payload) if resource_type.name == "Group" else {}
        if not aside:
            return super().read_patch(resource_type, body, content_type)
        patch = super().read_patch(resource_type, json.dumps(payload).encode(), content_type)
        operations = [
            operation.model_copy(update={"value": aside[place]}) if place in aside else operation
            for place, operation in enumerate(patch.operations or [])
        ]
        return patch.model_copy(update={"operations": operations})

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


def _put_aside(payload: Any) -> dict[int, Any]:
    """Take the values out of the operations that remove members by value; by the places of the operations."""
    aside: dict[int, Any] = {}
    for place, operation in enumerate(_member(payload, "operations") or []):
        op, path = _member(operation, "op"), _member(operation, "path")
        if str(op).lower() != "remove" or str(path).lower() != "members":
            continue
        for key in [key for key in operation if key.lower() == "value"]:
            aside[place] = operation.pop(key)
    return {place: value for place, value in aside.items() if value is not None}


def _member(value: Any, name: str) -> Any:
    """What a JSON object has by a name, whatever its case."""
    if not isinstance(value, dict):
        return None
    found = next((item for key, item in value.items() if key.lower() == name), None)
    return found if name != "operations" or isinstance(found, list) else None


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
