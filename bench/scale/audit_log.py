"""The audit log of calls: an admission row and an outcome row per call, dozens of calls per transaction."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.messages import TOOLS
from bench.scale.people import People
from bench.scale.rows import NULL, TableRows, document, hyphened, lines, moment, octets, uuid7, uuid7s

CALLS_IN_A_COMMIT = 32
REFUSED_OF = 50
"""One in this many calls is refused, and one ends in an error."""
_BUSY_OF = 200
"""Two in this many calls are of the same token, like that of a busy agent; one of them is refused."""
_CHANGE_OF = 100
"""One token is issued per this many calls."""
_NAMED_OF, _TRACED_OF = 10, 4
"""One in this many calls has a request id of the caller, and one has a trace id."""
TRACE_ID = "trace-of-one-event"
_CLIENTS, _CALLS, _RESULTS, _CHANGES = 9, 10, 11, 12
_MASK = (1 << 256) - 1
_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95
_COLUMNS = (
    "id", "time", "epoch", "xact", "seq", "action", "decision", "reason_code", "outcome", "actor_type", "actor_id",
    "token_id", "server_id", "tool", "object_type", "object_id", "grant_id", "policy_version", "client_id",
    "worker_id", "call_id", "method", "arguments_digest", "digest_key_id", "changes", "duration_ms", "request_id",
    "trace_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Events between two times in Unix seconds, in transactions with ids from ``xact`` on."""

    people: People
    account: str
    """The id of the service account that issued the tokens."""
    begins: float
    ends: float
    epoch: int
    xact: int
    seq: int

    @property
    def calls(self) -> int:
        """The number of calls for about the requested number of events."""
        return max(1, int(self.people.size.events / (2 - 1 / REFUSED_OF + 1 / _CHANGE_OF)))

    @property
    def commits(self) -> int:
        """The number of transactions."""
        return self.calls // CALLS_IN_A_COMMIT + 1

    @property
    def events(self) -> int:
        """The maximum number of events."""
        return 2 * self.calls + self.calls // _CHANGE_OF + 1

    def tables(self) -> Iterator[TableRows]:
        """Return the rows to insert."""
        clients = self._clients()
        yield TableRows(
            "audit_clients", ("id", "ip", "user_agent", "name", "version"),
            lines(
                (id, f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", f"client-{n % 7}/1.0", f"client-{n % 7}", "1.0")
                for n, id in enumerate(clients)
            ),
        )  # fmt: skip
        yield TableRows("audit_events", _COLUMNS, self._events(clients))

    def _clients(self) -> list[str]:
        """Return one client program per person."""
        return [id for id, _ in uuid7s(self.people.size.identities, self.begins, self.ends, _CLIENTS)]

    def _events(self, clients: list[str]) -> Iterator[str]:
        people, size = self.people, self.people.size
        seq = self.seq
        step = (self.ends - self.begins) / self.calls
        worker, key = uuid7(int(self.begins * 1000), 1), people.peppers.current_id
        tools = [tool["name"] for tool in TOOLS]
        grants = [people.grants[team * 3].id for team in range(size.teams)]
        reached = [
            [people.fleet.servers[server][0] for server in people.servers_of(n)]
            for n in range(size.identities)
        ]
        for call in range(self.calls):
            at = self.begins + step * call
            ms, time = int(at * 1000), moment(at)
            place = f"{time}\t{self.epoch}\t{self.xact + call // CALLS_IN_A_COMMIT}"
            token = 1 if call % _BUSY_OF < 2 else call * 7919 % size.tokens
            holder = people.holder(token)
            token_id, actor = people.tokens[token][0], people.identities[holder][0]
            id = uuid7(ms, call * 64 + _CALLS)
            refused = call % REFUSED_OF == 1
            said = "deny\tnot_granted" if refused else "allow\tgranted"
            # Every other call goes to the main server.
            server = reached[holder][call // 2 % 3 if call % 2 else 0]
            digest = octets(f"{call * _SPREAD & _MASK:064x}")
            request = f"client-{call}" if call % _NAMED_OF == 0 else NULL
            trace = (
                TRACE_ID
                if call == 0
                else f"{call * _SPREAD >> 1 & _MASK:032x}"[:32]
                if call % _TRACED_OF == 0
                else NULL
            )
            seq += 1
            yield (
                f"{id}\t{place}\t{seq}\ttool.call\t{said}\t{NULL}\tidentity\t{actor}\t{token_id}\t{server}\t"
                f"{tools[call % len(tools)]}\t{NULL}\t{NULL}\t{NULL if refused else grants[people.team(holder)]}\t1\t"
                f"{clients[holder]}\t{worker}\t{NULL}\ttools/call\t{digest}\t{key}\t{NULL}\t{NULL}\t{request}\t{trace}"
            )
            if not refused:
                seq += 1
                outcome = "error" if call % REFUSED_OF == 2 else "success"
                yield (
                    f"{uuid7(ms, call * 64 + _RESULTS)}\t{place}\t{seq}\ttool.result\t{NULL}\t{NULL}\t{outcome}\t"
                    f"gateway{_NULLS_OF_RESULT}{worker}\t{id}{_NULLS_BEFORE_DURATION}{call % 500}\t{NULL}\t{NULL}"
                )
            if call % _CHANGE_OF == _CHANGE_OF - 1:
                seq += 1
                changes = document({"identity_id": hyphened(actor), "scope": people.scope(token)})
                yield (
                    f"{uuid7(ms, call * 64 + _CHANGES)}\t{place}\t{seq}\ttoken.issue\t{NULL}\t{NULL}\tsuccess\t"
                    f"service_account\t{self.account}\t{token_id}\t{NULL}\t{NULL}\ttoken\t{token_id}"
                    f"{_NULLS_BEFORE_CHANGES}{changes}\t{NULL}\t{NULL}\t{NULL}"
                )


_NULLS_OF_RESULT = f"\t{NULL}" * 9 + "\t"
_NULLS_BEFORE_DURATION = f"\t{NULL}" * 4 + "\t"
_NULLS_BEFORE_CHANGES = f"\t{NULL}" * 8 + "\t"
