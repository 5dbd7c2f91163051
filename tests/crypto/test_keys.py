"""Sealed values open only in their place, and digests are bound to their pepper."""

import pytest

from app.crypto.keys import KeyFault, Peppers, Sealed, Sealer, UnsealingFault, key_id

OLD, NEW = b"o" * 40, b"n" * 40


def test_a_sealed_value_opens_in_its_place_alone() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(b"hunter2", b"row 1")
    assert sealer.unseal(sealed, b"row 1") == b"hunter2"
    with pytest.raises(UnsealingFault):
        sealer.unseal(sealed, b"row 2")


@pytest.mark.parametrize("position", [0, 20, 70, -1])
def test_a_changed_byte_anywhere_is_an_error_and_never_a_value(position: int) -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(b"hunter2", b"row 1")
    changed = bytearray(sealed.data)
    changed[position] ^= 1
    with pytest.raises(UnsealingFault):
        sealer.unseal(Sealed(sealed.key_id, bytes(changed)), b"row 1")
    with pytest.raises(UnsealingFault):
        sealer.unseal(Sealed(sealed.key_id, sealed.data[:10]), b"row 1")


def test_the_newest_key_seals_and_older_ones_still_open() -> None:
    before = Sealer([OLD]).seal(b"hunter2", b"row 1")
    both = Sealer([NEW, OLD])
    assert both.unseal(before, b"row 1") == b"hunter2"
    assert both.seal(b"x", b"row 1").key_id == key_id(NEW)
    with pytest.raises(UnsealingFault):
        Sealer([NEW]).unseal(before, b"row 1")


def test_two_seals_of_one_value_differ() -> None:
    sealer = Sealer([NEW])
    assert sealer.seal(b"x", b"p").data != sealer.seal(b"x", b"p").data


def test_a_digest_matches_under_its_own_pepper_alone() -> None:
    old, both = Peppers([OLD]), Peppers([NEW, OLD])
    digest = old.digest(b"id and secret")
    assert both.matches(old.current_id, digest, b"id and secret")
    assert not both.matches(both.current_id, digest, b"id and secret")
    assert not both.matches("unknown", digest, b"id and secret")
    assert not both.matches(old.current_id, digest, b"another secret")


def test_short_and_missing_keys_are_refused_without_being_told() -> None:
    with pytest.raises(KeyFault) as caught:
        Sealer([b"short secret"])
    assert "short secret" not in str(caught.value)
    with pytest.raises(KeyFault):
        Peppers([])


def test_a_key_id_does_not_hold_the_key() -> None:
    assert key_id(NEW) != key_id(OLD)
    assert NEW.decode() not in key_id(NEW)
