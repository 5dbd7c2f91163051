"""The clock of the worker under test."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import httpx2
import time_machine


@contextmanager
def worker_clock_off(by: timedelta) -> Iterator[None]:
    """Put the clock off while the application serves a request; those of PostgreSQL and of the test stay right."""
    serve = httpx2.ASGITransport.handle_async_request

    async def serve_in_time(self: httpx2.ASGITransport, request: httpx2.Request) -> httpx2.Response:
        with time_machine.travel(datetime.now(UTC) + by):
            return await serve(self, request)

    with patch.object(httpx2.ASGITransport, "handle_async_request", serve_in_time):
        yield
