"""Passwords are stored as Argon2id hashes, and nothing else is accepted."""

import pytest

from app.crypto.passwords import hash_password, is_password_hash, matches_hash

# The hash of "correct horse battery", with a low cost for tests.
HASH = "$argon2id$v=19$m=64,t=1,p=1$FeLc+/9fyxljbM15b40x5g$vEWLeOcDVNx+wNVCo276nsxrCbMnmyS1QziBoGiNcNI"


def test_a_hash_knows_its_password_and_no_other() -> None:
    assert matches_hash("correct horse battery", HASH)
    for other in ("", "Correct horse battery", "correct horse battery ", HASH):
        assert not matches_hash(other, HASH)


def test_two_hashes_of_one_password_differ() -> None:
    hashes = {hash_password("correct horse battery") for _ in range(2)}
    assert len(hashes) == 2
    assert all(one.startswith("$argon2id$") and is_password_hash(one) for one in hashes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "correct horse battery",
        HASH[:-1] + "\x00",
        HASH.rpartition("$")[0],
        HASH.replace("argon2id", "argon2i"),
        HASH + "\n",
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    ],
    ids=["nothing", "a password", "a NUL", "no digest", "another kind", "a line end", "bcrypt"],
)
def test_what_is_no_whole_hash_of_argon2id_matches_nothing(text: str) -> None:
    assert not is_password_hash(text)
    assert not matches_hash("correct horse battery", text)
