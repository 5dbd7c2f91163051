"""Sizes of organizations."""

from dataclasses import dataclass

MEMBERS = 50
"""Members of a group. Everyone is in two groups: a team, and a group across teams."""


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of objects. The shape of an organization is the same at every size."""

    tokens: int
    identities: int
    servers: int
    tools: int
    events: int
    called: int
    """Tokens whose secrets the load gets."""

    @property
    def teams(self) -> int:
        """The number of teams, and of groups across teams."""
        return max(1, self.identities // MEMBERS)

    @property
    def late_page(self) -> int:
        """The number of a late page in all long lists: 1,000 for a million tokens."""
        return max(2, self.tokens // 1_000)

    def of(self, share: int) -> "Size":
        """Return the size divided by this number."""
        parts = (self.tokens, self.identities, self.servers, self.tools, self.events, self.called)
        return Size(*(part // share for part in parts))


SMALL = Size(tokens=1_000, identities=100, servers=43, tools=220, events=10_000, called=900)
FULL = Size(
    tokens=1_000_000,
    identities=100_000,
    servers=43_000,
    tools=220_000,
    events=10_000_000,
    called=110_000,
)
SIZES = {"full": FULL, "tenth": FULL.of(10), "hundredth": FULL.of(100)}
