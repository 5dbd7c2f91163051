"""What a token may see of one server: the names of its tools, and which parts it has beside them.

Each answer comes with the one decision that stands for it, which rests on everything that could make it different. It
is found in steps, of a decision each: a server may have thousands of tools.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace

from app.domain.access import AccessRequest, Decision, PolicyContext, decide, everything_read
from app.domain.objects import Address, Part, Server, Token, ToolState
from app.domain.policy import Effect

Seen = Generator[None, None, tuple[Decision, frozenset[str]]]
EVERY_TOOL = "every tool"
"""Stands among the parts of a server where the token may use all of its tools."""


def visible_tools(request: AccessRequest, context: PolicyContext, at: float) -> Seen:
    """The names a token may see of one server, with the decision that stands for the list.

    A tool is visible when a call of it, without arguments, would not be denied. The decision is a deny when the
    server itself is out of reach.
    """
    reach = decide(request, context, at)
    server = request.server
    if reach.effect is Effect.DENY or server is None:
        return reach, frozenset()
    decisions = {}
    for name in server.tools:
        yield
        decisions[name] = decide(replace(request, tool=name, arguments=None, part=None), context, at)
    return _filtered(request, context, at, reach, decisions.values()), _not_denied(decisions)


def visible_parts(request: AccessRequest, context: PolicyContext, at: float) -> Seen:
    """The parts of one server that a token reaches, with the decision that stands for what is shown of them.

    ``EVERY_TOOL`` is among them when none of the approved tools is hidden. The decision is a deny when the server
    itself is out of reach.
    """
    reach = decide(request, context, at)
    server = request.server
    if reach.effect is Effect.DENY or server is None:
        return reach, frozenset()
    decisions = {
        part.value: decide(replace(request, arguments=None, part=part), context, at) for part in Part
    }
    tools = []
    for name, tool in server.tools.items():
        if tool.state is ToolState.ACTIVE:
            yield
            tools.append(decide(replace(request, tool=name, arguments=None, part=None), context, at))
    names = _not_denied(decisions)
    if all(each.effect is not Effect.DENY for each in tools):
        names |= {EVERY_TOOL}
    return _filtered(request, context, at, reach, (*decisions.values(), *tools)), names


def reached_parts(
    token: Token, servers: Iterable[Server], context: PolicyContext, at: float, address: Address | None
) -> Generator[None, None, frozenset[Part]]:
    """The parts that a token reaches of any of these servers. In steps, of a server each: there may be thousands."""
    missing = set(Part)
    for server in servers:
        yield
        for part in tuple(missing):
            request = AccessRequest(token, server, address=address, part=part)
            if decide(request, context, at).effect is not Effect.DENY:
                missing.discard(part)
        if not missing:
            break
    return frozenset(set(Part) - missing)


def _not_denied(decisions: Mapping[str, Decision]) -> frozenset[str]:
    return frozenset(name for name, each in decisions.items() if each.effect is not Effect.DENY)


def _filtered(
    request: AccessRequest, context: PolicyContext, at: float, reach: Decision, decisions: Iterable[Decision]
) -> Decision:
    servers = () if request.server is None else (request.server,)
    versions, valid_from, valid_until = everything_read(request.token, servers, context, at)
    met = (reach, *decisions)
    return Decision(
        Effect.ALLOW,
        "filtered",
        versions,
        # The time rules of policies are in the spans of the decisions that met them.
        max(valid_from, *(each.valid_from for each in met)),
        min(valid_until, *(each.valid_until for each in met)),
        grant_id=reach.grant_id,
    )
