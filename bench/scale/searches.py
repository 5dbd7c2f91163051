"""Searches of the audit log."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app.features.audit.schemas import AuditQuery
from app.http.pagination import Cursors
from bench.scale.comparison import Operation, Step
from bench.scale.lists import LIMIT, SAMPLE, Value, first_page, get_object, main_server
from bench.scale.worlds import World

_PATH = "/audit-events"
_BUSY = 1
"""The number of the token that makes one in a hundred calls, and of its holder."""
_MONTH = 30.9
_UNSERVED = "no index: it scans the requested time"


def _ago(days: float) -> Callable[[World], str]:
    return lambda world: (datetime.now(UTC) - timedelta(days=days)).isoformat()


def _month(name: str, exempt_reason: str | None = None, **search: Value) -> Operation:
    return Operation(name, first_page(_PATH, since=_ago(_MONTH), **search), exempt_reason)


def _event(world: World) -> str:
    return str(world.search(_PATH, decision="deny", limit="1")["items"][0]["id"])


def _issued(world: World) -> str:
    events = world.search(_PATH, action="token.issue", limit="1", since=_ago(_MONTH)(world))["items"]
    return str(events[0]["object"]["id"])


def _polled(after: Callable[[World], str]) -> Callable[[World], Step]:
    def begin(world: World) -> Step:
        cursor = after(world)
        return lambda _: world.search(_PATH, limit=LIMIT, after=cursor)

    return begin


def _end(world: World) -> str:
    """Return the cursor near the end of the loaded events, made without reading ten million events."""
    audit_log = world.loaded.audit_log
    cursors = Cursors(world.peppers.derive("cursors"), "poll_audit_events", AuditQuery(after="").filters())
    return cursors.write([audit_log.epoch, audit_log.xact + audit_log.commits - 3, 0])


AUDIT = (
    Operation("an event", get_object(lambda world: f"{_PATH}/{_event(world)}")),
    Operation("newest", first_page(_PATH)),
    Operation("of a token", first_page(_PATH, token_id=lambda world: world.token(SAMPLE))),
    Operation("of a busy token", first_page(_PATH, token_id=lambda world: world.token(_BUSY - 1))),
    Operation("of a person", first_page(_PATH, actor_id=lambda world: world.identity(SAMPLE))),
    Operation("of a server", first_page(_PATH, server_id=main_server)),
    Operation("of a tool of a server", first_page(_PATH, server_id=main_server, tool="echo")),
    Operation("of a request", first_page(_PATH, request_id="client-500")),
    Operation("refused", first_page(_PATH, decision="deny")),
    Operation(
        "refused, of a busy person",
        first_page(_PATH, decision="deny", actor_id=lambda world: world.identity(_BUSY)),
    ),
    _month("of a month"),
    Operation("of a day a month ago", first_page(_PATH, since=_ago(_MONTH), until=_ago(_MONTH - 1))),
    _month("calls", action="tool.call"),
    _month("tokens issued", action="token.issue"),
    _month("for a reason", reason_code="not_granted"),
    _month("failed", outcome="error"),
    _month("by service accounts", actor_type="service_account"),
    _month("of a tool anywhere", tool="echo"),
    _month("of a kind of client", client_name="client-3"),
    _month("from an address", _UNSERVED, client_ip="10.0.0.7"),
    _month("with a name", _UNSERVED, q="person7"),
    _month("about an object", _UNSERVED, object_id=_issued),
    Operation("polled from the beginning", _polled(lambda world: "")),
    Operation("polled at the end", _polled(_end)),
    Operation(
        "counted by the hour", get_object(lambda world: f"{_PATH}/stats?since={_ago(_MONTH)(world)[:19]}Z")
    ),
)
