from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.environment_variables import EnvironmentVariables


@define(kw_only=True)
class EnvCredential:
    """Environment variables for the program of a ``stdio`` server."""

    kind: Literal["env"] = "env"

    variables: EnvironmentVariables
    """Values by the names of `env_names`. They are stored encrypted and never shown."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        variables = self.variables.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "variables": variables,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.environment_variables import EnvironmentVariables

        d = dict(src_dict)
        kind = cast(Literal["env"], d.pop("kind"))
        if kind != "env":
            raise ValueError(f"kind must match const 'env', got '{kind}'")

        variables = EnvironmentVariables.from_dict(d.pop("variables"))

        return cls(
            kind=kind,
            variables=variables,
        )
