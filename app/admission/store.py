"""What the gateway needs from the rest, as small protocols that the composition root wires to features.

The gateway itself knows no database: it resolves tokens against a snapshot, offers decided calls for
admission, and learns from a guard when something in flight must end.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from app.domain.access import Decision, PolicyContext
from app.domain.directory import Directory, within
from app.domain.objects import Server, Token
from app.domain.policy import ApprovalDemand
from app.domain.token_format import Credential
from app.outbound.http import Target


class StoreUnavailable(Exception):
    """The database cannot serve: answer 503 with ``Retry-After``, allow nothing. The text, if any, says why."""


class CredentialUnavailable(Exception):
    """The server wants an access token that cannot be had now. The text says why; ``passing``: try again soon."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class TooManyLookups(Exception):
    """The budget for unknown credentials is used up: answer 429."""


@dataclass(slots=True)
class UpstreamTarget:
    """Where a server's calls go. ``headers`` is the upstream credential, opened; never logged. Never changed.

    ``url`` is a ``Target`` where a server is a command, and ``secrets`` is then what may not come back in answers.
    """

    url: str | Target
    headers: tuple[tuple[bytes, bytes], ...]
    protocol_versions: tuple[str, ...]
    client: UUID | None = None
    """Whose access token the headers hold, where they hold one: it is renewed now and then, and the session goes on."""
    secrets: tuple[bytes, ...] | None = None


class Client(NamedTuple):
    """Who is calling, technically. Strings are cut to 256 bytes before they become a row."""

    ip: str | None = None
    user_agent: str | None = None
    name: str | None = None
    version: str | None = None


@dataclass(slots=True)
class View:
    """One consistent look at what a token's decisions need; every part carries its version. Never changed."""

    token: Token
    context: PolicyContext
    servers: Mapping[str, Server]
    """All servers of the fleet by slug."""
    credential: Credential
    """What was presented; a rotated secret must not live on in a fresh view."""
    directory: Directory
    """The same servers, to find those that could be within the token's reach."""

    def within(self) -> Collection[Server]:
        """Servers among which are all that the token reaches; see ``domain.directory``."""
        return within(self.token, self.directory)


class Snapshots(Protocol):
    """The in-memory access snapshot."""

    async def resolve(self, credential: Credential, client: Client) -> View | None:
        """The view of a token whose secret is right, else ``None``.

        The token may be expired, revoked or suspended: ``domain.access.decide`` says so. Warm, it reads no
        database. Raises ``StoreUnavailable`` and ``TooManyLookups``.
        """
        ...

    async def refresh(self, view: View, about: Collection[UUID] = ()) -> View | None:
        """Read the same credential's view anew, by reads that begin after this call: the token with all that it rests
        on, the servers that could be within its reach, and those that this is ``about``. Other servers are as they were
        known: what is decided about one of them and has changed is not admitted.

        ``None`` when the secret it came with no longer opens the token. Raises ``StoreUnavailable``.
        """
        ...

    async def target(self, server: Server, token: Token) -> UpstreamTarget:
        """Where to forward, of this version of the server.

        Raises ``StoreUnavailable``, ``UnsealingFault``, ``CredentialUnavailable``.
        """
        ...

    def credential_refused(self, target: UpstreamTarget) -> None:
        """The server answered 401: an access token that was fetched for it is not used again."""
        ...

    def now(self) -> float:
        """The database's clock as this worker knows it, in Unix seconds."""
        ...


@dataclass(slots=True)
class Call:
    """One decided request that becomes an audit row. Strings may be of any length; they are cut there.

    Made once for each request and never changed; a frozen class would take three times as long to make.
    """

    id: UUID
    action: str
    """``tool.call``, ``tools.list``, ``mcp.initialize``, ``mcp.discover`` ..."""
    method: str
    token: Token
    server: Server | None
    tool: str | None
    decision: Decision
    client: Client
    arguments: object = None
    """The arguments object of a call, for its digest; ``None`` when the method has none."""
    request_id: str | None = None
    """``None`` where it is ``req_`` with this very row's id."""
    trace_id: str | None = None
    reason: str | None = None
    """Why the caller wants it, for those who are asked to approve it."""
    continues: UUID | None = None
    """The call of which this is the next round, where that is proven: approvals that it had go over to this one."""
    bound: object = None
    """What an approval covers of the request in addition to its arguments: JSON."""


@dataclass(slots=True)
class Admitted:
    """The row is durable. ``at`` is when the statement that wrote it was sent, of ``boot_time``.

    Not when the answer was read: a process that stood still in between would read it long after it was true.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Stale:
    """What the decision rests on has moved, or its span is over: re-read and decide again."""


class ApprovalState(StrEnum):
    """How an approval stands that a call needs, when the call does not run."""

    ASKED = "asked"
    """This call asked for it."""
    ASKED_AGAIN = "asked_again"
    """So it did, since one that was asked before ran out, unanswered or unused."""
    PENDING = "pending"
    """An earlier call with the same content asked for it, and nobody has decided yet."""
    APPROVED = "approved"
    """It is there; another one is not."""
    DENIED = "denied"
    """Somebody said no. Until it expires that holds for each such call."""


@dataclass(frozen=True, slots=True)
class NeededApproval:
    """One approval that a call needs. ``expires_at`` is in Unix seconds."""

    id: UUID
    group: str
    """The name of the group whose members may decide."""
    state: ApprovalState
    expires_at: float
    reasons: tuple[str, ...] = ()
    """What the policies that ask have callers and approvers told."""
    decision_reason: str | None = None
    """What whoever denied it wrote."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """The row is durable, and it says that the call does not run.

    ``decision`` is what it says: ``require_approval`` with the ``approvals`` that are needed, or a deny, since a quota
    is used up, an approval was denied, or too many are asked for already.
    """

    decision: Decision
    approvals: tuple[NeededApproval, ...] = ()


class Admissions(Protocol):
    """The durable record that lets an allowed call run."""

    async def admit(self, call: Call) -> Admitted | Stale | Withheld:
        """Write the call's row if what its decision rests on is current. Raises ``StoreUnavailable``.

        What the decision asks for, approvals and uses of quotas, is taken in the same transaction, all or nothing;
        where something is missing, approvals are asked for in it, and the call is ``Withheld``.
        """
        ...

    def finish(self, call_id: UUID, outcome: str, duration_ms: int) -> None:
        """Queue the outcome row of an admitted call: success, error, cancelled or not_forwarded.

        A call that was not forwarded gives back what it took.
        """
        ...

    def count_refused(self, view: View, reason_code: str, client: Client, request_id: str) -> None:
        """Count a request of a known token that is not live: one row per token, reason and minute, with the id of
        the first request."""
        ...

    def count_unknown(self, client: Client, request_id: str) -> None:
        """Count a request without a known token: one row per source and minute, with the id of the first."""
        ...


class Reevaluated(Protocol):
    """What a running call asked of the evaluator, to be asked again."""

    def reevaluate(self, view: View, at: float, approvals: frozenset[ApprovalDemand]) -> Decision:
        """Decide it on a fresh view. The ``approvals`` that the call used still count, and no others."""
        ...


class InFlight(Protocol):
    """Everything admitted that still runs; what is no longer allowed is cut."""

    def enter(self, call: Call, view: View, request: Reevaluated, cut: Callable[[], None]) -> None:
        """Watch a call from before its row is sent. ``request`` is decided again on fresh views, with the approvals of
        the call's decision; ``cut`` ends both legs and is called at most once."""
        ...

    def confirmed_at(self, call_id: UUID) -> float:
        """As of when the call was last confirmed to be allowed still, of ``boot_time``; never: ``-inf``."""
        ...

    def leave(self, call_id: UUID) -> None:
        """Stop watching."""
        ...


class ApprovalNews(Protocol):
    """How approvals stand that clients wait for."""

    async def settled(self, ids: Collection[UUID]) -> None:
        """Return when none of these waits for a decision any more, or one of them will not be given.

        What cannot be read now is read again; how long to wait is the caller's affair.
        """
        ...


class EndedSessions(Protocol):
    """Sessions on the aggregate endpoint that their client ended.

    A call in such a session rests on ``(session_id, 0)`` beside its decision's own versions: ending moves that
    version, so admission finds an ended session without a read, and ``has_ended`` is asked only on ``Stale``.
    """

    async def end(self, session_id: UUID, token_id: UUID) -> None:
        """Record the end. Raises ``StoreUnavailable``."""
        ...

    async def has_ended(self, session_id: UUID) -> bool:
        """Whether any worker ended it. Raises ``StoreUnavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class Notes:
    """What the client of a session on the aggregate endpoint asked for, to be kept while the session lasts."""

    log_level: str | None = None
    subscriptions: frozenset[str] = frozenset()


class SessionNotes(Protocol):
    """Keeps these for all workers; each is told, soon, when another has changed them."""

    async def read(self, session_id: UUID) -> Notes:
        """What is noted; nothing for a session that asked for nothing. Raises ``StoreUnavailable``."""
        ...

    async def change(self, session_id: UUID, token_id: UUID, change: Callable[[Notes], Notes]) -> Notes:
        """Note it otherwise, one change after the other. Raises ``StoreUnavailable`` and what ``change`` raises."""
        ...


class Neighbours(Protocol):
    """The gateway's other workers, on this machine and others."""

    def tell_cancelled(self, session_id: UUID, request_id: str | int) -> None:
        """Let whichever has this request of a session on the aggregate endpoint end it. As well as can be done."""
        ...


class SyncRequests(Protocol):
    """Asks the control plane to look at a server again."""

    def request_sync(self, server_id: UUID) -> None:
        """A live definition differed from the approved one; at most one sync per server waits."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them, as the composition root wires them."""

    snapshots: Snapshots
    admissions: Admissions
    in_flight: InFlight
    ended_sessions: EndedSessions
    sync_requests: SyncRequests
    approval_news: ApprovalNews
    session_notes: SessionNotes
    neighbours: Neighbours
