"""The benchmark of console pages: a large organization with a long audit log, compared with a small one."""

import asyncio
import contextlib
import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

import asyncpg

from app.crypto.keys import Peppers
from app.db.change import Change
from app.db.engine import commit, make_engine, make_sessions
from app.features.administrators.browser_sessions import Lifetimes, SignedIn, open_session
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers.queries import browser_providers
from app.lib.ids import GROUP, IDENTITY, SERVER, TOKEN, format_id
from bench.more import audit_log
from bench.processes import CannotMeasure, Cores
from bench.seed import Seeded
from bench.targets import Figure, at_most
from bench.testbed import Testbed, start_testbed

FEW_EVENTS = 10_000
_PAGE = 25
_UNTIMED = 3
_TARGET = at_most(2)
_ISSUER = "https://issuer.invalid"
_ADMINS = "admins"
_OIDC = {
    "SCOPEGATE_OIDC_ISSUER": _ISSUER,
    "SCOPEGATE_OIDC_AUDIENCE": "scopegate",
    "SCOPEGATE_OIDC_CLIENT_ID": "pages",
    "SCOPEGATE_OIDC_CLIENT_SECRET": "unused client secret",
    "SCOPEGATE_OIDC_ROLE_MAP": f'{{"{_ADMINS}": "owner"}}',
    "SCOPEGATE_LIMIT_REQUESTS": "0",
}
# A tenth as many servers as people, with five tools each.
_GROW = (
    """INSERT INTO identities (id, kind, user_name, display_name)
    SELECT uuidv7(), 'person', 'colleague' || n, 'Colleague ' || n FROM generate_series(1, $1::int) AS n""",
    """INSERT INTO servers (id, slug, name, url, sync_state)
    SELECT uuidv7(), 'server-' || n, 'Server ' || n, 'https://mcp.example.com/' || n, 'ok'
    FROM generate_series(1, $1::int / 10) AS n""",
    """INSERT INTO tools (id, server_id, name, description, input_schema, risk, assessed_risk, state,
        definition_digest, approved_digest)
    SELECT uuidv7(), servers.id, 'tool_' || n, 'One of many.', '{"type": "object"}', 'read', 'read', 'active',
        sha256('x'), sha256('x')
    FROM servers, generate_series(1, 5) AS n WHERE slug LIKE 'server-%' AND $1::int > 0""",
    """INSERT INTO access_versions (id, version)
    SELECT id, 1 FROM (SELECT id FROM identities UNION ALL SELECT id FROM servers) AS made WHERE $1::int > 0
    ON CONFLICT DO NOTHING""",
)
_UNCOUNTED = """SELECT count(*) > 1000 FROM (
    SELECT 1 FROM audit_events e, audit_rollup r WHERE e.epoch > r.epoch
        OR (e.epoch = r.epoch AND (e.xact, e.seq) > (r.xact, r.seq)) LIMIT 1001) AS ahead"""


@dataclass(frozen=True, slots=True)
class Browser:
    """A signed-in browser that reads pages one after another."""

    connection: http.client.HTTPConnection
    cookie: str = field(repr=False)

    def read(self, path: str) -> str:
        """Read a page. Raises ``CannotMeasure`` if it is refused or redirects."""
        self.connection.request("GET", path, headers={"Cookie": f"scopegate-session={self.cookie}"})
        answer = self.connection.getresponse()
        body = answer.read().decode()
        if answer.status != 200:
            raise CannotMeasure(f"{path} answered {answer.status}")
        return body

    def next_page(self, path: str) -> str | None:
        """Return the URL of the next page of a list."""
        found = re.search(r'rel="next"[^>]* href="([^"]+)"', self.read(path))
        return None if found is None else found[1].replace("&amp;", "&")


def measure(cores: Cores, tokens: int, events: int, people: int, times: int) -> list[Figure]:
    """Measure all pages of the menu, some searches and some objects, in both organizations."""
    figures = []
    with (
        _served(cores, tokens, min(FEW_EVENTS, events), 0) as few,
        _served(cores, tokens, events, people) as many,
    ):
        # Reconnect, because filling the other database takes longer than a connection is kept.
        few[0].connection.close()
        pages = {name: (few[1][name], path) for name, path in many[1].items()}
        for name, (small, large) in pages.items():
            slow, fast = _in_turns((many[0], large), (few[0], small), times)
            detail = f"{slow:.1f} ms, {fast:.1f} ms"
            figures.append(Figure(f"console, {name}: many over few", slow / fast, "x", _TARGET, detail))
        # As far as people page.
        page = min(100, people // _PAGE)
        path = _turned(many[0], "/console/identities", page)
        late, first = _in_turns((many[0], path), (many[0], "/console/identities"), times)
        detail = f"{late:.1f} ms, page 1 {first:.1f} ms"
        what = f"console, identities: page {page} over page 1"
        figures.append(Figure(what, late / first, "x", _TARGET, detail))
    return figures


def _turned(browser: Browser, path: str, pages: int) -> str:
    for _ in range(pages - 1):
        following = browser.next_page(path)
        if following is None:
            raise CannotMeasure("there are fewer pages than that")
        path = following
    return path


def _in_turns(one: tuple[Browser, str], other: tuple[Browser, str], times: int) -> tuple[float, float]:
    """Return the median milliseconds of each page, read alternately."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(_UNTIMED + times):
        for (browser, path), mine in zip((one, other), taken, strict=True):
            began = perf_counter()
            browser.read(path)
            if number >= _UNTIMED:
                mine.append((perf_counter() - began) * 1000)
    return median(taken[0]), median(taken[1])


def _pages(seeded: Seeded) -> dict[str, str]:
    person, token = format_id(IDENTITY, seeded.identities[7]), format_id(TOKEN, seeded.tokens[7])
    since = (datetime.now(UTC) - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "home": "/console",
        "my access": "/console/my-access",
        "tokens": "/console/tokens",
        "tokens, searched": "/console/tokens?q=token+7",
        "a token": f"/console/tokens/{token}",
        "issuing": "/console/tokens/new",
        "grants": "/console/grants",
        "identities": "/console/identities",
        "identities, searched": "/console/identities?q=person7",
        "a person": f"/console/identities/{person}",
        "a person's access": f"/console/identities/{person}?tab=access",
        "a person's activity": f"/console/identities/{person}?tab=activity",
        "offboarding, previewed": f"/console/identities/{person}/offboard",
        "groups": "/console/groups",
        "a group": f"/console/groups/{format_id(GROUP, seeded.groups[0])}",
        "access matrix": "/console/access",
        "servers": "/console/servers",
        "servers, searched": "/console/servers?q=bench",
        "a server": f"/console/servers/{format_id(SERVER, seeded.server)}",
        "tools": "/console/tools",
        "tools, searched": "/console/tools?q=echo",
        "policies": "/console/policies",
        "approvals": "/console/approvals",
        "explain": "/console/explain",
        "audit": "/console/audit",
        "audit of a token": f"/console/audit?token_id={token}",
        "audit, refused": f"/console/audit?decision=deny&since={since}",
        "audit, with a name": f"/console/audit?q=person7&since={since}",
    }


@contextlib.contextmanager
def _served(cores: Cores, tokens: int, events: int, people: int) -> Iterator[tuple[Browser, dict[str, str]]]:
    with start_testbed(cores, tokens) as testbed:
        asyncio.run(_grow(testbed, people))
        audit_log.fill(testbed, events)
        with testbed.gateway("console", {cores.system}, **_OIDC) as gateway:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)
            # The first answer shows that the gateway has started and knows the provider.
            connection.request("GET", "/livez")
            connection.getresponse().read()
            asyncio.run(_wait_for_hours(testbed))
            yield Browser(connection, asyncio.run(_sign_in(testbed))), _pages(testbed.seeded)
            connection.close()


async def _grow(testbed: Testbed, people: int) -> None:
    connection = await asyncpg.connect(testbed.owner_url)
    try:
        for statement in _GROW:
            await connection.execute(statement, people, timeout=3600)
        await connection.execute("VACUUM ANALYZE", timeout=3600)
    finally:
        await connection.close()


async def _wait_for_hours(testbed: Testbed) -> None:
    """Wait until the service has counted the bulk-loaded audit log by the hour, in the background."""
    connection = await asyncpg.connect(testbed.owner_url)
    try:
        async with asyncio.timeout(3600):
            # There is no notification of the progress.
            while await connection.fetchval(_UNCOUNTED):  # noqa: ASYNC110
                await asyncio.sleep(1)
    finally:
        await connection.close()


async def _sign_in(testbed: Testbed) -> str:
    """Return the cookie of a session of an owner, opened without a sign-in at the provider."""
    engine = make_engine(testbed.owner_url)
    sessions = make_sessions(engine)
    try:
        async with sessions() as session:
            provider = (await browser_providers(session))[0]
        connection = await asyncpg.connect(testbed.owner_url)
        await connection.execute(
            "INSERT INTO identity_links (id, identity_id, provider_id, kind, value) "
            "VALUES (uuidv7(), $1, $2, 'oidc', 'owner')",
            testbed.seeded.identities[0],
            provider.id,
        )
        await connection.close()
        claims = {"sub": "owner", "groups": [_ADMINS], "iat": int(datetime.now(UTC).timestamp())}
        caller = await sign_in(sessions, provider, claims, None)
        day = timedelta(days=1)
        async with sessions() as session:
            said = SignedIn(provider, claims, "owner", None, "an ID token")
            peppers = Peppers([testbed.keys["SCOPEGATE_TOKEN_PEPPER"].encode()])
            change = Change(session, caller, None, datetime.now(UTC))
            text = await open_session(change, peppers, said, Lifetimes(day, day))
            await commit(session)
            return text
    finally:
        await engine.dispose()
