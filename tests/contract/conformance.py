"""Holds every answer that a test gets against the contract: status, media type, headers, body."""

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

_LINES = "application/x-ndjson"
_PLACE = re.compile(r"\\\{\w+\\\}")


class Contract:
    """An OpenAPI document that answers can be checked against."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        # Fixed paths first: `/identities/offboard` is no identity's.
        paths = sorted(document["paths"], key=lambda path: "{" in path)
        self._paths = [(re.compile(_PLACE.sub("[^/]+", re.escape(path))), path) for path in paths]
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def knows(self, path: str) -> bool:
        """Whether the contract says anything of this path."""
        return any(pattern.fullmatch(path) for pattern, _ in self._paths)

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise ``AssertionError`` when the contract does not promise this answer."""
        operation, template = self._operation(method.lower(), path)
        if operation is None:
            return
        where = f"{method} {template} {status}"
        # Said of the connection rather than of the operation: a body where none belongs, a fault of ours.
        if status == 500 or (status == 413 and "requestBody" not in operation):
            return
        assert str(status) in operation["responses"], f"{where} is not in the contract: {body[:500]!r}"
        answer = self._resolved(operation["responses"][str(status)])
        promised = {name.lower(): header for name, header in answer.get("headers", {}).items()}
        for name in ("etag", "location", "retry-after", "www-authenticate", "idempotency-replayed"):
            assert name not in headers or name in promised, (
                f"{where} has the header {name}, not in the contract"
            )
        for name in {"etag", "location", "x-request-id"} & promised.keys():
            assert name in headers, f"{where} lacks the header {name} of the contract"
        content = answer.get("content", {})
        media_type = headers.get("content-type", "").partition(";")[0]
        if not content:
            assert not body, f"{where} has a body"
            return
        assert media_type in content, f"{where} is {media_type}, not {', '.join(content)}"
        if "schema" in content[media_type] and media_type.endswith("json") and media_type != _LINES:
            self._validate(where, content[media_type]["schema"], body)

    def _operation(self, method: str, path: str) -> tuple[dict[str, Any] | None, str]:
        for pattern, template in self._paths:
            if pattern.fullmatch(path):
                return self._document["paths"][template].get(method), template
        return None, path

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in value:
            reference, value = value["$ref"], self._document
            for part in reference.removeprefix("#/").split("/"):
                value = value[part]
        return value

    def _validate(self, where: str, schema: dict[str, Any], body: bytes) -> None:
        key = str(schema)
        if key not in self._validators:
            whole = schema | {"components": self._document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        for error in self._validators[key].iter_errors(json.loads(body)):
            raise AssertionError(f"{where}: {error.message} at {'/'.join(map(str, error.instance_path))}")
