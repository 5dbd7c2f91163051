"""MCP servers that run as commands: the allowed commands, and the protocol of the supervisor that runs them."""

from app.outbound.stdio.wire import (
    GIT_KEYS,
    NO_WORKER,
    REFUSAL,
    AllowedCommands,
    Holder,
    Launch,
    SupervisorAddress,
    command_place,
    is_variable_name,
    is_variable_value,
    read_commands,
    secret_values,
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
