"""What it takes to erase one listing among a million, and what of it is left on the disk.

The jobs and the connections are the clearinghouse's own; rows are loaded directly. A withdrawal
is committed, the publisher's answer to it (`erasures_done`) after it, then the database settles
beside the writer (SQLite empties its write-ahead log, PostgreSQL vacuums). Then every file of the
database is searched for the bytes of what was erased.
"""

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

import psycopg

from benchmarks.report import Report
from tests.unit.clearinghouse.postgres import cluster
from unspread.clearinghouse import composition, key_files, store
from unspread.clearinghouse.database import connect
from unspread.clearinghouse.packing import pack
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.settling import Settler
from unspread.clearinghouse.writer import Writer
from unspread.feed.records import EntryKind
from unspread.model import Fingerprint, Kind, Part

WITHDRAWALS: Final = 20
_DAY: Final = 20_000
_ROWS_AT_ONCE: Final = 5_000
_CASE: Final = (
    "case_record",
    "id case_key content_digest age submitted_day expires_day promised_at",
)
_ITEM: Final = (
    "item",
    "id case_id number item_key salt media state level reasons commitment listing_id fingerprints"
    " withdrawal_signature listed_at revision changed_at suspended_because vouched_by erased",
)
_ENTRY: Final = ("log_entry", "position kind payload listing_id committed_at")
_Rows = Iterator[tuple[object, ...]]


def _value(number: int) -> bytes:
    """The PDQ of a listing: recognisable in any file, and in no other row."""
    return b"listing %16d of all" % number


def _fingerprints(number: int) -> bytes:
    whole = Fingerprint(Kind.PDQ, _value(number).ljust(32, b"."), quality=100)
    digest = Fingerprint(Kind.SHA256, number.to_bytes(32, "big"))
    window = number.to_bytes(32, "little")
    windows = [Fingerprint(Kind.PDQ, window, Part.WINDOW, 100) for _ in range(8)]
    return pack((whole, digest, *windows))


def _cases(count: int) -> _Rows:
    for at in range(count):
        key = at.to_bytes(32, "big")
        yield at, key, key, "unknown", _DAY, _DAY + 730, _DAY * 86_400


def _items(count: int) -> _Rows:
    for at in range(count):
        key, fingerprints = at.to_bytes(32, "big"), _fingerprints(at)
        yield (at, at, 0, key, key[16:], "image", "listed", "unverified", "", key, at, fingerprints,
               b"", _DAY * 86_400, at + 1, _DAY * 86_400, "", "", False)  # fmt: skip


def _entries(count: int) -> _Rows:
    for at in range(count):
        yield at, int(EntryKind.ADD), _fingerprints(at), at, _DAY * 86_400


def _tables(count: int) -> tuple[tuple[tuple[str, str], _Rows], ...]:
    return ((_CASE, _cases(count)), (_ITEM, _items(count)), (_ENTRY, _entries(count)))


def _prepared(data: Path, database_url: str) -> Settings:
    settings = Settings(data=data, training=True, database_url=database_url)
    key_files.prepare(settings)
    composition.compose(settings, "benchmark")
    composition.migrate()
    return settings


def _fill_sqlite(settings: Settings, count: int) -> None:
    connection = connect(settings)
    for (table, columns), rows in _tables(count):
        names = columns.split()
        marks = ", ".join("?" * len(names))
        # Names of ours.
        sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
        # All in one transaction would be a write-ahead log of gigabytes, searched for every page.
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            connection.begin()
            connection.run_many(sql, some)
            connection.commit()
    connection.settle()
    connection.close()


def _fill_postgres(settings: Settings, count: int) -> None:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        for (table, columns), rows in _tables(count):
            names = ", ".join(columns.split())
            with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


@dataclass
class _Measured:
    commit_ms: list[float]
    beside_ms: list[float]
    settle_ms: list[float]


def _withdraw(settings: Settings, numbers: range) -> _Measured:
    """Withdraw by the clearinghouse's own writer, and settle as it does: beside it."""
    measured = _Measured([], [], [])
    settler = Settler(connect(settings))
    _until_settled(settler)

    def committed(tx: store.Transaction) -> None:
        if tx.is_erasure_done:
            settler.wake()

    writer = Writer(
        connect(settings),
        lambda connection: store.begin(connection, int(time.time())),
        store.Transaction.finish,
        committed,
        max_waiting=100,
    )
    for at in numbers:
        key = at.to_bytes(32, "big")
        measured.commit_ms.append(
            _milliseconds(writer, lambda tx, key=key: store.withdraw(tx, [(key, b"\x00" * 64)]))
        )
        writer.submit(lambda tx, at=at: store.erasures_done(tx, [at])).result()
        started = time.perf_counter()
        # What somebody waits who comes while it settles.
        measured.beside_ms.append(_milliseconds(writer, lambda tx: tx.count("beside")))
        _until_settled(settler)
        measured.settle_ms.append((time.perf_counter() - started) * 1000)
    writer.close()
    settler.close()
    return measured


def _milliseconds(
    writer: Writer[store.Transaction], job: Callable[[store.Transaction], None]
) -> float:
    started = time.perf_counter()
    writer.submit(job).result()
    return (time.perf_counter() - started) * 1000


def _until_settled(settler: Settler) -> None:
    while not settler.is_settled:
        time.sleep(0.001)


_PIECE: Final = 16 * 1024 * 1024
_RECOGNISED: Final = re.compile(rb"listing ( *\d+) of all")


def _left(directory: Path, numbers: range) -> dict[str, int]:
    """How many of the erased values stand in the files, by kind of file."""
    found: dict[str, set[int]] = {"tables": set(), "pg_wal": set()}
    overlap = len(_value(0)) - 1
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        here = found["pg_wal" if "pg_wal" in path.parts else "tables"]
        with path.open("rb") as file:
            before = b""
            while piece := file.read(_PIECE):
                values = map(int, _RECOGNISED.findall(before + piece))
                here.update(value for value in values if value in numbers)
                before = piece[-overlap:]
    return {kind: len(each) for kind, each in found.items()}


def run(report: Report) -> None:
    """One after the other on SQLite and PostgreSQL."""
    count = 20_000 if report.quick else 1_000_000 if report.full else 200_000
    numbers = range(count // 3, count // 3 + WITHDRAWALS)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        settings = _prepared(Path(directory) / "data", "")
        _fill_sqlite(settings, count)
        sqlite = _withdraw(settings, numbers)
        sqlite_left = _left(settings.data, numbers)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory, cluster() as url:
        settings = _prepared(Path(directory) / "data", url)
        _fill_postgres(settings, count)
        postgres = _withdraw(settings, numbers)
        with psycopg.connect(url, autocommit=True) as other:
            (((place,),)) = other.execute("SHOW data_directory").fetchall()
            other.execute("CHECKPOINT")
            postgres_left = _left(Path(str(place)), numbers)
            started = time.perf_counter()
            other.execute("VACUUM FULL item")
            other.execute("VACUUM FULL log_entry")
            full_seconds = time.perf_counter() - started
            other.execute("CHECKPOINT")
            full_left = _left(Path(str(place)), numbers)
    for what, of in (
        ("withdrawal, committed", "commit_ms"),
        ("another write, while it settles", "beside_ms"),
        ("settled after it", "settle_ms"),
    ):
        ours, theirs = getattr(sqlite, of), getattr(postgres, of)
        report.row(f"{what}: median", median(ours), "ms", peer="PostgreSQL", theirs=median(theirs))
        report.row(f"{what}: longest", max(ours), "ms", peer="PostgreSQL", theirs=max(theirs))
    report.text(
        f"{count:,} listings of ten fingerprints each, {WITHDRAWALS} withdrawn one by one. After "
        "each the database settles (SQLite empties its write-ahead log, PostgreSQL vacuums) on a "
        "thread beside the writer, which takes other cases meanwhile. SQLite stands first because "
        "it is the default; process and database share two cores."
    )
    report.text(
        f"Of the {WITHDRAWALS} erased values SQLite's files held {sqlite_left['tables']} "
        f"afterwards, PostgreSQL's tables {postgres_left['tables']} and its write-ahead log "
        f"{postgres_left['pg_wal']}; that log it recycles by itself. `VACUUM FULL` of both tables, "
        f"during which nobody can write, took {full_seconds:.0f} s and left {full_left['tables']} "
        "in the tables."
    )
