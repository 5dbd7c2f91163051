"""What is looked at: objects, what somebody reaches, lists with their searches, and late pages of these."""

from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

from app.lib.ids import GRANT, GROUP, SERVER, format_id
from bench.messages import TOOL
from bench.processes import CannotMeasure
from bench.scale.turns import Operation, Step
from bench.scale.worlds import World
from bench.seed import SLUG

LIMIT = "20"
SOMEBODY = 7
Value = str | Callable[[World], str]


def found(path: Callable[[World], str]) -> Callable[[World], Step]:
    """One object."""

    def begin(world: World) -> Step:
        asked = path(world)
        return lambda _: world.ask("GET", asked)

    return begin


def listed(path: str, **search: Value) -> Callable[[World], Step]:
    """The first page of a list, which is not to be empty."""

    def begin(world: World) -> Step:
        asked = {name: value if isinstance(value, str) else value(world) for name, value in search.items()}

        def read(_number: int) -> None:
            if not world.search(path, limit=LIMIT, **asked)["items"]:
                raise CannotMeasure(f"{path} with {asked} has nothing on its first page")

        return read

    return begin


def turned(path: str, page: int, search: Mapping[str, str]) -> Callable[[World], Step]:
    """A late page of a list, all that are before it having been turned; of one that is too short the first."""

    def begin(world: World) -> Step:
        cursor: dict[str, str] = {}
        for _ in range(page - 1):
            following = world.search(path, limit=LIMIT, **search, **cursor)["next_cursor"]
            if following is None:
                cursor = {}
                break
            cursor = {"cursor": following}
        return lambda _: world.search(path, limit=LIMIT, **search, **cursor)

    return begin


def called_server(world: World) -> str:
    """The id of the server that everybody uses."""
    return format_id(SERVER, world.loaded.server)


def _tool(world: World) -> str:
    tools = world.search("/tools", server_id=called_server(world))["items"]
    return next(str(tool["id"]) for tool in tools if tool["name"] == TOOL)


def _grant(world: World) -> str:
    return format_id(GRANT, UUID(world.loaded.people.grants[0].id))


def _group(world: World) -> str:
    return format_id(GROUP, world.loaded.groups[0])


def _somebody(world: World) -> str:
    return world.identity(SOMEBODY)


def _explained(world: World) -> Step:
    body = {"identity_id": world.identity(SOMEBODY), "server": SLUG, "tool": TOOL}
    return lambda _: world.ask("POST", "/access/explain", body)


OBJECTS = (
    Operation("a token", found(lambda world: f"/tokens/{world.token(SOMEBODY)}")),
    Operation("an identity", found(lambda world: f"/identities/{_somebody(world)}")),
    Operation("a server", found(lambda world: f"/servers/{called_server(world)}")),
    Operation("a tool", found(lambda world: f"/tools/{_tool(world)}")),
    Operation("a group", found(lambda world: f"/groups/{_group(world)}")),
    Operation("members of a group", found(lambda world: f"/groups/{_group(world)}/members")),
    Operation("a grant", found(lambda world: f"/grants/{_grant(world)}")),
    Operation("what somebody reaches", found(lambda world: f"/identities/{_somebody(world)}/access")),
    Operation("who reaches a tool", found(lambda world: f"/tools/{_tool(world)}/access")),
    Operation("a decision explained", _explained),
)

LISTS = (
    Operation("tokens", listed("/tokens")),
    Operation("tokens by name", listed("/tokens", sort="name")),
    Operation("tokens by their end", listed("/tokens", sort="expires_at")),
    Operation("tokens of somebody", listed("/tokens", identity_id=_somebody)),
    Operation("tokens that are live", listed("/tokens", status="active")),
    Operation("tokens that have expired", listed("/tokens", status="expired")),
    Operation("tokens for a server", listed("/tokens", server_id=called_server)),
    Operation("tokens with a text", listed("/tokens", q="token")),
    Operation("tokens with a rare text", listed("/tokens", q="token 77")),
    Operation("identities", listed("/identities")),
    Operation("identities by name", listed("/identities", sort="user_name")),
    Operation("agents", listed("/identities", kind="agent")),
    Operation("identities with a rare text", listed("/identities", q="person77")),
    Operation("groups", listed("/groups")),
    Operation("groups with a text", listed("/groups", q="team 1")),
    Operation("servers", listed("/servers")),
    Operation("servers by name", listed("/servers", sort="name")),
    Operation("servers with a rare text", listed("/servers", q="mail-2")),
    Operation("tools", listed("/tools")),
    Operation("tools by name", listed("/tools", sort="name")),
    Operation("tools of a server", listed("/tools", server_id=called_server)),
    Operation("tools with a rare text", listed("/tools", q="report_2_")),
    Operation("grants", listed("/grants")),
    Operation("grants by their end", listed("/grants", sort="expires_at")),
    Operation("grants to somebody", listed("/grants", identity_id=lambda world: world.identity(5))),
    Operation("grants that reach a server", listed("/grants", server_id=called_server)),
)

_LONG: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("tokens", "/tokens", {}),
    ("tokens by name", "/tokens", {"sort": "name"}),
    ("tokens with a text", "/tokens", {"q": "token"}),
    ("identities", "/identities", {}),
    ("servers", "/servers", {}),
    ("tools", "/tools", {}),
    ("tools by name", "/tools", {"sort": "name"}),
    ("grants", "/grants", {}),
    ("audit events", "/audit-events", {}),
)


def late_pages(page: int) -> Iterator[Operation]:
    """A late page of each long list of the large organisation, beside the first of the small one."""
    for name, path, search in _LONG:
        yield Operation(f"{name}, page {page:,}", turned(path, page, search))
