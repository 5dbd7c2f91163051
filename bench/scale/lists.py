"""Read operations: objects, access of a person, lists with searches, and late pages."""

from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

from app.lib.ids import GRANT, GROUP, SERVER, format_id
from bench.messages import TOOL
from bench.processes import CannotMeasure
from bench.scale.comparison import Operation, Step
from bench.scale.worlds import World
from bench.seed import SLUG

LIMIT = "20"
SAMPLE = 7
Value = str | Callable[[World], str]


def get_object(path: Callable[[World], str]) -> Callable[[World], Step]:
    """Return the operation that reads one object."""

    def begin(world: World) -> Step:
        asked = path(world)
        return lambda _: world.ask("GET", asked)

    return begin


def first_page(path: str, **search: Value) -> Callable[[World], Step]:
    """Return the operation that reads the first page of a list, which must not be empty."""

    def begin(world: World) -> Step:
        asked = {name: value if isinstance(value, str) else value(world) for name, value in search.items()}

        def read(_number: int) -> None:
            if not world.search(path, limit=LIMIT, **asked)["items"]:
                raise CannotMeasure(f"{path} with {asked} has nothing on its first page")

        return read

    return begin


def later_page(path: str, page: int, search: Mapping[str, str]) -> Callable[[World], Step]:
    """Return the operation that reads a late page of a list, or the first page of a short list."""

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


def main_server(world: World) -> str:
    """Return the id of the server that everyone uses."""
    return format_id(SERVER, world.loaded.server)


def _tool(world: World) -> str:
    tools = world.search("/tools", server_id=main_server(world))["items"]
    return next(str(tool["id"]) for tool in tools if tool["name"] == TOOL)


def _grant(world: World) -> str:
    return format_id(GRANT, UUID(world.loaded.people.grants[0].id))


def _group(world: World) -> str:
    return format_id(GROUP, world.loaded.groups[0])


def _sample_identity(world: World) -> str:
    return world.identity(SAMPLE)


def _explained(world: World) -> Step:
    body = {"identity_id": world.identity(SAMPLE), "server": SLUG, "tool": TOOL}
    return lambda _: world.ask("POST", "/access/explain", body)


OBJECTS = (
    Operation("a token", get_object(lambda world: f"/tokens/{world.token(SAMPLE)}")),
    Operation("an identity", get_object(lambda world: f"/identities/{_sample_identity(world)}")),
    Operation("a server", get_object(lambda world: f"/servers/{main_server(world)}")),
    Operation("a tool", get_object(lambda world: f"/tools/{_tool(world)}")),
    Operation("a group", get_object(lambda world: f"/groups/{_group(world)}")),
    Operation("members of a group", get_object(lambda world: f"/groups/{_group(world)}/members")),
    Operation("a grant", get_object(lambda world: f"/grants/{_grant(world)}")),
    Operation(
        "what a person reaches", get_object(lambda world: f"/identities/{_sample_identity(world)}/access")
    ),
    Operation("who reaches a tool", get_object(lambda world: f"/tools/{_tool(world)}/access")),
    Operation("a decision explained", _explained),
)

LISTS = (
    Operation("tokens", first_page("/tokens")),
    Operation("tokens by name", first_page("/tokens", sort="name")),
    Operation("tokens by their end", first_page("/tokens", sort="expires_at")),
    Operation("tokens of a person", first_page("/tokens", identity_id=_sample_identity)),
    Operation("tokens that are live", first_page("/tokens", status="active")),
    Operation("tokens that have expired", first_page("/tokens", status="expired")),
    Operation("tokens for a server", first_page("/tokens", server_id=main_server)),
    Operation("tokens with a text", first_page("/tokens", q="token")),
    Operation("tokens with a rare text", first_page("/tokens", q="token 77")),
    Operation("identities", first_page("/identities")),
    Operation("identities by name", first_page("/identities", sort="user_name")),
    Operation("agents", first_page("/identities", kind="agent")),
    Operation("identities with a rare text", first_page("/identities", q="person77")),
    Operation("groups", first_page("/groups")),
    Operation("groups with a text", first_page("/groups", q="team 1")),
    Operation("servers", first_page("/servers")),
    Operation("servers by name", first_page("/servers", sort="name")),
    Operation("servers with a rare text", first_page("/servers", q="mail-2")),
    Operation("tools", first_page("/tools")),
    Operation("tools by name", first_page("/tools", sort="name")),
    Operation("tools of a server", first_page("/tools", server_id=main_server)),
    Operation("tools with a rare text", first_page("/tools", q="report_2_")),
    Operation("grants", first_page("/grants")),
    Operation("grants by their end", first_page("/grants", sort="expires_at")),
    Operation("grants to a person", first_page("/grants", identity_id=lambda world: world.identity(5))),
    Operation("grants that reach a server", first_page("/grants", server_id=main_server)),
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
    """Yield operations that compare late pages of the large organization with first pages of the small one."""
    for name, path, search in _LONG:
        yield Operation(f"{name}, page {page:,}", later_page(path, page, search))
