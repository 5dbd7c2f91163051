"""Charts of counts by the hour: bars that are drawn by a template, each leading to the events that it counts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.features.audit.schemas import AuditHourCounts, AuditStatsView

WIDTH, HEIGHT = 720, 96
_GAP = 2
# So many hours in a bar, the smallest that leaves few enough bars.
_STEPS = (1, 3, 6, 12, 24)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """A span of time, what was counted in it, and where it is drawn. ``refused`` is part of ``count``."""

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
    """Bars, and how many the highest stands for."""

    bars: list[Bar]
    most: int
    hours: int
    is_complete: bool
    """Whether everything is counted, and not only the newest."""

    @property
    def count(self) -> int:
        """How many there are in all."""
        return sum(bar.count for bar in self.bars)

    @property
    def refused(self) -> int:
        """How many of them were refused."""
        return sum(bar.refused for bar in self.bars)


def chart_of(
    stats: AuditStatsView,
    address: Callable[[datetime, datetime], str],
    *,
    most_bars: int = 60,
    refused_alone: bool = False,
) -> Chart:
    """A chart of what was counted, or of what was refused of it; ``address`` is where a span leads."""
    step = next((one for one in _STEPS if len(stats.hours) <= most_bars * one), _STEPS[-1])
    parts = [stats.hours[start : start + step] for start in range(0, len(stats.hours), step)]
    counted = [(part, *_counts(part, refused_alone)) for part in parts]
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


def _counts(part: list[AuditHourCounts], refused_alone: bool) -> tuple[int, int]:
    refused = sum(hour.deny for hour in part)
    return (refused if refused_alone else sum(hour.count for hour in part)), refused


def _height(count: int, most: int) -> float:
    """Never so low that it cannot be seen."""
    return 0 if not count else max(2, round(count / most * HEIGHT, 2))
