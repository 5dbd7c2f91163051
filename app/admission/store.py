"""The store of the gateway, which has no database access of its own: a protocol and its types.

The gateway resolves tokens against a snapshot, submits decided calls for admission, and is called back when a call in
flight must end. ``PostgresStore`` implements the protocol.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from app.domain.access import Decision, PolicyContext
from app.domain.errors import StoreUnavailable, TooManyLookups
from app.domain.objects import Server, Token
from app.domain.policy import ApprovalDemand
from app.domain.token_format import Credential
from app.domain.visibility import Directory, within
from app.lib.strict_json import JsonValue
from app.outbound.client_tokens import UpstreamTarget

__all__ = ["StoreUnavailable", "TooManyLookups", "UpstreamTarget"]


class CredentialUnavailable(Exception):
    """The server's access token cannot be fetched now. The text says why. ``passing`` means that a retry may help."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class Client(NamedTuple):
    """The calling program and its address. Strings are truncated to 256 bytes before they are stored."""

    ip: str | None = None
    user_agent: str | None = None
    name: str | None = None
    version: str | None = None


@dataclass(slots=True)
class View:
    """A consistent view of everything that decisions for a token need. Every part carries its version. Immutable."""

    token: Token
    context: PolicyContext
    servers: Mapping[str, Server]
    """All servers by slug."""
    credential: Credential
    """The presented credential, checked again in a fresh view because its secret can have been rotated."""
    directory: Directory
    """The same servers, indexed to find those that the token may reach."""

    def within(self) -> Collection[Server]:
        """A superset of the servers that the token reaches; see ``domain.visibility``."""
        return within(self.token, self.directory)


@dataclass(slots=True)
class DecidedCall:
    """One decided request that becomes an audit row, which truncates long strings.

    Never changed after creation; it is not frozen because creating a frozen instance takes three times as long.
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
    arguments: JsonValue = None
    """The arguments object of a call, for its digest; ``None`` when the method has no arguments."""
    request_id: str | None = None
    """``None`` if it is ``req_`` with the id of this row."""
    trace_id: str | None = None
    reason: str | None = None
    """The caller's reason, shown to approvers."""
    continues: UUID | None = None
    """The call that this one is the verified next round of. Its approvals pass to this call."""
    bound: object = None
    """What an approval covers of the request in addition to its arguments: JSON."""


@dataclass(slots=True)
class Admitted:
    """The row is durable. ``at`` is when its statement was sent, on the ``boot_time`` clock.

    It is not when the answer was read, because a process that was stopped in between reads an outdated answer.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Stale:
    """A dependency of the decision has changed, or its validity has ended: read again and reevaluate."""


class ApprovalState(StrEnum):
    """The state of an approval that a withheld call needs."""

    ASKED = "asked"
    """This call requested it."""
    ASKED_AGAIN = "asked_again"
    """This call requested it because an earlier one expired undecided or unused."""
    PENDING = "pending"
    """An earlier call with the same content requested it, and it is not decided yet."""
    APPROVED = "approved"
    """It is approved, but another approval is missing."""
    DENIED = "denied"
    """It was denied. Until it expires, the denial applies to every such call."""


@dataclass(frozen=True, slots=True)
class NeededApproval:
    """One approval that a call needs. ``expires_at`` is in Unix seconds."""

    id: UUID
    group: str
    """The name of the group whose members may decide."""
    state: ApprovalState
    expires_at: float
    reasons: tuple[str, ...] = ()
    """The policies' reasons, shown to callers and approvers."""
    decision_reason: str | None = None
    """The reason that the approver gave for a denial."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """The row is durable, and the call does not run.

    ``decision`` is ``require_approval`` with the needed ``approvals``, or a deny: a quota is used up, an approval was
    denied, or too many approvals are pending.
    """

    decision: Decision
    approvals: tuple[NeededApproval, ...] = ()


class Reevaluated(Protocol):
    """The request of a running call, for its reevaluation."""

    def reevaluate(self, view: View, at: float, approvals: frozenset[ApprovalDemand]) -> Decision:
        """Decide on a fresh view. Only the ``approvals`` that the call consumed count."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """The settings of a client session on the aggregate endpoint, kept while the session lasts."""

    log_level: str | None = None
    subscriptions: frozenset[str] = frozenset()


class WorkerMessages(Protocol):
    """The gateway of a worker, which receives messages of all workers. Messages may be lost."""

    def cancel_call(self, session_id: UUID, request_id: str | int) -> None:
        """Cancel a call of this worker."""

    def forget_session_settings(self, session_id: UUID | None) -> None:
        """Drop the cached settings of a session, or of all sessions."""

    @property
    def has_approval_listeners(self) -> bool:
        """Whether a client listens for decided approvals."""

    def announce_approval(self, approval_id: UUID, token_id: UUID) -> None:
        """Notify clients that an approval for a call with this token was decided."""


class Store(Protocol):
    """Everything that the gateway reads and writes. All methods that wait raise ``StoreUnavailable``."""

    def known_view(self, credential: Credential) -> View | None:
        """The view of a token if the snapshot has all of it and the secret is right."""

    async def resolve(self, credential: Credential) -> View | None:
        """The view of a token, or ``None`` if the secret is wrong. A warm snapshot reads no database.

        The token can be expired, revoked or suspended, which ``domain.access.decide`` checks. Raises
        ``TooManyLookups``.
        """

    async def refresh(self, view: View, about: Collection[UUID] = ()) -> View | None:
        """Read the view of the same credential again, by reads that start after this call.

        Refreshes the token with its dependencies, the servers that it may reach, and the servers in ``about``. Other
        servers stay as known; a decision about one that has changed is not admitted. ``None`` when the secret is no
        longer valid.
        """

    def known_target(self, server: Server, token: Token) -> UpstreamTarget | None:
        """Where to forward calls to this version of the server, if no read and no fetch is needed."""

    async def target(self, server: Server, token: Token) -> UpstreamTarget:
        """Where to forward calls to this version of the server.

        Raises ``UnsealingFault`` and ``CredentialUnavailable``.
        """

    def credential_refused(self, target: UpstreamTarget) -> None:
        """Discard the access token that was fetched for a server which answered 401."""

    def now(self) -> float:
        """The database time as known to this worker, in Unix seconds."""

    async def admit(self, call: DecidedCall) -> Admitted | Stale | Withheld:
        """Write the call's row if its decision's dependencies are unchanged.

        The approvals and quota that the decision requires are consumed in the same transaction, all or nothing. If one
        is missing, approvals are requested in it, and the call is ``Withheld``.
        """

    def finish(self, call_id: UUID, outcome: str, duration_ms: int) -> None:
        """Queue the outcome row of an admitted call: success, error, cancelled or not_forwarded.

        A call that was not forwarded releases its approvals and quota.
        """

    def count_refused(self, view: View, reason_code: str, client: Client, request_id: str) -> None:
        """Count a request with a known token that is not valid: one row per token, reason and minute, with the first
        request id."""

    def count_unknown(self, client: Client, request_id: str) -> None:
        """Count a request without a known token: one row per source and minute, with the first request id."""

    def watch(self, call: DecidedCall, view: View, request: Reevaluated, cut: Callable[[], None]) -> None:
        """Watch a call, starting before its row is sent. ``request`` is reevaluated on fresh views with the approvals
        of the call's decision. ``cut`` ends both connections and is called at most once."""

    def confirmed_at(self, call_id: UUID) -> float:
        """When the call was last confirmed to be allowed (``boot_time``); ``-inf`` if never."""

    def unwatch(self, call_id: UUID) -> None:
        """Stop watching a call. Ignores unknown ids."""

    async def wait_for_approvals(self, ids: Collection[UUID]) -> None:
        """Return when none of these approvals is pending any more, or one of them will not be granted.

        Retries reads that fail. The caller sets the timeout.
        """

    async def end_session(self, session_id: UUID, token_id: UUID) -> None:
        """Record that a client ended its session on the aggregate endpoint.

        A call in such a session depends on ``(session_id, 0)`` in addition to its decision's dependencies. The end
        changes that version, so admission detects it without a read.
        """

    async def has_session_ended(self, session_id: UUID) -> bool:
        """Whether any worker ended the session."""

    async def read_session_settings(self, session_id: UUID) -> SessionSettings:
        """The settings of a session, empty by default."""

    async def change_session_settings(
        self, session_id: UUID, token_id: UUID, change: Callable[[SessionSettings], SessionSettings]
    ) -> SessionSettings:
        """Change the settings, one change at a time, and notify all workers. Raises what ``change`` raises."""

    def broadcast_cancel(self, session_id: UUID, request_id: str | int) -> None:
        """Ask the worker that serves this request of an aggregate session to end it. Best effort."""

    def request_sync(self, server_id: UUID) -> None:
        """Queue a sync because a live definition differed from the approved one; at most one per server waits."""
