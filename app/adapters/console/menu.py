"""The menu: the pages that a caller may open, in order."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.http.authorization import Caller, Permission

HOME = "/console"
MY_ACCESS = "/console/my-access"


@dataclass(frozen=True, slots=True)
class Entry:
    """A menu entry. ``key`` opens it after ``g``."""

    name: str
    path: str
    icon: str
    key: str
    permission: Permission


_GROUPS: dict[str, tuple[Entry, ...]] = {
    "": (
        Entry("Home", HOME, "home", "h", Permission.TOKENS_READ),
        Entry("My access", MY_ACCESS, "user-circle", "m", Permission.SELF_READ),
    ),
    "Access": (
        Entry("Tokens", "/console/tokens", "key", "t", Permission.TOKENS_READ),
        Entry("Grants", "/console/grants", "shield-check", "r", Permission.GRANTS_READ),
        Entry("Identities", "/console/identities", "users", "i", Permission.IDENTITIES_READ),
        Entry("Groups", "/console/groups", "users-group", "u", Permission.GROUPS_READ),
        Entry("Access matrix", "/console/access", "grid-dots", "x", Permission.ACCESS_EXPLAIN),
    ),
    "Fleet": (
        Entry("Servers", "/console/servers", "server", "s", Permission.SERVERS_READ),
        Entry("Tools", "/console/tools", "tool", "o", Permission.TOOLS_READ),
    ),
    "Control": (
        Entry("Policies", "/console/policies", "scale", "p", Permission.POLICIES_READ),
        Entry("Approvals", "/console/approvals", "checkup-list", "a", Permission.SELF_READ),
        Entry("Explain", "/console/explain", "zoom-question", "e", Permission.ACCESS_EXPLAIN),
        Entry("Audit log", "/console/audit", "list-details", "l", Permission.AUDIT_READ),
    ),
}


def list_menu(caller: Caller) -> Iterator[tuple[str, list[Entry]]]:
    """The menu groups with the entries that the caller may open."""
    for name, entries in _GROUPS.items():
        open_to = [entry for entry in entries if caller.may(entry.permission)]
        if open_to:
            yield name, open_to


def first_page(caller: Caller) -> str:
    """The start page: the home page, or "My access" for callers without a role."""
    return HOME if caller.may(Permission.TOKENS_READ) else MY_ACCESS


def entry_at(path: str) -> str:
    """The path of the menu entry that a path belongs to, or an empty string."""
    paths = [entry.path for entries in _GROUPS.values() for entry in entries]
    within = [one for one in paths if path == one or (one != HOME and path.startswith(f"{one}/"))]
    return max(within, key=len, default="")
