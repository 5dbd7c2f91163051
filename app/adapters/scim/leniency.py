"""What real directories send, brought into the shape that RFC 7643 and 7644 give it, before it is read. Pure.

Entra ID writes booleans as texts ("False"), and a manager as a text or a list of one. Okta sends a whole user back,
with what only we may write. Either sends a password where it is told to. Whatever is dropped here is not looked at,
kept or logged. What ``scim2-server`` bears by itself (the case of ``op``, attributes that are unknown, members named by
a value) is not touched.
"""

from dataclasses import dataclass
from typing import Any

from scim2_models import (
    InvalidPathException,
    InvalidSyntaxException,
    InvalidValueException,
    PayloadTooLargeException,
)

from app.adapters.scim.models import MOST_OPERATIONS
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
# What only we write, and a PATCH without a path brings along all the same.
_OURS = frozenset({"id", "meta", "schemas", "groups"})
# Applying an operation to a user costs with the values that it has, and all others of the worker wait meanwhile.
_MOST_OPERATIONS = 1_000
_MOST_OPERATIONS_ON_USERS = 200
_MOST_NAMES = 2_000
_MOST_VALUES = 20
_MOST_VALUES_IN_CHANGES = 50
_LONGEST_PATH = 500
_LONGEST_PATHS = 100_000


@dataclass(slots=True)
class _Cost:
    """What a request asks for, a bulk request in all of its operations together."""

    operations: int = 0
    on_users: int = 0
    names: int = 0
    values: int = 0
    paths: int = 0

    def check(self) -> None:
        """Raise ``PayloadTooLargeException`` for more than is carried out in one."""
        for asked, most, what in (
            (self.operations, _MOST_OPERATIONS, "operations of PATCH"),
            (self.names, _MOST_NAMES, "names in operations of PATCH"),
            (self.on_users, _MOST_OPERATIONS_ON_USERS, "operations of PATCH on users"),
            (self.values, _MOST_VALUES_IN_CHANGES, "values in operations on users"),
            (self.paths, _LONGEST_PATHS, "characters in paths"),
        ):
            if asked > most:
                raise PayloadTooLargeException(detail=f"A request has at most {most} {what}.")


def tolerate(method: str, path: str, body: bytes) -> bytes:
    """The body of a request as the standard would have it. Raises exceptions of ``scim2_models`` for what has no one
    meaning, and for what would keep others waiting."""
    if not body or method not in {"POST", "PUT", "PATCH"}:
        return body
    value = _read(body)
    endpoint, _, rest = path.strip("/").partition("/")
    cost = _Cost()
    if endpoint == "Bulk":
        _tolerate_bulk(value, cost)
    elif rest != ".search":
        _tolerate_data(method, endpoint.casefold(), value, cost)
    cost.check()
    return dumps(value)


def _read(body: bytes) -> JsonValue:
    try:
        value = loads(body)
    except StrictJsonError as error:
        raise InvalidSyntaxException(detail=error.message) from None
    _check_keys(value)
    return value


def _check_keys(value: JsonValue) -> None:
    """Names are the same whatever their case, so of two such one would be dropped without a word."""
    if isinstance(value, dict):
        if len({key.casefold() for key in value}) != len(value):
            raise InvalidSyntaxException(detail="An object has the same attribute twice, in another case.")
        for inner in value.values():
            _check_keys(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_keys(inner)


def _tolerate_bulk(value: JsonValue, cost: _Cost) -> None:
    operations = _members(value, "operations")
    if len(operations) > MOST_OPERATIONS:
        # Told before each of them is read.
        raise PayloadTooLargeException(detail=f"A bulk request has at most {MOST_OPERATIONS} operations.")
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
            cost.names += _count_names(operation)
            cost.paths += sum(map(_length, names))
            _tolerate_operation(operation)
            if endpoint == "users":
                cost.on_users += len(names)
                cost.values += _count_values(_get(operation, "value"))


def _operations(patch: dict[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """The operations of a PATCH. What has no path, and selects values by the names in its value, becomes several, each
    with such a name as its path: Entra ID sets ``emails[type eq "work"].value`` so."""
    key = _key(patch, "operations")
    if key is None or not isinstance(given := patch[key], list):
        return []
    apart: list[JsonValue] = []
    for operation in given:
        if not isinstance(operation, dict) or _get(operation, "path"):
            apart.append(operation)
            continue
        value = _get(operation, "value")
        selecting = [name for name in value if "[" in name] if isinstance(value, dict) else []
        if not selecting or not isinstance(value, dict):
            apart.append(operation)
            continue
        if len(selecting) < len(value):
            apart.append(operation)
        apart.extend(
            {"op": _get(operation, "op"), "path": name, "value": value.pop(name)} for name in selecting
        )
    patch[key] = apart
    return _members(patch, "operations")


def _names(operation: dict[str, JsonValue]) -> list[str]:
    """The paths that an operation writes at."""
    path, value = _get(operation, "path"), _get(operation, "value")
    if isinstance(path, str):
        return [path]
    return list(value) if isinstance(value, dict) else []


def _count_names(operation: dict[str, JsonValue]) -> int:
    """How many attributes an operation without a path writes, those of a schema among them."""
    if _get(operation, "path") or not isinstance(value := _get(operation, "value"), dict):
        return 0
    return len(value) + sum(len(inner) for inner in value.values() if isinstance(inner, dict))


def _tolerate_operation(operation: dict[str, JsonValue]) -> None:
    """One operation of a PATCH, with a path or without."""
    key = _key(operation, "value")
    path = _get(operation, "path")
    if isinstance(path, str) and path.casefold() == _MANAGER:
        operation[_key(operation, "path") or "path"] = path = _MANAGER_PATH
    if isinstance(path, str):
        last = _last(path)
        if last == _SECRET:
            # An attribute that we do not have, so nothing becomes of it.
            operation["value" if key is None else key] = ""
            return
        if key is None:
            return
        operation[key] = _shaped(last, operation[key])
        if last == "members" and str(_get(operation, "op")).lower() == "remove":
            operation[key] = _by_value(operation[key])
    elif key is not None and isinstance(inner := operation[key], dict):
        for name in [name for name in inner if name.casefold() in _OURS]:
            del inner[name]
    if key is not None:
        _clean(operation[key])


def _clean(value: JsonValue) -> None:
    """Drop the password of a resource or of what a PATCH writes, and shape each value below."""
    if isinstance(value, list):
        for inner in value:
            _clean(inner)
    if not isinstance(value, dict):
        return
    for name in list(value):
        if _last(name) == _SECRET:
            del value[name]
            continue
        value[name] = _shaped(_last(name), value[name])
        _clean(value[name])


def _shaped(name: str, value: JsonValue) -> JsonValue:
    """The value of an attribute in the type that it has."""
    if name in _SINGLE and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if name in _TRUTHS and isinstance(value, dict):
        value = _get(value, "value")
    if name in _TRUTHS and isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower(), value)
    if name == _MANAGER and isinstance(value, str):
        return {"value": value} if value else None
    return value


def _length(path: str) -> int:
    if len(path) > _LONGEST_PATH:
        raise InvalidPathException(detail=f"A path has at most {_LONGEST_PATH} characters.")
    return len(path)


def _count_values(value: JsonValue) -> int:
    """How many values there are in the lists of what is said of a user. Raises ``InvalidValueException``."""
    if isinstance(value, list):
        if len(value) > _MOST_VALUES:
            raise InvalidValueException(detail=f"An attribute has at most {_MOST_VALUES} values.")
        return len(value) + sum(map(_count_values, value))
    return sum(map(_count_values, value.values())) if isinstance(value, dict) else 0


def _by_value(value: JsonValue) -> JsonValue:
    """Members to remove, named by their ids alone: what else is sent of them may be out of date."""
    if isinstance(value, list):
        return [_by_value(one) for one in value]
    if isinstance(value, dict) and (key := _key(value, "value")) is not None:
        return {key: value[key]}
    return value


def _name_schemas(value: dict[str, Any], schema: str) -> None:
    """Say which schema a body has that does not say it."""
    if not _get(value, "schemas"):
        value[_key(value, "schemas") or "schemas"] = [schema]


def _last(path: str) -> str:
    """The name at the end of a path or of a key: without its schema, its filter and what it is below."""
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
    """The objects in a list of an object."""
    found = _get(value, name) if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
