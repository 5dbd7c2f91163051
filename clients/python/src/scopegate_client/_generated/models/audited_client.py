from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuditedClient:
    """The client program, as it described itself, and its address."""

    name: None | str
    """The name that it sent."""

    version: None | str
    """The version that it sent."""

    ip: None | str
    """The client address."""

    user_agent: None | str
    """Its `User-Agent`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name: None | str
        name = self.name

        version: None | str
        version = self.version

        ip: None | str
        ip = self.ip

        user_agent: None | str
        user_agent = self.user_agent

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "version": version,
                "ip": ip,
                "user_agent": user_agent,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        def _parse_version(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        version = _parse_version(d.pop("version"))

        def _parse_ip(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        ip = _parse_ip(d.pop("ip"))

        def _parse_user_agent(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        user_agent = _parse_user_agent(d.pop("user_agent"))

        return cls(
            name=name,
            version=version,
            ip=ip,
            user_agent=user_agent,
        )
