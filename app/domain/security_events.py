"""Security events (RFC 8417) as CAEP, RISC and SSF 1.0 define them: what happened, to whom, and when.

What a transmitter says is a stranger's JSON: of any type, and read to its last member. Subject identifiers are those
of RFC 9493 and of SSF 1.0 section 3. One of a format that nobody here is known by names nobody, and is no fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

_CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"
_SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
_LONGEST_TEXT = 1024
_LONGEST_TYPE = 255
MOST_ALIASES = 20
_MOST_MEMBERS = 20
# Times are compared and stored later: only those that a date can hold (year 9999).
_LAST_SECOND = 253_402_300_799


class EventType(StrEnum):
    """What something follows from here."""

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
"""What a transmitter is asked for. What is of the stream itself comes unasked."""
STREAM_STATUSES = ("enabled", "paused", "disabled")
INTERPRETED_MEMBERS = frozenset({"user", "session"})
"""Members of a complex subject that are gone by. One of the others that a transmitter calls critical, and the event
is left alone (SSF 1.0 section 3.6)."""


class Unreadable(Exception):
    """This is not what its definition says. ``reason`` is in plain words and quotes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ByEmail:
    """An address of somebody (RFC 9493 section 3.2.2)."""

    address: str


@dataclass(frozen=True, slots=True)
class ByAccount:
    """``user@host`` of an ``acct:`` URI (RFC 9493 section 3.2.1)."""

    name: str


@dataclass(frozen=True, slots=True)
class ByIssuer:
    """Whom an issuer knows by this ``sub`` (RFC 9493 section 3.2.3)."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class ById:
    """What the transmitter itself calls somebody or something (RFC 9493 section 3.2.4)."""

    id: str


Identifier: TypeAlias = ByEmail | ByAccount | ByIssuer | ById


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom an event is about: a person by each of their names, or a session of theirs. ``members`` are the names of
    the parts of a complex subject; empty for a simple one."""

    people: tuple[Identifier, ...] = ()
    sessions: tuple[Identifier, ...] = ()
    members: frozenset[str] = frozenset()

    def lacks(self, critical: frozenset[str]) -> bool:
        """Whether a part that has to be gone by is not gone by here."""
        return not (self.members & critical) <= INTERPRETED_MEMBERS


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """One event of a token whose signature was checked. Times are in seconds since 1970.

    ``happened_at`` is when it happened as far as the event says, else when the token was issued. ``detail`` is what
    its type says of it: the kind of a credential's change, the status of a stream, the state of a verification.
    """

    issuer: str
    jti: str = field(repr=False)
    type: str = field(repr=False)
    subject: Subject = field(repr=False)
    happened_at: float
    detail: str | None = field(default=None, repr=False)

    @property
    def known(self) -> EventType | None:
        """Its type, if anything follows from it."""
        return EventType(self.type) if self.type in _KNOWN else None


_KNOWN = frozenset(EventType)


def read_event(events: object) -> tuple[str, Mapping[str, Any]]:
    """The type and the payload of the one event of a token. Raises ``Unreadable``."""
    if not isinstance(events, dict) or len(events) != 1:
        raise Unreadable("it has not exactly one event")
    ((type, payload),) = events.items()
    if not 0 < len(type) <= _LONGEST_TYPE or not type.isprintable() or ":" not in type:
        raise Unreadable("the type of its event is no URI, or too long")
    if not isinstance(payload, dict):
        raise Unreadable("its event is no object")
    return type, payload


def read_detail(type: str, payload: Mapping[str, Any]) -> str | None:
    """What matters of an event beyond its type. Raises ``Unreadable``."""
    if type == EventType.CREDENTIAL_CHANGE:
        return _text(payload.get("change_type"), "the change_type of its event")
    if type == EventType.STREAM_UPDATED:
        if payload.get("status") not in STREAM_STATUSES:
            raise Unreadable("the status of its stream is none of enabled, paused and disabled")
        return str(payload["status"])
    if type == EventType.VERIFICATION and "state" in payload:
        return _text(payload["state"], "the state of its event")
    return None


def read_time(value: object, name: str) -> float:
    """A NumericDate (RFC 7519 section 2). Raises ``Unreadable``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise Unreadable(f"{name} is no time in seconds")
    return float(value)


def happened_at(payload: Mapping[str, Any], issued_at: float, now: float) -> float:
    """When an event happened: never later than now, so that a clock that is ahead spares nothing. Raises
    ``Unreadable``."""
    said = payload.get("event_timestamp", issued_at)
    # Drafts of CAEP had milliseconds: far ahead, if taken for seconds, and so now.
    if isinstance(said, int | float) and not isinstance(said, bool) and said > now:
        return now
    return read_time(said, "the event_timestamp of its event")


def read_subject(value: object) -> Subject:
    """Whom an event is about. Raises ``Unreadable``."""
    members = _members(value)
    if members.get("format") != "complex":
        return Subject(people=_identifiers(members))
    parts = {name: part for name, part in members.items() if name != "format"}
    if not 0 < len(parts) <= _MOST_MEMBERS:
        raise Unreadable("its complex subject has no parts, or too many")
    found: dict[str, tuple[Identifier, ...]] = {}
    for name, part in parts.items():
        inner = _members(part)
        if inner.get("format") == "complex":
            raise Unreadable("its complex subject has a complex part")
        found[name] = _identifiers(inner)
    return Subject(found.get("user", ()), found.get("session", ()), frozenset(parts))


def _identifiers(members: Mapping[str, Any], *, alias: bool = False) -> tuple[Identifier, ...]:
    """The names that one simple subject identifier gives. Each format has its members and no others."""
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
            raise Unreadable("the uri of its subject is no acct: URI")
        return (ByAccount(uri.removeprefix("acct:")),)
    if kind == "iss_sub":
        _only(members, "iss", "sub")
        issuer, subject = (_text(members[name], f"the {name} of its subject") for name in ("iss", "sub"))
        return (ByIssuer(issuer, subject),)
    if kind == "opaque":
        _only(members, "id")
        return (ById(_text(members["id"], "the id of its subject")),)
    if kind in {"aliases", "complex"}:
        raise Unreadable("its subject holds what it may not hold")
    return ()


def _aliases(entries: object) -> tuple[Identifier, ...]:
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not 0 < len(entries) <= MOST_ALIASES:
        raise Unreadable("the identifiers of its subject are no list, empty or too many")
    found: dict[Identifier, None] = {}
    for entry in entries:
        found.update(dict.fromkeys(_identifiers(_members(entry), alias=True)))
    return tuple(found)


def _members(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("its subject is no object")
    if not isinstance(value.get("format"), str):
        raise Unreadable("its subject does not say its format")
    return value


def _only(members: Mapping[str, Any], *names: str) -> None:
    """RFC 9493 section 3: the members of the format, and none that it does not describe."""
    if members.keys() != {"format", *names}:
        raise Unreadable("its subject has not exactly the members of its format")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise Unreadable(f"{name} is no text, or too long")
    return value
