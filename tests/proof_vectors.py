"""Makes vectors/proofs.json: `.tlog-proof` files that hold, and many that must be refused.

    python -m tests.proof_vectors > vectors/proofs.json

Everything follows from the seeds, so it is the same each time.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from unspread.crypto import SigningKey
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import fold, leaf_digest, node_digest
from unspread.transparency.note import Note, NoteSigner, sign_note
from unspread.transparency.proof import EntryProof, inclusion_proof

ORIGIN = "log.example/proofs"
NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
KEY = SigningKey(hashlib.sha256(b"log of the proofs").digest())
OTHER_KEY = SigningKey(hashlib.sha256(b"somebody else").digest())
WITNESS = NoteSigner(
    "witness.example/w", SigningKey(hashlib.sha256(b"witness").digest()), cosigns=True
)
PLACES = [
    (0, 1),
    (0, 2),
    (1, 2),
    (2, 3),
    (4, 7),
    (6, 7),
    (7, 8),
    (17, 25),
    (24, 25),
    (69_999, 70_001),
]
"""(index, size): a lone leaf, both sides, the right edge of trees that are not full, a large one"""


def commitment(index: int) -> bytes:
    return hashlib.sha256(b"commitment %d" % index).digest()


def leaves(size: int) -> list[bytes]:
    return [leaf_digest(b"\x01" + commitment(index)) for index in range(size)]


def made(
    index: int, size: int, *, origin: str = ORIGIN, signers: tuple[NoteSigner, ...] = ()
) -> EntryProof:
    """The proof of one entry in a log of `size`."""
    digests = leaves(size)
    path = inclusion_proof(
        lambda level, at: fold(digests[at << level : (at + 1) << level]), index, size
    )
    text = Checkpoint(origin, size, fold(digests)).to_text()
    note = sign_note(text, signers or (NoteSigner(origin, KEY),), NOW)
    return EntryProof(index, tuple(path), note)


def accepted() -> Iterator[dict[str, Any]]:
    for index, size in PLACES:
        yield case(f"entry {index} of {size}", made(index, size).to_bytes(), index) | {"size": size}
    witnessed = made(17, 25, signers=(NoteSigner(ORIGIN, KEY), WITNESS))
    yield case("with a witness", witnessed.to_bytes(), 17) | {"size": 25}
    extra = EntryProof(17, made(17, 25).digests, made(17, 25).checkpoint, b"anything")
    yield case("with something extra", extra.to_bytes(), 17) | {"size": 25}


def case(name: str, file: bytes, index: int, entry: int | None = None) -> dict[str, Any]:
    of = index if entry is None else entry
    return {
        "name": name,
        "index": index,
        "commitment": commitment(of).hex(),
        "file": base64.b64encode(file).decode(),
    }


def refused() -> Iterator[dict[str, Any]]:
    good = made(17, 25)
    text = good.to_bytes()
    digests, note = good.digests, good.checkpoint
    line = base64.b64encode(digests[0])
    signature = note.signatures[0].to_line().encode()

    def with_note(changed: Note) -> bytes:
        return EntryProof(17, digests, changed).to_bytes()

    def with_path(*changed: bytes) -> bytes:
        return EntryProof(17, changed, note).to_bytes()

    def off(value: bytes) -> bytes:
        return bytes([value[0] ^ 1]) + value[1:]

    own = NoteSigner(ORIGIN, KEY)
    another_root = Checkpoint(ORIGIN, 25, hashlib.sha256(b"another tree").digest()).to_text()
    yield case("the entry of somebody else", text, 17, entry=18)
    yield case("asked for 17, answered with 18", made(18, 25).to_bytes(), 17, entry=18)
    yield case(
        "another root under the old signature", with_note(Note(another_root, note.signatures)), 17
    )
    yield case(
        "another root, signed by the log", with_note(sign_note(another_root, (own,), NOW)), 17
    )
    stranger = NoteSigner(ORIGIN, OTHER_KEY)
    yield case("signed by somebody else", made(17, 25, signers=(stranger,)).to_bytes(), 17)
    forged = sign_note(note.text, (stranger,), NOW).signatures[0]
    claimed = type(forged)(ORIGIN, own.key.key_id, forged.value)
    yield case(
        "signed by somebody else who claims to be the log",
        with_note(Note(note.text, (claimed,))),
        17,
    )
    broken = type(claimed)(ORIGIN, own.key.key_id, off(note.signatures[0].value))
    yield case("a signature one bit off", with_note(Note(note.text, (broken,))), 17)
    yield case(
        "a good signature and a bad one", with_note(Note(note.text, (*note.signatures, broken))), 17
    )
    yield case("a signature cut short", text.replace(signature, signature[:-30] + b"\n"), 17)
    yield case("no signature of the log", made(17, 25, signers=(WITNESS,)).to_bytes(), 17)
    yield case("another log", made(17, 25, origin="log.example/other").to_bytes(), 17)
    renamed = sign_note(note.text.replace(ORIGIN, "log.example/other"), (own,), NOW)
    yield case("another log's tree under this log's signature", with_note(renamed), 17)
    smaller = Checkpoint(ORIGIN, 17, Checkpoint.from_text(note.text).root).to_text()
    yield case("a log without the entry", with_note(sign_note(smaller, (own,), NOW)), 17)
    yield case("a digest one bit off", with_path(off(digests[0]), *digests[1:]), 17)
    yield case("two digests changed places", with_path(digests[1], digests[0], *digests[2:]), 17)
    yield case("a digest too few", with_path(*digests[:-1]), 17)
    yield case("a digest too many", with_path(*digests, digests[0]), 17)
    yield case("65 digests", with_path(*digests * 13), 17)
    yield case("a digest of 31 bytes", with_path(digests[0][:-1], *digests[1:]), 17)
    yield case("a digest without padding", text.replace(line, line.rstrip(b"=")), 17)
    yield case("a digest after a space", text.replace(line, b" " + line), 17)
    # A log that lies signs whatever root the malformed path leads to.
    leaf = leaf_digest(b"\x01" + commitment(0))
    for name, index, size, path, root in [
        ("a lone leaf below a digest", 0, 1, (leaf,), node_digest(leaf, leaf)),
        ("a path that ends below the root", 0, 2, (), leaf),
        ("an index past the end", 1, 1, (), leaf_digest(b"\x01" + commitment(1))),
        ("a digest of 31 bytes, signed to fit", 0, 2, (leaf[1:],), node_digest(leaf, leaf[1:])),
    ]:
        fitting = sign_note(Checkpoint(ORIGIN, size, root).to_text(), (own,), NOW)
        yield case(name, EntryProof(index, path, fitting).to_bytes(), index)
    yield case("an index with a zero before it", text.replace(b"index 17", b"index 017"), 17)
    yield case("an index in other digits", text.replace(b"index 17", "index ١٧".encode()), 17)
    yield case("no index", text.replace(b"index 17\n", b""), 17)
    yield case(
        "a size with a zero before it",
        with_note(sign_note(note.text.replace("\n25\n", "\n025\n"), (own,), NOW)),
        17,
    )
    yield case(
        "a checkpoint without a root", with_note(sign_note(f"{ORIGIN}\n25\n", (own,), NOW)), 17
    )
    yield case("another version", text.replace(b"@v1", b"@v2"), 17)
    yield case("lines that end as on Windows", text.replace(b"\n", b"\r\n"), 17)
    yield case("not UTF-8", text.replace(b"index", b"ind\xff"), 17)
    yield case("cut off after the digests", text.partition(b"\n\n")[0] + b"\n\n", 17)
    yield case("cut off in the signature", text[:-20], 17)
    yield case("a line that is no signature", text + b"hello\n", 17)
    yield case("empty", b"", 17)
    yield case("an error page", b"<!doctype html><p>Not found", 17)


def make() -> dict[str, Any]:
    """The vectors."""
    return {
        "source": "tests/proof_vectors.py",
        "origin": ORIGIN,
        "log_key": KEY.public.hex(),
        "accepted": list(accepted()),
        "refused": list(refused()),
    }


if __name__ == "__main__":
    print(json.dumps(make(), indent=1, ensure_ascii=False))
