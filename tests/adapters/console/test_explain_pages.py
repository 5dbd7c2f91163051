"""Why a call is decided as it is, on a page: as the API says it, in words, and of arguments nothing in an address."""

import re
from typing import Any

import httpx2
import pytest

from tests.adapters.console.browsing import Person
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.features.access.recorded import record_call
from tests.features.approvals.desk import Desk, shown
from tests.features.principals import grant, made, person
from tests.features.tokens.world import in_days

Json = dict[str, Any]
EXPLAIN = "/console/explain"
ASKS = """@require_approval("Finance leads")
@reason("Large refunds need a second person.")
forbid (principal, action == Action::"call_tool", resource);"""
EVIL = '"><script>alert(1)</script>'


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> Person:
    """An administrator's browser."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="root", groups=["admins"])).status_code == 303
    return Person(browser)


async def test_a_form_is_answered_with_the_trace_of_the_decision(
    admin: Person, api: httpx2.AsyncClient
) -> None:
    ada = await person(api, display_name="Ada")
    server = await made(api, "servers", {"slug": "billing", "url": "https://mcp.example.com/"})
    tool = {"server_id": server["id"], "name": "refund", "input_schema": {"type": "object"}, "risk": "write"}
    await made(api, "tools", tool)
    given = await grant(api, ada, reason=EVIL)
    policy = await made(api, "policies", {"name": f"Refunds {EVIL}", "text": ASKS})
    await api.post(f"/api/v1/policies/{policy['id']}/publish", headers={"If-Match": "*"})
    await admin.open(EXPLAIN)
    await admin.send(EXPLAIN, who=ada["user_name"], server="billing", tool="refund", arguments='{"a": 1}')
    assert admin.page.status_code == 200
    words = admin.words
    assert "Ada may use, after an approval, the tool refund of billing ." in words
    for part in (
        "Needs approval",
        "with the arguments that were given",
        "A member of the group Finance leads : Large refunds need a second person.",
        "Access of Ada with any token",
        "A grant gives access",
        "applies",
    ):
        assert part in words, part
    assert given["id"] in admin.link(given["id"])
    # What was typed stands there for another question; what strangers wrote is text.
    assert admin.form(EXPLAIN).fields["arguments"] == ['{"a": 1}']
    assert EVIL not in admin.page.text


async def test_what_is_missing_is_one_link_from_being_granted(admin: Person, desk: Desk) -> None:
    asked = f"{EXPLAIN}?identity_id={shown(desk.ada.id)}&server={desk.server.slug}&tool=refund"
    await admin.open(asked)
    assert "Denied" in admin.words
    assert "No live grant of the identity or its groups reaches it." in admin.words
    link = admin.link("Grant access to Ada")
    assert link.startswith(f"/console/grants/new?identity_id={shown(desk.ada.id)}&server=srv_")
    assert link.endswith("&tool=refund")


async def test_a_refusal_is_explained_by_its_event(
    admin: Person, api: httpx2.AsyncClient, sessions: Any
) -> None:
    # Made over the API, since the past is told from its history.
    ada = await person(api)
    server = await made(api, "servers", {"slug": "billing", "url": "https://mcp.example.com/"})
    order = {
        "identity_id": ada["id"],
        "name": "laptop",
        "scope": {"kind": "grants"},
        "expires_at": in_days(1),
    }
    token = (await api.post("/api/v1/tokens", json=order)).json()["token"]
    refused = {"decision": "deny", "reason_code": "no_grant"}
    event = await record_call(sessions, token, server, "refund", None, **refused)
    await admin.open(f"{EXPLAIN}?event_id={event}")
    assert "Recorded decision" in admin.words
    assert admin.link("the event") == f"/console/audit/{event}"
    assert token["id"] in admin.link(token["name"])


async def test_a_name_that_several_have_is_asked_back_and_what_cannot_be_read_is_said_at_its_field(
    admin: Person, desk: Desk
) -> None:
    for number in range(2):
        await desk.world.person(display_name=f"Twin {number} {EVIL}", user_name=f"twin-{number}")
    await admin.open(EXPLAIN)
    await admin.send(EXPLAIN, who="twin", server="s", tool="t")
    assert "Choose an identity" in admin.words
    assert "twin-0" in admin.words
    assert EVIL not in admin.page.text
    assert admin.form(EXPLAIN).fields["who"] == ["twin"]
    ids = re.findall(r'<button [^>]*form="ask" name="chosen" value="(idn_\w+)"', admin.page.text)
    assert len(ids) == 2
    await admin.send(EXPLAIN, chosen=ids[0], server=desk.server.slug, tool="refund", arguments='{"a": 1}')
    assert "Access of Twin" in admin.words
    assert admin.form(EXPLAIN).fields["arguments"] == ['{"a": 1}']
    for changed, said in (
        ({"who": ""}, "Enter a name or the id of a token"),
        ({"who": "nobody-at-all"}, "No person or agent has this name."),
        ({"who": "idn_wrong"}, "not a idn_ id"),
        ({"server": ""}, "Name the server."),
        ({"tool": ""}, "Name the tool"),
        ({"arguments": "{"}, "Enter a JSON object"),
        ({"arguments": "[1]"}, "Arguments: "),
        ({"at": "yesterday"}, "Time: "),
        ({"ip": "here"}, "Client address: "),
    ):
        await admin.open(EXPLAIN)
        await admin.send(EXPLAIN, **{"who": "twin-1", "server": "s", "tool": "t", **changed})
        assert admin.page.status_code == 422, changed
        assert said in admin.words, (changed, admin.words)
        [field] = changed
        assert f'id="e-{field}"' in admin.page.text, changed
        # It was a question.
        assert "Nothing was changed" not in admin.words
    await admin.open(f"{EXPLAIN}?event_id=evt_01jdpnwz00e008000000000000")
    assert admin.page.status_code == 404
    assert "There is no such audit event." in admin.words


async def test_only_who_may_explain_access_is_told(
    new_browser: NewBrowser, provider: SigningProvider, desk: Desk
) -> None:
    browser = new_browser()
    await sign_in(browser, provider, sub="ada")
    answer = await browser.get(EXPLAIN)
    assert answer.status_code == 403
    assert "access.explain" in answer.text
    assert (await browser.post(EXPLAIN, data={"who": "x"})).status_code == 403


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": 1, "a": 900}',
        '{"a": NaN}',
        '{"a": 1e400}',
        '{"a": "\\ud800"}',
        '{"a": ' + "[" * 300 + "]" * 300 + "}",
    ],
)
async def test_what_no_call_can_carry_is_not_explained(admin: Person, desk: Desk, arguments: str) -> None:
    await admin.open(EXPLAIN)
    asked = {"who": desk.ada.user_name, "server": desk.server.slug, "tool": "refund"}
    await admin.send(EXPLAIN, **asked, arguments=arguments)
    assert admin.page.status_code == 422
    assert "Enter a JSON object" in admin.words


async def test_a_missing_scope_leads_to_the_one_step_that_helps(
    admin: Person, api: httpx2.AsyncClient
) -> None:
    ada = await person(api, display_name="Ada")
    server = await made(api, "servers", {"slug": "billing", "url": "https://mcp.example.com/"})
    await made(
        api, "tools", {"server_id": server["id"], "name": "refund", "input_schema": {"type": "object"}}
    )
    scope = {"kind": "listed", "entries": []}
    body = {"identity_id": ada["id"], "name": "laptop", "scope": scope, "expires_at": in_days(1)}
    token = (await api.post("/api/v1/tokens", json=body)).json()["token"]
    await admin.open(f"{EXPLAIN}?token_id={token['id']}&server=billing&tool=refund")
    words = admin.words
    assert (
        "The scope of the token does not reach it. No live grant of the identity or its groups reaches it."
        in words
    )
    assert "A grant gives access" not in words
    assert f"/console/tokens/new?identity_id={ada['id']}" in admin.page.text
    assert "/console/grants/new" not in admin.page.text
