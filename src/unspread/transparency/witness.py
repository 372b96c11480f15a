"""A witness: signs a log's checkpoints, each only if it continues the one it signed before.

The protocol is https://c2sp.org/tlog-witness. `Witness` does no network; `witness_command` serves
it, and `Witnesses` is the log's side. State is one row for each log in SQLite, written before a
signature leaves, so that not even a power cut makes a witness sign a fork.
"""

import base64
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx

from unspread.errors import InputError, TrustError
from unspread.transparency.checkpoint import Checkpoint
from unspread.transparency.merkle import DIGEST_BYTES, EMPTY_ROOT
from unspread.transparency.note import (
    MAX_NOTE_BYTES,
    MalformedNoteError,
    Note,
    NoteSigner,
    Signature,
    VerifierKey,
    decode_base64,
    decode_decimal,
)
from unspread.transparency.proof import (
    NodeSource,
    ProofError,
    consistency_proof,
    verify_consistency,
)

MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 8 * 1024
MAX_PROOF_LINES: Final = 63
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS witnessed (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class CosignRequest:
    """What a log asks of a witness."""

    old_size: int
    """The size that the witness has signed last, as far as the log knows."""
    proof: tuple[bytes, ...]
    """That the checkpoint continues the tree of that size."""
    note: Note

    def to_bytes(self) -> bytes:
        """The body of `add-checkpoint`."""
        digests = [base64.b64encode(digest).decode() for digest in self.proof]
        head = "\n".join([f"old {self.old_size}", *digests])
        return head.encode() + b"\n\n" + self.note.to_bytes()

    @classmethod
    def from_bytes(cls, body: bytes) -> "CosignRequest":
        """The request in a body of `add-checkpoint`.

        Raises:
            MalformedNoteError: if it is not one.
        """
        head, separator, note = body.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise MalformedNoteError("not a request to a witness") from None
        if not separator or not first.startswith("old ") or len(lines) > MAX_PROOF_LINES:
            raise MalformedNoteError("not a request to a witness")
        proof = tuple(decode_base64(line) for line in lines)
        if any(len(digest) != DIGEST_BYTES for digest in proof):
            raise MalformedNoteError("a digest has 32 bytes")
        return cls(decode_decimal(first.removeprefix("old ")), proof, Note.from_bytes(note))


class Witness:
    """One witness and the logs that it watches."""

    def __init__(
        self, signers: Sequence[NoteSigner], logs: Sequence[VerifierKey], database: Path
    ) -> None:
        """A log's origin is the name of its key; several keys may serve one log."""
        if not signers or not logs:
            raise InputError("a witness has a key, and a log to watch")
        self._signers = list(signers)
        self._logs: dict[str, list[VerifierKey]] = {}
        for key in logs:
            self._logs.setdefault(key.name, []).append(key)
        self._database = database
        with closing(self._connect()) as connection:
            connection.execute(_SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._database, isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def add_checkpoint(self, body: bytes, now: datetime) -> Answer:
        """Cosign a checkpoint, or say why not. May be called by many threads."""
        try:
            request = CosignRequest.from_bytes(body)
            checkpoint = Checkpoint.from_text(request.note.text)
        except MalformedNoteError as error:
            return Answer(400, f"{error}\n".encode())
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            return Answer(404, b"this witness does not watch that log\n")
        try:
            signed = request.note.signed_by(keys)
        except TrustError:
            signed = {}
        if not signed:
            return Answer(403, b"the log's own signature is missing or does not hold\n")
        if request.old_size > checkpoint.size:
            return Answer(400, b"the old size is larger than the new one\n")
        with closing(self._connect()) as connection:
            # One writer at a time: comparing and storing must not be torn apart.
            connection.execute("BEGIN IMMEDIATE")
            answer = self._decide(connection, request, checkpoint, now)
            connection.execute("COMMIT" if answer.status == 200 else "ROLLBACK")
        return answer

    def _decide(
        self,
        connection: sqlite3.Connection,
        request: CosignRequest,
        checkpoint: Checkpoint,
        now: datetime,
    ) -> Answer:
        size, root = connection.execute(
            "SELECT size, root FROM witnessed WHERE origin = ?", (checkpoint.origin,)
        ).fetchone() or (0, EMPTY_ROOT)
        if request.old_size != size or (size == checkpoint.size and root != checkpoint.root):
            return Answer(409, f"{size}\n".encode(), "text/x.tlog.size")
        try:
            verify_consistency(size, root, checkpoint.size, checkpoint.root, request.proof)
        except ProofError as error:
            return Answer(422, f"{error}\n".encode())
        note = request.note
        signatures = tuple(signer.sign(note.text, now) for signer in self._signers)
        cosigned = Note(note.text, (*_known(note, self._logs[checkpoint.origin]), *signatures))
        connection.execute(
            "INSERT OR REPLACE INTO witnessed VALUES (?, ?, ?, ?)",
            (checkpoint.origin, checkpoint.size, checkpoint.root, cosigned.to_bytes()),
        )
        return Answer(200, "".join(each.to_line() for each in signatures).encode())

    def latest(self, origin_digest: str) -> Answer:
        """The last checkpoint that was cosigned, by the hex SHA-256 of its log's origin."""
        for origin in self._logs:
            if sha256(origin.encode()).hexdigest() == origin_digest:
                with closing(self._connect()) as connection:
                    row = connection.execute(
                        "SELECT note FROM witnessed WHERE origin = ?", (origin,)
                    ).fetchone()
                if row is not None:
                    return Answer(200, row[0])
        return Answer(404, b"nothing has been witnessed of that log\n")


def _known(note: Note, keys: list[VerifierKey]) -> list[Signature]:
    known = {(key.name, key.key_id) for key in keys}
    return [each for each in note.signatures if (each.name, each.key_id) in known]


class Witnesses:
    """The log's side: asks every witness for its cosignatures; what `FeedWriter` is given.

    A witness that does not answer in time, refuses, or signs wrongly gives none: the log is no
    worse off than without it, and the quorum decides.
    """

    def __init__(self, client: httpx.Client, witnesses: Sequence[tuple[VerifierKey, str]]) -> None:
        """From a client with the time-out wanted, and each witness's key and address."""
        self._client = client
        self._keys: dict[str, list[VerifierKey]] = {}
        for key, url in witnesses:
            if url:
                self._keys.setdefault(url.rstrip("/"), []).append(key)
        self._signed_sizes = dict.fromkeys(self._keys, 0)
        self._threads = ThreadPoolExecutor(max(1, len(self._keys)), "witness")

    def __call__(self, note: Note, node: NodeSource) -> list[Signature]:
        """The cosignatures on a checkpoint; `node` gives the digests of the log's tree."""
        size = Checkpoint.from_text(note.text).size
        found: list[Signature] = []
        urls = list(self._keys)
        # Twice, because a witness that has signed another size than we think says which.
        for _ in range(2):
            requests = [
                CosignRequest(
                    old_size, tuple(consistency_proof(node, old_size, size)), note
                ).to_bytes()
                for old_size in (min(self._signed_sizes[url], size) for url in urls)
            ]
            answers = list(self._threads.map(self._post, urls, requests))
            for url, answer in zip(urls, answers, strict=True):
                if answer.status == 200:
                    found += _held(note, answer.body, self._keys[url])
                    self._signed_sizes[url] = size
                elif answer.status == 409:
                    self._signed_sizes[url] = _signed_size(answer.body)
            urls = [
                url
                for url, answer in zip(urls, answers, strict=True)
                if answer.status == 409 and self._signed_sizes[url] <= size
            ]
        return found

    def _post(self, url: str, body: bytes) -> Answer:
        try:
            with self._client.stream("POST", url + "/add-checkpoint", content=body) as response:
                parts: list[bytes] = []
                for chunk in response.iter_bytes():
                    parts.append(chunk)
                    if sum(map(len, parts)) > MAX_NOTE_BYTES:
                        return Answer(502, b"")
        except httpx.HTTPError:
            return Answer(503, b"")
        return Answer(response.status_code, b"".join(parts))


def _signed_size(body: bytes) -> int:
    try:
        return decode_decimal(body.decode("ascii").removesuffix("\n"))
    except (UnicodeDecodeError, MalformedNoteError):
        return 0


def _held(note: Note, lines: bytes, keys: Sequence[VerifierKey]) -> list[Signature]:
    try:
        cosigned = Note.from_bytes((note.text + "\n").encode() + lines)
        held = {(key.name, key.key_id) for key in cosigned.signed_by(keys)}
    except TrustError:
        return []
    return [each for each in cosigned.signatures if (each.name, each.key_id) in held]
