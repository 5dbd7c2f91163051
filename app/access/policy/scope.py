"""The scope of a policy (principal, action, resource) and Scopegate's annotations.

An index over scopes finds the few policies that apply to a call. Published policies must also follow the rules for
annotations, and one that does not denies every call. So these rules can be relaxed, but never tightened.
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
    """The requests that the scope of a policy matches. A principal or resource of ``None`` matches any.

    ``principal`` is an identity or a group. ``resource`` is a ``Tool`` or ``Server`` by its Cedar id; a server includes
    its tools. ``no_principal``: no identity can match. ``resource_acts`` are the actions whose resource has the
    required type.
    """

    actions: frozenset[Act] = frozenset(Act)
    principal: UUID | None = None
    no_principal: bool = False
    resource: ResourceKey | None = None
    resource_acts: frozenset[Act] = frozenset(Act)

    @property
    def acts(self) -> frozenset[Act]:
        """The actions that it matches for its principals."""
        return _NOTHING if self.no_principal else self.actions & self.resource_acts

    def refuses(
        self, act: Act, identity: Identity, server: Server, tool: Tool | None
    ) -> Literal["principal", "action", "resource"] | None:
        """The part of a request that does not match; ``None`` if all parts match."""
        if self.no_principal or self.principal not in _principal_keys(identity):
            return "principal"
        if act not in self.actions:
            return "action"
        admitted = act in self.resource_acts and self.resource in _resource_keys(server, tool)
        return None if admitted else "resource"


def scope_of(policy: pst.Template) -> PolicyScope:
    """The scope of a policy, with Cedar's semantics. Raises ``ValueError`` for a template slot."""
    anyone, principal = _principal(policy.principal)
    resource_acts, resource = _resource(policy.resource)
    return PolicyScope(acts_of(policy.action), principal, not anyone, resource, resource_acts)


def acts_of(constraint: pst.ActionConstraint) -> frozenset[Act]:
    """The actions that an action constraint matches."""
    if isinstance(constraint, pst.ScopeAny):
        return frozenset(Act)
    uids = (constraint.entity,) if isinstance(constraint, pst.ActionEq) else constraint.entities
    named = {uid.id for uid in uids if str(uid.type) == "Action"}
    return frozenset(act for act in Act if act in named)


def _principal(constraint: pst.PrincipalOrResourceConstraint) -> tuple[bool, UUID | None]:
    """Whether any identity can match, and the required identity or group."""
    if isinstance(constraint, pst.ScopeIs | pst.ScopeIsIn) and str(constraint.entity_type) != "Identity":
        return False, None
    uid = _entity(constraint)
    if uid is None:
        return True, None
    # An identity never equals a group; every identity is "in" itself.
    kinds = (
        {"Identity": IDENTITY}
        if isinstance(constraint, pst.ScopeEq)
        else {"Identity": IDENTITY, "Group": GROUP}
    )
    prefix = kinds.get(str(uid.type))
    id = None if prefix is None else exact_id(prefix, uid.id)
    return id is not None, id


def _resource(constraint: pst.PrincipalOrResourceConstraint) -> tuple[frozenset[Act], ResourceKey | None]:
    """The possible actions on the matching resources, and the required resource."""
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
    """Finds the scopes that match a request without checking all of them."""

    def __init__(self, scopes: Iterable[PolicyScope]) -> None:
        self._found: dict[tuple[Act, UUID | None, ResourceKey | None], list[int]] = {}
        for index, scope in enumerate(scopes):
            for act in scope.acts:
                self._found.setdefault((act, scope.principal, scope.resource), []).append(index)

    def matching(self, act: Act, identity: Identity, server: Server, tool: Tool | None) -> tuple[int, ...]:
        """The positions of the matching scopes, in order."""
        positions: list[int] = []
        for resource in _resource_keys(server, tool):
            for principal in _principal_keys(identity):
                positions += self._found.get((act, principal, resource), ())
        return tuple(sorted(positions))


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
    """The annotations of a policy: the approver group, the daily quota, and the reason text."""

    group: str | None = None
    quota: int | None = None
    reason: str | None = None


def annotations_of(policy: pst.Template) -> Annotations:
    """Parse the annotations of a policy. Raises ``ValueError`` for an invalid or misplaced one."""
    for _, fault in faults_of(policy):
        raise ValueError(fault)
    annotations = policy.annotations
    counted = _QUOTA.fullmatch(annotations.get(QUOTA, ""))
    return Annotations(
        annotations.get(REQUIRE_APPROVAL),
        None if counted is None else int(counted[1]),
        annotations.get(REASON),
    )


def faults_of(policy: pst.Template) -> Iterator[tuple[str, str]]:
    """Yield the invalid annotations: the name, and what is wrong."""
    annotations = policy.annotations
    if REQUIRE_APPROVAL in annotations and not _is_line(annotations[REQUIRE_APPROVAL], MAX_GROUP_NAME_LENGTH):
        detail = 'Name the group whose members may approve, as in @require_approval("finance-leads").'
        yield REQUIRE_APPROVAL, detail
    if QUOTA in annotations and not _QUOTA.fullmatch(annotations[QUOTA]):
        yield QUOTA, '@quota is a number of uses a day, as in @quota("20 per day").'
    if QUOTA in annotations and REQUIRE_APPROVAL in annotations:
        yield QUOTA, "A policy has @quota or @require_approval, not both: make two policies of it."
    for name in (REQUIRE_APPROVAL, QUOTA):
        if name in annotations and policy.effect != "forbid":
            yield name, f"@{name} goes with forbid: it softens a denial."
        elif name in annotations and not acts_of(policy.action) <= _CALLS:
            yield name, f'@{name} is about tool calls: write action == Action::"call_tool" in the scope.'
    if REASON in annotations and not _is_line(annotations[REASON], MAX_REASON_LENGTH):
        yield (
            REASON,
            f"@reason is one line of text for callers and approvers, of at most {MAX_REASON_LENGTH} characters.",
        )


def _is_line(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isprintable()
