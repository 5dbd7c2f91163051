"""The access snapshot of this worker, for whoever answers a request by it."""

from typing import Annotated

from fastapi import Depends, Request

from app.access.snapshot import AccessSnapshot


async def get_snapshot(request: Request) -> AccessSnapshot:
    snapshot: AccessSnapshot = request.app.state.access
    return snapshot


CurrentSnapshot = Annotated[AccessSnapshot, Depends(get_snapshot)]
