"""MCP servers that are commands: what may run, and how the supervisor that runs them is talked to."""

from app.kit.stdio.commands import AllowedCommands, is_variable_name, read_commands
from app.kit.stdio.wire import (
    NOBODY,
    REFUSAL,
    Holder,
    Launch,
    SupervisorAddress,
    command_place,
    syncing,
)

__all__ = [
    "NOBODY",
    "REFUSAL",
    "AllowedCommands",
    "Holder",
    "Launch",
    "SupervisorAddress",
    "command_place",
    "is_variable_name",
    "read_commands",
    "syncing",
]
