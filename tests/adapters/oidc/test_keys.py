"""Keys are fetched seldom, serve while their provider is away, and are told apart by issuer and name."""

import asyncio

import pytest
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from app.crypto import jwt as module
from app.crypto.jwt import Key, ProviderFault, ProviderKeys
from app.domain.errors import Unavailable

ISSUER = "https://sso.example.com"
OTHER = "https://other.example.com"
FIRST = ECKey.generate_key("P-256", {"kid": "first"})
SECOND = ECKey.generate_key("P-256", {"kid": "second"})


class World:
    """A provider that says what a test tells it to, and a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.published: tuple[Key, ...] = (FIRST,)
        self.fault: str | None = None
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.asked_at_all = asyncio.Event()
        self.keys = ProviderKeys(self.fetch, lambda: self.now)

    async def fetch(self, issuer: str) -> tuple[Key, ...]:
        self.asked.append(issuer)
        self.asked_at_all.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise ProviderFault(self.fault)
        return self.published

    async def find(self, kid: str | None = "first", issuer: str = ISSUER) -> Key | None:
        return await self.keys.find(issuer, kid, JWSRegistry.algorithms["ES256"])


@pytest.fixture
def world() -> World:
    return World()


async def test_keys_are_fetched_once_for_many_requests(world: World) -> None:
    world.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.find()) for _ in range(20)]
    await world.asked_at_all.wait()
    world.gate.set()
    assert await asyncio.gather(*waiting) == [FIRST] * 20
    assert await world.find() is FIRST
    assert world.asked == [ISSUER]


async def test_who_asks_while_a_fetch_is_under_way_waits_for_it_whatever_the_gap(world: World) -> None:
    await world.keys.keep_fresh([ISSUER])
    assert await world.find("forged") is None
    world.published, world.gate = (FIRST, SECOND), asyncio.Event()
    world.now += module.REFRESH_S
    world.asked_at_all.clear()
    refreshing = asyncio.create_task(world.keys.keep_fresh([ISSUER]))
    await world.asked_at_all.wait()
    # Somebody has used up this minute's question for unknown keys just now.
    world.keys._issuers[ISSUER].asked_for_unknown_at = world.now
    waiting = asyncio.create_task(world.find("second"))
    await asyncio.sleep(0)
    world.gate.set()
    assert await waiting is SECOND
    await refreshing


async def test_a_caller_who_goes_away_does_not_end_the_fetch_for_the_others(world: World) -> None:
    world.gate = asyncio.Event()
    leaving, staying = asyncio.create_task(world.find()), asyncio.create_task(world.find())
    await world.asked_at_all.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    world.gate.set()
    assert await staying is FIRST
    assert world.asked == [ISSUER]


async def test_a_rotated_key_is_found_at_once_and_unknown_names_ask_once_a_minute(world: World) -> None:
    assert await world.find() is FIRST
    world.published = (FIRST, SECOND)
    assert await world.find("second") is SECOND
    assert len(world.asked) == 2

    for number in range(50):
        assert await world.find(f"forged {number}") is None
    assert len(world.asked) == 2
    world.now += module.UNKNOWN_KEY_GAP_S - 1
    assert await world.find("forged") is None
    assert len(world.asked) == 2
    world.now += 1
    assert await world.find("forged") is None
    assert await world.find("forged") is None
    assert len(world.asked) == 3


async def test_a_withdrawn_key_is_forgotten(world: World) -> None:
    await world.keys.keep_fresh([ISSUER])
    assert await world.find() is FIRST
    world.published = (SECOND,)
    world.now += module.REFRESH_S - 1
    await world.keys.keep_fresh([ISSUER])
    assert await world.find() is FIRST
    world.now += 1
    await world.keys.keep_fresh([ISSUER])
    assert await world.find() is None


async def test_keys_serve_while_their_provider_is_away_but_not_for_ever(world: World) -> None:
    await world.keys.keep_fresh([ISSUER])
    fetched_at, world.fault = world.now, "the upstream cannot be reached"
    world.now += module.REFRESH_S
    await world.keys.keep_fresh([ISSUER])
    assert await world.find() is FIRST
    assert await world.find("second") is None

    world.now = fetched_at + module.TRUST_FOR_S
    await world.keys.keep_fresh([ISSUER])
    assert await world.find() is FIRST
    world.now += 1
    with pytest.raises(Unavailable):
        await world.find()


async def test_without_keys_it_is_our_fault_and_not_the_callers(world: World) -> None:
    world.fault = "the upstream cannot be reached"
    with pytest.raises(Unavailable) as error:
        await world.find()
    assert error.value.code == "provider_unavailable"
    assert error.value.retry_after_s == module.RETRY_S
    assert ISSUER not in error.value.detail

    # Not asked again for each request, but soon.
    with pytest.raises(Unavailable):
        await world.find()
    assert len(world.asked) == 1
    world.now += module.RETRY_S
    world.fault = None
    assert await world.find() is FIRST


async def test_a_provider_without_a_key_that_can_be_used_opens_nothing(world: World) -> None:
    world.published = ()
    assert await world.find() is None
    assert world.keys.warnings() == ["OpenID provider: 1 without a key that can be used; the log names it"]


async def test_keys_of_one_provider_check_no_tokens_of_another(world: World) -> None:
    assert await world.find(issuer=ISSUER) is FIRST
    world.published = (SECOND,)
    assert await world.find("first", issuer=OTHER) is None
    assert await world.find("second", issuer=OTHER) is SECOND
    assert world.asked == [ISSUER, OTHER]


async def test_warnings_count_providers_the_log_names_them_and_both_end_when_they_are_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    assert world.keys.warnings() == []
    world.fault = "the upstream cannot be reached"
    await world.keys.keep_fresh([ISSUER])
    begin = "OpenID provider: 1 that cannot be asked for keys; "
    assert world.keys.warnings() == [f"{begin}no one can sign in with it; the log names it"]
    named = f"the OpenID provider {ISSUER} cannot be asked for its keys: the upstream cannot be reached"
    assert caplog.messages == [named]

    world.fault = None
    world.now += module.RETRY_S
    await world.keys.keep_fresh([ISSUER])
    assert world.keys.warnings() == []

    world.fault = "the upstream cannot be reached"
    world.now += module.REFRESH_S
    await world.keys.keep_fresh([ISSUER])
    assert world.keys.warnings() == [f"{begin}the keys fetched before serve; the log names it"]
    asked = len(world.asked)
    world.now += module.UNKNOWN_KEY_GAP_S - 1
    await world.keys.keep_fresh([ISSUER])
    assert len(world.asked) == asked

    world.fault = None
    world.now += 1
    await world.keys.keep_fresh([ISSUER])
    assert world.keys.warnings() == []


async def test_a_provider_that_is_no_longer_active_is_forgotten_with_its_warning(world: World) -> None:
    world.fault = "the upstream cannot be reached"
    await world.keys.keep_fresh([ISSUER, OTHER])
    await world.keys.keep_fresh([OTHER])
    assert world.keys.warnings() == [
        "OpenID provider: 1 that cannot be asked for keys; no one can sign in with it; the log names it"
    ]


async def test_a_provider_that_breaks_us_keeps_no_other_from_being_asked(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def fetch(issuer: str) -> tuple[Key, ...]:
        if issuer == ISSUER:
            raise RuntimeError("what it said")
        return await world.fetch(issuer)

    world.keys = ProviderKeys(fetch, lambda: world.now)
    await world.keys.keep_fresh([ISSUER, OTHER])
    assert await world.find(issuer=OTHER) is FIRST
    assert [record.getMessage() for record in caplog.records] == [
        "fetching the keys of a provider failed: RuntimeError"
    ]


async def test_closing_ends_what_is_being_fetched(world: World) -> None:
    world.gate = asyncio.Event()
    waiting = asyncio.create_task(world.find())
    await world.asked_at_all.wait()
    await world.keys.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
