"""Whatever schemathesis sends, the running service answers as the contract says, and never with a fault of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from app.crypto.passwords import hash_password
from tests.provider.openid import ADMINS, API, AUDIENCE, openid_provider
from tests.story.service import whole_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]
PASSWORD = "correct horse battery staple"
PHASES = "examples,coverage,fuzzing,stateful"


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running service, as its break-glass administrator.

    That caller has every permission, and is no object of the API: an owner's service account would sooner or later
    be ended, or its person offboarded, by one of the requests.
    """
    settings = {"break_glass_password_hash": SecretStr(hash_password(PASSWORD))}
    unlimited = {"limit_requests": 0, "limit_failed_sign_ins": 0}
    async with whole_service(database_url, "none", **settings, **unlimited) as running:
        answer = await running.api.post(
            "/api/v1/break-glass", json={"password": PASSWORD, "reason": "schemathesis"}
        )
        assert answer.status_code == 200, answer.text
        running.api.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield running.api


@pytest.fixture
async def signed_in(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running service, as an owner who signed in at a real OpenID provider."""
    with openid_provider(token_seconds=7_200) as provider:
        settings = {
            "oidc_issuer": provider.issuer,
            "oidc_audience": (AUDIENCE,),
            "oidc_role_map": {ADMINS: "owner"},
        }
        unlimited = {"limit_requests": 0, "limit_failed_sign_ins": 0}
        bearer = await provider.access_token("alice", API)
        async with whole_service(database_url, bearer, **settings, **unlimited) as running:
            me = (await running.api.get("/api/v1/me")).json()
            assert (me["type"], me["role"]) == ("administrator", "owner"), me
            yield running.api


async def run_schemathesis(tmp_path: Path, url: str, *options: str) -> tuple[int | None, str]:
    """Its exit status, and what it found."""
    # Its files (examples that failed, reports) are the test's own.
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("st"),
        *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
        "run",
        f"{url}/openapi.json",
        *(
            "--seed",
            "1",
            "--warnings",
            "off",
            "--no-color",
            "--generation-database",
            "none",
            "--request-timeout",
            "60",
            *options,
        ),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_an_owner_gets_only_what_the_contract_promises(
    service: httpx2.AsyncClient, tmp_path: Path
) -> None:
    bearer = f"Authorization: {service.headers['Authorization']}"
    url = str(service.base_url).rstrip("/")
    status, output = await run_schemathesis(
        tmp_path, url, "-H", bearer, "--phases", PHASES, "--max-examples", "5"
    )
    assert status == 0, output
    assert (await service.get("/api/v1/me")).status_code == 200, "the caller ended itself"


async def test_an_owner_by_openid_gets_only_what_the_contract_promises(
    signed_in: httpx2.AsyncClient, tmp_path: Path
) -> None:
    bearer = f"Authorization: {signed_in.headers['Authorization']}"
    url = str(signed_in.base_url).rstrip("/")
    status, output = await run_schemathesis(
        tmp_path, url, "-H", bearer, "--phases", PHASES, "--max-examples", "5"
    )
    assert status == 0, output
    assert (await signed_in.get("/api/v1/me")).status_code == 200, "the caller ended itself"


async def test_a_stranger_gets_only_what_the_contract_promises(
    service: httpx2.AsyncClient, tmp_path: Path
) -> None:
    url = str(service.base_url).rstrip("/")
    status, output = await run_schemathesis(
        tmp_path, url, "--phases", "examples,fuzzing", "--max-examples", "5"
    )
    assert status == 0, output
