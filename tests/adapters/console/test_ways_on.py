"""Whatever an address asks for is answered by a page, and from every refusal there is a way on to one."""

import re
from html import unescape

import httpx2
import pytest

from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.people import admin, links_of, signed_in_as
from tests.adapters.console.provider import SigningProvider
from tests.adapters.console.servers import fields_of
from tests.features.access.test_explaining import REFUNDS, billing, published
from tests.features.principals import grant, group, person
from tests.features.tokens.world import in_days

__all__ = ["admin"]
ID = "01jdpnwz00e008000000000000"
LINKS = re.compile(r'href="(/console(?:/(?!audit/export)[^"]*)?)"')
MAX_PAGES = 150


@pytest.mark.parametrize(
    "address",
    [
        "/console/tokens?who=%00",
        "/console/tokens?who=" + 600 * "x",
        "/console/grants?who=%00",
        "/console/grants?server=%00",
        "/console/tools?server=%00",
        "/console/audit?at=0001-01-01T00:00:00%2B00:00",
        "/console/audit?at=0001-01-01T00:00:00%2B14:00&period=30d",
        "/console/audit?until=0001-01-02T00:00:00Z",
        "/console/access?server_cursor=" + 2_001 * "x",
        "/console/explain?identity_id=x&server=%00",
        "/console/tokens/new?identity_id=%00",
        "/console/grants/new?identity_id=%00&server=%00&tool=%00",
        "/console/%00",
    ],
)
async def test_an_address_that_asks_for_what_cannot_be_is_no_fault_of_the_service(
    admin: httpx2.AsyncClient, address: str
) -> None:
    answer = await admin.get(address)
    assert answer.status_code in {200, 400, 404, 422}
    assert "<!doctype html>" in answer.text


async def test_a_name_that_is_longer_than_any_is_said_to_be_so_where_a_holder_is_made(
    admin: httpx2.AsyncClient,
) -> None:
    path = "/console/tokens/new/identity"
    hidden = fields_of(await admin.get("/console/tokens/new"), path)
    answer = await admin.post(path, data=hidden | {"kind": "agent", "user_name": "a", "owner": 600 * "x"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "address",
    [
        "/console/tokens?status=active&cursor=x",
        "/console/access?kind=agent&cursor=x&server_cursor=y",
        "/console/audit?decision=deny&period=1h&at=2026-01-01T00:00:00Z&cursor=x",
        "/console/audit?after=x",
        "/console/servers?cursor=x",
    ],
)
async def test_a_place_in_a_list_that_is_another_now_leads_to_its_beginning(
    admin: httpx2.AsyncClient, address: str
) -> None:
    anew = await admin.get(address)
    assert anew.status_code == 303
    kept = anew.headers["location"]
    assert not {"cursor", "after", "at="} & {word for word in ("cursor", "after", "at=") if word in kept}
    assert (await admin.get(kept)).status_code == 200


@pytest.mark.parametrize(
    ("path", "page"),
    [
        (f"/console/pickups/pku_{ID}", f"/console/pickups/pku_{ID}"),
        (f"/console/groups/grp_{ID}/members/remove", f"/console/groups/grp_{ID}"),
        (f"/console/tokens/tok_{ID}/pickups/pku_{ID}/cancel", f"/console/tokens/tok_{ID}"),
        (f"/console/scheduled-offboardings/off_{ID}/cancel", f"/console/scheduled-offboardings/off_{ID}/cancel"),
        (
            f"/console/servers/srv_{ID}/credentials/remove/do?identity_id=idn_{ID}",
            f"/console/servers/srv_{ID}/credentials/remove?identity_id=idn_{ID}",
        ),
        (f"/console/approvals/apr_{ID}/approve", f"/console/approvals/apr_{ID}"),
    ],
)  # fmt: skip
async def test_a_form_that_is_not_taken_leads_back_to_the_page_that_it_stands_on(
    admin: httpx2.AsyncClient, new_browser: NewBrowser, path: str, page: str
) -> None:
    refused = await admin.post(path, data={"form_token": "of another sign-in"})
    assert refused.status_code == 403
    assert page in links_of(refused, r"/console/.*")
    signed_out = await new_browser().post(path, data={})
    assert signed_out.status_code == 401
    (sign_in,) = links_of(signed_out, r"/login.*")
    assert httpx2.URL(sign_in).params["next"] == page


async def test_a_search_among_the_tokens_of_one_stays_among_them(admin: httpx2.AsyncClient) -> None:
    for name, id in (("identity_id", f"idn_{ID}"), ("parent_id", f"tok_{ID}"), ("server_id", f"srv_{ID}")):
        page = await admin.get("/console/tokens", params={name: id})
        assert f'<input type="hidden" name="{name}" value="{id}">' in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/console/audit/live",
        "/console/approvals/live?shown=0123456789abcdef",
        f"/console/tokens/tok_{ID}/first-use/live",
    ],
)
async def test_a_page_that_listens_after_its_sign_in_has_ended_is_told_so_and_asks_no_more(
    new_browser: NewBrowser, path: str
) -> None:
    headers = {"Accept": "text/html, text/event-stream", "HX-Request": "true"}
    answer = await new_browser().get(path, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "event: ended" in answer.text
    assert '"code":"unauthenticated"' in answer.text


async def test_a_page_that_listens_to_what_is_not_there_is_told_so(admin: httpx2.AsyncClient) -> None:
    path = f"/console/tokens/tok_{ID}/first-use/live"
    answer = await admin.get(path)
    assert (answer.status_code, "event: ended" in answer.text) == (200, True)
    assert '"code":"not_found"' in answer.text


@pytest.mark.parametrize("role", ["auditors", "approvers", "issuers", "provisioners"])
async def test_no_link_leads_a_role_to_what_it_may_not_see(
    api: httpx2.AsyncClient, new_browser: NewBrowser, provider: SigningProvider, role: str
) -> None:
    ada, (server, _) = await person(api), await billing(api)
    team = await group(api, ada)
    given = await grant(api, team)
    await published(api, "Large refunds", REFUNDS)
    body = {"identity_id": ada["id"], "name": "laptop", "scope": {"kind": "grants"}, "expires_at": in_days(1)}
    token = (await api.post("/api/v1/tokens", json=body)).json()["token"]
    browser = await signed_in_as(new_browser, provider, role, role)
    begun = [
        "/console", "/console/my-access", f"/console/identities/{ada['id']}", f"/console/groups/{team['id']}",
        f"/console/grants/{given['id']}", f"/console/tokens/{token['id']}", f"/console/servers/{server['id']}",
        f"/console/explain?token_id={token['id']}&server=billing&tool=lost",
    ]  # fmt: skip
    # From where each address is linked; whether a role may see the pages that this begins at is not asked.
    waiting = dict.fromkeys(begun, "")
    kinds = set[tuple[str, frozenset[str]]]()
    seen, refused = set[str](), []
    while waiting and len(seen) < MAX_PAGES:
        address, source = waiting.popitem()
        seen.add(address)
        page = await browser.get(address)
        if page.status_code == 403 and source:
            refused.append((source, address))
        if page.status_code == 200:
            links = (
                unescape(href).partition("#")[0] for href in LINKS.findall(page.text.partition("<main")[2])
            )
            # A page is asked for once with each set of parameters: their values filter and sort it.
            for link in links:
                url = httpx2.URL(link)
                kind = url.path, frozenset(url.params)
                if kind not in kinds:
                    kinds.add(kind)
                    waiting[link] = address
    assert refused == []


async def test_what_no_page_takes_is_answered_by_a_page_too(admin: httpx2.AsyncClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for answer, status in (
        (await admin.post("/console/nothing", data={"x": "y"}), 405),
        (await admin.post("/console/policies/new", content=b"x" * (1 << 20 | 1), headers=form), 413),
        (await admin.get("/console/..%2f"), 400),
        (await admin.get("/console", headers={"Host": "elsewhere.example"}), 400),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert "content-security-policy" in answer.headers
        assert answer.headers["x-request-id"] in answer.text
