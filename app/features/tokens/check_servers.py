"""Asking the servers that a token reaches whether they answer now, with what its calls would send them."""

import asyncio
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from app.access.explain import meaning_of
from app.access.snapshot import AccessSnapshot, SnapshotUnavailable
from app.crypto.keys import UnsealingFault
from app.domain.access import Question, decide
from app.domain.definitions import definition_digest
from app.domain.objects import Server, Tool
from app.domain.policy import Effect
from app.features.tokens.check_schemas import CheckStep
from app.features.tokens.connection_check import Looked, Reached
from app.features.tools.discovery import DiscoveryFailed, Patience, list_now
from app.http.runtime import Runtime
from app.lib.event_loop import in_slices
from app.lib.strict_json import JsonObject
from app.outbound.client_tokens import TokenFault
from app.outbound.http import Target, Timeouts
from app.outbound.stdio import syncing

AT_ONCE = 16
"""How many servers one worker asks at a time, for all checks together."""
WITHIN_S = 15.0
"""How long all servers of a check may take, waiting for their turn included."""
_URLS = Patience(8.0, Timeouts(connect=3.0, first_byte=6.0, idle=6.0, total=8.0))
_COMMANDS = Patience(12.0, Timeouts(connect=3.0, first_byte=12.0, idle=12.0, total=12.0))
_REMEDIES = {
    "credential": "An administrator has to set the credential for this server again.",
    "forbidden": "An administrator has to give the server another address, or allow it.",
    "http_error": "An administrator has to look at the credential for this server, or at its address.",
    "unavailable": "Try again in a minute.",
    "busy": "Try again in a minute.",
}
_ITS_OWN = "Whoever runs the server has to see to it; then try again."
_SAYS = {
    "credential": "What calls are to carry cannot be had.",
    "forbidden": "Its address may not be reached.",
    "unreachable": "It cannot be reached.",
    "timeout": "It does not answer in time.",
    "http_error": "It answers with an error.",
    "rpc": "It refuses to list its tools.",
    "redirect": "It answers with a redirect.",
    "unavailable": "It has not answered lately, and is left alone for a moment.",
    "busy": "All connections to it are in use.",
}
_NOT_READ = "What it answers cannot be read."


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token has of a server's tools: those that it may call, how many of them with an approval first, and
    how many nobody has approved yet."""

    usable: tuple[Tool, ...]
    asking: int
    quarantined: int


class ServerChecks:
    """Asks servers, a bounded number at a time for all checks of one worker."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(
        self, runtime: Runtime, snapshot: AccessSnapshot, looked: Looked, *, tells_all: bool
    ) -> list[CheckStep]:
        """A step for each server that was reached, in their order. No connection to the database is held meanwhile.

        ``tells_all``: to somebody who may know where servers are.
        """
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        return await asyncio.gather(
            *(self._one(runtime, snapshot, looked, one, deadline, tells_all) for one in looked.reached)
        )

    async def _one(
        self,
        runtime: Runtime,
        snapshot: AccessSnapshot,
        looked: Looked,
        reached: Reached,
        deadline: float,
        tells_all: bool,
    ) -> CheckStep:
        server = reached.server
        if not reached.enabled:
            meaning = meaning_of("server_disabled")
            return _step(server, "fail", "server_disabled", meaning.says, meaning.remedy)
        expected = await in_slices(_expected(looked, server))
        begun = monotonic()
        try:
            async with asyncio.timeout_at(deadline), self._turns:
                begun = monotonic()
                found = await _list(runtime, snapshot, server, looked.token.identity.id)
        except DiscoveryFailed as failed:
            return _failed(server, failed, _since(begun), tells_all)
        except TimeoutError:
            return _failed(server, DiscoveryFailed("timeout", "It took too long."), _since(begun), tells_all)
        took_ms = _since(begun)
        return await in_slices(_answered(server, expected, found, took_ms))


def _expected(looked: Looked, server: Server) -> Generator[None, None, Expected]:
    """In steps, of a decision each: a server may have thousands of tools."""
    usable, met = [], Counter[str]()
    for tool in server.tools.values():
        yield
        decision = decide(Question(looked.token, server, tool.name), looked.context, looked.at.timestamp())
        if decision.effect is not Effect.DENY:
            usable.append(tool)
        met[decision.effect.value] += 1
        met[decision.reason_code] += 1
    return Expected(tuple(usable), met[Effect.REQUIRE_APPROVAL.value], met["tool_quarantined"])


async def _list(
    runtime: Runtime, snapshot: AccessSnapshot, server: Server, identity_id: UUID
) -> list[JsonObject]:
    """What the server offers now, to the very credential that calls would carry. Raises ``DiscoveryFailed``."""
    try:
        target = await snapshot.target(server, identity_id)
    except SnapshotUnavailable:
        raise DiscoveryFailed("unavailable", "The database cannot serve right now.") from None
    except (UnsealingFault, TokenFault) as fault:
        reason = f"There is no access token for it: {fault.reason}." if isinstance(fault, TokenFault) else ""
        raise DiscoveryFailed("credential", reason or "The stored credential does not open.") from None
    url: str | Target = target.url
    headers, patience = target.headers, _URLS
    if target.launch is not None:
        if runtime.supervisor is None:
            raise DiscoveryFailed("forbidden", "It is a command, and this host runs none.")
        url, patience = runtime.supervisor.target(server.id), _COMMANDS
        headers = runtime.supervisor.headers(target.launch, syncing(server.id))
    try:
        return await list_now(runtime.outbound, url, headers, target.protocol_versions, patience)
    except DiscoveryFailed as failed:
        if failed.status == 401 and target.client is not None:
            snapshot.refused(target.client.id, headers)
        raise


def _answered(
    server: Server, expected: Expected, found: list[JsonObject], took_ms: int
) -> Generator[None, None, CheckStep]:
    """In steps, of a definition each: a hostile server may send megabytes."""
    offered = {str(item["name"]): item for item in found}
    gone = other = 0
    for tool in expected.usable:
        yield
        item = offered.get(tool.name)
        gone += item is None
        other += item is not None and definition_digest(item) != tool.approved_digest
    waiting = expected.quarantined + other
    left = len(expected.usable) - gone - other
    asking = f", {expected.asking} of them with an approval first" if expected.asking else ""
    says = [f"It answers. {_count(left, 'tool')} can be called{asking}."]
    if waiting:
        says.append(f"{_count(waiting, 'tool')} more, new or changed, must be reviewed first.")
    if gone:
        says.append(f"{_count(gone, 'tool')} in reach {'is' if gone == 1 else 'are'} no longer offered.")
    code, remedy = "ok", None
    if waiting:
        code, remedy = "tools_wait", meaning_of("tool_quarantined").remedy
    elif gone:
        code, remedy = "tools_gone", "An administrator can sync the server."
    elif not left:
        code, remedy = "no_tools", "Ask for access to its tools."
    step = _step(server, "ok" if code == "ok" else "warn", code, " ".join(says), remedy)
    return step.model_copy(update={"duration_ms": took_ms})


def _failed(server: Server, failed: DiscoveryFailed, took_ms: int, tells_all: bool) -> CheckStep:
    """Why, in few words to those who may not know where the server is."""
    says = failed.reason if tells_all else _SAYS.get(failed.kind, _NOT_READ)
    step = _step(server, "fail", failed.kind, says, _REMEDIES.get(failed.kind, _ITS_OWN))
    return step.model_copy(update={"duration_ms": took_ms})


def _step(server: Server, state: str, code: str, detail: str, remedy: str | None) -> CheckStep:
    return CheckStep(
        name="server", state=state, code=code, detail=detail, remedy=remedy, server_id=server.id,  # type: ignore[arg-type]
        server=server.slug,
    )  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _since(begun: float) -> int:
    return round((monotonic() - begun) * 1000)
