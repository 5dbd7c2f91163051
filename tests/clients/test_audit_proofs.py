"""The client and the real service: checkpoints of the trail, and what they prove."""

import json
import time
from contextlib import suppress

import pytest
from scopegate_client import Client
from scopegate_client.errors import NotFound

from app.crypto.signed_notes import VerifierKey, open_checkpoint
from app.domain.merkle import leaf_hash, verify_inclusion
from tests.clients.drives import drives
from tests.clients.names import name
from tests.merkle_proofs import verify_consistency

PATIENCE_S = 50.0


@pytest.mark.slow
@drives(
    *("list_audit_event_keys", "list_audit_event_checkpoints", "get_audit_event_checkpoint"),
    *("get_audit_event_proof", "get_audit_event_consistency", "get_audit_event_range"),
)
def test_a_change_is_proven_once_it_is_sealed(client: Client) -> None:
    keys = [VerifierKey.parse(key.vkey) for key in client.audit_events.list_keys().items]
    group = client.groups.create(name=name("team"))
    (event,) = client.audit_events.list(object_id=group.id, since=group.created_at)
    until, proof = time.monotonic() + PATIENCE_S, None
    while proof is None and time.monotonic() < until:
        # Nothing tells of the next checkpoint.
        with suppress(NotFound):
            proof = client.audit_events.get_proof(event.id)
    assert proof is not None
    new, _ = open_checkpoint(proof.checkpoint, keys)
    leaf, hashes = proof.leaf.encode(), [bytes.fromhex(each) for each in proof.hashes]
    assert json.loads(leaf)["action"] == event.action
    assert verify_inclusion(leaf_hash(leaf), proof.position, new.size, hashes, new.root)

    *_, oldest = client.audit_events.list_checkpoints()
    old = client.audit_events.get_checkpoint(oldest.tree_size)
    assert old == oldest
    consistency = client.audit_events.get_consistency(new.size, from_=old.tree_size)
    hashes = [bytes.fromhex(each) for each in consistency.hashes]
    assert verify_consistency(old.tree_size, bytes.fromhex(old.root_hash), new.size, new.root, hashes)
    assert client.audit_events.get_range(new.size, from_=0, to=new.size).hashes == []
