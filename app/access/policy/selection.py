"""What is settled of a whole set of policies for one identity at one tool, whatever it calls it with.

Of many policies few concern a call, and of these most find the same on every call: they are evaluated once. For a
call the engine is handed those alone that read it, and of them only those whose leading conditions hold.
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


class Recent(Generic[Key, Value]):
    """At most twice ``most`` values; what was not asked for while ``most`` others came is gone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The value, if it is still there."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value."""
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = value


_KEPT_SETS = 512
Numbers = tuple[int, ...]
Pace = tuple[float | None, UUID | None]


@dataclass(frozen=True, slots=True, eq=False)
class EngineInput:
    """What the engine is told of a request beside the context. Equal to itself alone, as whatever was found in it."""

    named: Named
    entities: cedarpy.Entities


@dataclass(slots=True)
class Selection:
    """The policies that concern one identity, server and tool, by how often they have to be asked.

    ``settled`` holds for every call, ``paced`` find the same within a minute for one token, ``calling`` may find
    otherwise on each call. The objects that it was made of are kept, so that no others can have their place in memory
    while it is found by that.
    """

    identity: Identity
    server: Server
    tool: Tool | None
    engine_input: EngineInput | None
    settled: Findings
    paced: Numbers
    calling: Numbers
    reads_groups: bool
    by_pace: dict[Pace, tuple[Findings, PolicyVerdict | None]] = field(default_factory=dict)
    verdicts: dict[tuple[float, Numbers, Numbers], PolicyVerdict] = field(default_factory=dict)


class Selector:
    """Selects among the policies of one set."""

    def __init__(self, policies: Sequence[CompiledPolicy]) -> None:
        self._policies = policies
        self._index = ScopeIndex(policy.scope for policy in policies)
        self._sets: Recent[tuple[bool, Numbers], cedarpy.PolicySet] = Recent(_KEPT_SETS)

    def concerned(self, request: PolicyInput) -> Numbers:
        """The policies whose scopes let a request in."""
        return self._index.matching(request.act, request.token.identity, request.server, request.tool)

    def select(self, request: PolicyInput) -> Selection:
        """Find out what holds for every request that is like this one in all but the context."""
        concerned = self.concerned(request)
        broken = {
            number: fault for number in concerned if (fault := self._policies[number].fault) is not None
        }
        sound = [number for number in concerned if number not in broken]
        asked = tuple(number for number in sound if self._policies[number].leading is not None)
        later = [number for number in sound if self._policies[number].reads.parts]
        engine_input = engine_input_of(request) if asked or later else None
        found = self.ask(engine_input, asked, "{}", leading=True)
        ruled_out = set(asked).difference(found.satisfied)
        later = [number for number in later if number not in ruled_out]
        satisfied = set(sound) - ruled_out - set(later)
        return Selection(
            request.token.identity,
            request.server,
            request.tool,
            engine_input if later else None,
            Findings(tuple(sorted(satisfied)), {**broken, **found.failed}),
            tuple(number for number in later if not self._policies[number].reads_call),
            tuple(number for number in later if self._policies[number].reads_call),
            self._read_groups(request.token.identity, concerned),
        )

    def _read_groups(self, identity: Identity, concerned: Numbers) -> bool:
        """Whether it makes a difference that an identity, or its owner, is in the groups that it is in."""
        groups = {group for group, _ in identity.groups}
        if identity.owner is not None:
            groups.update(group for group, _ in identity.owner.groups)
        return any(not groups.isdisjoint(self._policies[number].groups) for number in concerned)

    def ask(
        self, engine_input: EngineInput | None, numbers: Numbers, context: str, *, leading: bool = False
    ) -> Findings:
        """What the engine finds of these policies, or of their leading conditions, in a context."""
        if not numbers or engine_input is None:
            return Findings()
        statements = self._sets.get((leading, numbers))
        if statements is None:
            chosen = {number: self._policies[number] for number in numbers}
            statements = engine_set(
                {
                    number: found
                    for number, policy in chosen.items()
                    if (found := policy.leading if leading else policy.whole) is not None
                }
            )
            self._sets.put((leading, numbers), statements)
        return run(statements, numbers, engine_input.named.request(context), engine_input.entities)


def engine_input_of(request: PolicyInput) -> EngineInput:
    """What the engine is told of a request beside the context."""
    identity, server, tool = request.token.identity, request.server, request.tool
    entities = cedarpy.Entities.from_json_str(entities_json(identity, server, tool))
    return EngineInput(named(request.act, identity, server, tool), entities)
