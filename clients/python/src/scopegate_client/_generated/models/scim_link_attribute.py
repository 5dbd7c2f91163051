from typing import Literal, cast

ScimLinkAttribute = Literal["externalId", "none", "userName"]


def check_scim_link_attribute(value: str) -> ScimLinkAttribute:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ScimLinkAttribute, value)
