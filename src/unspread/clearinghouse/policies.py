"""What the clearinghouse goes by, as public documents whose digests stand in the log.

A POLICY entry is appended when a document changes: it cannot change unseen. The documents are
served at `/policy/<digest>`; nothing secret stands in them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from unspread.clearinghouse import rules
from unspread.clearinghouse.database import Connection
from unspread.clearinghouse.partners import Partner, keys_words
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.store import Transaction
from unspread.feed.records import PolicyRecord

PREFIX: Final = "policy/"


def path(digest: bytes) -> str:
    """Where a document is, below the clearinghouse's address."""
    return f"{PREFIX}{digest.hex()}"


def _document(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def of_partners(known: Sequence[Partner]) -> bytes:
    """Who takes part, with which rights, by which keys, and what of the list each gets."""
    return _document({
        "partners": [
            {
                "id": each.partner_id,
                "name": each.name,
                "role": each.role,
                "may": sorted(each.scopes),
                "feed": each.feed_scope.to_text() if "feed" in each.scopes else None,
                "keys": keys_words(each) if each.signing_key else None,
            }
            for each in sorted(known, key=lambda each: each.partner_id)
            if each.state == "active"
        ]
    })  # fmt: skip


def of_keys(log_keys: Sequence[str], lookup_key: bytes, witness_policy: str) -> bytes:
    """The keys that sign, and the witnesses without whom nothing is published."""
    return _document({
        "log": list(log_keys),
        "lookup": lookup_key.hex(),
        "witnesses": witness_policy.splitlines(),
    })  # fmt: skip


def of_rules(settings: Settings) -> bytes:
    """The rules for what is listed, at which level, for how long, and how the log is kept."""
    constants = {
        name: value
        for name, value in vars(rules).items()
        if name.isupper() and isinstance(value, int | float | str)
    }
    return _document({
        "listing": constants,
        "source": hashlib.sha256(Path(rules.__file__).read_bytes()).hexdigest(),
        "canaries withheld at most": settings.canaries_per_epoch,
        "days of an epoch": settings.canary_epoch_days,
        "entries of a padded batch": settings.padding_batch,
        "training": settings.training,
    })  # fmt: skip


@cache
def of_release() -> bytes:
    """The version of the software, and every file of the page as it is served to people."""
    root = Path(__file__).parent / "pages" / "static"
    return _document({
        "unspread": version("unspread"),
        "page": {
            file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(root.rglob("*"))
            if file.is_file()
        },
    })  # fmt: skip


def logged(connection: Connection) -> dict[str, bytes]:
    """The newest digest of each label in the log."""
    rows = connection.rows("SELECT label, digest FROM logged_policy ORDER BY label")
    return {label: bytes(digest) for label, digest in rows}


def log_changes(tx: Transaction, documents: Mapping[str, bytes]) -> None:
    """Append an entry for each document whose digest is not the newest of its label."""
    known = logged(tx.connection)
    for label, document in sorted(documents.items()):
        digest = hashlib.sha256(document).digest()
        if known.get(label) == digest:
            continue
        tx.append(PolicyRecord(label, digest).to_entry(), listing_id=-1)
        tx.connection.run(
            "INSERT INTO logged_policy (label, digest) VALUES (?, ?)"
            " ON CONFLICT (label) DO UPDATE SET digest = ?",
            label,
            digest,
            digest,
        )
