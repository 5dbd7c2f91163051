"""Record calls in the audit log as the gateway does, for tests that read them."""

from typing import Any

from sqlalchemy import text

from app.crypto.keys import Sealer
from app.db.call_arguments import arguments_place
from app.lib import strict_json
from app.lib.ids import EVENT, format_id, new_id
from tests.api import KEY
from tests.features.principals import Json, Sessions, plain

_ARGUMENTS = text("""
INSERT INTO audit_arguments (call_id, time, key_id, sealed)
SELECT id, time, :key_id, :sealed FROM audit_events WHERE id = :id
""")


async def record_call(
    sessions: Sessions, token: Json, server: Json, tool: str, arguments: Json | None, **columns: Any
) -> str:
    """Return the event id of a recorded call; its arguments are kept unless ``kept`` is false."""
    id, kept = new_id(), columns.pop("kept", True)
    row = {
        "id": id, "action": "tool.call", "actor_type": "identity", "method": "tools/call",
        "actor_id": plain({"id": token["identity_id"]}), "token_id": plain(token), "server_id": plain(server),
        "tool": tool, "decision": "allow", "reason_code": "granted",
        "arguments_digest": None if arguments is None else b"a digest", **columns,
    }  # fmt: skip
    names = ", ".join(row)
    places = ", ".join(":" + name for name in row)
    async with sessions() as session:
        await session.execute(text(f"INSERT INTO audit_events ({names}) VALUES ({places})"), row)
        if kept and arguments is not None:
            sealed = Sealer([KEY.encode()]).seal(strict_json.dumps(arguments), arguments_place(id))
            await session.execute(_ARGUMENTS, {"id": id, "key_id": sealed.key_id, "sealed": sealed.data})
        await session.commit()
    return format_id(EVENT, id)
