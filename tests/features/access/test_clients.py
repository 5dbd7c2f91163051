"""Names of clients: the same for the same client, and nothing long of a stranger's is kept."""

from app.features.access.clients import Clients
from app.features.access.rows import STRING_LIMIT


def test_a_client_is_named_once_and_its_long_strings_are_kept_cut() -> None:
    clients = Clients(b"key")
    named = ("127.0.0.1", "agent " * 1_000, "name \0" * 100_000, None)
    id, row = clients.name(*named)
    assert row is not None
    assert clients.name(*named) == (id, row)
    clients.written(row)
    assert clients.name(*named) == (id, None)
    assert clients.name("127.0.0.1", "agent", None, None)[0] != id
    kept = [part for parts in clients._seen for part in parts if part is not None]
    assert max(len(part.encode()) for part in kept) <= STRING_LIMIT
