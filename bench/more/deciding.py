"""The cost of policies for the decision only, measured in this process, which avoids the noise of a whole call."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from math import inf
from statistics import median
from time import process_time, time
from uuid import UUID

from app.access.policy.compiled import PublishedPolicy, compile_policy
from app.access.policy.evaluator import Evaluator
from app.admission.store import View
from app.domain.access import PolicyContext
from app.domain.arguments import argument_types
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import CallerProgram, GrantedIsAllowed, PolicyEvaluator
from app.domain.risk import Risk
from app.domain.scopes import AllServers, AllTools, GrantsScope
from app.domain.token_format import SCOPED_TOKEN, Credential
from app.domain.visibility import make_directory
from app.gateway.access_check import AccessCheck, DecisionCache
from app.lib.ids import new_id
from bench.messages import TOOL, TOOLS
from bench.seed import SLUG

TOKENS = 500
_REQUEST = AccessCheck(
    "tool.call", SLUG, ip_address("127.0.0.1"), TOOL, {"text": "000000000"},
    program=CallerProgram("bench", "1.0"),
)  # fmt: skip


def measure(sets: Mapping[str, Sequence[str]], groups: Sequence[UUID], rounds: int) -> dict[str, list[float]]:
    """Return the CPU time of a decision (µs) with each policy set, by round. Every round uses each token once."""
    views = {name: _views(_evaluator(texts), groups) for name, texts in sets.items()}
    known = {name: DecisionCache() for name in sets}
    for name, mine in views.items():
        _decide(mine, known[name])
    spent: dict[str, list[float]] = {name: [] for name in sets}
    for _ in range(rounds):
        for name, mine in views.items():
            # Exclude what is computed once per minute.
            _decide(mine, known[name])
            before = process_time()
            for _ in range(4):
                _decide(mine, known[name])
            spent[name].append((process_time() - before) / (4 * len(mine)) * 1e6)
    return spent


def more(spent: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Return the median over the rounds of the cost of one set above another."""
    return median(mine - theirs for mine, theirs in zip(spent[one], spent[other], strict=True))


def _decide(views: Sequence[View], known: DecisionCache) -> None:
    at = time()
    for view in views:
        decision = _REQUEST.decide(view, at, known)
        if not decision.allowed:
            raise AssertionError("the measured call is allowed")


def _evaluator(texts: Sequence[str]) -> PolicyEvaluator:
    if not texts:
        return GrantedIsAllowed()
    return Evaluator(compile_policy(PublishedPolicy(new_id(), 1, text)) for text in texts)


def _views(policies: PolicyEvaluator, groups: Sequence[UUID]) -> list[View]:
    grant = Grant(new_id(), 1, AllServers(), AllTools(), resources=False, prompts=False)
    schema = next(each["inputSchema"] for each in TOOLS if each["name"] == TOOL)
    tool = Tool(new_id(), TOOL, Risk.READ, ToolState.ACTIVE, b"digest", parameters=argument_types(schema))
    servers = {SLUG: Server(new_id(), 1, SLUG, enabled=True, tools={TOOL: tool})}
    context = PolicyContext(1, 1, policies)
    directory = make_directory({server.id: server for server in servers.values()})
    views = []
    for number in range(TOKENS):
        group = (groups[number % len(groups)], 1)
        identity = Identity(new_id(), 1, IdentityStatus.ACTIVE, groups=(group,), grants=(grant,))
        token = Token(new_id(), 1, identity, GrantsScope(), inf)
        views.append(View(token, context, servers, Credential(SCOPED_TOKEN, token.id, ""), directory))
    return views
