from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.audit_decision import AuditDecision, check_audit_decision
from ..models.audit_outcome import AuditOutcome, check_audit_outcome

if TYPE_CHECKING:
    from ..models.audit_actor import AuditActor
    from ..models.audit_changes import AuditChanges
    from ..models.audited_client import AuditedClient
    from ..models.audited_object import AuditedObject
    from ..models.audited_server import AuditedServer


@define(kw_only=True)
class AuditEvent:
    """An audit event: actor, action, decision and outcome. Only the outcome of a call is added later."""

    id: str
    """The id of an audit event."""

    time: datetime.datetime
    """When it happened."""

    action: str
    """The action, such as `tool.call` or `token.issue`."""

    decision: AuditDecision | None
    """The decision, for calls."""

    reason_code: None | str
    """The reason for the decision."""

    outcome: AuditOutcome | None
    """The outcome, as far as known."""

    actor: AuditActor
    """The actor. ``id`` is None for the system, the gateway and unknown callers."""

    on_behalf_of: None | str
    """The owner of the agent or program."""

    token_id: None | str
    """The token that was used."""

    server: AuditedServer | None
    """The server that was called."""

    tool: None | str
    """The tool, by its name on the server."""

    object: AuditedObject | None
    """The object that was changed."""

    grant_id: None | str
    """The grant that allowed the call."""

    policy_ids: list[str] | None
    """The policies that decided."""

    observed_policy_ids: list[str] | None
    """Policies in the mode `observe` that would have changed the decision."""

    approval_id: None | str
    """The approval that the call used or waits for."""

    client: AuditedClient | None
    """The client program."""

    method: None | str
    """The MCP method, or the method and route at this API."""

    arguments_digest: None | str
    """HMAC-SHA256 of the canonical arguments, in hex."""

    changes: AuditChanges | None
    """What changed."""

    duration_ms: int | None
    """How long the call took, in milliseconds."""

    count: int | None
    """Number of refusals that this event summarizes."""

    call_id: None | str
    """For `tool.result`: the call with this outcome."""

    request_id: None | str
    """The id of the request, as in `X-Request-ID`."""

    trace_id: None | str
    """Its trace id (W3C Trace Context)."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.audit_changes import AuditChanges
        from ..models.audited_client import AuditedClient
        from ..models.audited_object import AuditedObject
        from ..models.audited_server import AuditedServer

        id = self.id

        time = self.time.isoformat()

        action = self.action

        decision: None | str
        if isinstance(self.decision, str):
            decision = self.decision
        else:
            decision = self.decision

        reason_code: None | str
        reason_code = self.reason_code

        outcome: None | str
        if isinstance(self.outcome, str):
            outcome = self.outcome
        else:
            outcome = self.outcome

        actor = self.actor.to_dict()

        on_behalf_of: None | str
        on_behalf_of = self.on_behalf_of

        token_id: None | str
        token_id = self.token_id

        server: dict[str, Any] | None
        if isinstance(self.server, AuditedServer):
            server = self.server.to_dict()
        else:
            server = self.server

        tool: None | str
        tool = self.tool

        object_: dict[str, Any] | None
        if isinstance(self.object, AuditedObject):
            object_ = self.object.to_dict()
        else:
            object_ = self.object

        grant_id: None | str
        grant_id = self.grant_id

        policy_ids: list[str] | None
        if isinstance(self.policy_ids, list):
            policy_ids = self.policy_ids

        else:
            policy_ids = self.policy_ids

        observed_policy_ids: list[str] | None
        if isinstance(self.observed_policy_ids, list):
            observed_policy_ids = self.observed_policy_ids

        else:
            observed_policy_ids = self.observed_policy_ids

        approval_id: None | str
        approval_id = self.approval_id

        client: dict[str, Any] | None
        if isinstance(self.client, AuditedClient):
            client = self.client.to_dict()
        else:
            client = self.client

        method: None | str
        method = self.method

        arguments_digest: None | str
        arguments_digest = self.arguments_digest

        changes: dict[str, Any] | None
        if isinstance(self.changes, AuditChanges):
            changes = self.changes.to_dict()
        else:
            changes = self.changes

        duration_ms: int | None
        duration_ms = self.duration_ms

        count: int | None
        count = self.count

        call_id: None | str
        call_id = self.call_id

        request_id: None | str
        request_id = self.request_id

        trace_id: None | str
        trace_id = self.trace_id

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "time": time,
                "action": action,
                "decision": decision,
                "reason_code": reason_code,
                "outcome": outcome,
                "actor": actor,
                "on_behalf_of": on_behalf_of,
                "token_id": token_id,
                "server": server,
                "tool": tool,
                "object": object_,
                "grant_id": grant_id,
                "policy_ids": policy_ids,
                "observed_policy_ids": observed_policy_ids,
                "approval_id": approval_id,
                "client": client,
                "method": method,
                "arguments_digest": arguments_digest,
                "changes": changes,
                "duration_ms": duration_ms,
                "count": count,
                "call_id": call_id,
                "request_id": request_id,
                "trace_id": trace_id,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.audit_actor import AuditActor
        from ..models.audit_changes import AuditChanges
        from ..models.audited_client import AuditedClient
        from ..models.audited_object import AuditedObject
        from ..models.audited_server import AuditedServer

        d = dict(src_dict)
        id = d.pop("id")

        time = datetime.datetime.fromisoformat(d.pop("time"))

        action = d.pop("action")

        def _parse_decision(data: object) -> AuditDecision | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                decision_type_0 = check_audit_decision(data)

                return decision_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditDecision | None, data)

        decision = _parse_decision(d.pop("decision"))

        def _parse_reason_code(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason_code = _parse_reason_code(d.pop("reason_code"))

        def _parse_outcome(data: object) -> AuditOutcome | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                outcome_type_0 = check_audit_outcome(data)

                return outcome_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditOutcome | None, data)

        outcome = _parse_outcome(d.pop("outcome"))

        actor = AuditActor.from_dict(d.pop("actor"))

        def _parse_on_behalf_of(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        on_behalf_of = _parse_on_behalf_of(d.pop("on_behalf_of"))

        def _parse_token_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        token_id = _parse_token_id(d.pop("token_id"))

        def _parse_server(data: object) -> AuditedServer | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                server_type_0 = AuditedServer.from_dict(data)

                return server_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditedServer | None, data)

        server = _parse_server(d.pop("server"))

        def _parse_tool(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        tool = _parse_tool(d.pop("tool"))

        def _parse_object_(data: object) -> AuditedObject | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                object_type_0 = AuditedObject.from_dict(data)

                return object_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditedObject | None, data)

        object_ = _parse_object_(d.pop("object"))

        def _parse_grant_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        grant_id = _parse_grant_id(d.pop("grant_id"))

        def _parse_policy_ids(data: object) -> list[str] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                policy_ids_type_0 = cast(list[str], data)

                return policy_ids_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None, data)

        policy_ids = _parse_policy_ids(d.pop("policy_ids"))

        def _parse_observed_policy_ids(data: object) -> list[str] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                observed_policy_ids_type_0 = cast(list[str], data)

                return observed_policy_ids_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None, data)

        observed_policy_ids = _parse_observed_policy_ids(d.pop("observed_policy_ids"))

        def _parse_approval_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        approval_id = _parse_approval_id(d.pop("approval_id"))

        def _parse_client(data: object) -> AuditedClient | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                client_type_0 = AuditedClient.from_dict(data)

                return client_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditedClient | None, data)

        client = _parse_client(d.pop("client"))

        def _parse_method(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        method = _parse_method(d.pop("method"))

        def _parse_arguments_digest(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        arguments_digest = _parse_arguments_digest(d.pop("arguments_digest"))

        def _parse_changes(data: object) -> AuditChanges | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                changes_type_0 = AuditChanges.from_dict(data)

                return changes_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AuditChanges | None, data)

        changes = _parse_changes(d.pop("changes"))

        def _parse_duration_ms(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        duration_ms = _parse_duration_ms(d.pop("duration_ms"))

        def _parse_count(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        count = _parse_count(d.pop("count"))

        def _parse_call_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        call_id = _parse_call_id(d.pop("call_id"))

        def _parse_request_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        request_id = _parse_request_id(d.pop("request_id"))

        def _parse_trace_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        trace_id = _parse_trace_id(d.pop("trace_id"))

        return cls(
            id=id,
            time=time,
            action=action,
            decision=decision,
            reason_code=reason_code,
            outcome=outcome,
            actor=actor,
            on_behalf_of=on_behalf_of,
            token_id=token_id,
            server=server,
            tool=tool,
            object=object_,
            grant_id=grant_id,
            policy_ids=policy_ids,
            observed_policy_ids=observed_policy_ids,
            approval_id=approval_id,
            client=client,
            method=method,
            arguments_digest=arguments_digest,
            changes=changes,
            duration_ms=duration_ms,
            count=count,
            call_id=call_id,
            request_id=request_id,
            trace_id=trace_id,
        )
