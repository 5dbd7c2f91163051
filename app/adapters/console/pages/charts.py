"""Bar charts of hourly counts, drawn by a template; each bar links to its events."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.features.audit.schemas import AuditHourCounts, AuditStatsView

WIDTH, HEIGHT = 720, 96
_GAP = 2
# Hours in a bar; the smallest that stays within the maximum number of bars is used.
_STEPS = (1, 3, 6, 12, 24)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """A time range with its count and geometry. ``refused`` is part of ``count``."""

    since: datetime
    until: datetime
    count: int
    refused: int
    href: str
    x: float
    width: float
    height: float
    refused_height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of a chart; ``most`` is the highest count."""

    bars: list[Bar]
    most: int
    hours: int
    is_complete: bool
    """False if only the newest events are counted."""

    @property
    def count(self) -> int:
        """The total count."""
        return sum(bar.count for bar in self.bars)

    @property
    def refused(self) -> int:
        """The total count of refusals."""
        return sum(bar.refused for bar in self.bars)


def build_chart(
    stats: AuditStatsView,
    address: Callable[[datetime, datetime], str],
    *,
    max_bars: int = 60,
    refused_only: bool = False,
) -> Chart:
    """Build a chart of all counts or only of refusals; ``address`` returns the link for a time range."""
    step = next((one for one in _STEPS if len(stats.hours) <= max_bars * one), _STEPS[-1])
    parts = [stats.hours[start : start + step] for start in range(0, len(stats.hours), step)]
    counted = [(part, *_counts(part, refused_only)) for part in parts]
    most = max((count for _, count, _ in counted), default=0)
    wide = WIDTH / max(1, len(parts))
    bars = [
        Bar(
            since=part[0].hour,
            until=part[-1].hour + _HOUR,
            count=count,
            refused=refused,
            href=address(part[0].hour, part[-1].hour + _HOUR),
            x=round(n * wide + _GAP / 2, 2),
            width=round(wide - _GAP, 2),
            height=_height(count, most),
            refused_height=_height(refused, most),
        )
        for n, (part, count, refused) in enumerate(counted)
    ]
    return Chart(bars, most, step, stats.is_complete)


def _counts(part: list[AuditHourCounts], refused_only: bool) -> tuple[int, int]:
    refused = sum(hour.deny for hour in part)
    return (refused if refused_only else sum(hour.count for hour in part)), refused


def _height(count: int, most: int) -> float:
    """The height of a bar; at least two pixels for a count above zero."""
    return 0 if not count else max(2, round(count / most * HEIGHT, 2))
