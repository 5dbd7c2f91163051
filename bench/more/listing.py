"""The benchmark of lists and searches: late pages compared with first ones, and a long audit log with a short one."""

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

from app.lib.ids import IDENTITY, SERVER, TOKEN, format_id
from bench.more import audit_log
from bench.processes import CannotMeasure, Cores
from bench.seed import Seeded
from bench.targets import Figure, at_most
from bench.testbed import start_testbed

FEW_EVENTS = 10_000
LIMIT = 20
LATE_PAGE = 1_000
_UNTIMED = 3
_TARGET = at_most(2)
_NO_INDEX = "with a trace id"


class Listing:
    """One filtered list of the API, read by a client with little overhead."""

    def __init__(self, connection: http.client.HTTPConnection, bearer: str, path: str, **search: str) -> None:
        self._connection = connection
        self._headers = {"Authorization": f"Bearer {bearer}"}
        self._path = path
        self._search: Mapping[str, str] = {**search, "limit": str(LIMIT)}

    def read(self, cursor: str | None = None) -> dict[str, Any]:
        """Read one page. Raises ``CannotMeasure`` if the API refuses."""
        parameters = {**self._search, **({} if cursor is None else {"cursor": cursor})}
        self._connection.request("GET", f"/api/v1{self._path}?{urlencode(parameters)}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise CannotMeasure(f"{self._path} answered {answer.status}: {body.decode()}")
        page: dict[str, Any] = json.loads(body)
        return page

    def cursor_of_page(self, page: int) -> str:
        """Return the cursor of a page, after reading all pages before it."""
        cursor = None
        for _ in range(page - 1):
            cursor = self.read(cursor)["next_cursor"]
            if cursor is None:
                raise CannotMeasure(f"{self._path} has no page {page}")
        return str(cursor)


def alternate(
    one: tuple[Listing, str | None], other: tuple[Listing, str | None], times: int
) -> tuple[float, float]:
    """Return the median milliseconds of a page of each list, read alternately."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(_UNTIMED + times):
        for (listing, cursor), mine in zip((one, other), taken, strict=True):
            began = perf_counter()
            items = listing.read(cursor)["items"]
            if number >= _UNTIMED:
                mine.append((perf_counter() - began) * 1000)
            if not items:
                raise CannotMeasure("the page is empty")
    return median(taken[0]), median(taken[1])


def measure(cores: Cores, tokens: int, events: int, times: int, late_page: int = LATE_PAGE) -> list[Figure]:
    """Measure two databases, one with few and one with many events."""
    with _served(cores, tokens, min(FEW_EVENTS, events)) as few, _served(cores, tokens, events) as many:
        return [
            *_of_lengths(few, many, min(FEW_EVENTS, events), events, times),
            *_of_pages(many, times, late_page),
        ]


class _Served:
    """The API of a filled database."""

    def __init__(self, connection: http.client.HTTPConnection, bearer: str, seeded: Seeded) -> None:
        self._connection, self._bearer, self._seeded = connection, bearer, seeded

    def _list(self, path: str, **search: str) -> Listing:
        return Listing(self._connection, self._bearer, path, **search)

    def long_lists(self) -> dict[str, Listing]:
        """The lists with late pages."""
        return {
            "tokens": self._list("/tokens"),
            "tokens by name": self._list("/tokens", sort="name"),
            "tokens with a text": self._list("/tokens", q="token"),
            "audit events": self._list("/audit-events"),
        }

    def searches(self) -> dict[str, Listing]:
        """The searches of the audit log."""
        seeded = self._seeded
        server = format_id(SERVER, seeded.server)
        month = (datetime.now(UTC) - timedelta(days=30)).isoformat()
        found = {
            "newest": {},
            "of a token": {"token_id": format_id(TOKEN, seeded.tokens[7])},
            "of a person": {"actor_id": format_id(IDENTITY, seeded.identities[7])},
            "of a tool": {"server_id": server, "tool": "echo"},
            "refused": {"decision": "deny"},
            "failed": {"outcome": "error", "since": month},
            "with a name": {"q": "person7", "since": month},
            _NO_INDEX: {"trace_id": audit_log.TRACE_ID, "since": month},
        }
        return {name: self._list("/audit-events", **search) for name, search in found.items()}


@contextlib.contextmanager
def _served(cores: Cores, tokens: int, events: int) -> Iterator[_Served]:
    with start_testbed(cores, tokens) as testbed:
        audit_log.fill(testbed, events)
        with testbed.gateway("listing", {cores.system}, SCOPEGATE_LIMIT_REQUESTS="0") as gateway:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)
            yield _Served(connection, testbed.bearer(gateway), testbed.seeded)
            connection.close()


def _of_pages(serve: _Served, times: int, late_page: int) -> list[Figure]:
    figures = []
    for name, listing in serve.long_lists().items():
        late, first = alternate((listing, listing.cursor_of_page(late_page)), (listing, None), times)
        detail = f"{late:.1f} ms, page 1 {first:.1f} ms"
        figures.append(Figure(f"{name}: page {late_page:,} over page 1", late / first, "x", _TARGET, detail))
    return figures


def _of_lengths(few: _Served, many: _Served, short: int, long: int, times: int) -> list[Figure]:
    figures = []
    shorter = few.searches()
    for name, listing in many.searches().items():
        slow, fast = alternate((listing, None), (shorter[name], None), times)
        detail = f"{slow:.1f} ms, {fast:.1f} ms"
        exempt_reason = "no index: it scans the requested time" if name == _NO_INDEX else None
        what = f"audit, {name}: {long:,} events over {short:,}"
        figures.append(Figure(what, slow / fast, "x", _TARGET, detail, exempt_reason))
    return figures
