"""MCP servers that are commands: what may run, and how the supervisor that runs them is talked to."""

from app.outbound.stdio.commands import (
    GIT_KEYS,
    AllowedCommands,
    is_variable_name,
    is_variable_value,
    read_commands,
    secret_values,
)
from app.outbound.stdio.wire import NOBODY, REFUSAL, Holder, Launch, SupervisorAddress, command_place, syncing

__all__ = [
    "GIT_KEYS",
    "NOBODY",
    "REFUSAL",
    "AllowedCommands",
    "Holder",
    "Launch",
    "SupervisorAddress",
    "command_place",
    "is_variable_name",
    "is_variable_value",
    "read_commands",
    "secret_values",
    "syncing",
]
