"""The ``type`` of every problem leads to a page on the service itself."""

import re

import httpx2

from app.http.docs_pages import error_codes


async def test_every_code_has_a_page_that_anybody_can_read(anonymous: httpx2.AsyncClient) -> None:
    for code in error_codes():
        answer = await anonymous.get(f"/docs/errors/{code}")
        assert answer.status_code == 200, code
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert f"<code>{code}</code></h1>" in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_type_of_a_problem_resolves_where_it_came_from(anonymous: httpx2.AsyncClient) -> None:
    problem = (await anonymous.get("/api/v1/me")).json()
    page = await anonymous.get(problem["type"])
    assert page.status_code == 200
    assert problem["code"] in page.text


async def test_the_index_leads_to_every_page(anonymous: httpx2.AsyncClient) -> None:
    index = (await anonymous.get("/docs/errors")).text
    assert (await anonymous.get("/docs/errors/")).text == index
    assert [code for code in error_codes() if f'href="/docs/errors/{code}"' not in index] == []


async def test_no_other_file_is_shown(anonymous: httpx2.AsyncClient) -> None:
    for path in ("nothing", "%2e%2e", "slug_taken.md", "<script>"):
        answer = await anonymous.get(f"/docs/errors/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


async def test_no_page_leads_to_what_the_service_does_not_have(anonymous: httpx2.AsyncClient) -> None:
    pages = [(await anonymous.get(f"/docs/errors/{code}")).text for code in error_codes()]
    addresses = {address for page in pages for address in re.findall(r'href="([^"]*)"', page)}
    assert {"/docs", "/docs/errors"} <= addresses
    for address in addresses:
        assert address.startswith("/"), address
        assert (await anonymous.get(address)).status_code == 200, address
    damaged = (await anonymous.get("/docs/errors/audit_log_corrupted")).text
    assert "see Verify the audit log. Treat it" in " ".join(damaged.split())
