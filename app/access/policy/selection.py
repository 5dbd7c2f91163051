"""Selection of the policies that apply to an identity at a tool, and evaluation of what all its calls share.

Few of many policies apply to a call, and most of those have the same result for every call, so they are evaluated once.
For each call, the engine evaluates only policies that read the call and whose leading conditions hold.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

import cedarpy

from app.access.policy.compiled import CompiledPolicy, Findings, engine_set, run
from app.access.policy.mapping import Named, entities_json, named
from app.access.policy.scope import ScopeIndex
from app.domain.objects import Identity, Server, Tool
from app.domain.policy import PolicyInput, PolicyVerdict

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class RecentCache(Generic[Key, Value]):
    """A cache of at most twice ``most`` values. It drops values that are not read while ``most`` others are added."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The cached value, if any."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Cache a value."""
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = value


_KEPT_SETS = 512
Numbers = tuple[int, ...]
Minute = tuple[float | None, UUID | None]


@dataclass(frozen=True, slots=True, eq=False)
class EngineInput:
    """The engine's input for a request, except the context. Compared by identity, like the results cached for it."""

    named: Named
    entities: cedarpy.Entities


@dataclass(slots=True)
class Selection:
    """The policies that apply to one identity, server and tool, by how often they must be evaluated.

    ``settled`` holds for every call. ``per_minute`` policies have the same result within a minute for one token.
    ``per_call`` policies can differ for each call. The objects of the key are kept, because the cache uses their ids,
    which could be reused otherwise.
    """

    identity: Identity
    server: Server
    tool: Tool | None
    engine_input: EngineInput | None
    settled: Findings
    per_minute: Numbers
    per_call: Numbers
    reads_groups: bool
    by_minute: dict[Minute, tuple[Findings, PolicyVerdict | None]] = field(default_factory=dict)
    verdicts: dict[tuple[float, Numbers, Numbers], PolicyVerdict] = field(default_factory=dict)


class Selector:
    """Selects among the policies of one set."""

    def __init__(self, policies: Sequence[CompiledPolicy]) -> None:
        self._policies = policies
        self._index = ScopeIndex(policy.scope for policy in policies)
        self._sets: RecentCache[tuple[bool, Numbers], cedarpy.PolicySet] = RecentCache(_KEPT_SETS)

    def concerned(self, request: PolicyInput) -> Numbers:
        """The policies whose scopes match a request."""
        return self._index.matching(request.act, request.token.identity, request.server, request.tool)

    def select(self, request: PolicyInput) -> Selection:
        """Evaluate what is the same for all requests that differ from this one only in the context."""
        concerned = self.concerned(request)
        broken = {
            number: fault for number in concerned if (fault := self._policies[number].fault) is not None
        }
        sound = [number for number in concerned if number not in broken]
        with_leading = tuple(number for number in sound if self._policies[number].leading is not None)
        later = [number for number in sound if self._policies[number].reads.parts]
        engine_input = engine_input_of(request) if with_leading or later else None
        findings = self.ask(engine_input, with_leading, "{}", leading=True)
        ruled_out = set(with_leading).difference(findings.satisfied)
        later = [number for number in later if number not in ruled_out]
        satisfied = set(sound) - ruled_out - set(later)
        return Selection(
            request.token.identity,
            request.server,
            request.tool,
            engine_input if later else None,
            Findings(tuple(sorted(satisfied)), {**broken, **findings.failed}),
            tuple(number for number in later if not self._policies[number].reads_call),
            tuple(number for number in later if self._policies[number].reads_call),
            self._read_groups(request.token.identity, concerned),
        )

    def _read_groups(self, identity: Identity, concerned: Numbers) -> bool:
        """Whether the policies depend on the groups of an identity or its owner."""
        groups = {group for group, _ in identity.groups}
        if identity.owner is not None:
            groups.update(group for group, _ in identity.owner.groups)
        return any(not groups.isdisjoint(self._policies[number].groups) for number in concerned)

    def ask(
        self, engine_input: EngineInput | None, numbers: Numbers, context: str, *, leading: bool = False
    ) -> Findings:
        """Run the engine on these policies, or on their leading conditions, in a context."""
        if not numbers or engine_input is None:
            return Findings()
        statements = self._sets.get((leading, numbers))
        if statements is None:
            chosen = {number: self._policies[number] for number in numbers}
            statements = engine_set(
                {
                    number: statement
                    for number, policy in chosen.items()
                    if (statement := policy.leading if leading else policy.whole) is not None
                }
            )
            self._sets.put((leading, numbers), statements)
        return run(statements, numbers, engine_input.named.request(context), engine_input.entities)


def engine_input_of(request: PolicyInput) -> EngineInput:
    """The engine's input for a request, except the context."""
    identity, server, tool = request.token.identity, request.server, request.tool
    entities = cedarpy.Entities.from_json_str(entities_json(identity, server, tool))
    return EngineInput(named(request.act, identity, server, tool), entities)
