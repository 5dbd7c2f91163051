"""An internal error is visible at the sink and in the log, and does not stop delivery."""

from typing import Any, NoReturn

import pytest

from app.features.audit_sinks import deliver
from app.features.audit_sinks.deliver import FIRST_PAUSE
from app.lib.ids import AUDIT_SINK, format_id
from tests.features.audit_sinks.conftest import TOKEN, World, ids_of
from tests.features.webhooks.receiver import receiver


def broken(*_: Any, **_named: Any) -> NoReturn:
    raise RuntimeError(TOKEN)


@pytest.mark.parametrize("where", ["next_batch", "open_credential", "post", "record_accepted"])
async def test_a_fault_of_ours_is_told_of_without_its_words_and_tried_again_after_a_pause(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async with receiver() as endpoint:
        sink_id = await world.sink(endpoint.url)
        written = await world.record()
        with monkeypatch.context() as patch:
            patch.setattr(deliver, where, broken)
            worker = world.worker()
            for failures in (1, 2):
                await world.make_due()
                assert await worker.round() == 1
                await worker.idle()
                sink = await world.read(sink_id)
                assert (sink.failures, sink.error, sink.status_code) == (failures, "internal", None)
                assert sink.failing_since is not None
                assert sink.due_at - sink.failing_since >= FIRST_PAUSE * failures
                assert await worker.round() == 0
        name = format_id(AUDIT_SINK, sink_id)
        assert caplog.text.count(f"the audit sink {name} failed: RuntimeError") == 2
        assert TOKEN not in caplog.text
        await world.given()
        assert set(ids_of(*endpoint.arrived)) == set(written)
    sink = await world.read(sink_id)
    assert (sink.failures, sink.error) == (0, None)


async def test_a_fault_that_cannot_even_be_noted_ends_nothing(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver() as endpoint:
        await world.sink(endpoint.url)
        written = await world.record()
        with monkeypatch.context() as patch:
            patch.setattr(deliver, "next_batch", broken)
            patch.setattr(deliver, "record_failure", broken)
            worker = world.worker()
            await world.make_due()
            await worker.round()
            await worker.idle()
        assert "recording the fault of the audit sink" in caplog.text
        assert TOKEN not in caplog.text
        await world.given(worker)
        assert ids_of(*endpoint.arrived) == written
