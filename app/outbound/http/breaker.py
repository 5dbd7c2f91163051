"""Upstreams that do not answer are left alone for a moment: their callers learn so at once, and hold nothing.

What counts is chosen so that nobody can shut an upstream for others. That it cannot be connected to counts whoever
finds out. That it takes a request and gives no answer may be the request's fault, so it counts once for each caller,
however often they try. Any answer at all, to anybody, clears the upstream.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from app.outbound.http.errors import UpstreamError
from app.outbound.http.guard import Target

UNREACHABLE_TIMES = 5
UNANSWERED_CALLERS = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
NO_ANSWER = frozenset({502, 503, 504})
"""Said by what stands before an upstream that does not answer."""
REMEMBERED_S = 300.0
_REMEMBERED = 4096

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Trouble:
    unreachable: int = 0
    unanswered: set[int] = field(default_factory=set)
    pause: float = 0.0
    """0 while calls go on as ever."""
    tried_again: bool = False
    looked: set[int] = field(default_factory=set)
    """Callers whose call was one that went to see."""
    until: float = 0.0
    last: float = 0.0


class Breaker:
    """What is wrong with upstreams at the moment. One with which nothing is wrong is not in it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._troubles: dict[Target, _Trouble] = {}

    def __bool__(self) -> bool:
        """Whether anything is wrong with any upstream."""
        return bool(self._troubles)

    def resting(self) -> int:
        """How many upstreams are left alone."""
        recent = self._now() - REMEMBERED_S
        return sum(1 for trouble in self._troubles.values() if trouble.pause and trouble.last >= recent)

    def warnings(self) -> list[str]:
        """For those who run the service; without names, since anybody may read them."""
        count = self.resting()
        words = "1 server does" if count == 1 else f"{count} servers do"
        return [f"{words} not answer at present; the log names them"] if count else []

    def check(self, target: Target, caller: int, asks: bool) -> None:
        """Raises ``UpstreamError`` while the upstream is left alone; after each pause one call goes and sees.

        Whoever has looked before lets others go first: calls that get no answer, whatever the upstream does, would
        otherwise be all that is seen of it, if only there are enough of them.

        ``asks``: the request wants an answer. A stream that waits to be told something may get none for long, on
        which nothing can be built: neither that it is silent, nor a look whether the upstream is back.
        """
        trouble = self._troubles.get(target)
        if trouble is None or not trouble.pause:
            return
        now, unreachable = self._now(), trouble.unreachable >= UNREACHABLE_TIMES
        turn = trouble.until if unreachable or caller not in trouble.looked else trouble.until + trouble.pause
        if now < turn or not (asks or unreachable):
            raise UpstreamError(
                "unavailable",
                "the upstream has not answered lately",
                may_have_been_sent=False,
                retry_after_s=max(1, ceil(turn - now)),
            )
        trouble.until = now + trouble.pause
        trouble.tried_again = True
        trouble.looked.add(caller)

    def failed(self, target: Target, caller: int, error: UpstreamError, asks: bool) -> None:
        """A request of this caller got no answer."""
        if error.kind in {"resolve", "connect", "tls"}:
            self._trouble(target).unreachable += 1
        elif error.kind in {"timeout", "closed"} and error.may_have_been_sent and asks:
            self._trouble(target).unanswered.add(caller)
        else:
            return
        self._judge(target)

    def answered(self, target: Target, caller: int, status: int, asks: bool) -> None:
        """An answer came; of these statuses it is none."""
        # The supervisor of commands says it of a caller's own program, and lets that rest itself.
        if status in NO_ANSWER and target.origin.socket is None:
            if asks:
                self._trouble(target).unanswered.add(caller)
                self._judge(target)
            return
        trouble = self._troubles.pop(target, None)
        if trouble is not None and trouble.pause:
            log.warning("the upstream at %s answers again", _name(target))

    def _trouble(self, target: Target) -> _Trouble:
        trouble = self._troubles.get(target)
        if trouble is None:
            if len(self._troubles) >= _REMEMBERED:
                self._troubles.clear()
            trouble = self._troubles[target] = _Trouble()
        return trouble

    def _judge(self, target: Target) -> None:
        trouble = self._troubles[target]
        trouble.last = now = self._now()
        if trouble.pause:
            # What was under way before the pause says nothing new; what was tried after it does.
            if trouble.tried_again:
                trouble.tried_again = False
                trouble.pause = min(trouble.pause * 2, LONGEST_PAUSE_S)
                trouble.until = now + trouble.pause
        elif trouble.unreachable >= UNREACHABLE_TIMES or len(trouble.unanswered) >= UNANSWERED_CALLERS:
            trouble.pause = FIRST_PAUSE_S
            trouble.until = now + trouble.pause
            log.warning("the upstream at %s does not answer: it is left alone for moments", _name(target))


def _name(target: Target) -> str:
    """Without the path, which may hold what nobody should read."""
    return f"{target.origin.scheme}://{target.origin.authority.decode('ascii')}"
