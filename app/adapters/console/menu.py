"""The menu: the pages that a caller may open, in order."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.http.authorization import Caller, Permission

HOME = "/console"
MY_ACCESS = "/console/my-access"


@dataclass(frozen=True, slots=True)
class Entry:
    """A menu entry. ``key`` opens it after ``g``."""

    path: str
    name: str
    icon: str
    key: str
    permission: Permission


_GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "",
        (
            Entry(HOME, "Home", icon="home", key="h", permission=Permission.TOKENS_READ),
            Entry(MY_ACCESS, "My access", icon="user-circle", key="m", permission=Permission.SELF_READ),
        ),
    ),
    (
        "Access",
        (
            Entry("/console/tokens", "Tokens", icon="key", key="t", permission=Permission.TOKENS_READ),
            Entry(
                "/console/grants", "Grants", icon="shield-check", key="r", permission=Permission.GRANTS_READ
            ),
            Entry(
                "/console/identities",
                "Identities",
                icon="users",
                key="i",
                permission=Permission.IDENTITIES_READ,
            ),
            Entry(
                "/console/groups", "Groups", icon="users-group", key="u", permission=Permission.GROUPS_READ
            ),
            Entry(
                "/console/access",
                "Access matrix",
                icon="grid-dots",
                key="x",
                permission=Permission.ACCESS_EXPLAIN,
            ),
        ),
    ),
    (
        "Fleet",
        (
            Entry("/console/servers", "Servers", icon="server", key="s", permission=Permission.SERVERS_READ),
            Entry("/console/tools", "Tools", icon="tool", key="o", permission=Permission.TOOLS_READ),
        ),
    ),
    (
        "Control",
        (
            Entry(
                "/console/policies", "Policies", icon="scale", key="p", permission=Permission.POLICIES_READ
            ),
            Entry(
                "/console/approvals",
                "Approvals",
                icon="checkup-list",
                key="a",
                permission=Permission.SELF_READ,
            ),
            Entry(
                "/console/explain",
                "Explain",
                icon="zoom-question",
                key="e",
                permission=Permission.ACCESS_EXPLAIN,
            ),
            Entry(
                "/console/audit", "Audit log", icon="list-details", key="l", permission=Permission.AUDIT_READ
            ),
        ),
    ),
)


def list_menu(caller: Caller) -> Iterator[tuple[str, list[Entry]]]:
    """The menu groups with the entries that the caller may open."""
    for name, entries in _GROUPS:
        open_to = [entry for entry in entries if caller.may(entry.permission)]
        if open_to:
            yield name, open_to


def first_page(caller: Caller) -> str:
    """The start page: the home page, or "My access" for callers without a role."""
    return HOME if caller.may(Permission.TOKENS_READ) else MY_ACCESS


def entry_at(path: str) -> str:
    """The path of the menu entry that a path belongs to, or an empty string."""
    paths = [entry.path for _, entries in _GROUPS for entry in entries]
    within = [one for one in paths if path == one or (one != HOME and path.startswith(f"{one}/"))]
    return max(within, key=len, default="")
