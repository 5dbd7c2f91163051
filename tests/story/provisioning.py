"""A SCIM directory: its configuration by an administrator, and its client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

SCIM_JSON = "application/scim+json"


@dataclass(frozen=True, slots=True)
class Directory:
    """A SCIM client: its provider, its service account, and its permanent bearer token."""

    provider_id: str
    account_id: str
    secret: str

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}", "Accept": SCIM_JSON, "Content-Type": SCIM_JSON}


async def make_directory(
    api: httpx2.AsyncClient, issuer: str, scim: Any = None, **provider: Any
) -> Directory:
    """Create the service account, its secret and its provider, as in the how-to.

    ``api`` is an owner's client; ``scim`` are additional settings, ``provider`` fields of the provider.
    """
    me = (await api.get("/api/v1/me")).json()
    account = await _made(
        api,
        "service-accounts",
        {"name": f"SCIM of {issuer}"[:100], "owner_id": me["identity_id"], "role": "provisioner"},
    )
    credential = await _made(api, f"service-accounts/{account['id']}/credentials", {})
    settings = {"service_account_id": account["id"], **(scim or {})}
    body = {"name": "Directory", "issuer": issuer, "audiences": ["scopegate"], "scim": settings, **provider}
    made = await _made(api, "identity-providers", body)
    return Directory(made["id"], account["id"], credential["client_secret"])


@asynccontextmanager
async def client_of_directory(
    url: str, directory: Directory, **options: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of ``/scim/v2``."""
    async with httpx2.AsyncClient(
        base_url=f"{url}/scim/v2", headers=directory.headers(), timeout=60, **options
    ) as client:
        yield client


async def _made(api: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post(f"/api/v1/{path}", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made
