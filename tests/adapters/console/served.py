"""The whole service with a real OpenID provider, at whose pages people sign in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from tests.api import Account
from tests.provider.openid import ADMINS, AUDIENCE, PAGES, PAGES_SECRET, OpenIdProvider, openid_provider
from tests.story.service import Service, whole_service


@asynccontextmanager
async def served(database_url: str, owner: Account) -> AsyncIterator[tuple[Service, OpenIdProvider]]:
    """A service with nothing in it yet, which ``alice`` owns."""
    with openid_provider() as provider:
        settings: dict[str, Any] = {
            "oidc_issuer": provider.issuer,
            "oidc_audience": (AUDIENCE,),
            "oidc_client_id": PAGES,
            "oidc_client_secret": SecretStr(PAGES_SECRET),
            "oidc_role_map": {ADMINS: "owner"},
        }
        async with whole_service(database_url, owner.bearer, **settings) as service:
            provider.serve_pages(service.url)
            yield service, provider
