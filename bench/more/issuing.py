"""The benchmark of issuing tokens by one worker: each with its secret, audit event and commit."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import UUID

import uvloop

from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.lib.ids import IDENTITY, SERVER, format_id
from bench import load
from bench.messages import TOOL, http_head
from bench.processes import CannotMeasure, Running, cpu_seconds
from bench.rounds import Plan
from bench.targets import Figure, Target, at_least
from bench.testbed import Testbed

CALLERS = 16
_DIGITS = 9


class Issuing:
    """Numbered requests that each issue a token, for people in rotation."""

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
        """Check an answer quickly, under load."""
        return answer.startswith(b"HTTP/1.1 201 ") and b'"name":"%09d"' % number in answer

    def is_exactly_right(self, number: int, head: bytes, body: bytes) -> bool:
        """Check an answer completely."""
        issued = json.loads(body)
        return (
            head.startswith(b"HTTP/1.1 201 ")
            and issued["token"]["name"] == f"{number:09}"
            and parse_credential(issued["secret"], SCOPED_TOKEN) is not None
        )


@dataclass(frozen=True, slots=True)
class Issued:
    """Tokens per second under one load, and the gateway's CPU milliseconds per token."""

    rate: float
    cpu: float


def measure(testbed: Testbed, plan: Plan) -> list[Figure]:
    """Measure tokens per second, for one caller and for several. Raises ``CannotMeasure`` if a request fails."""
    with testbed.gateway("issuing", {testbed.cores.system}, SCOPEGATE_LIMIT_REQUESTS="0") as gateway:
        bearer = testbed.bearer(gateway)
        seeded = testbed.seeded
        work = Issuing(f"127.0.0.1:{gateway.port}", bearer, seeded.identities, seeded.server)
        alone, together = (uvloop.run(_issue(gateway, work, callers, plan)) for callers in (1, CALLERS))
    return [
        _figure("tokens issued, 1 caller", alone, None),
        _figure(f"tokens issued, {CALLERS} callers", together, at_least(300)),
    ]


def _figure(what: str, issued: Issued, target: Target | None) -> Figure:
    return Figure(what, issued.rate, "/s", target, f"one worker, durable; {issued.cpu:.1f} ms of CPU each")


async def _issue(gateway: Running, work: Issuing, callers: int, plan: Plan) -> Issued:
    await load.check(gateway.port, work, 1)
    await load.apply(gateway.port, work, callers, plan.warm_up, 0)
    before = cpu_seconds(gateway.pid)
    samples = [
        await load.apply(gateway.port, work, callers, plan.window, plan.settle) for _ in range(plan.rounds)
    ]
    used = cpu_seconds(gateway.pid) - before
    if errors := load.merge_errors(samples):
        raise CannotMeasure(f"tokens could not be issued: {dict(errors)}")
    calls = max(1, sum(sample.all_calls for sample in samples))
    return Issued(median(sample.rate for sample in samples), used / calls * 1000)
