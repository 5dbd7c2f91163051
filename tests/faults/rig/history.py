"""The history of a run: a line of JSON for each event. Times are of CLOCK_MONOTONIC, in seconds."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO, TypeVar


@dataclass(slots=True)
class Call:
    """One call by a caller. Without a status, the connection was refused or lost."""

    id: str
    port: int
    token: str
    server: str
    tool: str
    started: float
    ended: float | None = None
    status: int | None = None
    ran: bool = False
    """Whether its result arrived, or its stream started."""
    retry_after: bool = False
    opened: float | None = None
    """When the head of a stream arrived."""
    left: bool = False
    """Whether the caller disconnected."""
    after: str | None = None
    """The withdrawal right after whose answer the call started."""
    said: str = ""
    """The error message of a refusal."""


@dataclass(slots=True)
class Granted:
    """The start of a token's access to tools of a server, which is the start of the request that granted it."""

    token: str
    server: str
    tools: list[str]
    at: float
    counted: bool = False
    """Whether a quota counts its calls, each of which briefly holds a lock."""


@dataclass(slots=True)
class Withdrawn:
    """A right that was taken: every call of these tokens (all of them without), of this server and these tools if they
    are named. ``asked`` is when it was first asked for, ``answered`` when the 2xx came."""

    id: str
    path: str
    port: int
    asked: float
    answered: float
    tokens: list[str] | None = None
    server: str | None = None
    tools: list[str] | None = None
    repeats: int = 0
    """Earlier attempts without a 2xx answer."""

    def concerns(self, call: Call) -> bool:
        """Whether the call used the withdrawn access."""
        return (
            (self.tokens is None or call.token in self.tokens)
            and (self.server is None or call.server == self.server)
            and (self.tools is None or call.tool in self.tools)
        )


@dataclass(slots=True)
class Restored:
    """Restored access: first requested ``at``, complete by ``done``."""

    id: str
    at: float
    done: float


@dataclass(slots=True)
class Disturbance:
    """A fault, from when it took full effect until its end.

    ``calls`` is what I6 requires of calls during the fault: ``refused`` (503 with Retry-After), ``mixed`` (the same or
    the result), ``slow`` (the same, and the result may be late), or nothing (``free``).
    """

    kind: str
    began: float
    ended: float
    ports: list[int]
    """The affected gateways."""
    calls: str = "free"
    blind: bool = False
    """Whether the gateways could not see the database during the fault."""
    frozen: bool = False
    """Whether the gateways were frozen during the fault."""
    servers: list[str] | None = None
    """The affected servers, if not all. Calls to others are checked as without the fault."""

    def concerns(self, call: Call) -> bool:
        """Whether the call was to an affected server."""
        return self.servers is None or call.server in self.servers


@dataclass(slots=True)
class GatewayLife:
    """The time of a gateway process from being ready to its end."""

    port: int
    up: float
    down: float
    how: str


@dataclass(slots=True)
class Request:
    """A request to the API, SCIM or the receiver of signals."""

    method: str
    path: str
    port: int
    started: float
    ended: float
    status: int | None
    retry_after: bool = False


@dataclass(slots=True)
class Used:
    """Something that can be used once, and the result of using it again after a restart of everything."""

    kind: str
    what: str
    opened: bool
    said: str


@dataclass(slots=True)
class DriverDelay:
    """How late the driver itself was, as measured every few milliseconds."""

    began: float
    ended: float
    worst_s: float
    """The longest delay."""
    late_s: float
    """The sum of all delays."""


@dataclass(slots=True)
class Sample:
    """The resources of a gateway at a time."""

    port: int
    at: float
    memory_mb: float
    files: int
    """Open file descriptors."""
    tasks: int | None = None
    """Tasks of its event loop; unknown if it did not report them."""


@dataclass(slots=True)
class Period:
    """A time that is compared with an earlier one: ``soak``, or the fault of another server."""

    kind: str
    before: float
    """The start of the earlier time."""
    began: float
    ended: float
    servers: list[str] = field(default_factory=list)
    """The difficult servers. All others are checked."""


@dataclass(slots=True)
class Received:
    """A call that the upstream received. ``wall`` is the time of day in seconds."""

    call: str
    at: float
    wall: float
    where: str
    """``ok``, or the wrong path of the request."""
    raw: bool = False
    """Whether the bytes were those of the client."""


@dataclass(slots=True)
class Closed:
    """The time at which the other side closed the connection of an unfinished call."""

    call: str
    at: float


THE_END = "end"
"""The end of a gateway that ran until the end of the run."""
BY_ITSELF = "ended by itself"
"""The end of a gateway that the rig did not kill."""
Record = (
    Call
    | Granted
    | Withdrawn
    | Restored
    | Disturbance
    | GatewayLife
    | Request
    | Used
    | DriverDelay
    | Sample
    | Period
    | Received
    | Closed
)
_KINDS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        Call,
        Granted,
        Withdrawn,
        Restored,
        Disturbance,
        GatewayLife,
        Request,
        Used,
        DriverDelay,
        Sample,
        Period,
        Received,
        Closed,
    )
}
_One = TypeVar("_One", bound=Record)


class Writer:
    """Appends records to a file."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, record: Record) -> None:
        """Append a record."""
        self._file.write(line_of(record))

    def close(self) -> None:
        """Write all records to the file."""
        self._file.close()


def line_of(record: Record) -> str:
    """Encode a record as a line: its kind, and the fields that differ from their defaults."""
    said = asdict(record)
    defaults = {
        one.name: one.default if one.default_factory is MISSING else one.default_factory()
        for one in fields(record)
    }
    changed = {name: value for name, value in said.items() if value != defaults[name]}
    return json.dumps({"": type(record).__name__, **changed}, separators=(",", ":")) + "\n"


def read(path: Path) -> Iterator[Record]:
    """Read the records of a file, without a truncated last line of a killed process."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                said: dict[str, Any] = json.loads(line)
                yield _KINDS[said.pop("")](**said)


@dataclass(slots=True)
class Audited:
    """A recorded decision on a call. ``time`` is the time of day of the record, in seconds."""

    call: str
    """The trace id, which the caller chose."""
    id: str
    decision: str
    time: float
    finished: bool
    """Whether its outcome was recorded."""


@dataclass(slots=True)
class History:
    """All data of a run."""

    records: list[Record] = field(default_factory=list)
    audit: list[Audited] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    """The API's outcome of each unfinished call, a minute after its worker ended, by trace id."""
    leaks: list[str] = field(default_factory=list)
    """Where secrets were found."""
    verified: str | None = None
    """The error of the log verification; ``None`` without one."""

    def of(self, kind: type[_One]) -> list[_One]:
        """Return the records of one kind, in order."""
        return [record for record in self.records if isinstance(record, kind)]
