"""The database's clock as a worker knows it: its own clock plus a learned offset."""

import time

from app.lib.clock import boot_time


class DatabaseClock:
    """Expiry is judged by the database's clock alone; workers' wall clocks may be wrong."""

    def __init__(self) -> None:
        self._offset = time.time() - boot_time()
        self.known = False

    def now(self) -> float:
        """Unix seconds of the database, as far as this worker can know."""
        return boot_time() + self._offset

    def learn(self, database_time: float, sent: float, received: float) -> None:
        """Take over the database's time from an answer; ``sent`` and ``received`` are of ``boot_time``."""
        self._offset = database_time - (sent + received) / 2
        self.known = True
