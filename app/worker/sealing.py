"""The worker's share of sealing the audit trail, on a session of the database itself."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from app.crypto.signed_notes import NoteSigner, log_name
from app.db.migrations import SchemaCheck
from app.features.audit.sealing.sealer import Sealing
from app.http.runtime import Runtime
from app.lib.ids import new_id
from app.settings import Settings
from app.worker.background import cancelled
from app.worker.database import Connector, direct_url


def trail_signer(settings: Settings) -> NoteSigner:
    """Signs checkpoints as the log of this installation."""
    return NoteSigner(settings.keys("signing_key"), log_name(settings.base_url))


def sealing_trail(settings: Settings, runtime: Runtime, stack: AsyncExitStack, check: SchemaCheck) -> Runtime:
    """Seal until ``stack`` is closed; the runtime, with what stands in the way among its warnings."""
    connect = Connector(direct_url(settings), new_id(), check, runtime.rewinds).named("sealing")
    sealing = Sealing(connect, runtime.sessions, trail_signer(settings), runtime.rewinds)
    task = asyncio.create_task(sealing.run(), name="sealing of the trail")
    stack.push_async_callback(cancelled, task)
    others = runtime.warnings
    return replace(runtime, warnings=lambda: [*others(), *sealing.warnings()])
