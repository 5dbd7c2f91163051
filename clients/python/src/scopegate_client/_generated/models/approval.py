from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.approval_defect import ApprovalDefect, check_approval_defect
from ..models.approval_kind import ApprovalKind, check_approval_kind
from ..models.approval_status import ApprovalStatus, check_approval_status

if TYPE_CHECKING:
    from ..models.approval_access import ApprovalAccess
    from ..models.approval_group import ApprovalGroup
    from ..models.approval_identity import ApprovalIdentity
    from ..models.approval_owner import ApprovalOwner
    from ..models.approval_policy import ApprovalPolicy
    from ..models.approval_server import ApprovalServer
    from ..models.approval_token import ApprovalToken
    from ..models.approval_tool import ApprovalTool
    from ..models.audit_actor import AuditActor


@define(kw_only=True)
class Approval:
    """An approval, its subject and its state. Its subject never changes."""

    id: str
    """The id of an approval."""

    kind: ApprovalKind
    """`call`: one call of a tool, with exactly the arguments of the request. `access`: access to a server
    that a person requested."""

    state: ApprovalStatus
    """`pending`: not decided yet; `approved`: the call can be repeated, or access has become a grant;
    `consumed`: its one call ran; `expired`: not decided or not used in time; `cancelled`: ended with
    its token, its identity or its group, or withdrawn."""

    identity: ApprovalIdentity
    """The requester: the identity whose token was used, or that gets the access."""

    owner: ApprovalOwner | None
    """Null when a person made the request."""

    token: ApprovalToken | None
    """The token that was used; null for access."""

    server: ApprovalServer | None
    """The server of the call or of the access."""

    tool: ApprovalTool | None
    """The tool of the call; null for access."""

    access: ApprovalAccess | None
    """The requested access; null for a call."""

    policies: list[ApprovalPolicy]
    """The policies that require the approval."""

    approver_group: ApprovalGroup | None
    """The group whose members may decide: for access, the one that owns the server now."""

    reason: None | str
    """The reason in the caller's own words, unverified."""

    arguments_digest: None | str
    """HMAC-SHA256 of the canonical arguments, in hex, as in the audit log."""

    arguments_kept: bool
    """Whether the arguments are recorded and can be read: see `keep_arguments` of the server."""

    event_id: None | str
    """The audit event of the first such call, or of the request."""

    request_count: int
    """How many calls needed it so far."""

    may_decide: bool
    """Whether you may decide it now."""

    void: ApprovalDefect | None
    """Why it is void; null if it is not."""

    expires_at: datetime.datetime | None
    """Until when it can be decided; once approved, until when the call can be repeated. Null for approved
    access, whose grant has the expiry."""

    decided_by: AuditActor | None
    """Who approved or denied it."""

    decided_at: datetime.datetime | None
    """When that was."""

    decision_reason: None | str
    """The reason of the decision, which the caller sees."""

    consumed_by: None | str
    """The call that ran with it."""

    consumed_at: datetime.datetime | None
    """When that was."""

    url: str
    """The page where people decide it."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.approval_access import ApprovalAccess
        from ..models.approval_group import ApprovalGroup
        from ..models.approval_owner import ApprovalOwner
        from ..models.approval_server import ApprovalServer
        from ..models.approval_token import ApprovalToken
        from ..models.approval_tool import ApprovalTool
        from ..models.audit_actor import AuditActor

        id = self.id

        kind: str = self.kind

        state: str = self.state

        identity = self.identity.to_dict()

        owner: dict[str, Any] | None
        if isinstance(self.owner, ApprovalOwner):
            owner = self.owner.to_dict()
        else:
            owner = self.owner

        token: dict[str, Any] | None
        if isinstance(self.token, ApprovalToken):
            token = self.token.to_dict()
        else:
            token = self.token

        server: dict[str, Any] | None
        if isinstance(self.server, ApprovalServer):
            server = self.server.to_dict()
        else:
            server = self.server

        tool: dict[str, Any] | None
        if isinstance(self.tool, ApprovalTool):
            tool = self.tool.to_dict()
        else:
            tool = self.tool

        access: dict[str, Any] | None
        if isinstance(self.access, ApprovalAccess):
            access = self.access.to_dict()
        else:
            access = self.access

        policies = []
        for policies_item_data in self.policies:
            policies_item = policies_item_data.to_dict()
            policies.append(policies_item)

        approver_group: dict[str, Any] | None
        if isinstance(self.approver_group, ApprovalGroup):
            approver_group = self.approver_group.to_dict()
        else:
            approver_group = self.approver_group

        reason: None | str
        reason = self.reason

        arguments_digest: None | str
        arguments_digest = self.arguments_digest

        arguments_kept = self.arguments_kept

        event_id: None | str
        event_id = self.event_id

        request_count = self.request_count

        may_decide = self.may_decide

        void: None | str
        if isinstance(self.void, str):
            void = self.void
        else:
            void = self.void

        expires_at: None | str
        if isinstance(self.expires_at, datetime.datetime):
            expires_at = self.expires_at.isoformat()
        else:
            expires_at = self.expires_at

        decided_by: dict[str, Any] | None
        if isinstance(self.decided_by, AuditActor):
            decided_by = self.decided_by.to_dict()
        else:
            decided_by = self.decided_by

        decided_at: None | str
        if isinstance(self.decided_at, datetime.datetime):
            decided_at = self.decided_at.isoformat()
        else:
            decided_at = self.decided_at

        decision_reason: None | str
        decision_reason = self.decision_reason

        consumed_by: None | str
        consumed_by = self.consumed_by

        consumed_at: None | str
        if isinstance(self.consumed_at, datetime.datetime):
            consumed_at = self.consumed_at.isoformat()
        else:
            consumed_at = self.consumed_at

        url = self.url

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "kind": kind,
                "state": state,
                "identity": identity,
                "owner": owner,
                "token": token,
                "server": server,
                "tool": tool,
                "access": access,
                "policies": policies,
                "approver_group": approver_group,
                "reason": reason,
                "arguments_digest": arguments_digest,
                "arguments_kept": arguments_kept,
                "event_id": event_id,
                "request_count": request_count,
                "may_decide": may_decide,
                "void": void,
                "expires_at": expires_at,
                "decided_by": decided_by,
                "decided_at": decided_at,
                "decision_reason": decision_reason,
                "consumed_by": consumed_by,
                "consumed_at": consumed_at,
                "url": url,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.approval_access import ApprovalAccess
        from ..models.approval_group import ApprovalGroup
        from ..models.approval_identity import ApprovalIdentity
        from ..models.approval_owner import ApprovalOwner
        from ..models.approval_policy import ApprovalPolicy
        from ..models.approval_server import ApprovalServer
        from ..models.approval_token import ApprovalToken
        from ..models.approval_tool import ApprovalTool
        from ..models.audit_actor import AuditActor

        d = dict(src_dict)
        id = d.pop("id")

        kind = check_approval_kind(d.pop("kind"))

        state = check_approval_status(d.pop("state"))

        identity = ApprovalIdentity.from_dict(d.pop("identity"))

        def _parse_owner(data: object) -> ApprovalOwner | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                owner_type_0 = ApprovalOwner.from_dict(data)

                return owner_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ApprovalOwner | None, data)

        owner = _parse_owner(d.pop("owner"))

        def _parse_token(data: object) -> ApprovalToken | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                token_type_0 = ApprovalToken.from_dict(data)

                return token_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ApprovalToken | None, data)

        token = _parse_token(d.pop("token"))

        def _parse_server(data: object) -> ApprovalServer | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                server_type_0 = ApprovalServer.from_dict(data)

                return server_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ApprovalServer | None, data)

        server = _parse_server(d.pop("server"))

        def _parse_tool(data: object) -> ApprovalTool | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                tool_type_0 = ApprovalTool.from_dict(data)

                return tool_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ApprovalTool | None, data)

        tool = _parse_tool(d.pop("tool"))

        def _parse_access(data: object) -> ApprovalAccess | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                access_type_0 = ApprovalAccess.from_dict(data)

                return access_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ApprovalAccess | None, data)

        access = _parse_access(d.pop("access"))

        policies = []
        _policies = d.pop("policies")
        for policies_item_data in _policies:
            policies_item = ApprovalPolicy.from_dict(policies_item_data)

            policies.append(policies_item)

        def _parse_approver_group(data: object) -> ApprovalGroup | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                approver_group_type_0 = ApprovalGroup.from_dict(data)

                return approver_group_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ApprovalGroup | None, data)

        approver_group = _parse_approver_group(d.pop("approver_group"))

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        def _parse_arguments_digest(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        arguments_digest = _parse_arguments_digest(d.pop("arguments_digest"))

        arguments_kept = d.pop("arguments_kept")

        def _parse_event_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        event_id = _parse_event_id(d.pop("event_id"))

        request_count = d.pop("request_count")

        may_decide = d.pop("may_decide")

        def _parse_void(data: object) -> ApprovalDefect | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                void_type_0 = check_approval_defect(data)

                return void_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ApprovalDefect | None, data)

        void = _parse_void(d.pop("void"))

        def _parse_expires_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                expires_at_type_0 = datetime.datetime.fromisoformat(data)

                return expires_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        expires_at = _parse_expires_at(d.pop("expires_at"))

        def _parse_decided_by(data: object) -> AuditActor | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                decided_by_type_0 = AuditActor.from_dict(data)

                return decided_by_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditActor | None, data)

        decided_by = _parse_decided_by(d.pop("decided_by"))

        def _parse_decided_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                decided_at_type_0 = datetime.datetime.fromisoformat(data)

                return decided_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        decided_at = _parse_decided_at(d.pop("decided_at"))

        def _parse_decision_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        decision_reason = _parse_decision_reason(d.pop("decision_reason"))

        def _parse_consumed_by(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        consumed_by = _parse_consumed_by(d.pop("consumed_by"))

        def _parse_consumed_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                consumed_at_type_0 = datetime.datetime.fromisoformat(data)

                return consumed_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        consumed_at = _parse_consumed_at(d.pop("consumed_at"))

        url = d.pop("url")

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            kind=kind,
            state=state,
            identity=identity,
            owner=owner,
            token=token,
            server=server,
            tool=tool,
            access=access,
            policies=policies,
            approver_group=approver_group,
            reason=reason,
            arguments_digest=arguments_digest,
            arguments_kept=arguments_kept,
            event_id=event_id,
            request_count=request_count,
            may_decide=may_decide,
            void=void,
            expires_at=expires_at,
            decided_by=decided_by,
            decided_at=decided_at,
            decision_reason=decision_reason,
            consumed_by=consumed_by,
            consumed_at=consumed_at,
            url=url,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
