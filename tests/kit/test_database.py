"""Engines: what an error of the database says."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.kit.database import make_engine


async def test_the_text_of_an_error_holds_no_parameter(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=1, name="test")
    with pytest.raises(DBAPIError) as raised:
        async with engine.connect() as connection:
            await connection.execute(
                text("SELECT 1 / (length(CAST(:sent AS text)) - 18)"), {"sent": "what-a-client-sent"}
            )
    assert "division by zero" in str(raised.value)
    assert "what-a-client-sent" not in str(raised.value)
    await engine.dispose()
