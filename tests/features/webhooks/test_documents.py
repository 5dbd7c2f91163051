"""The documentation of webhooks is correct: its receiver accepts our messages, and its lists match the code."""

import asyncio
import json
import os
import re
import sys
from datetime import datetime
from pathlib import Path

from app.db.webhook_events import PREFIXES, TEST, WebhookEvent
from app.features.webhooks.deliver import DELAYS
from app.lib.ids import parse_id
from tests.features.webhooks.conftest import World

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "webhooks.md").read_text()


def test_every_type_has_a_row_and_the_pauses_are_those_of_the_code() -> None:
    types = re.findall(r"`(\w+\.\w+)`", PAGE.partition("## Types")[2].partition("## One of each")[0])
    assert sorted(types) == sorted([*WebhookEvent, TEST])
    words = re.search(r"after (.*), then every (\d+ h)", PAGE)
    assert words is not None
    seconds = {"s": 1, "min": 60, "h": 3600}
    pauses = [pause.split() for pause in [*words[1].split(", "), words[2]]]
    assert [int(number) * seconds[unit] for number, unit in pauses] == [d.total_seconds() for d in DELAYS]


def test_every_type_has_an_example_of_the_ids_and_times_that_its_row_names() -> None:
    part = re.search(r"```json\n(\{\"approval.*?)```", PAGE, re.DOTALL)
    assert part is not None
    examples = json.loads(part[1])
    assert set(examples) == {*WebhookEvent, TEST}
    named: list[str] = []
    for types, names in re.findall(r"^\| (`\w+\.\w+`[^|]*) \|[^|]*\| ([^|]*) \|$", PAGE, re.MULTILINE):
        named = named if names == "the same" else re.findall(r"`(\w+)`", names)
        for type in re.findall(r"`([^`]+)`", types):
            assert set(examples[type]) <= set(named), type
            assert set(named) - set(examples[type]) <= {"identity_id", "group_id"}, type
    for data in examples.values():
        for name, value in data.items():
            if name in PREFIXES:
                assert parse_id(PREFIXES[name], value).version == 7
            elif name != "url":
                assert datetime.fromisoformat(value).tzinfo is not None


async def test_the_receiver_of_the_page_takes_a_message_and_refuses_one_that_is_not_ours(
    world: World,
) -> None:
    source = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert source is not None
    webhook_id, secret = await world.webhook("http://127.0.0.1:1/")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", source[1]),
        env={**os.environ, "PORT": "0", "WEBHOOK_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        port = (await process.stdout.readline()).split()[-1].decode()
        where = {"url": f"http://127.0.0.1:{port}/gate"}
        await world.execute("UPDATE webhooks SET url = :url", **where)
        await world.tell()
        await world.delivered()
        [row] = await world.deliveries()
        link = f"https://gate.example.com/console/approvals/{row.data['approval_id']}"
        said = (await process.stdout.readline()).decode().strip()
        assert (row.state, said) == ("delivered", f"approval.requested {link}")
        _, other = await world.webhook(where["url"])
        await world.execute("DELETE FROM webhooks WHERE id = :id", id=webhook_id)
        await world.tell()
        await world.delivered()
        assert (other != secret, (await world.deliveries())[-1].status_code) == (True, 400)
    finally:
        process.kill()
        await process.wait()
