"""A version of the protocol that nobody speaks: a denied call, on both endpoints."""

from app.admission.store import View
from app.gateway.asking import Ask
from app.gateway.pipeline import Denied, Passed, Pipeline
from app.gateway.wire.http import Exchange


async def record_unknown_version(
    pipeline: Pipeline, exchange: Exchange, view: View, slug: str | None
) -> View:
    """Put it on record; gives the view that it was decided on. Raises ``Refused``, ``StoreUnavailable``."""
    ask = Ask("mcp.negotiate", exchange.method, slug, exchange.address, refused="version_unsupported")
    try:
        await pipeline.run(exchange, view, ask, _nowhere)
    except Denied as denied:
        view = denied.view
    return view


async def _nowhere(_passed: Passed) -> str:
    """Where a request goes that is refused whatever the token may use."""
    return "not_forwarded"
