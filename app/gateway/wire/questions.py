"""What a message asks: the tool and arguments of a call, and who the client says it is."""

from typing import Any

from app.admission.store import Client
from app.gateway.wire.envelope import CLIENT_INFO_KEY, Message
from app.gateway.wire.http import Exchange
from app.gateway.wire.refusals import invalid_params


def call_parameters(message: Message, *, tasks: bool = False) -> tuple[str, dict[str, Any] | None]:
    """Name and arguments of a ``tools/call``. Raises ``Refused`` for another shape.

    ``tasks``: the call may ask to be a task.
    """
    name, arguments = message.params.get("name"), message.params.get("arguments")
    if not isinstance(name, str):
        raise invalid_params("name must be a string.", message.modern)
    if "arguments" in message.params and not isinstance(arguments, dict):
        raise invalid_params("arguments must be an object.", message.modern)
    if "task" in message.params:
        _check_task(message, tasks)
    return name, arguments


def _check_task(message: Message, tasks: bool) -> None:
    if message.modern:
        # Servers of this era decide that themselves, and ignore what asks for it.
        del message.params["task"]
    elif not tasks:
        raise invalid_params("Tasks are carried on /mcp/<server> alone.", message.modern)
    elif not isinstance(message.params["task"], dict):
        raise invalid_params("task must be an object.", message.modern)


def client_of(exchange: Exchange, message: Message) -> Client | None:
    """The client with the name it gives itself, where the message holds one."""
    if message.modern:
        info = message.params["_meta"].get(CLIENT_INFO_KEY)
    elif message.method == "initialize":
        info = message.params.get("clientInfo")
    else:
        return None
    if not isinstance(info, dict):
        return None
    name, version = info.get("name"), info.get("version")
    here = exchange.client
    return Client(
        here.ip,
        here.user_agent,
        name if isinstance(name, str) else None,
        version if isinstance(version, str) else None,
    )
