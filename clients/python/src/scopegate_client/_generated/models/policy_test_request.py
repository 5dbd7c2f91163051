from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.policy_action import PolicyAction, check_policy_action
from ..models.risk import Risk, check_risk
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.json_schema import JsonSchema
    from ..models.labels import Labels
    from ..models.policy_test_arguments import PolicyTestArguments
    from ..models.policy_test_client import PolicyTestClient
    from ..models.policy_test_identity import PolicyTestIdentity


@define(kw_only=True)
class PolicyTestRequest:
    """A request as policies see it. Fields of an existing server or tool default to its own."""

    server: str
    """The slug of the server."""

    identity: PolicyTestIdentity | Unset = UNSET
    """The caller: an existing identity by its id, or a described one."""

    action: PolicyAction | Unset = UNSET
    """The action, by its name in policies."""

    tool: None | str | Unset = UNSET
    """The tool; required for `call_tool`, and only there."""

    labels: Labels | None | Unset = UNSET
    """Labels, instead of those of the server."""

    risk: None | Risk | Unset = UNSET
    """A risk, instead of that of the tool."""

    input_schema: JsonSchema | None | Unset = UNSET
    """An input schema, instead of that of the tool."""

    arguments: PolicyTestArguments | Unset = UNSET
    """The arguments of the call."""

    time: datetime.datetime | None | Unset = UNSET
    """The time; by default, when the test runs."""

    ip: None | str | Unset = UNSET
    """The client address."""

    client: PolicyTestClient | Unset = UNSET
    """The MCP client, by the name that it sends."""

    token_depth: int | Unset = 0
    """How many times the token was attenuated."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.json_schema import JsonSchema
        from ..models.labels import Labels

        server = self.server

        identity: dict[str, Any] | Unset = UNSET
        if not isinstance(self.identity, Unset):
            identity = self.identity.to_dict()

        action: str | Unset = UNSET
        if not isinstance(self.action, Unset):
            action = self.action

        tool: None | str | Unset
        if isinstance(self.tool, Unset):
            tool = UNSET
        else:
            tool = self.tool

        labels: dict[str, Any] | None | Unset
        if isinstance(self.labels, Unset):
            labels = UNSET
        elif isinstance(self.labels, Labels):
            labels = self.labels.to_dict()
        else:
            labels = self.labels

        risk: None | str | Unset
        if isinstance(self.risk, Unset):
            risk = UNSET
        elif isinstance(self.risk, str):
            risk = self.risk
        else:
            risk = self.risk

        input_schema: dict[str, Any] | None | Unset
        if isinstance(self.input_schema, Unset):
            input_schema = UNSET
        elif isinstance(self.input_schema, JsonSchema):
            input_schema = self.input_schema.to_dict()
        else:
            input_schema = self.input_schema

        arguments: dict[str, Any] | Unset = UNSET
        if not isinstance(self.arguments, Unset):
            arguments = self.arguments.to_dict()

        time: None | str | Unset
        if isinstance(self.time, Unset):
            time = UNSET
        elif isinstance(self.time, datetime.datetime):
            time = self.time.isoformat()
        else:
            time = self.time

        ip: None | str | Unset
        if isinstance(self.ip, Unset):
            ip = UNSET
        else:
            ip = self.ip

        client: dict[str, Any] | Unset = UNSET
        if not isinstance(self.client, Unset):
            client = self.client.to_dict()

        token_depth = self.token_depth

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server": server,
            }
        )
        if identity is not UNSET:
            field_dict["identity"] = identity
        if action is not UNSET:
            field_dict["action"] = action
        if tool is not UNSET:
            field_dict["tool"] = tool
        if labels is not UNSET:
            field_dict["labels"] = labels
        if risk is not UNSET:
            field_dict["risk"] = risk
        if input_schema is not UNSET:
            field_dict["input_schema"] = input_schema
        if arguments is not UNSET:
            field_dict["arguments"] = arguments
        if time is not UNSET:
            field_dict["time"] = time
        if ip is not UNSET:
            field_dict["ip"] = ip
        if client is not UNSET:
            field_dict["client"] = client
        if token_depth is not UNSET:
            field_dict["token_depth"] = token_depth
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.json_schema import JsonSchema
        from ..models.labels import Labels
        from ..models.policy_test_arguments import PolicyTestArguments
        from ..models.policy_test_client import PolicyTestClient
        from ..models.policy_test_identity import PolicyTestIdentity

        d = dict(src_dict)
        server = d.pop("server")

        _identity = d.pop("identity", UNSET)
        identity: PolicyTestIdentity | Unset
        if isinstance(_identity, Unset):
            identity = UNSET
        else:
            identity = PolicyTestIdentity.from_dict(_identity)

        _action = d.pop("action", UNSET)
        action: PolicyAction | Unset
        if isinstance(_action, Unset):
            action = UNSET
        else:
            action = check_policy_action(_action)

        def _parse_tool(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        tool = _parse_tool(d.pop("tool", UNSET))

        def _parse_labels(data: object) -> Labels | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                labels_type_0 = Labels.from_dict(data)

                return labels_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(Labels | None | Unset, data)

        labels = _parse_labels(d.pop("labels", UNSET))

        def _parse_risk(data: object) -> None | Risk | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                risk_type_0 = check_risk(data)

                return risk_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Risk | Unset, data)

        risk = _parse_risk(d.pop("risk", UNSET))

        def _parse_input_schema(data: object) -> JsonSchema | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                input_schema_type_0 = JsonSchema.from_dict(data)

                return input_schema_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(JsonSchema | None | Unset, data)

        input_schema = _parse_input_schema(d.pop("input_schema", UNSET))

        _arguments = d.pop("arguments", UNSET)
        arguments: PolicyTestArguments | Unset
        if isinstance(_arguments, Unset):
            arguments = UNSET
        else:
            arguments = PolicyTestArguments.from_dict(_arguments)

        def _parse_time(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                time_type_0 = datetime.datetime.fromisoformat(data)

                return time_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        time = _parse_time(d.pop("time", UNSET))

        def _parse_ip(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        ip = _parse_ip(d.pop("ip", UNSET))

        _client = d.pop("client", UNSET)
        client: PolicyTestClient | Unset
        if isinstance(_client, Unset):
            client = UNSET
        else:
            client = PolicyTestClient.from_dict(_client)

        token_depth = d.pop("token_depth", UNSET)

        return cls(
            server=server,
            identity=identity,
            action=action,
            tool=tool,
            labels=labels,
            risk=risk,
            input_schema=input_schema,
            arguments=arguments,
            time=time,
            ip=ip,
            client=client,
            token_depth=token_depth,
        )
