"""Tolerance for directories that deviate from RFC 7643 and RFC 7644.

Entra ID writes booleans as texts ("False"), and a manager as a text or a list of one. Okta sends back a whole user with
read-only attributes. Both send a password if configured. Dropped values are neither inspected, stored nor logged. What
``scim2-server`` tolerates itself (the case of ``op``, unknown attributes, members named by a value) is left unchanged.
"""

from dataclasses import dataclass
from typing import Any

import scim2_models as scim

from app.adapters.scim.models import MAX_OPERATIONS
from app.lib.strict_json import JsonValue, StrictJsonError, dumps, loads

_BOOLEANS = {"true": True, "false": False}
_TRUTHS = frozenset({"active", "primary"})
_WHOLE = frozenset({"POST", "PUT"})
_CORE = {
    "users": "urn:ietf:params:scim:schemas:core:2.0:User",
    "groups": "urn:ietf:params:scim:schemas:core:2.0:Group",
}
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_SECRET = "password"
_MANAGER = "manager"
_SINGLE = frozenset({"active", _MANAGER})
_MANAGER_PATH = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager"

# Read-only attributes that directories send in a PATCH without a path.
_READ_ONLY = frozenset({"id", "meta", "schemas", "groups"})

# Applying an operation to a user costs with its number of values, and blocks the event loop.
_MAX_OPERATIONS = 1_000
_MAX_OPERATIONS_ON_USERS = 200
_MAX_NAMES = 2_000
_MAX_VALUES = 20
_MAX_VALUES_IN_CHANGES = 50
_MAX_PATH_LENGTH = 500
_MAX_PATHS_LENGTH = 100_000


@dataclass(slots=True)
class _Cost:
    """The cost of a request; for a bulk request, of all its operations."""

    operations: int = 0
    on_users: int = 0
    names: int = 0
    values: int = 0
    paths: int = 0

    def check(self) -> None:
        """Raise ``PayloadTooLargeException`` if a limit is exceeded."""
        for count, limit, what in (
            (self.operations, _MAX_OPERATIONS, "operations of PATCH"),
            (self.names, _MAX_NAMES, "names in operations of PATCH"),
            (self.on_users, _MAX_OPERATIONS_ON_USERS, "operations of PATCH on users"),
            (self.values, _MAX_VALUES_IN_CHANGES, "values in operations on users"),
            (self.paths, _MAX_PATHS_LENGTH, "characters in paths"),
        ):
            if count > limit:
                raise scim.PayloadTooLargeException(detail=f"A request has at most {limit} {what}.")


def tolerate(method: str, path: str, body: bytes) -> bytes:
    """Bring a request body into the standard's form.

    Raises exceptions of ``scim2_models`` for ambiguous bodies and for ones that would block the event loop.
    """
    if not body or method not in {"POST", "PUT", "PATCH"}:
        return body
    try:
        value = loads(body)
    except StrictJsonError as error:
        raise scim.InvalidSyntaxException(detail=error.message) from None
    _check_keys(value)
    endpoint, _, rest = path.strip("/").partition("/")
    cost = _Cost()
    if endpoint == "Bulk":
        _tolerate_bulk(value, cost)
    elif rest != ".search":
        _tolerate_data(method, endpoint.casefold(), value, cost)
    cost.check()
    return dumps(value)


def _check_keys(value: JsonValue) -> None:
    """Reject names that differ only in case, since they are the same attribute and one would be dropped."""
    if isinstance(value, dict):
        if len({key.casefold() for key in value}) != len(value):
            raise scim.InvalidSyntaxException(
                detail="An object has the same attribute twice, in different case."
            )
        for inner in value.values():
            _check_keys(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_keys(inner)


def _tolerate_bulk(value: JsonValue, cost: _Cost) -> None:
    operations = _members(value, "operations")
    if len(operations) > MAX_OPERATIONS:
        # Checked before each of them is read.
        raise scim.PayloadTooLargeException(detail=f"A bulk request has at most {MAX_OPERATIONS} operations.")
    for operation in operations:
        method, path = _get(operation, "method"), _get(operation, "path")
        if isinstance(method, str) and isinstance(path, str):
            endpoint = path.strip("/").partition("/")[0].casefold()
            _tolerate_data(method.upper(), endpoint, _get(operation, "data"), cost)


def _tolerate_data(method: str, endpoint: str, value: JsonValue, cost: _Cost) -> None:
    if endpoint not in _CORE or not isinstance(value, dict):
        return
    if method in _WHOLE:
        _name_schemas(value, _CORE[endpoint])
        _clean(value)
        if endpoint == "users":
            _count_values(value)
    elif method == "PATCH":
        _name_schemas(value, _PATCH)
        for operation in _operations(value):
            names = _names(operation)
            cost.operations += 1
            written = _get(operation, "value")
            if not _get(operation, "path") and isinstance(written, dict):
                # The attributes that it writes, including those of an extension.
                cost.names += len(written) + sum(
                    len(inner) for inner in written.values() if isinstance(inner, dict)
                )
            cost.paths += sum(map(len, names))
            if any(len(path) > _MAX_PATH_LENGTH for path in names):
                raise scim.InvalidPathException(detail=f"A path has at most {_MAX_PATH_LENGTH} characters.")
            _tolerate_operation(operation)
            if endpoint == "users":
                cost.on_users += len(names)
                cost.values += _count_values(_get(operation, "value"))


def _operations(patch: dict[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """The operations of a PATCH. One without a path that selects values in its names is split, with each such name as a
    path; Entra ID sets ``emails[type eq "work"].value`` this way."""
    key = _key(patch, "operations")
    if key is None or not isinstance(operations := patch[key], list):
        return []
    split_operations: list[JsonValue] = []
    for operation in operations:
        if not isinstance(operation, dict) or _get(operation, "path"):
            split_operations.append(operation)
            continue
        value = _get(operation, "value")
        selecting = [name for name in value if "[" in name] if isinstance(value, dict) else []
        if not selecting or not isinstance(value, dict):
            split_operations.append(operation)
            continue
        if len(selecting) < len(value):
            split_operations.append(operation)
        split_operations.extend(
            {"op": _get(operation, "op"), "path": name, "value": value.pop(name)} for name in selecting
        )
    patch[key] = split_operations
    return _members(patch, "operations")


def _names(operation: dict[str, JsonValue]) -> list[str]:
    """The paths that an operation writes."""
    path, value = _get(operation, "path"), _get(operation, "value")
    if isinstance(path, str):
        return [path]
    return list(value) if isinstance(value, dict) else []


def _tolerate_operation(operation: dict[str, JsonValue]) -> None:
    """Adapt one operation of a PATCH, with or without a path."""
    key = _key(operation, "value")
    path = _get(operation, "path")
    if isinstance(path, str) and path.casefold() == _MANAGER:
        operation[_key(operation, "path") or "path"] = path = _MANAGER_PATH
    if isinstance(path, str):
        last = _last(path)
        if last == _SECRET:
            # The password is not stored, so its value is dropped.
            operation["value" if key is None else key] = ""
            return
        if key is None:
            return
        operation[key] = _convert(last, operation[key])
        if last == "members" and str(_get(operation, "op")).lower() == "remove":
            operation[key] = _by_value(operation[key])
    elif key is not None and isinstance(inner := operation[key], dict):
        for name in [name for name in inner if name.casefold() in _READ_ONLY]:
            del inner[name]
    if key is not None:
        _clean(operation[key])


def _clean(value: JsonValue) -> None:
    """Drop passwords, and convert every value to its type."""
    if isinstance(value, list):
        for inner in value:
            _clean(inner)
    if not isinstance(value, dict):
        return
    for name in list(value):
        if _last(name) == _SECRET:
            del value[name]
            continue
        value[name] = _convert(_last(name), value[name])
        _clean(value[name])


def _convert(name: str, value: JsonValue) -> JsonValue:
    """Convert a value to the attribute's type."""
    if name in _SINGLE and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if name in _TRUTHS and isinstance(value, dict):
        value = _get(value, "value")
    if name in _TRUTHS and isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower(), value)
    if name == _MANAGER and isinstance(value, str):
        return {"value": value} if value else None
    return value


def _count_values(value: JsonValue) -> int:
    """Count the values in the lists of a user. Raises ``InvalidValueException``."""
    if isinstance(value, list):
        if len(value) > _MAX_VALUES:
            raise scim.InvalidValueException(detail=f"An attribute has at most {_MAX_VALUES} values.")
        return len(value) + sum(map(_count_values, value))
    return sum(map(_count_values, value.values())) if isinstance(value, dict) else 0


def _by_value(value: JsonValue) -> JsonValue:
    """Reduce members to remove to their ids, since other sent values can be out of date."""
    if isinstance(value, list):
        return [_by_value(one) for one in value]
    if isinstance(value, dict) and (key := _key(value, "value")) is not None:
        return {key: value[key]}
    return value


def _name_schemas(value: dict[str, Any], schema: str) -> None:
    """Add the schema to a body without one."""
    if not _get(value, "schemas"):
        value[_key(value, "schemas") or "schemas"] = [schema]


def _last(path: str) -> str:
    """The last name of a path or key, without schema, filter and parent."""
    head, bracket, tail = path.rpartition("]")
    if bracket:
        path = tail.lstrip(".") or head.partition("[")[0]
    return path.rpartition(":")[2].rpartition(".")[2].casefold()


def _key(value: dict[str, JsonValue], name: str) -> str | None:
    return next((key for key in value if key.casefold() == name), None)


def _get(value: dict[str, JsonValue], name: str) -> JsonValue:
    key = _key(value, name)
    return None if key is None else value[key]


def _members(value: JsonValue, name: str) -> list[dict[str, JsonValue]]:
    """The objects in a list member of an object."""
    listed = _get(value, name) if isinstance(value, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
