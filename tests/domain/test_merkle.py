"""The tree is that of RFC 9162: it matches the published vectors and a naive implementation of the definitions."""

from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import merkle
from app.domain.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofFault,
    consistency_nodes,
    cover,
    inclusion_nodes,
    leaf_hash,
    node_hash,
    range_nodes,
    verify_inclusion,
)
from tests.merkle_proofs import hashes_at, root_of, root_of_range, verify_consistency

# The vectors of the reference implementations of Certificate Transparency.
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
NODES = {
    "0:2": "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "1:2": "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "0:1": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "2:4": "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "4:8": "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    "4:5": "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "6:8": "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "4:6": "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "0:4": "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
}
INCLUSION = [
    (0, 1, []),
    (0, 8, ["1:2", "2:4", "4:8"]),
    (5, 8, ["4:5", "6:8", "0:4"]),
    (2, 3, ["0:2"]),
    (1, 5, ["0:1", "2:4", "4:5"]),
]
CONSISTENCY = [
    (1, 1, []),
    (1, 8, ["1:2", "2:4", "4:8"]),
    (2, 5, ["2:4", "4:5"]),
    (6, 8, ["4:6", "6:8", "0:4"]),
]


class Naive:
    """The definitions of section 2.1, literally, over lists."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    @staticmethod
    def split(count: int) -> int:
        k = 1
        while k * 2 < count:
            k *= 2
        return k

    def mth(self, leaves: list[bytes]) -> bytes:
        if not leaves:
            return sha256(b"").digest()
        if len(leaves) == 1:
            return leaves[0]
        k = self.split(len(leaves))
        return sha256(b"\x01" + self.mth(leaves[:k]) + self.mth(leaves[k:])).digest()

    def path(self, m: int, leaves: list[bytes]) -> list[bytes]:
        if len(leaves) == 1:
            return []
        k = self.split(len(leaves))
        if m < k:
            return [*self.path(m, leaves[:k]), self.mth(leaves[k:])]
        return [*self.path(m - k, leaves[k:]), self.mth(leaves[:k])]

    def subproof(self, m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
        if m == len(leaves):
            return [] if whole else [self.mth(leaves)]
        k = self.split(len(leaves))
        if m <= k:
            return [*self.subproof(m, leaves[:k], whole), self.mth(leaves[k:])]
        return [*self.subproof(m - k, leaves[k:], False), self.mth(leaves[:k])]

    def subtree(self, level: int, number: int) -> bytes:
        assert (number + 1) << level <= len(self.leaves), "only complete subtrees are asked for"
        return self.mth(self.leaves[number << level : (number + 1) << level])


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


sizes = st.integers(1, 70)


@st.composite
def two_sizes(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(sizes)
    return draw(st.integers(1, size)), size


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int, int]:
    size = draw(sizes)
    first = draw(st.integers(0, size - 1))
    return first, draw(st.integers(first + 1, size)), size


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value) ^ (1 << bit % 256)).to_bytes(32)


def test_roots_and_proofs_are_those_of_certificate_transparency() -> None:
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
    tree = Naive(leaves)
    for size, root in enumerate(ROOTS):
        assert root_of(leaves[:size]).hex() == root == hashes_at([(0, size)], tree.subtree)[0].hex()
    for position, size, names in INCLUSION:
        proof = [bytes.fromhex(NODES[name]) for name in names]
        assert hashes_at(inclusion_nodes(position, size), tree.subtree) == proof
        assert verify_inclusion(leaves[position], position, size, proof, bytes.fromhex(ROOTS[size]))
    for old, new, names in CONSISTENCY:
        proof = [bytes.fromhex(NODES[name]) for name in names]
        assert hashes_at(consistency_nodes(old, new), tree.subtree) == proof
        assert verify_consistency(old, bytes.fromhex(ROOTS[old]), new, bytes.fromhex(ROOTS[new]), proof)


@given(st.integers(0, 300), st.data())
def test_a_tree_that_grows_has_the_root_of_the_definition_at_each_size(
    size: int, data: st.DataObject
) -> None:
    leaves = leaves_of(size)
    tree = Naive(leaves)
    stop = data.draw(st.integers(0, size))
    before = Frontier(stop, [tree.subtree(*node) for node in cover(0, stop)])
    for leaf in leaves[stop:]:
        before.push(leaf)
    assert before.root() == tree.mth(leaves) == root_of(leaves) == hashes_at([(0, size)], tree.subtree)[0]
    again = Frontier(before.size, before.hashes())
    assert (again.root(), again.size) == (before.root(), size)


@given(two_sizes(), st.integers(0), st.data())
def test_a_leaf_is_proven_where_it_is_and_nowhere_else(
    of: tuple[int, int], bit: int, data: st.DataObject
) -> None:
    position, size = of[0] - 1, of[1]
    leaves = leaves_of(size)
    tree = Naive(leaves)
    root, leaf = tree.mth(leaves), leaves[position]
    proof = hashes_at(inclusion_nodes(position, size), tree.subtree)
    assert proof == tree.path(position, leaves)
    assert verify_inclusion(leaf, position, size, proof, root)

    elsewhere = data.draw(st.integers(-2, size + 2).filter(lambda other: other != position))
    assert not verify_inclusion(leaf, elsewhere, size, proof, root)
    assert not verify_inclusion(flipped(leaf, bit), position, size, proof, root)
    assert not verify_inclusion(leaf, position, size, proof, flipped(root, bit))
    assert not verify_inclusion(leaf, position, size, [*proof, leaf], root)
    if proof:
        changed = data.draw(st.integers(0, len(proof) - 1))
        worse = [flipped(beside, bit) if at == changed else beside for at, beside in enumerate(proof)]
        assert not verify_inclusion(leaf, position, size, worse, root)
        assert not verify_inclusion(leaf, position, size, proof[1:], root)


@given(two_sizes(), st.integers(0), st.data())
def test_a_tree_is_proven_to_begin_with_what_it_was_and_with_nothing_else(
    of: tuple[int, int], bit: int, data: st.DataObject
) -> None:
    old, new = of
    leaves = leaves_of(new)
    tree = Naive(leaves)
    old_root, new_root = tree.mth(leaves[:old]), tree.mth(leaves)
    proof = hashes_at(consistency_nodes(old, new), tree.subtree)
    assert proof == tree.subproof(old, leaves, True)
    assert verify_consistency(old, old_root, new, new_root, proof)

    assert not verify_consistency(old, flipped(old_root, bit), new, new_root, proof)
    assert not verify_consistency(old, old_root, new, flipped(new_root, bit), proof)
    assert not verify_consistency(old, old_root, new, new_root, [*proof, old_root])
    other = data.draw(st.integers(-2, new + 2).filter(lambda size: size != old))
    if other == 0:
        assert not verify_consistency(0, old_root, new, new_root, proof)
    else:
        assert not verify_consistency(other, old_root, new, new_root, proof)
    if proof:
        changed = data.draw(st.integers(0, len(proof) - 1))
        worse = [flipped(beside, bit) if at == changed else beside for at, beside in enumerate(proof)]
        assert not verify_consistency(old, old_root, new, new_root, worse)
        assert not verify_consistency(old, old_root, new, new_root, proof[1:])


@given(sizes)
def test_every_tree_begins_with_the_empty_one(size: int) -> None:
    root = root_of(leaves_of(size))
    assert consistency_nodes(0, size) == []
    assert verify_consistency(0, EMPTY_ROOT, size, root, [])
    assert verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert not verify_consistency(0, root, size, root, [])
    assert not verify_consistency(0, EMPTY_ROOT, 0, root, [])


@given(ranges(), st.integers(0), st.data())
def test_a_range_gives_the_root_of_its_tree_and_a_changed_one_another(
    of: tuple[int, int, int], bit: int, data: st.DataObject
) -> None:
    first, end, size = of
    leaves = leaves_of(size)
    tree = Naive(leaves)
    root, proof = tree.mth(leaves), hashes_at(range_nodes(first, end, size), tree.subtree)
    assert root_of_range(first, end, iter(leaves[first:end]), size, proof) == root
    # A tree that ends with the range gives the same with the nodes to its right.
    left = [node for node in range_nodes(first, end, size) if node[1] <= first]
    frontier = Frontier(first, proof[: len(left)])
    for leaf in leaves[first:end]:
        frontier.push(leaf)
    assert frontier.root_with(size, proof[len(left) :]) == root
    for unfit in ([*proof[len(left) :], root], proof[len(left) + 1 :] if end < size else [root]):
        with pytest.raises(ProofFault):
            frontier.root_with(size, unfit)
    with pytest.raises(ProofFault):
        frontier.root_with(end - 1, [])
    # For one leaf, the nodes outside the range are its inclusion proof, from left to right.
    if end == first + 1:
        assert sorted(proof) == sorted(hashes_at(inclusion_nodes(first, size), tree.subtree))

    at = data.draw(st.integers(first, end - 1))
    worse = [flipped(leaf, bit) if number == at else leaf for number, leaf in enumerate(leaves)]
    assert root_of_range(first, end, worse[first:end], size, proof) != root
    for fewer_or_more in (leaves[first + 1 : end], [*leaves[first:end], root]):
        with pytest.raises(ProofFault):
            root_of_range(first, end, fewer_or_more, size, proof)
    with pytest.raises(ProofFault):
        root_of_range(first, end, leaves[first:end], size, [*proof, root])
    if proof:
        with pytest.raises(ProofFault):
            root_of_range(first, end, leaves[first:end], size, proof[1:])


hashes = st.binary(max_size=40) | st.binary(min_size=32, max_size=32)
numbers = st.integers(-3, 9) | st.integers()


@given(numbers, numbers, hashes, hashes, st.lists(hashes, max_size=70))
def test_whatever_is_handed_in_is_judged(
    a: int, b: int, one: bytes, other: bytes, proof: list[bytes]
) -> None:
    assert verify_inclusion(one, a, b, proof, other) in {True, False}
    assert verify_consistency(a, one, b, other, proof) in {True, False}
    with suppress(ProofFault):
        assert len(root_of_range(a, a + 1, [one], b, proof)) == merkle.HASH_BYTES


def test_hashes_of_another_length_prove_nothing() -> None:
    """Otherwise the author of a proof could move bytes from one side of a node to the other."""
    left, right = leaves_of(2)
    root = node_hash(left, right)
    assert root == node_hash(left + right[:1], right[1:])
    assert not verify_inclusion(left + right[:1], 0, 2, [right[1:]], root)
    assert not verify_consistency(1, left + right[:1], 2, root, [right[1:]])
    with pytest.raises(ProofFault):
        root_of_range(0, 1, [left], 2, [right[1:]])


def test_what_no_tree_has_is_refused() -> None:
    for position, size in ((-1, 4), (4, 4), (0, 0), (0, merkle.MAX_TREE_SIZE + 1)):
        with pytest.raises(ProofFault):
            inclusion_nodes(position, size)
    for old, new in ((-1, 4), (5, 4), (1, merkle.MAX_TREE_SIZE + 1)):
        with pytest.raises(ProofFault):
            consistency_nodes(old, new)
    for first, end, size in ((-1, 1, 4), (2, 2, 4), (0, 5, 4)):
        with pytest.raises(ProofFault):
            range_nodes(first, end, size)
    for edge in ([], leaves_of(2)):
        with pytest.raises(ProofFault):
            Frontier(4, edge)
