"""Log lines: one per message, and of an exception its type and place, never its message."""

import asyncio
import logging
import sys
from typing import NoReturn

import pytest

from app.lib.logs import LineRecord, Trace, log_stray_fault

DATA = "what-a-client-sent"


def _fail() -> NoReturn:
    raise ValueError(DATA) from KeyError(DATA)


def test_a_log_line_is_one_line_whatever_it_names() -> None:
    record = LineRecord("x", logging.WARNING, "x.py", 1, "the provider %s\u202e", ("a\nb",), None)
    assert logging.Formatter("%(message)s").format(record) == "the provider a\\u000ab\\u202e"


def test_where_a_fault_was_keeps_its_lines() -> None:
    named = ("a\nb", Trace("\n  File x.py\n"))
    record = LineRecord("x", logging.ERROR, "x.py", 1, "%s failed%s", named, None)
    assert record.getMessage() == "a\\u000ab failed\n  File x.py\n"


def test_whoever_logs_an_exception_shows_no_message() -> None:
    try:
        _fail()
    except ValueError:
        record = LineRecord("x", logging.ERROR, "x.py", 1, "it failed", (), sys.exc_info())
    shown = logging.Formatter("%(message)s").format(record)
    assert shown.startswith("it failed\nValueError\n")
    assert "in test_whoever_logs_an_exception_shows_no_message" in shown
    assert DATA not in shown


async def test_a_fault_that_nobody_awaited_is_logged_by_its_place(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> NoReturn:
        _fail()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_stray_fault)
    try:
        task = loop.create_task(fails())
        await asyncio.wait((task,))
        del task
    finally:
        loop.set_exception_handler(None)
    assert "was never retrieved" in caplog.text
    assert "in fails" in caplog.text
    assert DATA not in caplog.text
