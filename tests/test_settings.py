"""Keys of the embedded database: made once, whole, private, and the same for all who start at once."""

import stat
import threading
from pathlib import Path

from pydantic import SecretStr

from app.settings import Settings, with_local_keys


def test_processes_that_start_at_once_agree_on_whole_keys(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    barrier, found = threading.Barrier(8), []

    def start() -> None:
        barrier.wait()
        found.append(with_local_keys(settings).keys("token_pepper"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({keys[0] for keys in found}) == 1
    assert len(found[0][0]) >= 32
    kept = sorted((tmp_path / "keys").iterdir())
    assert [path.name for path in kept] == ["encryption_key", "signing_key", "token_pepper"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_a_key_that_was_given_is_not_made(tmp_path: Path) -> None:
    given = SecretStr("g" * 40)
    settings = Settings(data_dir=tmp_path, token_pepper=given, encryption_key=given, signing_key=given)
    assert with_local_keys(settings).keys("signing_key") == [b"g" * 40]
    assert not (tmp_path / "keys").exists()
