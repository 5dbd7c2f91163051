"""The requests that Okta and Entra ID document are answered as they require, and end what they should."""

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.adapters.scim.replay import Replay
from tests.api import client_of
from tests.story.provisioning import make_directory

if TYPE_CHECKING:
    from app.main import Scopegate


@pytest.mark.parametrize(("name", "steps"), [("okta", 28), ("entra", 36)])
async def test_a_directory_gets_the_answers_that_it_documents(
    app: "Scopegate", api: httpx2.AsyncClient, name: str, steps: int
) -> None:
    directory = await make_directory(api, f"https://{name}.example.com")
    async with client_of(app, directory.secret) as scim:
        assert await Replay(name, api, scim).run() == steps
