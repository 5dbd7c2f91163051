"""Types of requests take what the contract says, and nothing that Python would convert to it."""

from ipaddress import ip_address

import pytest
from pydantic import TypeAdapter, ValidationError

from app.features.policies.schemas import PolicyTestRequest
from app.http.schemas import IpAddress


@pytest.mark.parametrize("value", [False, 7, "7"])
def test_an_address_is_a_string_that_holds_one(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(IpAddress).validate_python(value)
    assert TypeAdapter(IpAddress).validate_python("192.0.2.7") == ip_address("192.0.2.7")


@pytest.mark.parametrize("value", [True, "1", 1.0])
def test_the_depth_of_a_token_is_an_integer(value: object) -> None:
    with pytest.raises(ValidationError):
        PolicyTestRequest.model_validate({"server": "git", "tool": "git_log", "token_depth": value})
