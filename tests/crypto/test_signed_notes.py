"""Notes and checkpoints follow C2SP: published ones and ours verify, others do not."""

import base64
import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from app.crypto.signed_notes import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Checkpoint,
    Note,
    NoteFault,
    NoteSigner,
    Signed,
    VerifierKey,
    log_name,
    open_checkpoint,
    signatures_of,
)
from app.crypto.signing import Signer
from app.domain.merkle import EMPTY_ROOT

OLD, NEW = b"o" * 40, b"n" * 40
LOG = "gate.example.com/audit"
CHECKPOINT = Checkpoint(LOG, 42, bytes(range(32)))

# The example of Go's golang.org/x/mod/sumdb/note, on which the specification is based.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
PETERS_NOTE = (
    PETERS_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of tlog-cosignature, and the key of a real witness.
COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8="
    "\n— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
REMORA = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"


class Witness:
    """Signs any checkpoint, as in tlog-cosignature."""

    def __init__(self, name: str) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.key = VerifierKey(name, COSIGNATURE, self._private.public_key().public_bytes_raw())

    def line(self, text: str, at: int) -> str:
        signature = self._private.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        whole = self.key.id + at.to_bytes(8) + signature
        return f"— {self.key.name} {base64.b64encode(whole).decode()}\n"


def test_published_notes_and_keys_are_read_as_they_are_meant() -> None:
    peter = VerifierKey.parse(PETER)
    assert (peter.name, peter.type, str(peter)) == ("PeterNeumann", ED25519, PETER)
    note = Note.parse(PETERS_NOTE.encode())
    assert note.text == PETERS_TEXT
    assert str(note) == PETERS_NOTE
    assert signatures_of(note, [peter]) == [Signed(peter)]

    assert str(VerifierKey.parse(REMORA)) == REMORA
    assert VerifierKey.parse(REMORA).type == COSIGNATURE
    cosigned = Note.parse(COSIGNED)
    assert str(cosigned) == COSIGNED
    assert Checkpoint.parse(cosigned.text).size == 20852163
    assert str(Checkpoint.parse(cosigned.text)) == cosigned.text
    assert [line.name for line in cosigned.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]


def test_what_we_sign_is_checked_with_the_key_as_people_hand_it_on() -> None:
    signer = NoteSigner([NEW, OLD], LOG)
    note = signer.sign(str(CHECKPOINT))
    (key, older) = (VerifierKey.parse(str(each)) for each in signer.verifier_keys())
    assert open_checkpoint(note, [key]) == (CHECKPOINT, [Signed(key)])
    # A retired key still verifies its signatures, under the log's name at that time.
    before = NoteSigner([OLD], "old.example.com/audit").sign(
        "old.example.com/audit\n7\n" + str(CHECKPOINT).split("\n")[2] + "\n"
    )
    assert open_checkpoint(before, signer.verifier_keys("old.example.com/audit"))[0].size == 7
    with pytest.raises(NoteFault, match="none of the keys"):
        open_checkpoint(note, [older])


def test_the_key_of_checkpoints_serves_nothing_else() -> None:
    (note_key,) = NoteSigner([NEW], LOG).verifier_keys()
    (receipts_key,) = Signer([NEW], LOG).public_keys()
    assert base64.urlsafe_b64decode(receipts_key["x"] + "=") != note_key.public


def test_signatures_of_others_stay_and_are_none_of_our_business() -> None:
    witness, stranger = Witness("witness.example.com/w1"), Witness("stranger.example.com")
    signer = NoteSigner([NEW], LOG)
    text = str(CHECKPOINT)
    note = signer.sign(text) + stranger.line(text, 3) + witness.line(text, 1_790_000_000)
    (key,) = signer.verifier_keys()
    assert str(Note.parse(note)) == note
    assert open_checkpoint(note, [key]) == (CHECKPOINT, [Signed(key)])
    cosigned = open_checkpoint(note, [witness.key, key])[1]
    assert cosigned == [Signed(key), Signed(witness.key, 1_790_000_000)]


def test_a_signature_that_is_not_true_spoils_the_note() -> None:
    witness = Witness("witness.example.com/w1")
    signer = NoteSigner([NEW], LOG)
    text, keys = str(CHECKPOINT), [*signer.verifier_keys(), witness.key]
    ours, theirs = signer.sign(text), witness.line(text, 1_790_000_000)
    assert open_checkpoint(ours + theirs, keys)

    other = str(Checkpoint(LOG, 43, CHECKPOINT.root))
    for spoiled in (
        ours.replace("\n42\n", "\n43\n"),  # Another text under our signature.
        ours + witness.line(other, 1_790_000_000),  # A witness's of another text.
        ours + theirs + witness.line(other, 1),  # The second line of a key counts as the first does.
    ):
        with pytest.raises(NoteFault, match="not valid for"):
            open_checkpoint(spoiled, keys)
    # A witness or another log cannot sign for the log.
    for foreign in (f"{text}\n{theirs}", NoteSigner([NEW], "b.example/audit").sign(text)):
        with pytest.raises(NoteFault, match="none of the keys of gate"):
            open_checkpoint(foreign, [*keys, *NoteSigner([NEW], "b.example/audit").verifier_keys()])
    # A witness's key is not a log's key, and vice versa: the type is part of the key.
    as_log = VerifierKey(witness.key.name, ED25519, witness.key.public)
    assert signatures_of(Note.parse(ours + theirs), [as_log]) == []


@given(st.integers(0), st.integers(1, 255))
def test_no_byte_of_a_note_can_be_changed(at: int, by: int) -> None:
    signer = NoteSigner([NEW], LOG)
    note = bytearray(signer.sign(str(CHECKPOINT)).encode())
    note[at % len(note)] ^= by
    with pytest.raises(NoteFault):
        open_checkpoint(bytes(note), signer.verifier_keys())


@given(st.binary(max_size=200) | st.text(max_size=200) | st.text("\n— +ab=01", max_size=60))
def test_whatever_is_handed_in_is_judged(anything: bytes | str) -> None:
    with contextlib.suppress(NoteFault):
        assert Note.parse(anything).signatures
    text = anything.decode(errors="replace") if isinstance(anything, bytes) else anything
    for read in (Checkpoint.parse, VerifierKey.parse):
        with contextlib.suppress(NoteFault):
            assert str(read(text))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=60))
def test_every_text_of_lines_can_be_signed(text: str) -> None:
    signer = NoteSigner([NEW], LOG)
    note = Note.parse(signer.sign(f"{text}\n\n{text}\n"))
    assert note.text == f"{text}\n\n{text}\n"
    assert len(signatures_of(note, signer.verifier_keys())) == 1


def test_what_is_no_note_is_refused() -> None:
    signer = NoteSigner([NEW], LOG)
    good = signer.sign(str(CHECKPOINT))
    line = good.split("\n\n")[1]
    for bad in (
        "",
        "\n",
        "\n\n",
        f"\n{line}",
        f"\n\n{line}",
        good[:-1],
        good + "\n",
        good + "more\n",
        good.replace("\n", "\r\n"),
        good.replace("—", "-"),
        good.replace("— ", "—  "),
        good.replace(LOG + " ", LOG + "+ "),
        good.replace(LOG + " ", "\u00a0 "),
        good.replace("=\n", "\n"),
        good + "— name AAAA\n",
        good + "— name AAAAAA==\n",
        good + "— name AAAAAAB=\n",  # The last bits are not those of the one form.
        good + line * MAX_SIGNATURES,
        "x" * MAX_NOTE_BYTES + good,
        good + "\ud800",
        good.encode().replace(b"gate", b"g\xffte"),
    ):
        with pytest.raises(NoteFault):
            Note.parse(bad)
    # At least sixteen signatures must be accepted.
    assert len(Note.parse(good + line * 15).signatures) == 16
    for text in ("", "no end", "a\x00b\n", "x" * MAX_NOTE_BYTES + "\n"):
        with pytest.raises(NoteFault):
            signer.sign(text)


def test_what_is_no_checkpoint_or_key_is_refused() -> None:
    root = str(CHECKPOINT).split("\n")[2]
    for text in (
        f"\n42\n{root}\n",
        f"{LOG}\n42\n{root}",
        f"{LOG}\n42\n",
        f"{LOG}\n42\n{root}\n\n",
        f"{LOG}\n042\n{root}\n",
        f"{LOG}\n-1\n{root}\n",
        f"{LOG}\n٤٢\n{root}\n",
        f"{LOG}\n4_2\n{root}\n",
        f"{LOG}\n{2**63}\n{root}\n",
        f"{LOG}\n{'9' * 5000}\n{root}\n",
        f"{LOG}\n42\n{root[:-4]}\n",
        f"{LOG}\n42\n{root} \n",
    ):
        with pytest.raises(NoteFault):
            Checkpoint.parse(text)
    assert Checkpoint.parse(f"{LOG}\n0\n{root}\nan extension\n").size == 0
    name, id, key = PETER.split("+", 2)
    for text in (
        f"{name}+{id}",
        f"+{id}+{key}",
        f"{name}+c74f20a4+{key}",
        f"{name}+{id}+{key}AAAA",
        f"a b+{id}+{key}",
        f"{name}+{id}+" + base64.b64encode(b"\x02" + bytes(32)).decode(),
        PETER + "\n",
    ):
        with pytest.raises(NoteFault):
            VerifierKey.parse(text)
    twin = VerifierKey(name, ED25519, bytes(32))
    assert signatures_of(Note.parse(PETERS_NOTE), [VerifierKey.parse(PETER), twin])


def test_two_different_keys_with_the_same_id_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with the same four bytes is easy to generate."""
    monkeypatch.setattr(VerifierKey, "id", property(lambda _: b"same"))
    with pytest.raises(NoteFault, match="two different keys"):
        signatures_of(
            Note.parse(PETERS_NOTE),
            [VerifierKey("a", ED25519, bytes(32)), VerifierKey("a", ED25519, bytes(31) + b"1")],
        )


def test_a_log_is_named_by_its_address() -> None:
    assert log_name("https://gate.example.com") == LOG
    assert log_name("http://127.0.0.1:8080/") == "127.0.0.1:8080/audit"
    assert log_name("https://gate.example.com/a+b") == "gate.example.com/a%2Bb/audit"
    with pytest.raises(NoteFault):
        NoteSigner([NEW], "a name")
    assert Checkpoint(LOG, 0, EMPTY_ROOT) == Checkpoint.parse(str(Checkpoint(LOG, 0, EMPTY_ROOT)))
