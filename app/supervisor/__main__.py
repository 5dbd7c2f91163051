"""Run as ``python -m app.supervisor`` by the guard, with the environment from ``serve``."""

import os
from pathlib import Path

from app.outbound.stdio.commands import read_commands
from app.outbound.stdio.wire import SupervisorAddress
from app.supervisor.app import supervise
from app.supervisor.isolation import FREE_USERS, DataDirectories, Limits

COMMANDS = "SCOPEGATE_STDIO_ALLOWED_COMMANDS"
PROCESSES = "SCOPEGATE_LIMIT_STDIO_PROCESSES"
DATA = "SCOPEGATE_STDIO_DATA_DIR"


def main() -> None:
    """Serve with the settings from the environment."""
    address = SupervisorAddress.from_environment()
    if address is None:
        raise SystemExit("this is run by `scopegate serve`")
    limits = Limits(processes=int(os.environ.get(PROCESSES, Limits().processes)))
    users = FREE_USERS if os.geteuid() == 0 else None
    data = DataDirectories(Path(os.environ[DATA]), users)
    supervise(address, read_commands(os.environ.get(COMMANDS, "")), limits, data)


if __name__ == "__main__":
    main()
