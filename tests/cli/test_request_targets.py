"""Which hosts, origins and request targets are taken, on real sockets as ``scopegate serve`` serves them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from app.settings import Settings
from tests.api import KEY
from tests.cli.test_transport_security import running

OWN, OTHER, FURTHER = "gate.example.com", "evil.example.com", "inside.example.com:8080"
SURFACES = {
    "/api/v1/me": 401,
    "/openapi.json": 200,
    "/docs": 200,
    "/docs/errors/malformed_request": 200,
    "/.well-known/jwks.json": 200,
    "/scim/v2/Users": 401,
    "/console": 303,
    "/signed-out": 200,
    "/favicon.ico": 200,
    "/nothing": 404,
    "/mcp": 401,
    "/mcp/notes": 401,
}


@pytest.fixture
async def port(database_url: str) -> AsyncIterator[int]:
    key = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(database_url),
        token_pepper=key,
        encryption_key=key,
        signing_key=key,
        public_url=f"https://{OWN}",
        allowed_origins=f"http://{FURTHER}",  # type: ignore[arg-type]
    )
    async with running(settings) as port:
        yield port


async def ask(port: int, target: str, *headers: str, method: str = "GET") -> tuple[int, str]:
    """Status and text of the answer to a request, also to one that no client would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {target} HTTP/1.1", *headers, "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer


async def test_another_host_is_refused_on_every_surface(port: int) -> None:
    for path, status in SURFACES.items():
        assert (await ask(port, path, f"Host: {OWN}"))[0] == status, path
        assert (await ask(port, f"http://{OWN}{path}", f"Host: {OWN}"))[0] == status, path
        for target, *hosts in (
            (path, OTHER),
            (path, f"{OTHER}:443"),
            (path, ""),
            (path, OWN, OTHER),
            (path, OTHER, OWN),
            (path,),
            (f"http://{OTHER}{path}", OWN),
            (f"http://{OWN}@{OTHER}{path}", OWN),
            (f"http://{OWN}{path}", OTHER),
            (f"http://{OTHER}{path}", OTHER),
            (f"ftp://{OWN}{path}", OWN),
        ):
            got, answer = await ask(port, target, *(f"Host: {host}" for host in hosts))
            assert got == 400, (target, hosts, answer)
    assert "unknown_host" in (await ask(port, "/api/v1/me", f"Host: {OTHER}"))[1]


async def test_the_probes_take_any_host(port: int) -> None:
    for path in ("/livez", "/readyz"):
        assert (await ask(port, path, "Host: 10.0.0.7:8080"))[0] == 200


async def test_encoded_slashes_and_fragments_lead_to_no_route(port: int) -> None:
    for target in (
        "/api/v1%2Fme",
        "/api%2fv1/me",
        "/%2Fapi/v1/me",
        "/mcp%2Fnotes",
        "/mcp/notes%2fmore",
        "/console%2Fgrants",
        "/scim%2Fv2/Users",
        "/livez%2F",
        "/livez#part",
        "/mcp#part",
        "/api/v1/me?q=1#part",
        f"http://{OWN}/livez#part",
    ):
        got, answer = await ask(port, target, f"Host: {OWN}")
        assert got == 400, (target, answer)


async def test_a_further_origin_is_taken_and_its_pages_lead_to_the_public_url(port: int) -> None:
    host = f"Host: {FURTHER}"
    assert (await ask(port, "/api/v1/me", host))[0] == 401
    for origin, status in ((f"http://{FURTHER}", 401), (f"https://{OWN}", 401), (f"https://{OTHER}", 403)):
        assert (await ask(port, "/mcp", host, f"Origin: {origin}", method="POST"))[0] == status, origin
    for path in ("/", "/console/grants?q=a%20b&status=active", "/login?next=/console"):
        status, answer = await ask(port, path, host)
        assert status == 307
        assert f"\r\nlocation: https://{OWN}{path}\r\n" in answer
    assert (await ask(port, "/logout", host, "Content-Length: 0", method="POST"))[0] == 400
