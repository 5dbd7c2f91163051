"""What an address of the audit page asks for: filters, a span of time that stays while one pages, and the ways on."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import read_query
from app.domain.errors import Malformed
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditFilters, AuditQuery

PATH = "/console/audit"
SHOWN = 25
USUAL = "24h"
PERIODS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
PERIOD_WORDS = [
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("all", "Any time"),
]
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("since", "until")
# Those that have no field of their own in the form; it keeps them all the same.
_KEPT = tuple(
    name for name in AuditFilters.model_fields if name not in {"q", "decision", "outcome", "action", "tool"}
)
_CHIP_NAMES = {
    "q": "Named",
    "id": "Event",
    "action": "Action",
    "decision": "Decision",
    "outcome": "Outcome",
    "reason_code": "Reason",
    "actor_id": "By",
    "actor_type": "By a",
    "actor_name": "By",
    "on_behalf_of": "On behalf of",
    "token_id": "Token",
    "server_id": "Server",
    "server_slug": "Server",
    "object_id": "About",
    "policy_id": "Policy",
    "observed_policy_id": "Policy on trial",
    "client_ip": "Address",
    "client_name": "Program",
    "client_version": "Version",
    "client_user_agent": "User agent",
    "arguments_digest": "Arguments",
    "changes": "Changed",
    "duration_ms_min": "Milliseconds, at least",
    "duration_ms_max": "Milliseconds, at most",
    "request_id": "Request",
    "trace_id": "Trace",
    "tool": "Tool",
}

_NAMED = (
    "actor_id", "on_behalf_of", "token_id", "server_id", "object_id", "policy_id", "observed_policy_id",
)  # fmt: skip
"""Filters by ids of what may have a name."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, in words, and the address without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for. ``period`` is empty for a span that was picked; ``is_shortened``: not as far back as asked."""

    query: AuditQuery
    params: list[tuple[str, str]]
    period: str
    now: datetime
    is_shortened: bool

    @property
    def is_live(self) -> bool:
        """Whether what is shown is the newest, and grows."""
        return self.query.cursor is None and self.query.until is None

    @property
    def kept(self) -> list[tuple[str, str]]:
        """The filters that the form has no field for."""
        return [(name, value) for name, value in self.params if name in _KEPT]

    def chosen(self, name: str) -> str:
        """What a field of the form holds."""
        return next((value for each, value in self.params if each == name), "")

    def address(self, path: str = PATH, *, without: tuple[str, ...] = (), **more: str) -> str:
        """The same filters elsewhere, without some and with others."""
        gone = {*without, *more, "cursor", "at"}
        params = [(name, value) for name, value in self.params if name not in gone]
        params += [(name, value) for name, value in more.items() if value]
        return f"{path}?{urlencode(params)}" if params else path

    def span(self, since: datetime, until: datetime) -> str:
        """The same filters in a span of time."""
        return self.address(without=("period",), since=_time(since), until=_time(until))

    def page_after(self, cursor: str | None) -> str | None:
        """The page that follows, in the very span of this one."""
        if cursor is None:
            return None
        params = [(name, value) for name, value in self.params if name not in {"cursor", "at"}]
        return f"{PATH}?{urlencode([*params, ('at', _time(self.now)), ('cursor', cursor)])}"


def read_asked(request: Request, now: datetime) -> Asked:
    """What the address asks for. Raises ``Malformed``."""
    params = [(name, value) for name, value in request.query_params.multi_items() if value.strip()]
    asked, gone = dict(params), dict[str, Any]()
    if "period" in asked:
        # Chosen in the form of a page whose time was picked, and in the place of that.
        params = [one for one in params if one[0] not in _TIMES]
        gone = dict.fromkeys(_TIMES)
    now = _pinned(asked.get("at"), now)
    bare = read_query(AuditQuery, request, limit=SHOWN, **gone)
    if bare.until is not None:
        _late_enough(bare.until)
    if bare.since is not None or bare.until is not None:
        return Asked(bare, params, "", now, is_shortened=False)
    period = asked.get("period", USUAL)
    if period != "all" and period not in PERIODS:
        raise Malformed("The address asks for something that this page cannot read.")
    # What no index serves is looked for in a month at most, as at the API.
    is_shortened = period == "all" and (bare.reads_results or bare.is_walked)
    back = PERIODS["30d"] if is_shortened else PERIODS.get(period)
    since: dict[str, Any] = {} if back is None else {"since": _time(now - back)}
    query = read_query(AuditQuery, request, limit=SHOWN, **(gone | since))
    return Asked(query, params, period, now, is_shortened)


async def chips_of(session: AsyncSession, asked: Asked) -> list[Chip]:
    """The filters that are on, with names in the place of ids where there are any."""
    named = {name: getattr(asked.query, name) for name in _NAMED}
    names = await names_of(session, [id for ids in named.values() for id in ids])
    read: dict[str, str] = {}
    for name, ids in named.items():
        texts = [value for each, value in asked.params if each == name]
        read |= {text: names[id] for text, id in zip(texts, ids, strict=True) if id in names}
    return [
        Chip(_CHIP_NAMES[name], read.get(value, value), _without(asked, name, value))
        for name, value in asked.params
        if name in _CHIP_NAMES
    ]


def _without(asked: Asked, name: str, value: str) -> str:
    params = [one for one in asked.params if one != (name, value) and one[0] not in {"cursor", "at"}]
    return f"{PATH}?{urlencode(params)}" if params else PATH


def _pinned(at: str | None, now: datetime) -> datetime:
    if at is None:
        return now
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        raise Malformed("The address asks for something that this page cannot read.") from None
    if found.tzinfo is None:
        return now
    return _late_enough(found)


def _late_enough(time: datetime) -> datetime:
    """A time that others can be counted back from. Raises ``Malformed``."""
    if time < _EARLIEST:
        raise Malformed("The address asks for something that this page cannot read.")
    return time


def _time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
