"""Telling of faults of ours: where they were, and never what was in hand, which somebody sent or we keep."""

import logging
import traceback

from app.lib.log_lines import Trace


def log_fault(log: logging.Logger, what: str, fault: BaseException, level: int = logging.ERROR) -> None:
    """Say that ``what`` failed, by the type and the place of the fault, without its message."""
    where = Trace("\n" + "".join(traceback.format_tb(fault.__traceback__)))
    log.log(level, "%s failed: %s%s", what, type(fault).__name__, where)
