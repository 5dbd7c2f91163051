"""Pickup links: secrets for people who sign in, and concurrent attempts to take each once."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import httpx2

from app.lib.ids import IDENTITY_PROVIDER, parse_id
from tests.adapters.oidc.tokens import token as signed
from tests.adapters.ssf.transmitter import Transmitter
from tests.faults.harness import fetch
from tests.faults.rig.fleet import Cell
from tests.faults.rig.history import Used
from tests.faults.rig.office import Stuck
from tests.faults.rig.signals import link
from tests.faults.rig.site import Site

_EVERY_S = 1.0
_AT_ONCE = 2
_KEPT = 300
_AUDIENCE = "scopegate"
_SPENT = "pickup_already_used"
# Over the API a provider is one over TLS, and this one is on loopback.
_ISSUER = "UPDATE identity_providers SET issuer = $2 WHERE id = $1"


@dataclass(slots=True)
class PickupAttempts:
    """Make a link, and take what it is for from everywhere, again and again."""

    here: Site
    transmitter: Transmitter
    person: str
    token: str
    used: list[str] = field(default_factory=list)
    """Ids of the links that were used, newest last."""
    stopping: bool = False

    @classmethod
    async def make(cls, here: Site) -> "PickupAttempts":
        """A person who signs in at a provider, and a token of theirs."""
        office, transmitter = here.office, here.world.signals.transmitter
        transmitter.answers["GET", "/.well-known/openid-configuration"] = (
            200,
            {"issuer": transmitter.issuer, "jwks_uri": f"{transmitter.origin}/keys"},
        )
        provider = await office.made(
            "identity-providers",
            name="People",
            issuer=f"https://{uuid4().hex}.example.com",
            audiences=[_AUDIENCE],
            algorithms=["ES256"],
        )
        await fetch(
            here.cluster.url, _ISSUER, parse_id(IDENTITY_PROVIDER, provider["id"]), transmitter.issuer
        )
        holder = Cell()
        await here.fleet.employ(holder)
        await link(here.cluster.url, provider["id"], holder.person)
        await here.fleet.issue(holder, narrow=False)
        assert holder.full is not None
        return cls(here, transmitter, holder.person, holder.full.id)

    async def work(self) -> None:
        """Until ``stopping``."""
        while not self.stopping:
            # In the midst of a fault: the next one will do.
            with suppress(Stuck):
                await self._round()
            await asyncio.sleep(_EVERY_S)

    async def again(self) -> None:
        """Take once more what was taken, and write down what came of it."""
        for id in self.used[-_KEPT:]:
            given = [answer.status_code for answer in await self._take(id) if answer.is_success]
            self.here.writer.write(Used("pick-up link", id, bool(given), f"it was answered {given}"))

    async def _round(self) -> None:
        place, key = f"/api/v1/tokens/{self.token}/pickups", {"Idempotency-Key": uuid4().hex}
        id = (await self.here.office.insist("POST", place, json={}, headers=key)).body["id"]
        answers = await self._take(id)
        given = [answer.json()["secret"] for answer in answers if answer.is_success]
        self.here.fleet.secrets.update(given)
        if len(given) > 1:
            self.here.writer.write(
                Used("pick-up link", id, opened=True, said=f"{len(given)} secrets at once")
            )
        # One whose answer was lost is used all the same.
        if given or any(_SPENT in answer.text for answer in answers):
            self.used.append(id)

    async def _take(self, id: str) -> list[httpx2.Response]:
        """Return the answers to concurrent attempts at every gateway."""
        now = int(time.time())
        claims = {
            "iss": self.transmitter.issuer,
            "aud": _AUDIENCE,
            "sub": self.person,
            "iat": now,
            "exp": now + 300,
        }
        key = self.transmitter.keys[0]
        bearer = signed({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, claims, key)
        headers, office = {"Authorization": f"Bearer {bearer}"}, self.here.office
        answers = await asyncio.gather(
            *(
                office.once(gateway, "POST", f"/api/v1/me/pickups/{id}/take", headers=headers)
                for gateway in office.serving() * _AT_ONCE
            )
        )
        return [answer for answer in answers if answer is not None]
