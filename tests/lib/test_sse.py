"""The event stream parser follows the standard and changes no byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lib.sse import (
    LINES_AT_A_TIME,
    MAX_SILENT_BYTES,
    SseEvent,
    SseLimitError,
    SseParser,
    encode_event,
    replace_id,
)


def fed(parser: SseParser, chunk: bytes) -> list[SseEvent]:
    return [event for event in parser.feed(chunk) if event is not None]


def parse(stream: bytes, size: int | None = None) -> tuple[list[SseEvent], bytes]:
    parser = SseParser()
    step = size or max(1, len(stream))
    events = [event for at in range(0, len(stream), step) for event in fed(parser, stream[at : at + step])]
    return events, parser.pending


STREAM = (
    b"\xef\xbb\xbf: hello\n\n"
    b'event: message\r\nid: 7\r\ndata: {"a":1}\r\n\r\n'
    b"data:one\rdata:  two\r\r"
    b"id: 8\nretry: 100\n\n"
    b"event: ping\ndata\n\n"
    b"data: not ended\n"
)


@pytest.mark.parametrize("size", [None, 1, 2, 3, 7])
def test_events_are_the_same_however_the_stream_is_cut(size: int | None) -> None:
    events, pending = parse(STREAM, size)
    assert [(event.data, event.event, event.id) for event in events] == [
        (None, "message", None),
        (b'{"a":1}', "message", "7"),
        (b"one\n two", "message", None),
        (None, "message", "8"),
        (b"", "ping", None),
    ]
    assert b"".join(event.raw for event in events) + pending == STREAM


@given(
    st.lists(
        st.sampled_from([b"data: x", b"id: 1", b":", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"event:e"])
    ),
    st.integers(1, 5),
)
def test_raw_bytes_add_up_to_the_stream(parts: list[bytes], size: int) -> None:
    stream = b"".join(parts)
    events, pending = parse(stream, size)
    assert b"".join(event.raw for event in events) + pending == stream
    whole, _ = parse(stream)
    assert [event.data for event in events] == [event.data for event in whole]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_is_out_as_soon_as_its_empty_line_is_in(end: bytes) -> None:
    parser = SseParser()
    assert fed(parser, b"data: 1" + end) == []
    assert [event.data for event in fed(parser, end)] == [b"1"]


def test_an_endless_line_is_refused_before_it_ends() -> None:
    parser = SseParser(max_line_bytes=100)
    fed(parser, b"data: ")
    with pytest.raises(SseLimitError):
        fed(parser, b"x" * 100)


def test_an_endless_event_is_refused() -> None:
    parser = SseParser(max_event_bytes=1000)
    for _ in range(125):
        fed(parser, b"data: x\n")
    with pytest.raises(SseLimitError):
        fed(parser, b"data: x\n")


def test_many_events_are_not_one_long_event() -> None:
    parser = SseParser(max_event_bytes=50)
    assert len(fed(parser, b"data: x\n\n" * 1000)) == 1000


@given(st.binary(max_size=50))
def test_an_encoded_event_reads_back(data: bytes) -> None:
    events, pending = parse(encode_event(data))
    assert pending == b""
    assert [event.data for event in events] == [data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")]


def test_an_event_bears_the_id_that_it_is_given_whatever_it_had() -> None:
    assert fed(SseParser(), encode_event(b"a\nb", b"7"))[0].id == "7"
    assert fed(SseParser(), encode_event(b"a", b"7"))[0].data == b"a"
    for raw in (
        b"id: 1\r\n: x\r\ndata: id: 2\r\n\r\n",
        b"data: id: 2\rid:1\r\r",
        b"id\nid: 1\ndata: id: 2\n\n",
    ):
        (event,) = fed(SseParser(), raw)
        (changed,) = fed(SseParser(), replace_id(event.raw, b"\\1"))
        assert (changed.id, changed.data) == ("\\1", b"id: 2")
        assert b"id: 1" not in changed.raw
        assert b"id:1" not in changed.raw


@pytest.mark.parametrize("line", [b"\n", b":\n", b"data:\n", b":\n\n", b"id:\n\n", b"retry: 1\n\n"])
def test_a_flood_of_short_lines_gives_others_their_turn_every_few_lines(line: bytes) -> None:
    run = 0
    for event in SseParser().feed(line * 2_000):
        run = 0 if event is None else run + 1
        assert run <= LINES_AT_A_TIME
    turns = [event for event in SseParser().feed(line * 2_000) if event is None]
    assert len(turns) >= 2_000 // LINES_AT_A_TIME


@pytest.mark.parametrize("block", [b":\n\n", b"id: 1\n\n", b"data:\n\n", b": a longer comment\r\n\r\n"])
def test_blocks_without_data_are_counted(block: bytes) -> None:
    parser = SseParser()
    fed(parser, block * (MAX_SILENT_BYTES // len(block)))
    with pytest.raises(SseLimitError):
        fed(parser, block * 100_000)


def test_a_stream_that_is_kept_alive_for_long_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = SseParser()
    begun = parser._begun
    for second in range(1, 200):
        monkeypatch.setattr("app.lib.sse.monotonic", lambda at=begun + 100 * second: at)
        fed(parser, b": keep-alive\n\n" * 1_000)
