"""Backups of a running clearinghouse, and their way back.

A backup is a directory: the database in one consistent state, the keys, what was signed. What was
signed is copied first, so that it never names entries that the copy of the database lacks. It
holds fingerprints and private keys: keep it encrypted, and no longer than stated. An erased
fingerprint lives on in backups until the last one from before its erasure is deleted.
"""

import json
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg
from django.apps import apps
from django.core.management import call_command
from psycopg import sql

from unspread.clearinghouse import canaries, checking, composition, key_files
from unspread.clearinghouse.database import Sqlite, connect
from unspread.clearinghouse.files import public_blobs
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.store import Transaction, begin, item_by_listing, mark_lost
from unspread.errors import InputError, StateError
from unspread.feed.records import BLINDED, Entry, EntryKind
from unspread.feed.writer import CHECKPOINT_PATH, LOG_PREFIX
from unspread.transparency.tiles import TileReader

KEEP_DAYS: Final = 30
_NAME: Final = "%Y-%m-%dT%H-%M-%SZ"
_MANIFEST: Final = "manifest.json"
_SQLITE: Final = "database.sqlite3"
_TABLES: Final = "tables"


class BackupError(StateError):
    """A backup cannot be made or used like this."""


def back_up(settings: Settings, to: Path, now: datetime, *, keep_days: int = KEEP_DAYS) -> Path:
    """Make a backup in a new directory below `to`, and delete those older than `keep_days`.

    Raises:
        BackupError: if the place cannot be written to.
    """
    target = to / now.strftime(_NAME)
    partial = to / f".{target.name}.partial"
    try:
        partial.mkdir(mode=0o700, parents=True)
        for name, source in (("signed", settings.private_blobs), ("keys", settings.keys)):
            shutil.copytree(source, partial / name)
        connection = connect(settings)
        try:
            if isinstance(connection, Sqlite):
                connection.backup_to(str(partial / _SQLITE))
            else:
                _copy_tables_out(settings, partial / _TABLES)
        finally:
            connection.close()
        manifest = {"made_at": now.isoformat(), "url": settings.url, "version": 1}
        (partial / _MANIFEST).write_text(json.dumps(manifest))
        _sync_tree(partial)
        partial.rename(target)
    except OSError as error:
        raise BackupError(f"cannot back up to {to}: {error.strerror}") from None
    for old in to.iterdir():
        made_at = _made_at(old)
        if made_at is not None and made_at < now - timedelta(days=keep_days):
            shutil.rmtree(old)
    return target


def _made_at(directory: Path) -> datetime | None:
    try:
        return datetime.strptime(directory.name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


def _sync_tree(root: Path) -> None:
    for directory, _, names in os.walk(root):
        for name in [*names, "."]:
            descriptor = os.open(Path(directory) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _table_names() -> list[str]:
    models = apps.get_app_config("clearinghouse").get_models()
    # Parents before children, so that copying in meets no dangling reference.
    names = [model._meta.db_table for model in models]
    first = ["case_record", "partner"]
    return first + sorted(name for name in names if name not in first)


def _copy_tables_out(settings: Settings, to: Path) -> None:
    to.mkdir()
    with psycopg.connect(settings.database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name in _table_names():
            with (
                (to / name).open("wb") as file,
                connection.cursor() as cursor,
                cursor.copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))) as copy,
            ):
                for part in copy:
                    file.write(part)


def _copy_tables_in(settings: Settings, source: Path) -> None:
    with psycopg.connect(settings.database_url) as connection:
        for name in _table_names():
            table = sql.Identifier(name)
            ((count,),) = connection.execute(
                sql.SQL("SELECT COUNT(*) FROM {}").format(table)
            ).fetchall()
            if count:
                raise BackupError("the database to restore into is not empty")
            with (
                (source / name).open("rb") as file,
                connection.cursor() as cursor,
                cursor.copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy,
            ):
                while part := file.read(1 << 16):
                    copy.write(part)
            _continue_numbering(connection, name)


def _continue_numbering(connection: "psycopg.Connection[tuple[object, ...]]", table: str) -> None:
    """Let the next row's id follow the highest that was copied in."""
    sequences = connection.execute(
        "SELECT pg_get_serial_sequence(table_name, column_name) FROM information_schema.columns"
        " WHERE table_name = %s AND column_name = 'id' AND is_identity = 'YES'",
        (table,),
    ).fetchall()
    for (sequence,) in sequences:
        connection.execute(
            sql.SQL("SELECT setval(%s, (SELECT COALESCE(MAX(id), 0) + 1 FROM {}), false)").format(
                sql.Identifier(table)
            ),
            (sequence,),
        )


def restore(backup: Path, settings: Settings, *, published: Path | None, now: int) -> int:
    """Make an empty data directory (and database) what the backup holds; the log's size then.

    `published` is the directory that was served as /log and /feed, or a mirror of it. What it
    shows beyond the backup cannot be opened any more, but it was signed: it is taken over as
    erased entries, so that the log goes on and never forks. Listings erased since the backup are
    erased again by the list that the publisher keeps in `signed`, if the newer one is at hand.

    Raises:
        BackupError: if the directory is not empty or the backup is not one.
    """
    if not (backup / _MANIFEST).exists():
        raise BackupError("this is not a backup of a clearinghouse")
    if settings.data.exists() and any(settings.data.iterdir()):
        raise BackupError(f"{settings.data} is not empty: restore into a new directory")
    key_files.prepare(settings)
    shutil.rmtree(settings.keys)
    shutil.rmtree(settings.private_blobs)
    shutil.copytree(backup / "keys", settings.keys)
    shutil.copytree(backup / "signed", settings.private_blobs)
    if (backup / _SQLITE).exists():
        if settings.database_url:
            raise BackupError("this backup is of SQLite: restore without --database")
        shutil.copy(backup / _SQLITE, settings.sqlite_path)
    elif not settings.database_url:
        raise BackupError("this backup is of PostgreSQL: restore with --database")
    composition.compose(settings, key_files.django_key(settings))
    call_command("migrate", interactive=False, verbosity=0)
    if (backup / _TABLES).exists():
        _copy_tables_in(settings, backup / _TABLES)
    if published is not None:
        if settings.store_url:
            raise BackupError("what is in the object store is there: leave --published out")
        shutil.copytree(published, settings.blobs, dirs_exist_ok=True)
        newer = published.parent / settings.private_blobs.name
        if newer.exists():
            shutil.copytree(newer, settings.private_blobs, dirs_exist_ok=True)
    return _catch_up(settings, now)


def _catch_up(settings: Settings, now: int) -> int:
    """Append what was signed and is not in the database; erase what was erased since."""
    public = public_blobs(settings)
    checkpoint = checking.signed_checkpoint(settings, public, CHECKPOINT_PATH)
    connection = connect(settings)
    try:
        connection.begin()
        transaction = begin(connection, now)
        if checkpoint is not None and checkpoint.size > transaction.size:
            size = transaction.size
            reader = TileReader(lambda path: public.get(LOG_PREFIX + path), checkpoint.size)
            if reader.frontier().root() != checkpoint.root:
                raise BackupError("the published log is not what its checkpoint says")
            for _, entry in reader.entries(size, checkpoint.size):
                transaction.append(entry_from_public(entry), listing_id=-1)
            canaries.recognise(
                transaction,
                key_files.canary_key(settings),
                size,
                epoch_days=settings.canary_epoch_days,
            )
        _erase_again(transaction, settings)
        transaction.finish()
        connection.commit()
    finally:
        connection.close()
    return transaction.size


def _erase_again(transaction: Transaction, settings: Settings) -> None:
    for position in erased_positions(settings):
        item = item_by_listing(transaction.connection, position)
        if item is not None and not item.is_erased:
            mark_lost(transaction, item)


def erased_positions(settings: Settings) -> list[int]:
    """Positions that were ever erased, from the publisher's list."""
    path = settings.private_blobs / "erased-positions"
    if not path.exists():
        return []
    return [int(line) for line in path.read_text().split() if line.isdecimal()]


def note_erased(settings: Settings, positions: Iterable[int]) -> None:
    """Add to that list, durably."""
    with (settings.private_blobs / "erased-positions").open("a") as file:
        file.writelines(f"{position}\n" for position in sorted(positions))
        file.flush()
        os.fsync(file.fileno())


def entry_from_public(public: bytes) -> Entry:
    """The entry that has this public form and nothing else: erased, or public by nature.

    Raises:
        InputError: if it has the form of no entry.
    """
    if not public:
        raise InputError("an entry is not empty")
    if public[0] == BLINDED:
        return Entry(EntryKind.ERASED, public[1:])
    try:
        return Entry(EntryKind(public[0]), public[1:])
    except ValueError:
        raise InputError("an entry of a kind that is not known here") from None
