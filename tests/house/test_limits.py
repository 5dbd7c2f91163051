"""The numbers on the page of limits are those of the code."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from app.access import reach as matrix
from app.access.grant_uses import LONGEST_WINDOW
from app.access.policy import schema
from app.adapters.ssf import polling
from app.admission import consuming as demands
from app.crypto.jose.token import MOST_CHARACTERS
from app.db.engine import MOST_WAITING
from app.domain.security_events import MOST_ALIASES
from app.features.access import unused_apply_schemas, unused_pages
from app.features.administrators import break_glass
from app.features.approvals import ask
from app.features.audit import export, following
from app.features.audit.schemas import WIDEST_RANGE
from app.features.audit_sinks import batches
from app.features.audit_sinks import deliver as giving
from app.features.audit_sinks import service as sink_service
from app.features.identities import schedule
from app.features.identity_providers.signals.people import MOST_PEOPLE
from app.features.policies import case_schemas, simulate, simulate_schemas, testing
from app.features.policies import schemas as policies
from app.features.tokens import check_routes, check_schemas, check_servers, drafts, issue
from app.features.webhooks import deliver, queue, secrets
from app.gateway.aggregate import lists, news
from app.gateway.aggregate import pages as list_pages
from app.gateway.aggregate.links import MAX_LINKS
from app.gateway.wire import answers
from app.http import idempotency, live, pagination, selectors, server_protocol
from app.http import requests as json_bodies
from app.lib import strict_json
from app.models import audit_sinks as sinks
from app.worker.grant_uses import MOST_NOTED

PAGE = (Path(__file__).parents[2] / "docs/reference/limits.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]*) \|", PAGE, re.MULTILINE)
KIB = 1024

# How a row begins, and numbers that have to stand in its second cell, as people write them.
LIMITS: dict[str, tuple[int, ...]] = {
    "Attempts at the break-glass password": (break_glass.EACH_A_MINUTE, break_glass.TOGETHER_A_MINUTE),
    "Items on a page": (pagination.MAXIMUM_LIMIT, pagination.DEFAULT_LIMIT),
    "An `Idempotency-Key`": (idempotency.LIFETIME // timedelta(hours=1),),
    "Tokens that somebody has half put together": (drafts._MOST_DRAFTS,),
    "Ids, or names, in one selector": (selectors.MOST_ITEMS, selectors.MOST_LABELS),
    "Tokens above one": (issue.DEEPEST,),
    "How far ahead an offboarding": (schedule.FURTHEST.days,),
    "Objects and arrays that JSON has open": (
        strict_json.MAX_DEPTH,
        json_bodies.MAX_DEPTH,
        answers.MAX_DEPTH,
    ),
    "Request line and headers": (server_protocol.HEAD_BYTES // KIB, server_protocol.MAX_HEADERS),
    "Requests that are sent before the answer": (server_protocol.MAX_PIPELINED,),
    "Connections ": (server_protocol.MAX_CONNECTIONS,),
    "Waiting for a connection of the API": (MOST_WAITING,),
    "Approvals that wait": (demands.PENDING_PER_TOKEN,),
    "The same of its identity": (demands.PENDING_PER_IDENTITY,),
    "Requests of a person": (ask.MOST_PENDING,),
    "How far ahead access": (ask.LONGEST.days,),
    "How long a request can be decided": (ask.DECIDABLE.days,),
    "An event token": (MOST_CHARACTERS // KIB,),
    "Aliases, or parts": (MOST_ALIASES,),
    "People whom one subject fits": (MOST_PEOPLE,),
    "Polls of one transmitter": (polling.POLL_EVERY.seconds, polling.MOST_EVENTS),
    "One server's part of a page": (list_pages.MAX_BYTES // KIB**2, list_pages.MAX_PAGES),
    "A page of a list": (list_pages.PAGE_ITEMS, lists.PAGE_BYTES // KIB**2),
    "Servers that are asked at the same time": (lists.MAX_AT_ONCE,),
    "What one server lists": (list_pages.MAX_TAKEN,),
    "Subscriptions of a session": (news.MAX_URIS, news.MAX_URI),
    "Servers from which one stream": (MAX_LINKS,),
    "Days that it looks back": (LONGEST_WINDOW.days,),
    "Grants that are looked at for one page": (unused_pages.GRANTS_A_PAGE, unused_pages.TOKENS_A_PAGE),
    "Grants that are narrowed or ended": (unused_apply_schemas.MOST_APPLIED,),
    "Different uses that a worker notes": (MOST_NOTED, 2 * MOST_NOTED),
    "Identities; servers that one request names": (matrix.MOST_IDENTITIES, matrix.MOST_SERVERS),
    "Tools that it decides about": (matrix.MOST_DECISIONS,),
    "Text of a policy": (policies.LONGEST_TEXT,),
    "Tests of a policy": (policies.MOST_TESTS, case_schemas.MOST_BYTES // KIB),
    "Tests that run": (testing.MOST_RUN,),
    "Tools that the check of a text": (schema.MOST_TOOLS,),
    "How far it looks back; changes": (simulate_schemas.LONGEST.days, simulate_schemas.MOST_CHANGES),
    "Calls that it decides": (simulate.MOST_CALLS, int(simulate.LONGEST_S)),
    "Calls that its answer lists": (simulate_schemas.MOST_SHOWN,),
    "Checks that one caller asks for": (check_routes.CHECKS_A_MINUTE,),
    "Checks under way": (check_routes.CHECKS_AT_ONCE,),
    "Servers that one check asks": (check_schemas.MOST_SERVERS,),
    "Servers that a worker asks": (check_servers.AT_ONCE,),
    "Live streams of one caller": (live.MOST_STREAMS_OF_CALLER, live.MOST_STREAMS),
    "A stream without news": (int(live.QUIET_S),),
    "A stream whose right cannot be asked": (int(live.PATIENCE_S),),
    "Events that one look": (following.AT_ONCE,),
    "Exports of one caller": (live.MOST_DOWNLOADS_OF_CALLER, live.MOST_DOWNLOADS),
    "Events of an export": (export.PAGE,),
    "Hours that are counted": (WIDEST_RANGE.days,),
    "Audit events that are looked for": (WIDEST_RANGE.days,),
    "Messages under way": (deliver.MOST, queue.AT_ONCE),
    "How long a message is tried": (queue.KEPT.days,),
    "Secrets with which one webhook signs": (secrets.MOST_LIVE,),
    "Audit sinks": (sink_service.MOST,),
    "Sinks that a worker gives to": (giving.MOST, sinks.MOST_EVENTS, batches.MOST_BYTES // KIB**2),
    "Values (texts": (strict_json.MAX_VALUES,),
}


@pytest.mark.parametrize("begins", LIMITS)
def test_a_limit_is_on_the_page_as_it_is_in_the_code(begins: str) -> None:
    cells = [limit for what, limit in ROWS if f"{what} ".startswith(begins)]
    assert cells
    numbers = {number.replace(",", "") for number in re.findall(r"\d[\d,]*", cells[0])}
    assert {str(number) for number in LIMITS[begins]} <= numbers
