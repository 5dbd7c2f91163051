"""What the form of a grant says, and that as the API takes it. It travels along in the form while people search."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from app.adapters.console.forms import Form, validated
from app.domain.errors import FieldError, Invalid
from app.features.grants.schemas import GrantCreate, GrantUpdate, GrantView
from app.lib.ids import GROUP, IDENTITY, SERVER, format_id

PRESETS = (7, 30, 90, 180, 365)
"""The spans that are offered, in days."""
_DEFAULT_DAYS = "90"
_NEVER, _ON, _AT = "never", "on", "at"
_LISTS = ("server", "risk", "tool")
_TEXTS = ("who", "servers", "labels", "tools", "expires", "expires_on", "expires_at", "begins_on", "reason")
_FLAGS = ("resources", "prompts")


@dataclass(slots=True)
class Wish:
    """The fields of the form, as they were typed and ticked."""

    who: str = ""
    servers: str = "ids"
    server: list[str] = field(default_factory=list)
    labels: str = ""
    tools: str = "risk"
    risk: list[str] = field(default_factory=lambda: ["read"])
    tool: list[str] = field(default_factory=list)
    resources: bool = False
    prompts: bool = False
    expires: str = _DEFAULT_DAYS
    expires_on: str = ""
    expires_at: str = ""
    begins_on: str = ""
    reason: str = ""

    @classmethod
    def typed(cls, form: Form) -> "Wish":
        """What was sent. Raises ``Malformed``."""
        wish = cls()
        for name in _TEXTS:
            setattr(wish, name, form.text(name, getattr(wish, name)))
        for name in _LISTS:
            setattr(wish, name, list(dict.fromkeys(form.texts(name))))
        for name in _FLAGS:
            setattr(wish, name, form.flag(name))
        return wish

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> "Wish":
        """What a link from another page begins with."""
        wish = cls(who=query.get("identity_id") or query.get("group_id") or "")
        if server := query.get("server_id") or query.get("server"):
            wish.server = [server]
        if query.get("tool"):
            wish.tools, wish.tool = "names", [query["tool"]]
        return wish

    @classmethod
    def of(cls, grant: GrantView) -> "Wish":
        """A grant as it is, to be changed."""
        servers, tools = grant.servers, grant.tools
        prefix = GROUP if grant.principal.type == "group" else IDENTITY
        return cls(
            who=format_id(prefix, grant.principal.id),
            servers=servers.kind,
            server=[format_id(SERVER, id) for id in servers.ids] if servers.kind == "ids" else [],
            labels=_lines(servers.labels) if servers.kind == "labels" else "",
            tools=tools.kind,
            risk=[one.value for one in tools.risk] if tools.kind == "risk" else [],
            tool=list(tools.names) if tools.kind == "names" else [],
            resources=grant.resources,
            prompts=grant.prompts,
            expires=_NEVER if grant.expires_at is None else _AT,
            expires_at="" if grant.expires_at is None else grant.expires_at.isoformat(),
            begins_on="" if grant.not_before is None else grant.not_before.isoformat(),
            reason=grant.reason or "",
        )

    def pairs(self) -> list[tuple[str, str]]:
        """The fields as a form carries them along."""
        told = [(name, getattr(self, name)) for name in _TEXTS if getattr(self, name)]
        told += [(name, value) for name in _LISTS for value in getattr(self, name)]
        return told + [(name, "on") for name in _FLAGS if getattr(self, name)]

    def settle(self, now: datetime) -> None:
        """Make a span into the time that is shown, so that what is made is what was read. Raises ``Invalid``."""
        until = self._until(now)
        self.expires, self.expires_on = (_NEVER, "") if until is None else (_AT, "")
        self.expires_at = "" if until is None else until.isoformat()

    @property
    def right(self) -> dict[str, Any]:
        """The selectors, as the API's models take them. Raises ``Invalid``."""
        return {"servers": self._servers(), "tools": self._tools()}

    def create(self, now: datetime) -> GrantCreate:
        """The API's own model of it. Raises ``Invalid``."""
        if not self.who:
            raise Invalid.field("/principal", "required", "Choose who is to hold it.")
        kind = "group" if self.who.startswith(f"{GROUP}_") else "identity"
        return validated(GrantCreate, {"principal": {"type": kind, "id": self.who}} | self._fields(now))

    def update(self, now: datetime) -> GrantUpdate:
        """The API's own model of the change. Raises ``Invalid``."""
        return validated(GrantUpdate, self._fields(now))

    def _fields(self, now: datetime) -> dict[str, Any]:
        return self.right | {
            "resources": self.resources,
            "prompts": self.prompts,
            "not_before": _day(self.begins_on, "/not_before", timedelta(0)) if self.begins_on else None,
            "expires_at": self._until(now),
            "reason": self.reason or None,
        }

    def _servers(self) -> dict[str, Any]:
        if self.servers == "all":
            return {"kind": "all"}
        if self.servers == "labels":
            return {"kind": "labels", "labels": _labels(self.labels)}
        if not self.server:
            raise Invalid.field("/servers", "required", "Choose at least one server.")
        return {"kind": "ids", "ids": self.server}

    def _tools(self) -> dict[str, Any]:
        if self.tools == "all":
            return {"kind": "all"}
        if self.tools == "names":
            if not self.tool and not self.resources and not self.prompts:
                raise Invalid.field("/tools", "required", "Choose at least one tool.")
            return {"kind": "names", "names": self.tool}
        if not self.risk:
            raise Invalid.field("/tools", "required", "Choose what the tools may do.")
        return {"kind": "risk", "risk": self.risk}

    def _until(self, now: datetime) -> datetime | None:
        if self.expires == _NEVER:
            return None
        if self.expires == _ON:
            # To the end of that day.
            return _day(self.expires_on, "/expires_at", timedelta(days=1))
        if self.expires == _AT:
            return _time(self.expires_at)
        if self.expires not in {str(days) for days in PRESETS}:
            raise Invalid.field("/expires_at", "required", "Choose until when it holds.")
        return now + timedelta(days=int(self.expires))


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid.field("/expires_at", "required", "Choose until when it holds.") from None


def _day(text: str, pointer: str, more: timedelta) -> datetime:
    """The beginning of a day that was typed, and something on top; a time stays as it is."""
    try:
        if len(text) > len("2026-12-31"):
            return datetime.fromisoformat(text).astimezone(UTC)
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + more
    except (ValueError, OverflowError):
        raise Invalid.field(pointer, "not_a_day", "Write a day like 2026-12-31.") from None


def _labels(text: str) -> dict[str, str]:
    """Labels, one a line. Raises ``Invalid``."""
    found: dict[str, str] = {}
    errors = []
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not equals or not key:
            errors.append(FieldError("/servers", "not_a_label", f"Line {number} is not like env=prod."))
        elif found.setdefault(key, value) != value:
            errors.append(FieldError("/servers", "twice", f"Line {number} names {key} a second time."))
    if not found and not errors:
        errors.append(FieldError("/servers", "required", "Write at least one label."))
    if errors:
        raise Invalid("The labels cannot be read: see below.", errors=errors)
    return found


def _lines(labels: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={value}" for key, value in sorted(labels.items()))
