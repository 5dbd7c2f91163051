"""Formats of batches: how an event is written, and how events are joined."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.features.audit.ocsf import ocsf_lines
from app.features.audit.schemas import AuditEventView

CHECKPOINT = "audit.checkpoint"


@dataclass(frozen=True, slots=True)
class Format:
    """``write`` an event, ``join`` written events; ``checkpoints`` says whether the format can contain them."""

    media_type: bytes
    write: Callable[[AuditEventView], bytes]
    join: Callable[[Sequence[bytes]], bytes]
    checkpoints: bool


def checkpoint_item(tree_size: int, note: str) -> bytes:
    """A signed checkpoint of the log as an item of a batch."""
    item = {"action": CHECKPOINT, "tree_size": tree_size, "note": note}
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


def _event(event: AuditEventView) -> bytes:
    return event.model_dump_json().encode()


def _ocsf(event: AuditEventView) -> bytes:
    return ocsf_lines([event]).rstrip(b"\n")


def _splunk(event: AuditEventView) -> bytes:
    """The format of ``/services/collector/event``: fractional seconds, and the event."""
    head = (
        f'{{"time":{event.time.timestamp():.3f},"source":"scopegate","sourcetype":"scopegate:audit","event":'
    )
    return head.encode() + _event(event) + b"}"


def _lines(items: Sequence[bytes]) -> bytes:
    return b"\n".join(items) + b"\n"


def _array(items: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


_NDJSON, _JSON = b"application/x-ndjson", b"application/json"
FORMATS = {
    "ndjson": Format(_NDJSON, _event, _lines, checkpoints=True),
    "json": Format(_JSON, _event, _array, checkpoints=True),
    "ocsf": Format(_NDJSON, _ocsf, _lines, checkpoints=False),
    "splunk_hec": Format(_JSON, _splunk, _lines, checkpoints=False),
}
