"""Things that take long, of which a worker and a caller may have so many under way."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.domain.errors import TooManyRequests
from app.http.authorization import Caller

RETRY_S = 5


class Slots:
    """Counts them in this worker. ``what`` they are is said in words."""

    def __init__(self, what: str, code: str, *, most: int, most_of_caller: int) -> None:
        self._what = what
        self._code = code
        self._most = most
        self._most_of_caller = most_of_caller
        self._taken: Counter[UUID] = Counter()

    def check(self, caller: Caller) -> None:
        """Raise ``TooManyRequests`` where no more can begin."""
        is_full = self._taken.total() >= self._most
        if is_full or self._taken[caller.id] >= self._most_of_caller:
            whose = "This service has" if is_full else "You have"
            raise TooManyRequests(
                f"{whose} as many {self._what} under way as there may be: end one, or ask again later.",
                retry_after_s=RETRY_S,
                code=self._code,
            )

    @contextmanager
    def held(self, caller: Caller) -> Iterator[None]:
        """Hold one around a block. Raises as ``check`` does."""
        self.check(caller)
        self._taken[caller.id] += 1
        try:
            yield
        finally:
            self._taken[caller.id] -= 1
            if not self._taken[caller.id]:
                del self._taken[caller.id]
