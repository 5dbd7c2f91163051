"""No secret of the contract is a plain string in the client."""

import json
from typing import Any

import attrs
from scopegate_client import models

from tests.clients.operations import CONTRACT

NAMES = {"secret", "client_secret", "access_token", "refresh_token", "password"}
SCHEMAS: dict[str, Any] = json.loads(CONTRACT.read_text(encoding="utf-8"))["components"]["schemas"]


def properties() -> list[tuple[str, str, dict[str, Any]]]:
    """Each property of each schema: whose, its name, what it is."""
    return [
        (name, key, value)
        for name, schema in SCHEMAS.items()
        for key, value in schema.get("properties", {}).items()
    ]


def is_password(value: dict[str, Any]) -> bool:
    """Whether the contract calls it one."""
    return any(part.get("format") == "password" for part in [value, *value.get("anyOf", [])])


def test_what_is_named_like_a_secret_is_one_in_the_contract() -> None:
    assert [(name, key) for name, key, value in properties() if key in NAMES and not is_password(value)] == []


def test_what_the_contract_calls_a_password_never_prints() -> None:
    secrets = [(name, key) for name, key, value in properties() if is_password(value)]
    assert ("IssuedToken", "secret") in secrets
    plain = [
        (name, key)
        for name, key in secrets
        if hasattr(models, name)
        if "Secret" not in str(attrs.fields_dict(getattr(models, name))[key].type)
    ]
    assert plain == []
