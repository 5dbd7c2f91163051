from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.workload_claims import WorkloadClaims


@define(kw_only=True)
class Workload:
    """Workloads whose tokens have all of these claims act as this service account."""

    service_account_id: str
    """The id of a service account."""

    claims: WorkloadClaims
    """Required claims with their exact text."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        service_account_id = self.service_account_id

        claims = self.claims.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "service_account_id": service_account_id,
                "claims": claims,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.workload_claims import WorkloadClaims

        d = dict(src_dict)
        service_account_id = d.pop("service_account_id")

        claims = WorkloadClaims.from_dict(d.pop("claims"))

        return cls(
            service_account_id=service_account_id,
            claims=claims,
        )
