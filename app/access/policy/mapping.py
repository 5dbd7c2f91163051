"""Mapping of requests to Cedar's JSON: entities and context.

Arguments reach Cedar only through this mapping. Without it, ``{"__entity": ...}`` in them would become an entity, and a
value of an unexpected type would make Cedar skip the policy.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from ipaddress import IPv6Address
from typing import Any

from app.domain.arguments import ArgumentKind, ArgumentType
from app.domain.objects import Address, Identity, Server, Token, Tool
from app.domain.policy import Act, CallerProgram
from app.lib.ids import GROUP, IDENTITY, TOKEN, format_id

RESERVED_KEYS = frozenset({"__entity", "__extn", "__expr"})
ABSENT = object()
_LONG = 2**63
_PLACES = 10**4
_NESTED = 64
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_STRING = ArgumentType(ArgumentKind.STRING)
_BY_VALUE = ArgumentType(ArgumentKind.ANY)
_OF_ACTS: dict[Act, Mapping[str, ArgumentType]] = {
    Act.USE_RESOURCES: {"uri": _STRING},
    Act.USE_PROMPTS: {"name": _STRING},
}


class Unrepresentable(Exception):
    """A value that Cedar cannot represent. The text says why, without the value."""


def named(act: Act, identity: Identity, server: Server, tool: Tool | None) -> dict[str, dict[str, str]]:
    """Principal, action and resource of a request, as Cedar entity ids."""
    return {
        "principal": _identity_uid(identity),
        "action": _uid("Action", act.value),
        "resource": _server_uid(server) if tool is None else _tool_uid(server, tool),
    }


def entities_json(identity: Identity, server: Server, tool: Tool | None) -> str:
    """The entities for a request of this identity to this server or tool, as Cedar JSON."""
    labels = dict(server.labels)
    entities = [_identity(identity), _entity(_server_uid(server), {"slug": server.slug}, labels)]
    if identity.owner is not None and identity.owner.id != identity.id:
        entities.append(_identity(identity.owner))
    if tool is not None:
        attributes = {
            "name": tool.name,
            "risk": tool.risk.value,
            "server": {"__entity": _server_uid(server)},
        }
        entities.append(_entity(_tool_uid(server, tool), attributes, labels, (_server_uid(server),)))
    return json.dumps(entities)


def _identity(identity: Identity) -> dict[str, object]:
    attributes: dict[str, object] = {"kind": identity.kind}
    if identity.owner is not None:
        attributes["owner"] = {"__entity": _identity_uid(identity.owner)}
    groups = tuple(_uid("Group", format_id(GROUP, group)) for group, _ in identity.groups)
    return _entity(_identity_uid(identity), attributes, dict(identity.attributes), groups)


def _entity(
    uid: dict[str, str],
    attributes: Mapping[str, object],
    tags: Mapping[str, str],
    parents: tuple[dict[str, str], ...] = (),
) -> dict[str, object]:
    return {"uid": uid, "attrs": attributes, "tags": tags, "parents": parents}


def _uid(type: str, id: str) -> dict[str, str]:
    return {"type": type, "id": id}


def _identity_uid(identity: Identity) -> dict[str, str]:
    return _uid("Identity", format_id(IDENTITY, identity.id))


def _server_uid(server: Server) -> dict[str, str]:
    return _uid("Server", server.slug)


def _tool_uid(server: Server, tool: Tool) -> dict[str, str]:
    return _uid("Tool", f"{server.slug}/{tool.name}")


def time_of(local: datetime, names: frozenset[str] | None = None) -> dict[str, object]:
    """``context.time`` at a local time, with the members of these names (``None``: all)."""
    members = {
        "hour": local.hour,
        "minute": local.minute,
        "minute_of_day": local.hour * 60 + local.minute,
        "weekday": _WEEKDAYS[local.weekday()],
        "date": _extension("datetime", local.date().isoformat()),
    }
    return {name: value for name, value in members.items() if names is None or name in names}


def client_of(program: CallerProgram, names: frozenset[str] | None = None) -> dict[str, object]:
    """``context.client``, with the members of these names (``None``: all)."""
    members = {"name": program.name, "version": program.version}
    return {
        key: value for key, value in members.items() if value is not None and (names is None or key in names)
    }


def token_of(token: Token) -> dict[str, object]:
    """``context.token``. Its depth is the number of its ancestors."""
    return {"id": format_id(TOKEN, token.id), "depth": sum(1 for _ in token.chain()) - 1}


def ip_of(address: Address) -> dict[str, object]:
    """``context.ip``. Cedar supports neither zones nor IPv4-mapped addresses."""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address))
    return _extension("ip", address.exploded)


def arguments_of(
    act: Act, tool: Tool | None, arguments: Mapping[str, object], names: frozenset[str] | None
) -> tuple[dict[str, object], dict[str, str]]:
    """The arguments of these names (``None``: all) as Cedar's JSON, and the faults of those that cannot be mapped."""
    declared = _OF_ACTS.get(act, {}) if tool is None else tool.parameters
    mapped: dict[str, object] = {}
    faults: dict[str, str] = {}
    for name in arguments if names is None else names & arguments.keys():
        if tool is None and name not in declared:
            continue
        try:
            value = _member(name, arguments[name], declared)
        except Unrepresentable as fault:
            faults[name] = str(fault)
        else:
            if value is not ABSENT:
                mapped[name] = value
    return mapped, faults


def _member(name: str, value: object, declared: Mapping[str, ArgumentType], depth: int = 0) -> object:
    if name in RESERVED_KEYS:
        raise Unrepresentable("a key has a name that Cedar reserves")
    _text(name)
    return ABSENT if value is None else _value(value, declared.get(name, _BY_VALUE), depth)


def _value(value: object, declared: ArgumentType, depth: int) -> object:
    if depth > _NESTED:
        raise Unrepresentable("it nests too deeply")
    kind = declared.kind if declared.kind is not ArgumentKind.ANY else _kind_of(value)
    if type(value) not in _PYTHON[kind]:
        raise Unrepresentable(f"it is not of the declared type {kind.value}")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [_item(each, declared.items or _BY_VALUE, depth + 1) for each in value]
    if isinstance(value, dict):
        return dict(_members(value, declared.properties, depth + 1))
    return _decimal(value) if kind is ArgumentKind.NUMBER else _long(value)


_PYTHON: dict[ArgumentKind, tuple[type, ...]] = {
    ArgumentKind.STRING: (str,),
    ArgumentKind.BOOLEAN: (bool,),
    ArgumentKind.INTEGER: (int,),
    ArgumentKind.NUMBER: (int, float),
    ArgumentKind.ARRAY: (list,),
    ArgumentKind.OBJECT: (dict,),
}


def _kind_of(value: object) -> ArgumentKind:
    for kind, types in _PYTHON.items():
        # Without a declared type, a float is ambiguous: 5.0 and 5 are different values in Cedar.
        if type(value) in types and kind is not ArgumentKind.NUMBER:
            return kind
    raise Unrepresentable("it is not an integer, and the tool does not declare it as a number")


def _item(value: object, declared: ArgumentType, depth: int) -> object:
    if value is None:
        raise Unrepresentable("there is a null in a list")
    return _value(value, declared, depth)


def _members(
    value: Mapping[str, object], declared: Mapping[str, ArgumentType], depth: int
) -> Iterator[tuple[str, object]]:
    for name, member in value.items():
        mapped = _member(name, member, declared, depth)
        if mapped is not ABSENT:
            yield name, mapped


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unrepresentable("it is not Unicode text") from None
    return value


def _long(value: Any) -> Any:
    if not -_LONG <= value < _LONG:
        raise Unrepresentable("it is an integer beyond 64 bits")
    return value


def _decimal(value: Any) -> dict[str, object]:
    """Convert a number exactly to Cedar's decimal, which has four decimal places and 64 bits."""
    if not -_LONG < value < _LONG:
        raise Unrepresentable("it is a number out of the range of decimals")
    # The forwarded JSON contains the shortest text that reads back as this number.
    scaled = Decimal(repr(value)) * _PLACES
    if scaled != int(scaled):
        raise Unrepresentable("it is a number with more than four decimal places")
    if not -_LONG < scaled < _LONG:
        raise Unrepresentable("it is a number out of the range of decimals")
    whole, places = divmod(abs(int(scaled)), _PLACES)
    return _extension("decimal", f"{'-' if scaled < 0 else ''}{whole}.{places:04d}")


def _extension(function: str, argument: str) -> dict[str, object]:
    return {"__extn": {"fn": function, "arg": argument}}
