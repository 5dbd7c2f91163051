"""Fixtures that every room's tests share."""

import asyncio
import gc
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import chromium, database, kept_connections, shared_caches, table_owners

pytest_plugins = ["tests.api"]

# How long one example takes says how busy the machine is, not whether a law holds; and how many in a row a law does
# not speak of is chance.
settings.register_profile(
    "house",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    max_examples=50,
    # What the checks find is what a change did; whoever runs tests by hand looks for what nobody has seen yet.
    derandomize="CI" in os.environ,
)
# `make slow` holds the laws of the domain to more.
settings.register_profile("thorough", settings.get_profile("house"), max_examples=200)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    shared_caches.install()
    kept_connections.install()
    table_owners.install()
    if not hasattr(config, "workerinput"):
        database.open_session()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One more than processors: a test that waits for a timeout, or for a program, leaves its processor to another."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count() or 1) + 1


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """One event loop for all tests of a process, with the connections that it keeps."""
    return {"asyncio": kept_connections.event_loop}


def pytest_collection_finish() -> None:
    # What is there before the first test stays to the end: no need to look through it for garbage ever again.
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """A run of all tests says last what it left out: tests that skip are easily overlooked."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        for line in chromium.lacking():
            terminalreporter.write_line(line, yellow=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    database.close_process()
    if not hasattr(config, "workerinput"):
        database.close_session()


@pytest.fixture
def database_url() -> Iterator[str]:
    """The URL of a migrated database of this test's own (``postgresql://...``)."""
    with database.temporary_database() as url:
        yield url


@pytest.fixture
def fresh_database_url() -> Iterator[str]:
    """The URL of a migrated database that no test had before, for tests of how its rows lie or are found."""
    with database.temporary_database(fresh=True) as url:
        yield url


@pytest.fixture
def empty_database_url() -> Iterator[str]:
    """The URL of an empty database of this test's own, for tests of the migrations themselves."""
    with database.temporary_database(migrated=False) as url:
        yield url
