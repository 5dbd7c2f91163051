"""The client and the real service: where the audit trail goes."""

import pytest
from scopegate_client import Client
from scopegate_client.errors import NotFound

from tests.clients.drives import drives
from tests.clients.names import name


@drives(
    *("create_audit_sink", "get_audit_sink", "list_audit_sinks", "update_audit_sink", "test_audit_sink"),
    "delete_audit_sink",
)
def test_a_sink_is_made_tried_changed_and_ended(client: Client) -> None:
    called = name("siem")
    sink = client.audit_sinks.create(
        name=called,
        url="https://siem.invalid/ingest",
        format="ndjson",
        compression="gzip",
        credential={"kind": "bearer", "token": "the-receivers-own-token"},
    )
    assert client.audit_sinks.get(sink.id).credential_kind == "bearer"
    assert client.audit_sinks.get(sink.id).compression == "gzip"
    assert client.audit_sinks.update(sink.id, compression="none").compression == "none"
    assert [found.id for found in client.audit_sinks.list(q=called)] == [sink.id]
    tried = client.audit_sinks.test(sink.id)
    assert tried.lag is not None
    assert tried.lag.events > 0
    assert client.audit_sinks.update(sink.id, status="disabled").status == "disabled"
    client.audit_sinks.delete(sink.id)
    with pytest.raises(NotFound):
        client.audit_sinks.get(sink.id)
