"""Small generated fleets, people, calls and policies, drawn so that scopes often match and conditions often fail."""

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from math import inf
from typing import Any
from uuid import UUID

from app.access.policy.compiled import Mode, PublishedPolicy
from app.domain.arguments import argument_types
from app.domain.objects import Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import Act, CallerProgram, PolicyInput
from app.domain.risk import Risk
from app.domain.scopes import GrantsScope
from app.lib.ids import GROUP, IDENTITY, TOKEN, format_id, new_id

GROUPS = tuple(new_id() for _ in range(3))
SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer"},
        "fee": {"type": "number"},
        "path": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "to": {"type": "object", "properties": {"iban": {"type": "string"}}},
        "free": {},
    },
}
NOON = datetime(2026, 3, 29, 12, 0, tzinfo=UTC).timestamp()


def person(*groups: UUID, kind: str = "person", owner: Identity | None = None, **attributes: str) -> Identity:
    return Identity(
        new_id(),
        1,
        IdentityStatus.ACTIVE,
        owner,
        tuple((group, 1) for group in groups),
        kind=kind,
        attributes=tuple(attributes.items()),
    )


def token_of(identity: Identity, parent: Token | None = None) -> Token:
    return Token(new_id(), 1, identity, GrantsScope(), inf, parent=parent)


def tool(name: str, risk: Risk = Risk.WRITE, schema: object = SCHEMA) -> Tool:
    return Tool(new_id(), name, risk, ToolState.ACTIVE, b"digest", None, argument_types(schema))


def server(slug: str, *tools: Tool, **labels: str) -> Server:
    return Server(new_id(), 1, slug, True, labels, {each.name: each for each in tools})


def call(
    identity: Identity | Token, on: Server, name: str = "pay", arguments: Any = None, **more: Any
) -> PolicyInput:
    """A tool call; without ``arguments`` they are unknown."""
    token = token_of(identity) if isinstance(identity, Identity) else identity
    return replace(PolicyInput(Act.CALL_TOOL, token, on, on.tools[name], arguments, NOON), **more)


def policy(text: str, mode: Mode = Mode.ENFORCE) -> PublishedPolicy:
    return PublishedPolicy(new_id(), 1, text, mode)


PEOPLE = (
    person(),
    person(GROUPS[0], department="finance"),
    person(GROUPS[0], GROUPS[1], department='"odd\\" \u202e'),
    person(kind="agent", owner=person(GROUPS[1], department="finance")),
    person(GROUPS[2], kind="agent", owner=person(), __entity="x"),
)
SERVERS = (
    server(
        "pay", tool("pay"), tool('od"d\\ \u00e9\n', Risk.READ), tool("drop", Risk.DESTRUCTIVE), env="prod"
    ),
    server("git", tool("pay"), tool("log", Risk.READ)),
)
TOKENS = tuple(token_of(identity) for identity in PEOPLE)
TOKENS += tuple(replace(token_of(token.identity), parent=token) for token in TOKENS[:2])
PLAIN = (
    "true",
    "false",
    "1",
    'principal.kind == "agent"',
    'principal in Group::"{group}"',
    'principal has owner && principal.owner in Group::"{group}"',
    "principal.owner.kind == principal.kind",
    'principal.hasTag("department")',
    'principal.getTag("department") == "finance"',
    "principal == {identity}",
    'resource.risk == "read"',
    'resource in Server::"pay"',
    'resource.hasTag("env") && resource.getTag("env") == "prod"',
    'action == Action::"call_tool"',
    'resource is Tool && resource.server.slug like "p*"',
)
OF_CALLS = (
    "context.arguments.amount > 100",
    "context.arguments has amount && context.arguments.amount + 9223372036854775000 > 9223372036854775100",
    'context.arguments has to.iban && context.arguments.to.iban == "DE"',
    'context.arguments.path like "/tmp/*"',
    'context.arguments.fee.greaterThan(decimal("1.5"))',
    'context.arguments.tags.contains("x")',
    'context.arguments["free"] == 5',
    "context.arguments == {{}}",
    'context.client has name && context.client.name == "cursor"',
    'context has ip && context.ip.isInRange(ip("10.0.0.0/8"))',
    "context.nothing",
    "{{a: context}} has a",
    "context.time.hour < 12",
    'context.time.weekday == "sunday" || context.time.minute_of_day == 720',
    'context.time.date == datetime("2026-03-29")',
    '["/tmp/x", "y"].contains(context.arguments.path)',
    'context.arguments.path like "*x*\\"*" || 100 < context.arguments.amount',
    'context.arguments.fee has fn || context.arguments.fee["__extn"]["fn"] == "x"',
    'context.arguments.to.iban != "FR"',
    "context.token.depth > 0",
    'context.token.id == "{token}"',
)
VALUES: dict[str, tuple[Any, ...]] = {
    "amount": (5, 500, 2**63 - 1, None),
    "fee": (1, 2.5, -0.0001, 1e14, None),
    "path": ("/tmp/x", "/etc/x", '\u202e\x00"\\', None),
    "tags": ([], ["x"], ["y", "x"], None),
    "to": ({}, {"iban": "DE"}, {"iban": None, "more": [1]}, None),
    "free": (5, "5", True, [], {}, None),
}
TRICKS = (
    2**63, -(2**63) - 1, 10**400, 0.12345, 1e300, 5.5, "5", True, [None], [5.5],
    {"__entity": {"type": "Group", "id": "x"}},
    {"a": [{"__extn": {"fn": "ip", "arg": "::1"}}]}, {"__expr": "true"}, "\ud800", {"\udc00": 1},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """Draws policies and calls from one seed, about a hundred times faster than Hypothesis."""

    random: random.Random

    def policy(self) -> PublishedPolicy:
        softened = self.random.random()
        forbid = softened < 0.3 or self.random.random() < 0.6
        annotations = '@reason("because")' if self.random.random() < 0.3 else ""
        if softened < 0.3:
            annotations += self.random.choice(('@quota("3 per day")', '@require_approval("leads")'))
        effect = "forbid" if forbid else "permit"
        scope = f"({self._principal()}, {self._action(softened < 0.3)}, {self._resource()})"
        clauses = "".join(self._clause() for _ in range(self.random.choice((0, 1, 1, 2))))
        mode = Mode.OBSERVE if self.random.random() < 0.2 else Mode.ENFORCE
        return policy(f"{annotations} {effect} {scope} {clauses};", mode)

    def _principal(self) -> str:
        person = self._identity()
        group = f'Group::"{format_id(GROUP, self.random.choice(GROUPS))}"'
        return self.random.choice(
            ("principal",) * 4
            + (f"principal in {group}", f"principal is Identity in {group}", f"principal == {person}")
            + (
                f"principal in {person}",
                "principal is Identity",
                "principal is Group",
                f"principal == {group}",
            )
        )

    def _action(self, calls: bool) -> str:
        one = 'action == Action::"call_tool"'
        others = 'action in [Action::"use_server", Action::"use_resources", Action::"unheard_of"]'
        return one if calls else self.random.choice((one, one, "action", "action", others))

    def _resource(self) -> str:
        named = 'Tool::"pay/pay"', 'Tool::"pay/od\\"d\\\\ \u00e9\\n"', 'Server::"pay"', 'Server::"git"'
        scopes = [f"resource {word} {name}" for word in ("==", "in") for name in named]
        scopes += [
            "resource is Tool",
            "resource is Server",
            'resource is Tool in Server::"git"',
            "resource is Group",
        ]
        return self.random.choice(["resource"] * 10 + scopes)

    def _clause(self) -> str:
        return f"{self.random.choice(('when', 'when', 'unless'))} {{ {self._condition()} }} "

    def _condition(self, depth: int = 0) -> str:
        kind = self.random.random()
        if depth > 2 or kind < 0.4:
            atom = self.random.choice(PLAIN if self.random.random() < 0.5 else OF_CALLS)
            group = format_id(GROUP, self.random.choice(GROUPS))
            token = format_id(TOKEN, self.random.choice(TOKENS).id)
            return f"({atom.format(group=group, token=token, identity=self._identity())})"
        left, right = self._condition(depth + 1), self._condition(depth + 1)
        if kind < 0.65:
            return f"{left} && {right}"
        if kind < 0.8:
            return f"({left} || {right})"
        if kind < 0.92:
            return f"!({left} || {right})"
        return f"(if {left} then {right} else {self._condition(depth + 1)})"

    def _identity(self) -> str:
        return f'Identity::"{format_id(IDENTITY, self.random.choice(PEOPLE).id)}"'

    def request(self, *, tricks: bool = False) -> PolicyInput:
        act = self.random.choice((Act.CALL_TOOL,) * 3 + tuple(Act))
        on = self.random.choice(SERVERS)
        arguments = {
            name: self.random.choice(values) for name, values in VALUES.items() if self.random.random() < 0.6
        }
        if tricks:
            arguments[self.random.choice(tuple(VALUES))] = self.random.choice(TRICKS)
        return PolicyInput(
            act,
            self.random.choice(TOKENS),
            on,
            self.random.choice(tuple(on.tools.values())) if act is Act.CALL_TOOL else None,
            None if act is Act.USE_SERVER or self.random.random() < 0.1 else arguments,
            NOON + self.random.choice((0, 30, 60, 3600 * 12, -3600)),
            self.random.choice(
                (None, ip_address("10.1.2.3"), ip_address("::ffff:10.0.0.1"), ip_address("fe80::1%eth0"))
            ),
            self.random.choice((CallerProgram(), CallerProgram("cursor", "1.0"), CallerProgram('"\u202e'))),
        )
