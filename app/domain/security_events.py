"""Parsing of security events (RFC 8417) as defined by CAEP, RISC and SSF 1.0.

A transmitter's JSON is untrusted, so every member is validated. Subject identifiers are those of RFC 9493 and of SSF
1.0 section 3. An identifier of an unsupported format matches no identity and is not an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

_CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"
_SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
_MAX_TEXT = 1024
_MAX_TYPE = 255
MAX_ALIASES = 20
_MAX_MEMBERS = 20
# Times are stored as dates, which end in the year 9999.
_LAST_SECOND = 253_402_300_799


class EventType(StrEnum):
    """The event types that have an effect."""

    SESSION_REVOKED = _CAEP + "session-revoked"
    CREDENTIAL_CHANGE = _CAEP + "credential-change"
    TOKEN_CLAIMS_CHANGE = _CAEP + "token-claims-change"
    ACCOUNT_DISABLED = _RISC + "account-disabled"
    ACCOUNT_PURGED = _RISC + "account-purged"
    ACCOUNT_ENABLED = _RISC + "account-enabled"
    CREDENTIAL_COMPROMISE = _RISC + "credential-compromise"
    VERIFICATION = _SSF + "verification"
    STREAM_UPDATED = _SSF + "stream-updated"


REQUESTED = tuple(type.value for type in EventType if not type.value.startswith(_SSF))
"""The event types requested from a transmitter. Events about the stream itself are always sent."""
STREAM_STATUSES = ("enabled", "paused", "disabled")
INTERPRETED_MEMBERS = frozenset({"user", "session"})
"""The supported members of a complex subject. An event with another critical member is ignored (SSF 1.0 section
3.6)."""


class Unreadable(Exception):
    """An event is malformed. ``reason`` says why and quotes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ByEmail:
    """An email address (RFC 9493 section 3.2.2)."""

    address: str


@dataclass(frozen=True, slots=True)
class ByAccount:
    """``user@host`` of an ``acct:`` URI (RFC 9493 section 3.2.1)."""

    name: str


@dataclass(frozen=True, slots=True)
class ByIssuer:
    """An issuer and its ``sub`` (RFC 9493 section 3.2.3)."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class ById:
    """The transmitter's own opaque id (RFC 9493 section 3.2.4)."""

    id: str


Identifier: TypeAlias = ByEmail | ByAccount | ByIssuer | ById


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of an event: a person by each identifier, or a session. ``members`` are the names of the parts of a
    complex subject; empty for a simple one."""

    people: tuple[Identifier, ...] = ()
    sessions: tuple[Identifier, ...] = ()
    members: frozenset[str] = frozenset()

    def lacks(self, critical: frozenset[str]) -> bool:
        """Whether the subject has a critical part that is not supported."""
        return not (self.members & critical) <= INTERPRETED_MEMBERS


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """The event of a verified token. Times are in Unix seconds.

    ``happened_at`` is the event's own time or else when the token was issued. ``detail`` depends on the type: the kind
    of a credential change, the status of a stream, or the state of a verification.
    """

    issuer: str
    jti: str = field(repr=False)
    type: str = field(repr=False)
    subject: Subject = field(repr=False)
    happened_at: float
    detail: str | None = field(default=None, repr=False)

    @property
    def known(self) -> EventType | None:
        """The event type, if it has an effect."""
        return EventType(self.type) if self.type in _KNOWN else None


_KNOWN = frozenset(EventType)


def read_event(events: object) -> tuple[str, Mapping[str, Any]]:
    """The type and the payload of the one event of a token. Raises ``Unreadable``."""
    if not isinstance(events, dict) or len(events) != 1:
        raise Unreadable("it has not exactly one event")
    ((type, payload),) = events.items()
    if not 0 < len(type) <= _MAX_TYPE or not type.isprintable() or ":" not in type:
        raise Unreadable("the type of its event is not a URI, or too long")
    if not isinstance(payload, dict):
        raise Unreadable("its event is not an object")
    return type, payload


def read_detail(type: str, payload: Mapping[str, Any]) -> str | None:
    """The ``detail`` of an event. Raises ``Unreadable``."""
    if type == EventType.CREDENTIAL_CHANGE:
        return _text(payload.get("change_type"), "the change_type of its event")
    if type == EventType.STREAM_UPDATED:
        if payload.get("status") not in STREAM_STATUSES:
            raise Unreadable("the status of its stream is not enabled, paused or disabled")
        return str(payload["status"])
    if type == EventType.VERIFICATION and "state" in payload:
        return _text(payload["state"], "the state of its event")
    return None


def read_time(value: object, name: str) -> float:
    """Parse a NumericDate (RFC 7519 section 2). Raises ``Unreadable``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise Unreadable(f"{name} is not a time in seconds")
    return float(value)


def happened_at(payload: Mapping[str, Any], issued_at: float, now: float) -> float:
    """When an event happened, at most ``now``, so that a fast clock of the transmitter spares no session. Raises
    ``Unreadable``."""
    timestamp = payload.get("event_timestamp", issued_at)
    # Drafts of CAEP used milliseconds, which as seconds are in the far future.
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool) and timestamp > now:
        return now
    return read_time(timestamp, "the event_timestamp of its event")


def read_subject(value: object) -> Subject:
    """Parse the subject of an event. Raises ``Unreadable``."""
    members = _members(value)
    if members.get("format") != "complex":
        return Subject(people=_identifiers(members))
    parts = {name: part for name, part in members.items() if name != "format"}
    if not 0 < len(parts) <= _MAX_MEMBERS:
        raise Unreadable("its complex subject has no parts, or too many")
    identifiers: dict[str, tuple[Identifier, ...]] = {}
    for name, part in parts.items():
        inner = _members(part)
        if inner.get("format") == "complex":
            raise Unreadable("its complex subject has a complex part")
        identifiers[name] = _identifiers(inner)
    return Subject(identifiers.get("user", ()), identifiers.get("session", ()), frozenset(parts))


def _identifiers(members: Mapping[str, Any], *, alias: bool = False) -> tuple[Identifier, ...]:
    """Parse a simple subject identifier. Each format allows only its own members."""
    kind = members.get("format")
    if kind == "aliases" and not alias:
        _only(members, "identifiers")
        return _aliases(members["identifiers"])
    if kind == "email":
        _only(members, "email")
        return (ByEmail(_text(members["email"], "the email of its subject")),)
    if kind == "account":
        _only(members, "uri")
        uri = _text(members["uri"], "the uri of its subject")
        if not uri.startswith("acct:") or len(uri) == len("acct:"):
            raise Unreadable("the uri of its subject is not an acct: URI")
        return (ByAccount(uri.removeprefix("acct:")),)
    if kind == "iss_sub":
        _only(members, "iss", "sub")
        issuer, subject = (_text(members[name], f"the {name} of its subject") for name in ("iss", "sub"))
        return (ByIssuer(issuer, subject),)
    if kind == "opaque":
        _only(members, "id")
        return (ById(_text(members["id"], "the id of its subject")),)
    if kind in {"aliases", "complex"}:
        raise Unreadable("its subject contains a nested format that is not allowed there")
    return ()


def _aliases(entries: object) -> tuple[Identifier, ...]:
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not 0 < len(entries) <= MAX_ALIASES:
        raise Unreadable("the identifiers of its subject are not a list, empty or too many")
    identifiers: dict[Identifier, None] = {}
    for entry in entries:
        identifiers.update(dict.fromkeys(_identifiers(_members(entry), alias=True)))
    return tuple(identifiers)


def _members(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("its subject is not an object")
    if not isinstance(value.get("format"), str):
        raise Unreadable("its subject does not say its format")
    return value


def _only(members: Mapping[str, Any], *names: str) -> None:
    """Check that exactly the members of the format are present (RFC 9493 section 3)."""
    if members.keys() != {"format", *names}:
        raise Unreadable("its subject does not have exactly the members of its format")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise Unreadable(f"{name} is not text, or too long")
    return value
