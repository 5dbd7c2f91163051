from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.kept_arguments import KeptArguments


@define(kw_only=True)
class ApprovalArguments:
    """The arguments of the call. It will run with exactly these, since an approval is bound to them."""

    approval_id: str
    """The id of an approval."""

    kept: bool
    """Whether they are recorded. They are not if the server's `keep_arguments` is `off`, or their
    retention is over."""

    arguments: KeptArguments | None
    """Null when they are not kept."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.kept_arguments import KeptArguments

        approval_id = self.approval_id

        kept = self.kept

        arguments: dict[str, Any] | None
        if isinstance(self.arguments, KeptArguments):
            arguments = self.arguments.to_dict()
        else:
            arguments = self.arguments

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "approval_id": approval_id,
                "kept": kept,
                "arguments": arguments,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.kept_arguments import KeptArguments

        d = dict(src_dict)
        approval_id = d.pop("approval_id")

        kept = d.pop("kept")

        def _parse_arguments(data: object) -> KeptArguments | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                arguments_type_0 = KeptArguments.from_dict(data)

                return arguments_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(KeptArguments | None, data)

        arguments = _parse_arguments(d.pop("arguments"))

        return cls(
            approval_id=approval_id,
            kept=kept,
            arguments=arguments,
        )
