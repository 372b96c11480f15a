"""The log and the feed: appended, sealed, verified, beside pymerkle; a long list from nothing."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
import pymerkle

from benchmarks.report import Report
from unspread.crypto import OpeningKey, PostQuantumSigningKey, SigningKey, seal_to
from unspread.feed.blobs import DirectoryBlobs, MemoryBlobs
from unspread.feed.canaries import CanaryEpoch
from unspread.feed.partner_feed import BLOCK
from unspread.feed.reader import FeedReader
from unspread.feed.records import AddRecord, Entry, EntryKind
from unspread.feed.segments import SegmentContext
from unspread.feed.writer import FeedPartner, FeedWriter
from unspread.fingerprint.windows import SUBMITTED_WINDOWS
from unspread.model import Age, Fingerprint, Kind, Level, Media, Part
from unspread.testing.feed import fetched
from unspread.transparency.note import NoteSigner, VerifierKey
from unspread.transparency.policy import NO_WITNESSES, Group, LogPolicy, trial_policy
from unspread.transparency.proof import inclusion_proof, verify_inclusion
from unspread.transparency.tiles import TileBuilder, TileReader
from unspread.transparency.witness import Witness, Witnesses
from unspread.transparency.witness_command import make_server

ORIGIN: Final = "log.example/bench"
NOW: Final = datetime(2026, 11, 23, 6, tzinfo=UTC)
LOG_KEY: Final = SigningKey(b"\x01" * 32)
READING_KEY: Final = OpeningKey(b"\x02" * 32)
PARTNER: Final = FeedPartner("bench", READING_KEY.public)
PLATFORMS: Final = 200
"""That an erasure issues a full segment again for."""


def _payload(windows: int) -> bytes:
    """A listing's, with a whole PDQ, those of windows, and two digests."""
    return AddRecord(
        Media.IMAGE, Age.UNKNOWN, Level.UNVERIFIED, NOW, bytes(16),
        (
            Fingerprint(Kind.PDQ, bytes(32), quality=100),
            *[Fingerprint(Kind.PDQ, bytes(32), Part.WINDOW, 100)] * windows,
            Fingerprint(Kind.SHA256, bytes(32)),
            Fingerprint(Kind.MD5, bytes(16)),
        ),
    ).to_bytes(bytes(16))  # fmt: skip


@dataclass(frozen=True)
class SyntheticEntries:
    """A database of pictures that nobody took: each entry follows from its index."""

    count: int
    windows: int = 0

    def entries(self, start: int, stop: int) -> Iterator[Entry]:
        payload = _payload(self.windows)
        kind, head, tail = EntryKind.ADD, payload[16:46], payload[78:]
        for index in range(start, stop):
            drawn = sha256(index.to_bytes(8, "big")).digest()
            yield Entry(kind, drawn[:16] + head + drawn + tail)


def _writer(
    directory: Path | None, count: int, windows: int = 0
) -> tuple[FeedWriter, MemoryBlobs | DirectoryBlobs]:
    public = MemoryBlobs() if directory is None else DirectoryBlobs(directory / "public")
    private = MemoryBlobs() if directory is None else DirectoryBlobs(directory / "private")
    writer = FeedWriter(
        origin=ORIGIN, log_key=LOG_KEY, public=public, private=private,
        source=SyntheticEntries(count, windows),
    )  # fmt: skip
    return writer, public


def _reader() -> FeedReader:
    policy = trial_policy(ORIGIN, LOG_KEY.public)
    return FeedReader(policy=policy, partner_id="bench", key=READING_KEY)


def _cpu(work: Callable[[], object], runs: int = 3) -> float:
    """Seconds of processor time for one call, the best of some: others share the machine."""
    best = float("inf")
    for _ in range(runs):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def publish(directory: Path, count: int) -> dict[str, float]:
    """Publish `count` entries from nothing, and bring the feed's files together."""
    writer, blobs = _writer(directory, count)
    started = time.perf_counter()
    writer.publish(count, [PARTNER], NOW)
    while (volume := writer.volume_due([PARTNER])) is not None:
        writer.adopt(volume, volume.write(blobs), [PARTNER], NOW)
    # Files that nobody can ask for any more go.
    writer.publish(count, [PARTNER], NOW + timedelta(minutes=11))
    took = time.perf_counter() - started
    sizes = [file.stat().st_size for file in (directory / "public").rglob("*") if file.is_file()]
    return _measured(took, bytes=sum(sizes), files=len(sizes))


def follow(directory: Path, count: int) -> dict[str, float]:
    """Follow what `publish` wrote, from nothing."""
    public = DirectoryBlobs(directory / "public")
    reader = _reader()
    fetched_bytes = events = 0
    files: set[str] = set()
    started = time.perf_counter()
    reader.begin()
    while (request := reader.next_request()) is not None:
        body = fetched(public, request)
        fetched_bytes += len(body)
        files.add(request.path)
        events += len(reader.receive(request, body, NOW))
    took = time.perf_counter() - started
    if events != count:
        raise SystemExit("not every entry was handed out")
    return _measured(took, bytes=fetched_bytes, files=len(files))


def _measured(took: float, **more: float) -> dict[str, float]:
    # Not getrusage: a child counts what its parent held when it was started.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return {"seconds": took, "cpu": time.process_time(), "peak": peak, **more}


def _in_child(what: str, directory: Path, count: int) -> dict[str, float]:
    """A process of its own, so that its peak of memory is its own."""
    command = [sys.executable, "-m", "benchmarks.feed", what, str(directory), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def run(report: Report) -> None:
    """All rates; a list of 100 000, 1 000 000 (not `--quick`) and 10 000 000 (`--full`) entries."""
    count = 1 << 16
    entries = list(SyntheticEntries(count).entries(0, count))
    publics = [entry.public() for entry in entries]

    def append() -> None:
        for _ in TileBuilder(TileReader({}.__getitem__, 0)).append(publics):
            pass

    tree = pymerkle.InmemoryTree(algorithm="sha256")
    theirs = _cpu(lambda: [tree.append_entry(public) for public in publics[:20_000]], 1)
    report.row(
        "entries appended to a log, tiles made", count / _cpu(append), "entries/s a core",
        peer="pymerkle 7, in memory", theirs=20_000 / theirs, better="more",
    )  # fmt: skip

    files: dict[str, bytes] = {}
    builder = TileBuilder(TileReader(files.__getitem__, 0))
    files.update(builder.append(publics))
    files.update(builder.partial())
    reader = TileReader(files.__getitem__, count)
    root = builder.frontier.root()
    leaf = sha256(b"\x00" + publics[777]).digest()
    proof = inclusion_proof(reader.node, 777, count)
    proved = tree.prove_inclusion(778)
    leaf_of_peer, root_of_peer = sha256(b"\x00" + publics[777]).digest(), tree.get_root()
    report.row(
        "a proof of inclusion verified",
        _cpu(lambda: [verify_inclusion(leaf, 777, count, proof, root) for _ in range(2000)]) * 500,
        "µs", peer="pymerkle 7",
        theirs=_cpu(lambda: [
            pymerkle.verify_inclusion(leaf_of_peer, root_of_peer, proved) for _ in range(2000)
        ]) * 500,
    )  # fmt: skip

    plaintext = os.urandom(16 << 20)
    context = SegmentContext(ORIGIN, "bench", 0, count, 0)
    report.row(
        "a segment sealed", 16 / 1024 / _cpu(lambda: context.seal(plaintext, PARTNER.public_key)),
        "GiB/s a core", better="more",
    )  # fmt: skip
    hybrid, _ = OpeningKey.generate(hybrid=True)
    for name, key in (("X25519", READING_KEY), ("ML-KEM-768 with X25519", hybrid)):
        wrapped = seal_to(key.public, bytes(32), b"")
        report.row(
            f"a segment's key wrapped, {name}",
            _cpu(lambda k=key: [seal_to(k.public, bytes(32), b"") for _ in range(200)]) * 5000,
            "µs", better="less",
        )  # fmt: skip
        report.row(
            f"a segment's key unwrapped, {name}",
            _cpu(lambda k=key, w=wrapped: [k.open(w, b"") for _ in range(200)]) * 5000,
            "µs",
        )  # fmt: skip

    writer, public = _writer(None, count)
    report.row(
        "entries published: tiles, segments sealed, signed",
        count / _cpu(lambda: writer.publish(count, [PARTNER], NOW), 1),
        "entries/s a core", better="more",
    )  # fmt: skip

    def verify() -> None:
        following = _reader()
        following.begin()
        while (request := following.next_request()) is not None:
            following.receive(request, fetched(public, request), NOW)

    report.row(
        "entries opened, verified and handed out", count / _cpu(verify, 20), "entries/s a core",
        better="more", at_least=250_000,
    )  # fmt: skip

    few = 1 << 14
    writer, public = _writer(None, few, SUBMITTED_WINDOWS)
    report.row(
        f"the same with {SUBMITTED_WINDOWS} windows each: published",
        few / _cpu(lambda: writer.publish(few, [PARTNER], NOW), 1),
        "entries/s a core", better="more",
    )  # fmt: skip
    report.row(
        f"the same with {SUBMITTED_WINDOWS} windows each: verified and handed out",
        few / _cpu(verify, 40), "entries/s a core", better="more", at_least=250_000,
    )  # fmt: skip

    _latency(report)
    for windows in (0, SUBMITTED_WINDOWS):
        _erasure(report, windows)

    innocent = 0
    for count, leakers, wanted in ((400, 1, 100), (400, 2, 0), (900, 2, 99), (900, 3, 0)):
        traced, accused = _traced(count, leakers)
        innocent += accused
        report.row(
            f"epochs in which all of {leakers} leakers are traced, {count} canaries", traced, "%",
            better="more", at_least=wanted or None,
        )  # fmt: skip
    report.row("platforms accused that leaked nothing", innocent, "platforms", at_most=0)
    report.text(
        "Rates are of processor time of one core. An entry is a picture: one PDQ, SHA-256 and MD5."
        " An erasure issues a full segment again for each platform, sealed to a hybrid key."
    )
    _lists(report)


def _latency(report: Report) -> None:
    """From committed to verified by a reader, on disk, then with two witnesses over HTTP."""
    names = ("one.example/w", "two.example/w")
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        directory = Path(name)
        pairs: list[tuple[VerifierKey, str]] = []
        for witness_name in names:
            seed = sha256(witness_name.encode()).digest()
            signers = [
                NoteSigner(witness_name, SigningKey(seed), cosigns=True),
                NoteSigner(witness_name, PostQuantumSigningKey(seed)),
            ]
            database = directory / f"{witness_name.partition('.')[0]}.sqlite"
            witness = Witness(signers, [NoteSigner(ORIGIN, LOG_KEY).key], database)
            server = make_server(witness, "127.0.0.1", 0)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            running.callback(server.server_close)
            running.callback(server.shutdown)
            url = f"http://127.0.0.1:{server.server_address[1]}"
            pairs += [(signer.key, url) for signer in signers]
        client = running.enter_context(httpx.Client(timeout=30))
        witnessed = Group(2, tuple(Group(1, (key,)) for key, _ in pairs[::2]))
        for quorum, what, most in (
            (NO_WITNESSES, "without witnesses", 2.0),
            (witnessed, "with two witnesses", 30.0),
        ):
            blobs = DirectoryBlobs(directory / what / "public")
            writer = FeedWriter(
                origin=ORIGIN, log_key=LOG_KEY, public=blobs,
                private=DirectoryBlobs(directory / what / "private"), source=SyntheticEntries(200),
                cosign=Witnesses(client, pairs) if quorum.threshold else None, quorum=quorum,
            )  # fmt: skip
            reader = FeedReader(
                policy=LogPolicy(NoteSigner(ORIGIN, LOG_KEY).key, quorum),
                partner_id="bench", key=READING_KEY,
            )  # fmt: skip
            seconds = []
            for size in range(1, 101):
                started = time.perf_counter()
                writer.publish(size, [PARTNER], NOW)
                reader.begin()
                while (request := reader.next_request()) is not None:
                    reader.receive(request, fetched(blobs, request), NOW)
                seconds.append(time.perf_counter() - started)
            if reader.size != 100:
                raise SystemExit("the reader is not up to date")
            report.row(
                f"committed to verified by a platform, {what}, 95 of 100",
                sorted(seconds)[94], "s", at_most=most,
            )  # fmt: skip


def _traced(count: int, leakers: int) -> tuple[float, int]:
    """Of 100 epochs those in which all leakers are traced, in %; how many innocents are accused.

    They merge their lists, and leave out half of what not all of them have.
    """
    partners = [f"platform-{number}" for number in range(20)]
    traced = accused = 0
    for number in range(100):
        dice = random.Random(number)
        epoch = CanaryEpoch(number, dice.randbytes(32), count=count)
        guilty = dice.sample(partners, leakers)
        given = [{at for at in range(count) if epoch.is_given(each, at)} for each in guilty]
        shared = set.intersection(*given)
        merged = sorted(set.union(*given))
        leaked = {at for at in merged if at in shared or dice.random() < 0.5}
        found = {each.partner_id for each in epoch.trace(leaked, partners) if each.is_traced}
        traced += found >= set(guilty)
        accused += len(found - set(guilty))
    return traced, accused


class ErasableEntries:
    """Synthetic entries, of which some were erased."""

    def __init__(self, entries: SyntheticEntries) -> None:
        self._entries = entries
        self.erased: set[int] = set()

    def entries(self, start: int, stop: int) -> Iterator[Entry]:
        for index, entry in enumerate(self._entries.entries(start, stop), start):
            yield entry.erased() if index in self.erased else entry


def _erasure(report: Report, windows: int) -> None:
    """From erased in the database to gone from every file of every platform, on disk."""
    key, _ = OpeningKey.generate(hybrid=True)
    partners = [FeedPartner(f"platform-{number}", key.public) for number in range(PLATFORMS)]
    source = ErasableEntries(SyntheticEntries(BLOCK, windows))
    with tempfile.TemporaryDirectory() as name:
        writer = FeedWriter(
            origin=ORIGIN, log_key=LOG_KEY, public=DirectoryBlobs(Path(name) / "public"),
            private=DirectoryBlobs(Path(name) / "private"), source=source,
        )  # fmt: skip
        writer.publish(BLOCK, partners, NOW)
        clock, processor = [], []
        for index in range(3):
            source.erased.add(index)
            started, used = time.perf_counter(), time.process_time()
            writer.reissue(partners, NOW, erased=[index])
            clock.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
    what = f"an erasure for {PLATFORMS} platforms, {windows + 1} PDQ an entry"
    report.row(f"{what}: processor time", min(processor), "s", at_most=2)
    report.row(f"{what}: by the clock", min(clock), "s")


def _lists(report: Report) -> None:
    counts = [100_000]
    counts += [] if report.quick else [1_000_000]
    counts += [10_000_000] if report.full else []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            if shutil.disk_usage(directory).free < count * 600:
                report.text(f"Not enough room on the disk here for {count:,} entries.")
                continue
            for what, verb in (("publish", "published from nothing"), ("follow", "followed")):
                found = _in_child(what, directory, count)
                title = f"{count:,} entries {verb}"
                report.row(f"{title}: time", found["seconds"], "s")
                report.row(f"{title}: processor time", found["cpu"], "s")
                report.row(f"{title}: bytes", found["bytes"] / count, "bytes/entry")
                report.row(f"{title}: files", found["files"], "files")
                report.row(f"{title}: peak of memory", found["peak"], "MiB")


if __name__ == "__main__":
    _, _what, _directory, _count = sys.argv
    _work = {"publish": publish, "follow": follow}[_what]
    print(json.dumps(_work(Path(_directory), int(_count))))
