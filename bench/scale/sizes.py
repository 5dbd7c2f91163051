"""How much of everything an organisation has."""

from dataclasses import dataclass

MEMBERS = 50
"""Of a group. Everybody is in two: a team, and a group across the teams."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many there are; the shape of an organisation is the same at every size."""

    tokens: int
    identities: int
    servers: int
    tools: int
    events: int
    called: int
    """Tokens whose secret the load is given."""

    @property
    def teams(self) -> int:
        """How many teams, and how many groups across them."""
        return max(1, self.identities // MEMBERS)

    @property
    def late_page(self) -> int:
        """The number of a page that all long lists have: a thousand for a million tokens."""
        return max(2, self.tokens // 1_000)

    def of(self, share: int) -> "Size":
        """An organisation that has one of so many."""
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
