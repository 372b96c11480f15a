"""Trees, tiles, proofs and notes, judged by a naive twin, pymerkle and the RFCs' own vectors."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspread.crypto import PostQuantumSigningKey, SignatureError, SigningKey
from unspread.errors import InputError, TrustError
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import EMPTY_ROOT, Frontier, leaf_digest, node_digest
from unspread.transparency.note import (
    MalformedNoteError,
    MissingSignatureError,
    Note,
    NoteSigner,
    VerifierKey,
    sign_note,
)
from unspread.transparency.proof import (
    EntryProof,
    ProofError,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from unspread.transparency.tiles import (
    MalformedTileError,
    TileBuilder,
    TileReader,
    bundle_path,
    decode_bundle,
    encode_bundle,
    tile_path,
)

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "merkle.json").read_text())


def naive_root(entries: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not entries:
        return EMPTY_ROOT
    if len(entries) == 1:
        return leaf_digest(entries[0])
    split = 1 << (len(entries) - 1).bit_length() - 1
    return node_digest(naive_root(entries[:split]), naive_root(entries[split:]))


def log_of(entries: list[bytes], steps: list[int]) -> TileReader:
    """A log on tiles, grown to its size in steps, by another builder each time."""
    files: dict[str, bytes] = {}
    size = 0
    for stop in [*sorted(step for step in steps if step < len(entries)), len(entries)]:
        builder = TileBuilder(TileReader(files.__getitem__, size))
        files.update(builder.append(entries[size:stop]))
        files.update(builder.partial())
        size = stop
    return TileReader(files.__getitem__, size)


ENTRIES = [number.to_bytes(3, "big") for number in range(70_000)]


def test_roots_are_those_of_the_certificate_transparency_vectors() -> None:
    leaves = [bytes.fromhex(each) for each in VECTORS["leaves"]]
    frontier = Frontier()
    assert frontier.root().hex() == VECTORS["empty_root"]
    for size, root in enumerate(VECTORS["roots"], 1):
        frontier.append([leaf_digest(leaves[size - 1])])
        assert frontier.root().hex() == root == naive_root(leaves[:size]).hex()


def test_proofs_of_certificate_transparency_hold() -> None:
    roots = [VECTORS["empty_root"], *VECTORS["roots"]]
    tree = log_of([bytes.fromhex(each) for each in VECTORS["leaves"]], [])
    for each in VECTORS["consistency"]:
        before, after = each["from"], each["to"]
        proof = [bytes.fromhex(digest) for digest in each["proof"]]
        sides = (bytes.fromhex(roots[before]), bytes.fromhex(roots[after]))
        verify_consistency(before, sides[0], after, sides[1], proof)
        if after == len(VECTORS["leaves"]):
            assert consistency_proof(tree.node, before, after) == proof
        with pytest.raises(ProofError):
            verify_consistency(before, sides[0], after, sides[1], proof[:-1])
    real = VECTORS["inclusion"]
    path = [bytes.fromhex(digest) for digest in real["proof"]]
    leaf, root = bytes.fromhex(real["leaf"]), bytes.fromhex(real["root"])
    verify_inclusion(leaf, real["index"], real["size"], path, root)
    with pytest.raises(ProofError):
        verify_inclusion(leaf, real["index"] + 1, real["size"], path, root)


@settings(max_examples=60)
@given(size=st.integers(0, 900), steps=st.lists(st.integers(0, 900), max_size=6), data=st.data())
def test_trees_and_proofs_agree_with_an_independent_implementation(
    size: int, steps: list[int], data: st.DataObject
) -> None:
    entries = ENTRIES[:size]
    oracle = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        oracle.append_entry(entry)
    tree = log_of(entries, steps)
    root = tree.frontier().root()
    assert root == naive_root(entries)
    if not size:
        return
    assert root == oracle.get_root()
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(tree.node, index, size)
    verify_inclusion(leaf_digest(entries[index]), index, size, proof, root)
    theirs = oracle.prove_inclusion(index + 1)
    pymerkle.verify_inclusion(leaf_digest(entries[index]), root, theirs)
    assert proof == theirs.path[1:]
    before = data.draw(st.integers(0, size))
    old_root = naive_root(entries[:before])
    verify_consistency(before, old_root, size, root, consistency_proof(tree.node, before, size))


@settings(max_examples=150)
@given(size=st.integers(1, 300), data=st.data())
def test_a_wrong_proof_shows_nothing(size: int, data: st.DataObject) -> None:
    tree = log_of(ENTRIES[:size], [])
    root = tree.frontier().root()
    index = data.draw(st.integers(0, size - 1))
    claimed = data.draw(st.integers(0, size + 3))
    claimed_size = data.draw(st.integers(0, size + 3))
    proof = inclusion_proof(tree.node, index, size)
    change = data.draw(st.sampled_from(["none", "cut", "more", "flip"]))
    if change == "cut" and proof:
        del proof[data.draw(st.integers(0, len(proof) - 1))]
    elif change == "more":
        proof.insert(data.draw(st.integers(0, len(proof))), bytes(32))
    elif change == "flip" and proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    elif (claimed, claimed_size) == (index, size):
        return
    elif claimed_size != size and claimed == index:
        # A path may have the same shape in trees of two sizes; the signed size settles it.
        return
    with pytest.raises(ProofError):
        verify_inclusion(leaf_digest(ENTRIES[index]), claimed, claimed_size, proof, root)


def test_a_proof_is_as_long_as_the_tree_is_high() -> None:
    tree = log_of(ENTRIES[:4], [])
    proof = inclusion_proof(tree.node, 0, 4)
    root = tree.frontier().root()
    verify_inclusion(leaf_digest(ENTRIES[0]), 0, 4, proof, root)
    for size in (8, 9, 1 << 40):
        with pytest.raises(ProofError):
            verify_inclusion(leaf_digest(ENTRIES[0]), 0, size, proof, root)


@settings(max_examples=100)
@given(size=st.integers(2, 300), data=st.data())
def test_a_fork_has_no_proof_of_consistency(size: int, data: st.DataObject) -> None:
    before = data.draw(st.integers(1, size - 1))
    at = data.draw(st.integers(0, before - 1))
    forked = [*ENTRIES[:at], b"another", *ENTRIES[at + 1 : size]]
    tree = log_of(forked, [])
    proof = consistency_proof(tree.node, before, size)
    with pytest.raises(ProofError):
        verify_consistency(
            before, naive_root(ENTRIES[:before]), size, tree.frontier().root(), proof
        )


def test_a_log_of_70_000_entries_has_the_tiles_that_the_specification_counts() -> None:
    files: dict[str, bytes] = {}
    builder = TileBuilder(TileReader(files.__getitem__, 0))
    files.update(builder.append(ENTRIES))
    files.update(builder.partial())
    assert sum(path.startswith("tile/0/") and ".p/" not in path for path in files) == 273
    assert {path for path in files if ".p/" in path} == {
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
        "tile/entries/273.p/112",
    }
    tree = TileReader(files.__getitem__, 70_000)
    assert tree.frontier().root() == builder.frontier.root()
    assert [entry for _, entry in tree.entries(69_000, 70_000)] == ENTRIES[69_000:]


def test_paths_are_those_of_the_specification() -> None:
    assert tile_path(3, 1234067) == "tile/3/x001/x234/067"
    assert tile_path(0, 5, 17) == "tile/0/005.p/17"
    assert bundle_path(1000) == "tile/entries/x001/000"


@given(entries=st.lists(st.binary(max_size=40), max_size=20), cut=st.integers(1, 5))
def test_bundles_hold_exactly_their_entries(entries: list[bytes], cut: int) -> None:
    data = encode_bundle(entries)
    assert decode_bundle(data, len(entries)) == entries
    for wrong, width in ((data, len(entries) + 1), (data[:-cut] + b"", len(entries))):
        if wrong != data or width != len(entries):
            with pytest.raises(MalformedTileError):
                decode_bundle(wrong, width)


def test_an_entry_that_is_not_in_the_tree_is_refused() -> None:
    files: dict[str, bytes] = {}
    builder = TileBuilder(TileReader(files.__getitem__, 0))
    files.update(builder.append(ENTRIES[:5]))
    files.update(builder.partial())
    files["tile/entries/000.p/5"] = encode_bundle([*ENTRIES[:4], b"x"])
    with pytest.raises(MalformedTileError):
        list(TileReader(files.__getitem__, 5).entries(0, 5))


@given(size=st.integers(0, 5000), cleared=st.integers(0, 13))
def test_a_frontier_knows_the_trees_that_it_grew_from(size: int, cleared: int) -> None:
    frontier = Frontier()
    frontier.append([leaf_digest(entry) for entry in ENTRIES[:size]])
    earlier = size >> cleared << cleared
    assert frontier.truncated(earlier).root() == naive_root(ENTRIES[:earlier])
    assert frontier.root() == naive_root(ENTRIES[:size])
    if size & (size - 1) and size % 2 == 0:
        with pytest.raises(ValueError, match="does not know"):
            frontier.truncated(size - 1)


# -- notes

SIGNERS = [
    NoteSigner("log.example/one", SigningKey(b"\x07" * 32)),
    NoteSigner("log.example/one", PostQuantumSigningKey(b"\x08" * 32)),
    NoteSigner("witness.example/w", SigningKey(b"\x09" * 32), cosigns=True),
]
CHECKPOINT = Checkpoint("log.example/one", 70_000, bytes(range(32)))


def test_a_note_is_read_as_it_was_written_and_its_signatures_hold() -> None:
    note = sign_note(CHECKPOINT.to_text(), SIGNERS, NOW)
    again = Note.from_bytes(note.to_bytes())
    assert again == note
    assert Checkpoint.from_text(again.text) == CHECKPOINT
    signed = again.signed_by([each.key for each in SIGNERS])
    assert [signed[each.key] for each in SIGNERS] == [None, NOW, NOW]


def test_the_specifications_own_example_verifies() -> None:
    """The log and witness lines of c2sp.org/tlog-cosignature: parsed, and of the given time."""
    text = (
        "example.com/behind-the-sofa\n20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5"
        "/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
        "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    note = Note.from_bytes(text.encode())
    assert Checkpoint.from_text(note.text).size == 20852163
    assert int.from_bytes(note.signatures[1].value[:8], "big") == 1679315147
    assert note.to_bytes() == text.encode()


@pytest.mark.parametrize("signer", SIGNERS, ids=["ed25519", "ml-dsa-44", "cosignature"])
def test_a_signature_holds_for_its_text_and_key_only(signer: NoteSigner) -> None:
    note = sign_note(CHECKPOINT.to_text(), [signer], NOW)
    other = replace(note, text=replace(CHECKPOINT, size=70_001).to_text())
    with pytest.raises(SignatureError):
        other.require(signer.key)
    with pytest.raises(MissingSignatureError):
        note.require(SIGNERS[SIGNERS.index(signer) - 1].key)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"text\n", id="no signature"),
        pytest.param("text\n\n— name AAAAAAAA".encode(), id="no last newline"),
        pytest.param("text\r\n\n— name AAAAAAAA\n".encode(), id="control character"),
        pytest.param("text\n\n— na+me AAAAAAAA\n".encode(), id="plus in the name"),
        pytest.param(b"text\n\n- name AAAAAAAA\n", id="a hyphen for the dash"),
        pytest.param("text\n\n— name AAAA\n".encode(), id="identifier cut short"),
        pytest.param("text\n\n— name AAAAAAB=\n".encode(), id="base64 in another spelling"),
        pytest.param(b"\xff\n\n", id="not UTF-8"),
        pytest.param(("text\n\n" + "— name AAAAAAAA\n" * 65).encode(), id="too many signatures"),
        pytest.param(b"x" * 300_000, id="too long"),
    ],
)
def test_what_is_not_a_note_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedNoteError):
        Note.from_bytes(wrong)


@pytest.mark.parametrize(
    "wrong",
    ["", "a\n1\n", "a\n01\nAA==\n", "a\n1\n" + "A" * 43 + "=\nx", "a\n-1\n" + "A" * 43 + "=\n",
     "\n1\n" + "A" * 43 + "=\n", "a\n1\nAAAA\n", "a\n\u0661\n" + "A" * 43 + "=\n"],
)  # fmt: skip
def test_what_is_not_a_checkpoint_is_refused(wrong: str) -> None:
    with pytest.raises(MalformedNoteError):
        Checkpoint.from_text(wrong)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser_of_notes_or_proofs(data: bytes) -> None:
    for parse in (Note.from_bytes, EntryProof.from_bytes):
        try:
            parsed = parse(data)
        except TrustError:
            continue
        assert parsed.to_bytes() == data


def test_verifier_keys_have_one_text() -> None:
    for signer in SIGNERS:
        text = signer.key.to_text()
        assert VerifierKey.from_text(text) == signer.key
        for wrong in (text[:-4], text.replace("+", "+0", 1), text + "=", "x" + text):
            with pytest.raises(InputError):
                VerifierKey.from_text(wrong)
    # The example of https://c2sp.org/signed-note and of Go's sumdb/note documentation.
    go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert VerifierKey.from_text(go).name == "PeterNeumann"


def test_go_s_documented_note_verifies() -> None:
    """From https://pkg.go.dev/golang.org/x/mod/sumdb/note, example Open."""
    note = Note.from_bytes(
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
        "otpRZb6KE6RyyBwJnAM=\n".encode()
    )
    key = VerifierKey.from_text(
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    )
    note.require(key)
    with pytest.raises(SignatureError):
        replace(note, text=note.text.upper()).require(key)


def test_a_proof_file_shows_its_entry_and_no_other() -> None:
    tree = log_of(ENTRIES[:1000], [])
    checkpoint = Checkpoint("log.example/one", 1000, tree.frontier().root())
    note = sign_note(checkpoint.to_text(), SIGNERS, NOW)
    proof = EntryProof(321, tuple(inclusion_proof(tree.node, 321, 1000)), note, b"extra")
    again = EntryProof.from_bytes(proof.to_bytes())
    assert again == proof
    assert again.verify(ENTRIES[321]) == checkpoint
    with pytest.raises(ProofError):
        again.verify(ENTRIES[322])
