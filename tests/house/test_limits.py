"""The page of limits has the numbers of the code."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from app.access import reach as matrix
from app.access.policy import references
from app.access.unused import MAX_WINDOW
from app.adapters.ssf import polling
from app.admission import consuming as demands
from app.admission.usage import MAX_NOTED
from app.crypto.jwt import MAX_CHARACTERS
from app.db.engine import MAX_WAITING
from app.domain.security_events import MAX_ALIASES
from app.features.access import unused as unused_pages
from app.features.access import unused_schemas as unused_apply_schemas
from app.features.administrators import break_glass
from app.features.approvals import service as approvals
from app.features.audit import reading as export
from app.features.audit import reading as following
from app.features.audit.schemas import MAX_RANGE
from app.features.audit_sinks import batches
from app.features.audit_sinks import deliver as giving
from app.features.audit_sinks import service as sink_service
from app.features.identity_providers.signals.receive import MAX_PEOPLE
from app.features.offboarding import schedule
from app.features.policies import schemas as policies
from app.features.policies import simulate, testing
from app.features.tokens import connection_check, drafts
from app.features.tokens import schemas as token_schemas
from app.features.tokens import service as tokens
from app.features.webhooks import deliver
from app.features.webhooks import service as webhook_service
from app.gateway.aggregate import lists, sessions
from app.gateway.aggregate.streams import MAX_UPSTREAM_STREAMS
from app.gateway.wire import answers
from app.http import idempotency, live, pagination, selectors, server_protocol
from app.http import requests as json_bodies
from app.lib import strict_json
from app.models import audit as sinks

PAGE = (Path(__file__).parents[2] / "docs/reference/limits.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]*) \|", PAGE, re.MULTILINE)
KIB = 1024

# How a row begins, and numbers that have to stand in its second cell, as people write them.
LIMITS: dict[str, tuple[int, ...]] = {
    "Break-glass password attempts": (break_glass.MAX_ATTEMPTS_PER_ADDRESS, break_glass.MAX_ATTEMPTS),
    "List page size": (pagination.MAXIMUM_LIMIT, pagination.DEFAULT_LIMIT),
    "`Idempotency-Key` length": (idempotency.LIFETIME // timedelta(hours=1),),
    "Token drafts per person": (drafts._MAX_DRAFTS,),
    "IDs or names in one selector": (selectors.MAX_ITEMS, selectors.MAX_LABELS),
    "Ancestors of an attenuated token": (tokens.MAX_DEPTH,),
    "Advance scheduling of an offboarding": (schedule.MAX_AHEAD.days,),
    "Nesting depth of JSON": (
        strict_json.MAX_DEPTH,
        json_bodies.MAX_DEPTH,
        answers.MAX_DEPTH,
    ),
    "Request line and headers": (server_protocol.HEAD_BYTES // KIB, server_protocol.MAX_HEADERS),
    "Pipelined requests": (server_protocol.MAX_PIPELINED,),
    "Open connections": (server_protocol.MAX_CONNECTIONS,),
    "Requests waiting for an API connection": (MAX_WAITING,),
    "Pending approvals per token": (demands.PENDING_PER_TOKEN,),
    "Pending approvals per identity": (demands.PENDING_PER_IDENTITY,),
    "Pending requests per person": (approvals.MAX_PENDING,),
    "Requested access duration": (approvals.MAX_DURATION.days,),
    "Time to decide a request": (approvals.DECIDABLE.days,),
    "Event token size": (MAX_CHARACTERS // KIB,),
    "Subject aliases": (MAX_ALIASES,),
    "People that one subject matches": (MAX_PEOPLE,),
    "Polls per transmitter": (polling.POLL_EVERY.seconds, polling.MAX_EVENTS),
    "One server's part of a list page": (lists.MAX_BYTES // KIB**2, lists.MAX_PAGES),
    "Size of a list page": (lists.PAGE_ITEMS, lists.PAGE_BYTES // KIB**2),
    "Servers queried concurrently": (lists.MAX_AT_ONCE,),
    "Items of one server": (lists.MAX_TAKEN,),
    "Subscriptions per session": (sessions.MAX_URIS, sessions.MAX_URI),
    "Servers with resource updates": (MAX_UPSTREAM_STREAMS,),
    "Report window": (MAX_WINDOW.days,),
    "Grants examined per page": (unused_pages.GRANTS_A_PAGE, unused_pages.TOKENS_A_PAGE),
    "Grants narrowed or ended": (unused_apply_schemas.MAX_APPLIED,),
    "Distinct uses buffered": (MAX_NOTED, 2 * MAX_NOTED),
    "Identities; servers per request": (matrix.MAX_IDENTITIES, matrix.MAX_SERVERS),
    "Tools evaluated": (matrix.MAX_DECISIONS,),
    "Policy text": (policies.MAX_TEXT_LENGTH,),
    "Tests per policy": (policies.MAX_TESTS, policies.MAX_BYTES // KIB),
    "Tests run per publish": (testing.MAX_RUN,),
    "Tools examined when a policy": (references.MAX_TOOLS,),
    "Simulation window": (simulate.MAX_WINDOW.days, simulate.MAX_CHANGES),
    "Simulated calls": (simulate.MAX_CALLS, int(simulate.MAX_DURATION_S)),
    "Calls listed in the response": (simulate.MAX_SHOWN,),
    "Checks per caller per minute": (connection_check.CHECKS_A_MINUTE,),
    "Concurrent checks": (connection_check.CHECKS_AT_ONCE,),
    "Servers per check": (token_schemas.MAX_SERVERS,),
    "Servers that a worker queries concurrently": (connection_check.AT_ONCE,),
    "Live streams per caller": (live.MAX_STREAMS_OF_CALLER, live.MAX_STREAMS),
    "Quiet stream": (int(live.QUIET_S),),
    "Stream whose permission cannot be checked": (int(live.AWAY_LIMIT_S),),
    "Events per stream read": (following.AT_ONCE,),
    "Exports per caller": (live.MAX_DOWNLOADS_OF_CALLER, live.MAX_DOWNLOADS),
    "Export events in memory": (export.PAGE,),
    "Hours per statistics request": (MAX_RANGE.days,),
    "Range of audit filters": (MAX_RANGE.days,),
    "Concurrent messages": (deliver.MAX_MESSAGES, deliver.AT_ONCE),
    "Delivery period of a message": (deliver.KEPT.days,),
    "Active secrets per webhook": (webhook_service.MAX_LIVE,),
    "Number of audit sinks": (sink_service.MAX_SINKS,),
    "Sinks served concurrently": (giving.MAX_SINKS, sinks.MAX_BATCH_EVENTS, batches.MAX_BYTES // KIB**2),
    "Values in a response": (strict_json.MAX_VALUES,),
}


@pytest.mark.parametrize("begins", LIMITS)
def test_a_limit_is_on_the_page_as_it_is_in_the_code(begins: str) -> None:
    cells = [limit for what, limit in ROWS if f"{what} ".startswith(begins)]
    assert cells
    numbers = {number.replace(",", "") for number in re.findall(r"\d[\d,]*", cells[0])}
    assert {str(number) for number in LIMITS[begins]} <= numbers
