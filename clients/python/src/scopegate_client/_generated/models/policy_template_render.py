from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.policy_template_parameters import PolicyTemplateParameters


@define(kw_only=True)
class PolicyTemplateRender:
    """The parameters of a template."""

    parameters: PolicyTemplateParameters
    """Values by parameter name: see the `parameters` of the template."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        parameters = self.parameters.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "parameters": parameters,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.policy_template_parameters import PolicyTemplateParameters

        d = dict(src_dict)
        parameters = PolicyTemplateParameters.from_dict(d.pop("parameters"))

        return cls(
            parameters=parameters,
        )
