"""What one hostile upstream can make of a list over all servers."""

from typing import Any, cast

import pytest

from app.gateway.aggregate_lists import MAX_BYTES, _all_pages
from app.gateway.pipeline import Flight
from app.gateway.upstream_sessions import Connection
from app.kit.mcp_upstream import McpUpstreamError


class Endless:
    """A connection whose list never ends; each page holds a megabyte."""

    def __init__(self) -> None:
        self.pages = 0

    async def request(self, _method: str, _params: dict[str, Any], **_options: Any) -> dict[str, Any]:
        self.pages += 1
        return {"tools": [{"name": "x" * 1_000_000}], "nextCursor": str(self.pages)}


async def test_a_list_that_never_ends_is_given_up_before_it_fills_the_memory() -> None:
    endless = Endless()
    with pytest.raises(McpUpstreamError) as caught:
        await _all_pages(cast("Connection", endless), Flight())
    assert caught.value.kind == "too_large"
    assert endless.pages <= MAX_BYTES // 1_000_000 + 1
