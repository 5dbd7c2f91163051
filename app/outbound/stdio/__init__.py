"""MCP servers that run as commands: the allowed commands, and the protocol of the supervisor that runs them."""

from app.outbound.stdio.commands import (
    GIT_KEYS,
    AllowedCommands,
    is_variable_name,
    is_variable_value,
    read_commands,
    secret_values,
)
from app.outbound.stdio.wire import (
    NO_WORKER,
    REFUSAL,
    Holder,
    Launch,
    SupervisorAddress,
    command_place,
    sync_holder,
)

__all__ = [
    "GIT_KEYS",
    "NO_WORKER",
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
    "sync_holder",
]
