"""What is announced of users beside what we keep (RFC 7643 section 4.1).

Some directories make their model of a user from ``/Schemas`` and then say all that they have of a person: Canaille
fails on each attribute that is not there. So the standard's other attributes are announced too, as such that nobody
may write and nobody is shown. Who heeds that does not send them, and no password leaves the directory; what is sent all
the same is dropped.
"""

from functools import cached_property

from scim2_models import Attribute, Mutability, Required, Returned, Schema, ScimProvider
from scim2_models import User as StandardUser

from app.features.identity_providers.scim_schema import User


class Announced(ScimProvider):
    """The description of our service, with all of the standard's attributes of a user."""

    @cached_property
    def schemas(self) -> tuple[Schema, ...]:
        """What ``/Schemas`` says."""
        return tuple(_whole(schema) if schema.id == User.__schema__ else schema for schema in super().schemas)


def _whole(schema: Schema) -> Schema:
    kept = list(schema.attributes or [])
    names = {attribute.name for attribute in kept}
    rest = [one for one in StandardUser.to_schema().attributes or [] if one.name not in names]
    return schema.model_copy(update={"attributes": [*kept, *map(_not_kept, rest)]})


def _not_kept(attribute: Attribute) -> Attribute:
    parts = [_not_kept(part) for part in attribute.sub_attributes or []]
    return attribute.model_copy(
        update={
            "mutability": Mutability.read_only,
            "returned": Returned.never,
            "required": Required.false,
            "sub_attributes": parts or None,
        }
    )
