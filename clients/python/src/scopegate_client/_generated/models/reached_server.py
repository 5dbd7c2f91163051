from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.access_decision import AccessDecision, check_access_decision

if TYPE_CHECKING:
    from ..models.access_reason import AccessReason
    from ..models.reached_tool import ReachedTool


@define(kw_only=True)
class ReachedServer:
    """A server within reach, with the reason and its tools within reach."""

    decision: AccessDecision
    """Whether a call runs now or needs an approval first."""

    reason_code: str
    """The reason code, as in audit events."""

    grant_id: str
    """The grant that allows a call; the oldest of several."""

    group_id: None | str
    """The group that holds the grant; null when the identity itself holds it."""

    policy_ids: list[str]
    """The policies that decided, if any did."""

    unconditional: bool
    """Whether every call is allowed, regardless of its content. False where a policy reads the content,
    counts calls or asks for approval: then some calls may be denied or need an approval."""

    approver_groups: list[str]
    """The groups that must approve each call, by one member each."""

    server_id: str
    """The id of a server."""

    slug: str
    """Its name in URLs and tool names."""

    tools: list[ReachedTool]
    """By name. Empty when a grant reaches the server but none of its active tools."""

    resources: AccessReason | None
    """Why its resources are within reach; null when they are not."""

    prompts: AccessReason | None
    """Why its prompts are within reach; null when they are not."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.access_reason import AccessReason

        decision: str = self.decision

        reason_code = self.reason_code

        grant_id = self.grant_id

        group_id: None | str
        group_id = self.group_id

        policy_ids = self.policy_ids

        unconditional = self.unconditional

        approver_groups = self.approver_groups

        server_id = self.server_id

        slug = self.slug

        tools = []
        for tools_item_data in self.tools:
            tools_item = tools_item_data.to_dict()
            tools.append(tools_item)

        resources: dict[str, Any] | None
        if isinstance(self.resources, AccessReason):
            resources = self.resources.to_dict()
        else:
            resources = self.resources

        prompts: dict[str, Any] | None
        if isinstance(self.prompts, AccessReason):
            prompts = self.prompts.to_dict()
        else:
            prompts = self.prompts

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "decision": decision,
                "reason_code": reason_code,
                "grant_id": grant_id,
                "group_id": group_id,
                "policy_ids": policy_ids,
                "unconditional": unconditional,
                "approver_groups": approver_groups,
                "server_id": server_id,
                "slug": slug,
                "tools": tools,
                "resources": resources,
                "prompts": prompts,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.access_reason import AccessReason
        from ..models.reached_tool import ReachedTool

        d = dict(src_dict)
        decision = check_access_decision(d.pop("decision"))

        reason_code = d.pop("reason_code")

        grant_id = d.pop("grant_id")

        def _parse_group_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        group_id = _parse_group_id(d.pop("group_id"))

        policy_ids = cast(list[str], d.pop("policy_ids"))

        unconditional = d.pop("unconditional")

        approver_groups = cast(list[str], d.pop("approver_groups"))

        server_id = d.pop("server_id")

        slug = d.pop("slug")

        tools = []
        _tools = d.pop("tools")
        for tools_item_data in _tools:
            tools_item = ReachedTool.from_dict(tools_item_data)

            tools.append(tools_item)

        def _parse_resources(data: object) -> AccessReason | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                resources_type_0 = AccessReason.from_dict(data)

                return resources_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AccessReason | None, data)

        resources = _parse_resources(d.pop("resources"))

        def _parse_prompts(data: object) -> AccessReason | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                prompts_type_0 = AccessReason.from_dict(data)

                return prompts_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AccessReason | None, data)

        prompts = _parse_prompts(d.pop("prompts"))

        return cls(
            decision=decision,
            reason_code=reason_code,
            grant_id=grant_id,
            group_id=group_id,
            policy_ids=policy_ids,
            unconditional=unconditional,
            approver_groups=approver_groups,
            server_id=server_id,
            slug=slug,
            tools=tools,
            resources=resources,
            prompts=prompts,
        )
