"""Which policies are about whom and what, by their heads: of many policies few concern a call."""

from collections.abc import Iterable
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
class Head:
    """What the head of a policy lets in. ``None`` for a principal or resource: any.

    ``principal`` is an identity, or a group that it is in; ``resource`` is a ``Tool`` or ``Server`` by its Cedar id,
    where a server stands for its tools too. ``nobody``: no identity can be what the head asks of the principal.
    ``done_to`` are the acts whose resource is of the type that it asks for.
    """

    actions: frozenset[Act] = frozenset(Act)
    principal: UUID | None = None
    nobody: bool = False
    resource: ResourceKey | None = None
    done_to: frozenset[Act] = frozenset(Act)

    @property
    def acts(self) -> frozenset[Act]:
        """The acts that it lets in, of whoever it is about."""
        return _NOTHING if self.nobody else self.actions & self.done_to

    def refuses(
        self, act: Act, identity: Identity, server: Server, tool: Tool | None
    ) -> Literal["principal", "action", "resource"] | None:
        """What of a request it does not let in; ``None``: it lets it in."""
        if self.nobody or self.principal not in _principal_keys(identity):
            return "principal"
        if act not in self.actions:
            return "action"
        return None if act in self.done_to and self.resource in _resource_keys(server, tool) else "resource"


def head_of(policy: pst.Template) -> Head:
    """The head of a policy, taken as Cedar takes it. Raises ``ValueError`` for one with a slot."""
    somebody, principal = _principal(policy.principal)
    done_to, resource = _resource(policy.resource)
    return Head(acts_of(policy.action), principal, not somebody, resource, done_to)


def acts_of(constraint: pst.ActionConstraint) -> frozenset[Act]:
    """The actions that a head lets in, whatever it says of the resource."""
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
        acts = _done_to(str(constraint.entity_type))
    uid = _entity(constraint)
    if uid is None:
        return acts, None
    key = (str(uid.type), uid.id)
    if isinstance(constraint, pst.ScopeEq) or key[0] != "Server":
        acts &= _done_to(key[0])
    return acts, key


def _done_to(type: str) -> frozenset[Act]:
    if type == "Tool":
        return frozenset({Act.CALL_TOOL})
    return _ON_SERVERS if type == "Server" else _NOTHING


def _entity(constraint: pst.PrincipalOrResourceConstraint) -> pst.EntityUid | None:
    if isinstance(constraint, pst.ScopeAny | pst.ScopeIs):
        return None
    if isinstance(constraint.entity, pst.Slot):
        raise ValueError("a policy has no slots")
    return constraint.entity


class HeadIndex:
    """Finds the heads that let something in without a look at the others."""

    def __init__(self, heads: Iterable[Head]) -> None:
        self._found: dict[tuple[Act, UUID | None, ResourceKey | None], list[int]] = {}
        for index, head in enumerate(heads):
            for act in head.acts:
                self._found.setdefault((act, head.principal, head.resource), []).append(index)

    def letting_in(self, act: Act, identity: Identity, server: Server, tool: Tool | None) -> tuple[int, ...]:
        """The places of the heads that let this in, in their order."""
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
