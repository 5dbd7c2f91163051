"""The history of a run: a line of JSON for each event. Times are of CLOCK_MONOTONIC, in seconds."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO, TypeVar


@dataclass(slots=True)
class Call:
    """One call by one of the callers. Without a status the connection was refused or broke off."""

    id: str
    port: int
    token: str
    server: str
    tool: str
    started: float
    ended: float | None = None
    status: int | None = None
    ran: bool = False
    """Whether its result came back, or its stream had begun."""
    retry_after: bool = False
    opened: float | None = None
    """When the head of a stream was there."""
    left: bool = False
    """Whether it ended because the caller left."""
    after: str | None = None
    """The taking whose answer it was begun at once after."""
    said: str = ""
    """What the refusal says, of one that was answered in one piece."""


@dataclass(slots=True)
class Given:
    """From when on a token may reach tools of a server: the request that gave it began then."""

    token: str
    server: str
    tools: list[str]
    at: float
    counted: bool = False
    """Whether a quota counts its calls, for which each of them holds a lock for a moment."""


@dataclass(slots=True)
class Taken:
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
    """Requests before that had no 2xx answer."""

    def concerns(self, call: Call) -> bool:
        """Whether the call was of what was taken."""
        return (
            (self.tokens is None or call.token in self.tokens)
            and (self.server is None or call.server == self.server)
            and (self.tools is None or call.tool in self.tools)
        )


@dataclass(slots=True)
class Back:
    """What was taken is given again: it was asked for ``at`` first, and all of it was there by ``done``."""

    id: str
    at: float
    done: float


@dataclass(slots=True)
class Disturbance:
    """A fault, from when it was complete until it was over.

    ``calls`` is what I6 requires of calls during the fault: ``refused`` (503 with Retry-After), ``mixed`` (the same or
    the result), ``slow`` (the same, and the result may be late), or nothing (``free``).
    """

    kind: str
    began: float
    ended: float
    ports: list[int]
    """The gateways that it concerns."""
    calls: str = "free"
    blind: bool = False
    """Whether the gateways could not see the database during the fault."""
    frozen: bool = False
    """Whether the gateways were frozen during the fault."""
    servers: list[str] | None = None
    """The servers that it concerns, if not all: calls of others are held to what they are without it."""

    def concerns(self, call: Call) -> bool:
        """Whether the call was of a server that it concerns."""
        return self.servers is None or call.server in self.servers


@dataclass(slots=True)
class Life:
    """One life of a gateway process, from being ready to its end."""

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
class Spent:
    """Something that can be used once, and what came of trying it again after everything was restarted."""

    kind: str
    what: str
    opened: bool
    said: str


@dataclass(slots=True)
class Beat:
    """How late the driver itself was, as measured every few milliseconds."""

    began: float
    ended: float
    worst_s: float
    """At one look."""
    late_s: float
    """At all of them together: for so long nothing of the driver ran that should have."""


@dataclass(slots=True)
class Sample:
    """What a gateway held of the machine at a time."""

    port: int
    at: float
    memory_mb: float
    files: int
    """Open file descriptors."""
    tasks: int | None = None
    """Of its event loop; unknown when it did not say."""


@dataclass(slots=True)
class Period:
    """A time that is held against one before it: ``soak``, or how a neighbour was difficult."""

    kind: str
    before: float
    """When that one began."""
    began: float
    ended: float
    servers: list[str] = field(default_factory=list)
    """Who was difficult: everybody else is looked at."""


@dataclass(slots=True)
class Received:
    """What the upstream received. ``wall`` is the time of day in seconds."""

    call: str
    at: float
    wall: float
    where: str
    """``ok``, or the path it should not have come by."""
    raw: bool = False
    """Whether the bytes were those of the client."""


@dataclass(slots=True)
class Closed:
    """When the connection of a call that was not answered in full was closed from the other side."""

    call: str
    at: float


THE_END = "end"
"""How those ended that lived to the end of the run."""
BY_ITSELF = "ended by itself"
"""The end of a gateway that the rig did not kill."""
Record = (
    Call
    | Given
    | Taken
    | Back
    | Disturbance
    | Life
    | Request
    | Spent
    | Beat
    | Sample
    | Period
    | Received
    | Closed
)
_KINDS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        Call,
        Given,
        Taken,
        Back,
        Disturbance,
        Life,
        Request,
        Spent,
        Beat,
        Sample,
        Period,
        Received,
        Closed,
    )
}
_One = TypeVar("_One", bound=Record)


class Writer:
    """Appends records to a file as they come."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, record: Record) -> None:
        """Append one."""
        self._file.write(line_of(record))

    def close(self) -> None:
        """Everything is in the file afterwards."""
        self._file.close()


def line_of(record: Record) -> str:
    """A record as a line: its kind, and those of its fields that say something."""
    said = asdict(record)
    defaults = {
        one.name: one.default if one.default_factory is MISSING else one.default_factory()
        for one in fields(record)
    }
    kept = {name: value for name, value in said.items() if value != defaults[name]}
    return json.dumps({"": type(record).__name__, **kept}, separators=(",", ":")) + "\n"


def read(path: Path) -> Iterator[Record]:
    """The records of a file. A last line that was cut off, of a process that was killed, is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                said: dict[str, Any] = json.loads(line)
                yield _KINDS[said.pop("")](**said)


@dataclass(slots=True)
class Audited:
    """A decision on a call as the audit has it. ``time`` is the time of day at which it was written, in seconds."""

    call: str
    """The trace id, which the caller chose."""
    id: str
    decision: str
    time: float
    finished: bool
    """Whether an outcome was written for it."""


@dataclass(slots=True)
class History:
    """All that is known of a run."""

    records: list[Record] = field(default_factory=list)
    audit: list[Audited] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    """What the API says became of each unfinished call once its worker has been gone for a minute, by trace id."""
    leaks: list[str] = field(default_factory=list)
    """Where secrets were found."""
    verified: str | None = None
    """What is wrong with the sealed log; ``None`` when nothing is."""

    def of(self, kind: type[_One]) -> list[_One]:
        """The records of one kind, in their order."""
        return [record for record in self.records if isinstance(record, kind)]
