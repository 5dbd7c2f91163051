"""The scope of a policy (principal, action, resource) and Scopegate's annotations.

Of many policies few concern a call: an index over scopes finds those. Published policies are held to the rules for
annotations too, and one that breaks them denies every call. So these rules may be made wider, and never narrower.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from cedarpy import pst

from app.access.policy.analysis import exact_id
from app.domain.objects import Identity, Server, Tool
from app.domain.policy import Act
from app.lib.ids import GROUP, IDENTITY

_ON_SERVERS = frozenset(Act) - {Act.CALL_TOOL}
_NOTHING: frozenset[Act] = frozenset()
ResourceKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PolicyScope:
    """What the scope of a policy lets in. ``None`` for a principal or resource: any.

    ``principal`` is an identity, or a group that it is in; ``resource`` is a ``Tool`` or ``Server`` by its Cedar id,
    where a server stands for its tools too. ``no_principal``: no identity can be what the scope asks of the principal.
    ``resource_acts`` are the acts whose resource is of the type that it asks for.
    """

    actions: frozenset[Act] = frozenset(Act)
    principal: UUID | None = None
    no_principal: bool = False
    resource: ResourceKey | None = None
    resource_acts: frozenset[Act] = frozenset(Act)

    @property
    def acts(self) -> frozenset[Act]:
        """The acts that it lets in, of whoever it is about."""
        return _NOTHING if self.no_principal else self.actions & self.resource_acts

    def refuses(
        self, act: Act, identity: Identity, server: Server, tool: Tool | None
    ) -> Literal["principal", "action", "resource"] | None:
        """What of a request it does not let in; ``None``: it lets it in."""
        if self.no_principal or self.principal not in _principal_keys(identity):
            return "principal"
        if act not in self.actions:
            return "action"
        admitted = act in self.resource_acts and self.resource in _resource_keys(server, tool)
        return None if admitted else "resource"


def scope_of(policy: pst.Template) -> PolicyScope:
    """The scope of a policy, taken as Cedar takes it. Raises ``ValueError`` for one with a slot."""
    anyone, principal = _principal(policy.principal)
    resource_acts, resource = _resource(policy.resource)
    return PolicyScope(acts_of(policy.action), principal, not anyone, resource, resource_acts)


def acts_of(constraint: pst.ActionConstraint) -> frozenset[Act]:
    """The actions that a scope lets in, whatever it says of the resource."""
    if isinstance(constraint, pst.ScopeAny):
        return frozenset(Act)
    uids = (constraint.entity,) if isinstance(constraint, pst.ActionEq) else constraint.entities
    named = {uid.id for uid in uids if str(uid.type) == "Action"}
    return frozenset(act for act in Act if act in named)


def _principal(constraint: pst.PrincipalOrResourceConstraint) -> tuple[bool, UUID | None]:
    """Whether anybody is let in, and who."""
    if isinstance(constraint, pst.ScopeIs | pst.ScopeIsIn) and str(constraint.entity_type) != "Identity":
        return False, None
    uid = _entity(constraint)
    if uid is None:
        return True, None
    # Nobody equals a group; everybody is in themselves.
    kinds = (
        {"Identity": IDENTITY}
        if isinstance(constraint, pst.ScopeEq)
        else {"Identity": IDENTITY, "Group": GROUP}
    )
    prefix = kinds.get(str(uid.type))
    id = None if prefix is None else exact_id(prefix, uid.id)
    return id is not None, id


def _resource(constraint: pst.PrincipalOrResourceConstraint) -> tuple[frozenset[Act], ResourceKey | None]:
    """What can be done to what is let in, and what that is."""
    acts = frozenset(Act)
    if isinstance(constraint, pst.ScopeIs | pst.ScopeIsIn):
        acts = _acts_on(str(constraint.entity_type))
    uid = _entity(constraint)
    if uid is None:
        return acts, None
    key = (str(uid.type), uid.id)
    if isinstance(constraint, pst.ScopeEq) or key[0] != "Server":
        acts &= _acts_on(key[0])
    return acts, key


def _acts_on(type: str) -> frozenset[Act]:
    if type == "Tool":
        return frozenset({Act.CALL_TOOL})
    return _ON_SERVERS if type == "Server" else _NOTHING


def _entity(constraint: pst.PrincipalOrResourceConstraint) -> pst.EntityUid | None:
    if isinstance(constraint, pst.ScopeAny | pst.ScopeIs):
        return None
    if isinstance(constraint.entity, pst.Slot):
        raise ValueError("a policy has no slots")
    return constraint.entity


class ScopeIndex:
    """Finds the scopes that let something in without a look at the others."""

    def __init__(self, scopes: Iterable[PolicyScope]) -> None:
        self._found: dict[tuple[Act, UUID | None, ResourceKey | None], list[int]] = {}
        for index, scope in enumerate(scopes):
            for act in scope.acts:
                self._found.setdefault((act, scope.principal, scope.resource), []).append(index)

    def matching(self, act: Act, identity: Identity, server: Server, tool: Tool | None) -> tuple[int, ...]:
        """The places of the scopes that let this in, in their order."""
        found: list[int] = []
        for resource in _resource_keys(server, tool):
            for principal in _principal_keys(identity):
                found += self._found.get((act, principal, resource), ())
        return tuple(sorted(found))


def _principal_keys(identity: Identity) -> tuple[UUID | None, ...]:
    return None, identity.id, *(group for group, _ in identity.groups)


def _resource_keys(server: Server, tool: Tool | None) -> tuple[ResourceKey | None, ...]:
    if tool is None:
        return None, ("Server", server.slug)
    return None, ("Server", server.slug), ("Tool", f"{server.slug}/{tool.name}")


REQUIRE_APPROVAL, QUOTA, REASON = "require_approval", "quota", "reason"
KNOWN = frozenset({REQUIRE_APPROVAL, QUOTA, REASON})
MAX_REASON_LENGTH = 500
MAX_GROUP_NAME_LENGTH = 200
_QUOTA = re.compile(r"([1-9][0-9]{0,8}) per day")
_CALLS = frozenset({Act.CALL_TOOL})


@dataclass(frozen=True, slots=True)
class Annotations:
    """What they say: the group that is asked, the uses that there are in a day, and what is told."""

    group: str | None = None
    quota: int | None = None
    reason: str | None = None


def annotations_of(policy: pst.Template) -> Annotations:
    """Those of a policy. Raises ``ValueError`` for one that says, or stands where, it cannot mean anything."""
    for _, fault in faults_of(policy):
        raise ValueError(fault)
    given = policy.annotations
    counted = _QUOTA.fullmatch(given.get(QUOTA, ""))
    return Annotations(
        given.get(REQUIRE_APPROVAL), None if counted is None else int(counted[1]), given.get(REASON)
    )


def faults_of(policy: pst.Template) -> Iterator[tuple[str, str]]:
    """What is wrong with them: the name of the annotation, and why."""
    given = policy.annotations
    if REQUIRE_APPROVAL in given and not _is_line(given[REQUIRE_APPROVAL], MAX_GROUP_NAME_LENGTH):
        detail = 'Name the group whose members may approve, as in @require_approval("finance-leads").'
        yield REQUIRE_APPROVAL, detail
    if QUOTA in given and not _QUOTA.fullmatch(given[QUOTA]):
        yield QUOTA, '@quota is a number of uses a day, as in @quota("20 per day").'
    if QUOTA in given and REQUIRE_APPROVAL in given:
        yield QUOTA, "A policy has @quota or @require_approval, not both: make two policies of it."
    for name in (REQUIRE_APPROVAL, QUOTA):
        if name in given and policy.effect != "forbid":
            yield name, f"@{name} goes with forbid: it softens a denial."
        elif name in given and not acts_of(policy.action) <= _CALLS:
            yield name, f'@{name} is about tool calls: write action == Action::"call_tool" in the scope.'
    if REASON in given and not _is_line(given[REASON], MAX_REASON_LENGTH):
        yield (
            REASON,
            f"@reason is one line of text for whoever is denied or asked, of at most {MAX_REASON_LENGTH} characters.",
        )


def _is_line(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isprintable()
