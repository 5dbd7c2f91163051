"""The administrator of the rig stays signed in for as long as a run takes."""

from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.api import Account
from tests.faults.rig import office

UNKNOWN_ID = UUID(int=1)


async def test_the_office_signs_in_again_before_its_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list[tuple[str, str]]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        shown.append((request.url.path, request.headers.get("authorization", "")))
        if request.url.path != "/oauth/token":
            return httpx2.Response(200, json={})
        # The first time nothing comes of it: the bearer that it has goes on.
        return httpx2.Response(503 if len(shown) == 1 else 200, json={"access_token": f"sgb_{len(shown)}"})

    gateway: Any = SimpleNamespace(url="http://127.0.0.1:1", port=1, serves=True)
    writer: Any = SimpleNamespace(write=lambda _: None)
    account = Account(UNKNOWN_ID, UNKNOWN_ID, UNKNOWN_ID, "sgc_secret", "sgb_first")
    it = office.Office([gateway], writer, Random(1), account)
    # Gateways take an hour until a bearer of theirs is over: what is asked is looked at instead.
    it._client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    monkeypatch.setattr(office, "_SIGNS_IN_EVERY_S", 0.0)
    await it.insist("GET", "/first")
    await it.insist("GET", "/second")
    monkeypatch.setattr(office, "_SIGNS_IN_EVERY_S", 600.0)
    await it.insist("GET", "/third")
    await it.close()
    assert shown == [
        ("/oauth/token", ""),
        ("/first", "Bearer sgb_first"),
        ("/oauth/token", ""),
        ("/second", "Bearer sgb_3"),
        ("/third", "Bearer sgb_3"),
    ]
    assert it.secrets == {"sgc_secret", "sgb_first", "sgb_3"}
