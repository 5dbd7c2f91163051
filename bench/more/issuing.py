"""How many tokens one worker issues: each with its secret, its audit event and its commit."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import UUID

import uvloop

from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.kit.ids import IDENTITY, SERVER, format_id
from bench import load
from bench.ground import Ground
from bench.messages import TOOL, http_head
from bench.processes import CannotMeasure
from bench.rounds import Plan
from bench.targets import Figure, at_least

CALLERS = (1, 16)
_DIGITS = 9


class Issuing:
    """Numbered requests that each issue one token; people take turns."""

    def __init__(self, host: str, bearer: str, identities: Sequence[UUID], server: UUID) -> None:
        expires_at = datetime.now(UTC) + timedelta(days=30)
        entry = {
            "servers": {"kind": "ids", "ids": [format_id(SERVER, server)]},
            "tools": {"kind": "names", "names": [TOOL]},
        }
        self._wires = []
        for identity in identities:
            body = {
                "identity_id": format_id(IDENTITY, identity),
                "name": "N" * _DIGITS,
                "scope": {"kind": "listed", "entries": [entry]},
                "expires_at": expires_at.isoformat(),
            }
            text = json.dumps(body).encode()
            self._wires.append(http_head("POST", host, "/api/v1/tokens", bearer, len(text)) + text)

    def wire(self, number: int) -> bytes:
        """The bytes of the request with this number."""
        return self._wires[number % len(self._wires)].replace(b"N" * _DIGITS, b"%09d" % number)

    def is_right(self, number: int, answer: bytes) -> bool:
        """A quick look at an answer, under load."""
        return answer.startswith(b"HTTP/1.1 201 ") and b'"name":"%09d"' % number in answer

    def is_exactly_right(self, number: int, head: bytes, body: bytes) -> bool:
        """A look at all of an answer."""
        issued = json.loads(body)
        return (
            head.startswith(b"HTTP/1.1 201 ")
            and issued["token"]["name"] == f"{number:09}"
            and parse_credential(issued["secret"], SCOPED_TOKEN) is not None
        )


def measure(ground: Ground, plan: Plan) -> list[Figure]:
    """Tokens a second, for one caller and for some. Raises ``CannotMeasure`` when a request failed."""
    with ground.gateway("issuing", {ground.cores.system}, SCOPEGATE_LIMIT_REQUESTS="0") as gateway:
        bearer = ground.bearer(gateway)
        seeded = ground.seeded
        work = Issuing(f"127.0.0.1:{gateway.port}", bearer, seeded.identities, seeded.server)
        rates = {callers: uvloop.run(_rate(gateway.port, work, callers, plan)) for callers in CALLERS}
    return [
        Figure(
            f"tokens issued, {callers} caller{'s' if callers > 1 else ''}",
            rate,
            "/s",
            target,
            "one worker, durable",
        )
        for (callers, rate), target in zip(rates.items(), (None, at_least(300)), strict=True)
    ]


async def _rate(port: int, work: Issuing, callers: int, plan: Plan) -> float:
    await load.check(port, work, 1)
    await load.apply(port, work, callers, plan.warm_up, 0)
    samples = [await load.apply(port, work, callers, plan.window, plan.settle) for _ in range(plan.rounds)]
    if errors := load.merged_errors(samples):
        raise CannotMeasure(f"tokens could not be issued: {dict(errors)}")
    return median(sample.rate for sample in samples)
